//! How long to leave a server alone that could not be used: longer each time, and never in step
//! with others.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::limits::MAIL_PAUSE;

#[derive(Clone, Copy)]
pub(super) struct Pause {
    next: Duration,
    until: Instant,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { next: MAIL_PAUSE.0, until: Instant::now() }
    }

    /// Waits until the server may be tried again. Cancel safe.
    pub(super) async fn over(&self) {
        sleep_until(self.until).await;
    }

    /// Notes that it could be used.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }

    /// Notes that it could not. Who was refused by name waits as long as can be: accounts get locked.
    pub(super) fn lengthen(&mut self, refused: bool) {
        if refused {
            self.next = MAIL_PAUSE.1;
        }
        // A hasher's seed is random enough to keep servers from being met by all at once.
        let chance = RandomState::new().hash_one(0) % 256;
        let jitter = self.next / 4 * u32::try_from(chance).unwrap_or(0) / 256;
        self.until = Instant::now() + self.next - jitter;
        self.next = (self.next * 2).min(MAIL_PAUSE.1);
    }
}
