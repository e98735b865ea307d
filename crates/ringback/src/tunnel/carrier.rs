//! A client's tunnel once it is accepted, as a stream: what was heard already comes first.
//!
//! It carries one session and no more, and so has no frames: its end is the session's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Talk, Tunnel};
use crate::splice::Leg;

/// A tunnel and what is still to be read of what was heard.
#[derive(Debug)]
pub struct Carrier {
    tunnel: Tunnel,
    heard: Vec<u8>,
}

impl From<Talk> for Carrier {
    fn from(talk: Talk) -> Self {
        let (tunnel, heard) = talk.into_parts();
        Self { tunnel, heard }
    }
}

impl Leg for Carrier {
    fn arm(&self) -> io::Result<()> {
        self.tunnel.arm()
    }

    fn disarm(&self) -> io::Result<()> {
        self.tunnel.disarm()
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.heard.is_empty() {
            return Pin::new(&mut this.tunnel).poll_read(cx, buffer);
        }
        let octets = this.heard.len().min(buffer.remaining());
        buffer.put_slice(&this.heard[..octets]);
        this.heard.drain(..octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tunnel).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tunnel).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tunnel).poll_shutdown(cx)
    }
}
