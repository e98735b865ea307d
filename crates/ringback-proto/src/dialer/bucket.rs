//! A token bucket, kept as the moment at which it will be full again.
//!
//! Bounds a rate in one number and draws no timer: a bucket that nobody asks costs nothing.

use std::time::{Duration, Instant};

/// How many tokens a bucket holds, and how long an empty one takes to fill.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Tokens in a full bucket.
    pub tokens: u32,
    /// How long an empty one takes to be full.
    pub per: Duration,
}

/// Full at first.
#[derive(Debug, Default)]
pub(super) struct Bucket(Option<Instant>);

impl Bucket {
    /// Whether a token is left.
    pub(super) fn has(&self, rate: Rate, now: Instant) -> bool {
        self.after(rate, now).is_some()
    }

    /// Takes one token out, if one is left.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let Some(full_at) = self.after(rate, now) else { return false };
        self.0 = Some(full_at);
        true
    }

    /// When it would be full again if one were taken; none if none is left.
    fn after(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let token = rate.per / rate.tokens;
        let full_at = self.0.map_or(now, |it| it.max(now)) + token;
        (full_at - now <= token * rate.tokens).then_some(full_at)
    }
}
