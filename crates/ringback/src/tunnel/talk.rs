//! What is said in a tunnel before a session's bytes: reads whole frames, never one octet too many
//! for whoever takes the tunnel over.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use ringback_proto::hello::Garbled;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Tunnel;
use crate::limits::{SAY_PATIENCE, TALK_OCTETS};

/// A tunnel and what was heard of it but not yet understood.
#[derive(Debug)]
pub struct Talk {
    tunnel: Tunnel,
    heard: Vec<u8>,
}

impl Talk {
    /// Begins to talk in a fresh tunnel.
    pub fn new(tunnel: Tunnel) -> Self {
        Self { tunnel, heard: Vec::new() }
    }

    /// Talks on, with what was heard by now, after a session.
    pub(super) fn resumed(tunnel: Tunnel, heard: Vec<u8>) -> Self {
        Self { tunnel, heard }
    }

    /// The tunnel itself, to ask who is at its other end.
    pub fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    /// Hears exactly `N` octets.
    pub async fn exactly<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        while self.heard.len() < N {
            self.more().await?;
        }
        let octets = self.heard.drain(..N).collect::<Vec<u8>>();
        octets.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Hears one frame. Nothing is lost if the future is dropped before it is done.
    pub async fn frame<F>(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<Option<(F, usize)>, Garbled>,
    ) -> io::Result<F> {
        loop {
            let decoded = decode(&self.heard);
            let decoded =
                decoded.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
            if let Some((frame, octets)) = decoded {
                self.heard.drain(..octets);
                return Ok(frame);
            }
            self.more().await?;
        }
    }

    /// Says something, whole, to an end that listens: within [`SAY_PATIENCE`].
    pub async fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        let said = async {
            self.tunnel.write_all(octets).await?;
            self.tunnel.flush().await
        };
        timeout(SAY_PATIENCE, said).await?
    }

    /// Ends the tunnel in order: nothing more will be said.
    pub async fn close(mut self) {
        // An end that does not take even this is not waited for; the socket is closed all the same.
        let _ = timeout(SAY_PATIENCE, self.tunnel.shutdown()).await;
    }

    /// Hands the tunnel over, with the octets that were already heard.
    pub fn into_parts(self) -> (Tunnel, Vec<u8>) {
        (self.tunnel, self.heard)
    }

    /// Hears what one record says, and nothing of the next: that may be none.
    async fn more(&mut self) -> io::Result<()> {
        let Self { tunnel, heard } = self;
        let octets = poll_fn(|cx| {
            let said = ready!(tunnel.poll_fill(cx))?;
            let octets = said.len().min(TALK_OCTETS);
            heard.extend(&said[..octets]);
            Poll::Ready(io::Result::Ok(octets))
        })
        .await?;
        tunnel.consume(octets);
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
