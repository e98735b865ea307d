//! What a client asks for, in one piece, in drops, and not at all.

use std::sync::Arc;

use ringback::ingress::{Cause, Credential, Listening, Protocol, Unnamed, acknowledge, left, name};
use ringback::limits;
use ringback_proto::terminal::TerminalName;
use rustls::client::ClientConnection;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::pair;

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: car.example\r\n\r\n";
const GREETING: &[u8] = b"\x05\x01\x00";
const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0bcar.example\x00\x16";
const CONNECT: &[u8] = b"CONNECT car.example:22 HTTP/1.1\r\n\r\n";

#[tokio::test]
async fn http_and_tls_are_named_and_every_octet_is_still_there() {
    let hello = client_hello();
    assert!(1_200 < hello.len(), "a hybrid key share makes a ClientHello of {}", hello.len());
    for (listening, protocol, head) in
        [(Listening::Http, Protocol::Http, HEAD), (Listening::Tls, Protocol::Tls, &hello)]
    {
        for drop in [1, 700, head.len()] {
            let (mut client, mut held) = pair().await;
            let dribble = async {
                for octets in head.chunks(drop) {
                    client.write_all(octets).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (asked, ()) = tokio::join!(name(&mut held, &listening), dribble);
            let asked = asked.unwrap();
            assert_eq!((asked.name, asked.port, asked.protocol), (car(), None, protocol));
            assert_eq!(asked.credential, Credential::Nothing);
            let mut octets = vec![0; head.len()];
            held.read_exact(&mut octets).await.unwrap();
            assert_eq!(octets, head);
        }
    }
}

#[tokio::test]
async fn of_socks_and_connect_exactly_the_request_is_taken() {
    for (protocol, requests, replies) in [
        (
            Protocol::Socks5,
            vec![(GREETING, &b"\x05\x00"[..]), (REQUEST, b"")],
            &b"\x05\x00\x00\x01\0\0\0\0\0\0"[..],
        ),
        (
            Protocol::Connect,
            vec![(CONNECT, &b""[..])],
            b"HTTP/1.1 200 Connection established\r\n\r\n",
        ),
    ] {
        let (mut client, mut held) = pair().await;
        let asking = async {
            for (request, reply) in requests {
                for octet in request {
                    client.write_all(&[*octet]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                assert_eq!(heard(&mut client, reply.len()).await, reply);
            }
            client.write_all(b"SSH-2.0").await.unwrap();
        };
        let (asked, ()) = tokio::join!(name(&mut held, &Listening::Proxy), asking);
        let asked = asked.unwrap();
        assert_eq!((asked.name, asked.port, asked.protocol), (car(), Some(22), protocol));
        assert_eq!(heard(&mut held, 7).await, b"SSH-2.0");
        acknowledge(&mut held, protocol).await.unwrap();
        assert_eq!(heard(&mut client, replies.len()).await, replies);
    }
}

#[tokio::test]
async fn a_hasty_socks_client_loses_nothing() {
    let (mut client, mut held) = pair().await;
    client.write_all(&[GREETING, REQUEST, b"SSH-2.0"].concat()).await.unwrap();
    let asked = name(&mut held, &Listening::Proxy).await.unwrap();
    assert_eq!((asked.name, asked.port), (car(), Some(22)));
    assert_eq!(heard(&mut held, 7).await, b"SSH-2.0");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_incomplete() {
    for (listening, head, protocol) in [
        (Listening::Http, HEAD, Protocol::Http),
        (Listening::Tls, &client_hello(), Protocol::Tls),
        (Listening::Proxy, CONNECT, Protocol::Connect),
        (Listening::Proxy, GREETING, Protocol::Raw),
    ] {
        let (mut client, mut held) = pair().await;
        client.write_all(&head[..head.len() - 1]).await.unwrap();
        client.shutdown().await.unwrap();
        let unnamed = Unnamed { protocol, cause: Cause::Incomplete };
        assert_eq!(name(&mut held, &listening).await, Err(unnamed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_too_little_is_slow_when_its_patience_is_over() {
    for (listening, said, protocol) in [
        (Listening::Http, &HEAD[..9], Protocol::Http),
        (Listening::Tls, &[0x16], Protocol::Tls),
        (Listening::Proxy, &[], Protocol::Raw),
        (Listening::Proxy, &GREETING[..2], Protocol::Raw),
        (Listening::Proxy, GREETING, Protocol::Socks5),
    ] {
        let (mut client, mut held) = pair().await;
        client.write_all(said).await.unwrap();
        let start = tokio::time::Instant::now();
        let unnamed = Unnamed { protocol, cause: Cause::Slow };
        assert_eq!(name(&mut held, &listening).await, Err(unnamed));
        assert_eq!(start.elapsed().as_secs(), limits::HEAD_PATIENCE.as_secs());
    }
}

#[tokio::test]
async fn a_held_client_has_left_when_it_resets() {
    for (protocol, head) in [(Protocol::Http, HEAD), (Protocol::Tls, &client_hello()[..])] {
        let (mut client, mut held) = pair().await;
        client.write_all(head).await.unwrap();
        let listening = if protocol == Protocol::Http { Listening::Http } else { Listening::Tls };
        name(&mut held, &listening).await.unwrap();

        let mut watch = JoinSet::new();
        let held = Arc::new(held);
        let watched = held.clone();
        watch.spawn(async move { left(&watched, protocol).await });
        tokio::task::yield_now().await;
        assert!(watch.try_join_next().is_none(), "unread octets are no reason to have left");
        ringback::socket::reset(client);
        watch.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_end_is_a_farewell_but_in_raw_tcp() {
    for (protocol, gone) in [
        (Protocol::Tls, true),
        (Protocol::Socks5, true),
        (Protocol::Connect, true),
        (Protocol::Http, true),
        (Protocol::Raw, false),
    ] {
        let (mut client, mut held) = pair().await;
        client.write_all(HEAD).await.unwrap();
        client.shutdown().await.unwrap();
        // Known to have arrived: read to its end.
        held.read_to_end(&mut Vec::new()).await.unwrap();
        tokio::select! {
            biased;
            () = left(&held, protocol) => assert!(gone, "{protocol:?} left"),
            () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {
                assert!(!gone, "{protocol:?} stayed");
            }
        }
    }
}

async fn heard(stream: &mut tokio::net::TcpStream, octets: usize) -> Vec<u8> {
    let mut heard = vec![0; octets];
    stream.read_exact(&mut heard).await.unwrap();
    heard
}

fn car() -> TerminalName {
    TerminalName::parse("car.example").unwrap()
}

/// What a client of today sends first: a hybrid key share, and so more than one segment.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "Car.Example".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}
