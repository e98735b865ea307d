//! VICI, strongSwan's control protocol: packets and their messages, as octets and back.
//!
//! Only what a client needs. A message is a tree of named sections, values and lists; values are
//! octets, and what they mean is for the caller to know. Whatever is written may hold a key, so it is
//! wiped when dropped.

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::limits;

/// One packet, without the length in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Asks the daemon to do something.
    Request {
        /// The command.
        name: String,
        /// Its arguments.
        message: Message,
    },
    /// What came of the request before it.
    Response(Message),
    /// The daemon knows no such command.
    UnknownCommand,
    /// Asks to be told of something.
    Register {
        /// The event.
        name: String,
    },
    /// Asks to be told no more.
    Unregister {
        /// The event.
        name: String,
    },
    /// The request before it to be told of something was taken.
    Confirmed,
    /// The daemon knows no such event.
    UnknownEvent,
    /// Something has happened.
    Event {
        /// The event.
        name: String,
        /// What it is about.
        message: Message,
    },
}

/// A packet's tree, or one section of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<(String, Element)>);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A section of its own.
    Section(Message),
    /// One value.
    Value(Octets),
    /// Several values.
    List(Vec<Octets>),
}

/// A value: wiped when dropped, and never printed unless it is plain text that was received.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Octets(Vec<u8>);

/// Why octets are no packet. The connection ends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Garbled {
    /// Longer than any packet may be.
    #[error("a VICI packet of {0} octets")]
    Length(usize),
    /// Of no kind that there is.
    #[error("no such kind of VICI packet: {0}")]
    Kind(u8),
    /// A message that is not well-formed.
    #[error("not a VICI message")]
    Message,
    /// Sections within one another, deeper than any daemon writes them.
    #[error("a VICI message that is too deep")]
    Deep,
    /// A name or a value that does not fit its length.
    #[error("a name or a value that VICI cannot carry")]
    Long,
}

const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

/// Octets of the length before a packet.
const HEAD: usize = 4;

