//! What a line tells of its bearers and routes: which took, held or failed its signals, and which was
//! answered. What that means is for `switchboard/standings.rs` to say.

use std::time::Instant;

use super::{Calling, Ledger, Line};
use crate::switchboard::{BearerId, Over, Progress, RingId};

impl Line {
    /// Goes on by what a bearer tells of a ring. Only what was certainly not delivered is awaited no
    /// longer; should a dial-back come all the same, it is as good as any.
    pub(in crate::switchboard) fn ring_progressed(
        &mut self,
        ring: RingId,
        progress: Progress,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(rung) = self.rings.get_mut(&ring).filter(|it| it.outstanding) else { return };
        let Over::Route(route) = rung.over else { return };
        rung.outstanding = progress != Progress::Undelivered;
        let held = std::mem::take(&mut rung.held);
        if let Some(bearer) = self.bearer(route) {
            match progress {
                Progress::Submitted | Progress::Undelivered => {
                    let told = ledger.standings.taken(bearer);
                    ledger.tell([told]);
                }
                Progress::Delivered => {
                    let told = ledger.standings.reached((self.id.kid, route), bearer);
                    ledger.tell(told);
                }
                Progress::Unknown => {}
            }
        }
        let Calling::Routes(ladder) = &mut self.calling else { return };
        if held {
            ladder.taken(route, now);
        }
        if progress == Progress::Undelivered {
            ladder.undelivered(route, now);
            self.climb(now, ledger);
        }
    }

    /// Blames a route, and its bearer with it, for a call whose signals it certainly did not send.
    pub(super) fn route_failed(&self, route: usize, now: Instant, ledger: &mut Ledger) {
        let Some(bearer) = self.bearer(route) else { return };
        let told = ledger.standings.failed((self.id.kid, route), bearer, now);
        ledger.tell(told);
    }

    /// Blames the bearer of a route for a signal that it has kept for too long.
    pub(super) fn route_held(&self, route: usize, now: Instant, ledger: &mut Ledger) {
        let Some(bearer) = self.bearer(route) else { return };
        let told = ledger.standings.held(bearer, self.id.kid, now);
        ledger.tell([told]);
    }

    /// Praises the route that was answered, and blames those before it that were silent.
    pub(super) fn route_answered(
        &mut self,
        route: usize,
        held: bool,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(bearer) = self.bearer(route) else { return };
        let told = ledger.standings.reached((self.id.kid, route), bearer);
        ledger.tell(told);
        let Calling::Routes(ladder) = &mut self.calling else { return };
        if held {
            // Its bearer has yet to tell it, but has it no longer.
            ladder.taken(route, now);
        }
        for silent in ladder.outrun_by(route) {
            let told = ledger.standings.outrun(self.id.kid, *silent, now);
            ledger.tell([told]);
        }
    }

    fn bearer(&self, route: usize) -> Option<BearerId> {
        self.terminal.routes.get(route).map(|it| it.bearer)
    }
}
