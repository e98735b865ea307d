//! Small messages over connections that are kept: round trips, and HTTP requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::thread;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{Drive, Measured, PATIENCE, Times, Window};
use crate::clock;
use crate::figure::PING_OCTETS;
use crate::serve::ANSWER;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.localhost\r\nAccept: */*\r\n\r\n";

/// 64 octets there and back, again and again.
pub(super) fn ping(drive: &Drive) -> Result<Measured> {
    one(drive, &[7; PING_OCTETS], PING_OCTETS)
}

/// One request after the other, by so many clients at once.
pub(super) fn http(drive: &Drive, clients: usize) -> Result<Measured> {
    if clients == 1 {
        return one(drive, REQUEST, ANSWER.len());
    }
    let (window, octets) = (drive.window(), AtomicU64::new(0));
    let (times, measured) = thread::scope(|scope| {
        let client = scope.spawn(|| many(drive, window, clients));
        let measured = drive.watch(window, &octets);
        (client.join(), measured)
    });
    let times = times.map_err(|_| anyhow::anyhow!("a client has panicked"))??;
    times.into(measured)
}

/// One connection, and no runtime between us and the kernel.
fn one(drive: &Drive, request: &[u8], answer: usize) -> Result<Measured> {
    let mut stream = TcpStream::connect(drive.at[0]).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; answer];
    // What is measured is a connection that is open, not how it was opened.
    stream.write_all(request).context("ask")?;
    stream.read_exact(&mut buffer).context("hear the first answer")?;
    let (window, octets) = (drive.window(), AtomicU64::new(0));
    thread::scope(|scope| {
        let watch = scope.spawn(|| drive.watch(window, &octets));
        let mut times = Times::default();
        while window.is_open() {
            let began = clock::now();
            stream.write_all(request).context("ask")?;
            stream.read_exact(&mut buffer).context("hear the answer")?;
            times.note(window, began);
        }
        let measured = watch.join().map_err(|_| anyhow::anyhow!("the watch has panicked"))?;
        times.into(measured)
    })
}

fn many(drive: &Drive, window: Window, clients: usize) -> Result<Times> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut all = JoinSet::new();
        for place in 0..clients {
            all.spawn(client(drive.at[place % drive.at.len()], window));
        }
        let mut times = Times::default();
        while let Some(one) = all.join_next().await {
            times.add(one?);
        }
        Ok(times)
    })
}

async fn client(at: SocketAddr, window: Window) -> Times {
    let mut times = Times::default();
    if let Err(error) = ask(at, window, &mut times).await {
        eprintln!("bench: {error}");
        times.errors += 1;
    }
    times
}

async fn ask(at: SocketAddr, window: Window, times: &mut Times) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; ANSWER.len()];
    while window.is_open() {
        let began = clock::now();
        stream.write_all(REQUEST).await?;
        let heard = tokio::time::timeout(PATIENCE, stream.read_exact(&mut buffer)).await;
        heard.map_err(|_| std::io::ErrorKind::TimedOut)??;
        times.note(window, began);
    }
    Ok(())
}
