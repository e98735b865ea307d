//! How fast one bind may submit: a bucket that a throttled submission halves.
//!
//! Nothing here knows a message; it says when the next one may go.

use std::time::{Duration, Instant};

use crate::limits::SMPP_PAUSE;

/// Submissions that may go at once after a quiet time.
const BURST: u32 = 10;
/// Shells wait in milliseconds: a bucket smaller than a few of them would run dry between two.
const TICKS: Duration = Duration::from_millis(5);
/// However often a message center throttles, one submission a second is tried.
const SLOWEST: Duration = Duration::from_secs(1);

/// The bucket of one bind, kept as the time that one submission takes out of it.
#[derive(Debug)]
pub(super) struct Pace {
    full: Duration,
    spacing: Duration,
    used_until: Instant,
    paused_until: Instant,
    pause: Duration,
}

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let full = SLOWEST / per_second.max(1);
        Self { full, spacing: full, used_until: now, paused_until: now, pause: SMPP_PAUSE.0 }
    }

    /// When the next submission may go.
    pub(super) fn ready_at(&self) -> Instant {
        let free_at = self.used_until.checked_sub(TICKS.max(self.spacing * BURST));
        free_at.unwrap_or(self.used_until).max(self.paused_until)
    }

    /// Submissions in a second: now, and as agreed.
    pub(super) fn per_second(&self) -> (u32, u32) {
        let rate = |spacing: Duration| (1.0 / spacing.as_secs_f64()).round() as u32;
        (rate(self.spacing), rate(self.full))
    }

    pub(super) fn submitted(&mut self, now: Instant) {
        self.used_until = self.used_until.max(now) + self.spacing;
    }

    /// Halves the bucket and pauses, once for all that was in flight together.
    pub(super) fn throttled(&mut self, now: Instant) {
        if now < self.paused_until {
            return;
        }
        self.spacing = SLOWEST.min(self.spacing * 2);
        self.paused_until = now + self.pause;
        self.pause = SMPP_PAUSE.1.min(self.pause * 2);
    }

    /// Grows back a little.
    pub(super) fn accepted(&mut self) {
        self.pause = SMPP_PAUSE.0;
        self.spacing = self.full.max(self.spacing - self.spacing / 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> (Pace, Instant) {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let now = Instant::now();
        (Pace::new(10, now), now)
    }

    fn rate(pace: &mut Pace, mut now: Instant) -> u32 {
        let (mut count, end) = (0, now + Duration::from_secs(100));
        while now < end {
            now = now.max(pace.ready_at());
            pace.submitted(now);
            count += 1;
        }
        count / 100
    }

    #[test]
    fn a_throttled_bind_submits_half_as_fast() {
        let (mut untouched, now) = pace();
        assert_eq!(rate(&mut untouched, now), 10);
        let (mut pace, now) = pace();
        pace.throttled(now);
        pace.throttled(now); // was in flight with the first
        assert_eq!(pace.ready_at(), now + Duration::from_secs(1));
        assert_eq!(rate(&mut pace, now), 5);
    }

    #[test]
    fn the_pause_doubles_up_to_thirty_seconds_until_one_is_accepted() {
        let (mut pace, mut now) = pace();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            pace.throttled(now);
            assert_eq!(pace.ready_at() - now, Duration::from_secs(seconds));
            now = pace.ready_at();
        }
        pace.accepted();
        pace.throttled(now);
        assert_eq!(pace.ready_at() - now, Duration::from_secs(1));
    }

    #[test]
    fn a_halved_bucket_grows_back_slowly_and_no_further_than_full() {
        let (mut pace, now) = pace();
        pace.throttled(now);
        for _ in 0..20 {
            pace.accepted();
        }
        assert!(pace.full < pace.spacing);
        for _ in 0..100 {
            pace.accepted();
        }
        assert_eq!(pace.spacing, pace.full);
    }
}
