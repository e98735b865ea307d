//! The mobile server of the demo: a patient's phone that serves glycemia readings.
//!
//! A doctor reads them in a page, the patient or the doctor enters new ones, a machine gets JSON.
//! An ordinary Web server on purpose: it knows nothing of Ringback, of tunnels or of being rung. It
//! keeps its readings in memory only, and those it starts with are invented.

mod answer;
mod journal;
mod limits;
mod page;
mod reading;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use anyhow::Result;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;

/// Serves the readings until told to stop; then lets requests under way finish, within a limit.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
    let journal = Arc::new(Mutex::new(Journal::invented(SystemTime::now())));
    let mut connections = JoinSet::new();

    while let Some(stream) = accept(&listener, &mut connections, &shutdown).await {
        connections.spawn(converse(stream, Arc::clone(&journal), shutdown.clone()));
    }

    drop(listener);
    let finished =
        timeout(limits::GRACE, async { while connections.join_next().await.is_some() {} });
    if finished.await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Waits for the next client while there is room for one. Nothing more comes after the shutdown.
async fn accept(
    listener: &TcpListener,
    connections: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Option<TcpStream> {
    loop {
        let has_room = connections.len() < limits::CONNECTIONS;
        tokio::select! {
            () = shutdown.cancelled() => return None,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => return Some(stream),
                // Out of descriptors, or a client that left at once: neither ends the server.
                Err(_) => tokio::time::sleep(limits::ACCEPT_PAUSE).await,
            },
        }
    }
}

/// Answers one client's requests, one after the other, until either side ends.
async fn converse(stream: TcpStream, journal: Arc<Mutex<Journal>>, shutdown: CancellationToken) {
    let service = service_fn(|request| answer::answer(request, Arc::clone(&journal)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::REQUEST)
        .max_buf_size(limits::HEAD_OCTETS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);

    // How a connection breaks concerns its client alone.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
