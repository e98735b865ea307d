//! What rings may cost: nested budgets of terminals, sources and tenants, and breakers of tenants and of all.
//!
//! Pure. Time is wall time in unix seconds, since budgets outlive the process. A signal by a paid
//! route is asked for ([`Budgets::ask`]), which yields a [`Record`] or a [`Denial`]; the record is
//! made durable by the shell and only then entered ([`Budgets::enter`]). What was entered before a
//! crash is entered again from the records and leads to the same budgets. Nothing here ever frees
//! what a clock that jumps back has not lived through.

mod breaker;
mod history;
mod money;
mod record;
mod report;
mod steady;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access_request::Kid;
use crate::gate::Source;
use crate::limits;
use crate::refusal::Budget;
use crate::switchboard::{Call, CallEnd};
use crate::terminal::TenantName;

use breaker::Breakers;
use history::History;

pub use history::Entry;
pub use money::{Money, NoMoney};
pub use record::{Damaged, Record, Whose};
pub use report::{BreakerIs, Report, Used};
pub use steady::SteadyClock;

/// Five minutes, the shortest window.
const FIVE_MINUTES: u64 = 300;
/// An hour.
const HOUR: u64 = 3_600;
/// A day, the longest window: what is older is forgotten.
const DAY: u64 = 86_400;

/// How much is allowed; 0 stands for no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Calls of one terminal in five minutes.
    pub terminal_per_5_minutes: u64,
    /// Calls of one terminal in an hour.
    pub terminal_per_hour: u64,
    /// Calls of one terminal in a day.
    pub terminal_per_day: u64,
    /// Calls caused from one source in an hour.
    pub source_per_hour: u64,
    /// Unanswered calls in a row that stop the rings of a tenant, or of three tenants those of all.
    pub breaker_unanswered: u64,
    /// How long nobody is rung then, in seconds.
    pub breaker_seconds: u64,
    /// What a tenant may spend that is not among the others.
    pub tenant: TenantRules,
    /// What each tenant may spend.
    pub tenants: BTreeMap<TenantName, TenantRules>,
}

/// What one tenant may spend in a day; 0 stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// Signals.
    pub rings_per_day: u64,
    /// Money.
    pub money_per_day: Money,
}

/// One signal that is to leave by a paid route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whose terminal is rung.
    pub kid: Kid,
    /// Whose client causes it.
    pub source: Source,
    /// Who pays.
    pub tenant: TenantName,
    /// What its route costs.
    pub price: Money,
    /// Which call it belongs to.
    pub call: Call,
}

/// Why a signal may not leave, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The budget it would overdraw.
    pub budget: Budget,
    /// When it would not.
    pub wait: Duration,
}

/// What the operator of the public proxy must hear, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Too many calls in a row went unanswered: nobody is rung for a while.
    BreakerOpened {
        /// For a tenant, or for everybody.
        whose: Option<TenantName>,
    },
    /// A call was answered again.
    BreakerClosed {
        /// As of [`Notice::BreakerOpened`].
        whose: Option<TenantName>,
    },
    /// Less than half of the last hour's calls were answered: the mark of a pumping attack.
    FewAnswered {
        /// How many were answered.
        answered: u64,
        /// Of how many.
        called: u64,
    },
    /// Half of them or more are answered again.
    EnoughAnswered,
}

/// Everything that was spent within the last day, and what may yet be.
#[derive(Debug)]
pub struct Budgets {
    rules: Rules,
    clock: Clock,
    terminals: BTreeMap<Kid, History>,
    sources: BTreeMap<Source, History>,
    /// Before then no remembered source can be forgotten.
    sources_full_until: u64,
    tenants: BTreeMap<TenantName, History>,
    /// Calls that have ended; what a history has for money are the answered ones.
    calls: History,
    breakers: Breakers,
    told: Told,
}

/// What the operator has heard.
#[derive(Debug, Default)]
struct Told {
    breakers: BTreeSet<Option<TenantName>>,
    few_answered: bool,
}

/// Wall time that never goes back: as much as it jumps back it runs ahead from then on, so that
/// what was spent stays spent for as long as it would have, and no longer.
#[derive(Debug, Default)]
struct Clock {
    ahead: u64,
    latest: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            terminal_per_5_minutes: 3,
            terminal_per_hour: 30,
            terminal_per_day: 100,
            source_per_hour: 10,
            breaker_unanswered: 12,
            breaker_seconds: 60,
            tenant: TenantRules {
                rings_per_day: limits::TENANT_RINGS_PER_DAY,
                money_per_day: Money::default(),
            },
            tenants: BTreeMap::new(),
        }
    }
}

