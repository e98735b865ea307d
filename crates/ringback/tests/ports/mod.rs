//! Addresses on loopback that nobody has, and that nobody gets until they are bound: they lie below
//! those that the kernel gives to whoever connects or asks for any.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// The first port and how many there are: what is above is usually the kernel's to give.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// As many addresses as wanted, each free for TCP and UDP and given once.
pub fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    free(N)?.try_into().ok().context("as many as wanted")
}

/// The same, of a number that is known later.
pub fn free(count: usize) -> Result<Vec<SocketAddr>> {
    // Processes begin far from one another; what another one holds is passed over.
    let begin = std::process::id().wrapping_mul(997);
    let looked_at = || LOOKED_AT.fetch_add(1, Ordering::Relaxed);
    let found = std::iter::repeat_with(looked_at).take(COUNT as usize).filter_map(|at| {
        let port = FIRST + begin.wrapping_add(at) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?));
        let free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
        free.then_some(address)
    });
    let found: Vec<SocketAddr> = found.take(count).collect();
    anyhow::ensure!(found.len() == count, "no {count} ports are free");
    Ok(found)
}
