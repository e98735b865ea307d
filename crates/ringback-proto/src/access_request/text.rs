//! The text form of a signal, and finding a signal in what a gateway has made of a message.
//!
//! Gateways put words before and after, and break lines. They may not change a character: there is
//! one text for each signal and no other is read.

use super::{HEADER, Signal, Suite, payload};
use crate::limits;

const MARK: &[u8] = b"RB";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-*";

/// The number form of either suite fits one SMS, as octets and as text.
const _: () = assert!(Suite::Hpke.overhead() + payload::LENGTHS[0] <= limits::SMS_OCTETS);
const _: () = assert!(
    MARK.len() + characters(Suite::Hpke.overhead() + payload::LENGTHS[0]) <= limits::SMS_CHARACTERS
);

/// Finds a signal in a message: the whole of it in binary, or a text form anywhere in it.
///
/// Line ends and spaces inside a text form are passed over, so where it ends is known by its length
/// alone. A text form that stands like a word between others is preferred to one that is glued to
/// one of them or to both, and the shorter to the longer.
pub fn find(message: &[u8]) -> Option<Signal> {
    if let Ok(signal) = Signal::from_octets(message) {
        return Some(signal);
    }
    let squeezed = Squeezed::new(&message[..message.len().min(limits::MESSAGE_OCTETS)]);
    [2, 1, 0].into_iter().find_map(|edges| squeezed.find(edges))
}

/// Writes the text form.
pub(super) fn write(octets: &[u8]) -> String {
    let mut text = String::with_capacity(MARK.len() + characters(octets.len()));
    text.extend(MARK.iter().copied().map(char::from));
    for three in octets.chunks(3) {
        let padded = three.iter().chain([0; 2].iter()).take(3);
        let bits = padded.fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        let sextets = [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 0x3f]);
        text.extend(sextets[..characters(three.len())].iter().copied().map(char::from));
    }
    text
}

/// Reads the characters after the mark; the bits that are left over must be zero.
fn read(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0u32, 0);
    for character in text {
        bits = bits << 6 | u32::from(value(*character)?);
        count += 6;
        if 8 <= count {
            count -= 8;
            octets.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(octets)
}

fn value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' => Some(62),
        b'*' => Some(63),
        _ => None,
    }
}

const fn characters(octets: usize) -> usize {
    (octets * 8).div_ceil(6)
}

/// A message without its line ends and spaces, and where words begin and end in it.
struct Squeezed {
    octets: Vec<u8>,
    /// One more than octets: whether a word may begin at, or end before, each of them.
    edges: Vec<bool>,
}

impl Squeezed {
    fn new(message: &[u8]) -> Self {
        let (mut octets, mut edges) = (Vec::with_capacity(message.len()), Vec::new());
        let mut edge = true;
        for octet in message {
            if b"\r\n ".contains(octet) {
                edge = true;
                continue;
            }
            let foreign = value(*octet).is_none();
            edges.push(edge || foreign);
            octets.push(*octet);
            edge = foreign;
        }
        edges.push(true);
        Self { octets, edges }
    }

    /// Finds the first text form with this many of its two ends at an edge.
    fn find(&self, edges: u8) -> Option<Signal> {
        let marks = self.octets.windows(MARK.len()).enumerate().filter(|(_, it)| *it == MARK);
        marks.map(|(at, _)| at).find_map(|at| {
            let begin = at + MARK.len();
            let header = read(self.octets.get(begin..begin + characters(HEADER))?)?;
            let suite = Suite::of(*header.first()?).ok()?;
            payload::LENGTHS.iter().find_map(|length| {
                let end = begin + characters(suite.overhead() + length);
                let text = self.octets.get(begin..end)?;
                if u8::from(self.edges[at]) + u8::from(self.edges[end]) != edges {
                    return None;
                }
                Signal::from_octets(&read(text)?).ok()
            })
        })
    }
}
