//! A tunnel over QUIC (RFC 9000): one stream of a connection that all tunnels between two proxies share.
//!
//! The handshake is that of TLS, and so are the keys that it proves. A connection lives as long as
//! one of its tunnels does, and not longer; nothing is sent while there is none. A stream that is
//! cut is reset, and never finished.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    AsyncTimer, AsyncUdpSocket, Connection, ConnectionId, ConnectionIdGenerator, Endpoint,
    EndpointConfig, IdleTimeout, RecvStream, Runtime, SendStream, TokioRuntime, TransportConfig,
    VarInt,
};
use ringback_proto::access_request::Sid;
use ringback_proto::hello::EXPORTER_LABEL;
use ringback_proto::switchboard::PublicKey;
use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::tls::{self, Asks};
use super::{Identity, NoTunnel, SERVER_NAME, Tunnel, Whole};
use crate::limits::{
    QUIC_ADDRESS_CHECK, QUIC_FIRST_STREAMS, QUIC_FIRST_WINDOW, QUIC_INCOMING, QUIC_INCOMING_OCTETS,
    QUIC_KEEPALIVE, QUIC_SILENCE, QUIC_SOCKET_OCTETS, QUIC_STREAM_WINDOW, QUIC_STREAMS,
    QUIC_WINDOW, SAY_PATIENCE,
};

/// What a stream, or a connection, is told that is cut.
const CUT: VarInt = VarInt::from_u32(1);
/// What a connection is told that is not needed any more.
const DONE: VarInt = VarInt::from_u32(0);

/// Octets of a connection's name: it cannot be guessed, and need not be secret.
const CONNECTION_ID_OCTETS: usize = 8;

/// A stream whose other end has proved a key, on its connection.
pub struct QuicTunnel {
    send: SendStream,
    receive: RecvStream,
    cut: AtomicBool,
    /// Whether the connection was there before it.
    found: bool,
    lease: Arc<Lease>,
}

/// What keeps a connection open: every tunnel has one.
pub struct Lease {
    connection: Connection,
    peer: PublicKey,
    tasks: TaskTracker,
    left: Left,
}

/// What is done when the last tunnel has gone.
enum Left {
    /// The connection is closed, and with it its socket.
    Close(Endpoint),
    /// Whoever accepts streams is told.
    Tell(Arc<Notify>),
}

/// The end of private proxies: at most one connection to each public proxy's address and key.
#[derive(Debug)]
pub struct Dialer {
    identity: Identity,
    tasks: TaskTracker,
    slots: Mutex<BTreeMap<(SocketAddr, PublicKey), Slot>>,
}

/// One public proxy's connection, if there is one. Whoever dials holds the lock meanwhile.
type Slot = Arc<tokio::sync::Mutex<Weak<Lease>>>;

/// The public proxy's end of one connection.
#[derive(Debug)]
pub struct Accepted {
    connection: Connection,
    peer: PublicKey,
    tasks: TaskTracker,
    lease: Weak<Lease>,
    left: Arc<Notify>,
}

/// Random names of connections, so that those from before a restart look like any other.
struct RandomIds;

/// Runs what QUIC needs as tasks that somebody waits for.
#[derive(Debug)]
struct Owned(TaskTracker);

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

