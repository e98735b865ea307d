//! curl and OpenSSL as clients: what they ask for is understood, and they understand the refusal.

use std::process::{Output, Stdio};

use ringback::ingress::{
    Asked, ClientStream, Listening, Protocol, acknowledge, name, refuse, turn_away,
};
use ringback_proto::refusal::Refusal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::listener;

#[tokio::test]
async fn curl_is_served_through_every_way_in() {
    for (listening, arguments, protocol) in [
        (Listening::Http, "--connect-to car.example:80:PROXY http://car.example/", Protocol::Http),
        (Listening::Proxy, "--socks5-hostname PROXY http://car.example/", Protocol::Socks5),
        (Listening::Proxy, "-p -x http://PROXY http://car.example/", Protocol::Connect),
    ] {
        let (asked, output) = curl(&listening, arguments, None).await;
        assert_eq!((asked.name.as_str(), asked.protocol), ("car.example", protocol));
        let port = if protocol == Protocol::Http { None } else { Some(80) };
        assert_eq!(asked.port, port);
        assert_eq!(text(&output.stdout), "served", "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn curl_says_why_it_was_refused() {
    for (listening, arguments, words) in [
        (Listening::Http, "--connect-to car.example:80:PROXY http://car.example/", "RB-UNKNOWN"),
        (
            Listening::Proxy,
            "--socks5-hostname PROXY http://car.example/",
            "Can't complete SOCKS5 connection to car.example. (4)",
        ),
        (Listening::Proxy, "-p -x http://PROXY http://car.example/", "421"),
        (
            Listening::Tls,
            "--connect-to car.example:443:PROXY https://car.example/",
            "unrecognized name",
        ),
    ] {
        let (_, output) = curl(&listening, arguments, Some(Refusal::Unknown)).await;
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains(words), "{words} is not in {said}");
    }
}

#[tokio::test]
async fn curl_that_resolves_for_itself_or_speaks_http2_unasked_is_told_so() {
    for (listening, arguments, words) in [
        (Listening::Proxy, "--socks5 PROXY http://127.0.0.1/", "(8)"),
        (Listening::Http, "--http2-prior-knowledge http://PROXY/", "GOAWAY, error=13"),
        (Listening::Tls, "http://PROXY/", "HTTP/0.9"),
        (Listening::Tls, "-k https://PROXY/", "missing extension"),
    ] {
        let (listener, address) = listener().await;
        let proxy = async {
            let (mut held, _) = listener.accept().await.unwrap();
            let unnamed = name(&mut held, &listening).await.unwrap_err();
            turn_away(held, unnamed).await;
        };
        let ((), output) = tokio::join!(proxy, run("curl", arguments, address.to_string()));
        assert!(text(&output.stderr).contains(words), "{words}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn openssl_is_told_by_an_alert() {
    let (listener, address) = listener().await;
    let proxy = async {
        let (mut held, _) = listener.accept().await.unwrap();
        let asked = name(&mut held, &Listening::Tls).await.unwrap();
        assert_eq!(asked.name.as_str(), "car.example");
        refuse(ClientStream::Plain(held), asked.protocol, Refusal::Stopping).await;
    };
    let arguments = "s_client -connect PROXY -servername car.example";
    let ((), output) = tokio::join!(proxy, run("openssl", arguments, address.to_string()));
    assert!(text(&output.stderr).contains("internal error"), "{}", text(&output.stderr));
}

/// Runs curl against one listener that serves it, or refuses it.
async fn curl(listening: &Listening, arguments: &str, refusal: Option<Refusal>) -> (Asked, Output) {
    let (listener, address) = listener().await;
    let proxy = async {
        let (mut held, _) = listener.accept().await.unwrap();
        let asked = name(&mut held, listening).await.unwrap();
        match refusal {
            Some(refusal) => refuse(ClientStream::Plain(held), asked.protocol, refusal).await,
            None => serve(held, asked.protocol).await,
        }
        asked
    };
    tokio::join!(proxy, run("curl", arguments, address.to_string()))
}

async fn serve(mut held: TcpStream, protocol: Protocol) {
    acknowledge(&mut held, protocol).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(held.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"GET / HTTP/1.1\r\nHost: car.example\r\n"));
    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserved").await.unwrap();
}

/// Runs a program; `PROXY` in its arguments stands for the proxy's address.
async fn run(program: &str, arguments: &str, proxy: String) -> Output {
    let verbose = if program == "curl" { &["-sSv", "--noproxy", ""][..] } else { &[] };
    Command::new(program)
        .args(verbose)
        .args(arguments.split(' ').map(|it| it.replace("PROXY", &proxy)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
