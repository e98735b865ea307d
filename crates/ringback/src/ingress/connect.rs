//! HTTP CONNECT (RFC 9110, 9.3.6), as far as one connection by name needs it.
//!
//! Consumes exactly the head: what a hasty client sends after it is kept. Is no HTTP proxy.

use ringback_proto::terminal::TerminalName;
use tokio::net::TcpStream;

use super::http::{self, Head};
use super::{Cause, peek};

/// The reply to a request that was granted.
pub(super) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Takes the request.
pub(super) async fn ask(stream: &mut TcpStream) -> Result<(TerminalName, u16), Cause> {
    let (octets, name, port) = peek::until(stream, request).await?;
    peek::take(stream, octets).await?;
    Ok((name, port))
}

fn request(octets: &[u8]) -> Result<Option<(usize, TerminalName, u16)>, Cause> {
    let Some(head) = Head::parse(octets)? else { return Ok(None) };
    if head.method != "CONNECT" {
        return Err(Cause::Command);
    }
    // The target alone counts: `Host` is here what a client says to the proxy, if it says it.
    let (name, port) = http::authority(head.target)?;
    Ok(Some((head.octets, name, port.ok_or(Cause::Malformed)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_empty_line_and_needs_a_port() {
        let head = b"CONNECT Car.Example:22 HTTP/1.1\r\nHost: car.example:22\r\n\r\nSSH-2.0";
        let name = TerminalName::parse("car.example").unwrap();
        assert_eq!(request(head), Ok(Some((head.len() - 7, name, 22))));
        assert_eq!(request(&head[..40]), Ok(None));
        for (head, cause) in [
            ("CONNECT car.example HTTP/1.1\r\n\r\n", Cause::Malformed),
            ("CONNECT 192.0.2.1:22 HTTP/1.1\r\n\r\n", Cause::Nameless),
            ("CONNECT [::1]:22 HTTP/1.1\r\n\r\n", Cause::Nameless),
            ("GET http://car.example/ HTTP/1.1\r\n\r\n", Cause::Command),
        ] {
            assert_eq!(request(head.as_bytes()), Err(cause), "{head}");
        }
    }
}
