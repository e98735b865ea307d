//! The sources that somebody has logged in from, for a while and for one terminal each.
//!
//! Kept in memory only: a restart forgets them, and so does a reload that takes the terminal or its
//! keys away. How long one counts is its service's to say. Knows nothing of passwords.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringback_proto::access_request::Kid;
use ringback_proto::gate::{Identity, Source};

use crate::limits::{ARMED, ARMED_PER_TERMINAL};

/// Every armed source.
#[derive(Debug, Default)]
pub(super) struct Armed(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    knocks: u64,
    terminals: BTreeMap<Kid, BTreeMap<Source, Knock>>,
    /// Who knocked, the longest ago first.
    order: BTreeMap<u64, (Kid, Source)>,
}

/// One log-in.
#[derive(Debug)]
struct Knock {
    number: u64,
    identity: Identity,
    at: Instant,
}

impl Armed {
    /// Arms a source for a terminal: its knock services are open to it for as long as each says.
    pub(super) fn arm(&self, kid: Kid, source: Source, identity: Identity, now: Instant) {
        let mut table = self.table();
        table.disarm(kid, source);
        let sources = table.terminals.get(&kid);
        let crowded = sources.filter(|it| ARMED_PER_TERMINAL <= it.len());
        let oldest = match crowded {
            Some(sources) => {
                sources.iter().min_by_key(|(_, it)| it.number).map(|(it, _)| (kid, *it))
            }
            None if ARMED <= table.order.len() => table.order.values().next().copied(),
            None => None,
        };
        if let Some((kid, source)) = oldest {
            table.disarm(kid, source);
        }
        let number = table.knocks;
        table.knocks += 1;
        table.order.insert(number, (kid, source));
        table.terminals.entry(kid).or_default().insert(source, Knock { number, identity, at: now });
    }

    /// Who has armed the source for a service that stays open so long.
    pub(super) fn who(
        &self,
        kid: Kid,
        source: Source,
        open: Duration,
        now: Instant,
    ) -> Option<Identity> {
        let table = self.table();
        let knock = table.terminals.get(&kid)?.get(&source)?;
        (now.saturating_duration_since(knock.at) < open).then(|| knock.identity.clone())
    }

    /// Forgets every terminal that is not there any more.
    pub(super) fn keep(&self, is_there: impl Fn(&Kid) -> bool) {
        let mut table = self.table();
        table.terminals.retain(|kid, _| is_there(kid));
        table.order.retain(|_, (kid, _)| is_there(kid));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn disarm(&mut self, kid: Kid, source: Source) {
        let Some(sources) = self.terminals.get_mut(&kid) else { return };
        if let Some(knock) = sources.remove(&source) {
            self.order.remove(&knock.number);
        }
        if sources.is_empty() {
            self.terminals.remove(&kid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::clock;

    const CAR: Kid = Kid(7);
    const BUS: Kid = Kid(8);
    const OPEN: Duration = Duration::from_secs(600);

    #[test]
    fn a_source_is_armed_for_its_terminal_and_its_time_and_nothing_else() {
        let (armed, now) = (Armed::default(), clock::now());
        let (one, neighbor) = (of("192.0.2.7"), of("192.0.2.8"));
        armed.arm(CAR, one, lee(), now);
        assert_eq!(armed.who(CAR, one, OPEN, now), Some(lee()));
        assert_eq!(armed.who(CAR, one, OPEN, now + OPEN - Duration::from_millis(1)), Some(lee()));
        assert_eq!(armed.who(CAR, one, OPEN, now + OPEN), None);
        assert_eq!(armed.who(CAR, neighbor, OPEN, now), None);
        assert_eq!(armed.who(BUS, one, OPEN, now), None);

        armed.arm(CAR, one, lee(), now + OPEN);
        assert_eq!(armed.who(CAR, one, OPEN, now + OPEN), Some(lee()), "who knocks again stays");
        armed.arm(CAR, of("2001:db8::1"), lee(), now);
        assert_eq!(armed.who(CAR, of("2001:db8::ffff:2"), OPEN, now), Some(lee()));
        assert_eq!(armed.who(CAR, of("2001:db8:0:1::1"), OPEN, now), None);
    }

    #[test]
    fn a_terminal_that_is_gone_is_forgotten() {
        let (armed, now) = (Armed::default(), clock::now());
        armed.arm(CAR, of("192.0.2.7"), lee(), now);
        armed.arm(BUS, of("192.0.2.7"), lee(), now);
        armed.keep(|kid| *kid == BUS);
        assert_eq!(armed.who(CAR, of("192.0.2.7"), OPEN, now), None);
        assert_eq!(armed.who(BUS, of("192.0.2.7"), OPEN, now), Some(lee()));
        assert_eq!(armed.table().order.len(), 1);
    }

    #[test]
    fn the_one_that_knocked_longest_ago_is_forgotten_of_a_terminal_and_of_all() {
        let (armed, now) = (Armed::default(), clock::now());
        armed.arm(BUS, nth(0), lee(), now);
        for number in 0..=ARMED_PER_TERMINAL {
            armed.arm(CAR, nth(number), lee(), now);
        }
        assert_eq!(armed.who(CAR, nth(0), OPEN, now), None);
        assert_eq!(armed.who(CAR, nth(1), OPEN, now), Some(lee()));
        assert_eq!(armed.who(BUS, nth(0), OPEN, now), Some(lee()), "not of another terminal");

        for number in 0..ARMED {
            armed.arm(Kid(u32::try_from(number).unwrap()), nth(number), lee(), now);
        }
        let table = armed.table();
        let held: usize = table.terminals.values().map(BTreeMap::len).sum();
        assert_eq!((held, table.order.len()), (ARMED, ARMED));
    }

    fn nth(number: usize) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap())))
    }

    fn of(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    fn lee() -> Identity {
        Identity::parse("lee").unwrap()
    }
}
