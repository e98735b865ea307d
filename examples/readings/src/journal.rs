//! The readings in the phone's memory, oldest first. Nothing is written to disk.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits;
use crate::reading::Reading;

/// What the journal starts with: days ago, hour, minute, tenths of mmol/L, note. Invented, nobody's.
const INVENTED: [(u64, u64, u64, u16, &str); 13] = [
    (4, 7, 10, 62, "before breakfast"),
    (4, 9, 20, 94, "two hours after breakfast"),
    (4, 12, 5, 71, ""),
    (4, 16, 45, 118, "birthday cake"),
    (4, 22, 30, 74, "bedtime"),
    (3, 7, 5, 58, "before breakfast"),
    (3, 14, 40, 83, "two hours after lunch"),
    (3, 18, 25, 36, "after a long walk; took juice"),
    (3, 18, 55, 66, "better"),
    (2, 7, 15, 60, "before breakfast"),
    (2, 22, 10, 79, "bedtime"),
    (1, 13, 50, 91, "two hours after lunch"),
    (1, 22, 20, 69, "bedtime"),
];

/// The readings, as many as are kept.
#[derive(Debug)]
pub(crate) struct Journal {
    readings: VecDeque<Reading>,
}

impl Journal {
    /// A journal with four days of invented readings.
    pub(crate) fn invented(now: SystemTime) -> Self {
        let today = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / 86_400;
        let readings = INVENTED.map(|(days, hour, minute, tenths, note)| Reading {
            taken: today.saturating_sub(days) * 86_400 + hour * 3600 + minute * 60,
            tenths,
            note: note.to_owned(),
        });
        Self { readings: readings.into() }
    }

    /// Adds a reading; the oldest is lost when there are too many.
    pub(crate) fn add(&mut self, reading: Reading) {
        if self.readings.len() == limits::READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// The readings, oldest first.
    pub(crate) fn readings(&self) -> impl DoubleEndedIterator<Item = &Reading> + ExactSizeIterator {
        self.readings.iter()
    }
}

#[test]
fn a_full_journal_loses_its_oldest_reading() {
    let mut journal = Journal::invented(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    for taken in 0..limits::READINGS as u64 {
        journal.add(Reading { taken, tenths: 56, note: String::new() });
    }
    assert_eq!(journal.readings().len(), limits::READINGS);
    assert_eq!(journal.readings().next().map(|it| it.taken), Some(0));
}
