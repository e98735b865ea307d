//! The breakers: while nobody answers, nobody is rung. One for each tenant, and one for all.
//!
//! One terminal counts for few of its tenant's unanswered calls in a row, and a few terminals stop no
//! tenant that has called many more; one tenant counts for a third of the row that stops everybody.
//! A probe is no evidence: it waits while a breaker is open, and takes no trial's place after that.

use std::collections::BTreeMap;

use crate::access_request::Kid;
use crate::limits;
use crate::switchboard::{Call, CallEnd};
use crate::terminal::TenantName;

use super::{BreakerIs, DAY, HOUR, Record, Rules};

/// Whether calls may be made, as far as the answers to the last ones tell.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    tenants: BTreeMap<TenantName, Breaker>,
    /// Unanswered calls since anybody's last answer.
    row: BTreeMap<TenantName, u64>,
    all: State,
}

/// One tenant's.
#[derive(Debug, Default)]
struct Breaker {
    /// When each terminal was last called.
    called: BTreeMap<Kid, u64>,
    /// Unanswered calls since the last answered one.
    row: BTreeMap<Kid, u64>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Breakers {
    /// How many seconds a signal of this call has to wait.
    pub(super) fn wait(&self, tenant: TenantName, call: Call, rules: &Rules, now: u64) -> u64 {
        // What a client sends itself costs nothing: it may lead where our own bearers do not.
        if rules.breaker_unanswered == 0 || call.is_by_client() {
            return 0;
        }

        let own = self.tenants.get(&tenant).map_or(0, |it| it.state.wait(call, rules, now));
        own.max(self.all.wait(call, rules, now))
    }

    pub(super) fn charged(
        &mut self,
        (tenant, kid): (TenantName, Kid),
        call: Call,
        rules: &Rules,
        at: u64,
    ) {
        // Nobody knows whether it was sent, so it is no evidence and no trial.
        if call.is_by_client() {
            return;
        }

        self.all.charged(call, rules, at);
        let own = self.tenants.entry(tenant).or_default();
        own.state.charged(call, rules, at);
        if call.signal == 1 {
            own.called.insert(kid, at);
        }
    }

    /// Whose the last call of a terminal was, and when it began.
    pub(super) fn called(&self, kid: Kid) -> Option<(TenantName, u64)> {
        let called = self.tenants.iter().filter_map(|(tenant, it)| {
            let at = it.called.get(&kid)?;
            Some((*tenant, *at))
        });
        called.max_by_key(|(_, at)| *at)
    }

    pub(super) fn ended(
        &mut self,
        (tenant, kid): (TenantName, Kid),
        call: u64,
        how: CallEnd,
        rules: &Rules,
        at: u64,
    ) {
        match how {
            CallEnd::Abandoned => {}
            CallEnd::Answered => {
                let own = self.tenants.entry(tenant).or_default();
                (own.state, self.all) = Default::default();
                own.row.clear();
                self.row.clear();
            }
            CallEnd::Unanswered => {
                self.all.tried(call);
                let own = self.tenants.entry(tenant).or_default();
                own.state.tried(call);
                if rules.breaker_unanswered != 0 && own.unanswered(kid, rules, at) {
                    self.unanswered(tenant, rules, at);
                }
            }
        }
    }

    fn unanswered(&mut self, tenant: TenantName, rules: &Rules, at: u64) {
        if self.all != State::Closed {
            return;
        }

        let most = rules.breaker_unanswered.max(limits::BREAKER_TENANTS);
        let count = self.row.entry(tenant).or_default();
        *count = (*count + 1).min(most / limits::BREAKER_TENANTS);
        if most <= self.row.values().sum() {
            self.row.clear();
            self.all = State::opened(rules, at);
        }
    }

    /// Calls of an earlier life do not end any more.
    pub(super) fn resume(&mut self) {
        self.all.resume();
        self.tenants.values_mut().for_each(|it| it.state.resume());
    }

    /// Whose calls are not made freely; `None` stands for everybody.
    pub(super) fn open(&self) -> Vec<Option<TenantName>> {
        let tenants = self.tenants.iter().filter(|(_, it)| it.state != State::Closed);
        let all = (self.all != State::Closed).then_some(None);
        all.into_iter().chain(tenants.map(|(tenant, _)| Some(*tenant))).collect()
    }

    pub(super) fn report(&self, now: u64) -> (BreakerIs, BTreeMap<TenantName, BreakerIs>) {
        let tenants = self.tenants.iter().map(|(tenant, it)| {
            let unanswered = it.row.values().sum();
            (*tenant, it.state.report(unanswered, now))
        });
        (self.all.report(self.row.values().sum(), now), tenants.collect())
    }

    /// Forgets terminals that were not called for a day, and tenants of which nothing is left.
    pub(super) fn forget(&mut self, now: u64) {
        self.tenants.retain(|_, it| {
            it.called.retain(|_, at| now < at.saturating_add(DAY));
            !it.called.is_empty() || !it.row.is_empty() || it.state != State::Closed
        });
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (tenant, it) in &self.tenants {
            let tenant = *tenant;
            records.extend(it.called.iter().map(|(kid, at)| Record::Called {
                tenant,
                kid: *kid,
                at: *at,
            }));
            records.extend(it.row.iter().map(|(kid, calls)| {
                let (kid, calls) = (*kid, *calls);
                Record::Unanswered { tenant, kid, calls }
            }));
            records.extend(it.state.record(Some(tenant)));
        }
        records.extend(self.row.iter().map(|(tenant, calls)| {
            let (tenant, calls) = (*tenant, *calls);
            Record::Row { tenant, calls }
        }));
        records.extend(self.all.record(None));
        records
    }

    /// Takes in one of [`Self::records`]; others say nothing of a breaker by themselves.
    pub(super) fn enter(&mut self, record: &Record) {
        match record {
            Record::Called { tenant, kid, at } => {
                self.tenants.entry(*tenant).or_default().called.insert(*kid, *at);
            }
            Record::Unanswered { tenant, kid, calls } => {
                self.tenants.entry(*tenant).or_default().row.insert(*kid, *calls);
            }
            Record::Row { tenant, calls } => drop(self.row.insert(*tenant, *calls)),
            Record::Opened { whose, until } => *self.state(*whose) = State::Open { until: *until },
            Record::HalfOpened { whose, call, until } => {
                *self.state(*whose) = State::HalfOpen { trial: Some((*call, *until)) };
            }
            Record::Ahead { .. }
            | Record::Charged { .. }
            | Record::Ended { .. }
            | Record::Count { .. } => {}
        }
    }

    fn state(&mut self, whose: Option<TenantName>) -> &mut State {
        match whose {
            Some(tenant) => &mut self.tenants.entry(tenant).or_default().state,
            None => &mut self.all,
        }
    }
}

impl Breaker {
    /// Lengthens the row, and opens if it is long and broad enough; whether it was lengthened.
    fn unanswered(&mut self, kid: Kid, rules: &Rules, at: u64) -> bool {
        if self.state != State::Closed {
            return false;
        }

        let count = self.row.entry(kid).or_default();
        let counts = *count < limits::BREAKER_CALLS_PER_TERMINAL;
        *count += u64::from(counts);
        if rules.breaker_unanswered <= self.row.values().sum() && self.is_broad(rules, at) {
            self.row.clear();
            self.state = State::opened(rules, at);
        }
        counts
    }

