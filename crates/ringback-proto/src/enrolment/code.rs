//! The one-time code: what a person carries from the public proxy to the private one.
//!
//! Thirty-two letters that are hard to take for one another, and a checksum, so that a slip is told
//! from a code that is over. Whoever has read it can redeem it: it is a secret.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::switchboard::PublicKey;

/// Everything that the private proxy must know to redeem an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where the public proxy is dialed.
    pub address: SocketAddr,
    /// Whom to expect there.
    pub public_key: PublicKey,
    /// What proves that somebody was offered it.
    pub secret: Secret<16>,
}

/// Why a text is no code.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Mistyped {
    /// It does not begin as codes do.
    #[error("no one-time code: it begins with RBE1 and was made by `ringback enrol offer`")]
    Mark,
    /// It is too short or too long.
    #[error("has {0} letters instead of {LETTERS}: see that all of it was copied")]
    Length(usize),
    /// It has a sign that no code has.
    #[error("has {0:?} in it, which no code has: compare it with what was offered")]
    Letter(char),
    /// Letters are wrong or have changed places.
    #[error("has a wrong letter: compare it with what was offered")]
    Checksum,
    /// The letters are right, and what they say is not.
    #[error("names no address or no key of a public proxy: make another")]
    Content,
}

const MARK: &str = "RBE1";
/// RFC 4648 would have letters in it that look like digits; these are Crockford's.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CONTENT: usize = 16 + 2 + 32 + 16;
const CHECKSUM: usize = 4;
const LETTERS: usize = MARK.len() + (CONTENT + CHECKSUM) * 8 / 5;
/// No bit is left over: there is one text for each code.
const _: () = assert!((CONTENT + CHECKSUM).is_multiple_of(5));

impl Code {
    /// Writes the code in groups of four letters.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut octets = Zeroizing::new(Vec::with_capacity(CONTENT + CHECKSUM));
        octets.extend(address_octets(self.address));
        octets.extend(&self.public_key.0[PublicKey::PREFIX.len()..]);
        octets.extend(self.secret.expose());
        let sum = checksum(&octets);
        octets.extend(sum);

        let mut text = Zeroizing::new(String::with_capacity(LETTERS * 5 / 4));
        text.push_str(MARK);
        for (place, five) in octets.chunks(5).enumerate() {
            let bits = five.iter().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
            for at in 0..8 {
                if (place * 8 + at).is_multiple_of(4) {
                    text.push('-');
                }
                text.push(char::from(ALPHABET[(bits >> (35 - 5 * at) & 31) as usize]));
            }
        }
        text
    }

    /// Reads a code as people write it: in any case, with any spaces and hyphens.
    pub fn parse(text: &str) -> Result<Self, Mistyped> {
        let letters = text.chars().filter(|it| !it.is_whitespace() && *it != '-');
        let letters: Zeroizing<String> =
            Zeroizing::new(letters.take(2 * LETTERS).map(|it| it.to_ascii_uppercase()).collect());
        let Some(values) = letters.strip_prefix(MARK) else { return Err(Mistyped::Mark) };
        let values: Zeroizing<Vec<u8>> =
            Zeroizing::new(values.chars().map(value).collect::<Result<_, _>>()?);
        if MARK.len() + values.len() != LETTERS {
            return Err(Mistyped::Length(MARK.len() + values.len()));
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(CONTENT + CHECKSUM));
        for eight in values.chunks(8) {
            let bits = eight.iter().fold(0u64, |bits, value| bits << 5 | u64::from(*value));
            octets.extend(&bits.to_be_bytes()[3..]);
        }
        let (content, sum) = octets.split_at(CONTENT);
        if checksum(content) != sum {
            return Err(Mistyped::Checksum);
        }
        Self::read(content).ok_or(Mistyped::Content)
    }

    fn read(content: &[u8]) -> Option<Self> {
        let (address, rest) = content.split_first_chunk::<18>()?;
        let (key, secret) = rest.split_first_chunk::<32>()?;
        let public_key = PublicKey::of_raw(*key);
        let secret = Secret::new(secret.try_into().ok()?);
        Some(Self { address: read_address(address)?, public_key, secret })
    }
}

/// An address as everywhere on our wires: v4 as `::ffff:a.b.c.d`, then the port.
pub(super) fn address_octets(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut octets = [0; 18];
    octets[..16].copy_from_slice(&ip.octets());
    octets[16..].copy_from_slice(&address.port().to_be_bytes());
    octets
}

/// Reads what [`address_octets`] wrote; none without an address or a port.
pub(super) fn read_address(octets: &[u8; 18]) -> Option<SocketAddr> {
    let (ip, port) = octets.split_first_chunk::<16>()?;
    let ip = Ipv6Addr::from(*ip).to_canonical();
    let port = u16::from_be_bytes(port.try_into().ok()?);
    (!ip.is_unspecified() && port != 0).then_some((ip, port).into())
}

fn value(letter: char) -> Result<u8, Mistyped> {
    let meant = match letter {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|it| char::from(*it) == meant);
    place.and_then(|it| u8::try_from(it).ok()).ok_or(Mistyped::Letter(letter))
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(b"rb1 code").chain_update(content).finalize();
    std::array::from_fn(|at| digest[at])
}
