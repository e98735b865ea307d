//! What a refused client hears, and that it hears it.

use ringback::ingress::{
    Cause, ClientStream, Listening, Protocol, Unnamed, name, refuse, turn_away,
};
use ringback::limits;
use ringback_proto::refusal::Refusal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::pair;

#[tokio::test]
async fn each_protocol_is_refused_in_its_own_words() {
    for (protocol, words) in [
        (Protocol::Http, &b"HTTP/1.1 421 Misdirected Request\r\n"[..]),
        (Protocol::Connect, b"HTTP/1.1 421 Misdirected Request\r\n"),
        (Protocol::Tls, b"\x15\x03\x03\x00\x02\x02\x70"),
        (Protocol::Socks5, b"\x05\x04\x00\x01\0\0\0\0\0\0"),
    ] {
        let (mut client, held) = pair().await;
        let (heard, ()) = tokio::join!(
            all(&mut client),
            refuse(ClientStream::Plain(held), protocol, Refusal::Unknown)
        );
        assert!(heard.unwrap().starts_with(words), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_raw_client_is_reset() {
    let (mut client, held) = pair().await;
    refuse(ClientStream::Plain(held), Protocol::Raw, Refusal::Unknown).await;
    assert!(all(&mut client).await.is_err());
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_long_body_hears_the_refusal_and_no_reset() {
    let (mut client, mut held) = pair().await;
    // Small, so that most of the body is still to be written when the refusal comes.
    socket2::SockRef::from(&client).set_send_buffer_size(16 * 1024).unwrap();
    socket2::SockRef::from(&held).set_recv_buffer_size(16 * 1024).unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: car.example\r\nContent-Length: 500000\r\n\r\n";
    client.write_all(head).await.unwrap();
    name(&mut held, &Listening::Http).await.unwrap();
    let posting = async {
        client.write_all(&[b'x'; 500_000]).await.unwrap();
        all(&mut client).await.unwrap()
    };
    let (heard, ()) =
        tokio::join!(posting, refuse(ClientStream::Plain(held), Protocol::Http, Refusal::NoAnswer));
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 504 ") && heard.contains("\r\nRetry-After: 30\r\n"));
    assert!(heard.contains("RB-NO-ANSWER") && heard.contains("\r\nConnection: close\r\n"));
}

#[tokio::test]
async fn a_browser_is_refused_with_a_page() {
    let (mut client, held) = pair().await;
    let head = b"GET / HTTP/1.1\r\nHost: car.example\r\nAccept: text/html\r\n\r\n";
    client.write_all(head).await.unwrap();
    held.readable().await.unwrap();
    let (heard, ()) = tokio::join!(
        all(&mut client),
        refuse(ClientStream::Plain(held), Protocol::Http, Refusal::Busy)
    );
    assert!(String::from_utf8(heard.unwrap()).unwrap().contains("<h1>Too many clients"));
}

#[tokio::test]
async fn a_client_that_never_stops_is_reset_in_the_end() {
    let (mut client, held) = pair().await;
    let posting = async {
        let octets = vec![b'x'; 64 * 1024];
        let most = limits::FAREWELL_OCTETS as usize * 64;
        let mut sent = 0;
        while client.write_all(&octets).await.is_ok() {
            sent += octets.len();
            assert!(sent < most, "nobody ends it");
        }
    };
    tokio::join!(posting, refuse(ClientStream::Plain(held), Protocol::Http, Refusal::Busy));
}

#[tokio::test]
async fn a_request_that_is_none_is_turned_away_in_its_own_words() {
    for (listening, said, cause, words) in [
        (Listening::Http, &b"GET / HTTP/1.1\r\n\r\n"[..], Cause::Malformed, &b"HTTP/1.1 400 "[..]),
        (Listening::Http, b"GET / HTTP/9.9\r\n\r\n", Cause::Version, b"HTTP/1.1 505 "),
        (Listening::Http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Cause::Http2, b"\0\0\0\x04\0"),
        (Listening::Http, b"\x16\x03\x01\x02\x00", Cause::Malformed, b"HTTP/1.1 400 "),
        (
            Listening::Tls,
            b"GET / HTTP/1.1\r\n\r\n",
            Cause::Malformed,
            b"\x15\x03\x03\0\x02\x02\x32",
        ),
        (Listening::Proxy, b"GET http://a.b/ HTTP/1.1\r\n\r\n", Cause::Command, b"HTTP/1.1 405 "),
        (Listening::Proxy, b"\x05\x01\x01", Cause::Method, b"\x05\xff"),
        (Listening::Proxy, b"\x05\x01\x00\x05\x02\x00\x03", Cause::Command, b"\x05\x00\x05\x07"),
        (Listening::Proxy, b"\x05\x01\x00\x05\x01\x00\x01", Cause::Nameless, b"\x05\x00\x05\x08"),
    ] {
        let (mut client, mut held) = pair().await;
        client.write_all(said).await.unwrap();
        let unnamed = name(&mut held, &listening).await.unwrap_err();
        assert_eq!(unnamed.cause, cause);
        let (heard, ()) = tokio::join!(all(&mut client), turn_away(held, unnamed));
        let heard = heard.unwrap();
        assert!(heard.starts_with(words), "{said:?}: {heard:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_told_so() {
    let (mut client, mut held) = pair().await;
    let head = format!("GET /{} HTTP/1.1\r\n", "a".repeat(limits::HEAD_OCTETS * 2));
    let asking = async {
        client.write_all(head.as_bytes()).await.unwrap();
        all(&mut client).await.unwrap()
    };
    let refusing = async {
        let unnamed = name(&mut held, &Listening::Http).await.unwrap_err();
        turn_away(held, unnamed).await;
    };
    let (heard, ()) = tokio::join!(asking, refusing);
    assert!(heard.starts_with(b"HTTP/1.1 431 "));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_hang_up_is_not_waited_for_for_ever() {
    let (client, held) = pair().await;
    let start = tokio::time::Instant::now();
    turn_away(held, Unnamed { protocol: Protocol::Http, cause: Cause::Slow }).await;
    assert_eq!(start.elapsed().as_secs(), limits::FAREWELL_PATIENCE.as_secs());
    drop(client);
}

async fn all(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await?;
    client.shutdown().await?;
    Ok(heard)
}
