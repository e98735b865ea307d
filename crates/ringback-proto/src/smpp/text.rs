//! Short texts and addresses as SMPP fields hold them: bounded, Latin-1, ended by a zero octet.
//!
//! A [`Text`] cannot be built too long or with a zero octet inside, so encoding never fails.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A C-octet string of at most `N` octets, the closing zero counted.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<const N: usize>(String);

/// A password: wiped when dropped, compared in constant time, never printed.
///
/// The specification stops at 8 characters; operators are known to hand out longer ones.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

/// Who sends a message, or whom it is for.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Type of number: 0 unknown, 1 international, 3 network specific, 5 alphanumeric.
    pub ton: u8,
    /// Numbering plan: 0 unknown, 1 E.164.
    pub npi: u8,
    /// The digits, without a plus sign.
    pub digits: Text<65>,
}

impl<const N: usize> Text<N> {
    /// Takes a text in if it fits.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.chars().all(|it| '\0' < it && it <= '\u{ff}') && text.chars().count() < N;
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads octets that hold no zero; `None` if there are too many.
    pub(crate) fn from_latin1(octets: &[u8]) -> Option<Self> {
        (octets.len() < N).then(|| Self(octets.iter().map(|&it| char::from(it)).collect()))
    }

    /// Appends the octets and the closing zero.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(latin1(&self.0));
        out.push(0);
    }
}

impl Password {
    /// Octets of the longest password, the closing zero counted.
    pub(crate) const OCTETS: usize = 33;

    /// Takes a password in if it fits.
    pub fn new(text: &str) -> Option<Self> {
        Text::<{ Self::OCTETS }>::new(text).map(|it| Self(it.0))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(latin1(&self.0));
        out.push(0);
    }
}

impl Address {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.ton, self.npi]);
        self.digits.encode(out);
    }

    /// Reads an address as people write them: `+` and digits, a short code, or a name.
    pub fn parse(text: &str) -> Option<Self> {
        let (ton, npi, digits) = match text.strip_prefix('+') {
            Some(digits) => (1, 1, digits),
            None if text.is_empty() => (0, 0, text),
            None if text.bytes().all(|it| it.is_ascii_digit()) => (3, 0, text),
            None => (5, 0, text),
        };
        let numeric = ton == 5 || digits.bytes().all(|it| it.is_ascii_digit());
        // 21 octets are what submit_sm allows; only data_sm goes to 65.
        Text::<21>::new(digits).filter(|_| numeric)?;
        Some(Self { ton, npi, digits: Text::new(digits)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.ton == 1 { "+" } else { "" }, self.digits.as_str())
    }
}

/// Shows the last two characters only: a whole number is personal data.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.digits.0.chars().count();
        let end: String = self.digits.0.chars().skip(count.saturating_sub(2)).collect();
        write!(f, "…{end}")
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

// Every char was checked to be below 256 when the text was taken in.
fn latin1(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.chars().map(|it| u8::try_from(u32::from(it)).unwrap_or(b'?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_does_not_fit_cannot_be_built() {
        assert!(Text::<4>::new("abc").is_some());
        for text in ["abcd", "a\0b", "a€"] {
            assert_eq!(Text::<4>::new(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_finds_its_type_of_number() {
        let kind = |text| Address::parse(text).map(|it| (it.ton, it.npi));
        assert_eq!(kind("+15550100777"), Some((1, 1)));
        assert_eq!(kind("70707"), Some((3, 0)));
        assert_eq!(kind("Ringback"), Some((5, 0)));
        assert_eq!(kind(""), Some((0, 0)));
        assert_eq!(kind("+1555x"), None);
        assert_eq!(kind("123456789012345678901"), None);
        assert_eq!(Address::parse("+15550100777").unwrap().to_string(), "+15550100777");
    }

    #[test]
    fn neither_a_number_nor_a_password_prints_itself() {
        assert_eq!(format!("{:?}", Address::parse("+15550100777").unwrap()), "…77");
        assert_eq!(format!("{:?}", Password::new("secret").unwrap()), "Password(…)");
    }
}
