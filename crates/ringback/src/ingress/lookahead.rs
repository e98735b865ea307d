//! A stream whose first octets can be looked at before they are taken, where the kernel cannot
//! keep them: inside a TLS that ends here.
//!
//! Holds at most a head, and nothing of it once it has been read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Cause;
use crate::limits;
use crate::splice::Leg;

/// The stream, and what was looked at and not yet taken.
#[derive(Debug)]
pub struct Lookahead<S> {
    stream: S,
    seen: Vec<u8>,
    taken: usize,
}

impl<S: Leg> Lookahead<S> {
    /// Nothing has been looked at yet.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, seen: Vec::new(), taken: 0 }
    }

    /// The stream itself.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// What has been looked at and not taken.
    pub(super) fn seen(&self) -> &[u8] {
        &self.seen[self.taken..]
    }

    /// Reads until `parse` finds something whole. `None` asks for more octets.
    pub(super) async fn until<T>(
        &mut self,
        mut parse: impl FnMut(&[u8]) -> Result<Option<T>, Cause>,
    ) -> Result<T, Cause> {
        loop {
            if let Some(whole) = parse(self.seen())? {
                return Ok(whole);
            }
            let room = limits::HEAD_OCTETS.saturating_sub(self.seen().len());
            if room == 0 {
                return Err(Cause::Long);
            }
            let mut more = (&mut self.stream).take(room as u64);
            if more.read_buf(&mut self.seen).await.map_err(|_| Cause::Left)? == 0 {
                return Err(Cause::Incomplete);
            }
        }
    }
}

impl<S: Leg> Leg for Lookahead<S> {
    fn arm(&self) -> io::Result<()> {
        self.stream.arm()
    }

    fn disarm(&self) -> io::Result<()> {
        self.stream.disarm()
    }
}

impl<S: Leg> AsyncRead for Lookahead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let seen = &this.seen[this.taken..];
        if seen.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let octets = seen.len().min(buffer.remaining());
        buffer.put_slice(&seen[..octets]);
        this.taken += octets;
        if this.taken == this.seen.len() {
            (this.seen, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Leg> AsyncWrite for Lookahead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_read_once_and_in_order() {
        let (mut client, server) = pair().await;
        let mut held = Lookahead::new(server);
        client.write_all(b"head").await.unwrap();
        let found = held.until(|it| Ok((it.len() == 4).then(|| it.to_vec()))).await;
        assert_eq!(found, Ok(b"head".to_vec()));
        client.write_all(b" and body").await.unwrap();
        client.shutdown().await.unwrap();
        let mut octets = vec![0; 2];
        held.read_exact(&mut octets).await.unwrap();
        assert_eq!((&octets[..], held.seen()), (&b"he"[..], &b"ad"[..]));
        held.read_to_end(&mut octets).await.unwrap();
        assert_eq!(octets, b"head and body");
    }

    #[tokio::test]
    async fn more_than_a_head_may_have_is_too_long_and_half_of_one_incomplete() {
        let (mut client, server) = pair().await;
        client.write_all(&vec![b'x'; limits::HEAD_OCTETS + 1]).await.unwrap();
        let mut held = Lookahead::new(server);
        assert_eq!(held.until::<()>(|_| Ok(None)).await, Err(Cause::Long));
        assert_eq!(held.seen().len(), limits::HEAD_OCTETS);

        let (mut client, server) = pair().await;
        client.write_all(b"half").await.unwrap();
        client.shutdown().await.unwrap();
        let found = Lookahead::new(server).until::<()>(|_| Ok(None)).await;
        assert_eq!(found, Err(Cause::Incomplete));
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }
}
