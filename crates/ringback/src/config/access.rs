//! Who may reach a service: the level of security that it asks for, and all that the level needs.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ringback_proto::gate::{Identity, Level};
use ringback_proto::switchboard::PublicKey;

use super::section::Section;
use crate::keys;
use crate::users::Users;

/// What a client must show before it may cause a ring for one service.
#[derive(Clone, Debug)]
pub struct Access {
    /// The level.
    pub level: Level,
    /// Networks that level `allow` admits.
    pub allow: Vec<Network>,
    /// Keys that `ringback connect` may show, and what their holders are called.
    pub clients: Vec<(Identity, PublicKey)>,
    /// Whom level `http` knows; there if it is asked for, and only then.
    pub users: Option<Arc<Users>>,
    /// What becomes of a request's credential.
    pub custody: Custody,
}

/// What becomes of a credential once its client is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// It was for the public proxy, and the service never sees it.
    Consume,
    /// It is the service's too, and is left in its request.
    Pass,
}

/// An IP network, such as `192.0.2.0/24`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// Knows the keys of [`read`] without reading any: who only answers DNS admits nobody, and has none
/// of the files.
pub(super) fn pass_over(section: &mut Section<'_>) -> Access {
    for key in ["level", "allow", "client", "users", "credential"] {
        section.has(key);
    }
    Access {
        level: Level::Open,
        allow: Vec::new(),
        clients: Vec::new(),
        users: None,
        custody: Custody::Consume,
    }
}

/// Reads `level` and what belongs to it from a `[[terminal.service]]` table.
pub(super) fn read(section: &mut Section<'_>) -> Access {
    let level = section.text("level").unwrap_or(Level::Open);
    let allow: Vec<Network> = section.list("allow");
    if (level == Level::Allow) == allow.is_empty() {
        section.wrong("allow", "give it with level = \"allow\", and only there");
    }
    let mut clients = Vec::new();
    for mut client in section.sections("client") {
        let name: Option<Identity> = client.required("name");
        let key = client.file("key", keys::read_public_key);
        if let (Some(name), Some(key)) = (name, key) {
            if clients.iter().any(|(other, _)| *other == name) {
                client.wrong("name", "another client of this service has this name");
            }
            clients.push((name, key));
        }
        client.finish();
    }
    if level == Level::EndToEnd && section.lacks("client") {
        section
            .wrong("client", "missing: level \"end-to-end\" needs one [[terminal.service.client]]");
    }
    let (users, custody) = read_http(section, level);
    Access { level, allow, clients, users, custody }
}

/// What belongs to level `http`.
fn read_http(section: &mut Section<'_>, level: Level) -> (Option<Arc<Users>>, Custody) {
    let (wanted, given) = (level == Level::Http, section.has("users"));
    if wanted && !given {
        let cure = "missing: level \"http\" needs a file of lines made by `ringback key user`";
        section.wrong("users", cure);
    }
    if !wanted && given {
        section.wrong("users", "give it with level = \"http\", and only there");
    }
    let users = if given { section.file("users", Users::read) } else { None };
    let custody = section.text("credential");
    if !wanted && custody.is_some() {
        section.wrong("credential", "give it with level = \"http\", and only there");
    }
    (users.map(Arc::new).filter(|_| wanted), custody.unwrap_or(Custody::Consume))
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

impl FromStr for Custody {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "consume" => Ok(Self::Consume),
            "pass" => Ok(Self::Pass),
            _ => Err("must be \"consume\" or \"pass\""),
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
