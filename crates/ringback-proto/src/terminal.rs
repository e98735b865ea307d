//! What a terminal is called: its name, its number, its mail address, its services.
//!
//! Parsed once at the edge and valid for ever after; nothing here can be built wrong.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits;

mod callees;

pub use callees::Callees;

/// A terminal's name in DNS: lower case, no trailing dot (RFC 1035, 2.3.1; RFC 1123, 2.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TerminalName(String);

/// A service of a terminal, by the number that both proxies' tables know it by; 0 is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u16);

/// A call number in international form (ITU-T E.164): one to fifteen digits, the first not zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNumber(String);

/// A mail address as far as a signal needs one: printable ASCII, one `@`, at most 254 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailAddress(String);

/// Whom a signal is for, by the address of the bearer that carries it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callee {
    /// The terminal's call number (SMS).
    Number(CallNumber),
    /// The terminal's mail address (e-mail).
    Mail(MailAddress),
}

/// Who owns terminals and pays for their rings: 1 to 32 small letters, digits, hyphens, underscores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName {
    /// Filled up with zeros.
    octets: [u8; limits::TENANT_OCTETS],
}

/// Why a text is no name, number or address.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Misnamed {
    /// Not a host name.
    #[error(
        "not a host name: letters, digits and inner hyphens in labels of 1 to 63, 253 in all, \
         and not an IP address"
    )]
    Name,
    /// Not an E.164 number.
    #[error("not a call number: a plus sign and 1 to 15 digits, the first not zero")]
    Number,
    /// Not a tenant's name.
    #[error("not a tenant's name: 1 to 32 small letters, digits, hyphens and underscores")]
    Tenant,
    /// Not a mail address.
    #[error("not a mail address: printable ASCII around one @, at most 254 octets")]
    Mail,
    /// Neither a call number nor a mail address.
    #[error("neither a call number (a plus sign and digits) nor a mail address")]
    Callee,
}

