//! A wall clock that is believed only as far as time has passed.
//!
//! Somebody who sets the machine's clock a day ahead must not free every budget. What the clock says
//! when the process begins is believed; going back is judged elsewhere, by what was spent.

use std::time::Instant;

use crate::limits;

/// The wall clock at one moment, and by the steady clock when that was.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    unix_seconds: u64,
    since: Instant,
}

impl SteadyClock {
    /// Believes a wall clock.
    pub fn new(unix_seconds: u64, now: Instant) -> Self {
        Self { unix_seconds, since: now }
    }

    /// What the wall clock says, or the latest that can be true.
    pub fn believe(&self, unix_seconds: u64, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since).as_secs();
        let latest = self.unix_seconds.saturating_add(passed);
        unix_seconds.min(latest.saturating_add(limits::CLOCK_SLACK_SECONDS))
    }
}
