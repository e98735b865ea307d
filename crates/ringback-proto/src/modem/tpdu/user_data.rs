//! What a message says: its coding, the header before it, and the text or the octets.

use super::{Malformed, Reader, gsm7};
use crate::limits::{SMS_CHARACTERS, SMS_OCTETS};

/// The content of a message, in the coding that carries it.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Text in the GSM 7-bit default alphabet.
    Text(String),
    /// Octets.
    Octets(Vec<u8>),
    /// Text in UCS-2.
    Wide(String),
}

/// A message's user data: the header's elements and the content behind them.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData {
    /// The elements of the header, as they stand on the wire; mostly there are none.
    pub header: Vec<u8>,
    /// What the message says.
    pub content: Content,
}

/// How user data is coded (3GPP TS 23.038, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Septets,
    Octets,
    Wide,
    Compressed,
}

/// The header elements that make a message a part of another, by 8 and by 16 bit references.
const PARTS: [u8; 2] = [0x00, 0x08];

impl UserData {
    /// User data without a header.
    pub fn new(content: Content) -> Self {
        Self { header: Vec::new(), content }
    }

    /// Whether it is one of several parts.
    pub fn is_part(&self) -> bool {
        elements(&self.header).is_some_and(|it| it.iter().any(|(kind, _)| PARTS.contains(kind)))
    }

    /// Its TP-DCS: no class, so that no phone shows it at once and no modem puts it onto the card.
    pub(super) fn data_coding(&self) -> u8 {
        match self.content {
            Content::Text(_) => 0x00,
            Content::Octets(_) => 0x04,
            Content::Wide(_) => 0x08,
        }
    }

    /// Appends its length and its octets.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let mut header = Vec::new();
        if !self.header.is_empty() {
            elements(&self.header).ok_or(Unfit::Header)?;
            header.push(u8::try_from(self.header.len()).map_err(|_| Unfit::Header)?);
            header.extend(&self.header);
        }
        let (octets, length, most) = match &self.content {
            Content::Text(text) => {
                let septets = gsm7::encode(text).ok_or(Unfit::Character)?;
                let (octets, count) = gsm7::pack(&header, &septets);
                (octets, count, SMS_CHARACTERS)
            }
            Content::Octets(content) => {
                let octets = [header, content.clone()].concat();
                (octets.clone(), octets.len(), SMS_OCTETS)
            }
            Content::Wide(text) => {
                let units = text.encode_utf16().flat_map(u16::to_be_bytes);
                let octets: Vec<u8> = header.into_iter().chain(units).collect();
                (octets.clone(), octets.len(), SMS_OCTETS)
            }
        };
        let length = u8::try_from(length).ok().filter(|it| usize::from(*it) <= most);
        out.push(length.ok_or(Unfit::Length)?);
        out.extend(octets);
        Ok(())
    }

    /// Reads its length and its octets.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        data_coding: u8,
        has_header: bool,
    ) -> Result<Self, Malformed> {
        const FIELD: &str = "the user data";
        let coding = Coding::of(data_coding);
        let length = usize::from(reader.octet("the user data's length")?);
        let (count, most) = match coding {
            Coding::Septets => ((length * 7).div_ceil(8), SMS_CHARACTERS),
            Coding::Octets | Coding::Wide => (length, SMS_OCTETS),
            Coding::Compressed => return Err(Malformed::Compressed),
        };
        if most < length {
            return Err(Malformed::Long(FIELD));
        }
        let octets = reader.octets(FIELD, count)?;
        let mut rest = Reader(octets);
        let mut header: &[u8] = &[];
        if has_header {
            let length = usize::from(rest.octet("the user data header")?);
            header = rest.octets("the user data header", length)?;
            elements(header).ok_or(Malformed::Header)?;
        }
        let behind = rest.0;
        let content = match coding {
            Coding::Septets => {
                let skipped = ((octets.len() - behind.len()) * 8).div_ceil(7);
                Content::Text(gsm7::decode(&gsm7::unpack(octets, skipped, length)))
            }
            Coding::Octets | Coding::Compressed => Content::Octets(behind.to_vec()),
            Coding::Wide => {
                let (units, _) = behind.as_chunks::<2>();
                let units = units.iter().map(|it| u16::from_be_bytes(*it));
                let text = char::decode_utf16(units);
                Content::Wide(text.map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
            }
        };
        Ok(Self { header: header.to_vec(), content })
    }
}

impl Content {
    /// The octets, or the text as UTF-8.
    pub fn into_octets(self) -> Vec<u8> {
        match self {
            Self::Text(text) | Self::Wide(text) => text.into_bytes(),
            Self::Octets(octets) => octets,
        }
    }
}

impl Coding {
    fn of(data_coding: u8) -> Self {
        let by_bits = |bits: u8| match bits & 0x0c {
            0x04 => Self::Octets,
            0x08 => Self::Wide,
            _ => Self::Septets,
        };
        match data_coding {
            0x20..=0x3f | 0x60..=0x7f => Self::Compressed,
            0x00..=0x7f => by_bits(data_coding),
            0xe0..=0xef => Self::Wide,
            0xf0..=0xff => by_bits(data_coding & 0x04),
            // Reserved groups are to be read as the default alphabet.
            0x80..=0xdf => Self::Septets,
        }
    }
}

/// Why user data cannot be put into one message.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// The alphabet lacks a character.
    #[error("one of its characters is not in the GSM alphabet")]
    Character,
    /// The header's elements are not well formed.
    #[error("its header is broken")]
    Header,
    /// It is too long for one message.
    #[error("it is too long for one message")]
    Length,
}

/// The kinds and values of a header's elements, or `None` if they do not fill it exactly.
fn elements(header: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    let mut rest = header;
    while let [kind, length, behind @ ..] = rest {
        let (value, behind) = behind.split_at_checked(usize::from(*length))?;
        found.push((*kind, value));
        rest = behind;
    }
    rest.is_empty().then_some(found)
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, length) = match self {
            Self::Text(text) => ("Text", text.len()),
            Self::Octets(octets) => ("Octets", octets.len()),
            Self::Wide(text) => ("Wide", text.len()),
        };
        write!(f, "{name}({length} octets)")
    }
}

impl std::fmt::Debug for UserData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserData({} octets of header, {:?})", self.header.len(), self.content)
    }
}
