//! The sources that somebody has logged in from, for a while and for one service each.
//!
//! Kept in memory only: a restart forgets them, and so does a reload that takes the terminal or its
//! keys away, or changes whom the service knows. How long one counts is its service's to say. Knows
//! nothing of passwords.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringback_proto::access_request::Kid;
use ringback_proto::gate::{Identity, Source};
use ringback_proto::terminal::ServiceId;
use tracing::{debug, info};

use crate::limits::{ARMED, ARMED_PER_SERVICE};

/// A service that opens to who knocks: its terminal and its id.
pub(super) type Port = (Kid, ServiceId);

/// Every armed source.
#[derive(Debug, Default)]
pub(super) struct Armed(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    knocks: u64,
    ports: BTreeMap<Port, BTreeMap<Source, Knock>>,
    /// Who knocked, the longest ago first.
    order: BTreeMap<u64, (Port, Source)>,
}

/// One log-in.
#[derive(Debug)]
struct Knock {
    number: u64,
    identity: Identity,
    at: Instant,
}

impl Armed {
    /// Arms a source for a service: it is open to it for as long as it says.
    pub(super) fn arm(&self, port: Port, source: Source, identity: Identity, now: Instant) {
        let (kid, service) = port;
        info!(%kid, %service, "a source is armed");
        debug!(%kid, %service, %source, %identity, "by whom, and where");
        let mut table = self.table();
        table.disarm(port, source);
        let sources = table.ports.get(&port);
        let crowded = sources.filter(|it| ARMED_PER_SERVICE <= it.len());
        let oldest = match crowded {
            Some(sources) => {
                sources.iter().min_by_key(|(_, it)| it.number).map(|(it, _)| (port, *it))
            }
            None if ARMED <= table.order.len() => table.order.values().next().copied(),
            None => None,
        };
        if let Some((port, source)) = oldest {
            table.disarm(port, source);
        }
        let number = table.knocks;
        table.knocks += 1;
        table.order.insert(number, (port, source));
        table.ports.entry(port).or_default().insert(source, Knock { number, identity, at: now });
    }

    /// Who has armed the source for a service that stays open so long.
    pub(super) fn who(
        &self,
        port: Port,
        source: Source,
        open: Duration,
        now: Instant,
    ) -> Option<Identity> {
        let table = self.table();
        let knock = table.ports.get(&port)?.get(&source)?;
        (now.saturating_duration_since(knock.at) < open).then(|| knock.identity.clone())
    }

    /// Forgets every service that is not as it was.
    pub(super) fn keep(&self, is_as_it_was: impl Fn(&Port) -> bool) {
        let mut table = self.table();
        table.ports.retain(|port, _| is_as_it_was(port));
        table.order.retain(|_, (port, _)| is_as_it_was(port));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn disarm(&mut self, port: Port, source: Source) {
        let Some(sources) = self.ports.get_mut(&port) else { return };
        if let Some(knock) = sources.remove(&source) {
            self.order.remove(&knock.number);
        }
        if sources.is_empty() {
            self.ports.remove(&port);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::clock;

    const CAR: Port = (Kid(7), ServiceId(1));
    const BUS: Port = (Kid(8), ServiceId(1));
    const OPEN: Duration = Duration::from_secs(600);

    #[test]
    fn a_source_is_armed_for_its_service_and_its_time_and_nothing_else() {
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
    fn a_service_that_is_not_as_it_was_is_forgotten() {
        let (armed, now) = (Armed::default(), clock::now());
        armed.arm(CAR, of("192.0.2.7"), lee(), now);
        armed.arm(BUS, of("192.0.2.7"), lee(), now);
        armed.keep(|port| *port == BUS);
        assert_eq!(armed.who(CAR, of("192.0.2.7"), OPEN, now), None);
        assert_eq!(armed.who(BUS, of("192.0.2.7"), OPEN, now), Some(lee()));
        assert_eq!(armed.table().order.len(), 1);
    }

    #[test]
    fn the_one_that_knocked_longest_ago_is_forgotten_of_a_service_and_of_all() {
        let (armed, now) = (Armed::default(), clock::now());
        armed.arm(BUS, nth(0), lee(), now);
        for number in 0..=ARMED_PER_SERVICE {
            armed.arm(CAR, nth(number), lee(), now);
        }
        assert_eq!(armed.who(CAR, nth(0), OPEN, now), None);
        assert_eq!(armed.who(CAR, nth(1), OPEN, now), Some(lee()));
        assert_eq!(armed.who(BUS, nth(0), OPEN, now), Some(lee()), "not of another service");

        for number in 0..ARMED {
            armed.arm((Kid(u32::try_from(number).unwrap()), ServiceId(1)), nth(number), lee(), now);
        }
        let table = armed.table();
        let held: usize = table.ports.values().map(BTreeMap::len).sum();
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
