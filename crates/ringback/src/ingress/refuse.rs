//! Tells a client why it is not joined, in its own protocol, and lets it hear that.
//!
//! What happened comes as a [`Refusal`] or an [`Unnamed`]; this only says it. Every farewell is
//! bounded in time and octets, and whoever cannot be told anything is reset.

use ringback_proto::door::Reply;
use ringback_proto::refusal::{Budget, Refusal};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::http::Head;
use super::{Cause, ClientStream, Protocol, Unnamed, socks};
use crate::{limits, socket};

/// Refuses a client whose request was complete. Consumes its connection.
pub async fn refuse(stream: ClientStream, protocol: Protocol, refusal: Refusal) {
    challenge(stream, protocol, refusal, &[]).await;
}

/// Refuses a client and asks it for a credential, where its protocol has words for that.
pub async fn challenge(
    stream: ClientStream,
    protocol: Protocol,
    refusal: Refusal,
    challenges: &[String],
) {
    let farewell = match (protocol, &stream) {
        (_, ClientStream::Keyed(_)) => Some(Reply::Refused(refusal.into()).encode()),
        // After a handshake there is no alert for it but the clean end, which would be a lie.
        (Protocol::Raw | Protocol::Keyed, _) | (Protocol::Tls, ClientStream::Terminated(_)) => None,
        (Protocol::Http, _) => {
            let asks = fields("WWW-Authenticate", challenges);
            Some(page(http_status(refusal), refusal, Audience::of(&stream.look()), &asks))
        }
        (Protocol::Tls, ClientStream::Plain(_)) => Some(alert(tls_alert(refusal))),
        (Protocol::Socks5, _) => Some(socks::reply(socks_code(refusal)).to_vec()),
        (Protocol::Connect, _) => {
            let asks = fields("Proxy-Authenticate", challenges);
            Some(page(proxy_status(refusal), refusal, Audience::PROGRAM, &asks))
        }
    };
    part(stream, farewell).await;
}

/// Turns away a client whose request was not complete. Consumes its connection.
pub async fn turn_away(stream: impl Into<ClientStream>, unnamed: Unnamed) {
    let cause = unnamed.cause;
    let farewell = match (unnamed.protocol, cause) {
        (Protocol::Raw | Protocol::Keyed, _) | (_, Cause::Left) => None,
        (Protocol::Http | Protocol::Connect, Cause::Http2) => Some(HTTP2_GOAWAY.to_vec()),
        (Protocol::Http | Protocol::Connect, _) => {
            Some(page(unnamed_status(cause), Refusal::Incomplete, Audience::PROGRAM, ""))
        }
        (Protocol::Tls, _) => Some(alert(unnamed_alert(cause))),
        (Protocol::Socks5, Cause::Method) => Some(socks::NO_METHOD.to_vec()),
        (Protocol::Socks5, _) => Some(socks::reply(unnamed_socks_code(cause)).to_vec()),
    };
    part(stream.into(), farewell).await;
}

/// Says the last thing there is to say to a client, and waits until it has heard it and hung up.
pub async fn tell(stream: ClientStream, farewell: Vec<u8>) {
    part(stream, Some(farewell)).await;
}

/// Who reads the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audience {
    pub(super) html: bool,
    pub(super) body: bool,
}

/// SETTINGS, then GOAWAY with `HTTP_1_1_REQUIRED` (RFC 9113, 6.5, 6.8 and 7).
const HTTP2_GOAWAY: &[u8; 26] = &[
    0, 0, 0, 0x4, 0, 0, 0, 0, 0, // SETTINGS, empty
    0, 0, 8, 0x7, 0, 0, 0, 0, 0, // GOAWAY
    0, 0, 0, 0, 0, 0, 0, 0xd, // no stream was processed; HTTP_1_1_REQUIRED
];

