//! The public proxy's purse: nothing paid leaves before it is charged and written down.
//!
//! When the disk takes no record, nothing is rung: an unwritten ring would be free after a crash.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ringback_proto::access_request::Kid;
use ringback_proto::budget::{Budgets, Charge, Denial, Notice, Rules, SteadyClock};
use ringback_proto::switchboard::CallEnd;
use ringback_proto::terminal::TenantName;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock;
use crate::journal::{self, Journal};

/// The budgets and their journal.
#[derive(Debug)]
pub(super) struct Purse {
    budgets: Budgets,
    journal: Journal,
    clock: SteadyClock,
    /// Whether the operator has heard that the clock is not believed.
    told_of_clock: bool,
}

/// Proof that a signal was charged, durably. Only the purse makes one, and no bearer gets a signal
/// without it.
#[derive(Debug)]
pub(super) struct Paid(());

/// Why a signal was not charged, and so must not leave.
#[derive(Debug, Error)]
pub(super) enum Unpaid {
    /// A budget is used up.
    #[error("a budget is used up: {0:?}")]
    Denied(Denial),
    /// The journal cannot be written.
    #[error("RB-STATE: what a ring costs cannot be written down")]
    Unwritten(#[source] io::Error),
}

impl Purse {
    /// Takes up what earlier lives have spent; what is handed back must be synced.
    pub(super) fn open(
        folder: &Path,
        rules: Rules,
    ) -> io::Result<(Self, watch::Receiver<Arc<File>>)> {
        let path = folder.join(journal::FILE);
        let replay = journal::read(&path)?;
        if replay.torn {
            warn!("RB-STATE: the last record of budgets was cut short, and is not believed");
        }
        if 0 < replay.damaged {
            let damaged = replay.damaged;
            error!(damaged, "RB-STATE: records of budgets are damaged: what they spent is lost");
        }
        let mut budgets = Budgets::new(rules);
        replay.records.iter().for_each(|it| budgets.enter(it));
        budgets.resume();
        let unix_seconds = clock::unix_seconds();
        let (journal, written) = Journal::begin(path, &budgets.records(unix_seconds))?;
        let clock = SteadyClock::new(unix_seconds, clock::now());
        Ok((Self { budgets, journal, clock, told_of_clock: false }, written))
    }

    /// Goes on by other rules.
    pub(super) fn follow(&mut self, rules: Rules) {
        self.budgets.follow(rules);
    }

    /// Charges one signal, in all its budgets or in none.
    pub(super) fn pay(&mut self, charge: &Charge) -> Result<Paid, Unpaid> {
        let now = self.now();
        let asked = self.budgets.ask(charge, now);
        let record = asked.map_err(Unpaid::Denied)?;
        self.journal.append(&record).map_err(Unpaid::Unwritten)?;
        self.budgets.enter(&record);
        Ok(Paid(()))
    }

    /// Learns how a call has ended.
    pub(super) fn ended(&mut self, call: u64, kid: Kid, how: CallEnd) {
        let now = self.now();
        let record = self.budgets.ended(call, kid, how, now);
        if let Err(fault) = self.journal.append(&record) {
            error!(%fault, "RB-STATE: how a call has ended is forgotten with this process");
        }
        self.budgets.enter(&record);
        self.tell();
    }

    /// Keeps the journal short and the operator informed; to be called when nobody waits.
    pub(super) fn look_after(&mut self) {
        self.tell();
        if !self.journal.is_long() {
            return;
        }
        let now = self.now();
        let records = self.budgets.records(now);
        if let Err(fault) = self.journal.compact(&records) {
            error!(%fault, "RB-STATE: the journal of budgets cannot be written anew");
        }
    }

    /// The time that budgets go by.
    fn now(&mut self) -> u64 {
        let unix_seconds = clock::unix_seconds();
        let believed = self.clock.believe(unix_seconds, clock::now());
        if believed < unix_seconds && !self.told_of_clock {
            self.told_of_clock = true;
            warn!(
                ahead = unix_seconds - believed,
                "the clock was set forward: budgets go by the time that has passed; if the clock is \
                 right now, restart"
            );
        }
        believed
    }

    fn tell(&mut self) {
        let now = self.now();
        for notice in self.budgets.notices(now) {
            match notice {
                Notice::BreakerOpened { whose } => {
                    let tenant = whose.as_ref().map_or("(all)", TenantName::as_str);
                    error!(tenant, "RB-BREAKER: nobody answers, so nobody is rung");
                }
                Notice::BreakerClosed { whose } => {
                    let tenant = whose.as_ref().map_or("(all)", TenantName::as_str);
                    info!(tenant, "a call was answered: rings leave again");
                }
                Notice::FewAnswered { answered, called } => {
                    warn!(
                        answered,
                        called, "RB-ALARM: most calls of the last hour went unanswered"
                    );
                }
                Notice::EnoughAnswered => info!("enough calls are answered again"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ringback_proto::budget::Money;
    use ringback_proto::gate::Source;
    use ringback_proto::switchboard::Call;

    use super::*;

    fn charge() -> Charge {
        Charge {
            kid: Kid(7),
            source: Source::of([192, 0, 2, 7].into()),
            tenant: TenantName::default(),
            price: Money::from_micros(45_000),
            call: Call { id: 1, signal: 1 },
        }
    }

    fn paid(folder: &Path) -> usize {
        let replay = journal::read(&folder.join(journal::FILE)).unwrap();
        let mut budgets = Budgets::new(Rules::none());
        replay.records.iter().for_each(|it| budgets.enter(it));
        let report = budgets.report(clock::unix_seconds());
        report.tenants.values().map(|[rings, _]| rings.used as usize).sum()
    }

    #[test]
    fn what_was_paid_is_written_down_before_anybody_has_the_right_to_send() {
        let folder = tempfile::tempdir().unwrap();
        for life in 1..=3 {
            let rules = Rules { source_per_hour: 3, ..Rules::none() };
            let (mut purse, _written) = Purse::open(folder.path(), rules).unwrap();
            let Paid(()) = purse.pay(&charge()).unwrap();
            assert_eq!(paid(folder.path()), life);
        }
        let rules = Rules { source_per_hour: 3, ..Rules::none() };
        let (mut purse, _written) = Purse::open(folder.path(), rules).unwrap();
        assert!(matches!(purse.pay(&charge()), Err(Unpaid::Denied(_))));
    }

    #[test]
    fn a_full_disk_rings_nobody_and_spends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let rules = Rules { source_per_hour: 1, ..Rules::none() };
        let (mut purse, _written) = Purse::open(folder.path(), rules).unwrap();
        let good = purse.journal.fills_up();
        for _ in 0..3 {
            assert!(matches!(purse.pay(&charge()), Err(Unpaid::Unwritten(_))));
        }
        purse.journal.has_room_again(good);
        purse.pay(&charge()).unwrap();
        assert_eq!(paid(folder.path()), 1);
    }

    #[test]
    fn a_clock_that_is_set_a_day_ahead_frees_no_budget_while_the_process_lives() {
        let folder = tempfile::tempdir().unwrap();
        let rules = Rules { source_per_hour: 1, ..Rules::none() };
        let (mut purse, _written) = Purse::open(folder.path(), rules).unwrap();
        let a_day_ago = clock::unix_seconds() - 86_400;
        purse.clock = SteadyClock::new(a_day_ago, clock::now());
        assert!(purse.now() <= a_day_ago + 120);
        assert!(purse.told_of_clock);
    }
}
