//! HTTP CONNECT (RFC 9110, 9.3.6), as far as one connection by name needs it.
//!
//! Consumes exactly the head: what a hasty client sends after it is kept. Is no HTTP proxy.

use tokio::net::TcpStream;

use super::http::{self, Head};
use super::{Asked, Cause, Protocol, peek};

/// The reply to a request that was granted.
pub(super) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Takes the request.
pub(super) async fn ask(stream: &mut TcpStream) -> Result<Asked, Cause> {
    let (octets, asked) = peek::until(stream, request).await?;
    peek::take(stream, octets).await?;
    Ok(asked)
}

fn request(octets: &[u8]) -> Result<Option<(usize, Asked)>, Cause> {
    let Some(head) = Head::parse(octets)? else { return Ok(None) };
    if head.method != "CONNECT" {
        return Err(Cause::Command);
    }
    // The target alone counts: `Host` is here what a client says to the proxy, if it says it.
    let (name, port) = http::authority(head.target)?;
    let port = Some(port.ok_or(Cause::Malformed)?);
    let (protocol, credential) = (Protocol::Connect, head.credential("proxy-authorization"));
    Ok(Some((head.octets, Asked { name, port, protocol, credential, head: None })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::Credential;

    #[test]
    fn a_request_is_whole_with_its_empty_line_and_needs_a_port() {
        let head = b"CONNECT Car.Example:22 HTTP/1.1\r\nHost: car.example:22\r\n\r\nSSH-2.0";
        let (octets, asked) = request(head).unwrap().unwrap();
        assert_eq!((octets, asked.name.to_string()), (head.len() - 7, "car.example".to_owned()));
        assert_eq!((asked.port, asked.credential), (Some(22), Credential::Nothing));
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
