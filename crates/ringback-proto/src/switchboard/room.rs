//! Who may hold how much of the switchboard: no source and no tenant takes all of it.
//!
//! Counts only; who is counted when is for the ledger to say.

use std::collections::BTreeMap;

use crate::gate::Source;
use crate::limits;
use crate::terminal::TenantName;

/// How much one source and one tenant may hold, and all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Waiting clients of one source.
    pub clients_per_source: usize,
    /// Waiting clients of one tenant.
    pub clients_per_tenant: usize,
    /// Pending rings of one tenant.
    pub rings_per_tenant: usize,
    /// Tunnels of all terminals: none is kept on standby beyond them.
    pub tunnels: usize,
}

impl Room {
    /// All of it for a tenant that is alone, a share for each of several.
    pub fn among(tenants: usize, clients_per_source: usize) -> Self {
        let share = if 1 < tenants { limits::TENANT_SHARE } else { 1 };
        Self {
            clients_per_source,
            clients_per_tenant: limits::WAITING_CLIENTS / share,
            rings_per_tenant: limits::PENDING_RINGS / share,
            tunnels: limits::TUNNELS,
        }
    }
}

/// A share each of several tenants.
impl Default for Room {
    fn default() -> Self {
        Self::among(2, limits::WAITING_CLIENTS_PER_SOURCE)
    }
}

/// How much each source and each tenant holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    clients_by_source: BTreeMap<Source, usize>,
    clients_by_tenant: BTreeMap<TenantName, usize>,
    rings_by_tenant: BTreeMap<TenantName, usize>,
}

impl Held {
    /// Whether another client fits.
    pub(super) fn fits(&self, room: &Room, source: Source, tenant: TenantName) -> bool {
        of(&self.clients_by_source, source) < room.clients_per_source
            && of(&self.clients_by_tenant, tenant) < room.clients_per_tenant
            && self.ring_fits(room, tenant)
    }

    /// Whether another ring fits.
    pub(super) fn ring_fits(&self, room: &Room, tenant: TenantName) -> bool {
        of(&self.rings_by_tenant, tenant) < room.rings_per_tenant
    }

    pub(super) fn client_comes(&mut self, source: Source, tenant: TenantName) {
        *self.clients_by_source.entry(source).or_default() += 1;
        *self.clients_by_tenant.entry(tenant).or_default() += 1;
    }

    pub(super) fn client_goes(&mut self, source: Source, tenant: TenantName) {
        less(&mut self.clients_by_source, source);
        less(&mut self.clients_by_tenant, tenant);
    }

    pub(super) fn ring_comes(&mut self, tenant: TenantName) {
        *self.rings_by_tenant.entry(tenant).or_default() += 1;
    }

    pub(super) fn ring_goes(&mut self, tenant: TenantName) {
        less(&mut self.rings_by_tenant, tenant);
    }
}

fn of<K: Ord>(counts: &BTreeMap<K, usize>, key: K) -> usize {
    counts.get(&key).copied().unwrap_or(0)
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let Some(count) = counts.get_mut(&key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
}

/// How much the switchboard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Census {
    /// Terminals with clients, tunnels or rings.
    pub lines: usize,
    /// Clients that wait.
    pub waiting: usize,
    /// Tunnels that stand by, open or carry a session.
    pub tunnels: usize,
    /// Rings that a dial-back may answer.
    pub rings: usize,
}
