//! The private proxy's end of QUIC connections: dials, and follows its own address.
//!
//! It asks nobody whether it may dial; that is the dialer's to know (`ringback_proto`).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, EndpointConfig, TransportConfig};
use ringback_proto::switchboard::PublicKey;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Lease, Left, Owned, QuicTunnel, common, enlarge, peer, refused};
use crate::limits::{
    QUIC_ADDRESS_CHECK, QUIC_CONNECTIONS, QUIC_KEEPALIVE, QUIC_STREAM_PATIENCE, QUIC_STREAMS,
    QUIC_WINDOW,
};
use crate::tunnel::tls::{self, Asks};
use crate::tunnel::{Identity, NoTunnel, SERVER_NAME, Tunnel};

/// The end of private proxies: as few connections to each public proxy's address and key as its
/// tunnels need.
#[derive(Debug)]
pub struct Dialer {
    identity: Identity,
    tasks: TaskTracker,
    /// How many connections were made: the number of the last.
    made: AtomicU64,
    slots: Mutex<BTreeMap<(SocketAddr, PublicKey), Arc<Slot>>>,
}

/// One public proxy's connections.
#[derive(Debug, Default)]
struct Slot {
    /// The oldest first: so that the youngest ends first.
    held: Mutex<Vec<Held>>,
    /// Held by whoever makes the next one.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Held {
    number: u64,
    lease: Weak<Lease>,
    /// Whether no tunnel is opened on it any more.
    given_up: bool,
}

/// A connection that was there before the dial that has found it: it may have died since.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    number: u64,
    /// The last connection that was made before the dial.
    last: u64,
}

impl Dialer {
    /// Dials as whoever has this identity.
    pub fn new(identity: Identity, tasks: TaskTracker) -> Self {
        Self { identity, tasks, made: AtomicU64::new(0), slots: Mutex::default() }
    }

    /// Opens a stream to the public proxy of this key, and to no other: on a connection that there
    /// is, or on a new one. As over TLS, that our own key was accepted shows only in what is read.
    ///
    /// If it is to be instead of a tunnel on a connection that was found and does not answer, that one
    /// is given up, and none is taken that is as old. Its tunnels are left to their own end.
    ///
    /// `None` if no connection has room for one more, and there may be no further connection.
    pub async fn dial(
        &self,
        address: SocketAddr,
        server: &PublicKey,
        instead_of: Option<Found>,
    ) -> Result<Option<Tunnel>, NoTunnel> {
        let slot = self.slot((address, *server));
        let (last, until) = (self.last(), Instant::now() + QUIC_STREAM_PATIENCE);
        if let Some(found) = instead_of {
            slot.give_up(found.number);
        }
        let after = instead_of.map_or(0, |it| it.last);
        loop {
            let newest = slot.newest();
            if let Some((number, mut tunnel)) = slot.open(after, until).await {
                tunnel.found = (number <= last).then_some(Found { number, last });
                return Ok(Some(Tunnel::over(tunnel)));
            }
            let _turn = slot.making.lock().await;
            if slot.newest() != newest {
                // Somebody else has made one meanwhile.
                continue;
            }
            if QUIC_CONNECTIONS <= slot.count() {
                return Ok(None);
            }
            let lease = Arc::new(self.connect(address, server).await?);
            // Before anybody else may take it.
            let opened = timeout(QUIC_STREAM_PATIENCE, lease.connection.open_bi()).await;
            let (send, receive) = opened.map_err(io::Error::from)?.map_err(io::Error::other)?;
            slot.hold(self.made.fetch_add(1, Ordering::Relaxed) + 1, &lease);
            return Ok(Some(Tunnel::over(QuicTunnel::new(send, receive, lease))));
        }
    }

