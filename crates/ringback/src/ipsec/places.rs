//! Who has how many of a daemon's sessions: no terminal and no tenant takes all of them.
//!
//! Counts only. Whoever finds no place is refused by itself; nobody is turned out for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringback_proto::access_request::Kid;
use ringback_proto::limits::TENANT_SHARE;
use ringback_proto::terminal::TenantName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;
use crate::limits::{IPSEC_SESSIONS, IPSEC_SESSIONS_PER_TERMINAL};

/// Whose session it is: its terminal's and, where there are tenants, one's.
pub(crate) type Holder = (Kid, Option<TenantName>);

/// All places at one daemon.
#[derive(Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    by_terminal: BTreeMap<Kid, usize>,
    by_tenant: BTreeMap<TenantName, usize>,
    per_tenant: usize,
}

/// One session's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    holder: Holder,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// All of them free, for tenants of which there may be several.
    pub(super) fn new() -> Self {
        let taken = Taken {
            by_terminal: BTreeMap::new(),
            by_tenant: BTreeMap::new(),
            per_tenant: IPSEC_SESSIONS / TENANT_SHARE,
        };
        Self { room: Arc::new(Semaphore::new(IPSEC_SESSIONS)), taken: Mutex::new(taken) }
    }

    /// All of it for a tenant that is alone, a share for each of several.
    pub(super) fn divide_among(&self, tenants: usize) {
        let share = if 1 < tenants { TENANT_SHARE } else { 1 };
        self.taken().per_tenant = IPSEC_SESSIONS / share;
    }

    /// Whether that holder could take one more now.
    pub(super) fn have_room_for(&self, holder: Holder) -> bool {
        self.taken().held_by(holder).is_some() && 0 < self.room.available_permits()
    }

    /// One more for that holder, if its share and all together leave it one.
    pub(super) fn take(self: &Arc<Self>, holder: Holder) -> Result<Place, Fault> {
        let (kid, tenant) = holder;
        let mut taken = self.taken();
        let (of_terminal, of_tenant) = taken.held_by(holder).ok_or(Fault::Full)?;
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Fault::Full)?;
        taken.by_terminal.insert(kid, of_terminal + 1);
        if let Some(tenant) = tenant {
            taken.by_tenant.insert(tenant, of_tenant + 1);
        }
        Ok(Place { places: self.clone(), holder, _permit: permit })
    }

    /// Resolves when nobody has any.
    pub(super) async fn all_free(&self) {
        let all = u32::try_from(IPSEC_SESSIONS).unwrap_or(u32::MAX);
        let _all = self.room.acquire_many(all).await;
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// How many its terminal has, and its tenant, if neither has its share.
    fn held_by(&self, (kid, tenant): Holder) -> Option<(usize, usize)> {
        let of_terminal = self.by_terminal.get(&kid).copied().unwrap_or(0);
        let of_tenant = tenant.and_then(|it| self.by_tenant.get(&it).copied()).unwrap_or(0);
        let less = of_terminal < IPSEC_SESSIONS_PER_TERMINAL && of_tenant < self.per_tenant;
        less.then_some((of_terminal, of_tenant))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (kid, tenant) = self.holder;
        let mut taken = self.places.taken();
        less(&mut taken.by_terminal, kid);
        if let Some(tenant) = tenant {
            less(&mut taken.by_tenant, tenant);
        }
    }
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let Some(count) = counts.get_mut(&key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Option<TenantName> {
        Some(TenantName::parse(name).expect("a tenant's name"))
    }

    /// As many as there are for these holders, in turn.
    fn fill(places: &Arc<Places>, tenant: Option<TenantName>, terminals: u32) -> Vec<Place> {
        let each = |it| std::iter::from_fn(move || places.take((Kid(it), tenant)).ok());
        (0..terminals).flat_map(each).collect()
    }

    #[test]
    fn a_terminal_leaves_room_for_the_others_and_gets_its_own_back() {
        let places = Arc::new(Places::new());
        places.divide_among(1);
        let one = fill(&places, None, 1);
        assert_eq!(one.len(), IPSEC_SESSIONS_PER_TERMINAL);
        assert!(places.take((Kid(1), None)).is_ok());
        drop(one);
        assert_eq!(fill(&places, None, 1).len(), IPSEC_SESSIONS_PER_TERMINAL);
        assert!(places.taken().by_terminal.is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn a_tenant_leaves_room_for_the_others_unless_it_is_alone() {
        let places = Arc::new(Places::new());
        let share = fill(&places, tenant("ada"), 100);
        assert_eq!(share.len(), IPSEC_SESSIONS / TENANT_SHARE);
        assert!(places.take((Kid(200), tenant("ada"))).is_err());
        let of_bob = places.take((Kid(200), tenant("bob")));
        assert!(of_bob.is_ok());
        drop((share, of_bob));
        places.divide_among(1);
        assert_eq!(fill(&places, tenant("ada"), 100).len(), IPSEC_SESSIONS);
        assert!(places.taken().by_tenant.is_empty(), "nothing is kept of who has gone");
    }
}
