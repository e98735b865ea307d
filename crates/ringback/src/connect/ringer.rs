//! The client's own bearer: sends the signals that the public proxy hands out, and says what became
//! of them.
//!
//! It cannot read what it sends. It sends so many signals for a session and no more, whatever the
//! public proxy says.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use ringback_bearer::{
    Bearer, Body, Delivery, Failure, Health, Message, Submission, Transmitter, Verdict,
};
use ringback_proto::door::Errand;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Fault;
use super::call::nonsense;
use crate::config::OnlyTo;
use crate::limits::OWN_SIGNALS;

/// A bearer that runs for as long as the client does.
#[derive(Clone, Debug)]
pub(super) struct Ringer {
    kind: String,
    transmitter: Transmitter,
    health: Health,
    only_to: OnlyTo,
}

/// The signals of one session. Dropping it takes back those that were not sent yet.
#[derive(Debug)]
pub(super) struct Outbox {
    ringer: Ringer,
    submissions: Vec<Submission>,
    handed: usize,
    sent: bool,
    looked: bool,
}

impl Ringer {
    /// Starts the bearer; it works until `ended`, and its tasks belong to `tasks`.
    pub(super) fn start(
        kind: &str,
        (bearer, only_to): (Bearer, OnlyTo),
        tasks: &TaskTracker,
        ended: CancellationToken,
    ) -> Self {
        // What comes to the client's own number or mailbox is not for us, and is left where it is.
        let (transmitter, _, health) = bearer.start(tasks, ended);
        Self { kind: kind.to_owned(), transmitter, health, only_to }
    }

    pub(super) fn outbox(&self) -> Outbox {
        Outbox {
            ringer: self.clone(),
            submissions: Vec::new(),
            handed: 0,
            sent: false,
            looked: false,
        }
    }
}

impl Outbox {
    /// What the bearer is.
    pub(super) fn kind(&self) -> &str {
        &self.ringer.kind
    }

    pub(super) fn has_sent(&self) -> bool {
        self.sent
    }

    /// Takes a signal on, if there were not too many and it is for somebody who may be rung.
    pub(super) fn send(&mut self, errand: Errand) -> Result<(), Fault> {
        self.handed += 1;
        if OWN_SIGNALS < self.handed {
            return Err(nonsense());
        }
        let Errand { to, valid_for, signal } = errand;
        if !self.ringer.only_to.allows(&to) {
            let cause = "the public proxy names somebody whom `only_to` does not allow".to_owned();
            return Err(Fault::NotRung { cause, permanent: true });
        }
        let message = Message { to, body: Body::Text(signal.to_text()), valid_for };
        self.submissions.push(self.ringer.transmitter.ring(message));
        Ok(())
    }

    /// Waits until a signal was sent; fails once none was and none can be. Cancel safe.
    pub(super) async fn sent(&mut self) -> Result<(), Fault> {
        loop {
            let waits = !self.submissions.is_empty() && !self.sent && !self.looked;
            let (place, step) = tokio::select! {
                biased;
                step = step(&mut self.submissions) => step,
                () = self.ringer.health.settled(), if waits => {
                    self.looked = true;
                    self.is_able()?;
                    continue;
                }
            };
            match step {
                Some(Delivery::Submitted { .. } | Delivery::Unknown) => {
                    self.sent = true;
                    return Ok(());
                }
                // Telemetry: the answer is a dial-back, and further signals follow anyway.
                Some(Delivery::Delivered | Delivery::Failed(Failure::Undelivered)) => {}
                Some(Delivery::Failed(failure)) => {
                    drop(self.submissions.swap_remove(place));
                    if !self.sent && self.submissions.is_empty() {
                        let permanent = failure.is_permanent();
                        return Err(Fault::NotRung { cause: failure.to_string(), permanent });
                    }
                }
                None => drop(self.submissions.swap_remove(place)),
            }
        }
    }

    /// A bearer that knows that it cannot work is not waited for.
    fn is_able(&self) -> Result<(), Fault> {
        let findings = self.ringer.health.findings();
        match findings.into_iter().find(|it| it.verdict == Verdict::Bad) {
            Some(it) => {
                Err(Fault::NotRung { cause: format!("{}: {}", it.what, it.text), permanent: false })
            }
            None => Ok(()),
        }
    }
}

/// The next step of any of the stories; for ever if there is none.
async fn step(submissions: &mut [Submission]) -> (usize, Option<Delivery>) {
    poll_fn(|cx| {
        for (place, it) in submissions.iter_mut().enumerate() {
            if let Poll::Ready(step) = pin!(it.next()).poll(cx) {
                return Poll::Ready((place, step));
            }
        }
        Poll::Pending
    })
    .await
}
