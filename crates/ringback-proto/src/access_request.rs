//! The access request: its fields, its octets, and how it is sealed and opened.
//!
//! The format is normative in `docs/protocol.md`. Nothing here decides whether a request is obeyed:
//! that is the dialer's; nothing here draws randomness: it comes in as an argument.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::secret::Secret;
use crate::terminal::{Callee, ServiceId};

mod payload;
mod ratchet;
mod seal;
mod text;

pub use ratchet::{Ratchet, next_epoch};
pub(crate) use seal::expand;
pub use seal::{hpke_public, open, seal};
pub use text::find;

/// What a signal asks for. Discriminants are the wire's (payload octet 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Dial back and connect a client to a service.
    Access = 1,
    /// Forget the session named by the key field.
    Cancel = 2,
    /// Dial back, connect nothing: proves that the route works.
    Probe = 3,
}

/// The type of the tunnel's security protocol (payload octet 1): what a tunnel may run over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TunnelType {
    /// TLS 1.3 with raw public keys, and nothing else.
    #[default]
    Tls = 1,
    /// IKEv2 and ESP, and nothing else.
    Ipsec = 3,
    /// A stream of a QUIC connection, and nothing else.
    Quic = 4,
    /// IKEv2 and ESP; where there is no way for them, TLS 1.3.
    IpsecOrTls = 5,
}

/// What a tunnel does run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS 1.3.
    Tls,
    /// IKEv2 and ESP.
    Ipsec,
    /// QUIC.
    Quic,
}

/// One access request in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// What is asked for.
    pub purpose: Purpose,
    /// The tunnel to dial back with.
    pub tunnel: TunnelType,
    /// Grows with every signal of one key id and is anchored in time, so that it heals by itself.
    pub seq: u32,
    /// When it was sealed, in unix seconds.
    pub issued: u32,
    /// How long it is worth obeying, 1 to 3600 seconds.
    pub ttl_seconds: u16,
    /// What to connect to, by the private proxy's own table.
    pub service: ServiceId,
    /// Where to dial back to. A v4 address is never given as a v6 one.
    pub public_proxy: SocketAddr,
    /// Whom it is for: the private proxy compares it with its own table.
    pub callee: Callee,
    /// The random security key that every key of the session is derived from.
    pub key: Secret<16>,
}

/// The opaque random name of one terminal's keys: one terminal, one tenant, one key generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(pub u32);

/// What both ends of one key id share, and what only the sealing end needs of the suite.
#[derive(Clone, Debug)]
pub struct SealingKey {
    /// Names the key.
    pub kid: Kid,
    /// Low octet of the ratchet epoch of `psk`.
    pub epoch: u8,
    /// Shared by both proxies.
    pub psk: Secret<32>,
    /// The private proxy's X25519 key for suite 2; suite 1 without.
    pub hpke_public: Option<[u8; 32]>,
}

/// As [`SealingKey`], for the end that opens.
#[derive(Clone, Debug)]
pub struct OpeningKey {
    /// Names the key.
    pub kid: Kid,
    /// Shared by both proxies, epoch by epoch.
    pub psk: Ratchet,
    /// Our X25519 key for suite 2; suite 1 without.
    pub hpke_private: Option<Secret<32>>,
}

/// Names a session to the public proxy; derived inside the seal, never on a bearer's wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(pub [u8; 16]);

/// Names a signal in logs: a hash of its [`Sid`], the same at both proxies, and good for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(u64);

/// How a signal is sealed. Fixed by its key id, never negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// A shared key alone; for the smallest devices.
    Psk = 1,
    /// HPKE mode_psk (RFC 9180): a shared key and the private proxy's X25519 key.
    Hpke = 2,
}

/// What both ends derive from one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKeys {
    /// Session token, presented in the hello.
    pub sid: Sid,
    /// Key for tunnels that take one (IPsec).
    pub psk: Secret<32>,
    /// Confirmation key of the private proxy (the TLS client).
    pub confirm_private: Secret<32>,
    /// Confirmation key of the public proxy (the TLS server).
    pub confirm_public: Secret<32>,
}

/// A sealed access request: 94 octets (suite 1), 110 (suite 2), up to 512 with a mail address.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal(Vec<u8>);

/// Why octets are no access request for us. Never told to whoever sent them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// No known length.
    #[error("not of a signal's length")]
    Length,
    /// Another version or a suite that is not the key's.
    #[error("of another version or suite")]
    Version,
    /// The seal does not open.
    #[error("the seal does not open")]
    Sealed,
    /// A field out of its range, or not in its only form.
    #[error("the {0} field is out of its range")]
    Field(&'static str),
}

/// Why a request cannot be sealed. The operator's to mend: nothing a client says gets this far.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unsealable {
    /// A field that the other end would refuse.
    #[error("the {0} of an access request is out of its range")]
    Field(&'static str),
    /// No secret can be agreed on with the private proxy's public key.
    #[error("the private proxy's X25519 key is of low order; enroll it again")]
    Key,
    /// The HPKE library wanted more entropy than a signal is given.
    #[error("sealing took more than 32 octets of entropy; use the locked version of hpke")]
    Entropy,
}

/// Octets in front of the salt or the encapsulated key: version and suite, kid, epoch.
const HEADER: usize = 6;
/// The version, in the high half of octet 0.
const VERSION: u8 = 0x10;

