//! The fixed addresses of the lab. The terminal's is drawn anew each time it attaches.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The client, on the Internet.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The public proxy's host, on the Internet.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// The operator's SMSC, as the Internet sees it.
pub const SMSC_OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 40);
/// The host that every resolver asks.
pub const DNS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// The gateway, as the Internet sees it: the source of whatever comes from inside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The private proxy's host, inside.
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
/// The operator's SMSC, inside.
pub const SMSC: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 3);

/// The public proxy's host, on the Internet, in IPv6.
pub const PUBLIC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x20);
/// The private proxy's host inside an IPv6-only operator's network.
pub const PRIVATE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 2);
/// The operator's SMSC inside an IPv6-only operator's network.
pub const SMSC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 3);
/// The public proxy's host as an IPv6-only operator's NAT64 presents it, under 2001:db8:64:ff9b::/96.
pub const PUBLIC_NAT64: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0xff9b, 0, 0, 0xcb00, 0x7114);
