//! How the bearers and the routes stand: which have sunk, and when each is tried first again.
//!
//! Knows no call and no client. It only ever changes an order: whatever has sunk is rung last and never
//! left out. Why it judges as it does is in `docs/decisions/0013-routes-sink.md`.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::access_request::Kid;
use crate::limits;

use super::{BearerId, Command, Terminal};

/// What sinks and rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A bearer, for every terminal.
    Bearer(BearerId),
    /// A route of one terminal, by its place in [`Terminal::routes`].
    Route(Kid, usize),
}

/// Which ways have failed lately; of one that has not there is nothing.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<Way, Standing>);

#[derive(Debug)]
struct Standing {
    /// Calls in a row that it has failed.
    failures: usize,
    failed_at: Instant,
    /// Whose call a bearer failed last.
    failed: Kid,
    /// Until when it is rung last; none before it has sunk.
    sunk_until: Option<Instant>,
}

impl Standings {
    /// The order in which a call rings a terminal's routes: what has sunk comes last.
    ///
    /// What has rested for long enough is first again in this one call; the next ones wait for what
    /// it shows.
    pub(super) fn order(&mut self, terminal: &Terminal, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..terminal.routes.len()).collect();
        order.sort_by_key(|route| self.has_sunk(terminal, *route, now));
        let first = order.first().map(|route| ways(terminal, *route));
        for way in first.into_iter().flatten() {
            let Some(it) = self.0.get_mut(&way) else { continue };
            if it.sunk_until.is_some_and(|until| until <= now) {
                it.sunk_until = Some(now + limits::SUNK_FOR);
            }
        }
        order
    }

    /// A bearer has a signal of this terminal for too long without handing it on: it fails, whoever it
    /// is for.
    pub(super) fn held(&mut self, bearer: BearerId, kid: Kid, now: Instant) -> Option<Command> {
        self.fail(Way::Bearer(bearer), kid, now)
    }

    /// A bearer did not take a call's signals, for certain. The number may be the cause, so a bearer
    /// that fails one terminal again and again only sinks for that one.
    pub(super) fn failed(
        &mut self,
        (kid, route): (Kid, usize),
        bearer: BearerId,
        now: Instant,
    ) -> [Option<Command>; 2] {
        let way = Way::Bearer(bearer);
        let again = self.0.get(&way).is_some_and(|it| it.failed == kid);
        let bearer = if again { None } else { self.fail(way, kid, now) };
        [self.fail(Way::Route(kid, route), kid, now), bearer]
    }

    /// A route was silent for as long as it was given, and a later one was answered.
    pub(super) fn outrun(&mut self, kid: Kid, route: usize, now: Instant) -> Option<Command> {
        self.fail(Way::Route(kid, route), kid, now)
    }

    /// The operator has taken a signal.
    pub(super) fn taken(&mut self, bearer: BearerId) -> Option<Command> {
        self.lift(Way::Bearer(bearer))
    }

    /// A signal has reached its terminal.
    pub(super) fn reached(
        &mut self,
        (kid, route): (Kid, usize),
        bearer: BearerId,
    ) -> [Option<Command>; 2] {
        [self.lift(Way::Route(kid, route)), self.lift(Way::Bearer(bearer))]
    }

    fn has_sunk(&self, terminal: &Terminal, route: usize, now: Instant) -> bool {
        let until = |way| self.0.get(&way).and_then(|it| it.sunk_until);
        ways(terminal, route).into_iter().filter_map(until).any(|until| now < until)
    }

    fn fail(&mut self, way: Way, kid: Kid, now: Instant) -> Option<Command> {
        if !self.0.contains_key(&way) && limits::STANDINGS <= self.0.len() {
            self.0.retain(|_, it| now < it.failed_at + limits::SUNK_FOR);
            if limits::STANDINGS <= self.0.len() {
                return None;
            }
        }

        let new = Standing { failures: 0, failed_at: now, failed: kid, sunk_until: None };
        let it = self.0.entry(way).or_insert(new);
        (it.failures, it.failed_at, it.failed) = (it.failures + 1, now, kid);
        if it.failures < limits::SINKS_AFTER {
            return None;
        }
        let before = it.sunk_until.replace(now + limits::SUNK_FOR);
        before.is_none().then_some(Command::Sank { way })
    }

    fn lift(&mut self, way: Way) -> Option<Command> {
        let it = self.0.remove(&way)?;
        it.sunk_until.map(|_| Command::Rose { way })
    }
}

/// What a route's standing is made of.
fn ways(terminal: &Terminal, route: usize) -> [Way; 2] {
    [Way::Route(terminal.kid, route), Way::Bearer(terminal.routes[route].bearer)]
}