impl TunnelType {
    /// Every type, with its name in configurations.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Tls, "tls"),
        (Self::Ipsec, "ipsec"),
        (Self::Quic, "quic"),
        (Self::IpsecOrTls, "ipsec-or-tls"),
    ];

    /// Whether a tunnel of this type may run over that protocol.
    pub const fn permits(self, protocol: Protocol) -> bool {
        match (self, protocol) {
            (Self::Tls | Self::IpsecOrTls, Protocol::Tls)
            | (Self::Ipsec | Self::IpsecOrTls, Protocol::Ipsec)
            | (Self::Quic, Protocol::Quic) => true,
            (Self::Tls | Self::Quic, Protocol::Ipsec)
            | (Self::Ipsec | Self::Quic, Protocol::Tls)
            | (Self::Tls | Self::Ipsec | Self::IpsecOrTls, Protocol::Quic) => false,
        }
    }

    /// What both permit; nothing if they have nothing in common.
    pub const fn narrowed(self, other: Self) -> Option<Self> {
        let tls = self.permits(Protocol::Tls) && other.permits(Protocol::Tls);
        let ipsec = self.permits(Protocol::Ipsec) && other.permits(Protocol::Ipsec);
        let quic = self.permits(Protocol::Quic) && other.permits(Protocol::Quic);
        match (tls, ipsec, quic) {
            (true, true, _) => Some(Self::IpsecOrTls),
            (true, false, _) => Some(Self::Tls),
            (false, true, _) => Some(Self::Ipsec),
            (false, false, true) => Some(Self::Quic),
            (false, false, false) => None,
        }
    }
}

/// No type has this name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be \"tls\", \"ipsec\", \"ipsec-or-tls\" or \"quic\"")]
pub struct NoTunnelType;

impl std::str::FromStr for TunnelType {
    type Err = NoTunnelType;

    fn from_str(text: &str) -> Result<Self, NoTunnelType> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(it, _)| it).ok_or(NoTunnelType)
    }
}

impl std::fmt::Display for TunnelType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::ALL.into_iter().find(|(it, _)| it == self).map_or("?", |(_, name)| name);
        f.pad(name)
    }
}

impl Suite {
    /// Octets of the salt (suite 1) or of the encapsulated key (suite 2).
    const fn prefix(self) -> usize {
        match self {
            Self::Psk => 16,
            Self::Hpke => 32,
        }
    }

    /// Octets that a signal has more than its payload.
    const fn overhead(self) -> usize {
        HEADER + self.prefix() + seal::TAG
    }

    fn of(octet: u8) -> Result<Self, Malformed> {
        match octet {
            0x11 => Ok(Self::Psk),
            0x12 => Ok(Self::Hpke),
            _ => Err(Malformed::Version),
        }
    }
}

impl SealingKey {
    /// The suite that this key seals with.
    pub fn suite(&self) -> Suite {
        if self.hpke_public.is_some() { Suite::Hpke } else { Suite::Psk }
    }
}

impl OpeningKey {
    /// The only suite that this key opens.
    pub fn suite(&self) -> Suite {
        if self.hpke_private.is_some() { Suite::Hpke } else { Suite::Psk }
    }
}

impl Sid {
    /// The name to log this session's signal by.
    pub fn signal_id(&self) -> SignalId {
        let digest = Sha256::new().chain_update(b"rb1 signal id").chain_update(self.0).finalize();
        SignalId(digest.iter().take(8).fold(0, |id, octet| id << 8 | u64::from(*octet)))
    }
}

impl Signal {
    /// Takes octets that have a signal's length and version; whether they open is another matter.
    pub fn from_octets(octets: &[u8]) -> Result<Self, Malformed> {
        kid_of(octets)?;
        Ok(Self(octets.to_vec()))
    }

    /// The binary form.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The text form: `RB` and six bits a character, the same in ASCII and GSM-7.
    pub fn to_text(&self) -> String {
        text::write(&self.0)
    }

    /// Whose keys open it, as it says itself.
    pub fn kid(&self) -> Kid {
        Kid(u32::from_be_bytes([self.0[1], self.0[2], self.0[3], self.0[4]]))
    }

    /// The low octet of the epoch that it was sealed in, as it says itself.
    pub fn epoch(&self) -> u8 {
        self.0[5]
    }

    /// How it is sealed, as it says itself.
    pub fn suite(&self) -> Suite {
        if self.0[0] == VERSION | Suite::Hpke as u8 { Suite::Hpke } else { Suite::Psk }
    }
}

/// Reads the key id off octets that have a signal's length and version.
pub fn kid_of(octets: &[u8]) -> Result<Kid, Malformed> {
    let [first, a, b, c, d, ..] = *octets else { return Err(Malformed::Length) };
    let suite = Suite::of(first)?;
    let payload = octets.len().checked_sub(suite.overhead()).ok_or(Malformed::Length)?;
    if !payload::LENGTHS.contains(&payload) {
        return Err(Malformed::Length);
    }
    Ok(Kid(u32::from_be_bytes([a, b, c, d])))
}

/// Shows the length and whose it is; the rest says nothing to anybody without the keys.
impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signal({} octets, kid {})", self.0.len(), self.kid())
    }
}

impl std::fmt::Display for SignalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for SignalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Shows nothing: whoever knows it could try to take the session.
impl std::fmt::Debug for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sid(…)")
    }
}

impl std::fmt::Display for Kid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl std::fmt::Debug for Kid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
