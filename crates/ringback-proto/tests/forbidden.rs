//! Which addresses are never dialed, held against the standard library and the IANA's registries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringback_proto::dialer::forbidden;
use ringback_proto::nat64::Prefix;
use ringback_proto::network::Network;

/// The IPv4 special-purpose registry: whether a packet may be forwarded and reach the destination
/// globally. Of what is nested the narrower row stands first.
const IANA_V4: [(&str, bool); 23] = [
    ("192.0.0.9/32", true),
    ("192.0.0.10/32", true),
    ("192.0.0.8/32", false),
    ("192.0.0.170/32", false),
    ("192.0.0.171/32", false),
    ("192.0.0.0/29", false),
    ("192.0.0.0/24", false),
    ("0.0.0.0/8", false),
    ("10.0.0.0/8", false),
    ("100.64.0.0/10", false),
    ("127.0.0.0/8", false),
    ("169.254.0.0/16", false),
    ("172.16.0.0/12", false),
    ("192.31.196.0/24", true),
    ("192.52.193.0/24", true),
    ("192.88.99.0/24", false),
    ("192.168.0.0/16", false),
    ("192.175.48.0/24", true),
    ("198.18.0.0/15", false),
    ("224.0.0.0/4", false),
    ("255.255.255.255/32", false),
    ("240.0.0.0/4", false),
    ("0.0.0.0/0", true),
];

/// The IPv6 one.
const IANA_V6: [(&str, bool); 22] = [
    ("::1/128", false),
    ("::/128", false),
    ("::ffff:0:0/96", false),
    ("64:ff9b::/96", true),
    ("64:ff9b:1::/48", false),
    ("100::/64", false),
    ("100:0:0:1::/64", false),
    ("2001::/32", false),
    ("2001:1::1/128", true),
    ("2001:2::/48", false),
    ("2001:10::/28", false),
    ("2001:20::/28", true),
    ("2001:30::/28", true),
    ("2001::/23", false),
    ("2002::/16", false),
    ("2620:4f:8000::/48", true),
    ("5f00::/16", false),
    ("fc00::/7", false),
    ("fe80::/10", false),
    ("ff00::/8", false),
    ("2000::/3", true),
    ("::/0", false),
];

/// Kept for documentation, reachable nowhere, and allowed: see the module.
const DOCUMENTATION: [&str; 5] =
    ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"];

/// Reachable by the registry, and yet no place for a public proxy.
const STRICTER: [&str; 3] = ["192.0.0.0/24", "2001::/23", "64:ff9b::/96"];

#[test]
fn every_address_that_is_not_global_by_the_registries_is_forbidden() {
    let (mut open, mut shut) = (0, 0);
    for address in samples() {
        let registry = if address.is_ipv4() { &IANA_V4[..] } else { &IANA_V6[..] };
        let mut rows = registry.iter();
        let (row, global) = rows.find(|(network, _)| inside(network, address)).unwrap();
        let told = forbidden(address, None);
        if !global {
            assert!(told.is_some(), "{address} of {row} is not global");
            shut += 1;
        } else if !STRICTER.iter().any(|it| inside(it, address)) {
            assert_eq!(told, None, "{address} of {row} is global");
            open += 1;
        }
    }
    assert!(1_000 < open && 1_000 < shut, "{open} open, {shut} shut");
}

#[test]
fn the_standard_library_sees_no_address_of_the_inside_that_is_not_forbidden() {
    for address in samples() {
        let of_the_inside = match address {
            IpAddr::V4(it) => {
                it.is_unspecified()
                    || it.is_loopback()
                    || it.is_private()
                    || it.is_link_local()
                    || it.is_multicast()
                    || it.is_broadcast()
            }
            IpAddr::V6(it) => {
                it.is_unspecified()
                    || it.is_loopback()
                    || it.is_unique_local()
                    || it.is_unicast_link_local()
                    || it.is_multicast()
                    || it.to_ipv4_mapped().is_some()
            }
        };
        if of_the_inside {
            assert!(forbidden(address, None).is_some(), "{address}");
        }
    }
}