impl Packet {
    /// Writes the packet with its length in front.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Garbled> {
        let empty = Message::default();
        let (kind, name, message) = match self {
            Self::Request { name, message } => (0, Some(name), message),
            Self::Response(message) => (1, None, message),
            Self::UnknownCommand => (2, None, &empty),
            Self::Register { name } => (3, Some(name), &empty),
            Self::Unregister { name } => (4, Some(name), &empty),
            Self::Confirmed => (5, None, &empty),
            Self::UnknownEvent => (6, None, &empty),
            Self::Event { name, message } => (7, Some(name), message),
        };
        let named = name.map_or(0, |it| 1 + it.len());
        let octets = 1 + named + message.octets();
        if limits::VICI_OCTETS < octets {
            return Err(Garbled::Length(octets));
        }
        // Made in its full size at once: what grows leaves copies behind that are not wiped.
        let mut packet = Zeroizing::new(Vec::with_capacity(HEAD + octets));
        packet.extend((octets as u32).to_be_bytes());
        packet.push(kind);
        if let Some(name) = name {
            push_name(&mut packet, name)?;
        }
        message.write(&mut packet)?;
        debug_assert_eq!(packet.len(), HEAD + octets, "its size is known before");
        Ok(packet)
    }

    /// Reads the first packet of `octets` and says how many it took; `None` asks for more octets.
    pub fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, Garbled> {
        let Some((head, rest)) = octets.split_first_chunk::<HEAD>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if limits::VICI_OCTETS < length {
            return Err(Garbled::Length(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let (kind, mut rest) = body.split_first().ok_or(Garbled::Message)?;
        let packet = match kind {
            0 | 7 => {
                let name = take_name(&mut rest)?;
                let message = Message::read(&mut rest, 0)?;
                if *kind == 0 {
                    Self::Request { name, message }
                } else {
                    Self::Event { name, message }
                }
            }
            1 => Self::Response(Message::read(&mut rest, 0)?),
            2 => Self::UnknownCommand,
            3 => Self::Register { name: take_name(&mut rest)? },
            4 => Self::Unregister { name: take_name(&mut rest)? },
            5 => Self::Confirmed,
            6 => Self::UnknownEvent,
            other => return Err(Garbled::Kind(*other)),
        };
        if !rest.is_empty() {
            return Err(Garbled::Message);
        }
        Ok(Some((packet, HEAD + length)))
    }
}

impl Message {
    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push((name.to_owned(), Element::Value(Octets(value.as_ref().to_vec()))));
        self
    }

    /// The same with one more list.
    #[must_use]
    pub fn with_list<T: AsRef<[u8]>>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values = values.into_iter().map(|it| Octets(it.as_ref().to_vec())).collect();
        self.0.push((name.to_owned(), Element::List(values)));
        self
    }

    /// The same with one more section.
    #[must_use]
    pub fn with_section(mut self, name: &str, section: Self) -> Self {
        self.0.push((name.to_owned(), Element::Section(section)));
        self
    }

    /// The text that a name stands for.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.find(name).and_then(|it| match it {
            Element::Value(value) => Some(value),
            Element::Section(_) | Element::List(_) => None,
        });
        std::str::from_utf8(&value?.0).ok()
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Self> {
        self.find(name).and_then(|it| match it {
            Element::Section(section) => Some(section),
            Element::Value(_) | Element::List(_) => None,
        })
    }

    /// Every section, by its name.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, it)| match it {
            Element::Section(section) => Some((name.as_str(), section)),
            Element::Value(_) | Element::List(_) => None,
        })
    }

    /// The texts of a list; nothing if there is no such list, or if they are no texts.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let Some(Element::List(values)) = self.find(name) else { return Vec::new() };
        values.iter().filter_map(|it| std::str::from_utf8(&it.0).ok()).collect()
    }

    fn find(&self, name: &str) -> Option<&Element> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, element)| element)
    }

    fn octets(&self) -> usize {
        let element = |(name, it): &(String, Element)| {
            let named = 1 + 1 + name.len();
            match it {
                Element::Section(section) => named + section.octets() + 1,
                Element::Value(value) => named + 2 + value.0.len(),
                Element::List(values) => {
                    named + values.iter().map(|it| 1 + 2 + it.0.len()).sum::<usize>() + 1
                }
            }
        };
        self.0.iter().map(element).sum()
    }

    fn write(&self, packet: &mut Vec<u8>) -> Result<(), Garbled> {
        for (name, element) in &self.0 {
            match element {
                Element::Section(section) => {
                    packet.push(SECTION_START);
                    push_name(packet, name)?;
                    section.write(packet)?;
                    packet.push(SECTION_END);
                }
                Element::Value(value) => {
                    packet.push(KEY_VALUE);
                    push_name(packet, name)?;
                    push_value(packet, value)?;
                }
                Element::List(values) => {
                    packet.push(LIST_START);
                    push_name(packet, name)?;
                    for value in values {
                        packet.push(LIST_ITEM);
                        push_value(packet, value)?;
                    }
                    packet.push(LIST_END);
                }
            }
        }
        Ok(())
    }

    /// Reads up to the section's end, or to the end of all.
    fn read(rest: &mut &[u8], depth: usize) -> Result<Self, Garbled> {
        if limits::VICI_DEPTH < depth {
            return Err(Garbled::Deep);
        }
        let mut message = Self::default();
        while let Some((kind, after)) = rest.split_first() {
            *rest = after;
            let (name, element) = match *kind {
                SECTION_START => {
                    let name = take_name(rest)?;
                    (name, Element::Section(Self::read(rest, depth + 1)?))
                }
                SECTION_END if 0 < depth => return Ok(message),
                KEY_VALUE => (take_name(rest)?, Element::Value(take_value(rest)?)),
                LIST_START => (take_name(rest)?, Element::List(take_list(rest)?)),
                _ => return Err(Garbled::Message),
            };
            message.0.push((name, element));
        }
        if depth == 0 { Ok(message) } else { Err(Garbled::Message) }
    }
}

/// Shows how much there is and nothing of it: it may be a key.
impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

fn push_name(packet: &mut Vec<u8>, name: &str) -> Result<(), Garbled> {
    packet.push(u8::try_from(name.len()).map_err(|_| Garbled::Long)?);
    packet.extend(name.as_bytes());
    Ok(())
}

fn push_value(packet: &mut Vec<u8>, value: &Octets) -> Result<(), Garbled> {
    packet.extend(u16::try_from(value.0.len()).map_err(|_| Garbled::Long)?.to_be_bytes());
    packet.extend(&value.0);
    Ok(())
}

fn take_name(rest: &mut &[u8]) -> Result<String, Garbled> {
    let (length, after) = rest.split_first().ok_or(Garbled::Message)?;
    let (name, after) = after.split_at_checked((*length).into()).ok_or(Garbled::Message)?;
    *rest = after;
    std::str::from_utf8(name).map(str::to_owned).map_err(|_| Garbled::Message)
}

