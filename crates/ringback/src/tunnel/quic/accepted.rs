//! The public proxy's end of QUIC connections: accepts them, and the streams that they carry.
//!
//! Who may stay, and for how long, is not decided here.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, RecvStream,
    SendStream, TransportConfig,
};
use ringback_proto::switchboard::PublicKey;
use tokio_util::task::TaskTracker;

use super::{DONE, Lease, Left, Owned, QuicTunnel, Told, common, enlarge, peer, refused};
use crate::limits::{QUIC_FIRST_STREAMS, QUIC_FIRST_WINDOW, QUIC_INCOMING, QUIC_INCOMING_OCTETS};
use crate::tunnel::tls::{self, Asks};
use crate::tunnel::{Identity, NoTunnel, Tunnel};

/// Octets of a connection's name: it cannot be guessed, and need not be secret.
const CONNECTION_ID_OCTETS: usize = 8;

/// The public proxy's end of one connection.
#[derive(Debug)]
pub struct Accepted {
    connection: Connection,
    peer: PublicKey,
    tasks: TaskTracker,
    lease: Weak<Lease>,
    told: Arc<Told>,
}

/// Random names of connections, so that those from before a restart look like any other.
struct RandomIds;

impl Accepted {
    /// The public proxy's endpoint, on a bound socket.
    pub fn endpoint(
        identity: &Identity,
        socket: UdpSocket,
        tasks: &TaskTracker,
    ) -> io::Result<Endpoint> {
        enlarge(&socket);
        let mut config = tls::server_config(identity);
        config.alpn_protocols = vec![Asks::DialBack.protocol().to_vec()];
        let crypto = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::new(accepting()))
            .max_incoming(QUIC_INCOMING)
            .incoming_buffer_size(QUIC_INCOMING_OCTETS)
            .incoming_buffer_size_total(QUIC_INCOMING as u64 * QUIC_INCOMING_OCTETS);
        let runtime = Arc::new(Owned(tasks.clone()));
        Endpoint::new(lasting(identity), Some(config), socket, runtime)
    }

    /// Shakes hands with whoever has dialed.
    pub async fn shake(incoming: quinn::Incoming, tasks: &TaskTracker) -> Result<Self, NoTunnel> {
        let connection = incoming.await.map_err(refused)?;
        let peer = peer(&connection).ok_or(NoTunnel::Protocol)?;
        let (tasks, lease, told) = (tasks.clone(), Weak::new(), Arc::default());
        Ok(Self { connection, peer, tasks, lease, told })
    }

    /// The next stream that the other end opens.
    pub async fn stream(&self) -> io::Result<(SendStream, RecvStream)> {
        Ok(self.connection.accept_bi().await?)
    }

    /// A tunnel of it.
    pub fn tunnel(&mut self, (send, receive): (SendStream, RecvStream)) -> Tunnel {
        let lease = self.lease.upgrade().unwrap_or_else(|| {
            let (connection, tasks) = (self.connection.clone(), self.tasks.clone());
            let left = Left::Tell(self.told.clone());
            Arc::new(Lease { connection, peer: self.peer, tasks, left })
        });
        self.lease = Arc::downgrade(&lease);
        Tunnel::over(QuicTunnel::new(send, receive, lease))
    }

    /// Resolves when no tunnel is left.
    pub async fn idle(&self) {
        while self.has_tunnels() {
            self.told.left.notified().await;
        }
    }

    /// Resolves when a hello of one of its tunnels was accepted.
    pub async fn proven(&self) {
        self.told.proven.wait().await;
    }

    /// Resolves when it has come to its end.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Whether a tunnel is left.
    pub fn has_tunnels(&self) -> bool {
        0 < self.lease.strong_count()
    }

    /// Where the other end is now.
    pub fn from(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Closes it, and with it what tunnels it has.
    pub fn close(self) {
        self.connection.close(DONE, b"");
    }
}

/// What a public proxy that was started again still knows of the connections before: enough to tell
/// that they are no more (RFC 9000, 10.3), instead of leaving them to their silence.
fn lasting(identity: &Identity) -> EndpointConfig {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, identity.pkcs8());
    let reset = hmac::sign(&secret, b"rb1 quic reset");
    let mut config =
        EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// The public proxy's: whoever has connected is a stranger yet.
fn accepting() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_bidi_streams(QUIC_FIRST_STREAMS.into())
        .receive_window(QUIC_FIRST_WINDOW.into());
    config
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_OCTETS];
        aws_lc_rs::rand::fill(&mut id).expect("the system has given randomness for keys");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_OCTETS
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