#[test]
fn addresses_kept_for_documentation_play_the_internet() {
    for network in DOCUMENTATION {
        let first: IpAddr = network.split_once('/').unwrap().0.parse().unwrap();
        assert_eq!(forbidden(first, None), None, "{network}");
    }
}

#[test]
fn an_address_that_hides_another_is_judged_by_it() {
    let translator = Prefix::parse("2001:db8:64:ff9b::/96").unwrap();
    for inside in ["127.0.0.1", "10.1.2.3", "100.64.0.2", "169.254.169.254", "0.0.0.0", "224.0.0.1"]
    {
        let inside: Ipv4Addr = inside.parse().unwrap();
        let [a, b, c, d] = inside.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        for hiding in [
            inside.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, 0xcb00, 0x7114, 0, 0, !high, !low),
        ] {
            assert!(forbidden(hiding.into(), None).is_some(), "{hiding} hides {inside}");
        }
        let own = translator.embed(inside).into();
        assert_eq!(forbidden(own, None), None, "{own} is an address like any other");
        assert!(forbidden(own, Some(translator)).is_some(), "{own} is translated to {inside}");
    }
    let outside = Ipv4Addr::new(203, 0, 113, 20);
    assert_eq!(forbidden(translator.embed(outside).into(), Some(translator)), None);
    let well_known = Prefix::parse("64:ff9b::/96").unwrap();
    assert_eq!(forbidden(well_known.embed(outside).into(), None), None);
}

#[test]
fn what_is_forbidden_is_told_in_words() {
    let words = |text: &str| forbidden(text.parse().unwrap(), None).unwrap().to_string();
    assert_eq!(words("127.0.0.1"), "a loopback address");
    assert_eq!(words("::1"), "a loopback address");
    assert_eq!(words("100.64.0.2"), "an address inside an operator's network");
    assert_eq!(words("255.255.255.255"), "the broadcast address");
    assert_eq!(words("4000::1"), "an unassigned address");
}

/// The edges of every row of both registries and the addresses beside them, and one of each /16.
fn samples() -> Vec<IpAddr> {
    let mut samples = Vec::new();
    let rows = IANA_V4.iter().chain(&IANA_V6).map(|(network, _)| *network);
    for network in rows.chain(DOCUMENTATION) {
        let (first, bits) = network.split_once('/').unwrap();
        let bits: u32 = bits.parse().unwrap();
        match first.parse().unwrap() {
            IpAddr::V4(first) => {
                let (first, host) = (first.to_bits(), u32::MAX.checked_shr(bits).unwrap_or(0));
                let edges =
                    [first.wrapping_sub(1), first, first | host, (first | host).wrapping_add(1)];
                samples.extend(edges.map(|it| IpAddr::from(Ipv4Addr::from_bits(it))));
            }
            IpAddr::V6(first) => {
                let (first, host) = (first.to_bits(), u128::MAX.checked_shr(bits).unwrap_or(0));
                let edges =
                    [first.wrapping_sub(1), first, first | host, (first | host).wrapping_add(1)];
                samples.extend(edges.map(|it| IpAddr::from(Ipv6Addr::from_bits(it))));
            }
        }
    }
    for high in 0..=u16::MAX {
        let [a, b] = high.to_be_bytes();
        samples.push(Ipv4Addr::new(a, b, 7, 9).into());
        samples.push(Ipv6Addr::new(high, 7, 0, 0, 0, 0, 0, 9).into());
    }
    samples
}

fn inside(network: &str, address: IpAddr) -> bool {
    let network: Network = network.parse().unwrap();
    // `contains` takes a v4-mapped address for the v4 one it is; here it stands for itself.
    match address {
        IpAddr::V6(it) if it.to_ipv4_mapped().is_some() => {
            ["::ffff:0:0/96", "::/0"].iter().any(|row| row.parse() == Ok(network))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => network.contains(address),
    }
}
