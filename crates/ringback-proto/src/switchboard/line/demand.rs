//! How many clients a terminal has had at once of late: what its standbys go by.
//!
//! A page's six connections come again with its next view. The peak is forgotten by one client each
//! [`limits::DEMAND_EBB`], so that a terminal is left alone after a rush. Rings nobody.

use std::time::Instant;

use crate::limits;

/// A peak, and when it was last reached.
#[derive(Debug, Default)]
pub(super) struct Demand {
    peak: Option<(usize, Instant)>,
}

impl Demand {
    /// Takes in how many clients there are.
    pub(super) fn note(&mut self, clients: usize, now: Instant) {
        if self.level(now) <= clients {
            self.peak = Some((clients, now)).filter(|_| 0 < clients);
        }
    }

    /// How many clients are to be expected.
    pub(super) fn level(&self, now: Instant) -> usize {
        let Some((peak, at)) = self.peak else { return 0 };
        peak.saturating_sub(ebbs(at, now))
    }

    /// When one less will be.
    pub(super) fn ebbs_at(&self, now: Instant) -> Option<Instant> {
        let (peak, at) = self.peak?;
        let next = ebbs(at, now) + 1;
        let steps = u32::try_from(next).ok().filter(|_| next <= peak)?;
        Some(at + limits::DEMAND_EBB * steps)
    }
}

fn ebbs(at: Instant, now: Instant) -> usize {
    let steps = now.saturating_duration_since(at).as_secs() / limits::DEMAND_EBB.as_secs();
    usize::try_from(steps).unwrap_or(usize::MAX)
}
