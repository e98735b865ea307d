//! Bytes as fast as they go, a thread a stream.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Result, ensure};

use super::{Drive, Measured, PATIENCE, Window};
use crate::figure::Way;
use crate::serve::{BULK_OCTETS, DOWN, UP};

/// Carries bytes over so many streams.
pub(super) fn load(drive: &Drive, streams: usize, way: Way) -> Result<Measured> {
    let octets = AtomicU64::new(0);
    let window = drive.window();
    thread::scope(|scope| {
        let stream = |place: usize| {
            let (at, octets) = (drive.at[place % drive.at.len()], &octets);
            scope.spawn(move || match way {
                Way::Up => up(at, window, octets),
                Way::Down => down(at, window, octets),
            })
        };
        let streams: Vec<_> = (0..streams).map(stream).collect();
        let mut measured = drive.watch(window, &octets);
        for stream in streams {
            let done = stream.join().map_err(|_| anyhow::anyhow!("a stream has panicked"))?;
            match done {
                Ok(heard) => measured.unheard += u64::from(!heard),
                Err(error) => {
                    eprintln!("bench: {error:#}");
                    measured.errors += 1;
                }
            }
        }
        Ok(measured)
    })
}

/// Says whether the other end's word on how many came was heard. Some tunnels end both ways when one
/// ends, and with them nobody learns; a wrong number is an error with any.
fn up(at: SocketAddr, window: Window, octets: &AtomicU64) -> Result<bool> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[UP])?;
    let buffer = vec![0_u8; BULK_OCTETS];
    let mut sent = 0_u64;
    while window.is_open() {
        let written = stream.write(&buffer)? as u64;
        octets.fetch_add(written, Ordering::Relaxed);
        sent += written;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut taken = [0; 8];
    if stream.read_exact(&mut taken).is_err() {
        return Ok(false);
    }
    let taken = u64::from_be_bytes(taken);
    ensure!(taken == sent, "{sent} octets were sent, and {taken} came");
    Ok(true)
}

fn down(at: SocketAddr, window: Window, octets: &AtomicU64) -> Result<bool> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[DOWN])?;
    let mut buffer = vec![0_u8; BULK_OCTETS];
    while window.is_open() {
        let read = stream.read(&mut buffer)?;
        ensure!(0 < read, "the stream has ended early");
        octets.fetch_add(read as u64, Ordering::Relaxed);
    }
    Ok(true)
}
