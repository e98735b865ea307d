//! Who may reach a service: the level of security that it asks for, and all that the level needs.

use std::net::IpAddr;
use std::str::FromStr;

use ringback_proto::gate::{Identity, Level};
use ringback_proto::switchboard::PublicKey;

use super::clients;
use super::section::Section;

/// What a client must show before it may cause a ring for one service.
#[derive(Clone, Debug)]
pub struct Access {
    /// The level.
    pub level: Level,
    /// Networks that level `allow` admits.
    pub allow: Vec<Network>,
    /// Keys that `ringback connect` may show, and what their holders are called.
    pub clients: Vec<(Identity, PublicKey)>,
}

/// An IP network, such as `192.0.2.0/24`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// Reads `level` and what belongs to it from a `[[terminal.service]]` table.
pub(super) fn read(section: &mut Section<'_>) -> Access {
    let level = section.text("level").unwrap_or(Level::Open);
    let allow: Vec<Network> = section.list("allow");
    if (level == Level::Allow) == allow.is_empty() {
        section.wrong("allow", "give it with level = \"allow\", and only there");
    }
    let clients = clients::read(section);
    if level == Level::EndToEnd && section.lacks("client") {
        section
            .wrong("client", "missing: level \"end-to-end\" needs one [[terminal.service.client]]");
    }
    Access { level, allow, clients }
}

impl Network {
    /// Whether the address lies in it; a v4-mapped address counts as the v4 one it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let host = |bits: u32, of: u8| bits.checked_shr(of.into()).unwrap_or(0);
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(it)) => {
                (first.to_bits() ^ it.to_bits()) & !host(u32::MAX, self.bits) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(it)) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                (first.to_bits() ^ it.to_bits()) & !host == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "no network, such as 192.0.2.0/24 or 2001:db8::/32";
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let first: IpAddr = address.parse().map_err(|_| wrong)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |it| it.parse().map_err(|_| wrong))?;
        let network = Self { first, bits };
        let last = most.checked_sub(bits).ok_or(wrong)?;
        let trailing = match first {
            IpAddr::V4(it) => it.to_bits().trailing_zeros(),
            IpAddr::V6(it) => it.to_bits().trailing_zeros(),
        };
        if trailing < u32::from(last) {
            return Err("has bits set behind its prefix: give the network's first address");
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_and_no_other() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "192.0.2.7"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?} {outside}");
        }
        for text in ["192.0.2.1/24", "192.0.2.0/33", "2001:db8::1/64", "x", "192.0.2.0/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
