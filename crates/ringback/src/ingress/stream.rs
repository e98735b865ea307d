//! A client's connection, however it came: what follows is spliced without knowing which it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::lookahead::Lookahead;
use super::{Cause, peek};
use crate::socket;
use crate::splice::{Leg, Pipe};
use crate::tunnel::Tunnel;

/// One client's octets.
#[derive(Debug)]
pub enum ClientStream {
    /// As they come: the client's own TLS, if any, is passed through.
    Plain(TcpStream),
    /// Of a TLS that ends here.
    Terminated(Box<Lookahead<TlsStream<TcpStream>>>),
    /// Of `ringback connect`, whose key is proved.
    Keyed(Lookahead<Tunnel>),
}

impl ClientStream {
    /// What the client has sent and nobody has taken, as far as it has been looked at; for a plain
    /// stream all that lies there now.
    pub(crate) fn look(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Plain(stream) => peek::look(stream).unwrap_or_default(),
            Self::Terminated(stream) => Zeroizing::new(stream.seen().to_vec()),
            Self::Keyed(stream) => Zeroizing::new(stream.seen().to_vec()),
        }
    }

    /// Waits until `parse` finds something whole in what the client sends, without taking it.
    pub(super) async fn until<T>(
        &mut self,
        parse: impl FnMut(&[u8]) -> Result<Option<T>, Cause>,
    ) -> Result<T, Cause> {
        match self {
            Self::Plain(stream) => peek::until(stream, parse).await,
            Self::Terminated(stream) => stream.until(parse).await,
            Self::Keyed(stream) => stream.until(parse).await,
        }
    }

    /// Takes exactly the octets that were found.
    pub(super) async fn take_off(&mut self, octets: usize) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let mut taken = Zeroizing::new(vec![0; octets]);
        self.read_exact(&mut taken).await.map_err(|_| Cause::Left)?;
        Ok(taken)
    }

    /// The TCP connection below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Terminated(stream) => stream.stream().get_ref().0,
            Self::Keyed(stream) => stream
                .stream()
                .tcp()
                .expect("a client with a key comes by a TCP connection of its own"),
        }
    }

    /// How an HTTP client came, for `Forwarded` (RFC 7239, 5.4).
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain(_) | Self::Keyed(_) => "http",
            Self::Terminated(_) => "https",
        }
    }

    fn leg(&mut self) -> Pin<&mut dyn Leg> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::Terminated(stream) => Pin::new(&mut **stream),
            Self::Keyed(stream) => Pin::new(stream),
        }
    }
}

impl From<TcpStream> for ClientStream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<Tunnel> for ClientStream {
    fn from(tunnel: Tunnel) -> Self {
        Self::Keyed(Lookahead::new(tunnel))
    }
}

impl From<TlsStream<TcpStream>> for ClientStream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Terminated(Box::new(Lookahead::new(stream)))
    }
}

impl Leg for TlsStream<TcpStream> {
    fn arm(&self) -> io::Result<()> {
        socket::arm(self.get_ref().0)
    }

    fn disarm(&self) -> io::Result<()> {
        socket::disarm(self.get_ref().0)
    }
}

impl Leg for ClientStream {
    fn arm(&self) -> io::Result<()> {
        socket::arm(self.socket())
    }

    fn disarm(&self) -> io::Result<()> {
        socket::disarm(self.socket())
    }

    fn pours(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn drains(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn poll_pour(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.leg().get_mut().poll_pour(cx, pipe)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.leg().get_mut().poll_drain(cx, pipe)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().leg().poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().leg().poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().leg().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().leg().poll_shutdown(cx)
    }
}
