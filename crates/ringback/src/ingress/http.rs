//! What the head of an HTTP/1 request (RFC 9112) asks for, and what it shows to be let in.
//!
//! Reads that, in one go, and nothing else: framing, bodies and later requests are between
//! the client and the service, who both get every octet as it was sent.

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};
use ringback_proto::terminal::TerminalName;
use zeroize::Zeroizing;

use super::{Asked, Cause, Credential, HeadPrint, Protocol};
use crate::keys::sha256;
use crate::limits;

/// How HTTP/2 begins when nobody has been asked (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A request head that is whole.
pub(super) struct Head<'h> {
    pub(super) octets: usize,
    pub(super) method: &'h str,
    pub(super) target: &'h str,
    pub(super) minor: u8,
    pub(super) fields: Vec<Header<'h>>,
}

/// What a whole head asks for: the one host it names, and the credential it shows.
pub fn ask(octets: &[u8]) -> Result<Option<Asked>, Cause> {
    let Some(head) = Head::parse(octets)? else { return Ok(None) };
    let (name, _) = authority(head.authority()?)?;
    let (protocol, credential) = (Protocol::Http, head.credential("authorization"));
    let head = Some(print(octets.get(..head.octets).unwrap_or(octets)));
    Ok(Some(Asked { name, port: None, protocol, credential, head }))
}

/// What a head is known again by.
pub(super) fn print(head: &[u8]) -> HeadPrint {
    HeadPrint(sha256(head))
}

impl<'h> Head<'h> {
    /// Reads a head once it is whole.
    pub(super) fn parse(octets: &'h [u8]) -> Result<Option<Self>, Cause> {
        if octets.starts_with(PREFACE) {
            return Err(Cause::Http2);
        }
        if !octets.is_empty() && PREFACE.starts_with(octets) {
            return Ok(None);
        }
        let mut fields = [EMPTY_HEADER; limits::HEAD_FIELDS];
        let mut request = Request::new(&mut fields);
        let octets = match request.parse(octets) {
            Ok(Status::Partial) => return Ok(None),
            Ok(Status::Complete(octets)) => octets,
            Err(Error::Version) => return Err(Cause::Version),
            Err(Error::TooManyHeaders) => return Err(Cause::Long),
            Err(
                Error::HeaderName
                | Error::HeaderValue
                | Error::NewLine
                | Error::Status
                | Error::Token,
            ) => return Err(Cause::Malformed),
        };
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(Cause::Malformed);
        };
        Ok(Some(Self { octets, method, target, minor, fields: request.headers.to_vec() }))
    }

    /// The values of a field, by its name in any case.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        let same = move |it: &&Header<'h>| it.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|it| it.value)
    }

    /// The credential in a field, if it is the only one of the head: a request whose two fields
    /// could be read by two parties is odd.
    pub(super) fn credential(&self, field: &str) -> Credential {
        let is_one = |it: &&Header<'_>| {
            ["authorization", "proxy-authorization"]
                .iter()
                .any(|one| it.name.eq_ignore_ascii_case(one))
        };
        let mut values = self.fields.iter().filter(is_one);
        let (Some(first), more) = (values.next(), values.next()) else {
            return Credential::Nothing;
        };
        let (true, None, Ok(value)) =
            (first.name.eq_ignore_ascii_case(field), more, std::str::from_utf8(first.value))
        else {
            return Credential::Odd;
        };
        let value = Zeroizing::new(value.to_owned());
        let (method, target) = (self.method.to_owned(), self.target.to_owned());
        Credential::Field { value, method, target }
    }

    /// What the request is for: the target's authority if it has one, which `Host` must not
    /// contradict, or else `Host` (RFC 9112, 3.2 and 3.3).
    pub(super) fn authority(&self) -> Result<&'h str, Cause> {
        let mut hosts = self.values("host");
        let (host, more) = (hosts.next(), hosts.next());
        if more.is_some() || (host.is_none() && 1 <= self.minor) {
            return Err(Cause::Malformed);
        }
        let host = match host.map(std::str::from_utf8) {
            None => None,
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Err(Cause::Malformed),
        };
        let Some(target) = target_authority(self.target) else {
            return host.ok_or(Cause::Nameless);
        };
        if let Some(host) = host
            && authority(host)? != authority(target)?
        {
            return Err(Cause::Malformed);
        }
        Ok(target)
    }
}

/// The path of a target in origin or absolute form, without its query.
pub(super) fn path(target: &str) -> &str {
    let origin = match target_authority(target) {
        Some(authority) => target.split_once(authority).map_or("", |(_, rest)| rest),
        None => target,
    };
    origin.split(['?', '#']).next().unwrap_or(origin)
}