    /// Whether the row is of half the terminals that were called within an hour, or of so many that
    /// each of its calls could be of another.
    fn is_broad(&self, rules: &Rules, now: u64) -> bool {
        let called = self.called.values().filter(|at| now < at.saturating_add(HOUR)).count();
        called <= self.row.len().saturating_mul(2)
            || rules.breaker_unanswered <= self.row.len() as u64
    }
}

impl State {
    fn opened(rules: &Rules, at: u64) -> Self {
        Self::Open { until: at.saturating_add(rules.breaker_seconds) }
    }

    fn wait(self, call: Call, rules: &Rules, now: u64) -> u64 {
        // A call that began before the breaker opened sends no more signals.
        let afresh = if call.signal == 1 { 0 } else { rules.breaker_seconds.max(1) };
        match self {
            Self::Closed => 0,
            Self::Open { until } if now < until => until - now,
            Self::Open { .. } | Self::HalfOpen { .. } if call == Call::PROBE => 0,
            Self::Open { .. } | Self::HalfOpen { trial: None } => afresh,
            Self::HalfOpen { trial: Some((id, _)) } if id == call.id => 0,
            Self::HalfOpen { trial: Some((_, until)) } if now < until => until - now,
            Self::HalfOpen { trial: Some(_) } => afresh,
        }
    }

    fn charged(&mut self, call: Call, rules: &Rules, at: u64) {
        match self {
            Self::Closed => {}
            Self::Open { .. } | Self::HalfOpen { .. } if call == Call::PROBE => {}
            Self::HalfOpen { trial: Some((id, _)) } if *id == call.id => {}
            Self::Open { .. } | Self::HalfOpen { .. } => {
                let until = at.saturating_add(rules.breaker_seconds.max(1));
                *self = Self::HalfOpen { trial: Some((call.id, until)) };
            }
        }
    }

    /// If this call was its trial, another may be.
    fn tried(&mut self, call: u64) {
        if let Self::HalfOpen { trial } = self {
            *trial = trial.filter(|(id, _)| *id != call);
        }
    }

    fn resume(&mut self) {
        if let Self::HalfOpen { trial: Some((id, _)) } = self {
            *id = LONG_AGO;
        }
    }

    fn report(self, unanswered: u64, now: u64) -> BreakerIs {
        match self {
            Self::Closed => BreakerIs::Closed { unanswered },
            Self::Open { until } if now < until => BreakerIs::Open { seconds: until - now },
            Self::Open { .. } | Self::HalfOpen { .. } => BreakerIs::HalfOpen,
        }
    }

    fn record(self, whose: Option<TenantName>) -> Option<Record> {
        match self {
            Self::Closed => None,
            Self::Open { until } => Some(Record::Opened { whose, until }),
            Self::HalfOpen { trial } => {
                let (call, until) = trial.unwrap_or((LONG_AGO, 0));
                Some(Record::HalfOpened { whose, call, until })
            }
        }
    }
}
