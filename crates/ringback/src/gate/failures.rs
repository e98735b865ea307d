//! Wrong credentials, by where they came from: whoever shows too many has to wait.
//!
//! Judges no credential. A source that shows none has failed nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringback_proto::gate::Source;

use crate::fading::Fading;
use crate::limits;

/// How often each source has failed of late.
#[derive(Debug)]
pub(super) struct Failures(Mutex<Fading<Source, u32>>);

impl Failures {
    /// Nobody has failed yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Fading::new(limits::FAILURES_WINDOW, limits::FAILING_SOURCES)))
    }

    /// How long the source has to wait, if it has failed too often.
    pub(super) fn wait(&self, source: Source, now: Instant) -> Option<Duration> {
        let mut table = self.table();
        let (end, failed) = table.find(&source, now)?;
        // Told in whole seconds, and never too few.
        let wait = Duration::from_secs(1 + end.duration_since(now).as_secs());
        (limits::FAILURES <= *failed).then_some(wait)
    }

    /// Whether the source has failed so often that nothing that it showed before counts.
    pub(super) fn is_notorious(&self, source: Source, now: Instant) -> bool {
        self.table().find(&source, now).is_some_and(|(_, it)| limits::FAILURES_OF_KNOWN <= *it)
    }

    /// Counts a failure; the first one opens the source's window.
    pub(super) fn count(&self, source: Source, now: Instant) {
        let mut table = self.table();
        match table.find(&source, now) {
            Some((_, failed)) => *failed = failed.saturating_add(1),
            None => drop(table.add(source, 1, now)),
        }
    }

    fn table(&self) -> MutexGuard<'_, Fading<Source, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_source_waits_after_its_last_failure_and_only_it_and_only_so_long() {
        let (failures, now) = (Failures::new(), clock::now());
        let (bad, good) = (Source::of([192, 0, 2, 7].into()), Source::of([192, 0, 2, 8].into()));
        for _ in 1..limits::FAILURES {
            failures.count(bad, now);
            assert_eq!(failures.wait(bad, now), None);
        }
        let later = now + Duration::from_secs(10);
        failures.count(bad, later);
        let left = failures.wait(bad, later).expect("a wait");
        assert_eq!(left, limits::FAILURES_WINDOW - Duration::from_secs(9));
        assert_eq!(failures.wait(good, later), None);
        assert_eq!(failures.wait(bad, now + limits::FAILURES_WINDOW), None);
    }
}
