//! What a running public proxy cannot change when it reads its file again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringback_proto::access_request::Protocol;
use ringback_proto::switchboard::PublicKey;

use crate::config::{IpsecConfig, PublicConfig};
use crate::keyring::Keyring;
use crate::socket::Congestion;

/// What [`Fixed`] holds.
pub(super) const FIXED: &str = "identity, addresses, state, keyring, ratchet, workers, congestion, \
                                bearers, IPsec, and whether there is QUIC";

/// What a running role cannot change: it is bound, or others know us by it.
#[derive(PartialEq)]
pub(super) struct Fixed {
    identity: PublicKey,
    addresses: [Vec<SocketAddr>; 6],
    state: PathBuf,
    keyring: Option<Keyring>,
    pub(super) ratchet: Duration,
    workers: usize,
    congestion: Congestion,
    bearers: Vec<String>,
    ipsec: Option<IpsecConfig>,
    /// Whether it listens for QUIC.
    quic: bool,
}

impl Fixed {
    pub(super) fn of(config: &PublicConfig) -> Self {
        let responder = config.responder.as_ref().map(|it| it.listen.clone()).unwrap_or_default();
        let PublicConfig { dial_back, announce, http, tls, proxy, .. } = config;
        let [dial_back, announce, http, tls, proxy] =
            [dial_back, announce, http, tls, proxy].map(Clone::clone);
        Self {
            identity: *config.identity.public_key(),
            addresses: [dial_back, announce, http, tls, proxy, responder],
            state: config.state.clone(),
            keyring: config.keyring.clone(),
            ratchet: config.ratchet,
            workers: config.workers,
            congestion: config.congestion,
            bearers: config.bearers.keys().cloned().collect(),
            ipsec: config.ipsec.clone(),
            quic: config.directory.wants(Protocol::Quic),
        }
    }
}
