//! Tells an HTTP service who its client is (RFC 7239, and `Ringback-Identity`), and lets no client
//! say it for itself.
//!
//! Rewrites one head, and so asks for the connection to be closed after it: a second request on the
//! same connection would reach the service as its client wrote it.

use std::net::{IpAddr, SocketAddr};

use tokio::time::timeout;

use super::http::{Head, authority, print};
use super::{Cause, ClientStream, HeadPrint, Protocol, Unnamed};
use crate::limits;

/// A head as the service is to have it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Octets of the client's head.
    pub replaces: usize,
    /// What to send in their place.
    pub head: Vec<u8>,
}

/// What a service is told of its client, and what is kept from it.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Where the client is, if the service is to know.
    pub client: Option<SocketAddr>,
    /// Who the client is, signed, if it was asked.
    pub identity: Option<String>,
    /// Whether the request's credential was for the public proxy alone.
    pub consume: bool,
    /// The head by which the client was admitted; no other is passed on.
    pub admitted: Option<HeadPrint>,
}

/// Takes the client's head off the stream; the rewritten one is to be sent before anything else.
pub async fn take(stream: &mut ClientStream, telling: &Telling) -> Result<Vec<u8>, Unnamed> {
    let scheme = stream.scheme();
    let taking = async {
        let rewritten = stream.until(|octets| rewrite(octets, telling, scheme)).await?;
        stream.take_off(rewritten.replaces).await?;
        Ok(rewritten.head)
    };
    let taken = timeout(limits::HEAD_PATIENCE, taking).await;
    taken.unwrap_or(Err(Cause::Slow)).map_err(|cause| Unnamed { protocol: Protocol::Http, cause })
}

/// Rewrites a head once it is whole; `scheme` is how the client came.
pub fn rewrite(octets: &[u8], telling: &Telling, scheme: &str) -> Result<Option<Rewritten>, Cause> {
    let Some(head) = Head::parse(octets)? else { return Ok(None) };
    let whole = octets.get(..head.octets).unwrap_or(octets);
    if telling.admitted.is_some_and(|it| it != print(whole)) {
        return Err(Cause::Malformed);
    }
    let host = head.authority()?;
    authority(host)?;
    framing(&head)?;
    let mut upgrades = head.values("upgrade").peekable();
    let upgrade = upgrades.peek().is_some()
        && upgrades.all(|it| it.eq_ignore_ascii_case(b"websocket"))
        && head.values("connection").any(|it| has_token(it, "upgrade"));

    let mut text = format!("{} {} HTTP/1.{}\r\n", head.method, head.target, head.minor);
    if let Some(ip) = telling.client.map(|it| it.ip().to_canonical()) {
        text += &match ip {
            IpAddr::V4(ip) => format!("Forwarded: for={ip};host=\"{host}\";proto={scheme}\r\n"),
            IpAddr::V6(ip) => {
                format!("Forwarded: for=\"[{ip}]\";host=\"{host}\";proto={scheme}\r\n")
            }
        };
        text += &format!("X-Forwarded-For: {ip}\r\n");
    }
    if let Some(identity) = &telling.identity {
        text += &format!("Ringback-Identity: {identity}\r\n");
    }
    // An upgrade closes too: a service that ignores it would otherwise listen for a second request.
    // To one that follows it, the connection is HTTP's no more and `close` says nothing.
    text += if upgrade { "Connection: Upgrade, close\r\n" } else { "Connection: close\r\n" };

    let mut rewritten = text.into_bytes();
    let kept = |name: &str| {
        !is_ours(name)
            && (upgrade || !name.eq_ignore_ascii_case("upgrade"))
            && (!telling.consume || !name.eq_ignore_ascii_case("authorization"))
    };
    for field in head.fields.iter().filter(|it| kept(it.name)) {
        rewritten.extend_from_slice(field.name.as_bytes());
        rewritten.extend_from_slice(b": ");
        rewritten.extend_from_slice(field.value);
        rewritten.extend_from_slice(b"\r\n");
    }
    rewritten.extend_from_slice(b"\r\n");
    Ok(Some(Rewritten { replaces: head.octets, head: rewritten }))
}

/// Refuses a head of whose body's end two parties could think differently (RFC 9112, 6.3).
fn framing(head: &Head<'_>) -> Result<(), Cause> {
    let mut lengths = head
        .values("content-length")
        .flat_map(|it| it.split(|it| *it == b','))
        .map(<[u8]>::trim_ascii);
    let Some(length) = lengths.next() else { return Ok(()) };
    let good = !length.is_empty()
        && length.iter().all(u8::is_ascii_digit)
        && lengths.all(|it| it == length)
        && head.values("transfer-encoding").next().is_none();
    good.then_some(()).ok_or(Cause::Malformed)
}

