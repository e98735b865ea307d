//! The rings of clients that have a bearer of their own: each signal is handed to its client, which
//! sends it.
//!
//! No route carries them, and the ladder knows nothing of them. They are counted with the calls of
//! their terminal and of their source all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits;
use crate::refusal::Refusal;

use super::{ClientId, Ledger, Line, Over, Rung};
use crate::switchboard::Call;

/// Which of its signals a client has been given, and when the next is due.
#[derive(Debug)]
pub(in crate::switchboard) struct OwnRings {
    given: usize,
    next_at: Option<Instant>,
}

impl OwnRings {
    /// The first signal is due.
    pub(in crate::switchboard) fn new(now: Instant) -> Self {
        Self { given: 0, next_at: Some(now) }
    }

    /// Counts the signal that is due; the next is due later than now.
    fn step(&mut self, now: Instant) -> usize {
        let latest =
            self.given.checked_sub(1).map_or(Duration::ZERO, |it| limits::SIGNAL_AGAIN[it]);
        let next = limits::SIGNAL_AGAIN.get(self.given);
        self.given += 1;
        self.next_at = next.map(|next| now + (*next - latest));
        self.given
    }
}

impl Line {
    /// Gives each client in the queue that rings by itself the signal that is due.
    pub(super) fn hand_out(&mut self, now: Instant, ledger: &mut Ledger) {
        self.forget_what_the_gone_were_given(ledger);
        let due: Vec<ClientId> =
            self.due_by_client().filter(|(_, due)| *due <= now).map(|(id, _)| id).collect();
        for id in due {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            let Some(own) = &mut client.own else { continue };
            let signal = own.step(now);
            let session = Some(client.session);
            let rung = Rung {
                over: Over::Client(id),
                service: client.service,
                client: None,
                admitted: Arc::clone(&client.admitted),
                keys: None,
                sent_at: now,
                until: client.give_up_at,
                held: false,
                outstanding: true,
            };
            self.ring(rung, session, (signal, Some(Call::by_client(signal))), now, ledger);
        }
    }

    /// When [`Self::hand_out`] is wanted.
    pub(super) fn hands_out_at(&self) -> Option<Instant> {
        self.due_by_client().map(|(_, due)| due).min()
    }

    /// A client cannot send a signal, or may not: what it was given before may still be answered.
    pub(super) fn own_ring_failed(&mut self, id: ClientId, refusal: Refusal, ledger: &mut Ledger) {
        let given = |it: &Rung| it.outstanding && it.over == Over::Client(id);
        if !self.rings.values().any(given) {
            return self.refuse(id, refusal, ledger);
        }
        let own = self.clients.get_mut(&id).and_then(|it| it.own.as_mut());
        own.into_iter().for_each(|it| it.next_at = None);
    }

    /// Nobody needs a signal while a dial-back that was rung over a tunnel may yet come.
    fn due_by_client(&self) -> impl Iterator<Item = (ClientId, Instant)> {
        let awaited = self.dial_back_worth_awaiting_until();
        self.queue.iter().filter_map(move |id| {
            let next_at = self.clients.get(id)?.own.as_ref()?.next_at?;
            Some((*id, awaited.map_or(next_at, |it| it.max(next_at))))
        })
    }

    /// What a client was given opens nothing once the client has gone or is served.
    fn forget_what_the_gone_were_given(&mut self, ledger: &mut Ledger) {
        let mut gone: Vec<ClientId> = Vec::new();
        for rung in self.rings.values() {
            if let Over::Client(id) = rung.over
                && !self.clients.contains_key(&id)
            {
                gone.push(id);
            }
        }
        self.forget_rings(ledger, |over| matches!(over, Over::Client(id) if gone.contains(&id)));
    }
}
