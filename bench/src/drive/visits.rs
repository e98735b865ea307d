//! New connections: connect, say 64 octets, hear 64, close.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{Drive, Measured, PATIENCE, Times, Window};
use crate::clock;
use crate::figure::PING_OCTETS;

/// How long a client rests after a failure, so that one that is refused does not spin.
const REST: Duration = Duration::from_millis(20);

/// Visits, so many at once.
pub(super) fn load(drive: &Drive, clients: usize) -> Result<Measured> {
    let (window, octets) = (drive.window(), AtomicU64::new(0));
    let (times, measured) = thread::scope(|scope| {
        let client = scope.spawn(|| match clients {
            1 => Ok(in_turn(&drive.at, window)),
            _ => at_once(drive, window, clients),
        });
        let measured = drive.watch(window, &octets);
        (client.join(), measured)
    });
    let times = times.map_err(|_| anyhow::anyhow!("a client has panicked"))??;
    times.into(measured)
}

fn in_turn(at: &[SocketAddr], window: Window) -> Times {
    let mut times = Times::default();
    for at in at.iter().cycle() {
        if !window.is_open() {
            break;
        }
        let began = clock::now();
        match visit(*at) {
            Ok(()) => times.note(window, began),
            Err(_) => {
                times.errors += 1;
                thread::sleep(REST);
            }
        }
    }
    times
}

fn visit(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[7; PING_OCTETS])?;
    stream.read_exact(&mut [0; PING_OCTETS])
}

fn at_once(drive: &Drive, window: Window, clients: usize) -> Result<Times> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut all = JoinSet::new();
        for place in 0..clients {
            all.spawn(visitor(drive.at.clone(), place, window));
        }
        let mut times = Times::default();
        while let Some(one) = all.join_next().await {
            times.add(one?);
        }
        Ok(times)
    })
}

async fn visitor(at: Vec<SocketAddr>, place: usize, window: Window) -> Times {
    let mut times = Times::default();
    for at in at.iter().cycle().skip(place % at.len()) {
        if !window.is_open() {
            break;
        }
        let began = clock::now();
        let visit = tokio::time::timeout(PATIENCE, visit_along(*at)).await;
        if matches!(visit, Ok(Ok(()))) {
            times.note(window, began);
            continue;
        }
        times.errors += 1;
        tokio::time::sleep(REST).await;
    }
    times
}

async fn visit_along(at: SocketAddr) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&[7; PING_OCTETS]).await?;
    stream.read_exact(&mut [0; PING_OCTETS]).await?;
    Ok(())
}
