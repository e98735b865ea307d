//! Private proxies that dial back over QUIC: a connection each, a tunnel to a stream.
//!
//! A connection has a stranger's place until a hello of it was accepted, and is closed if that is lost or
//! none is in [`HELLO_PATIENCE`]; afterwards each further stream has a place until its own hello. Without
//! tunnels it is kept for [`QUIC_LINGER`] and no longer. No address takes a place that is not proved, but
//! for the first few.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, Incoming};
use tokio::time::timeout;
use tracing::debug;

use super::lobby::{Lobby, Place};
use super::{House, tunnels};
use crate::limits::{HELLO_PATIENCE, QUIC_BELIEVED, QUIC_LINGER, QUIC_STRANGE_STREAMS};
use crate::tunnel::quic::Accepted;

/// Accepts connections until the role is stopped.
pub(super) async fn strangers(endpoint: Endpoint, lobby: Arc<Lobby>, house: Arc<House>) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = house.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        if !incoming.remote_address_validated() && QUIC_BELIEVED <= lobby.count() {
            // Costs the honest a round trip, and us no memory; one that may not be asked twice is dropped.
            let _ = incoming.retry();
            continue;
        }
        let from = incoming.remote_address();
        let place = lobby.enter(from.ip());
        house.tasks.spawn(serve(house.clone(), lobby.clone(), incoming, from, place));
    }
}

/// Serves one connection until it has no tunnels.
async fn serve(
    house: Arc<House>,
    lobby: Arc<Lobby>,
    incoming: Incoming,
    from: SocketAddr,
    place: Place,
) {
    let shaken = tokio::select! {
        shaken = timeout(HELLO_PATIENCE, Accepted::shake(incoming, &house.tasks)) => shaken,
        () = place.lost() => return debug!(%from, "no tunnel: its place was needed"),
        () = house.stop.cancelled() => return,
    };
    let mut connection = match shaken {
        Ok(Ok(connection)) => connection,
        Ok(Err(fault)) => return debug!(%from, %fault, "no connection"),
        Err(_) => return debug!(%from, "no connection: no handshake in time"),
    };
    if !is_proven(&house, &mut connection, &place).await {
        debug!(%from, "no tunnel: nobody who may come in");
        return connection.close();
    }
    drop(place);
    loop {
        let stream = if connection.has_tunnels() {
            tokio::select! {
                stream = connection.stream() => stream,
                () = connection.idle() => continue,
                () = house.stop.cancelled() => return,
            }
        } else {
            let place = lobby.enter(connection.from().ip());
            let next = tokio::select! {
                next = timeout(QUIC_LINGER, connection.stream()) => next,
                () = place.lost() => return connection.close(),
                () = house.stop.cancelled() => return,
            };
            let Ok(stream) = next else { return connection.close() };
            stream
        };
        let Ok(stream) = stream else { return };
        let tunnel = connection.tunnel(stream);
        let from = connection.from();
        let place = lobby.enter(from.ip());
        house.tasks.spawn(tunnels::serve_stream(house.clone(), tunnel, from, Some(place)));
    }
}

/// Hears a stranger's hellos, all of them in its one place, until one was accepted.
async fn is_proven(house: &Arc<House>, connection: &mut Accepted, place: &Place) -> bool {
    let proving = async {
        for _ in 0..QUIC_STRANGE_STREAMS {
            let stream = tokio::select! {
                biased;
                () = connection.proven() => return true,
                stream = connection.stream() => stream,
            };
            let Ok(stream) = stream else { return false };
            let tunnel = connection.tunnel(stream);
            let from = connection.from();
            house.tasks.spawn(tunnels::serve_stream(house.clone(), tunnel, from, None));
        }
        tokio::select! {
            biased;
            () = connection.proven() => true,
            () = connection.closed() => false,
        }
    };
    tokio::select! {
        proven = timeout(HELLO_PATIENCE, proving) => proven.unwrap_or(false),
        () = place.lost() => {
            debug!("no tunnel: its place was needed");
            false
        }
        () = house.stop.cancelled() => false,
    }
}
