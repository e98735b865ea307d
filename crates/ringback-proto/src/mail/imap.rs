//! What a mailbox's server says (RFC 3501, 7), as far as a mailbox is watched.
//!
//! Boundary before meaning: a response is cut by its line ends and the lengths of its literals
//! alone, and is bounded before it is read. What is not understood is passed over.

use thiserror::Error;

use crate::limits::{IMAP_RESPONSE_OCTETS, MAIL_NAME_OCTETS};
use words::Words;

mod words;

/// Cuts responses out of what a server sends.
#[derive(Debug, Default)]
pub struct Responses {
    buffer: Vec<u8>,
    /// Where the line begins that has no end yet: behind the last literal.
    line: usize,
    /// How far that line has been searched for its end.
    searched: usize,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The server is ready for what comes next.
    GoOn,
    /// A command of this tag has ended.
    Ended {
        /// The tag.
        tag: String,
        /// How.
        outcome: Outcome,
        /// In the server's words, which may name people.
        words: String,
    },
    /// The server says something of itself.
    Status {
        /// Of what kind.
        outcome: Outcome,
        /// The UIDs of the selected folder are valid under this number.
        validity: Option<u32>,
        /// The next mail of the selected folder will have this UID, or a higher one.
        next: Option<u32>,
        /// In the server's words, which may name people.
        words: String,
    },
    /// What the server is able to do, in upper case.
    Capabilities(Vec<String>),
    /// The selected folder holds so many mails.
    Exists(u32),
    /// A mail has been removed.
    Expunged,
    /// What is asked for of a mail.
    Fetched(Fetched),
    /// Something of a mail, but nobody can read what.
    Unreadable,
    /// Something else.
    Other,
}

/// How something has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// It was refused.
    No,
    /// It was not understood.
    Bad,
    /// The server says farewell.
    Bye,
    /// The server needs no login.
    Preauth,
}

/// A mail, as far as it was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Its number within the folder; 0 if the server did not say.
    pub uid: u32,
    /// Whether it is marked as read.
    pub seen: bool,
    /// Header fields.
    pub headers: Vec<u8>,
    /// The beginning of its body.
    pub body: Vec<u8>,
}

/// Why what a server sends is no response.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// It is longer than anything that was asked for.
    #[error("a response of more than {IMAP_RESPONSE_OCTETS} octets")]
    Length,
}

/// A folder of a mailbox, by the name its server knows: printable ASCII, so modified UTF-7 beyond.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder(String);

