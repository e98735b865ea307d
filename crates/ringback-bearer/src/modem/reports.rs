//! Who wants to know what became of a message that the network has taken.
//!
//! A modem counts its messages to 255 and starts over: the newest message has the number.

use std::collections::BTreeMap;

use ringback_proto::modem::tpdu::{Outcome, StatusReport};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{Delivery, Failure, tell};

/// The stories that wait for a report.
#[derive(Debug, Default)]
pub(super) struct Reports {
    stories: BTreeMap<u8, (String, mpsc::Sender<Delivery>)>,
}

impl Reports {
    pub(super) fn insert(&mut self, reference: u8, number: String, story: mpsc::Sender<Delivery>) {
        self.stories.insert(reference, (number, story));
    }

    pub(super) fn tell(&mut self, report: &StatusReport) {
        let step = match report.outcome() {
            Outcome::Open => return,
            Outcome::Delivered => Delivery::Delivered,
            Outcome::Undelivered => Delivery::Failed(Failure::Undelivered),
        };
        debug!(reference = report.reference, status = report.status, "report");
        // A late one may be about another message that had the number before a modem's reset.
        let about = |(number, _): &(String, _)| is_same(number, report.recipient.text());
        if !self.stories.get(&report.reference).is_some_and(about) {
            return;
        }
        let Some((_, story)) = self.stories.remove(&report.reference) else { return };
        tell(&story, step);
    }
}

/// Digits that two numbers must at least have in common to be taken for the same.
const COMMON_DIGITS: usize = 6;

/// Whether two numbers may be the same, one of them written as at home.
fn is_same(one: &str, other: &str) -> bool {
    let one = one.trim_start_matches(['+', '0']);
    let other = other.trim_start_matches(['+', '0']);
    one == other
        || COMMON_DIGITS <= one.len().min(other.len())
            && (one.ends_with(other) || other.ends_with(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_at_home_and_abroad() {
        assert!(is_same("+447711223344", "447711223344"));
        assert!(is_same("+447711223344", "07711223344"));
        assert!(!is_same("+447711223344", "447711223345"));
        assert!(!is_same("+447711223344", ""));
        assert!(!is_same("+447711223344", "044"));
        assert!(is_same("7700", "7700"));
    }
}
