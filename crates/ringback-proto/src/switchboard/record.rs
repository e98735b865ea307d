//! What the switchboard must know of a terminal. No name and no number is in it: those are the
//! shell's, which finds them by the key id.

use std::fmt;
use std::time::Duration;

use crate::access_request::Kid;
use crate::limits;
use crate::terminal::TenantName;

/// One terminal, as the directory has it when a client arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Names the keys that seal its signals.
    pub kid: Kid,
    /// Who owns it; terminals of two tenants share nothing.
    pub tenant: TenantName,
    /// The key that its private proxy proves in the tunnel's handshake.
    pub private_proxy: PublicKey,
    /// The ways to ring it, cheapest first.
    pub routes: Vec<RoutePlan>,
    /// How long a client waits in all.
    pub answer_patience: Duration,
    /// How long tunnels stand by after the last client has gone: zero means a ring per session,
    /// [`Duration::MAX`] for ever.
    pub linger: Duration,
    /// How many tunnels are to stand by while it lingers.
    pub spares: Spares,
    /// How many clients may wait for it.
    pub waiting: usize,
}

/// How many tunnels are rung ahead of their clients: between the two, as many as there have been
/// clients at once of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spares {
    /// So many, however few clients there were.
    pub least: usize,
    /// So many, however many there were.
    pub most: usize,
}

impl Spares {
    /// One, so that a second client costs no round trip, and more where more came.
    pub const LEARNED: Self = Self { least: 1, most: limits::LEARNED_SPARES };

    /// Always the same number.
    pub const fn fixed(number: usize) -> Self {
        Self { least: number, most: number }
    }
}

/// One way to ring a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlan {
    /// What carries its signals.
    pub bearer: BearerId,
    /// How long it may go unanswered before the next is rung too; not zero.
    pub patience: Duration,
}

/// A bearer, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BearerId(pub usize);

/// An Ed25519 key as TLS shows it (SubjectPublicKeyInfo, RFC 8410), compared whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 44]);

impl PublicKey {
    /// What every Ed25519 SubjectPublicKeyInfo starts with (RFC 8410, 4).
    pub(crate) const PREFIX: [u8; 12] =
        [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

    /// Wraps the 32 octets of an Ed25519 key (RFC 8032).
    pub fn of_raw(key: [u8; 32]) -> Self {
        let mut octets = [0; 44];
        octets[..12].copy_from_slice(&Self::PREFIX);
        octets[12..].copy_from_slice(&key);
        Self(octets)
    }

    /// Reads a SubjectPublicKeyInfo in DER; anything but Ed25519 in its only form is none.
    pub fn parse(spki: &[u8]) -> Option<Self> {
        let octets: [u8; 44] = spki.try_into().ok()?;
        octets.starts_with(&Self::PREFIX).then_some(Self(octets))
    }
}

/// Shows the key's first octets: enough to tell two proxies apart.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[12..16].iter().try_for_each(|it| write!(f, "{it:02x}"))?;
        f.write_str("…")
    }
}