pub(super) fn http_status(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Incomplete => "400 Bad Request",
        Refusal::Unknown => "421 Misdirected Request",
        Refusal::Unauthorized => "401 Unauthorized",
        Refusal::NotAllowed
        | Refusal::NotArmed
        | Refusal::EndToEndOnly
        | Refusal::NotGranted
        | Refusal::NoOwnRing => "403 Forbidden",
        Refusal::LockedOut(_) | Refusal::Overspent(Budget::Client, _) => "429 Too Many Requests",
        Refusal::TerminalRefused | Refusal::TerminalUnreachable | Refusal::NoService => {
            "502 Bad Gateway"
        }
        Refusal::Busy
        | Refusal::Unringable
        | Refusal::Stopping
        | Refusal::NoTunnel
        | Refusal::NotEnrolled
        | Refusal::Overspent(
            Budget::Terminal | Budget::Tenant | Budget::Money | Budget::Breaker,
            _,
        ) => "503 Service Unavailable",
        Refusal::NoAnswer | Refusal::TerminalSilent => "504 Gateway Timeout",
    }
}

/// What a proxy says instead of a server (RFC 9110, 15.5.8).
fn proxy_status(refusal: Refusal) -> &'static str {
    if refusal == Refusal::Unauthorized {
        return "407 Proxy Authentication Required";
    }
    http_status(refusal)
}

fn fields(name: &str, values: &[String]) -> String {
    values.iter().map(|it| format!("{name}: {it}\r\n")).collect()
}

fn unnamed_status(cause: Cause) -> &'static str {
    match cause {
        Cause::Left | Cause::Incomplete | Cause::Malformed | Cause::Nameless | Cause::Method => {
            "400 Bad Request"
        }
        Cause::Command => "405 Method Not Allowed",
        Cause::Slow => "408 Request Timeout",
        Cause::Long => "431 Request Header Fields Too Large",
        Cause::Version | Cause::Http2 => "505 HTTP Version Not Supported",
    }
}

/// RFC 8446, 6.
fn tls_alert(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Unknown => 112, // unrecognized_name
        Refusal::NotAllowed
        | Refusal::Unauthorized
        | Refusal::LockedOut(_)
        | Refusal::NotArmed
        | Refusal::EndToEndOnly
        | Refusal::NotGranted
        | Refusal::NoOwnRing => 49, // access_denied
        Refusal::Incomplete
        | Refusal::Busy
        | Refusal::NoAnswer
        | Refusal::TerminalRefused
        | Refusal::TerminalUnreachable
        | Refusal::TerminalSilent
        | Refusal::NoService
        | Refusal::Unringable
        | Refusal::Stopping
        | Refusal::NoTunnel
        | Refusal::NotEnrolled
        | Refusal::Overspent(..) => 80, // internal_error
    }
}

fn unnamed_alert(cause: Cause) -> u8 {
    match cause {
        Cause::Nameless => 109, // missing_extension
        Cause::Left
        | Cause::Slow
        | Cause::Long
        | Cause::Incomplete
        | Cause::Malformed
        | Cause::Version
        | Cause::Http2
        | Cause::Method
        | Cause::Command => 50, // decode_error
    }
}

/// RFC 1928, 6.
fn socks_code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Incomplete | Refusal::Busy | Refusal::Stopping | Refusal::Overspent(..) => 0x01, // general failure
        Refusal::NoService
        | Refusal::NotAllowed
        | Refusal::Unauthorized
        | Refusal::LockedOut(_)
        | Refusal::NotArmed
        | Refusal::EndToEndOnly
        | Refusal::NotGranted
        | Refusal::NoOwnRing => 0x02, // not allowed
        Refusal::Unringable | Refusal::NoTunnel | Refusal::NotEnrolled => 0x03, // network unreachable
        Refusal::Unknown | Refusal::TerminalUnreachable => 0x04,                // host unreachable
        Refusal::TerminalRefused => 0x05, // connection refused
        Refusal::NoAnswer | Refusal::TerminalSilent => 0x06, // TTL expired
    }
}

fn unnamed_socks_code(cause: Cause) -> u8 {
    match cause {
        Cause::Command => 0x07,  // command not supported
        Cause::Nameless => 0x08, // address type not supported
        Cause::Left
        | Cause::Slow
        | Cause::Long
        | Cause::Incomplete
        | Cause::Malformed
        | Cause::Version
        | Cause::Http2
        | Cause::Method => 0x01, // general failure
    }
}

