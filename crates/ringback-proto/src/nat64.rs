//! IPv4 addresses inside IPv6 ones, for a private proxy whose operator is IPv6-only (RFC 6052).
//!
//! Pure: it translates addresses and reads the prefix out of the answers for `ipv4only.arpa` (RFC
//! 7050), but asks nobody. It never guesses: answers that allow two prefixes give none.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// What every translator embeds in its answers for `ipv4only.arpa` (RFC 7050, 2.2).
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// The prefix lengths there are (RFC 6052, 2.2), the commonest first.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// Octet 8, bits 64 to 71, is zero in every such address and carries nothing (RFC 6052, 2.2).
const RESERVED_OCTET: usize = 8;

/// The IPv6 prefix under which a network's translator reaches IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: Ipv6Addr,
    length: u8,
}

/// Why a text or an address is no translator's prefix.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Misprefixed {
    /// Not an address, a slash and a number.
    #[error("not an IPv6 prefix: write it like 64:ff9b::/96")]
    Form,
    /// A length that RFC 6052 does not have.
    #[error("a NAT64 prefix has a length of 32, 40, 48, 56, 64 or 96, not {0}")]
    Length(u8),
    /// Bits after the prefix.
    #[error("bits are set after the prefix: clear them")]
    Trailing,
    /// Bits 64 to 71 of a prefix of 96.
    #[error("bits 64 to 71 of a NAT64 prefix must be zero")]
    Reserved,
}

impl Prefix {
    /// Reads a prefix such as `64:ff9b::/96`.
    pub fn parse(text: &str) -> Result<Self, Misprefixed> {
        let (network, length) = text.split_once('/').ok_or(Misprefixed::Form)?;
        let network = network.parse().map_err(|_| Misprefixed::Form)?;
        let length = length.parse().map_err(|_| Misprefixed::Form)?;
        Self::new(network, length)
    }

    /// Checks a prefix.
    pub fn new(network: Ipv6Addr, length: u8) -> Result<Self, Misprefixed> {
        if !LENGTHS.contains(&length) {
            return Err(Misprefixed::Length(length));
        }
        if masked(network, length) != network {
            return Err(Misprefixed::Trailing);
        }
        if network.octets()[RESERVED_OCTET] != 0 {
            return Err(Misprefixed::Reserved);
        }
        Ok(Self { network, length })
    }

    /// Finds the prefix in the AAAA answers for `ipv4only.arpa` (RFC 7050, 3).
    ///
    /// A well-known address may stand in an answer by accident as well; the prefix under which both
    /// of them were answered is no accident. Where only one was, it must allow only one reading.
    pub fn discover(answers: &[Ipv6Addr]) -> Option<Self> {
        let readings = |answer: &Ipv6Addr| {
            let prefixes = LENGTHS.map(|it| Self::new(masked(*answer, it), it).ok());
            let answer = *answer;
            prefixes.into_iter().flatten().filter(move |prefix| {
                prefix.extract(answer).is_some_and(|it| WELL_KNOWN.contains(&it))
            })
        };
        let all = answers.iter().flat_map(readings).collect::<Vec<_>>();

        let both = |it: &&Self| WELL_KNOWN.iter().all(|v4| answers.contains(&it.embed(*v4)));
        if let Some(sure) = all.iter().find(both) {
            return Some(*sure);
        }
        let first = *all.first()?;
        all.iter().all(|it| *it == first).then_some(first)
    }

    /// The IPv6 address under which the translator reaches an IPv4 address.
    pub fn embed(&self, address: Ipv4Addr) -> Ipv6Addr {
        let mut octets = self.network.octets();
        for (place, octet) in self.places().zip(address.octets()) {
            octets[place] = octet;
        }
        octets.into()
    }

