//! What is spent of each budget, for whoever asks; changes nothing.

use std::collections::BTreeMap;

use crate::access_request::Kid;
use crate::gate::Source;
use crate::terminal::TenantName;

use super::{Budgets, DAY, HOUR, History, few_answered};

/// The state of all budgets at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of each tenant that has a budget or has spent: signals and millionths of money in a day.
    pub tenants: BTreeMap<TenantName, [Used; 2]>,
    /// Of each terminal that was rung: calls in five minutes, an hour, a day.
    pub terminals: BTreeMap<Kid, [Used; 3]>,
    /// Of each source that has caused calls: how many in an hour.
    pub sources: BTreeMap<Source, Used>,
    /// Everybody's breaker.
    pub breaker: BreakerIs,
    /// Each tenant's, as far as it was called.
    pub tenant_breakers: BTreeMap<TenantName, BreakerIs>,
    /// Calls that have ended within the last hour.
    pub called: u64,
    /// How many of these were answered.
    pub answered: u64,
    /// Whether that is too few.
    pub few_answered: bool,
}

/// What is spent of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// So much.
    pub used: u64,
    /// Of so much; 0 for no limit.
    pub limit: u64,
    /// After so many seconds one more fits.
    pub wait: u64,
}

/// How the breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerIs {
    /// Calls are made.
    Closed {
        /// How many in a row were not answered, as far as they count.
        unanswered: u64,
    },
    /// No call is made for so many seconds.
    Open {
        /// How many.
        seconds: u64,
    },
    /// One call is made at a time.
    HalfOpen,
}

impl Used {
    /// Whether more than half of a limit is spent.
    pub fn is_over_half(&self) -> bool {
        0 < self.limit && self.limit < self.used.saturating_mul(2)
    }
}

impl Budgets {
    /// What is spent at a unix time.
    pub fn report(&mut self, unix_seconds: u64) -> Report {
        let now = self.clock.at(unix_seconds);
        self.forget(now);
        let empty = History::default();
        let names = self.rules.tenants.keys().chain(self.tenants.keys());
        let tenants = names.map(|name| {
            let (rules, history) =
                (self.rules.tenant(name), self.tenants.get(name).unwrap_or(&empty));
            let (rings, money) = history.within(now, DAY);
            let (most, most_money) = (rules.rings_per_day, rules.money_per_day.micros());
            let wait = history.wait_for_ring(now, DAY, most);
            let wait_money = history.wait_for_money(now, DAY, 1, most_money);
            let rings = Used { used: rings, limit: most, wait };
            (*name, [rings, Used { used: money, limit: most_money, wait: wait_money }])
        });
        let used = |history: &History, span, limit| Used {
            used: history.within(now, span).0,
            limit,
            wait: history.wait(now, span, limit),
        };
        let limits = self.rules.terminal();
        let terminals = self
            .terminals
            .iter()
            .map(|(kid, history)| (*kid, limits.map(|(span, limit)| used(history, span, limit))));
        let most = self.rules.source_per_hour;
        let sources = self.sources.iter().map(|(source, it)| (*source, used(it, HOUR, most)));
        let (called, answered) = self.calls.within(now, HOUR);
        let (breaker, tenant_breakers) = self.breakers.report(now);
        Report {
            tenants: tenants.collect(),
            terminals: terminals.collect(),
            sources: sources.collect(),
            breaker,
            tenant_breakers,
            called,
            answered,
            few_answered: few_answered(called, answered),
        }
    }
}
