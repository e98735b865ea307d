//! What is behind every tunnel: a service for bulk, one that echoes, one that answers HTTP.
//!
//! One process, the same for every target. Bulk has a thread a connection, so that it does not share
//! a loop with what is measured in microseconds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::figure::{BEHIND, PING_OCTETS, Service};

/// Octets of one write or read of bulk.
pub(crate) const BULK_OCTETS: usize = 256 * 1024;
/// The first octet of a bulk connection whose bytes come from the client.
pub(crate) const UP: u8 = b'U';
/// The first octet of one whose bytes go to the client.
pub(crate) const DOWN: u8 = b'D';
/// What every request is answered with.
pub(crate) const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";

/// Serves until it is killed.
pub(crate) fn serve() -> Result<()> {
    let bulk = listen(Service::Bulk)?;
    thread::spawn(move || {
        for stream in bulk.incoming().flatten() {
            thread::spawn(move || bulk_connection(stream));
        }
    });
    let (echo, http) = (listen(Service::Echo)?, listen(Service::Http)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let (echo, http) = (accepting(echo)?, accepting(http)?);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = echo.accept() => {
                    connections.spawn(echo_connection(stream));
                }
                Ok((stream, _)) = http.accept() => {
                    connections.spawn(http_connection(stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    })
}

fn listen(service: Service) -> Result<TcpListener> {
    // The backlog of std's own listener would be met by 64 clients that connect at once.
    let port = BEHIND[service as usize];
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    rustix::net::bind(&socket, &address).with_context(|| format!("bind {address}"))?;
    rustix::net::listen(&socket, 4_096)?;
    Ok(TcpListener::from(socket))
}

fn accepting(listener: TcpListener) -> Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

fn bulk_connection(mut stream: TcpStream) {
    let mut way = [0];
    if stream.read_exact(&mut way).is_err() {
        return;
    }
    let mut octets = vec![0_u8; BULK_OCTETS];
    if way[0] == DOWN {
        while stream.write_all(&octets).is_ok() {}
        return;
    }
    let mut taken = 0_u64;
    while let Ok(read) = stream.read(&mut octets) {
        if read == 0 {
            // Whoever has sent everything is told how much of it has come.
            let _ = stream.write_all(&taken.to_be_bytes());
            return;
        }
        taken += read as u64;
    }
}

async fn echo_connection(mut stream: tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut octets = [0; PING_OCTETS];
    while stream.read_exact(&mut octets).await.is_ok() {
        if stream.write_all(&octets).await.is_err() {
            return;
        }
    }
}

async fn http_connection(mut stream: tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut octets = [0; 1_024];
    let mut filled = 0;
    while let Ok(read) = stream.read(&mut octets[filled..]).await {
        if read == 0 {
            return;
        }
        filled += read;
        while let Some(end) = octets[..filled].windows(4).position(|it| it == b"\r\n\r\n") {
            octets.copy_within(end + 4..filled, 0);
            filled -= end + 4;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        if filled == octets.len() {
            return;
        }
    }
}
