//! The text of a mail: its first part of plain text, decoded and without quotation marks.
//!
//! Mail agents wrap, encode, quote and forward; mailing lists put words around. What a signal's
//! text form survives anyway (words before and after, broken lines) is left alone here. What it
//! does not survive is undone: transfer encodings, parts and the `>` of a quotation.
//!
//! HTML is not read, not even where there is nothing else: Ringback sends plain text, agents that
//! make HTML of it keep the plain text beside it, and a reader of HTML would read what anybody on
//! the Internet has written. Attachments and mails within mails are not opened.

use std::borrow::Cow;

use super::transfer;
use crate::limits::{MAIL_BOUNDARY_OCTETS, MAIL_NESTING, MAIL_PARTS, MESSAGE_OCTETS};
use crate::terminal::MailAddress;

/// The first octets of the first plain text in a mail; `None` if none is where it is looked for.
///
/// It looks at the first few parts and opens a multipart within a multipart, and no more.
pub fn text(mail: &[u8]) -> Option<Vec<u8>> {
    let mut parts = MAIL_PARTS;
    text_within(Entity::new(mail), MAIL_NESTING, &mut parts)
}

/// Who says to have sent a mail; anybody can say so.
pub fn sender(mail: &[u8]) -> Option<MailAddress> {
    let from = Entity::new(mail).field("from")?;
    let address = match from.rsplit_once('<') {
        Some((_, behind)) => behind.split_once('>')?.0,
        None => &from,
    };
    MailAddress::parse(address.trim()).ok()
}

fn text_within(entity: Entity<'_>, nesting: usize, parts: &mut usize) -> Option<Vec<u8>> {
    let content_type = ContentType::read(entity.field("content-type"));
    if content_type.is("text/plain") {
        let disposition = entity.field("content-disposition").unwrap_or_default();
        let attached = disposition.trim().to_ascii_lowercase().starts_with("attachment");
        return (!attached).then(|| unquoted(&entity.decoded()));
    }
    if !content_type.name.starts_with("multipart/") || nesting == 0 {
        return None;
    }

    let boundary = content_type.boundary()?;
    let mut rest = Part::until(entity.body, &boundary);
    while let Next::Part(begin) = rest.next {
        if *parts == 0 {
            return None;
        }
        *parts -= 1;
        rest = Part::until(begin, &boundary);
        if let Some(text) = text_within(Entity::new(rest.octets), nesting - 1, parts) {
            return Some(text);
        }
    }
    None
}

/// Headers and a body: a mail, or a part of one.
#[derive(Clone, Copy)]
struct Entity<'a> {
    headers: &'a [u8],
    body: &'a [u8],
}

impl<'a> Entity<'a> {
    fn new(octets: &'a [u8]) -> Self {
        let mut at = 0;
        for line in octets.split_inclusive(|it| *it == b'\n') {
            if line.trim_ascii().is_empty() {
                return Self { headers: &octets[..at], body: &octets[at + line.len()..] };
            }
            at += line.len();
        }
        Self { headers: octets, body: &[] }
    }

    /// The first header field of this name, in lower case, with its lines joined.
    fn field(&self, name: &str) -> Option<String> {
        let mut value: Option<Vec<u8>> = None;
        for line in self.headers.split(|it| *it == b'\n') {
            let continues = line.first().is_some_and(|it| b" \t".contains(it));
            match &mut value {
                Some(value) if continues => value.extend(line),
                Some(_) => break,
                None => {
                    let colon = line.iter().position(|it| *it == b':');
                    let Some((before, behind)) = colon.map(|at| line.split_at(at)) else {
                        continue;
                    };
                    if before.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
                        value = Some(behind[1..].to_vec());
                    }
                }
            }
        }
        value.map(|it| String::from_utf8_lossy(&it).into_owned())
    }

    fn decoded(&self) -> Cow<'a, [u8]> {
        let encoding = self.field("content-transfer-encoding").unwrap_or_default();
        match encoding.trim().to_ascii_lowercase().as_str() {
            "base64" => transfer::from_base64(self.body, MESSAGE_OCTETS).into(),
            "quoted-printable" => transfer::from_quoted_printable(self.body, MESSAGE_OCTETS).into(),
            _ => self.body[..self.body.len().min(MESSAGE_OCTETS)].into(),
        }
    }
}

/// What a part is, and the parameters that say more of it (RFC 2045, 5.1).
struct ContentType {
    name: String,
    parameters: String,
}

impl ContentType {
    fn read(field: Option<String>) -> Self {
        let field = field.unwrap_or_else(|| "text/plain".to_owned());
        let (name, parameters) = field.split_once(';').unwrap_or((&field, ""));
        Self { name: name.trim().to_ascii_lowercase(), parameters: parameters.to_owned() }
    }

    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn boundary(&self) -> Option<Vec<u8>> {
        let mut rest = self.parameters.as_str();
        loop {
            let (name, behind) = rest.split_once('=')?;
            let (value, after) = parameter(behind.trim_start());
            let name = name.trim_matches(|it: char| it == ';' || it.is_whitespace());
            if name.eq_ignore_ascii_case("boundary") {
                let fits = !value.is_empty() && value.len() <= MAIL_BOUNDARY_OCTETS;
                return fits.then(|| value.into_bytes());
            }
            rest = after;
        }
    }
}

/// Reads a parameter's value, quoted or not; also gives what stands behind it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), after);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, it)| it)),
            _ => value.push(character),
        }
    }
    (value, "")
}

/// What stands before a delimiter, and what comes behind it.
struct Part<'a> {
    octets: &'a [u8],
    next: Next<'a>,
}

enum Next<'a> {
    /// Another part begins here.
    Part(&'a [u8]),
    /// That was the last one.
    End,
}

impl<'a> Part<'a> {
    fn until(octets: &'a [u8], boundary: &[u8]) -> Self {
        let mut at = 0;
        for line in octets.split_inclusive(|it| *it == b'\n') {
            let delimiter = line.strip_prefix(b"--").and_then(|it| it.strip_prefix(boundary));
            let next = match delimiter.map(<[u8]>::trim_ascii_end) {
                Some([]) => Next::Part(&octets[at + line.len()..]),
                Some([b'-', b'-']) => Next::End,
                Some(_) | None => {
                    at += line.len();
                    continue;
                }
            };
            return Self { octets: &octets[..at], next };
        }
        Self { octets, next: Next::End }
    }
}

/// Takes the marks of quotations, and what is indented, from the beginnings of lines.
fn unquoted(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|it| *it == b'\n');
    let kept = lines.flat_map(|line| {
        let mark = line.iter().take_while(|it| b"> \t".contains(it)).count();
        &line[mark..]
    });
    kept.copied().collect()
}
