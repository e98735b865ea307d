//! The stream below a tunnel that has no records of its own: lends what has come, takes what it is
//! given whole.
//!
//! A tunnel over TLS has both from its records. What has been taken and has not left is bounded by one
//! piece: whoever writes has it leave before the next.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::Records;

/// A stream, what was read of it and not taken, and what was taken and has not left.
#[derive(Debug)]
pub struct Whole<S> {
    /// Nothing is read by records here; only the reading ahead is shared.
    stream: Records<S>,
    held: Vec<u8>,
    gone: usize,
}

impl<S> Whole<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: Records::new(stream), held: Vec::new(), gone: 0 }
    }

    pub(super) fn stream(&self) -> &S {
        self.stream.stream()
    }

    pub(super) fn consume(&mut self, octets: usize) {
        self.stream.consume(octets);
    }

    /// Whether octets were taken that have not left.
    pub(super) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }
}

impl<S: AsyncRead + Unpin> Whole<S> {
    /// What has come and nobody has taken; empty at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.stream.poll_fill(cx)
    }
}

impl<S: AsyncWrite + Unpin> Whole<S> {
    /// Has everything leave that was taken.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.held.len() {
            let rest = &self.held[self.gone..];
            let gone = ready!(Pin::new(self.stream.stream_mut()).poll_write(cx, rest))?;
            if gone == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += gone;
        }
        (self.held, self.gone) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Whole<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let come = ready!(this.poll_fill(cx))?;
        let octets = come.len().min(buffer.remaining());
        buffer.put_slice(&come[..octets]);
        this.consume(octets);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Whole<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        Pin::new(this.stream.stream_mut()).poll_write(cx, octets)
    }

    /// Takes all of the pieces or nothing.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        let whole: usize = pieces.iter().map(|it| it.len()).sum();
        let mut taken = 0;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() && this.held.is_empty() {
                match Pin::new(this.stream.stream_mut()).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(octets)) => {
                        rest = &rest[octets..];
                        taken += octets;
                    }
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                    Poll::Pending if taken == 0 => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            this.held.extend_from_slice(rest);
        }
        Poll::Ready(Ok(whole))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        Pin::new(this.stream.stream_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_leave(cx))?;
        Pin::new(this.stream.stream_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn pieces_are_taken_whole_however_little_the_stream_takes() {
        for room in [1, 3, 64] {
            let (one, mut other) = tokio::io::duplex(room);
            let mut whole = Whole::new(one);
            let writing = async {
                for _ in 0..100 {
                    let pieces = [IoSlice::new(b"head"), IoSlice::new(b"octets of a session")];
                    let taken = poll_fn(|cx| Pin::new(&mut whole).poll_write_vectored(cx, &pieces));
                    assert_eq!(taken.await.unwrap(), 23);
                }
                whole.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let (_, octets) = tokio::join!(writing, other.read_to_end(&mut read));
            assert_eq!((octets.unwrap(), read), (2300, b"headoctets of a session".repeat(100)));
        }
    }
}
