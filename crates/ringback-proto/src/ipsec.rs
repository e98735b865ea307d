//! What both ends of an IPsec tunnel know without telling each other: names, inner addresses, and
//! what binds a hello to its own security association.
//!
//! Nothing here is sent but the names. No inner address is ever taken from the wire: whoever knows
//! the session's keys and the public proxy's key computes both.

use std::net::Ipv6Addr;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use crate::access_request::{SessionKeys, Sid, expand};
use crate::hello::Exporter;
use crate::secret::Secret;
use crate::switchboard::PublicKey;

/// The UDP port that a public proxy's daemon is reached at, with and without a NAT between.
pub const IKE_PORT: u16 = 4500;
/// The TCP port of the public proxy's inner address; every session has an inner address of its own.
pub const INNER_PORT: u16 = 7443;
/// Bits of a public proxy's inner network, of the part for its own addresses and of that for others'.
pub const INNER_BITS: u8 = 64;

/// How the two ends call themselves in IKE, and how the daemons call what is loaded for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The connection and its keys, at both daemons.
    pub connection: String,
    /// The private proxy (IDi).
    pub private: String,
    /// The public proxy (IDr).
    pub public: String,
    /// The session's key (PPK_ID, RFC 8784).
    pub key: String,
}

/// The inner addresses of one session: no other session has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// The public proxy's.
    pub public: Ipv6Addr,
    /// The private proxy's.
    pub private: Ipv6Addr,
}

/// Whose end of a public proxy's inner networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The public proxy's own addresses.
    Public = 0,
    /// Those of the private proxies that dial it.
    Private = 1,
}

/// The security association that a tunnel runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association {
    /// The private proxy's IKE SPI.
    pub initiator_spi: [u8; 8],
    /// The public proxy's IKE SPI.
    pub responder_spi: [u8; 8],
    /// The key that the private proxy has proved in IKE.
    pub private: PublicKey,
    /// The key that the public proxy has proved in IKE.
    pub public: PublicKey,
    /// The inner addresses.
    pub inner: Inner,
}

/// What every connection of ours begins with, so that no other one is ever touched.
pub const CONNECTION_PREFIX: &str = "ringback-";

impl Names {
    /// The names of the session with this token; a log may show them.
    pub fn of(sid: &Sid) -> Self {
        let id = sid.signal_id();
        Self {
            connection: format!("{CONNECTION_PREFIX}{id}"),
            private: format!("{id}.private.ringback.invalid"),
            public: format!("{id}.public.ringback.invalid"),
            key: format!("{id}@ringback.invalid"),
        }
    }
}

/// One of the two networks of 64 bits that belong to a public proxy's key: unique local addresses
/// (RFC 4193), so that those of two public proxies do not meet, nor anybody's own.
pub fn network(public_proxy: &PublicKey, end: End) -> Ipv6Addr {
    let digest = Sha256::new().chain_update(b"rb1 inner network").chain_update(public_proxy.0);
    let digest = digest.finalize();
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&digest[..5]);
    octets[7] = end as u8;
    octets.into()
}

impl Inner {
    /// The addresses of a session with this public proxy. Nobody guesses them who has not opened the
    /// signal, and of them there are as many as of sessions.
    pub fn of(keys: &SessionKeys, public_proxy: &PublicKey) -> Self {
        let hkdf = Hkdf::<Sha256>::from_prk(keys.psk.expose());
        let hkdf = hkdf.expect("32 octets are as long as a key of HKDF-SHA256 must be");
        let suffix: Secret<8> = expand(&hkdf, &[b"rb1 inner"]);
        let address = |end| {
            let mut octets = network(public_proxy, end).octets();
            octets[8..].copy_from_slice(suffix.expose());
            // Subnet-router anycast (RFC 4291, 2.6.1): no interface takes it.
            octets[15] |= 1;
            octets.into()
        };
        Self { public: address(End::Public), private: address(End::Private) }
    }
}

impl Association {
    /// Stands for TLS's exporter in the hello. It need not be secret: the hello's code is, and neither
    /// end sees such a value unless IKE has proved both keys to it.
    pub fn exporter(&self, sid: &Sid) -> Exporter {
        let digest = Sha256::new()
            .chain_update(b"rb1 ipsec")
            .chain_update(sid.0)
            .chain_update(self.initiator_spi)
            .chain_update(self.responder_spi)
            .chain_update(self.private.0)
            .chain_update(self.public.0)
            .chain_update(self.inner.private.octets())
            .chain_update(self.inner.public.octets());
        digest.finalize().into()
    }
}