impl Folder {
    /// Takes a name in, unless it is empty, too long or not printable ASCII.
    pub fn parse(name: &str) -> Option<Self> {
        quoted(name).map(|_| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a command has it.
    pub fn quoted(&self) -> String {
        quoted(&self.0).unwrap_or_default()
    }
}

/// Writes a name for a command; `None` if it is empty, too long or not printable ASCII.
pub(super) fn quoted(text: &str) -> Option<String> {
    let plain = text.bytes().all(|it| it == b' ' || it.is_ascii_graphic());
    if text.is_empty() || MAIL_NAME_OCTETS < text.len() || !plain {
        return None;
    }
    Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

impl Responses {
    /// Takes octets in; a few thousand at a time, since they are bounded when they are cut.
    pub fn handle_input(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Whether there is anything that has not been read yet.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next response; `None` if more octets are needed.
    pub fn poll_response(&mut self) -> Result<Option<Response>, Malformed> {
        loop {
            let unsearched = self.buffer.get(self.searched.max(self.line)..).unwrap_or(&[]);
            let Some(end) = unsearched.iter().position(|it| *it == b'\n') else {
                self.searched = self.buffer.len();
                let too_long = IMAP_RESPONSE_OCTETS < self.buffer.len();
                return if too_long { Err(Malformed::Length) } else { Ok(None) };
            };
            let end = self.searched.max(self.line) + end + 1;
            if IMAP_RESPONSE_OCTETS < end {
                return Err(Malformed::Length);
            }
            if let Some(length) = literal(&self.buffer[self.line..end]) {
                self.line = end.saturating_add(length);
                self.searched = self.line;
                if IMAP_RESPONSE_OCTETS < self.line {
                    return Err(Malformed::Length);
                }
                continue;
            }
            let response = Response::read(&self.buffer[..end]);
            self.buffer.drain(..end);
            (self.line, self.searched) = (0, 0);
            return Ok(Some(response));
        }
    }
}

impl Response {
    fn read(octets: &[u8]) -> Self {
        let mut words = Words::new(octets);
        match words.word() {
            b"+" => Self::GoOn,
            b"*" => Self::read_untagged(words),
            tag => match outcome(words.word()) {
                Some(outcome) => {
                    Self::Ended { tag: as_text(tag), outcome, words: as_text(words.rest()) }
                }
                None => Self::Other,
            },
        }
    }

    fn read_untagged(mut words: Words<'_>) -> Self {
        let word = words.word();
        if let Some(outcome) = outcome(word) {
            let words = as_text(words.rest());
            let [validity, next] = ["UIDVALIDITY", "UIDNEXT"].map(|name| of_code(name, &words));
            return Self::Status { outcome, validity, next, words };
        }
        if word.eq_ignore_ascii_case(b"CAPABILITY") {
            let capabilities = as_text(words.rest()).to_ascii_uppercase();
            return Self::Capabilities(capabilities.split(' ').map(str::to_owned).collect());
        }
        let Some(number) = number(word) else { return Self::Other };
        match words.word().to_ascii_uppercase().as_slice() {
            b"EXISTS" => Self::Exists(number),
            b"EXPUNGE" => Self::Expunged,
            b"FETCH" => Fetched::read(words).map_or(Self::Unreadable, Self::Fetched),
            _ => Self::Other,
        }
    }
}

impl Fetched {
    /// Reads the list of names and values; `None` if it is none.
    fn read(mut words: Words<'_>) -> Option<Self> {
        let mut fetched = Self::default();
        words.open()?;
        while let Some(name) = words.name() {
            let value = words.value()?;
            let name = name.to_ascii_uppercase();
            if name == b"UID" {
                fetched.uid = number(&value)?;
            }
            if name == b"FLAGS" {
                fetched.seen = value
                    .split(|it| b" ()".contains(it))
                    .any(|flag| flag.eq_ignore_ascii_case(b"\\Seen"));
            }
            if name.starts_with(b"BODY[HEADER") {
                fetched.headers = value.into_owned();
                continue;
            }
            if name.starts_with(b"BODY[TEXT") {
                fetched.body = value.into_owned();
            }
        }
        Some(fetched)
    }
}

fn outcome(word: &[u8]) -> Option<Outcome> {
    match word.to_ascii_uppercase().as_slice() {
        b"OK" => Some(Outcome::Ok),
        b"NO" => Some(Outcome::No),
        b"BAD" => Some(Outcome::Bad),
        b"BYE" => Some(Outcome::Bye),
        b"PREAUTH" => Some(Outcome::Preauth),
        _ => None,
    }
}

/// The length of the literal that a line announces at its end: `{7}`, or `{7+}`.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let open = line.iter().rposition(|it| *it == b'{')?;
    let digits = &line[open + 1..];
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // More digits than a number has are a length beyond every limit.
    Some(number(digits).and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX))
}

/// The number that a code of this name holds: `[UIDNEXT 7]`.
fn of_code(wanted: &str, words: &str) -> Option<u32> {
    let code = words.strip_prefix('[')?.split_once(']')?.0;
    let (name, value) = code.split_once(' ')?;
    if !name.eq_ignore_ascii_case(wanted) {
        return None;
    }
    value.trim().parse().ok()
}

/// The code before a server's words, which names nobody: `[NONEXISTENT]`.
pub fn code(words: &str) -> &str {
    let end = words.strip_prefix('[').and_then(|it| it.find(|it: char| !is_of_code(it)));
    match end.map(|it| words.split_at(it + 1)) {
        Some((code, behind)) if behind.starts_with(']') => &words[..=code.len()],
        Some(_) | None => "",
    }
}

fn is_of_code(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-'
}

fn number(word: &[u8]) -> Option<u32> {
    if !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(word).ok()?.parse().ok()
}

fn as_text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim().to_owned()
}