/// The authority of a target in absolute form.
fn target_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return None;
    }
    rest.split(['/', '?', '#']).next()
}

/// Splits `name[:port]`; an address is no name.
pub(super) fn authority(text: &str) -> Result<(TerminalName, Option<u16>), Cause> {
    let (host, port) = match text.rsplit_once(':') {
        None | Some((_, "")) => (text.strip_suffix(':').unwrap_or(text), None),
        Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => {
            (host, Some(port.parse().map_err(|_| Cause::Malformed)?))
        }
        Some(_) => return Err(Cause::Nameless),
    };
    let name = TerminalName::parse(host).map_err(|_| Cause::Nameless)?;
    Ok((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_head_names_its_host_without_the_port() {
        for head in [
            "GET / HTTP/1.1\r\nHost: Car.Example\r\n\r\n",
            "GET / HTTP/1.1\r\nhost:car.example:8080\r\n\r\nbody",
            "GET / HTTP/1.1\r\nHost: car.example.:\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: car.example\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: car.example\r\n\r\n",
            "GET http://car.example/ HTTP/1.1\r\nHost: car.example\r\n\r\n",
            "GET http://car.example?a HTTP/1.0\r\n\r\n",
            "GET /http://bus.example/ HTTP/1.1\r\nHost: car.example\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: car.example\r\nContent-Length: 1\r\n\
             Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(name(head.as_bytes()), Ok(Some(car())), "{head}");
        }
    }

    #[test]
    fn a_head_that_names_no_one_host_names_none() {
        for (head, cause) in [
            ("GET / HTTP/1.1\r\n\r\n", Cause::Malformed),
            ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n", Cause::Malformed),
            ("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", Cause::Malformed),
            ("GET http://a.example/ HTTP/1.1\r\n\r\n", Cause::Malformed),
            ("GET / HTTP/1.0\r\n\r\n", Cause::Nameless),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Cause::Nameless),
            ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Cause::Nameless),
            ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", Cause::Nameless),
            ("GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n", Cause::Nameless),
            ("GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n", Cause::Malformed),
            ("GET / HTTP/1.1\r\nHost: a.example\r\n folded\r\n\r\n", Cause::Malformed),
            ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", Cause::Malformed),
            ("GET / HTTP/3.0\r\n", Cause::Version),
            ("\x16\x03\x01", Cause::Malformed),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Cause::Http2),
        ] {
            assert_eq!(name(head.as_bytes()), Err(cause), "{head}");
        }
    }

    #[test]
    fn a_head_is_not_judged_before_it_is_whole() {
        for head in ["GET http://a.b/ HTTP/1.1\r\nHost: car.example\r\n\r", "PRI * HTTP/2.0\r"] {
            for length in 0..=head.len() {
                assert_eq!(name(&head.as_bytes()[..length]), Ok(None), "{length} of {head}");
            }
        }
    }

    #[test]
    fn more_fields_than_the_limit_are_too_long() {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(limits::HEAD_FIELDS + 1));
        assert_eq!(name(head.as_bytes()), Err(Cause::Long));
    }

    #[test]
    fn a_head_shows_one_credential_or_an_odd_one() {
        let shown = |fields: &str, wanted: &str| {
            let head = format!("GET /a HTTP/1.1\r\nHost: a.b\r\n{fields}\r\n");
            Head::parse(head.as_bytes()).unwrap().unwrap().credential(wanted)
        };
        let Credential::Field { value, method, target } =
            shown("aUTHorization:  Basic YTpi \r\n", "authorization")
        else {
            panic!("no field");
        };
        assert_eq!((&value[..], &method[..], &target[..]), ("Basic YTpi", "GET", "/a"));
        assert_eq!(shown("Accept: a\r\n", "authorization"), Credential::Nothing);
        for fields in [
            "Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n",
            "Authorization: Basic YTpi\r\nauthorization: Bearer a\r\n",
            "Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpi\r\n",
            "Proxy-Authorization: Basic YTpi\r\n",
            "Authorization: Basic \u{e4}\r\nAuthorization: a\r\n",
        ] {
            assert_eq!(shown(fields, "authorization"), Credential::Odd, "{fields}");
        }
        let head = b"GET / HTTP/1.1\r\nAuthorization: Basic \xff\r\n\r\n";
        let head = Head::parse(head).unwrap().unwrap();
        assert_eq!(head.credential("authorization"), Credential::Odd);
    }

    fn name(octets: &[u8]) -> Result<Option<TerminalName>, Cause> {
        Ok(ask(octets)?.map(|it| it.name))
    }

    fn car() -> TerminalName {
        TerminalName::parse("car.example").unwrap()
    }
}