/// Whether a field says what only we say. `_` counts as `-`: gateways to CGI make them the same.
fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authorization"
        | "trailer"
        | "http2-settings" => true,
        "forwarded"
        | "x-forwarded"
        | "x-real-ip"
        | "x-client-ip"
        | "true-client-ip"
        | "cf-connecting-ip"
        | "x-original-url"
        | "x-rewrite-url"
        | "remote-user"
        | "x-remote-user"
        | "x-authenticated-user" => true,
        other => SAID_BY_PROXIES.iter().any(|it| other.starts_with(it)),
    }
}

/// What fields begin with in which proxies tell services of clients.
const SAID_BY_PROXIES: [&str; 3] = ["x-forwarded-", "x-auth-request-", "ringback-"];

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
    fn an_upgrade_to_anything_but_websocket_is_not_passed_on() {
        for other in ["h2c", "websocket, h2c", "websocket\r\nUpgrade: h2c"] {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: a.b\r\nUpgrade: {other}\r\n\
                 Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
            );
            let text = String::from_utf8(ours(&head, "192.0.2.7:1").head).unwrap();
            assert!(text.ends_with("\r\nConnection: close\r\nHost: a.b\r\n\r\n"), "{text}");
        }
    }

    #[test]
    fn nothing_is_passed_on_that_services_believe_of_proxies() {
        for name in [
            "True-Client-IP",
            "X-Client-IP",
            "X-Forwarded",
            "X-Original-URL",
            "X_Rewrite_URL",
            "CF-Connecting-IP",
            "Trailer",
            "HTTP2-Settings",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a.b\r\n{name}: eve\r\n\r\n");
            let text = String::from_utf8(ours(&head, "192.0.2.7:1").head).unwrap();
            assert!(!text.contains("eve"), "{text}");
        }
    }

    #[test]
    fn a_body_whose_end_is_not_told_once_is_refused() {
        let rewritten = |fields: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a.b\r\n{fields}\r\n\r\n");
            rewrite(head.as_bytes(), &telling("192.0.2.7:1"), "http").map(|it| it.is_some())
        };
        for good in [
            "Content-Length: 5",
            "Content-Length: 5, 5\r\ncontent-length: 5",
            "Transfer-Encoding: chunked",
        ] {
            assert_eq!(rewritten(good), Ok(true), "{good}");
        }
        for bad in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: +5",
            "Content-Length:",
        ] {
            assert_eq!(rewritten(bad), Err(Cause::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_host_that_is_no_name_is_not_quoted_to_the_service() {
        let head = b"GET / HTTP/1.1\r\nHost: a\";for=b\r\n\r\n";
        assert_eq!(rewrite(head, &telling("192.0.2.7:1"), "http"), Err(Cause::Nameless));
        assert_eq!(rewrite(&head[..9], &telling("192.0.2.7:1"), "http"), Ok(None));
    }

    #[test]
    fn an_identity_is_told_once_and_the_credential_only_if_it_is_to_be_passed_on() {
        let head = "GET / HTTP/1.1\r\nHost: a.b\r\nAuthorization: Basic YTpi\r\n\
            Ringback-Identity: eve\r\nRINGBACK_IDENTITY: eve\r\nRemote-User: eve\r\n\
            X-Auth-Request-Email: eve\r\nProxy-Authorization: Basic YTpi\r\n\r\n";
        let mut told = Telling { client: None, identity: Some("lee".into()), ..telling("[::1]:1") };
        let text = |told: &Telling| {
            let rewritten = rewrite(head.as_bytes(), told, "http").unwrap().unwrap();
            String::from_utf8(rewritten.head).unwrap()
        };
        told.consume = true;
        let kept = "Ringback-Identity: lee\r\nConnection: close\r\nHost: a.b\r\n";
        assert_eq!(text(&told), format!("GET / HTTP/1.1\r\n{kept}\r\n"));
        told.consume = false;
        let passed = "Authorization: Basic YTpi\r\n";
        assert_eq!(text(&told), format!("GET / HTTP/1.1\r\n{kept}{passed}\r\n"));
    }

    #[test]
    fn no_other_head_than_the_admitted_one_is_passed_on() {
        let head = b"GET / HTTP/1.1\r\nHost: a.b\r\n\r\n";
        let told = Telling { admitted: Some(print(head)), ..telling("192.0.2.7:1") };
        assert!(rewrite(head, &told, "http").unwrap().is_some());
        let other = b"GET /b HTTP/1.1\r\nHost: a.b\r\n\r\n";
        assert_eq!(rewrite(other, &told, "http"), Err(Cause::Malformed));
    }

    fn telling(client: &str) -> Telling {
        let client = Some(client.parse().unwrap());
        Telling { client, identity: None, consume: false, admitted: None }
    }

    fn ours(head: &str, client: &str) -> Rewritten {
        rewrite(head.as_bytes(), &telling(client), "http").unwrap().unwrap()
    }
}
