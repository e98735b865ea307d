//! What a mail server answers to an SMTP command (RFC 5321, 4.2).
//!
//! Only the code decides; the words are the server's, and may name people.

use thiserror::Error;

use crate::limits::SMTP_REPLY_OCTETS;

/// Cuts replies out of what a server sends.
#[derive(Debug, Default)]
pub struct Replies {
    buffer: Vec<u8>,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// What a reply means, by its first digit (RFC 5321, 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What was asked for is done.
    Done,
    /// The server is ready for what belongs to it.
    GoOn,
    /// The server refuses it for now.
    NotNow,
    /// The server would always refuse it.
    Never,
}

/// Why what a server sends is no reply.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// It does not end.
    #[error("a reply of more than {SMTP_REPLY_OCTETS} octets")]
    Length,
    /// It does not begin with three digits, or with different ones in each line.
    #[error("not a reply of SMTP")]
    Code,
}

impl Replies {
    /// Takes octets in.
    pub fn handle_input(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Whether there is anything that has not been read yet.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next reply; `None` if more octets are needed.
    pub fn poll_reply(&mut self) -> Result<Option<Reply>, Malformed> {
        let mut reply: Option<Reply> = None;
        let mut at = 0;
        for line in self.buffer.split_inclusive(|it| *it == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            at += line.len();
            let (code, last, words) = read_line(line.trim_ascii_end())?;
            let reply = reply.get_or_insert(Reply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(Malformed::Code);
            }
            reply.lines.push(String::from_utf8_lossy(words).into_owned());
            if last {
                let reply = reply.clone();
                self.buffer.drain(..at);
                return Ok(Some(reply));
            }
        }
        if SMTP_REPLY_OCTETS < self.buffer.len() { Err(Malformed::Length) } else { Ok(None) }
    }
}

impl Reply {
    /// What it means.
    pub fn class(&self) -> Class {
        match self.code {
            ..300 => Class::Done,
            300..400 => Class::GoOn,
            400..500 => Class::NotNow,
            500.. => Class::Never,
        }
    }

    /// Whether the server closes the connection, whatever it was asked for (RFC 5321, 3.8).
    pub fn is_farewell(&self) -> bool {
        self.code == 421
    }

    /// Whether an answer to EHLO names this extension.
    pub fn offers(&self, extension: &str) -> bool {
        self.extension(extension).is_some()
    }

    /// Whether an answer to EHLO names this way to log in.
    pub fn offers_login(&self, mechanism: &str) -> bool {
        let mechanisms = self.extension("AUTH").unwrap_or("");
        mechanisms.split(' ').any(|it| it.eq_ignore_ascii_case(mechanism))
    }

    /// The code, with the enhanced one if there is one (RFC 3463); it names nobody.
    pub fn status(&self) -> String {
        let words = self.lines.last().map_or("", String::as_str);
        let enhanced = words.split(' ').next().unwrap_or("");
        let digits = |it: &str| {
            (1..=3).contains(&it.len()) && it.bytes().all(|digit| digit.is_ascii_digit())
        };
        if enhanced.split('.').count() == 3 && enhanced.split('.').all(digits) {
            return format!("{} {enhanced}", self.code);
        }
        self.code.to_string()
    }

    /// What the server said; it may name people.
    pub fn words(&self) -> String {
        self.lines.join(" ")
    }

    fn extension(&self, name: &str) -> Option<&str> {
        // The first line greets.
        self.lines.iter().skip(1).find_map(|line| {
            let (word, parameters) = line.split_once(' ').unwrap_or((line, ""));
            word.eq_ignore_ascii_case(name).then_some(parameters)
        })
    }
}

/// Reads a line: the code, whether it is the last one, and the words.
fn read_line(line: &[u8]) -> Result<(u16, bool, &[u8]), Malformed> {
    let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
        return Err(Malformed::Code);
    };
    let code = [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
    match rest {
        [] => Ok((code, true, rest)),
        [b' ', words @ ..] => Ok((code, true, words)),
        [b'-', words @ ..] => Ok((code, false, words)),
        [_, ..] => Err(Malformed::Code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reply {
        let mut replies = Replies::default();
        replies.handle_input(text.as_bytes());
        let reply = replies.poll_reply().unwrap().unwrap();
        assert!(replies.is_empty());
        reply
    }

    #[test]
    fn a_reply_is_read_however_it_is_cut() {
        let text = b"250-mail.test Hello\r\n250-AUTH PLAIN login\r\n250 STARTTLS\r\n354\r\n";
        let mut replies = Replies::default();
        let mut read = Vec::new();
        for octet in text {
            replies.handle_input(&[*octet]);
            read.extend(replies.poll_reply().unwrap());
        }
        assert!(replies.is_empty());
        assert_eq!(read.len(), 2);
        assert!(read[0].offers("starttls") && read[0].offers_login("LOGIN"));
        assert!(!read[0].offers("mail.test") && !read[0].offers_login("CRAM-MD5"));
        assert_eq!([read[0].class(), read[1].class()], [Class::Done, Class::GoOn]);
    }

    #[test]
    fn only_the_code_decides_and_the_status_names_nobody() {
        let gone = read("550 5.1.1 <carla@fleet.example>: no such user\r\n");
        assert_eq!(gone.class(), Class::Never);
        assert_eq!(gone.status(), "550 5.1.1");
        let busy = read("451 carla@fleet.example is busy\r\n");
        assert_eq!((busy.class(), busy.is_farewell()), (Class::NotNow, false));
        assert_eq!(busy.status(), "451");
        assert!(read("421 mail.test\r\n").is_farewell());
    }

    #[test]
    fn what_is_no_reply_is_an_error_and_not_a_wait() {
        for text in [
            "HTTP/1.1 400 Bad\r\n",
            "\r\n",
            "25\r\n",
            "250-a\r\n550 b\r\n",
            "199 a\r\n",
            "2500\r\n",
        ] {
            let mut replies = Replies::default();
            replies.handle_input(text.as_bytes());
            assert_eq!(replies.poll_reply(), Err(Malformed::Code), "{text:?}");
        }
        let mut replies = Replies::default();
        replies.handle_input("250-a\r\n".repeat(SMTP_REPLY_OCTETS / 7 + 1).as_bytes());
        assert_eq!(replies.poll_reply(), Err(Malformed::Length));
    }
}
