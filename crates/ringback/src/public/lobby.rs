//! Who has connected and may not ring yet: strangers at the dial-back port without a whole hello,
//! clients without a whole request, and whoever is only told that it may not.
//!
//! Their number is bounded, and no network can fill it. When a limit is met the oldest loses: an
//! honest one says all within a few round trips, a silent one never does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringback_proto::dns::source_prefix;
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
    places: BTreeMap<u64, (IpAddr, CancellationToken)>,
    networks: BTreeMap<IpAddr, BTreeSet<u64>>,
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

    /// Gives a newcomer a place, if need be the place of whoever has waited longest.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Place {
        let network = source_prefix(from);
        let mut waiting = self.waiting();
        let crowd = waiting.networks.get(&network);
        let crowded = crowd.filter(|it| self.room_per_network <= it.len());
        let oldest = match crowded {
            Some(crowd) => crowd.first().copied(),
            None if self.room <= waiting.places.len() => waiting.places.keys().next().copied(),
            None => None,
        };
        if let Some(oldest) = oldest {
            waiting.leave(oldest);
        }
        let (number, lost) = (waiting.entered, CancellationToken::new());
        waiting.entered += 1;
        waiting.places.insert(number, (network, lost.clone()));
        waiting.networks.entry(network).or_default().insert(number);
        Place { lobby: self.clone(), number, lost }
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
    fn leave(&mut self, number: u64) {
        let Some((network, lost)) = self.places.remove(&number) else { return };
        lost.cancel();
        let Some(crowd) = self.networks.get_mut(&network) else { return };
        crowd.remove(&number);
        if crowd.is_empty() {
            self.networks.remove(&network);
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
    fn when_all_is_full_the_oldest_of_all_loses() {
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
        assert!(waiting.places.is_empty() && waiting.networks.is_empty());
    }
}
