//! A call: the signals of one ladder, which count together, what carries them, and how it ended.

use super::{ClientId, TunnelId};

/// Which call a signal belongs to, and where it stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names the call, from 1.
    pub id: u64,
    /// Counts its signals by whatever route, from 1; those count too that no bearer took.
    pub signal: usize,
}

impl Call {
    /// What a probe counts as: a signal that its tenant pays, and that no client has caused. Neither
    /// its terminal nor any source has called by it.
    pub const PROBE: Self = Self { id: 0, signal: 2 };
    /// Names what clients send themselves; no call of the public proxy is numbered so.
    const BY_CLIENT: u64 = u64::MAX - 1;

    /// What a signal counts as that its client sends by a bearer of its own: its terminal and its
    /// source have called by it, and it tells nothing of our own routes.
    pub fn by_client(signal: usize) -> Self {
        Self { id: Self::BY_CLIENT, signal }
    }

    /// Whether a client has sent it.
    pub fn is_by_client(self) -> bool {
        self.id == Self::BY_CLIENT
    }
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// Somebody dialed back.
    Answered,
    /// Nobody did within the patience of a client.
    Unanswered,
    /// It was given up before its time: its clients have gone, or no route took its signals.
    Abandoned,
}

impl CallEnd {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Unanswered, Self::Abandoned];
}

/// What carries a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A route, by its place in [`super::Terminal::routes`].
    Route(usize),
    /// A tunnel that has been accepted and has no session yet.
    Tunnel {
        /// The tunnel.
        tunnel: TunnelId,
        /// No client waits for this ring: the tunnel it brings is to stand by.
        spare: bool,
    },
    /// A bearer of the client's own: the signal is handed to it, and it sends it.
    Client(ClientId),
}
