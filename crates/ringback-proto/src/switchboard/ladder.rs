//! The ladder of routes: by which route the next signal leaves, and when.
//!
//! Knows neither clients nor tunnels. It lives from the first signal until somebody dials back or
//! the longest patience of those who waited at its start is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gate::Source;
use crate::limits;
use crate::refusal::Refusal;

use super::{Terminal, after};

/// The attempt to ring one terminal by its routes, one after the other.
#[derive(Debug)]
pub(super) struct Ladder {
    terminal: Arc<Terminal>,
    ends_at: Instant,
    /// Where it stands; beyond the last route once all have failed.
    route: usize,
    leaves_route_at: Instant,
    signals: usize,
    failures: usize,
    next_signal_at: Option<Instant>,
    /// Why it was silenced, and whom that concerns alone, if it does not concern all.
    pub(super) denied: Option<(Refusal, Option<Source>)>,
}

/// A signal that is to leave now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) route: usize,
    pub(super) attempt: usize,
}

impl Ladder {
    /// Stands at the first route, whose first signal is due.
    pub(super) fn new(terminal: Arc<Terminal>, ends_at: Instant, now: Instant) -> Self {
        let mut ladder = Self {
            terminal,
            ends_at,
            route: 0,
            leaves_route_at: now,
            signals: 0,
            failures: 0,
            next_signal_at: None,
            denied: None,
        };
        ladder.enter(0, now);
        ladder
    }

    pub(super) fn ends_at(&self) -> Instant {
        self.ends_at
    }

    /// Whether no route will be rung any more: each has failed, or a budget has denied the next.
    pub(super) fn is_spent(&self) -> bool {
        self.terminal.routes.len() <= self.route
    }

    /// When something is to happen.
    pub(super) fn due(&self) -> Instant {
        let leaves = self.has_next().then_some(self.leaves_route_at);
        [leaves, self.next_signal_at].into_iter().flatten().fold(self.ends_at, Instant::min)
    }

    /// The signal to send now, if one is due. The next is due later than now.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        while self.has_next() && self.leaves_route_at <= now {
            self.enter(self.route + 1, now);
        }
        if now < self.next_signal_at? {
            return None;
        }

        self.signals += 1;
        self.next_signal_at = self.gap().map(|gap| now + gap);
        Some(Step { route: self.route, attempt: self.signals })
    }

    /// Sends no more signals; those that have left may still be answered.
    pub(super) fn silence(&mut self) {
        self.enter(self.terminal.routes.len(), self.ends_at);
    }

    /// A signal of `route` was not taken: for good (`None`), or until the bearer says.
    pub(super) fn failed(&mut self, route: usize, retry: Option<Duration>, now: Instant) {
        if route != self.route {
            return;
        }

        self.failures += 1;
        let Some(retry) = retry.filter(|_| self.failures <= limits::FAILED_SIGNALS_PER_ROUTE)
        else {
            return self.enter(self.route + 1, now);
        };
        // Nothing was sent, so it does not count as a signal.
        self.signals = self.signals.saturating_sub(1);
        self.next_signal_at = Some(after(now, retry.max(limits::RETRY_AFTER)));
    }

    fn has_next(&self) -> bool {
        self.route + 1 < self.terminal.routes.len()
    }

    fn enter(&mut self, route: usize, now: Instant) {
        (self.route, self.signals, self.failures) = (route, 0, 0);
        let plan = self.terminal.routes.get(route);
        self.leaves_route_at = plan.map_or(self.ends_at, |it| after(now, it.patience));
        self.next_signal_at = plan.map(|_| now);
    }

    /// From the latest signal to the next one; counted from the latest, so that a shell that was
    /// held up never sends two at once.
    fn gap(&self) -> Option<Duration> {
        let next = limits::SIGNAL_AGAIN.get(self.signals - 1)?;
        let latest =
            self.signals.checked_sub(2).map_or(Duration::ZERO, |it| limits::SIGNAL_AGAIN[it]);
        Some(*next - latest)
    }
}
