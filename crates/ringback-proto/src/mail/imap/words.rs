//! The words of a response: atoms, strings, literals and lists (RFC 3501, 4).
//!
//! It goes forward only, and a list within a list is counted and not descended into.

use std::borrow::Cow;

/// What has not been read yet of a response.
pub(super) struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The octets up to the next space or the end; it may be empty.
    pub(super) fn word(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|it| b" \r\n".contains(it)).unwrap_or(self.0.len());
        let word = self.take(end);
        self.pass_space();
        word
    }

    /// Steps into a list.
    pub(super) fn open(&mut self) -> Option<()> {
        self.0 = self.0.strip_prefix(b"(")?;
        Some(())
    }

    /// The name before a value; it may hold spaces between brackets. `None` at the list's end.
    pub(super) fn name(&mut self) -> Option<&'a [u8]> {
        self.pass_space();
        let mut bracketed = false;
        let end = self.0.iter().position(|it| match it {
            b'[' => {
                bracketed = true;
                false
            }
            b']' => {
                bracketed = false;
                false
            }
            b' ' | b')' => !bracketed,
            _ => matches!(it, b'\r' | b'\n'),
        })?;
        let name = self.take(end);
        self.pass_space();
        (!name.is_empty()).then_some(name)
    }

    /// The value behind a name: what a string or a literal holds, or an atom or a list as it is.
    pub(super) fn value(&mut self) -> Option<Cow<'a, [u8]>> {
        match self.0.first()? {
            b'"' => self.string(),
            b'{' => self.literal().map(Cow::Borrowed),
            b'(' => self.list().map(Cow::Borrowed),
            _ => {
                let end = self.0.iter().position(|it| b" )\r\n".contains(it))?;
                Some(self.take(end).into())
            }
        }
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut value = Vec::new();
        let mut octets = self.0.iter().enumerate().skip(1);
        while let Some((at, octet)) = octets.next() {
            match octet {
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value.into());
                }
                b'\\' => value.push(*octets.next()?.1),
                _ => value.push(*octet),
            }
        }
        None
    }

    fn literal(&mut self) -> Option<&'a [u8]> {
        let line = self.0.iter().position(|it| *it == b'\n')? + 1;
        let length = super::literal(&self.0[..line])?;
        let value = self.0.get(line..line.checked_add(length)?)?;
        self.0 = &self.0[line + length..];
        Some(value)
    }

    fn list(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let mut depth = 0usize;
        loop {
            match self.0.first()? {
                b'"' => {
                    self.string()?;
                }
                b'{' => {
                    self.literal()?;
                }
                octet => {
                    depth = match octet {
                        b'(' => depth + 1,
                        b')' => depth - 1,
                        _ => depth,
                    };
                    self.0 = &self.0[1..];
                    if depth == 0 {
                        return Some(&whole[..whole.len() - self.0.len()]);
                    }
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn pass_space(&mut self) {
        self.0 = self.0.strip_prefix(b" ").unwrap_or(self.0);
    }
}
