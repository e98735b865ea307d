//! Who has connected and may not ring yet: strangers at the dial-back port without a whole hello,
//! clients without a whole request, and whoever is only told that it may not.
//!
//! Their number is bounded, and no network can fill it. When a limit is met, who holds the most places
//! loses one: of networks, and in them of addresses. There the oldest goes: an honest one says all
//! within a few round trips, a silent one never does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringback_proto::dns::source_prefix;
use ringback_proto::gate::Source;
use tokio_util::sync::CancellationToken;

/// Everybody who waits.
#[derive(Debug)]
pub(super) struct Lobby {
    room: usize,
    room_per_network: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    entered: u64,
    places: BTreeMap<u64, (IpAddr, Source, CancellationToken)>,
    networks: Crowds<IpAddr>,
    sources: BTreeMap<IpAddr, Crowds<Source>>,
}

/// Places by who holds them, and who holds the most.
#[derive(Debug)]
struct Crowds<K> {
    places: BTreeMap<K, BTreeSet<u64>>,
    /// By how many each holds; of equals, who has waited longest is the last.
    ranks: BTreeSet<(usize, Reverse<u64>, K)>,
}

/// One's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    lobby: Arc<Lobby>,
    number: u64,
    lost: CancellationToken,
}

impl Lobby {
    /// Has room for so many, and for so many of one network.
    pub(super) fn new(room: usize, room_per_network: usize) -> Self {
        Self { room, room_per_network, waiting: Mutex::default() }
    }

    /// Gives a newcomer a place, if need be one of whoever holds the most.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Place {
        let (network, source) = (source_prefix(from), Source::of(from));
        let mut waiting = self.waiting();
        let crowded = self.room_per_network <= waiting.networks.count(network);
        let loser = if crowded {
            Some(network)
        } else if self.room <= waiting.places.len() {
            waiting.networks.largest()
        } else {
            None
        };
        if let Some(loser) = loser {
            waiting.lose_one_of(loser);
        }
        let (number, lost) = (waiting.entered, CancellationToken::new());
        waiting.entered += 1;
        waiting.places.insert(number, (network, source, lost.clone()));
        waiting.networks.insert(network, number);
        waiting.sources.entry(network).or_default().insert(source, number);
        Place { lobby: self.clone(), number, lost }
    }

    /// How many wait.
    #[cfg(feature = "quic")]
    pub(super) fn count(&self) -> usize {
        self.waiting().places.len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Resolves when the place has been given to somebody else.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.waiting().leave(self.number);
    }
}

impl Waiting {
    /// Takes the oldest place of the source that holds the most of a network.
    fn lose_one_of(&mut self, network: IpAddr) {
        let crowds = self.sources.get(&network);
        if let Some(oldest) = crowds.and_then(|it| it.oldest(it.largest()?)) {
            self.leave(oldest);
        }
    }

    fn leave(&mut self, number: u64) {
        let Some((network, source, lost)) = self.places.remove(&number) else { return };
        lost.cancel();
        self.networks.remove(network, number);
        let Some(crowds) = self.sources.get_mut(&network) else { return };
        crowds.remove(source, number);
        if crowds.places.is_empty() {
            self.sources.remove(&network);
        }
    }
}

impl<K> Default for Crowds<K> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), ranks: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Crowds<K> {
    fn count(&self, who: K) -> usize {
        self.places.get(&who).map_or(0, BTreeSet::len)
    }

    fn oldest(&self, who: K) -> Option<u64> {
        self.places.get(&who)?.first().copied()
    }

    fn largest(&self) -> Option<K> {
        self.ranks.last().map(|(_, _, who)| *who)
    }

    fn insert(&mut self, who: K, number: u64) {
        self.change(who, |places| places.insert(number));
    }

    fn remove(&mut self, who: K, number: u64) {
        self.change(who, |places| places.remove(&number));
    }

    fn change(&mut self, who: K, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let mut places = self.places.remove(&who).unwrap_or_default();
        let rank = |it: &BTreeSet<u64>| it.first().map(|oldest| (it.len(), Reverse(*oldest), who));
        if let Some(before) = rank(&places) {
            self.ranks.remove(&before);
        }
        change(&mut places);
        if let Some(after) = rank(&places) {
            self.ranks.insert(after);
            self.places.insert(who, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 64;
    const ROOM_PER_NETWORK: usize = 16;

    fn lobby() -> Arc<Lobby> {
        Arc::new(Lobby::new(ROOM, ROOM_PER_NETWORK))
    }

    fn from(network: u16, host: u8) -> IpAddr {
        let [a, b] = network.to_be_bytes();
        IpAddr::from([10, a, b, host])
    }

    #[test]
    fn one_network_loses_its_own_oldest_and_nobody_elses() {
        let lobby = lobby();
        let honest = lobby.enter(from(1, 1));
        let crowd: Vec<Place> = (0..2 * ROOM).map(|_| lobby.enter(from(2, 2))).collect();
        let lost = crowd.iter().filter(|it| it.lost.is_cancelled()).count();
        assert_eq!(lost, 2 * ROOM - ROOM_PER_NETWORK);
        assert!(crowd[0].lost.is_cancelled() && !crowd[2 * ROOM - 1].lost.is_cancelled());
        assert!(!honest.lost.is_cancelled());
    }

    #[test]
    fn when_all_is_full_of_equals_the_oldest_loses() {
        let lobby = lobby();
        let networks = 0..u16::try_from(ROOM + 1).unwrap();
        let places: Vec<Place> = networks.map(|it| lobby.enter(from(it, 1))).collect();
        let lost: Vec<usize> =
            (0..places.len()).filter(|it| places[*it].lost.is_cancelled()).collect();
        assert_eq!(lost, [0]);
    }

    #[test]
    fn who_leaves_frees_the_place() {
        let lobby = lobby();
        for _ in 0..3 * ROOM {
            drop(lobby.enter(from(3, 3)));
        }
        let waiting = lobby.waiting();
        assert!(waiting.places.is_empty() && waiting.sources.is_empty());
        assert!(waiting.networks.ranks.is_empty());
    }

    #[test]
    fn one_address_takes_no_place_from_another_of_its_network() {
        let lobby = Arc::new(Lobby::new(64, 8));
        let honest = lobby.enter([192, 0, 2, 1].into());
        let _flood: Vec<_> = (0..64).map(|_| lobby.enter([192, 0, 2, 9].into())).collect();
        assert!(!honest.lost.is_cancelled());
    }

    #[test]
    fn a_few_networks_that_fill_all_lose_their_own_and_not_the_oldest() {
        let lobby = lobby();
        let honest = lobby.enter(from(1, 1));
        let flood = 0..u16::try_from(8 * ROOM).unwrap();
        let _flood: Vec<_> = flood.map(|it| lobby.enter(from(2 + it % 8, 1))).collect();
        assert!(!honest.lost.is_cancelled());
        assert_eq!(lobby.waiting().places.len(), ROOM);
    }
}
