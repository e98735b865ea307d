//! A ring's story: charged, sealed, handed to what carries it, and followed as far as that can tell.
//!
//! Whether and when to ring is the switchboard's to say. Only a failure that is certain is told to
//! it. A delivery receipt is telemetry: the answer to a ring is a dial-back, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ringback_bearer::{Body, Delivery, Failure, Message, Submission};
use ringback_proto::access_request::{
    AccessRequest, Kid, Purpose, SessionKeys, Signal, TunnelType, seal,
};
use ringback_proto::budget::{Charge, Denial};
use ringback_proto::gate::Admitted;
use ringback_proto::hello::{SessionId, ToPrivate};
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::{Call, Event, Over, RingId};
use ringback_proto::terminal::{Callee, ServiceId};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::purse::{Paid, Unpaid};
use super::{Happening, Role};
use crate::config::{ListedTerminal, Route};
use crate::{clock, keys, telemetry};

/// One signal that the switchboard wants sent.
pub(super) struct Wanted {
    pub(super) ring: RingId,
    pub(super) service: ServiceId,
    pub(super) over: Over,
    pub(super) session: Option<SessionId>,
    pub(super) attempt: usize,
    /// What it is paid with; none over a tunnel.
    pub(super) call: Option<Call>,
    pub(super) ttl_seconds: u16,
    /// Holding it is the right to ring.
    pub(super) admitted: Arc<Admitted>,
}

impl Role {
    /// Seals a signal, lets the switchboard know its keys, and only then lets its octets leave.
    pub(super) fn ring(&mut self, kid: Kid, wanted: &Wanted) -> anyhow::Result<()> {
        let terminal = self.by_kid.get(&kid).context("no such key in the directory")?.clone();
        let paid = match self.pay(&terminal, wanted) {
            Ok(paid) => paid,
            Err(Unpaid::Denied(Denial { budget, wait })) => {
                debug!(?budget, wait_seconds = wait.as_secs(), "not rung: a budget is used up");
                let event = Event::RingDenied { ring: wanted.ring, budget, wait };
                self.switchboard.handle_event(event, clock::now());
                return Ok(());
            }
            Err(fault @ Unpaid::Unwritten(_)) => return Err(fault.into()),
        };
        let (service, ttl_seconds) = (wanted.service, wanted.ttl_seconds);
        let (signal, session_keys) = self.seal(&terminal, Purpose::Access, service, ttl_seconds)?;
        let id = session_keys.sid.signal_id();
        let event = Event::Sealed { ring: wanted.ring, keys: session_keys };
        self.switchboard.handle_event(event, clock::now());
        let over = match wanted.over {
            Over::Route(place) => {
                let route = terminal.routes.get(place).context("no such route")?;
                let paid = paid.context("an unpaid ring")?;
                self.transmit(route, &signal, (wanted.ring, ttl_seconds), &paid)?;
                route.bearer.as_str()
            }
            Over::Tunnel { tunnel, spare } => {
                let octets = signal.octets().to_vec();
                let frame = if spare { ToPrivate::Spare(octets) } else { ToPrivate::Ring(octets) };
                self.say(tunnel, &frame);
                "standby"
            }
        };
        telemetry::rang(wanted.session, id, over, wanted.attempt);
        Ok(())
    }

    /// Charges a signal by a route; one over a tunnel costs nothing.
    fn pay(&mut self, terminal: &ListedTerminal, wanted: &Wanted) -> Result<Option<Paid>, Unpaid> {
        let (Over::Route(place), Some(call)) = (wanted.over, wanted.call) else { return Ok(None) };
        let charge = Charge {
            kid: terminal.key.kid,
            source: wanted.admitted.source(),
            tenant: terminal.terminal.tenant,
            price: terminal.routes.get(place).map(|it| it.price).unwrap_or_default(),
            call,
        };
        self.purse.pay(&charge).map(Some)
    }

    pub(super) fn seal(
        &mut self,
        terminal: &ListedTerminal,
        purpose: Purpose,
        service: ServiceId,
        ttl_seconds: u16,
    ) -> anyhow::Result<(Signal, SessionKeys)> {
        let unix_seconds = clock::unix_seconds();
        let request = AccessRequest {
            purpose,
            tunnel: TunnelType::Tls,
            seq: self.sequences.next(terminal.key.kid, unix_seconds)?,
            issued: u32::try_from(unix_seconds).context("the clock is wrong")?,
            ttl_seconds,
            service,
            public_proxy: terminal.announce,
            callee: terminal.callee.clone(),
            key: Secret::new(keys::random()?),
        };
        Ok(seal(&request, &terminal.key, keys::random()?)?)
    }

    /// Hands a signal that is paid to a route's bearer; a task reports if it will not have it.
    pub(super) fn transmit(
        &mut self,
        route: &Route,
        signal: &Signal,
        (ring, ttl_seconds): (RingId, u16),
        _paid: &Paid,
    ) -> anyhow::Result<()> {
        let transmitter = self.transmitters.get(&route.bearer).context("no such bearer")?;
        let body = if route.binary {
            Body::Binary(signal.octets().to_vec())
        } else {
            Body::Text(signal.to_text())
        };
        let valid_for = Duration::from_secs(ttl_seconds.into());
        let to = Callee::Number(route.to.clone());
        let submission = transmitter.ring(Message { to, body, valid_for });
        let (withdraw, withdrawn) = oneshot::channel();
        self.ringing.insert(ring, withdraw);
        let happenings = self.house.happenings.clone();
        self.house.tasks.spawn(follow(ring, submission, withdrawn, happenings));
        Ok(())
    }
}

/// Follows a submission until it ends or is withdrawn, and tells the role either way.
pub(super) async fn follow(
    ring: RingId,
    mut submission: Submission,
    withdrawn: oneshot::Receiver<()>,
    happenings: mpsc::Sender<Happening>,
) {
    let ended = tokio::select! {
        failure = failed(&mut submission) => failure,
        _ = withdrawn => None,
    };
    // Dropping the submission takes the signal back if it is still queued.
    drop(submission);
    let event = ended.map(|failure| Event::RingFailed {
        ring,
        permanent: failure.is_permanent() || failure.leaves_it_to_others(),
        retry_after: failure.retry_after(),
    });
    let _ = happenings.send(Happening::RingEnded { ring, event }).await;
}

async fn failed(submission: &mut Submission) -> Option<Failure> {
    while let Some(delivery) = submission.next().await {
        if let Some(failure) = not_sent(delivery) {
            warn!(%failure, "RB-BEARER: a signal was not sent");
            return Some(failure);
        }
    }
    None
}

/// Why a signal was certainly not sent, if that is what the bearer tells. One that was sent and
/// not delivered counts as sent: its like would fare no better, and the ladder rings again anyway.
fn not_sent(delivery: Delivery) -> Option<Failure> {
    match delivery {
        Delivery::Submitted { message_id } => debug!(message_id, "submitted"),
        Delivery::Delivered => debug!("delivered"),
        Delivery::Unknown => debug!("submitted, perhaps"),
        Delivery::Failed(Failure::Undelivered) => debug!("not delivered"),
        Delivery::Failed(failure) => return Some(failure),
    }
    None
}

#[test]
fn a_signal_that_was_sent_and_not_delivered_has_not_failed() {
    assert_eq!(not_sent(Delivery::Failed(Failure::Undelivered)), None);
    assert_eq!(not_sent(Delivery::Failed(Failure::Full)), Some(Failure::Full));
}
