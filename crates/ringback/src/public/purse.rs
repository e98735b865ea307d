//! The public proxy's purse: nothing paid leaves before it is charged and written down.
//!
//! When the disk takes no record, nothing is rung: an unwritten ring would be free after a crash.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ringback_proto::access_request::Kid;
use ringback_proto::budget::{Budgets, Charge, Denial, Notice, Rules};
use ringback_proto::switchboard::CallEnd;
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
        let (journal, written) = Journal::begin(path, &budgets.records(clock::unix_seconds()))?;
        Ok((Self { budgets, journal }, written))
    }

    /// Goes on by other rules.
    pub(super) fn follow(&mut self, rules: Rules) {
        self.budgets.follow(rules);
    }

    /// Charges one signal, in all its budgets or in none.
    pub(super) fn pay(&mut self, charge: &Charge) -> Result<Paid, Unpaid> {
        let asked = self.budgets.ask(charge, clock::unix_seconds());
        let record = asked.map_err(Unpaid::Denied)?;
        self.journal.append(&record).map_err(Unpaid::Unwritten)?;
        self.budgets.enter(&record);
        Ok(Paid(()))
    }

    /// Learns how a call has ended.
    pub(super) fn ended(&mut self, call: u64, kid: Kid, how: CallEnd) {
        let record = self.budgets.ended(call, kid, how, clock::unix_seconds());
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
        let records = self.budgets.records(clock::unix_seconds());
        if let Err(fault) = self.journal.compact(&records) {
            error!(%fault, "RB-STATE: the journal of budgets cannot be written anew");
        }
    }

    fn tell(&mut self) {
        for notice in self.budgets.notices(clock::unix_seconds()) {
            match notice {
                Notice::BreakerOpened => error!("RB-BREAKER: nobody answers, so nobody is rung"),
                Notice::BreakerClosed => info!("a call was answered: rings leave again"),
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
    use ringback_proto::terminal::TenantName;

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
}
