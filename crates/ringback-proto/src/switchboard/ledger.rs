//! Which line every id belongs to, and what is to be done: all that the lines share.
//!
//! Decides nothing. Kept so that no event ever searches through the terminals.

use std::collections::{BTreeMap, VecDeque};

use crate::access_request::Sid;

use crate::gate::Source;
use crate::limits;

use super::room::{Held, Room};
use super::standings::Standings;
use super::{ClientId, Command, LineId, RingId, TunnelId};

/// The indices of the switchboard and its queue of commands.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) commands: VecDeque<Command>,
    pub(super) clients: BTreeMap<ClientId, Waiting>,
    pub(super) tunnels: BTreeMap<TunnelId, LineId>,
    pub(super) rings: BTreeMap<RingId, LineId>,
    pub(super) sids: BTreeMap<Sid, RingId>,
    pub(super) room: Room,
    pub(super) held: Held,
    pub(super) standings: Standings,
    rings_so_far: u64,
    calls_so_far: u64,
}

/// Where a client waits, and whence it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) line: LineId,
    pub(super) source: Source,
}

impl Ledger {
    /// Tells what there is to tell.
    pub(super) fn tell(&mut self, told: impl IntoIterator<Item = Option<Command>>) {
        self.commands.extend(told.into_iter().flatten());
    }

    /// Numbers a ring of `line`.
    pub(super) fn next_ring(&mut self, line: LineId) -> RingId {
        let ring = self.number_ring();
        self.rings.insert(ring, line);
        self.held.ring_comes(line.tenant);
        ring
    }

    /// Numbers a ring of no line.
    pub(super) fn number_ring(&mut self) -> RingId {
        self.rings_so_far += 1;
        RingId(self.rings_so_far)
    }

    /// Whether no further ring of `line` fits.
    pub(super) fn is_full_for(&self, line: LineId) -> bool {
        limits::PENDING_RINGS <= self.rings.len() || !self.held.ring_fits(&self.room, line.tenant)
    }

    /// A ring that nobody can answer any more.
    pub(super) fn forget_ring(&mut self, ring: RingId) {
        let Some(line) = self.rings.remove(&ring) else { return };
        self.held.ring_goes(line.tenant);
    }

    /// Numbers a call.
    pub(super) fn next_call(&mut self) -> u64 {
        self.calls_so_far += 1;
        self.calls_so_far
    }

    /// A client waits from now on.
    pub(super) fn waits(&mut self, client: ClientId, it: Waiting) {
        self.held.client_comes(it.source, it.line.tenant);
        self.clients.insert(client, it);
    }

    /// A client waits no longer.
    pub(super) fn waits_no_more(&mut self, client: ClientId) {
        let Some(it) = self.clients.remove(&client) else { return };
        self.held.client_goes(it.source, it.line.tenant);
    }
}
