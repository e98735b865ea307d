//! A text with placeholders, and what they stand for in one message.
//!
//! Text and octets only: how a filled text is protected on the wire is the business of
//! [`super::body`] and [`super::url`].

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// What a template may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The number that the message is for, with its plus sign.
    To,
    /// The same without the plus sign.
    ToDigits,
    /// Whom the message is from.
    From,
    /// The text.
    Text,
    /// The octets themselves.
    Octets,
    /// The octets in hex.
    Hex,
    /// The user data header in hex.
    Udh,
    /// The user data header itself.
    UdhOctets,
    /// How long the message is worth delivering.
    Validity(Unit),
    /// The account's user.
    User,
    /// The account's secret.
    Password,
    /// The provider's name for a message that it has.
    MessageId,
}

/// What a duration is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Minutes, rounded up.
    Minutes,
}

/// What the placeholders stand for. Its `Debug` shows nothing of it.
#[derive(Clone, Default)]
pub struct Values {
    /// The number that the message is for, without its plus sign.
    pub to_digits: String,
    /// Whom the message is from.
    pub from: String,
    /// The text, or the octets.
    pub content: Vec<u8>,
    /// The user data header.
    pub udh: Vec<u8>,
    /// How long the message is worth delivering.
    pub validity: Duration,
    /// The account's user.
    pub user: String,
    /// The account's secret.
    pub password: Zeroizing<String>,
    /// The provider's name for a message that it has.
    pub message_id: String,
}

/// Why a text is no template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Misworded {
    /// A brace is not closed.
    #[error("a {{ without its }}")]
    Open,
    /// Nothing is called that.
    #[error("{{{0}}} stands for nothing; known: {KNOWN}")]
    Unknown(String),
}

const KNOWN: &str = "{to} {to_digits} {from} {text} {octets} {hex} {udh} {udh_octets} \
                     {validity_seconds} {validity_ms} {validity_minutes} {user} {password} \
                     {message_id}";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

impl Template {
    /// Reads a text with `{placeholders}`.
    pub fn parse(text: &str) -> Result<Self, Misworded> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or(Misworded::Open)?;
            let placeholder = Placeholder::parse(name)
                .ok_or_else(|| Misworded::Unknown(name.chars().take(32).collect()))?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Placeholder(placeholder));
            rest = behind;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        Ok(Self { pieces })
    }

    /// Fills the placeholders; each value goes through `protect`, the text around them does not.
    pub fn fill(&self, values: &Values, protect: fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
        let mut filled = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Piece::Placeholder(it) => protect(&it.value(values), &mut filled),
            }
        }
        filled
    }

    /// Whether it asks for this.
    pub fn asks_for(&self, placeholder: Placeholder) -> bool {
        self.pieces.contains(&Piece::Placeholder(placeholder))
    }

    /// Whether it is one placeholder and nothing else, and a number.
    pub fn is_number(&self) -> bool {
        matches!(self.pieces[..], [Piece::Placeholder(Placeholder::Validity(_))])
    }
}

impl Placeholder {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "to" => Self::To,
            "to_digits" => Self::ToDigits,
            "from" => Self::From,
            "text" => Self::Text,
            "octets" => Self::Octets,
            "hex" => Self::Hex,
            "udh" => Self::Udh,
            "udh_octets" => Self::UdhOctets,
            "validity_seconds" => Self::Validity(Unit::Seconds),
            "validity_ms" => Self::Validity(Unit::Milliseconds),
            "validity_minutes" => Self::Validity(Unit::Minutes),
            "user" => Self::User,
            "password" => Self::Password,
            "message_id" => Self::MessageId,
            _ => return None,
        })
    }

    fn value(self, values: &Values) -> Zeroizing<Vec<u8>> {
        let validity = values.validity;
        Zeroizing::new(match self {
            Self::To => format!("+{}", values.to_digits).into_bytes(),
            Self::ToDigits => values.to_digits.clone().into_bytes(),
            Self::From => values.from.clone().into_bytes(),
            Self::Text | Self::Octets => values.content.clone(),
            Self::Hex => to_hex(&values.content).into_bytes(),
            Self::Udh => to_hex(&values.udh).into_bytes(),
            Self::UdhOctets => values.udh.clone(),
            Self::Validity(Unit::Seconds) => validity.as_secs().to_string().into_bytes(),
            Self::Validity(Unit::Milliseconds) => validity.as_millis().to_string().into_bytes(),
            Self::Validity(Unit::Minutes) => {
                validity.as_secs().div_ceil(60).to_string().into_bytes()
            }
            Self::User => values.user.clone().into_bytes(),
            Self::Password => values.password.as_bytes().to_vec(),
            Self::MessageId => values.message_id.clone().into_bytes(),
        })
    }
}

/// Octets as hex digits.
pub fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|it| format!("{it:02X}")).collect()
}

/// The octets of hex digits in either case.
pub fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, odd) = text.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(octets: &[u8], into: &mut Vec<u8>) {
        into.extend_from_slice(octets);
    }

    #[test]
    fn a_template_is_filled_with_what_it_asks_for() {
        let values = Values {
            to_digits: "15550100777".into(),
            from: "5550100".into(),
            content: b"RB*-".into(),
            udh: vec![6, 5, 4],
            validity: Duration::from_secs(61),
            ..Values::default()
        };
        let filled = |text: &str| {
            String::from_utf8(Template::parse(text).unwrap().fill(&values, plain)).unwrap()
        };
        assert_eq!(filled("{to}/{to_digits}<{from}>"), "+15550100777/15550100777<5550100>");
        assert_eq!(filled("{text}:{hex}:{udh}"), "RB*-:52422A2D:060504");
        assert_eq!(filled("{validity_seconds} {validity_ms} {validity_minutes}"), "61 61000 2");
        assert_eq!(filled(""), "");
        assert_eq!(filled("a}b"), "a}b");
    }

    #[test]
    fn a_placeholder_that_stands_for_nothing_is_told() {
        assert_eq!(Template::parse("{to"), Err(Misworded::Open));
        let unknown = Template::parse("{tto}").unwrap_err();
        assert!(unknown.to_string().starts_with("{tto} stands for nothing; known: {to} "));
    }

    #[test]
    fn hex_is_read_in_either_case_and_only_whole() {
        assert_eq!(from_hex(b"00fFa0"), Some(vec![0, 255, 160]));
        assert_eq!(from_hex(b"0"), None);
        assert_eq!(from_hex("0ä".as_bytes()), None);
        assert_eq!(from_hex(b"+1"), None);
    }

    #[test]
    fn values_do_not_print_themselves() {
        let values = Values { password: Zeroizing::new("canary".into()), ..Values::default() };
        assert_eq!(format!("{values:?}"), "Values(…)");
    }
}
