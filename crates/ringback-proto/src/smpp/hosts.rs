//! The hosts of one account: which is connected to next, and how long each is left alone.
//!
//! One is used at a time. It is kept until it fails; then whichever may be tried first has its turn.

use std::time::{Duration, Instant};

use super::link::Config;
use super::wire::Lost;

/// The hosts, and the one whose turn it is.
#[derive(Debug)]
pub(super) struct Hosts {
    each: Vec<Host>,
    current: usize,
    rest: (Duration, Duration),
    refused_rest: Duration,
    chance: u64,
}

#[derive(Clone, Debug)]
struct Host {
    ready_at: Instant,
    attempts: u32,
    refused: bool,
}

impl Hosts {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let host = Host { ready_at: now, attempts: 0, refused: false };
        Self {
            each: vec![host; config.hosts.max(1)],
            current: 0,
            rest: config.rest,
            refused_rest: config.refused_rest,
            chance: config.seed,
        }
    }

    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Takes in that the current host has accepted a bind.
    pub(super) fn bound(&mut self) {
        self.each[self.current].refused = false;
    }

    /// Takes in that a bind has lasted long enough to count as well.
    pub(super) fn lasted(&mut self) {
        self.each[self.current].attempts = 0;
    }

    /// Leaves the current host alone for a while; returns when the next one's turn is.
    pub(super) fn leave(&mut self, lost: Option<Lost>, now: Instant) -> Instant {
        let rest = self.rest(lost);
        let host = &mut self.each[self.current];
        host.refused = matches!(lost, Some(Lost::Refused(_)));
        host.ready_at = now + rest;
        // In turn from the one after it, so that of two that are ready the other is next.
        let count = self.each.len();
        let turns = (1..=count).map(|step| (self.current + step) % count);
        let next = turns.min_by_key(|it| self.each[*it].ready_at.max(now));
        self.current = next.unwrap_or(self.current);
        self.each[self.current].ready_at.max(now)
    }

    /// Whether the last bind of every host was refused.
    pub(super) fn all_refused(&self) -> bool {
        self.each.iter().all(|it| it.refused)
    }

    /// Whether another host than the current one may be tried now.
    pub(super) fn another_is_ready(&self, now: Instant) -> bool {
        self.each.iter().enumerate().any(|(at, it)| at != self.current && it.ready_at <= now)
    }

    /// Twice as long each time, and between half and all of it by chance.
    fn rest(&mut self, lost: Option<Lost>) -> Duration {
        let host = &mut self.each[self.current];
        let (shortest, longest) = self.rest;
        let rest = longest.min(shortest * 2_u32.pow(host.attempts.min(16)));
        host.attempts = host.attempts.saturating_add(1);
        // An LCG with Knuth's multiplier: its high bits are good enough to spread reconnects.
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let spread = u32::from((self.chance >> 48) as u16);
        let rest = rest / 2 + rest / 2 * spread / 0x1_0000;
        match lost {
            Some(Lost::Refused(_)) => rest.max(self.refused_rest),
            Some(_) | None => rest,
        }
    }
}
