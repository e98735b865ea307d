//! Connections that say nothing: what each costs while it is held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Drive, Measured, PATIENCE};
use crate::figure::PING_OCTETS;
use crate::process::{descriptors, resident, tree};

/// Connections that are opened at once.
const OPENING: usize = 16;
/// How long the tunnel is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(1_500);

/// What one process holds for the connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Which.
    pub pid: u32,
    /// Resident octets before the first and with all of them.
    pub resident: (u64, u64),
    /// Descriptors before the first and with all of them.
    pub descriptors: (usize, usize),
}

/// Opens that many, uses each once, lets them be, reads what is held, and uses each once more.
pub(super) fn hold(drive: &Drive, connections: usize) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pids = tree(&drive.tunnel);
        let read = |pid: &u32| (resident(*pid), descriptors(*pid));
        let before: Vec<_> = pids.iter().map(read).collect();
        let (mut held, mut errors) = open(&drive.at, connections).await?;
        tokio::time::sleep(SETTLE).await;
        let after = pids.iter().map(read);
        let each = pids.iter().zip(before.iter().zip(after));
        let each = each.map(|(pid, (before, after))| Held {
            pid: *pid,
            resident: (before.0, after.0),
            descriptors: (before.1, after.1),
        });
        let each: Vec<Held> = each.collect();
        for stream in &mut held {
            if !ping(stream).await {
                errors += 1;
            }
        }
        let done = held.len() as u64 - errors.min(held.len() as u64);
        Ok(Measured { done, errors, held: each, ..Measured::default() })
    })
}

async fn open(at: &[SocketAddr], connections: usize) -> Result<(Vec<TcpStream>, u64)> {
    let turns = Arc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for place in 0..connections {
        let (at, turns) = (at[place % at.len()], turns.clone());
        opening.spawn(async move {
            let _turn = turns.acquire().await.ok()?;
            let mut stream = TcpStream::connect(at).await.ok()?;
            ping(&mut stream).await.then_some(stream)
        });
    }
    let (mut held, mut errors) = (Vec::with_capacity(connections), 0);
    while let Some(opened) = opening.join_next().await {
        match opened? {
            Some(stream) => held.push(stream),
            None => errors += 1,
        }
    }
    ensure!(!held.is_empty(), "no connection could be opened");
    Ok((held, errors))
}

async fn ping(stream: &mut TcpStream) -> bool {
    let ping = async {
        stream.write_all(&[7; PING_OCTETS]).await?;
        stream.read_exact(&mut [0; PING_OCTETS]).await
    };
    matches!(tokio::time::timeout(PATIENCE, ping).await, Ok(Ok(_)))
}
