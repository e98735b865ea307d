//! The demo's ports on loopback: the well-known ones for the first demo, free ones for any other.
//!
//! Two demos that start together would both find a well-known port free, and one of them would fail
//! to bind it a moment later. So they agree first on who of them is the first.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::Context;

/// Names the first demo of this machine; the kernel forgets it with the process, however it ends.
const FIRST: &str = "ringback-demo";

/// Proof that this demo is the first; the well-known ports are its own for as long as it is held.
#[derive(Debug)]
pub(super) struct First(#[allow(dead_code, reason = "held, never listened to")] UnixListener);

/// Ports that are drawn for one demo, held until the roles are about to bind them.
#[derive(Debug)]
pub(super) struct Ports {
    first: Option<First>,
    held: Vec<(TcpListener, UdpSocket)>,
}

impl Ports {
    /// None yet; finds out whether this demo is the first.
    pub(super) fn new() -> Self {
        let name = SocketAddr::from_abstract_name(FIRST);
        let first = name.and_then(|it| UnixListener::bind_addr(&it)).map(First);
        Self { first: first.ok(), held: Vec::new() }
    }

    /// The port wanted if this demo may have it and it is free, or one that is; for TCP and UDP.
    ///
    /// All lie below those that the system gives to outgoing connections, one of which could take a
    /// port before its role does; each process begins to look elsewhere.
    pub(super) fn take(&mut self, wanted: u16) -> anyhow::Result<u16> {
        const SPARE: u16 = 20_000;
        const SPARES: u16 = 10_000;
        const APART: u32 = 16;
        let own = std::process::id().wrapping_mul(APART) % u32::from(SPARES);
        let own = u16::try_from(own).unwrap_or_default();
        let spares = (0..SPARES).map(|it| SPARE + (own + it) % SPARES);
        let wanted = self.first.is_some().then_some(wanted);
        let held = wanted.into_iter().chain(spares).find_map(|port| {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
            Some((tcp, udp))
        });
        let (tcp, udp) = held.context("loopback has no free port")?;
        let port = tcp.local_addr()?.port();
        self.held.push((tcp, udp));
        Ok(port)
    }

    /// Lets go of them, so that the roles can bind them.
    pub(super) fn release(self) -> Option<First> {
        self.first
    }
}