    /// The IPv4 address that an address under this prefix stands for; what follows it is ignored.
    pub fn extract(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = address.octets();
        if masked(address, self.length) != self.network || octets[RESERVED_OCTET] != 0 {
            return None;
        }
        let mut embedded = [0; 4];
        for (octet, place) in embedded.iter_mut().zip(self.places()) {
            *octet = octets[place];
        }
        Some(embedded.into())
    }

    /// Where the four octets of the IPv4 address stand.
    fn places(&self) -> impl Iterator<Item = usize> {
        (usize::from(self.length / 8)..16).filter(|it| *it != RESERVED_OCTET).take(4)
    }
}

fn masked(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - u32::from(length))))
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6052, 2.4: 192.0.2.33 under every length, and under the well-known prefix.
    const VECTORS: [(&str, &str); 7] = [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
    ];

    #[test]
    fn an_ipv4_address_stands_where_rfc_6052_puts_it() {
        for (text, embedded) in VECTORS {
            let (prefix, inside) = (prefix(text), Ipv4Addr::new(192, 0, 2, 33));
            assert_eq!(prefix.embed(inside), v6(embedded), "{text}");
            assert_eq!(prefix.extract(v6(embedded)), Some(inside), "{text}");
            assert_eq!(prefix.to_string(), text);
        }
    }

    #[test]
    fn an_address_under_another_prefix_stands_for_none() {
        assert_eq!(prefix("64:ff9b::/96").extract(v6("64:ff9c::192.0.2.33")), None);
        assert_eq!(prefix("64:ff9b::/96").extract(v6("64:ff9b:1::192.0.2.33")), None);
        assert_eq!(prefix("2001:db8::/32").extract(v6("2001:db8:c000:221:100::")), None);
    }

    #[test]
    fn a_malformed_prefix_is_refused_with_its_reason() {
        for (text, reason) in [
            ("64:ff9b::", Misprefixed::Form),
            ("64:ff9b::/x", Misprefixed::Form),
            ("192.0.2.0/96", Misprefixed::Form),
            ("64:ff9b::/97", Misprefixed::Length(97)),
            ("64:ff9b::/0", Misprefixed::Length(0)),
            ("64:ff9b::1/96", Misprefixed::Trailing),
            ("2001:db8:1::/32", Misprefixed::Trailing),
            ("2001:db8:0:0:100::/96", Misprefixed::Reserved),
        ] {
            assert_eq!(Prefix::parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_discovered_from_its_own_answers() {
        for (text, _) in VECTORS {
            let prefix = prefix(text);
            let [one, other] = WELL_KNOWN.map(|it| prefix.embed(it));
            assert_eq!(Prefix::discover(&[one, other]), Some(prefix), "{text}");
            assert_eq!(Prefix::discover(&[other]), Some(prefix), "{text}");
        }
    }

    #[test]
    fn nothing_is_discovered_where_nothing_is_translated_or_two_readings_are_left() {
        assert_eq!(Prefix::discover(&[]), None);
        assert_eq!(Prefix::discover(&[v6("2001:db8::1"), v6("::ffff:198.51.100.1")]), None);

        // 192.0.0.170 at the place of length 96, and 192.0.0.171 at that of length 64.
        let (long, short) = (v6("2001:db8:1:2:0:0:c000:aa"), v6("2001:db8:1:2:c0:0:ab00:0"));
        assert_eq!(Prefix::discover(&[long]), Some(prefix("2001:db8:1:2::/96")));
        assert_eq!(Prefix::discover(&[short]), Some(prefix("2001:db8:1:2::/64")));
        assert_eq!(Prefix::discover(&[long, short]), None);
    }

    #[test]
    fn the_prefix_of_both_well_known_addresses_beats_an_accident() {
        // The prefix itself reads as 192.0.0.170 at the place of length 32.
        let accident = prefix("2001:db8:c000:aa::/96");
        let answers = WELL_KNOWN.map(|it| accident.embed(it));
        assert_eq!(Prefix::discover(&answers[..1]), None);
        assert_eq!(Prefix::discover(&answers), Some(accident));
    }

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }
}
