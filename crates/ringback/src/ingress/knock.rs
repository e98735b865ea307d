//! The knock page: where somebody logs in so that ports open to the address they come from.
//!
//! Reads one log-in, from a form or from Basic authentication (RFC 7617), and says what has come of
//! it. Judges no password. The page has no script, and nothing of what a visitor sends is in it.

use std::time::Duration;

use ringback_proto::gate::Source;
use ringback_proto::refusal::Refusal;
use ringback_proto::terminal::TerminalName;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::credential::basic;
use super::http::{Head, path};
use super::refuse::{self, Audience};
use super::{Cause, ClientStream, Credential, Protocol, Unnamed};
use crate::limits;

/// Where the page is at every terminal that has one.
pub const PATH: &str = "/.well-known/ringback/knock";

const PAGE: &str = include_str!("knock.html");
/// What the form comes as.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// One visit to the page.
#[derive(Debug)]
pub struct Visit {
    wanted: Wanted,
    audience: Audience,
    basic: bool,
    encrypted: bool,
}

/// A user's name and password, as they were sent.
pub struct LogIn {
    /// The name.
    pub user: Zeroizing<String>,
    /// The password.
    pub password: Zeroizing<String>,
}

/// What a log-in opens, and to whom.
#[derive(Debug)]
pub struct Doors<'d> {
    /// The terminal.
    pub name: &'d TerminalName,
    /// Whom they open to.
    pub source: Source,
    /// Each port, and how long it stays open.
    pub ports: Vec<(u16, Duration)>,
}

/// What the page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Log in here.
    Form,
    /// The log-in was refused.
    Refused(Refusal),
    /// The ports are open from this second since 1970 on.
    Open(u64),
}

/// What a visitor wants.
#[derive(Debug)]
enum Wanted {
    Page,
    LogIn(LogIn),
    /// A log-in of so many octets is to follow.
    Form(usize),
    /// Nothing that the page has; it is told this status.
    Else(&'static str),
}

/// Whether a whole head is for the page.
pub fn is_asked(octets: &[u8]) -> bool {
    Head::parse(octets).is_ok_and(|head| head.is_some_and(|it| path(it.target) == PATH))
}

/// Takes the visitor's whole request off the stream.
pub async fn hear(stream: &mut ClientStream) -> Result<Visit, Unnamed> {
    let encrypted = stream.scheme() == "https";
    let hearing = async {
        let (octets, mut visit) = stream.until(|octets| visit(octets, encrypted)).await?;
        stream.take_off(octets).await?;
        if let Wanted::Form(octets) = visit.wanted {
            let mut body = Zeroizing::new(vec![0; octets]);
            stream.read_exact(&mut body).await.map_err(|_| Cause::Left)?;
            visit.wanted = form(&body).map_or(Wanted::Else("400 Bad Request"), Wanted::LogIn);
        }
        Ok(visit)
    };
    let heard = timeout(limits::HEAD_PATIENCE, hearing).await.unwrap_or(Err(Cause::Slow));
    heard.map_err(|cause| Unnamed { protocol: Protocol::Http, cause })
}

/// Answers the visitor and parts from it.
pub async fn reply(stream: ClientStream, visit: &Visit, doors: &Doors<'_>, said: Said) {
    refuse::part(stream, Some(visit.response(doors, said))).await;
}

impl Visit {
    /// What the visitor logs in with, if it does.
    pub fn log_in(&self) -> Option<&LogIn> {
        match &self.wanted {
            Wanted::LogIn(log_in) => Some(log_in),
            Wanted::Page | Wanted::Form(_) | Wanted::Else(_) => None,
        }
    }

    fn response(&self, doors: &Doors<'_>, said: Said) -> Vec<u8> {
        let status = self.status(said);
        let (kind, body) = if self.audience.html {
            ("text/html", self.page(doors, said))
        } else {
            ("text/plain", text(doors, said))
        };
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; \
             style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; \
             base-uri 'none'\r\n",
            body.len()
        );
        if status.starts_with("401") {
            let name = doors.name;
            head += &format!("WWW-Authenticate: Basic realm=\"{name}\", charset=\"UTF-8\"\r\n");
        }
        if status.starts_with("405") {
            head += "Allow: GET, HEAD, POST\r\n";
        }
        if let Said::Refused(refusal) = said
            && let Some(after) = refusal.retry_after()
        {
            head += &format!("Retry-After: {}\r\n", after.as_secs());
        }
        head += "\r\n";
        if self.audience.body {
            head += &body;
        }
        head.into_bytes()
    }

