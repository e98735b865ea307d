//! Which addresses no public proxy can have: those that mean this machine, its network, or many.
//!
//! A private proxy must not become anybody's way into the network that it stands in. Pure: it reads
//! an address and asks nobody. Addresses kept for documentation are not among them: nothing is
//! behind those, and the lab plays the Internet with them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::nat64::Prefix;

/// What an address is that is never dialed unless it is listed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden(&'static str);

/// IPv4 addresses that are not global unicast (IANA special-purpose registry, RFC 6890).
const V4: [(Ipv4Addr, u32, &str); 13] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of \"this network\""),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "an address inside an operator's network"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "an address kept for protocols"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "an address of a 6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address kept for benchmarks"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::BROADCAST, 32, "the broadcast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// IPv6 addresses that are not, by the first row that fits; what no row has, is unassigned.
const V6: [(Ipv6Addr, u32, Option<&str>); 12] = [
    (Ipv6Addr::LOCALHOST, 128, Some("a loopback address")),
    // The unspecified address, the v4-compatible and the v4-mapped ones: a v4 address has one form.
    (Ipv6Addr::UNSPECIFIED, 80, Some("a v4 address in another form, or none")),
    (v6([0x64, 0xff9b, 1, 0]), 48, Some("an address of a local translator")),
    (v6([0x100, 0, 0, 0]), 64, Some("an address that discards")),
    // Teredo, ORCHID, benchmarks: nobody's server is there.
    (v6([0x2001, 0, 0, 0]), 23, Some("an address kept for protocols")),
    (v6([0x2002, 0, 0, 0]), 16, Some("a 6to4 address")),
    (v6([0x2000, 0, 0, 0]), 3, None),
    (v6([0xfc00, 0, 0, 0]), 7, Some("a unique local address")),
    (v6([0xfe80, 0, 0, 0]), 10, Some("a link-local address")),
    (v6([0xfec0, 0, 0, 0]), 10, Some("a site-local address")),
    (v6([0xff00, 0, 0, 0]), 8, Some("a multicast address")),
    (Ipv6Addr::UNSPECIFIED, 0, Some("an unassigned address")),
];

/// The translators' well-known network (RFC 6052, 2.1), of 96 bits.
const WELL_KNOWN: Ipv6Addr = v6([0x64, 0xff9b, 0, 0]);

/// Why the address is never dialed unless it is listed by itself; nothing if it may be.
///
/// An IPv6 address that a translator would turn into an IPv4 one is judged as both.
pub fn forbidden(address: IpAddr, translator: Option<Prefix>) -> Option<Forbidden> {
    let address = match address {
        IpAddr::V4(address) => return forbidden_v4(address),
        IpAddr::V6(address) => address,
    };
    let translated = translator.and_then(|it| it.extract(address));
    if let Some(inside) = translated.and_then(forbidden_v4) {
        return Some(inside);
    }
    if shares(address, WELL_KNOWN, 96) {
        return forbidden_v4(Ipv4Addr::from_bits(address.to_bits() as u32));
    }
    let row = V6.iter().find(|(network, bits, _)| shares(address, *network, *bits));
    row.and_then(|(.., kind)| kind.map(Forbidden))
}

fn forbidden_v4(address: Ipv4Addr) -> Option<Forbidden> {
    let mut rows = V4.iter();
    let row = rows.find(|(network, bits, _)| {
        *bits <= (address.to_bits() ^ network.to_bits()).leading_zeros()
    });
    row.map(|(.., kind)| Forbidden(kind))
}

fn shares(address: Ipv6Addr, network: Ipv6Addr, bits: u32) -> bool {
    bits <= (address.to_bits() ^ network.to_bits()).leading_zeros()
}

const fn v6([a, b, c, d]: [u16; 4]) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