/// A fatal alert in a record of its own, in clear, as before any ServerHello.
fn alert(description: u8) -> Vec<u8> {
    vec![0x15, 0x03, 0x03, 0, 2, 2, description]
}

fn page(status: &str, refusal: Refusal, audience: Audience, fields: &str) -> Vec<u8> {
    let (code, sentence, cure) = (refusal.code(), refusal.sentence(), refusal.cure());
    let (kind, body) = if audience.html {
        let body = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{code}</title>\
             <h1>{sentence}</h1><p>{cure}</p><p><code>{code}</code></p></html>\n"
        );
        ("text/html; charset=utf-8", body)
    } else {
        let number = status.get(..3).and_then(|it| it.parse::<u16>().ok());
        let body = json!({ "status": number, "title": sentence, "detail": cure, "code": code });
        ("application/problem+json", body.to_string())
    };
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n{fields}",
        body.len()
    );
    if let Some(after) = refusal.retry_after() {
        head += &format!("Retry-After: {}\r\n", after.as_secs());
    }
    if status.starts_with("405") {
        head += "Allow: CONNECT\r\n";
    }
    head += "\r\n";
    if audience.body {
        head += &body;
    }
    head.into_bytes()
}

impl Audience {
    const PROGRAM: Self = Self { html: false, body: true };

    /// Who has sent this head: a browser says that it wants HTML, `HEAD` wants no body.
    pub(super) fn of(octets: &[u8]) -> Self {
        let Ok(Some(head)) = Head::parse(octets) else { return Self::PROGRAM };
        let html = head.values("accept").any(|it| it.windows(9).any(|it| it == b"text/html"));
        Self { html, body: head.method != "HEAD" }
    }
}

/// Says the farewell and waits until the client has heard it and hung up.
///
/// A socket that is closed with octets unread is reset, and the reset overtakes the farewell: so
/// what the client still sends (a request body, the ClientHello that was only looked at) is read
/// and thrown away first, up to a limit.
pub(super) async fn part(mut stream: ClientStream, farewell: Option<Vec<u8>>) {
    let Some(farewell) = farewell else {
        // Fails only on a socket that is broken already.
        let _ = socket::arm(stream.socket());
        return;
    };
    let parting = async {
        stream.write_all(&farewell).await?;
        stream.shutdown().await?;
        copy(&mut (&mut stream).take(limits::FAREWELL_OCTETS), &mut sink()).await
    };
    // Whether it was heard is the client's affair; nobody waits for the answer.
    let _ = timeout(limits::FAREWELL_PATIENCE, parting).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_given_html_and_a_program_a_problem() {
        let browser = Audience::of(
            b"GET / HTTP/1.1\r\nHost: a.b\r\nAccept: text/html,application/xhtml+xml\r\n\r\n",
        );
        let text = said(page("503 Service Unavailable", Refusal::Busy, browser, ""));
        assert!(text.contains("text/html") && text.contains("<h1>Too many clients are waiting."));

        let text = said(page("503 Service Unavailable", Refusal::Busy, Audience::PROGRAM, ""));
        assert!(text.contains("Retry-After: 5\r\n") && text.contains("\"code\":\"RB-BUSY\""));
        assert!(text.contains("application/problem+json") && text.contains("\"status\":503"));
    }

    #[test]
    fn head_has_no_body_but_its_length() {
        let head = Audience::of(b"HEAD / HTTP/1.1\r\nHost: a.b\r\n\r\n");
        let text = said(page("421 Misdirected Request", Refusal::Unknown, head, ""));
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length: 0"));
    }

    #[test]
    fn every_refusal_can_be_said_to_everyone() {
        for refusal in Refusal::ALL {
            assert!(matches!(http_status(refusal).as_bytes()[0], b'4' | b'5'));
            assert!(matches!(socks_code(refusal), 1..=8));
            assert!(matches!(tls_alert(refusal), 49 | 80 | 112));
        }
    }

    fn said(octets: Vec<u8>) -> String {
        String::from_utf8(octets).unwrap()
    }
}
