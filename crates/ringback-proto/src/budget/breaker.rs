//! The breaker: while nobody answers, nobody is rung.
//!
//! One terminal counts for few of the unanswered calls in a row, so that one that is dead cannot
//! stop everybody. A call whose clients have left before their time is no evidence either way, and
//! neither is a probe: it waits while the breaker is open, and takes no trial's place after that.

use std::collections::BTreeMap;

use crate::access_request::Kid;
use crate::limits;
use crate::switchboard::{Call, CallEnd};

use super::{BreakerIs, Record, Rules};

/// Whether calls may be made, as far as the answers to the last ones tell.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Unanswered calls since the last answered one.
    row: BTreeMap<Kid, u64>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: u64,
    },
    HalfOpen {
        /// The one call that is being made, and when its place is free whatever became of it.
        trial: Option<(u64, u64)>,
    },
}

/// The number of a call of an earlier life: none of this one has it, and no probe.
const LONG_AGO: u64 = u64::MAX;

impl Breaker {
    /// How many seconds a signal of this call has to wait.
    pub(super) fn wait(&self, call: Call, rules: &Rules, now: u64) -> u64 {
        if rules.breaker_unanswered == 0 {
            return 0;
        }

        // A call that began before the breaker opened sends no more signals.
        let afresh = if call.signal == 1 { 0 } else { rules.breaker_seconds.max(1) };
        match self.state {
            State::Closed => 0,
            State::Open { until } if now < until => until - now,
            State::Open { .. } | State::HalfOpen { .. } if call == Call::PROBE => 0,
            State::Open { .. } | State::HalfOpen { trial: None } => afresh,
            State::HalfOpen { trial: Some((id, _)) } if id == call.id => 0,
            State::HalfOpen { trial: Some((_, until)) } if now < until => until - now,
            State::HalfOpen { trial: Some(_) } => afresh,
        }
    }

    pub(super) fn charged(&mut self, call: Call, rules: &Rules, at: u64) {
        match self.state {
            State::Closed => {}
            State::Open { .. } | State::HalfOpen { .. } if call == Call::PROBE => {}
            State::HalfOpen { trial: Some((id, _)) } if id == call.id => {}
            State::Open { .. } | State::HalfOpen { .. } => {
                let until = at.saturating_add(rules.breaker_seconds.max(1));
                self.state = State::HalfOpen { trial: Some((call.id, until)) };
            }
        }
    }

    pub(super) fn ended(&mut self, call: u64, kid: Kid, how: CallEnd, rules: &Rules, at: u64) {
        match how {
            CallEnd::Abandoned => {}
            CallEnd::Answered => *self = Self::default(),
            CallEnd::Unanswered => self.unanswered(call, kid, rules, at),
        }
    }

    fn unanswered(&mut self, call: u64, kid: Kid, rules: &Rules, at: u64) {
        match self.state {
            State::Open { .. } => {}
            State::HalfOpen { trial: Some((id, _)) } if id == call => {
                self.state = State::HalfOpen { trial: None };
            }
            State::HalfOpen { .. } => {}
            State::Closed if rules.breaker_unanswered == 0 => {}
            State::Closed => {
                let count = self.row.entry(kid).or_default();
                *count = (*count + 1).min(limits::BREAKER_CALLS_PER_TERMINAL);
                if rules.breaker_unanswered <= self.row.values().sum() {
                    self.row.clear();
                    let until = at.saturating_add(rules.breaker_seconds);
                    self.state = State::Open { until };
                }
            }
        }
    }

    /// Calls of an earlier life do not end any more.
    pub(super) fn resume(&mut self) {
        if let State::HalfOpen { trial: Some((id, _)) } = &mut self.state {
            *id = LONG_AGO;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        match self.state {
            State::Closed => false,
            State::Open { .. } | State::HalfOpen { .. } => true,
        }
    }

    pub(super) fn report(&self, now: u64) -> BreakerIs {
        match self.state {
            State::Closed => BreakerIs::Closed { unanswered: self.row.values().sum() },
            State::Open { until } if now < until => BreakerIs::Open { seconds: until - now },
            State::Open { .. } | State::HalfOpen { .. } => BreakerIs::HalfOpen,
        }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let row =
            self.row.iter().map(|(kid, calls)| Record::Unanswered { kid: *kid, calls: *calls });
        let state = match self.state {
            State::Closed => None,
            State::Open { until } => Some(Record::Opened { until }),
            State::HalfOpen { trial } => {
                let (call, until) = trial.unwrap_or((LONG_AGO, 0));
                Some(Record::HalfOpened { call, until })
            }
        };
        row.chain(state).collect()
    }

    /// Takes in one of [`Self::records`]; others say nothing of a breaker by themselves.
    pub(super) fn enter(&mut self, record: &Record) {
        match record {
            Record::Unanswered { kid, calls } => drop(self.row.insert(*kid, *calls)),
            Record::Opened { until } => self.state = State::Open { until: *until },
            Record::HalfOpened { call, until } => {
                self.state = State::HalfOpen { trial: Some((*call, *until)) };
            }
            Record::Ahead { .. }
            | Record::Charged { .. }
            | Record::Ended { .. }
            | Record::Count { .. } => {}
        }
    }
}