    /// A browser that used the form is not asked by a dialog of its own.
    fn status(&self, said: Said) -> &'static str {
        let dialog = self.basic || !self.audience.html;
        match (&self.wanted, said) {
            (Wanted::Else(status), _) => status,
            (_, Said::Open(_)) => "200 OK",
            (_, Said::Form) if self.audience.html => "200 OK",
            (_, Said::Form) => "401 Unauthorized",
            (_, Said::Refused(Refusal::Unauthorized)) if !dialog => "403 Forbidden",
            (_, Said::Refused(refusal)) => refuse::http_status(refusal),
        }
    }

    fn page(&self, doors: &Doors<'_>, said: Said) -> String {
        let Doors { name, source, ports } = doors;
        let list = |state: &dyn Fn(Duration) -> String| {
            let port = |(port, open): &(u16, Duration)| {
                format!("<li><code>{name}:{port}</code> <span>{}</span>", state(*open))
            };
            ports.iter().map(port).collect::<String>()
        };
        if let Said::Open(at) = said {
            let list = list(&|open| format!("until {}", clock_time(at + open.as_secs())));
            let content = format!(
                "<h1>Open to you</h1>\n<p>You come from <code>{source}</code>; only from there can \
                 these be reached.</p>\n<ul>{list}</ul>\n<p>A connection that has begun may last \
                 longer.</p>"
            );
            return fill("Open to you", &content);
        }
        let minutes = |open: Duration| match open.as_secs() / 60 {
            1 => "for 1 minute".to_owned(),
            minutes => format!("for {minutes} minutes"),
        };
        let list = list(&minutes);
        let wrong = match said {
            Said::Refused(it) => format!(
                "<p class=\"wrong\" role=\"alert\">{} {}</p>\n",
                if it == Refusal::Unauthorized { "That is not right." } else { it.sentence() },
                it.cure()
            ),
            Said::Form | Said::Open(_) => String::new(),
        };
        let note = if self.encrypted {
            ""
        } else {
            "<p class=\"note\">This page is not encrypted: log in only from a network that you \
             trust.</p>\n"
        };
        let content = format!(
            "<h1>Knock at {name}</h1>\n<p>Log in, and these open to <code>{source}</code>, where you \
             come from:</p>\n<ul>{list}</ul>\n{wrong}<form method=\"post\" action=\"{PATH}\">\n\
             <label>User<input name=\"user\" autocomplete=\"username\" autocapitalize=\"none\" \
             spellcheck=\"false\" required autofocus></label>\n<label>Password<input \
             name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\n\
             {note}<button>Log in</button>\n</form>"
        );
        fill(&format!("Knock at {name}"), &content)
    }
}

fn fill(title: &str, content: &str) -> String {
    PAGE.replace("{title}", title).replace("{content}", content)
}

/// The same for programs.
fn text(doors: &Doors<'_>, said: Said) -> String {
    let Doors { name, source, ports } = doors;
    match said {
        Said::Form => "log in with Basic authentication, or POST user and password\n".to_owned(),
        Said::Refused(refusal) => format!("{refusal}\n"),
        Said::Open(at) => {
            let open = |(port, open): &(u16, Duration)| {
                let until = clock_time(at + open.as_secs());
                format!("{name}:{port} is open to {source} until {until}\n")
            };
            ports.iter().map(open).collect()
        }
    }
}