impl TerminalName {
    /// Reads a host name in any case, with or without the trailing dot.
    pub fn parse(text: &str) -> Result<Self, Misnamed> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            let octets = label.as_bytes();
            !octets.is_empty()
                && octets.len() <= 63
                && octets.iter().all(|it| it.is_ascii_alphanumeric() || *it == b'-' || *it == b'_')
                && octets[0] != b'-'
                && octets[octets.len() - 1] != b'-'
        };
        let numeric_end =
            text.rsplit('.').next().is_some_and(|it| it.bytes().all(|b| b.is_ascii_digit()));
        if text.is_empty() || 253 < text.len() || numeric_end || !text.split('.').all(label) {
            return Err(Misnamed::Name);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name, lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TenantName {
    /// The owner of whatever has no other.
    pub const DEFAULT: &str = "default";

    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, Misnamed> {
        let good = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_".contains(&it);
        if text.is_empty() || limits::TENANT_OCTETS < text.len() || !text.bytes().all(good) {
            return Err(Misnamed::Tenant);
        }
        let mut octets = [0; limits::TENANT_OCTETS];
        octets[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { octets })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let end = self.octets.iter().position(|it| *it == 0).unwrap_or(limits::TENANT_OCTETS);
        std::str::from_utf8(&self.octets[..end]).unwrap_or_default()
    }
}

impl Default for TenantName {
    fn default() -> Self {
        Self::parse(Self::DEFAULT).expect("a good name")
    }
}

impl FromStr for TenantName {
    type Err = Misnamed;
    fn from_str(text: &str) -> Result<Self, Misnamed> {
        Self::parse(text)
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CallNumber {
    /// Reads `+` and digits.
    pub fn parse(text: &str) -> Result<Self, Misnamed> {
        let digits = text.strip_prefix('+').ok_or(Misnamed::Number)?;
        let good = !digits.is_empty()
            && digits.len() <= 15
            && digits.bytes().all(|it| it.is_ascii_digit())
            && !digits.starts_with('0');
        if !good {
            return Err(Misnamed::Number);
        }
        Ok(Self(digits.to_owned()))
    }

    /// The digits, without the plus sign.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl MailAddress {
    /// Reads an address; quoting and comments of RFC 5322 are refused, not understood.
    pub fn parse(text: &str) -> Result<Self, Misnamed> {
        let Some((local, domain)) = text.split_once('@') else { return Err(Misnamed::Mail) };
        let graphic = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|it| it.is_ascii_graphic() && !b"@<>\",;:\\()[]".contains(&it))
        };
        if 254 < text.len() || !graphic(local) || !graphic(domain) {
            return Err(Misnamed::Mail);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for TerminalName {
    type Err = Misnamed;
    fn from_str(text: &str) -> Result<Self, Misnamed> {
        Self::parse(text)
    }
}

impl FromStr for CallNumber {
    type Err = Misnamed;
    fn from_str(text: &str) -> Result<Self, Misnamed> {
        Self::parse(text)
    }
}

impl FromStr for MailAddress {
    type Err = Misnamed;
    fn from_str(text: &str) -> Result<Self, Misnamed> {
        Self::parse(text)
    }
}

/// Whatever begins with a plus sign and has no `@` is meant to be a call number.
impl FromStr for Callee {
    type Err = Misnamed;
    fn from_str(text: &str) -> Result<Self, Misnamed> {
        if text.contains('@') {
            return MailAddress::parse(text).map(Self::Mail);
        }
        if text.starts_with('+') {
            return CallNumber::parse(text).map(Self::Number);
        }
        Err(Misnamed::Callee)
    }
}

impl fmt::Display for TerminalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TerminalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows the country and the last two digits only: a whole number is personal data.
impl fmt::Debug for CallNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.chars().next(), self.0.len().saturating_sub(2));
        write!(f, "+{}…{}", first.unwrap_or('?'), &self.0[last..])
    }
}

/// Shows the domain only: a whole address is personal data.
impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…@{}", self.domain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_to_lower_case_without_its_dot() {
        assert_eq!(
            TerminalName::parse("Car-7.Fleet.Example.").unwrap().as_str(),
            "car-7.fleet.example"
        );
    }

    #[test]
    fn an_address_or_a_broken_label_is_no_name() {
        let long = "a".repeat(64);
        let longer = ["a"; 128].join(".");
        for text in
            ["", ".", "192.0.2.1", "a..b", "-a.b", "a-.b", "a b", "ä.b", "[::1]", &long, &longer]
        {
            assert_eq!(TerminalName::parse(text), Err(Misnamed::Name), "{text}");
        }
    }

    #[test]
    fn a_number_has_a_plus_and_one_to_fifteen_digits() {
        assert_eq!(CallNumber::parse("+15550100777").unwrap().digits(), "15550100777");
        for text in ["", "+", "15550100777", "+0155", "+1555-01", "+1234567890123456", "+١٢"] {
            assert_eq!(CallNumber::parse(text), Err(Misnamed::Number), "{text}");
        }
    }

    #[test]
    fn a_mail_address_has_two_plain_parts() {
        assert_eq!(MailAddress::parse("car@fleet.example").unwrap().as_str(), "car@fleet.example");
        for text in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\r\nBcc: d@e", "\"a\"@b", "<a@b>"] {
            assert_eq!(MailAddress::parse(text), Err(Misnamed::Mail), "{text}");
        }
    }

    #[test]
    fn a_callee_is_told_by_its_sign() {
        let number = CallNumber::parse("+15550100777").unwrap();
        assert_eq!("+15550100777".parse(), Ok(Callee::Number(number)));
        let mail = MailAddress::parse("+1555@fleet.example").unwrap();
        assert_eq!("+1555@fleet.example".parse(), Ok(Callee::Mail(mail)));
        assert_eq!("+0".parse::<Callee>(), Err(Misnamed::Number));
        assert_eq!("@".parse::<Callee>(), Err(Misnamed::Mail));
        assert_eq!("5550100777".parse::<Callee>(), Err(Misnamed::Callee));
    }

    #[test]
    fn personal_data_is_masked_in_debug() {
        assert_eq!(format!("{:?}", CallNumber::parse("+15550100777").unwrap()), "+1…77");
        assert_eq!(
            format!("{:?}", MailAddress::parse("carla@fleet.example").unwrap()),
            "…@fleet.example"
        );
    }
}
