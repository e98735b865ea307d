//! Which line every id belongs to, and what is to be done: all that the lines share.
//!
//! Decides nothing. Kept so that no event ever searches through the terminals.

use std::collections::{BTreeMap, VecDeque};

use crate::access_request::Sid;

use super::{ClientId, Command, LineId, RingId, TunnelId};

/// The indices of the switchboard and its queue of commands.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) commands: VecDeque<Command>,
    pub(super) clients: BTreeMap<ClientId, LineId>,
    pub(super) tunnels: BTreeMap<TunnelId, LineId>,
    pub(super) rings: BTreeMap<RingId, LineId>,
    pub(super) sids: BTreeMap<Sid, RingId>,
    rings_so_far: u64,
}

impl Ledger {
    /// Numbers a ring of `line`.
    pub(super) fn next_ring(&mut self, line: LineId) -> RingId {
        let ring = self.number_ring();
        self.rings.insert(ring, line);
        ring
    }

    /// Numbers a ring of no line.
    pub(super) fn number_ring(&mut self) -> RingId {
        self.rings_so_far += 1;
        RingId(self.rings_so_far)
    }
}
