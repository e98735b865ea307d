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
    /// The routes, in the order in which they are rung.
    order: Vec<usize>,
    ends_at: Instant,
    /// Where it stands in that order; beyond the last route once all have failed.
    place: usize,
    leaves_route_at: Instant,
    signals: usize,
    failures: usize,
    next: Next,
    /// The routes that the terminal could have answered by, and did not as long as they were given.
    silent: Vec<usize>,
    /// Why it was silenced, and whom that concerns alone, if it does not concern all.
    pub(super) denied: Option<(Refusal, Option<Source>)>,
}

/// What the next signal of a route waits for.
#[derive(Debug)]
enum Next {
    /// Its time.
    At(Instant),
    /// That the bearer hands the latest one on, which it should have done by then. A second would only
    /// lie beside the first, and leave with it.
    Held { until: Instant },
    /// The same, and the bearer has failed.
    HeldTooLong,
    /// There is none.
    Never,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To send a signal.
    Signal { route: usize, attempt: usize },
    /// To note that the bearer of a route has kept a signal for too long.
    Held { route: usize },
    /// To note that a route has sent nothing for as long as it was given.
    Failed { route: usize },
}

impl Ladder {
    /// Stands at the first of these routes of a terminal, whose first signal is due.
    pub(super) fn new(
        terminal: Arc<Terminal>,
        order: Vec<usize>,
        ends_at: Instant,
        now: Instant,
    ) -> Self {
        let mut ladder = Self {
            terminal,
            order,
            ends_at,
            place: 0,
            leaves_route_at: now,
            signals: 0,
            failures: 0,
            next: Next::Never,
            silent: Vec::new(),
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
        self.order.len() <= self.place
    }

    /// When something is to happen.
    pub(super) fn due(&self) -> Instant {
        let next = match self.next {
            Next::At(it) | Next::Held { until: it } => Some(it),
            Next::HeldTooLong | Next::Never => None,
        };
        next.into_iter().fold(self.leaves_at(), Instant::min)
    }

    /// What to do now, if anything; to be asked until there is nothing. What is next is due later
    /// than now.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        let route = self.route()?;
        let held = matches!(self.next, Next::Held { .. } | Next::HeldTooLong);
        let too_long = matches!(self.next, Next::Held { until } if until <= now);
        if self.has_next() && (self.leaves_route_at <= now || too_long) {
            let sent = 0 < self.signals;
            self.enter(self.place + 1, now);
            if held || !sent {
                return Some(if held { Step::Held { route } } else { Step::Failed { route } });
            }
            self.silent.push(route);
            return self.step(now);
        }
        if too_long {
            self.next = Next::HeldTooLong;
            return Some(Step::Held { route });
        }
        let Next::At(at) = self.next else { return None };
        if now < at {
            return None;
        }

        self.signals += 1;
        self.next = Next::Held { until: now + limits::HELD_FOR };
        Some(Step::Signal { route, attempt: self.signals })
    }

    /// The latest signal of `route` is on its way: the next is counted from now, so that neither a
    /// bearer nor a shell that was held up ever sends two at once.
    pub(super) fn taken(&mut self, route: usize, now: Instant) {
        let held = matches!(self.next, Next::Held { .. } | Next::HeldTooLong);
        if held && self.route() == Some(route) {
            self.next = self.gap().map_or(Next::Never, |gap| Next::At(now + gap));
        }
    }

    /// The terminal cannot be reached by `route` now. There is no better one if it is the last: the
    /// terminal may yet come back while its clients wait.
    pub(super) fn undelivered(&mut self, route: usize, now: Instant) {
        if self.route() == Some(route) && self.has_next() {
            self.silent.push(route);
            self.enter(self.place + 1, now);
        }
    }

    /// Sends no more signals; those that have left may still be answered.
    pub(super) fn silence(&mut self) {
        self.enter(self.order.len(), self.ends_at);
    }

    /// A signal of `route` was not taken: for good (`None`), or until the bearer says. Whether the
    /// route has failed with it: for good, too often, or for longer than it is given.
    pub(super) fn failed(&mut self, route: usize, retry: Option<Duration>, now: Instant) -> bool {
        if self.route() != Some(route) {
            return false;
        }

        self.failures += 1;
        let again = retry
            .filter(|_| self.failures <= limits::FAILED_SIGNALS_PER_ROUTE)
            .map(|it| after(now, it.max(limits::RETRY_AFTER)))
            .filter(|at| *at < self.leaves_at());
        let Some(again) = again else {
            self.enter(self.place + 1, now);
            return true;
        };
        // Nothing was sent, so it does not count as a signal.
        self.signals = self.signals.saturating_sub(1);
        self.next = Next::At(again);
        false
    }

    /// The routes that were silent, now that `route` was answered; none if it is one of them.
    pub(super) fn outrun_by(&self, route: usize) -> &[usize] {
        if self.silent.contains(&route) { &[] } else { &self.silent }
    }

    fn route(&self) -> Option<usize> {
        self.order.get(self.place).copied()
    }

    fn has_next(&self) -> bool {
        self.place + 1 < self.order.len()
    }

    fn leaves_at(&self) -> Instant {
        if self.has_next() { self.leaves_route_at.min(self.ends_at) } else { self.ends_at }
    }

    fn enter(&mut self, place: usize, now: Instant) {
        (self.place, self.signals, self.failures) = (place, 0, 0);
        let plan = self.route().and_then(|it| self.terminal.routes.get(it));
        self.leaves_route_at = plan.map_or(self.ends_at, |it| after(now, it.patience));
        self.next = if plan.is_some() { Next::At(now) } else { Next::Never };
    }

    /// From the latest signal to the next one.
    fn gap(&self) -> Option<Duration> {
        let so_far = self.signals.checked_sub(1)?;
        let next = limits::SIGNAL_AGAIN.get(so_far)?;
        let latest = so_far.checked_sub(1).map_or(Duration::ZERO, |it| limits::SIGNAL_AGAIN[it]);
        Some(*next - latest)
    }
}
