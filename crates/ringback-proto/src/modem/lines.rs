//! Cuts what a modem sends into lines, and finds the prompt, which is not one.
//!
//! It holds one unfinished line and no more; a line that is too long is lost whole.

use crate::limits::MODEM_LINE_OCTETS;

/// What has come from a modem and is not yet read.
#[derive(Debug, Default)]
pub struct Lines {
    unread: Vec<u8>,
    /// Within a line that is too long.
    skipping: bool,
}

/// What a modem has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A line, without the spaces and zeros around it; never empty.
    Line(String),
    /// It asks for a message.
    Prompt,
}

impl Lines {
    /// Takes octets in; [`Lines::next`] is then to be called until there is nothing more.
    pub fn extend(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
    }

    /// Forgets what is unread.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next thing said. Only who awaits a prompt hears it: a line may well start like one.
    pub fn next(&mut self, awaits_prompt: bool) -> Option<Said> {
        loop {
            if let Some(end) = self.unread.iter().position(|it| *it == b'\r' || *it == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let skipped = std::mem::take(&mut self.skipping) || MODEM_LINE_OCTETS < end;
                let line = text(&line);
                if skipped || line.is_empty() {
                    continue;
                }
                return Some(Said::Line(line));
            }

            let start = self.unread.iter().position(|it| *it != b' ' && *it != 0);
            if let Some(start) = start
                && awaits_prompt
                && self.unread[start] == b'>'
                && !self.skipping
            {
                self.unread.drain(..=start);
                return Some(Said::Prompt);
            }
            if MODEM_LINE_OCTETS < self.unread.len() {
                self.unread.clear();
                self.skipping = true;
            }
            return None;
        }
    }
}

fn text(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    line.trim_matches(|it: char| it.is_whitespace() || it == '\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &mut Lines, octets: &[u8], awaits_prompt: bool) -> Vec<Said> {
        lines.extend(octets);
        std::iter::from_fn(|| lines.next(awaits_prompt)).collect()
    }

    fn line(text: &str) -> Said {
        Said::Line(text.to_owned())
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let octets = b"\r\n+CMTI: \"SM\",1\r\n\0\r\nOK\r";
        let mut lines = Lines::default();
        let cut: Vec<Said> = octets.iter().flat_map(|it| said(&mut lines, &[*it], false)).collect();
        assert_eq!(cut, [line("+CMTI: \"SM\",1"), line("OK")]);
        assert_eq!(said(&mut Lines::default(), octets, false), cut);
    }

    #[test]
    fn a_prompt_is_heard_with_and_without_its_space_and_by_who_awaits_it() {
        for octets in [b"\r\n> ".as_slice(), b"\r\n>", b"> "] {
            assert_eq!(said(&mut Lines::default(), octets, true), [Said::Prompt]);
            assert_eq!(said(&mut Lines::default(), octets, false), []);
        }
        let mut lines = Lines::default();
        let heard = said(&mut lines, b"\r\n+CMTI: \"SM\",1\r\n\r\n>", true);
        assert_eq!(heard, [line("+CMTI: \"SM\",1"), Said::Prompt]);
        assert_eq!(said(&mut lines, b" \r\n+CMGS: 7\r\n", false), [line("+CMGS: 7")]);
    }

    #[test]
    fn a_line_without_end_is_lost_and_the_next_is_not() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            assert_eq!(said(&mut lines, &[b'A'; 100], false), []);
            assert!(lines.unread.len() <= MODEM_LINE_OCTETS + 100);
        }
        assert_eq!(said(&mut lines, b"B\r\nOK\r\n", false), [line("OK")]);
        let long = [[b'A'; MODEM_LINE_OCTETS + 1].as_slice(), b"\rOK\r"].concat();
        assert_eq!(said(&mut lines, &long, false), [line("OK")]);
    }
}
