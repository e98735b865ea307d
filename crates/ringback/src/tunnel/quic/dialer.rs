//! The private proxy's end of QUIC connections: dials, and follows its own address.
//!
//! It asks nobody whether it may dial; that is the dialer's to know (`ringback_proto`).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, EndpointConfig, TransportConfig};
use ringback_proto::switchboard::PublicKey;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Lease, Left, Owned, QuicTunnel, common, enlarge, peer, refused};
use crate::limits::{QUIC_ADDRESS_CHECK, QUIC_KEEPALIVE, QUIC_WINDOW};
use crate::tunnel::tls::{self, Asks};
use crate::tunnel::{Identity, NoTunnel, SERVER_NAME, Tunnel};

/// The end of private proxies: at most one connection to each public proxy's address and key.
#[derive(Debug)]
pub struct Dialer {
    identity: Identity,
    tasks: TaskTracker,
    slots: Mutex<BTreeMap<(SocketAddr, PublicKey), Slot>>,
}

/// One public proxy's connection, if there is one. Whoever dials holds the lock meanwhile.
type Slot = Arc<tokio::sync::Mutex<Weak<Lease>>>;

impl Dialer {
    /// Dials as whoever has this identity.
    pub fn new(identity: Identity, tasks: TaskTracker) -> Self {
        Self { identity, tasks, slots: Mutex::default() }
    }

    /// Opens a stream to the public proxy of this key, and to no other: on the connection that there
    /// is, or on a new one. As over TLS, that our own key was accepted shows only in what is read.
    pub async fn dial(&self, address: SocketAddr, server: &PublicKey) -> Result<Tunnel, NoTunnel> {
        let slot = self.slot((address, *server));
        let mut held = slot.lock().await;
        if let Some(lease) = held.upgrade()
            && let Ok((send, receive)) = lease.connection.open_bi().await
        {
            let mut tunnel = QuicTunnel::new(send, receive, lease);
            tunnel.found = true;
            return Ok(Tunnel::over(tunnel));
        }
        let lease = Arc::new(self.connect(address, server).await?);
        *held = Arc::downgrade(&lease);
        drop(held);
        let (send, receive) = lease.connection.open_bi().await.map_err(io::Error::other)?;
        Ok(Tunnel::over(QuicTunnel::new(send, receive, lease)))
    }

    /// Has the next dial make a connection of its own: who is at the other end of this one does not
    /// answer any more. Its tunnels are left to their own end.
    pub async fn give_up(&self, address: SocketAddr, server: &PublicKey) {
        *self.slot((address, *server)).lock().await = Weak::new();
    }

    /// The slot of a public proxy; those that hold nothing are forgotten.
    fn slot(&self, whom: (SocketAddr, PublicKey)) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let idle = slot.try_lock().is_ok_and(|it| it.strong_count() == 0);
            1 < Arc::strong_count(slot) || !idle
        });
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
