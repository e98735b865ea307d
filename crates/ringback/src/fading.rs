//! A bounded table whose entries all live equally long; when it is full, the oldest is forgotten.
//!
//! Reads no clock. Costs a stranger and us the logarithm of its size.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Entries that end by themselves.
#[derive(Debug)]
pub(crate) struct Fading<K, V> {
    entries: BTreeMap<K, (Instant, V)>,
    ends: BTreeSet<(Instant, K)>,
    life: Duration,
    most: usize,
}

impl<K: Ord + Clone, V> Fading<K, V> {
    /// An empty table.
    pub(crate) fn new(life: Duration, most: usize) -> Self {
        Self { entries: BTreeMap::new(), ends: BTreeSet::new(), life, most }
    }

    /// The entry, if it still lives, and when it will end.
    pub(crate) fn find(&mut self, key: &K, now: Instant) -> Option<(Instant, &mut V)> {
        let (end, value) = self.entries.get_mut(key)?;
        (now < *end).then_some((*end, value))
    }

    /// Adds an entry that is not there; tells which living one had to go for it.
    pub(crate) fn add(&mut self, key: K, value: V, now: Instant) -> Option<K> {
        while let Some((end, _)) = self.ends.first()
            && *end <= now
        {
            self.forget_first();
        }
        let forgotten = if self.entries.len() < self.most { None } else { self.forget_first() };
        let end = now + self.life;
        if let Some((before, _)) = self.entries.insert(key.clone(), (end, value)) {
            self.ends.remove(&(before, key.clone()));
        }
        self.ends.insert((end, key));
        forgotten
    }

    fn forget_first(&mut self) -> Option<K> {
        let (_, key) = self.ends.pop_first()?;
        self.entries.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const LIFE: Duration = Duration::from_secs(60);

    #[test]
    fn an_entry_lives_so_long_and_no_longer() {
        let (mut table, now) = (Fading::new(LIFE, 2), clock::now());
        assert_eq!(table.add("a", 1, now), None);
        assert!(table.find(&"a", now + LIFE - Duration::from_nanos(1)).is_some());
        assert!(table.find(&"a", now + LIFE).is_none());
    }

    #[test]
    fn the_oldest_goes_when_the_table_is_full_and_what_has_ended_goes_first() {
        let (mut table, now) = (Fading::new(LIFE, 2), clock::now());
        table.add("a", 1, now);
        table.add("b", 2, now + LIFE / 2);
        assert_eq!(table.add("c", 3, now + LIFE / 2), Some("a"));
        assert!(table.find(&"a", now + LIFE / 2).is_none());
        assert_eq!(table.add("d", 4, now + 2 * LIFE), None);
        assert_eq!((table.entries.len(), table.ends.len()), (1, 1));
    }

    #[test]
    fn an_entry_that_is_added_again_lives_anew_and_counts_once() {
        let (mut table, now) = (Fading::new(LIFE, 2), clock::now());
        table.add("a", 1, now);
        table.add("a", 2, now + LIFE / 2);
        assert_eq!((table.entries.len(), table.ends.len()), (1, 1));
        assert_eq!(table.find(&"a", now + LIFE).map(|(_, it)| *it), Some(2));
    }
}
