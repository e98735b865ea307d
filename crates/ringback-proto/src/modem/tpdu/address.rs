//! Who sends a message, whom it is for, and the center it goes by (3GPP TS 23.040, 9.1.2.5).
//!
//! An address cannot be built longer than its field, so encoding never fails.

use std::fmt;

use super::{Malformed, Reader, gsm7};
use crate::limits::MODEM_ADDRESS_DIGITS;

/// A number, or a name made of letters.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    kind: Kind,
    text: String,
}

/// What an address's text is: its type of number and its numbering plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A number in international form, without its plus sign.
    International,
    /// A name in the GSM 7-bit alphabet.
    Name,
    /// Digits of any other kind, by the octet that says which.
    Other(u8),
    /// Digits, and it is not known of which kind.
    #[default]
    Unknown,
}

/// What the sixteen semi-octets stand for; the last one fills up.
const DIGITS: &[u8; 15] = b"0123456789*#abc";
const FILLER: u8 = 0x0f;
/// Septets of the longest name: they fill the octets of the longest number.
const NAME_SEPTETS: usize = MODEM_ADDRESS_DIGITS * 4 / 7;
/// Octets of a center's number, the one that says its kind not counted.
const CENTER_OCTETS: usize = MODEM_ADDRESS_DIGITS / 2;

impl Address {
    /// Reads an address as people write it: `+` and digits, digits, or a name.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix('+') {
            return (!digits.is_empty()).then(|| Self::number(Kind::International, digits))?;
        }
        if text.bytes().all(|it| DIGITS.contains(&it) && !it.is_ascii_lowercase()) {
            return Self::number(Kind::Unknown, text);
        }
        let septets = gsm7::encode(text)?;
        // What is emitted can be read back: a name that ends like padding cannot.
        let fits = septets.len() <= NAME_SEPTETS && septets.last() != Some(&0);
        fits.then(|| Self { kind: Kind::Name, text: text.to_owned() })
    }

    /// What kind of address it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The digits or the name, without a plus sign.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn number(kind: Kind, digits: &str) -> Option<Self> {
        let fits =
            digits.len() <= MODEM_ADDRESS_DIGITS && digits.bytes().all(|it| DIGITS.contains(&it));
        fits.then(|| Self { kind, text: digits.to_owned() })
    }

    /// Reads an address of a TPDU, whose length is in semi-octets.
    pub(super) fn decode(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, Malformed> {
        let semi_octets = usize::from(reader.octet(field)?);
        if MODEM_ADDRESS_DIGITS < semi_octets {
            return Err(Malformed::Long(field));
        }
        let kind = Kind::from_octet(reader.octet(field)?);
        let octets = reader.octets(field, semi_octets.div_ceil(2))?;
        let text = match kind {
            Kind::Name => {
                // What fills up the last octet may look like one more letter.
                let name = gsm7::decode(&gsm7::unpack(octets, 0, semi_octets * 4 / 7));
                name.trim_end_matches('@').to_owned()
            }
            Kind::International | Kind::Other(_) | Kind::Unknown => digits(octets, semi_octets),
        };
        Ok(Self { kind, text })
    }

    /// Appends it as an address of a TPDU.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (semi_octets, octets) = match self.kind {
            Kind::Name => {
                let septets = gsm7::encode(&self.text).unwrap_or_default();
                ((septets.len() * 7).div_ceil(4), gsm7::pack(&[], &septets).0)
            }
            Kind::International | Kind::Other(_) | Kind::Unknown => {
                (self.text.len(), semi_octets(&self.text))
            }
        };
        debug_assert!(semi_octets <= MODEM_ADDRESS_DIGITS, "an address fits when it is built");
        out.push(u8::try_from(semi_octets).unwrap_or(0));
        out.push(self.kind.octet());
        out.extend(octets);
    }

    /// Reads the center's address, whose length is in octets; none if the card's own is meant.
    pub(super) fn decode_center(reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        const FIELD: &str = "the center's address";
        let length = usize::from(reader.octet(FIELD)?);
        if length == 0 {
            return Ok(None);
        }
        if CENTER_OCTETS + 1 < length {
            return Err(Malformed::Long(FIELD));
        }
        let kind = reader.octet(FIELD)?;
        let kind =
            if kind == Kind::International.octet() { Kind::International } else { Kind::Unknown };
        let octets = reader.octets(FIELD, length - 1)?;
        let text = digits(octets, octets.len() * 2);
        Ok(Some(Self { kind, text }).filter(|it| !it.text.is_empty()))
    }

    /// Appends it as a center's address. A name is none.
    pub(super) fn encode_center(&self, out: &mut Vec<u8>) {
        let octets = match self.kind {
            Kind::Name => Vec::new(),
            Kind::International | Kind::Other(_) | Kind::Unknown => semi_octets(&self.text),
        };
        if octets.is_empty() {
            return out.push(0);
        }
        out.push(u8::try_from(octets.len() + 1).unwrap_or(0));
        out.push(self.kind.octet());
        out.extend(octets);
    }
}

impl Kind {
    fn from_octet(octet: u8) -> Self {
        match octet & 0x7f {
            // Some operators leave the plan of an international number out.
            0x10 | 0x11 => Self::International,
            0x01 | 0x00 => Self::Unknown,
            0x50..=0x5f => Self::Name,
            _ => Self::Other(octet | 0x80),
        }
    }

    fn octet(self) -> u8 {
        match self {
            Self::International => 0x91,
            Self::Name => 0xd0,
            Self::Other(octet) => octet,
            Self::Unknown => 0x81,
        }
    }
}

/// The digits of at most `count` semi-octets, up to the one that fills up.
fn digits(octets: &[u8], count: usize) -> String {
    let halves = octets.iter().flat_map(|it| [it & 0x0f, it >> 4]);
    let digits = halves.take(count).take_while(|it| *it != FILLER);
    digits.map(|it| char::from(DIGITS[usize::from(it)])).collect()
}

fn semi_octets(digits: &str) -> Vec<u8> {
    let half = |digit: &u8| DIGITS.iter().position(|it| it == digit).unwrap_or(0) as u8;
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| half(&pair[0]) | pair.get(1).map_or(FILLER, half) << 4)
        .collect()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plus = if self.kind == Kind::International { "+" } else { "" };
        write!(f, "{plus}{}", self.text)
    }
}

/// Shows the last two characters only: a whole number is personal data.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.text.chars().count();
        let end: String = self.text.chars().skip(count.saturating_sub(2)).collect();
        write!(f, "…{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_finds_its_kind_and_refuses_what_does_not_fit() {
        let kind = |text| Address::parse(text).map(|it| it.kind());
        assert_eq!(kind("+15550100777"), Some(Kind::International));
        assert_eq!(kind("*100#"), Some(Kind::Unknown));
        assert_eq!(kind("Ringback"), Some(Kind::Name));
        for text in ["+", "+1555x", "123456789012345678901", "TwelveLetter", "ç", "to@"] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_does_not_print_itself() {
        assert_eq!(format!("{:?}", Address::parse("+15550100777").unwrap()), "…77");
    }
}