fn clock_time(unix_seconds: u64) -> String {
    let minutes = unix_seconds / 60;
    format!("{:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// Reads a whole head.
fn visit(octets: &[u8], encrypted: bool) -> Result<Option<(usize, Visit)>, Cause> {
    let Some(head) = Head::parse(octets)? else { return Ok(None) };
    let credential = head.credential("authorization");
    let wanted = match (head.method, &credential) {
        ("GET" | "HEAD", Credential::Nothing) => Wanted::Page,
        ("GET", Credential::Field { value, .. }) => {
            basic_log_in(value).map_or(Wanted::Else("400 Bad Request"), Wanted::LogIn)
        }
        ("GET", Credential::Odd | Credential::Login { .. }) => Wanted::Else("400 Bad Request"),
        ("POST", _) => form_to_follow(&head),
        (_, _) => Wanted::Else("405 Method Not Allowed"),
    };
    let audience = Audience::of(octets);
    let basic = credential != Credential::Nothing;
    let visit = Visit { wanted, audience, basic, encrypted };
    Ok(Some((head.octets, visit)))
}

fn form_to_follow(head: &Head<'_>) -> Wanted {
    let kind = head.values("content-type").next().unwrap_or_default();
    let kind = kind.split(|it| *it == b';').next().unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(FORM) {
        return Wanted::Else("415 Unsupported Media Type");
    }
    let mut lengths = head.values("content-length");
    let (length, more) = (lengths.next(), lengths.next());
    if more.is_some() || head.values("transfer-encoding").next().is_some() {
        return Wanted::Else("411 Length Required");
    }
    let digits = length.filter(|it| it.iter().all(u8::is_ascii_digit));
    let Some(digits) = digits.and_then(|it| std::str::from_utf8(it).ok()) else {
        return Wanted::Else("411 Length Required");
    };
    match digits.parse() {
        Ok(octets) if octets <= limits::LOG_IN_OCTETS => Wanted::Form(octets),
        Ok(_) | Err(_) => Wanted::Else("413 Content Too Large"),
    }
}

fn basic_log_in(value: &str) -> Option<LogIn> {
    let (scheme, token) = value.split_once(' ')?;
    let (user, password) = basic(token).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some(LogIn { user: Zeroizing::new(user), password })
}

/// The form's two fields, each exactly once, and no other.
fn form(body: &[u8]) -> Option<LogIn> {
    let (mut user, mut password) = (None, None);
    for field in body.split(|it| *it == b'&') {
        let equals = field.iter().position(|it| *it == b'=')?;
        let value = unescape(&field[equals + 1..])?;
        let place = match &field[..equals] {
            b"user" => &mut user,
            b"password" => &mut password,
            _ => return None,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    let (user, password) = (user?, password?);
    Some(LogIn::new(std::str::from_utf8(&user).ok()?, std::str::from_utf8(&password).ok()?))
}

fn unescape(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((&letter, after)) = rest.split_first() {
        rest = after;
        octets.push(match letter {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?
            }
            other => other,
        });
    }
    Some(octets)
}

impl LogIn {
    fn new(user: &str, password: &str) -> Self {
        Self {
            user: Zeroizing::new(user.to_owned()),
            password: Zeroizing::new(password.to_owned()),
        }
    }
}

/// Shows nothing: a mistyped password may stand in the user's place.
impl std::fmt::Debug for LogIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogIn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_own_path_is_the_page() {
        for (target, asked) in [
            (PATH, true),
            ("/.well-known/ringback/knock?x=1", true),
            ("http://car.example/.well-known/ringback/knock", true),
            ("/.well-known/ringback/knock/", false),
            ("/?/.well-known/ringback/knock", false),
            ("/", false),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: car.example\r\n\r\n");
            assert_eq!(is_asked(head.as_bytes()), asked, "{target}");
        }
    }

    #[test]
    fn a_log_in_is_read_from_basic_authentication_and_from_nothing_like_it() {
        let read = |value: &str| {
            let it = basic_log_in(value)?;
            Some((it.user.to_string(), it.password.to_string()))
        };
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), both("Aladdin", "open sesame"));
        assert_eq!(read("basic  dGVzdDoxMjPCow=="), both("test", "123£"));
        assert_eq!(read("Basic bGVlOg=="), both("lee", ""));
        for wrong in ["Basic", "Basic bGVlOg", "Basic bGVl", "Basic b\x7f", "Bearer bGVlOg==", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_two_log_ins_in_one_head_none_counts() {
        let lee = "Authorization: Basic bGVlOmE=\r\n";
        for (fields, counts) in [(lee.to_owned(), true), (lee.repeat(2), false)] {
            let head = format!("GET {PATH} HTTP/1.1\r\nHost: car.example\r\n{fields}\r\n");
            let (_, visit) = visit(head.as_bytes(), true).unwrap().unwrap();
            assert_eq!(visit.log_in().is_some(), counts, "{fields}");
        }
    }

    #[test]
    fn a_log_in_is_read_from_the_form_and_from_nothing_like_it() {
        let read = |body: &str| {
            let it = form(body.as_bytes())?;
            Some((it.user.to_string(), it.password.to_string()))
        };
        let both = Some(("lee".to_owned(), "a b&c=é".to_owned()));
        assert_eq!(read("user=lee&password=a+b%26c=%C3%A9"), both);
        assert_eq!(read("password=a%20b%26c%3d%c3%a9&user=lee"), both);
        for wrong in [
            "",
            "user=lee",
            "user=a&password=b&user=c",
            "user=a&password=%+1",
            "user=a&password=%4",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read("user=a&password=%ff"), None, "no UTF-8");
    }

    #[test]
    fn a_body_that_is_long_or_of_no_known_length_is_not_read() {
        let kind = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
        for (fields, status) in [
            (format!("{kind}Content-Length: 1025\r\n"), Some("413 Content Too Large")),
            (
                format!("{kind}Content-Length: 9999999999999999999999\r\n"),
                Some("413 Content Too Large"),
            ),
            (format!("{kind}Transfer-Encoding: chunked\r\n"), Some("411 Length Required")),
            (kind.to_owned(), Some("411 Length Required")),
            (format!("{kind}Content-Length: +5\r\n"), Some("411 Length Required")),
            ("Content-Length: 5\r\n".to_owned(), Some("415 Unsupported Media Type")),
            (format!("{kind}Content-Length: 1024\r\n"), None),
        ] {
            let head = format!("POST {PATH} HTTP/1.1\r\nHost: car.example\r\n{fields}\r\n");
            let (_, visit) = visit(head.as_bytes(), true).unwrap().unwrap();
            match (visit.wanted, status) {
                (Wanted::Else(told), Some(status)) => assert_eq!(told, status, "{fields}"),
                (Wanted::Form(1024), None) => {}
                (other, _) => panic!("{fields}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_visitor_is_told_in_its_own_manner() {
        let browser = "Accept: text/html\r\n";
        let basic = "Accept: text/html\r\nAuthorization: Basic bGVlOmE=\r\n";
        let refused = Said::Refused(Refusal::Unauthorized);
        for (fields, said, words) in [
            (browser, Said::Form, &["200 OK", "<form", "10 minutes", "not encrypted"][..]),
            (browser, refused, &["403 Forbidden", "<form", "not right"]),
            (
                basic,
                refused,
                &["401 Unauthorized", "WWW-Authenticate: Basic realm=\"car.example\""],
            ),
            ("", Said::Form, &["401 Unauthorized", "text/plain"]),
            ("", refused, &["401 Unauthorized", "RB-UNAUTHORIZED"]),
            (
                "",
                Said::Open(0),
                &["200 OK", "car.example:2207 is open to 192.0.2.7 until 00:10 UTC"],
            ),
            (browser, Said::Open(86_340), &["200 OK", "car.example:2207", "until 00:09 UTC"]),
            (
                "",
                Said::Refused(Refusal::LockedOut(Duration::from_secs(9))),
                &["429 ", "Retry-After: 9\r\n"],
            ),
        ] {
            let told = told(fields, said);
            for words in words {
                assert!(told.contains(words), "{fields} {said:?}: no {words} in {told}");
            }
            assert!(
                told.contains("Cache-Control: no-store") && told.contains("default-src 'none'")
            );
            assert!(!told.contains("<script") && !told.contains("{content}"));
        }
    }

    fn told(fields: &str, said: Said) -> String {
        let head = format!("GET {PATH} HTTP/1.1\r\nHost: car.example\r\n{fields}\r\n");
        let (_, visit) = visit(head.as_bytes(), false).unwrap().unwrap();
        let name = TerminalName::parse("car.example").unwrap();
        let source = Source::of([192, 0, 2, 7].into());
        let ports = vec![(2207, Duration::from_secs(600))];
        String::from_utf8(visit.response(&Doors { name: &name, source, ports }, said)).unwrap()
    }
}