/// Asks for room for bursts; the system gives as much as it allows.
fn enlarge(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(QUIC_SOCKET_OCTETS);
    let _ = socket.set_send_buffer_size(QUIC_SOCKET_OCTETS);
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
        let (tasks, lease, left) = (tasks.clone(), Weak::new(), Arc::default());
        Ok(Self { connection, peer, tasks, lease, left })
    }

    /// The next stream that the other end opens.
    pub async fn stream(&self) -> io::Result<(SendStream, RecvStream)> {
        Ok(self.connection.accept_bi().await?)
    }

    /// A tunnel of it.
    pub fn tunnel(&mut self, (send, receive): (SendStream, RecvStream)) -> Tunnel {
        let lease = self.lease.upgrade().unwrap_or_else(|| {
            let (connection, tasks) = (self.connection.clone(), self.tasks.clone());
            let left = Left::Tell(self.left.clone());
            Arc::new(Lease { connection, peer: self.peer, tasks, left })
        });
        self.lease = Arc::downgrade(&lease);
        Tunnel::over(QuicTunnel::new(send, receive, lease))
    }

    /// Resolves when no tunnel is left.
    pub async fn idle(&self) {
        while self.has_tunnels() {
            self.left.notified().await;
        }
    }

    /// Whether a tunnel is left.
    pub fn has_tunnels(&self) -> bool {
        0 < self.lease.strong_count()
    }

    /// Where the other end is now.
    pub fn from(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Closes a connection that has no tunnels.
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

/// The other end's key, if it has shown one and speaks our protocol.
fn peer(connection: &Connection) -> Option<PublicKey> {
    let shaken = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    if shaken.protocol.as_deref() != Some(Asks::DialBack.protocol()) {
        return None;
    }
    let shown = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let [key] = &shown[..] else { return None };
    PublicKey::parse(key)
}

/// What TLS itself has refused is told from what the network has done.
fn refused(fault: quinn::ConnectionError) -> io::Error {
    let by_tls = |code: quinn::TransportErrorCode| 0x100 <= u64::from(code);
    let is_permanent = match &fault {
        quinn::ConnectionError::TransportError(it) => by_tls(it.code),
        quinn::ConnectionError::ConnectionClosed(it) => by_tls(it.error_code),
        quinn::ConnectionError::VersionMismatch => true,
        quinn::ConnectionError::ApplicationClosed(_)
        | quinn::ConnectionError::Reset
        | quinn::ConnectionError::TimedOut
        | quinn::ConnectionError::LocallyClosed
        | quinn::ConnectionError::CidsExhausted => false,
    };
    match is_permanent {
        true => io::Error::new(io::ErrorKind::InvalidData, fault),
        false => fault.into(),
    }
}

/// What both ends have in common. Congestion is controlled by CUBIC, as in most kernels.
fn common() -> TransportConfig {
    let mut config = TransportConfig::default();
    let silence = IdleTimeout::try_from(QUIC_SILENCE).expect("the silence fits in 62 bits");
    config
        .max_idle_timeout(Some(silence))
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(QUIC_STREAM_WINDOW.into())
        .send_window(QUIC_WINDOW.into());
    config
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

/// The public proxy's: whoever has connected is a stranger yet.
fn accepting() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_bidi_streams(QUIC_FIRST_STREAMS.into())
        .receive_window(QUIC_FIRST_WINDOW.into());
    config
}

impl Tunnel {
    fn over(tunnel: QuicTunnel) -> Self {
        Self::Quic(Box::new(Whole::new(tunnel)))
    }
}

impl QuicTunnel {
    fn new(send: SendStream, receive: RecvStream, lease: Arc<Lease>) -> Self {
        Self { send, receive, cut: AtomicBool::new(false), found: false, lease }
    }

    pub(super) fn peer(&self) -> &PublicKey {
        &self.lease.peer
    }

    /// The connection's, with the session's token as its context: another session's is another.
    pub(super) fn exporter(&self, sid: &Sid) -> [u8; 32] {
        let mut exported = [0; 32];
        let connection = &self.lease.connection;
        let done = connection.export_keying_material(&mut exported, EXPORTER_LABEL, &sid.0);
        done.expect("the handshake is complete and 32 octets can be exported");
        exported
    }

    /// Whether it is cut when it is dropped.
    pub(super) fn arm(&self, cut: bool) -> io::Result<()> {
        self.cut.store(cut, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the connection was there before it, and may have died since.
    pub(super) fn is_on_old_connection(&self) -> bool {
        self.found
    }

    /// Gives the other end the room of one that is no stranger.
    pub(super) fn welcome(&self) {
        let connection = &self.lease.connection;
        connection.set_receive_window(QUIC_WINDOW.into());
        connection.set_max_concurrent_bi_streams(QUIC_STREAMS.into());
    }
}

/// What was said last is still on its way when a tunnel that came to its end is dropped: its lease
/// is kept until the other end has it.
impl Drop for QuicTunnel {
    fn drop(&mut self) {
        if self.cut.load(Ordering::Relaxed) {
            // Fail only on a stream that has come to its end already.
            let _ = self.send.reset(CUT);
            let _ = self.receive.stop(CUT);
            return;
        }
        let (taken, lease) = (self.send.stopped(), self.lease.clone());
        let _ = self.send.finish();
        self.lease.tasks.spawn(async move {
            let _ = timeout(SAY_PATIENCE, taken).await;
            drop(lease);
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.left {
            Left::Close(endpoint) => {
                self.connection.close(DONE, b"");
                // Nobody is heard any more, and the socket ends once the other end has been told.
                endpoint.close(DONE, b"");
            }
            Left::Tell(left) => left.notify_one(),
        }
    }
}

impl AsyncRead for QuicTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.get_mut().receive), cx, buffer)
    }
}

impl AsyncWrite for QuicTunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().send), cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().send), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().send), cx)
    }
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

impl Runtime for Owned {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(task);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

impl fmt::Debug for QuicTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicTunnel").field("peer", self.peer()).finish_non_exhaustive()
    }
}
