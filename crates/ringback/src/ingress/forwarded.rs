//! Tells an HTTP service who its client is (RFC 7239), and lets no client say it for itself.
//!
//! Rewrites one head, and so asks for the connection to be closed after it: a second request on the
//! same connection would reach the service as its client wrote it.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::{Head, authority};
use super::{Cause, Protocol, Unnamed, peek};
use crate::limits;

/// A head as the service is to have it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Octets of the client's head.
    pub replaces: usize,
    /// What to send in their place.
    pub head: Vec<u8>,
}

/// Takes the client's head off the stream; the rewritten one is to be sent before anything else.
pub async fn take(stream: &mut TcpStream, client: SocketAddr) -> Result<Vec<u8>, Unnamed> {
    let taking = async {
        let rewritten = peek::until(stream, |octets| rewrite(octets, client)).await?;
        peek::take(stream, rewritten.replaces).await?;
        Ok(rewritten.head)
    };
    let taken = timeout(limits::HEAD_PATIENCE, taking).await;
    taken.unwrap_or(Err(Cause::Slow)).map_err(|cause| Unnamed { protocol: Protocol::Http, cause })
}

/// The same of a stream that cannot be looked at: what was read behind the head comes with it.
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    client: SocketAddr,
) -> Result<Vec<u8>, Unnamed> {
    let reading = async {
        let mut heard = Vec::new();
        loop {
            if let Some(Rewritten { replaces, mut head }) = rewrite(&heard, client)? {
                head.extend_from_slice(&heard[replaces..]);
                return Ok(head);
            }
            let room = limits::HEAD_OCTETS - heard.len();
            let read = (&mut *stream).take(room as u64).read_buf(&mut heard).await;
            match read.map_err(|_| Cause::Left)? {
                0 if room == 0 => return Err(Cause::Long),
                0 => return Err(Cause::Incomplete),
                _ => {}
            }
        }
    };
    let read = timeout(limits::HEAD_PATIENCE, reading).await;
    read.unwrap_or(Err(Cause::Slow)).map_err(|cause| Unnamed { protocol: Protocol::Http, cause })
}

/// Rewrites a head once it is whole.
pub fn rewrite(octets: &[u8], client: SocketAddr) -> Result<Option<Rewritten>, Cause> {
    let Some(head) = Head::parse(octets)? else { return Ok(None) };
    let host = head.authority()?;
    authority(host)?;
    let upgrade = head.values("upgrade").next().is_some()
        && head.values("connection").any(|it| has_token(it, "upgrade"));

    let mut text = format!("{} {} HTTP/1.{}\r\n", head.method, head.target, head.minor);
    text += &match client.ip().to_canonical() {
        IpAddr::V4(ip) => format!("Forwarded: for={ip};host=\"{host}\";proto=http\r\n"),
        IpAddr::V6(ip) => format!("Forwarded: for=\"[{ip}]\";host=\"{host}\";proto=http\r\n"),
    };
    text += &format!("X-Forwarded-For: {}\r\n", client.ip().to_canonical());
    // An upgrade closes too: a service that ignores it would otherwise listen for a second request.
    // To one that follows it, the connection is HTTP's no more and `close` says nothing.
    text += if upgrade { "Connection: Upgrade, close\r\n" } else { "Connection: close\r\n" };

    let mut rewritten = text.into_bytes();
    for field in head.fields.iter().filter(|it| !is_ours(it.name)) {
        rewritten.extend_from_slice(field.name.as_bytes());
        rewritten.extend_from_slice(b": ");
        rewritten.extend_from_slice(field.value);
        rewritten.extend_from_slice(b"\r\n");
    }
    rewritten.extend_from_slice(b"\r\n");
    Ok(Some(Rewritten { replaces: head.octets, head: rewritten }))
}

/// Whether a field says what only we say. `_` counts as `-`: gateways to CGI make them the same.
fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "forwarded" | "x-real-ip" => true,
        other => other.starts_with("x-forwarded-"),
    }
}

fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|it| *it == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_the_client_and_hears_no_client_tell_it() {
        let head = "GET /a HTTP/1.1\r\nHost: car.example:80\r\nForwarded: for=10.0.0.1\r\n\
            x-forwarded-for: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\nX-Forwarded-Host: b\r\n\
            X-Real-IP: 10.0.0.1\r\nConnection: keep-alive, Forwarded\r\nAccept: */*\r\n\r\n";
        let rewritten = ours(&format!("{head}body"), "192.0.2.7:4711");
        assert_eq!(rewritten.replaces, head.len());
        assert_eq!(
            String::from_utf8(rewritten.head).unwrap(),
            "GET /a HTTP/1.1\r\n\
             Forwarded: for=192.0.2.7;host=\"car.example:80\";proto=http\r\n\
             X-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\
             Host: car.example:80\r\nAccept: */*\r\n\r\n"
        );
    }

    #[test]
    fn a_v6_address_is_quoted_and_a_mapped_one_is_v4() {
        let head = "GET / HTTP/1.1\r\nHost: a.b\r\n\r\n";
        let text = String::from_utf8(ours(head, "[2001:db8::1]:1").head).unwrap();
        assert!(text.contains("for=\"[2001:db8::1]\";") && text.contains("For: 2001:db8::1\r\n"));
        let text = String::from_utf8(ours(head, "[::ffff:192.0.2.7]:1").head).unwrap();
        assert!(text.contains("for=192.0.2.7;"));
    }

    #[test]
    fn an_upgrade_is_kept_and_still_closes() {
        let head = "GET / HTTP/1.1\r\nHost: a.b\r\nUpgrade: websocket\r\n\
            Connection: keep-alive, upgrade\r\n\r\n";
        let text = String::from_utf8(ours(head, "192.0.2.7:1").head).unwrap();
        assert!(text.contains("\r\nConnection: Upgrade, close\r\n"));
        assert!(text.contains("\r\nUpgrade: websocket\r\n"));
        assert_eq!(text.matches("Connection:").count(), 1);
    }

    #[test]
    fn a_host_that_is_no_name_is_not_quoted_to_the_service() {
        let head = b"GET / HTTP/1.1\r\nHost: a\";for=b\r\n\r\n";
        assert_eq!(rewrite(head, "192.0.2.7:1".parse().unwrap()), Err(Cause::Nameless));
        assert_eq!(rewrite(&head[..9], "192.0.2.7:1".parse().unwrap()), Ok(None));
    }

    #[tokio::test]
    async fn a_head_that_cannot_be_looked_at_is_rewritten_all_the_same() {
        let client = "192.0.2.7:1".parse().unwrap();
        let head = "POST / HTTP/1.1\r\nHost: a.b\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
        let mut stream = format!("{head}body").into_bytes();
        let ours = [ours(head, "192.0.2.7:1").head, b"body".to_vec()].concat();
        assert_eq!(read(&mut &stream[..], client).await, Ok(ours));
        stream.truncate(20);
        let cut = read(&mut &stream[..], client).await.unwrap_err();
        assert_eq!(cut.cause, Cause::Incomplete);
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(limits::HEAD_OCTETS));
        assert_eq!(read(&mut long.as_bytes(), client).await.unwrap_err().cause, Cause::Long);
    }

    fn ours(head: &str, client: &str) -> Rewritten {
        rewrite(head.as_bytes(), client.parse().unwrap()).unwrap().unwrap()
    }
}
