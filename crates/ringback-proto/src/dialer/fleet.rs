//! Public proxies that are many machines with one key, known by their network and not one by one.
//!
//! A fleet widens what may be dialed; what [`forbidden`](super::forbidden) names stays shut in it.

use std::net::SocketAddr;
use std::str::FromStr;

use crate::network::Network;

/// Every address of one network, at one port: `203.0.113.0/24:7443` or `[2001:db8::/32]:7443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    network: Network,
    port: u16,
}

impl Fleet {
    /// Whether a signal may name this address.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.port == address.port() && self.network.contains(address.ip())
    }
}

impl FromStr for Fleet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "no network and port, such as 203.0.113.0/24:7443 or [2001:db8::/32]:7443";
        let (network, port) = text.rsplit_once(':').ok_or(wrong)?;
        let bracketed = network.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if bracketed.is_some() != network.contains(':') {
            return Err(wrong);
        }
        let port = port.parse().ok().filter(|it| *it != 0).ok_or(wrong)?;
        let network = bracketed.unwrap_or(network);
        if !network.contains('/') {
            return Err("one address is no fleet: list it under addresses");
        }
        Ok(Self { network: network.parse()?, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_has_its_addresses_at_its_port_and_no_other() {
        for (fleet, inside, outside) in [
            ("203.0.113.0/24:7443", "203.0.113.255:7443", "203.0.113.255:443"),
            ("203.0.113.0/24:7443", "203.0.113.0:7443", "203.0.114.0:7443"),
            ("[2001:db8::/32]:7443", "[2001:db8::1]:7443", "[2001:db9::1]:7443"),
            ("0.0.0.0/0:443", "192.0.2.1:443", "[2001:db8::1]:443"),
        ] {
            let fleet: Fleet = fleet.parse().unwrap();
            assert!(fleet.contains(inside.parse().unwrap()), "{fleet:?} {inside}");
            assert!(!fleet.contains(outside.parse().unwrap()), "{fleet:?} {outside}");
        }
    }

    #[test]
    fn what_is_no_fleet_is_refused() {
        for text in [
            "203.0.113.0/24",
            "203.0.113.7:7443",
            "[203.0.113.0/24]:7443",
            "203.0.113.0/24:0",
            "203.0.113.0/24:x",
            "203.0.113.1/24:7443",
            "2001:db8::/32:7443",
            "[2001:db8::/32]",
            "",
        ] {
            assert!(text.parse::<Fleet>().is_err(), "{text}");
        }
    }
}
