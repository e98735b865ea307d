//! What may be opened in vain of one key id, by one way.
//!
//! Beyond a reserve of its own a key id shares what the machine affords with all others: who fails
//! much keeps out nobody who fails seldom.

use std::time::Instant;

use crate::limits;

use super::Over;
use super::bucket::{Bucket, Rate};

/// What all key ids share, each way by itself.
#[derive(Debug, Default)]
pub(super) struct Common {
    by_bearer: Bucket,
    by_tunnel: Bucket,
}

/// What one key id has, each way by itself.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_bearer: Share,
    by_tunnel: Share,
}

#[derive(Debug, Default)]
struct Share {
    own: Bucket,
    reserve: Bucket,
}

impl Shares {
    /// Whether one more may be opened.
    pub(super) fn afford(&self, over: Over, common: &Common, now: Instant) -> bool {
        let (own, all) = rates(over);
        let (share, common) = match over {
            Over::Bearer => (&self.by_bearer, &common.by_bearer),
            Over::Tunnel { .. } => (&self.by_tunnel, &common.by_tunnel),
        };
        let reserved = share.reserve.has(limits::OPENED_IN_VAIN_RESERVE, now);
        share.own.has(own, now) && (reserved || common.has(all, now))
    }

    /// Counts one that was opened in vain.
    pub(super) fn spend(&mut self, over: Over, common: &mut Common, now: Instant) {
        let (own, all) = rates(over);
        let (share, common) = match over {
            Over::Bearer => (&mut self.by_bearer, &mut common.by_bearer),
            Over::Tunnel { .. } => (&mut self.by_tunnel, &mut common.by_tunnel),
        };
        share.own.take(own, now);
        share.reserve.take(limits::OPENED_IN_VAIN_RESERVE, now);
        common.take(all, now);
    }
}

/// Of one key id, and of all.
fn rates(over: Over) -> (Rate, Rate) {
    match over {
        Over::Bearer => (limits::OPENED_IN_VAIN_PER_KID, limits::OPENED_IN_VAIN),
        Over::Tunnel { .. } => {
            (limits::OPENED_IN_VAIN_BY_TUNNEL_PER_KID, limits::OPENED_IN_VAIN_BY_TUNNEL)
        }
    }
}