fn take_value(rest: &mut &[u8]) -> Result<Octets, Garbled> {
    let (length, after) = rest.split_first_chunk().ok_or(Garbled::Message)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (value, after) = after.split_at_checked(length).ok_or(Garbled::Message)?;
    *rest = after;
    Ok(Octets(value.to_vec()))
}

fn take_list(rest: &mut &[u8]) -> Result<Vec<Octets>, Garbled> {
    let mut values = Vec::new();
    loop {
        let (kind, after) = rest.split_first().ok_or(Garbled::Message)?;
        *rest = after;
        match *kind {
            LIST_ITEM => values.push(take_value(rest)?),
            LIST_END => return Ok(values),
            _ => return Err(Garbled::Message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the daemon's own documentation of the protocol has it, octet by octet.
    #[test]
    fn the_example_of_the_specification_is_written_and_read() {
        let sub = Message::default().with("key2", "value2");
        let section = Message::default().with_section("sub-section", sub);
        let message = Message::default()
            .with("key1", "value1")
            .with_section("section1", section)
            .with_list("list1", ["item1", "item2"]);
        let packet = Packet::Request { name: "do".into(), message };
        let body = [
            b"\x00\x02do".as_slice(),
            b"\x03\x04key1\x00\x06value1",
            b"\x01\x08section1\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02\x02",
            b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06",
        ]
        .concat();
        let golden = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
        assert_eq!(packet.encode().unwrap().as_slice(), golden);
        assert_eq!(Packet::decode(&golden), Ok(Some((packet.clone(), golden.len()))));
        for cut in 0..golden.len() {
            assert_eq!(Packet::decode(&golden[..cut]), Ok(None), "{cut}");
        }

        let Packet::Request { message, .. } = packet else { panic!("it is a request") };
        assert_eq!(message.text("key1"), Some("value1"));
        assert_eq!(message.list("list1"), ["item1", "item2"]);
        let section = message.section("section1").and_then(|it| it.section("sub-section"));
        assert_eq!(section.and_then(|it| it.text("key2")), Some("value2"));
        assert_eq!(message.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["section1"]);
    }

    #[test]
    fn every_kind_of_packet_reads_back() {
        let name = || "list-sa".to_owned();
        let message = || Message::default().with("success", "yes");
        for packet in [
            Packet::Request { name: name(), message: message() },
            Packet::Response(message()),
            Packet::UnknownCommand,
            Packet::Register { name: name() },
            Packet::Unregister { name: name() },
            Packet::Confirmed,
            Packet::UnknownEvent,
            Packet::Event { name: name(), message: message() },
        ] {
            let octets = packet.encode().unwrap();
            assert_eq!(Packet::decode(&octets), Ok(Some((packet, octets.len()))));
        }
    }

    #[test]
    fn what_is_no_packet_is_told_before_it_is_waited_for() {
        let packet = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
        assert_eq!(Packet::decode(&[0xff; 4]), Err(Garbled::Length(0xffff_ffff)));
        assert_eq!(Packet::decode(&packet(&[8])), Err(Garbled::Kind(8)));
        for body in [
            &b""[..],
            b"\x01\x02",
            b"\x01\x09",
            b"\x01\x01\x01a",
            b"\x01\x03\x01a\x00\x05abc",
            b"\x01\x04\x01a\x05\x00\x01a",
            b"\x01\x04\x01a\x03\x01a\x00\x00\x06",
            b"\x01\x03\x01\xff\x00\x00",
            b"\x05\x00",
        ] {
            assert_eq!(Packet::decode(&packet(body)), Err(Garbled::Message), "{body:?}");
        }
        let deep = [&[1][..], &b"\x01\x01a".repeat(limits::VICI_DEPTH + 1)].concat();
        assert_eq!(Packet::decode(&packet(&deep)), Err(Garbled::Deep));
    }

    #[test]
    fn what_does_not_fit_is_not_written_and_no_value_is_printed() {
        let request = |message| Packet::Request { name: "load-shared".into(), message };
        let long = request(Message::default().with("data", [0; 0x1_0000]));
        assert_eq!(long.encode().err(), Some(Garbled::Long));
        let named = request(Message::default().with(&"a".repeat(256), ""));
        assert_eq!(named.encode().err(), Some(Garbled::Long));
        let many = request(Message::default().with_list("a", vec![[0; 0xffff]; 9]));
        assert!(matches!(many.encode(), Err(Garbled::Length(_))));
        let shown = format!("{:?}", request(Message::default().with("data", "topsecret")));
        assert!(!shown.contains("topsecret"), "{shown}");
    }
}