    fn last(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// The slot of a public proxy; those that hold nothing are forgotten.
    fn slot(&self, whom: (SocketAddr, PublicKey)) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| 1 < Arc::strong_count(slot) || 0 < slot.count());
        slots.entry(whom).or_default().clone()
    }

    async fn connect(&self, address: SocketAddr, server: &PublicKey) -> Result<Lease, NoTunnel> {
        let config = tls::client_config(&self.identity, server, Asks::DialBack);
        let crypto = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(dialing()));
        let runtime = Arc::new(Owned(self.tasks.clone()));
        let socket = any_port(address)?;
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
        let dialing = endpoint.connect_with(config, address, SERVER_NAME);
        let connection = dialing.map_err(io::Error::other)?.await.map_err(refused)?;
        let peer = peer(&connection).filter(|it| it == server).ok_or(NoTunnel::Protocol)?;
        debug!(%address, "connected by QUIC");
        let (watched, follows) = (connection.clone(), endpoint.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                _ = watched.closed() => {}
                () = follow_address(&follows, address) => {}
            }
        });
        let tasks = self.tasks.clone();
        Ok(Lease { connection, peer, tasks, left: Left::Close(endpoint) })
    }
}

impl Slot {
    /// Opens a stream on one of the connections that were made after that one, and says on which. When
    /// none has one left, the youngest is waited for: its public proxy may not have let anybody in yet.
    async fn open(&self, after: u64, until: Instant) -> Option<(u64, QuicTunnel)> {
        let mut youngest = None;
        for (number, lease) in self.leases(after) {
            let opened = tokio::select! {
                biased;
                opened = lease.connection.open_bi() => opened.ok(),
                () = std::future::ready(()) => None,
            };
            if let Some((send, receive)) = opened {
                return Some((number, QuicTunnel::new(send, receive, lease)));
            }
            youngest = Some((number, lease));
        }
        let (number, lease) = youngest?;
        // Ours is one of them. Where there are as many as may be, nobody is about to be let in.
        let most = QUIC_STREAMS as usize;
        if most < Arc::strong_count(&lease) {
            return None;
        }
        let (send, receive) = timeout_at(until, lease.connection.open_bi()).await.ok()?.ok()?;
        Some((number, QuicTunnel::new(send, receive, lease)))
    }

    /// Those that are alive, were made after that one, and were not given up.
    fn leases(&self, after: u64) -> Vec<(u64, Arc<Lease>)> {
        let held = self.held();
        let wanted = held.iter().filter(|it| after < it.number && !it.given_up);
        wanted.filter_map(|it| Some((it.number, it.lease.upgrade()?))).collect()
    }

    fn hold(&self, number: u64, lease: &Arc<Lease>) {
        self.held().push(Held { number, lease: Arc::downgrade(lease), given_up: false });
    }

    /// Has no further tunnel opened on it.
    fn give_up(&self, number: u64) {
        let mut held = self.held();
        let given_up = held.iter_mut().filter(|it| it.number == number);
        given_up.for_each(|it| it.given_up = true);
    }

    fn newest(&self) -> Option<u64> {
        self.held().last().map(|it| it.number)
    }

    fn count(&self) -> usize {
        self.held().len()
    }

    /// Those that are alive.
    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = |it: Arc<Lease>| it.connection.close_reason().is_none();
        held.retain(|it| it.lease.upgrade().is_some_and(alive));
        held
    }
}

/// A private proxy's socket: any port, any address, so that the network may give us another one.
fn any_port(towards: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match towards {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    enlarge(&socket);
    Ok(socket)
}

/// Moves the connection when our own address has become another: without this, a terminal that only
/// listens would be looked for at its former address until its next keep-alive.
async fn follow_address(endpoint: &Endpoint, towards: SocketAddr) {
    let mut known = own_address(towards).ok();
    loop {
        sleep(QUIC_ADDRESS_CHECK).await;
        let Ok(now) = own_address(towards) else { continue };
        if known == Some(now) {
            continue;
        }
        match any_port(towards).and_then(|it| endpoint.rebind(it)) {
            Ok(()) => debug!("the connection moves to another address of ours"),
            Err(fault) => debug!(%fault, "the connection cannot move"),
        }
        known = Some(now);
    }
}

/// The address that the system would send from; nothing is sent to find out.
fn own_address(towards: SocketAddr) -> io::Result<SocketAddr> {
    let socket = any_port(towards)?;
    socket.connect(towards)?;
    let mut own = socket.local_addr()?;
    own.set_port(0);
    Ok(own)
}

/// The private proxy's: it knows by the handshake whom it has reached, and keeps NATs aware of it.
fn dialing() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_bidi_streams(0u32.into())
        .receive_window(QUIC_WINDOW.into())
        .keep_alive_interval(Some(QUIC_KEEPALIVE));
    config
}
