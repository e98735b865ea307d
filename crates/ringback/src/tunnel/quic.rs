//! A tunnel over QUIC (RFC 9000): one stream of a connection that all tunnels between two proxies share.
//!
//! The handshake is that of TLS, and so are the keys that it proves. A connection lives as long as
//! one of its tunnels does, and not longer; nothing is sent while there is none. A stream that is
//! cut is reset, and never finished.

mod accepted;
mod dialer;

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::crypto::rustls::HandshakeData;
use quinn::{
    AsyncTimer, AsyncUdpSocket, Connection, Endpoint, IdleTimeout, RecvStream, Runtime, SendStream,
    TokioRuntime, TransportConfig, VarInt,
};
use ringback_proto::access_request::Sid;
use ringback_proto::hello::EXPORTER_LABEL;
use ringback_proto::switchboard::PublicKey;
use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, SetOnce};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::tls::Asks;
use super::{Tunnel, Whole};
use crate::limits::{
    QUIC_SILENCE, QUIC_SOCKET_OCTETS, QUIC_STREAM_WINDOW, QUIC_STREAMS, QUIC_WINDOW, SAY_PATIENCE,
};

pub use accepted::Accepted;
pub use dialer::{Dialer, Found};

/// What a stream, or a connection, is told that is cut.
const CUT: VarInt = VarInt::from_u32(1);
/// What a connection is told that is not needed any more.
const DONE: VarInt = VarInt::from_u32(0);

/// A stream whose other end has proved a key, on its connection.
pub struct QuicTunnel {
    send: SendStream,
    receive: RecvStream,
    cut: AtomicBool,
    /// Whether its own hello was accepted, at the public proxy.
    welcome: AtomicBool,
    /// Which connection it is on, if that was there before it.
    found: Option<Found>,
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
    Tell(Arc<Told>),
}

/// What whoever accepts streams is told.
#[derive(Debug, Default)]
struct Told {
    /// The last tunnel has gone.
    left: Notify,
    /// The first hello was accepted.
    proven: SetOnce<()>,
}

/// Runs what QUIC needs as tasks that somebody waits for.
#[derive(Debug)]
struct Owned(TaskTracker);

/// Asks for room for bursts; the system gives as much as it allows.
fn enlarge(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(QUIC_SOCKET_OCTETS);
    let _ = socket.set_send_buffer_size(QUIC_SOCKET_OCTETS);
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

impl Tunnel {
    fn over(tunnel: QuicTunnel) -> Self {
        Self::Quic(Box::new(Whole::new(tunnel)))
    }
}

impl QuicTunnel {
    fn new(send: SendStream, receive: RecvStream, lease: Arc<Lease>) -> Self {
        let (cut, welcome) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { send, receive, cut, welcome, found: None, lease }
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

    /// Which connection it is on, if that was there before it, and may have died since.
    pub(super) fn found(&self) -> Option<Found> {
        self.found
    }

    /// Gives the other end the room of one that is no stranger.
    pub(super) fn welcome(&self) {
        let connection = &self.lease.connection;
        connection.set_receive_window(QUIC_WINDOW.into());
        connection.set_max_concurrent_bi_streams(QUIC_STREAMS.into());
        self.welcome.store(true, Ordering::Relaxed);
        if let Left::Tell(told) = &self.lease.left {
            // Only the first is news.
            let _ = told.proven.set(());
        }
    }
}

/// What was said last is still on its way when a tunnel that came to its end is dropped: its lease
/// is kept until the other end has it. A stranger's is not: what keeps its connection is its place.
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
        let welcome = match &lease.left {
            Left::Close(_) => true,
            Left::Tell(_) => self.welcome.load(Ordering::Relaxed),
        };
        if !welcome {
            return;
        }
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
            Left::Tell(told) => told.left.notify_one(),
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
