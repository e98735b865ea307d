//! The turns in which passwords are checked: who waits for one, who loses, and the memory of each.
//!
//! No source and no network can fill the queue: when it is full, the network with the most in it
//! loses. Memory goes from turn to turn, so that what was once needed is all that is ever taken.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::Block;
use ringback_proto::dns::source_prefix;
use ringback_proto::gate::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::limits;

/// Every turn, and whoever waits for one.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    queue: Mutex<Queue>,
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
}

/// A turn to check one password; whoever holds it has waited for it.
#[derive(Debug)]
pub(super) struct Turn {
    /// What the check may overwrite.
    pub(super) memory: Vec<Block>,
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
    _permit: OwnedSemaphorePermit,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// The source has enough in the queue.
    Enough,
    /// The source's network is the crowd that others wait behind.
    Crowd,
    /// The queue is full of others.
    Full,
    /// No check begins any more.
    Closed,
}

#[derive(Debug, Default)]
struct Queue {
    entered: u64,
    places: BTreeMap<u64, Waiting>,
    networks: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Waiting {
    source: Source,
    lost: CancellationToken,
}

/// A place in the queue; it is free again when this is dropped.
struct Place<'a>(&'a Turns, u64);

impl Turns {
    /// Every turn is free.
    pub(super) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits::PASSWORDS_AT_ONCE)),
            queue: Mutex::default(),
            memories: Arc::default(),
        }
    }

    /// Waits for a turn.
    pub(super) async fn wait(&self, source: Source) -> Result<Turn, NoTurn> {
        let (number, lost) = self.queue().enter(source)?;
        let _place = Place(self, number);
        let permit = tokio::select! {
            biased;
            () = lost.cancelled() => return Err(NoTurn::Crowd),
            permit = self.free.clone().acquire_owned() => permit.map_err(|_| NoTurn::Closed)?,
        };
        let memory = lock(&self.memories).pop().unwrap_or_default();
        Ok(Turn { memory, memories: self.memories.clone(), _permit: permit })
    }

    /// Lets no check begin any more.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.free.close();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    fn enter(&mut self, source: Source) -> Result<(u64, CancellationToken), NoTurn> {
        let of_source = self.places.values().filter(|it| it.source == source).count();
        if limits::PASSWORDS_QUEUED_PER_SOURCE <= of_source {
            return Err(NoTurn::Enough);
        }
        let network = source_prefix(source.address());
        let of_network = 1 + self.networks.get(&network).copied().unwrap_or(0);
        if limits::PASSWORDS_QUEUED_PER_NETWORK < of_network {
            return Err(NoTurn::Crowd);
        }
        if limits::PASSWORDS_QUEUED <= self.places.len() {
            let most = self.networks.iter().max_by_key(|(_, it)| **it);
            match most.map(|(it, count)| (*it, *count)) {
                // Whoever loses its place has come last of its network.
                Some((crowd, count)) if of_network < count => self.lose_newest(crowd),
                Some(_) | None if 1 < of_network => return Err(NoTurn::Crowd),
                Some(_) | None => return Err(NoTurn::Full),
            }
        }
        let (number, lost) = (self.entered, CancellationToken::new());
        self.entered += 1;
        self.places.insert(number, Waiting { source, lost: lost.clone() });
        *self.networks.entry(network).or_default() += 1;
        Ok((number, lost))
    }

    fn lose_newest(&mut self, network: IpAddr) {
        let mut places = self.places.iter().rev();
        let newest = places.find(|(_, it)| source_prefix(it.source.address()) == network);
        if let Some(number) = newest.map(|(number, _)| *number) {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) {
        let Some(waiting) = self.places.remove(&number) else { return };
        waiting.lost.cancel();
        let network = source_prefix(waiting.source.address());
        let Some(count) = self.networks.get_mut(&network) else { return };
        *count -= 1;
        if *count == 0 {
            self.networks.remove(&network);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.queue().leave(self.1);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.memories).push(std::mem::take(&mut self.memory));
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(network: usize, host: usize) -> Source {
        let [network, host] = [network, host].map(|it| u8::try_from(it).unwrap());
        Source::of([10, 0, network, host].into())
    }

    #[test]
    fn no_source_and_no_network_fills_the_queue() {
        let mut queue = Queue::default();
        for _ in 0..limits::PASSWORDS_QUEUED_PER_SOURCE {
            assert!(queue.enter(from(0, 0)).is_ok());
        }
        assert_eq!(queue.enter(from(0, 0)).err(), Some(NoTurn::Enough));
        for host in limits::PASSWORDS_QUEUED_PER_SOURCE..limits::PASSWORDS_QUEUED_PER_NETWORK {
            assert!(queue.enter(from(0, host)).is_ok());
        }
        assert_eq!(queue.enter(from(0, 100)).err(), Some(NoTurn::Crowd));
        assert!(queue.enter(from(1, 0)).is_ok());
    }

    #[test]
    fn when_it_is_full_the_newest_of_the_largest_network_loses() {
        let (mut queue, mut crowd) = (Queue::default(), Vec::new());
        let of_each = limits::PASSWORDS_QUEUED_PER_NETWORK;
        for place in 0..limits::PASSWORDS_QUEUED {
            crowd.push(queue.enter(from(place / of_each, place)).unwrap());
        }
        let (_, honest) = queue.enter(from(100, 0)).unwrap();
        let lost = crowd.iter().filter(|(_, lost)| lost.is_cancelled()).count();
        assert!(lost == 1 && !honest.is_cancelled() && !crowd[0].1.is_cancelled());
        assert_eq!(queue.places.len(), limits::PASSWORDS_QUEUED);

        let mut queue = Queue::default();
        for network in 0..limits::PASSWORDS_QUEUED {
            queue.enter(from(network, 0)).unwrap();
        }
        assert_eq!(queue.enter(from(100, 0)).err(), Some(NoTurn::Full), "nobody is the crowd");
        assert_eq!(queue.enter(from(0, 1)).err(), Some(NoTurn::Crowd));
        (0..u64::try_from(limits::PASSWORDS_QUEUED).unwrap()).for_each(|it| queue.leave(it));
        assert!(queue.places.is_empty() && queue.networks.is_empty());
    }

    #[tokio::test]
    async fn memory_goes_from_turn_to_turn() {
        let turns = Turns::new();
        for _ in 0..5 {
            let mut turn = turns.wait(from(0, 0)).await.unwrap();
            turn.memory.resize(8, Block::new());
            drop(turn);
            assert_eq!(lock(&turns.memories).iter().map(Vec::len).collect::<Vec<_>>(), [8]);
        }
        assert!(turns.queue().places.is_empty());
    }
}
