//! SOCKS5 (RFC 1928), as far as one connection by name needs it.
//!
//! No authentication method but none and a password, no command but CONNECT, and no addresses: a
//! terminal has a name. Consumes exactly the requests, so that what a hasty client sends after them is kept.

use ringback_proto::terminal::TerminalName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Asked, Cause, Credential, Protocol, peek};

/// The first octet of everything in SOCKS5.
pub(super) const VERSION: u8 = 5;
/// Reply: connected.
pub(super) const SUCCEEDED: u8 = 0x00;
/// The reply to a greeting that offers no method of ours.
pub(super) const NO_METHOD: [u8; 2] = [VERSION, 0xff];

const NO_AUTHENTICATION: u8 = 0x00;
const PASSWORD: u8 = 0x02;
/// RFC 1929's own version.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 0x01;
const DOMAIN_NAME: u8 = 0x03;

/// A whole greeting.
#[derive(Debug, PartialEq, Eq)]
struct Greeting {
    octets: usize,
    method: Option<u8>,
}

/// A whole request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    octets: usize,
    name: TerminalName,
    port: u16,
}

/// Agrees on the method, then takes the request. `protocol` becomes SOCKS once it can be replied in
/// by it.
pub(super) async fn ask(stream: &mut TcpStream, protocol: &mut Protocol) -> Result<Asked, Cause> {
    let greeting = peek::until(stream, greeting).await?;
    peek::take(stream, greeting.octets).await?;
    *protocol = Protocol::Socks5;
    let method = greeting.method.ok_or(Cause::Method)?;
    stream.write_all(&[VERSION, method]).await.map_err(|_| Cause::Left)?;
    let mut credential = Credential::Nothing;
    if method == PASSWORD {
        let (octets, login) = peek::until(stream, login).await?;
        peek::take(stream, octets).await?;
        // Whether it is a good one depends on the service, which is named only in the request that
        // the client sends next: the answer to that one is the answer to both.
        stream.write_all(&[LOGIN_VERSION, SUCCEEDED]).await.map_err(|_| Cause::Left)?;
        credential = login;
    }
    let request = peek::until(stream, request).await?;
    peek::take(stream, request.octets).await?;
    let (port, protocol) = (Some(request.port), Protocol::Socks5);
    Ok(Asked { name: request.name, port, protocol, credential, head: None })
}

/// A reply; the address that it must have means nothing to a client that gave a name.
pub(super) fn reply(code: u8) -> [u8; 10] {
    [VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn greeting(octets: &[u8]) -> Result<Option<Greeting>, Cause> {
    let [VERSION, count, rest @ ..] = octets else {
        return if octets.len() < 2 { Ok(None) } else { Err(Cause::Malformed) };
    };
    let Some(methods) = rest.get(..usize::from(*count)) else { return Ok(None) };
    // Who offers a password has one to show, and cannot know that a service does not ask for it.
    let method = [PASSWORD, NO_AUTHENTICATION].into_iter().find(|it| methods.contains(it));
    Ok(Some(Greeting { octets: 2 + methods.len(), method }))
}

fn login(octets: &[u8]) -> Result<Option<(usize, Credential)>, Cause> {
    match octets {
        [] => return Ok(None),
        [LOGIN_VERSION, ..] => {}
        [..] => return Err(Cause::Malformed),
    }
    let Some((user, rest)) = counted(&octets[1..]) else { return Ok(None) };
    let Some((password, _)) = counted(rest) else { return Ok(None) };
    let whole = 3 + user.len() + password.len();
    let credential = match (std::str::from_utf8(user), std::str::from_utf8(password)) {
        (Ok(user), Ok(password)) => Credential::Login {
            user: user.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        },
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Credential::Odd,
    };
    Ok(Some((whole, credential)))
}

/// Octets behind the octet that counts them, and what follows.
fn counted(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = octets.split_first()?;
    rest.split_at_checked(usize::from(*count))
}

fn request(octets: &[u8]) -> Result<Option<Request>, Cause> {
    let &[version, command, reserved, kind, ref rest @ ..] = octets else { return Ok(None) };
    if version != VERSION || reserved != 0 {
        return Err(Cause::Malformed);
    }
    if command != CONNECT {
        return Err(Cause::Command);
    }
    if kind != DOMAIN_NAME {
        return Err(Cause::Nameless);
    }
    let Some((&length, rest)) = rest.split_first() else { return Ok(None) };
    let length = usize::from(length);
    let (Some(name), Some(&[high, low])) = (rest.get(..length), rest.get(length..length + 2))
    else {
        return Ok(None);
    };
    let name = std::str::from_utf8(name).map_err(|_| Cause::Nameless)?;
    let name = TerminalName::parse(name).map_err(|_| Cause::Nameless)?;
    Ok(Some(Request { octets: 5 + length + 2, name, port: u16::from_be_bytes([high, low]) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_whole_with_its_last_method() {
        assert_eq!(greeting(&[5, 2, 2]), Ok(None));
        let agreed = |octets, method| Ok(Some(Greeting { octets, method }));
        assert_eq!(greeting(&[5, 2, 1, 0, 5]), agreed(4, Some(NO_AUTHENTICATION)));
        assert_eq!(greeting(&[5, 2, 0, 2, 5]), agreed(4, Some(PASSWORD)));
        assert_eq!(greeting(&[5, 1, 2]), agreed(3, Some(PASSWORD)));
        assert_eq!(greeting(&[5, 1, 1]), agreed(3, None));
        assert_eq!(greeting(&[5, 0]), agreed(2, None));
        assert_eq!(greeting(&[4, 1, 0]), Err(Cause::Malformed));
    }

    #[test]
    fn a_login_is_whole_with_its_password() {
        let whole = b"\x01\x03lee\x04opene";
        let wanted = Credential::Login {
            user: "lee".to_owned(),
            password: Zeroizing::new("open".to_owned()),
        };
        assert_eq!(login(whole), Ok(Some((10, wanted))));
        for length in 0..10 {
            assert_eq!(login(&whole[..length]), Ok(None), "{length}");
        }
        assert_eq!(login(&[1, 1, 0xff, 0]), Ok(Some((4, Credential::Odd))));
        assert_eq!(login(&[5, 1]), Err(Cause::Malformed));
    }

    #[test]
    fn a_request_is_whole_with_its_port() {
        let whole = b"\x05\x01\x00\x03\x03c.d\x00\x50more";
        let name = TerminalName::parse("c.d").unwrap();
        assert_eq!(request(whole), Ok(Some(Request { octets: 10, name, port: 80 })));
        for length in 0..10 {
            assert_eq!(request(&whole[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn only_connections_by_name_are_asked_for() {
        assert_eq!(request(&[5, 2, 0, 3, 1, b'a', 0, 80]), Err(Cause::Command));
        assert_eq!(request(&[5, 1, 1, 3, 1, b'a', 0, 80]), Err(Cause::Malformed));
        assert_eq!(request(&[5, 1, 0, 1, 192, 0, 2, 1, 0, 80]), Err(Cause::Nameless));
        assert_eq!(request(&[5, 1, 0, 4]), Err(Cause::Nameless));
        assert_eq!(request(b"\x05\x01\x00\x03\x09192.0.2.1\x00\x50"), Err(Cause::Nameless));
        assert_eq!(request(&[5, 1, 0, 3, 0, 0, 80]), Err(Cause::Nameless));
    }
}