impl Rules {
    /// No limit on anything.
    pub fn none() -> Self {
        Self {
            terminal_per_5_minutes: 0,
            terminal_per_hour: 0,
            terminal_per_day: 0,
            source_per_hour: 0,
            breaker_unanswered: 0,
            breaker_seconds: 0,
            tenant: TenantRules::default(),
            tenants: BTreeMap::new(),
        }
    }

    fn terminal(&self) -> [(u64, u64); 3] {
        [
            (FIVE_MINUTES, self.terminal_per_5_minutes),
            (HOUR, self.terminal_per_hour),
            (DAY, self.terminal_per_day),
        ]
    }

    fn tenant(&self, tenant: &TenantName) -> TenantRules {
        self.tenants.get(tenant).copied().unwrap_or(self.tenant)
    }
}

impl Budgets {
    /// Budgets of which nothing is spent.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            clock: Clock::default(),
            terminals: BTreeMap::new(),
            sources: BTreeMap::new(),
            sources_full_until: 0,
            tenants: BTreeMap::new(),
            calls: History::default(),
            breakers: Breakers::default(),
            told: Told::default(),
        }
    }

    /// Goes on by other rules; what was spent stays spent.
    pub fn follow(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Begins a new life of the process: calls are numbered afresh, and the old ones never end.
    pub fn resume(&mut self) {
        self.breakers.resume();
    }

    /// Asks for one signal: all budgets agree, or the one that stands against it longest is told.
    ///
    /// Nothing is spent before the record is entered.
    pub fn ask(&mut self, charge: &Charge, unix_seconds: u64) -> Result<Record, Denial> {
        let now = self.clock.at(unix_seconds);
        let mut waits = vec![(
            Budget::Breaker,
            self.breakers.wait(charge.tenant, charge.call, &self.rules, now),
        )];
        waits.extend(self.tenant_waits(charge, now));
        if begins_call(charge.call) {
            waits.push((Budget::Terminal, self.terminal_wait(charge.kid, now)));
            waits.push((Budget::Client, self.source_wait(charge.source, now)));
        }
        let longest = waits.into_iter().filter(|(_, wait)| 0 < *wait).max_by_key(|(_, wait)| *wait);
        if let Some((budget, wait)) = longest {
            return Err(Denial { budget, wait: Duration::from_secs(wait) });
        }
        Ok(Record::Charged { at: now, charge: charge.clone() })
    }

    /// Tells how a call has ended, as a record to be entered.
    ///
    /// One that was abandoned after long enough counts as unanswered: whoever hangs up before its
    /// patience ends hides no dead terminal, and whoever hangs up at once makes none seem dead.
    pub fn ended(&mut self, call: u64, kid: Kid, how: CallEnd, unix_seconds: u64) -> Record {
        let at = self.clock.at(unix_seconds);
        let (tenant, called_at) = self.breakers.called(kid).unwrap_or((TenantName::default(), at));
        let long = limits::ABANDONED_COUNTS_AFTER.as_secs() <= at.saturating_sub(called_at);
        let how = if how == CallEnd::Abandoned && long { CallEnd::Unanswered } else { how };
        Record::Ended { at, call, kid, tenant, how }
    }

    /// Takes a record in: one that was just made, or one of an earlier life.
    pub fn enter(&mut self, record: &Record) {
        match record {
            Record::Ahead { seconds } => self.clock.ahead = *seconds,
            Record::Charged { at, charge } => {
                self.clock.has_been(*at);
                let one = Entry { at: *at, rings: 1, money: charge.price.micros() };
                self.tenants.entry(charge.tenant).or_default().add(one, DAY);
                if begins_call(charge.call) {
                    let one = Entry { money: 0, ..one };
                    self.terminals.entry(charge.kid).or_default().add(one, DAY);
                    self.sources.entry(charge.source).or_default().add(one, HOUR);
                }
                let whose = (charge.tenant, charge.kid);
                self.breakers.charged(whose, charge.call, &self.rules, *at);
            }
            Record::Ended { at, call, kid, tenant, how } => {
                self.clock.has_been(*at);
                let answered = u64::from(*how == CallEnd::Answered);
                self.calls.add(Entry { at: *at, rings: 1, money: answered }, HOUR);
                self.breakers.ended((*tenant, *kid), *call, *how, &self.rules, *at);
            }
            Record::Count { whose, entry } => {
                self.clock.has_been(entry.at);
                match whose {
                    Whose::Terminal(kid) => {
                        self.terminals.entry(*kid).or_default().add(*entry, DAY)
                    }
                    Whose::Source(source) => {
                        self.sources.entry(*source).or_default().add(*entry, HOUR);
                    }
                    Whose::Tenant(tenant) => {
                        self.tenants.entry(*tenant).or_default().add(*entry, DAY);
                    }
                    Whose::Calls => self.calls.add(*entry, HOUR),
                }
            }
            Record::Called { .. }
            | Record::Unanswered { .. }
            | Record::Row { .. }
            | Record::Opened { .. }
            | Record::HalfOpened { .. } => self.breakers.enter(record),
        }
    }

    /// Everything that is still worth remembering, as the records that lead to it.
    pub fn records(&mut self, unix_seconds: u64) -> Vec<Record> {
        let now = self.clock.at(unix_seconds);
        self.forget(now);
        let count = |whose: Whose| move |it: &Entry| Record::Count { whose, entry: *it };
        let mut records = vec![Record::Ahead { seconds: self.clock.ahead }];
        for (kid, history) in &self.terminals {
            records.extend(history.entries().map(count(Whose::Terminal(*kid))));
        }
        for (source, history) in &self.sources {
            records.extend(history.entries().map(count(Whose::Source(*source))));
        }
        for (tenant, history) in &self.tenants {
            records.extend(history.entries().map(count(Whose::Tenant(*tenant))));
        }
        records.extend(self.calls.entries().map(count(Whose::Calls)));
        records.extend(self.breakers.records());
        records
    }

    /// What the operator must hear now.
    pub fn notices(&mut self, unix_seconds: u64) -> Vec<Notice> {
        let now = self.clock.at(unix_seconds);
        let mut notices = Vec::new();
        let open: BTreeSet<_> = self.breakers.open().into_iter().collect();
        let told = std::mem::replace(&mut self.told.breakers, open.clone());
        notices.extend(open.difference(&told).map(|it| Notice::BreakerOpened { whose: *it }));
        notices.extend(told.difference(&open).map(|it| Notice::BreakerClosed { whose: *it }));
        let (called, answered) = self.calls.within(now, HOUR);
        let few = few_answered(called, answered);
        if few != self.told.few_answered {
            self.told.few_answered = few;
            let begins = Notice::FewAnswered { answered, called };
            notices.push(if few { begins } else { Notice::EnoughAnswered });
        }
        notices
    }

    fn tenant_waits(&self, charge: &Charge, now: u64) -> [(Budget, u64); 2] {
        let rules = self.rules.tenant(&charge.tenant);
        let Some(history) = self.tenants.get(&charge.tenant) else {
            let most = rules.money_per_day.micros();
            let never = 0 < most && most < charge.price.micros();
            return [(Budget::Tenant, 0), (Budget::Money, if never { DAY } else { 0 })];
        };
        let (price, most) = (charge.price.micros(), rules.money_per_day.micros());
        [
            (Budget::Tenant, history.wait_for_ring(now, DAY, rules.rings_per_day)),
            (Budget::Money, history.wait_for_money(now, DAY, price, most)),
        ]
    }

    fn terminal_wait(&self, kid: Kid, now: u64) -> u64 {
        let Some(history) = self.terminals.get(&kid) else { return 0 };
        let wait = |(span, most)| history.wait(now, span, most);
        self.rules.terminal().into_iter().map(wait).max().unwrap_or(0)
    }

    /// A source that is not remembered, while no more can be, counts as one that has spent all.
    fn source_wait(&mut self, source: Source, now: u64) -> u64 {
        let most = self.rules.source_per_hour;
        if let Some(history) = self.sources.get(&source) {
            return history.wait(now, HOUR, most);
        }

        if self.sources.len() < limits::BUDGET_SOURCES {
            return 0;
        }
        if now < self.sources_full_until {
            return self.sources_full_until - now;
        }
        self.sources.retain(|_, it| now < it.forgotten_at(HOUR));
        if self.sources.len() < limits::BUDGET_SOURCES {
            return 0;
        }
        let soonest = self.sources.values().map(|it| it.forgotten_at(HOUR)).min();
        self.sources_full_until = soonest.unwrap_or(now);
        self.sources_full_until.saturating_sub(now)
    }

    fn forget(&mut self, now: u64) {
        self.terminals.retain(|_, it| it.prune(now, DAY));
        self.sources.retain(|_, it| it.prune(now, HOUR));
        self.tenants.retain(|_, it| it.prune(now, DAY));
        self.calls.prune(now, HOUR);
        self.breakers.forget(now);
    }
}

impl Clock {
    /// The time that counts at a wall time.
    fn at(&mut self, unix_seconds: u64) -> u64 {
        let at = unix_seconds.saturating_add(self.ahead);
        self.ahead = self.ahead.saturating_add(self.latest.saturating_sub(at));
        self.latest = unix_seconds.saturating_add(self.ahead);
        self.latest
    }

    fn has_been(&mut self, at: u64) {
        self.latest = self.latest.max(at);
    }
}

/// Whether a signal counts for its terminal and its source: the first of each ladder's worth does.
fn begins_call(call: Call) -> bool {
    call.signal % limits::SIGNALS_PER_RING == 1
}

fn few_answered(called: u64, answered: u64) -> bool {
    limits::ALARM_CALLS <= called && answered.saturating_mul(2) < called
}
