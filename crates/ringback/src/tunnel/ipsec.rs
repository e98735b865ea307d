//! A tunnel inside an IPsec association of its own: a TCP connection between its two inner addresses.
//!
//! The association authenticates and encrypts every packet, TCP's end among them. When it ends, or its
//! daemon does, the connection is broken at once and not waited for.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ringback_proto::access_request::Sid;
use ringback_proto::ipsec::Association;
use ringback_proto::switchboard::PublicKey;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::records::Records;
use crate::ipsec::Lease;
use crate::limits::{SAY_PATIENCE, SEALED_OCTETS};
use crate::socket;

/// Only `drop` takes it.
const THERE: &str = "a tunnel has its stream until it is dropped";

/// A connection whose other end IKE has proved a key of.
pub struct IpsecTunnel {
    /// There until the tunnel is dropped.
    records: Option<Records>,
    /// Taken, and not on its way yet.
    held: Vec<u8>,
    association: Association,
    peer: PublicKey,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
    /// The association is ended, and its key unloaded, when the tunnel is dropped.
    lease: Arc<Lease>,
}

impl IpsecTunnel {
    pub(crate) fn new(
        stream: TcpStream,
        association: Association,
        peer: PublicKey,
        (lease, cut): (Arc<Lease>, CancellationToken),
    ) -> Self {
        // Fails only on a socket that is broken already, as its first use will tell.
        let _ = socket::tune(&stream);
        let cut = Box::pin(cut.cancelled_owned());
        let (records, held) = (Some(Records::new(stream)), Vec::new());
        Self { records, held, association, peer, cut, is_cut: false, lease }
    }

    pub(super) fn peer(&self) -> &PublicKey {
        &self.peer
    }

    pub(super) fn exporter(&self, sid: &Sid) -> [u8; 32] {
        self.association.exporter(sid)
    }

    pub(super) fn records(&self) -> &Records {
        self.records.as_ref().expect(THERE)
    }

    pub(super) fn records_mut(&mut self) -> &mut Records {
        self.records.as_mut().expect(THERE)
    }

    /// Whether octets were taken that have not left.
    pub(super) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// What has come and nobody has taken; empty at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.records_mut().poll_fill(cx)?.is_pending() {
            self.poll_cut(cx)?;
            return Poll::Pending;
        }
        self.records_mut().poll_fill(cx)
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.records_mut().stream_mut())
    }

    /// Sends what is held.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let sent = self.stream().poll_write(cx, &held);
            self.held = held;
            match sent? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(octets) => drop(self.held.drain(..octets)),
                Poll::Pending => {
                    self.poll_cut(cx)?;
                    return Poll::Pending;
                }
            }
        }
        // An idle tunnel holds no room.
        self.held = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Fails when the association has ended, and has the task woken when it does.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_cut || self.cut.as_mut().poll(cx).is_ready() {
            self.is_cut = true;
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the association has ended",
            ));
        }
        Ok(())
    }
}

/// What was said last is still on its way when a tunnel that came to its end is dropped: its
/// association ends only when the other end has it.
impl Drop for IpsecTunnel {
    fn drop(&mut self) {
        let Some(stream) = self.records.take().map(Records::into_stream) else { return };
        let is_cut = SockRef::from(&stream).linger().is_ok_and(|it| it == Some(Duration::ZERO));
        if self.is_cut || is_cut {
            // It is reset here and now.
            return;
        }
        let (Ok(runtime), Ok(stream)) = (Handle::try_current(), stream.into_std()) else { return };
        let lease = self.lease.clone();
        let farewell = move || {
            // From now on closing waits until all was taken, within the patience.
            let _ = SockRef::from(&stream).set_linger(Some(SAY_PATIENCE));
            drop(stream);
            drop(lease);
        };
        self.lease.tasks().spawn_blocking_on(farewell, &runtime);
    }
}

impl AsyncRead for IpsecTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let come = ready!(this.poll_fill(cx))?;
        let octets = come.len().min(buffer.remaining());
        buffer.put_slice(&come[..octets]);
        this.records_mut().consume(octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for IpsecTunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = &octets[..octets.len().min(SEALED_OCTETS)];
        self.poll_write_vectored(cx, &[IoSlice::new(piece)])
    }

    /// Takes all of it or nothing, as TLS does, once what was taken before has left.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        pieces.iter().for_each(|it| this.held.extend_from_slice(it));
        let taken = this.held.len();
        // Whatever does not leave now leaves when it is flushed, or before the next.
        if let Poll::Ready(sent) = this.poll_send(cx) {
            sent?;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        this.stream().poll_shutdown(cx)
    }
}

impl fmt::Debug for IpsecTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpsecTunnel").field("peer", &self.peer).finish_non_exhaustive()
    }
}
