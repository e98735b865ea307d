//! A ring's story: charged, sealed, handed to what carries it, and followed as far as that can tell.
//!
//! Whether and when to ring is the switchboard's to say. Only a failure that is certain is told to
//! it, and what a bearer tells of its progress. Neither answers a ring: a dial-back does, and nothing
//! else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ringback_bearer::{Body, Delivery, Failure, Message};
use ringback_proto::access_request::{
    AccessRequest, Kid, Purpose, SessionKeys, Signal, TunnelType, seal,
};
use ringback_proto::budget::{Charge, Denial};
use ringback_proto::door::{Errand, Reply};
use ringback_proto::gate::Admitted;
use ringback_proto::hello::{SessionId, ToPrivate};
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::{BearerId, Call, ClientId, Event, Over, Progress, RingId, Way};
use ringback_proto::terminal::{Callee, ServiceId};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::awaiting::{Ready, Sending};
use super::purse::{Paid, Unpaid};
use super::{Happening, Role, Verdict, trying};
use crate::config::{ListedTerminal, Route};
use crate::control::Said;
use crate::{clock, keys, telemetry};

/// One signal that the switchboard wants sent.
pub(super) struct Wanted {
    pub(super) ring: RingId,
    pub(super) service: ServiceId,
    pub(super) through: TunnelType,
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
        let holder = (kid, Some(terminal.terminal.tenant));
        let full = self.house.ipsec.as_ref().is_some_and(|it| !it.has_room_for(holder));
        if full && wanted.through == TunnelType::Ipsec {
            // Nothing that could leave is paid for.
            self.switchboard.handle_event(Event::NoRoom { ring: wanted.ring }, clock::now());
            return Ok(());
        }
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
        let named = match wanted.over {
            Over::Route(place) => &terminal.routes.get(place).context("no such route")?.named,
            Over::Tunnel { .. } => terminal.callees.first(),
            Over::Client(client) => &self.errand_of(client)?.clone(),
        };
        let ttl_seconds = wanted.ttl_seconds;
        let through = self.asked(wanted.through);
        let access = (Purpose::Access, wanted.service, ttl_seconds);
        let (signal, session_keys) = self.seal(&terminal, named, access, through)?;
        let id = session_keys.sid.signal_id();
        let whose = (&session_keys, &*terminal);
        let ready = self.awaits((wanted.ring, true), through, whose, ttl_seconds);
        let event = Event::Sealed { ring: wanted.ring, keys: session_keys };
        self.switchboard.handle_event(event, clock::now());
        let over = match wanted.over {
            Over::Route(place) => {
                let route = terminal.routes.get(place).context("no such route")?;
                let paid = paid.context("an unpaid ring")?;
                self.transmit(route, &signal, (wanted.ring, ttl_seconds), &paid, ready, None)?;
                route.bearer.as_str()
            }
            Over::Tunnel { tunnel, spare } => {
                let octets = signal.octets().to_vec();
                let frame = if spare { ToPrivate::Spare(octets) } else { ToPrivate::Ring(octets) };
                self.say_when(ready, tunnel, &frame);
                "standby"
            }
            Over::Client(client) => {
                let paid = paid.context("an uncounted ring")?;
                let valid_for = Duration::from_secs(ttl_seconds.into());
                let errand = Errand { to: named.clone(), valid_for, signal };
                let sending = Sending { ring: wanted.ring, client, errand, paid };
                self.send_when(ready, sending);
                "client"
            }
        };
        telemetry::rang(wanted.session, id, over, wanted.attempt);
        Ok(())
    }

    /// Charges a signal by a route, and counts one that its client sends; one over a tunnel is free.
    fn pay(&mut self, terminal: &ListedTerminal, wanted: &Wanted) -> Result<Option<Paid>, Unpaid> {
        let Some(call) = wanted.call else { return Ok(None) };
        let route = match wanted.over {
            Over::Route(place) => terminal.routes.get(place),
            Over::Client(_) => None,
            Over::Tunnel { .. } => return Ok(None),
        };
        let charge = Charge {
            kid: terminal.key.kid,
            source: wanted.admitted.source(),
            tenant: terminal.terminal.tenant,
            price: route.map(|it| it.price).unwrap_or_default(),
            call,
        };
        self.purse.pay(&charge).map(Some)
    }

    pub(super) fn seal(
        &mut self,
        terminal: &ListedTerminal,
        named: &Callee,
        (purpose, service, ttl_seconds): (Purpose, ServiceId, u16),
        tunnel: TunnelType,
    ) -> anyhow::Result<(Signal, SessionKeys)> {
        let unix_seconds = clock::unix_seconds();
        let request = AccessRequest {
            purpose,
            tunnel,
            seq: self.sequences.next(terminal.key.kid, unix_seconds)?,
            issued: u32::try_from(unix_seconds).context("the clock is wrong")?,
            ttl_seconds,
            service,
            public_proxy: terminal.announce,
            callee: named.clone(),
            key: Secret::new(keys::random()?),
        };
        Ok(seal(&request, &terminal.key, keys::random()?)?)
    }

    /// Whom a client rings by itself.
    fn errand_of(&self, client: ClientId) -> anyhow::Result<&Callee> {
        let held = self.clients.get(&client).context("the client has gone")?;
        held.rings.as_ref().context("a client that does not ring by itself")
    }

    /// Hands a signal that is counted to the client that sends it by itself. Whoever does not take
    /// them leaves room for its own fate.
    pub(super) fn hand_out(
        &self,
        client: ClientId,
        errand: Errand,
        _paid: &Paid,
    ) -> anyhow::Result<()> {
        let held = self.clients.get(&client).context("the client has gone")?;
        if held.verdicts.capacity() <= 1 {
            anyhow::bail!("the client does not take its signals");
        }
        Ok(held.verdicts.try_send(Box::new(Verdict::Ring(Reply::Ring(errand).encode())))?)
    }

    /// Hands a signal that is paid to a route's bearer; a task reports if it will not have it,
    /// and tells whoever wants to know how it fares.
    pub(super) fn transmit(
        &mut self,
        route: &Route,
        signal: &Signal,
        (ring, ttl_seconds): (RingId, u16),
        _paid: &Paid,
        mut ready: Option<Ready>,
        told: Option<mpsc::Sender<Said>>,
    ) -> anyhow::Result<()> {
        let transmitter = self.transmitters.get(&route.bearer).context("no such bearer")?.clone();
        let body = if route.binary {
            Body::Binary(signal.octets().to_vec())
        } else {
            Body::Text(signal.to_text())
        };
        let valid_for = Duration::from_secs(ttl_seconds.into());
        let to = route.to.clone();
        let mut message = Some(Message { to, body, valid_for });
        let mut submission = None;
        let story = async move || {
            if let Some(message) = message.take() {
                // Nobody is rung whose session is not awaited.
                if let Some(ready) = ready.take() {
                    ready.await.ok()?;
                }
                submission = Some(transmitter.ring(message));
            }
            let step = submission.as_mut()?.next().await;
            if let (Some(told), Some(step)) = (&told, &step) {
                trying::tell_delivery(told, step);
            }
            step
        };
        let (withdraw, withdrawn) = oneshot::channel();
        self.ringing.insert(ring, withdraw);
        let happenings = self.house.happenings.clone();
        self.house.tasks.spawn(follow(ring, story, withdrawn, happenings));
        Ok(())
    }

    /// Tells the operator that a bearer, or one terminal's route, is rung last for a while.
    pub(super) fn sank(&self, way: Way) {
        match way {
            Way::Bearer(bearer) => warn!(
                bearer = self.name_of(bearer),
                "RB-BEARER: it has failed call after call, so routes by other bearers are rung first; \
                 `ringback doctor` may tell what it lacks"
            ),
            Way::Route(kid, route) => {
                info!(%kid, route = route + 1, "a route has failed call after call, and is rung last");
            }
        }
    }

    /// Tells the operator that it works again.
    pub(super) fn rose(&self, way: Way) {
        match way {
            Way::Bearer(bearer) => info!(bearer = self.name_of(bearer), "the bearer works again"),
            Way::Route(kid, route) => info!(%kid, route = route + 1, "the route works again"),
        }
    }

    /// A bearer's name; its number is its place among the names.
    fn name_of(&self, BearerId(place): BearerId) -> &str {
        self.transmitters.keys().nth(place).map_or("?", String::as_str)
    }
}

/// Follows a signal until its bearer has nothing more to tell or it is withdrawn, and tells the role
/// either way. The story is held that long, and dropping it takes the signal back: from the bearer's
/// queue, or from the operator that has it already.
pub(super) async fn follow(
    ring: RingId,
    story: impl AsyncFnMut() -> Option<Delivery>,
    withdrawn: oneshot::Receiver<()>,
    happenings: mpsc::Sender<Happening>,
) {
    let ended = tokio::select! {
        failure = failed(ring, story, &happenings) => failure,
        _ = withdrawn => None,
    };
    let event = ended.map(|failure| Event::RingFailed {
        ring,
        // What is down has been waited for long enough: others have their turn at once.
        permanent: failure.is_permanent() || failure == Failure::Down,
        retry_after: failure.retry_after(),
    });
    let _ = happenings.send(Happening::RingEnded { ring, event }).await;
}

/// Tells the role each step of a signal, up to the one by which it was certainly not sent.
async fn failed(
    ring: RingId,
    mut story: impl AsyncFnMut() -> Option<Delivery>,
    happenings: &mpsc::Sender<Happening>,
) -> Option<Failure> {
    while let Some(delivery) = story().await {
        match progress(delivery) {
            Ok(progress) => {
                let event = Event::RingProgressed { ring, progress };
                let _ = happenings.send(Happening::Told(event)).await;
            }
            Err(failure) => {
                warn!(%failure, "RB-BEARER: a signal was not sent");
                return Some(failure);
            }
        }
    }
    None
}

/// How far a signal has come, or why it was certainly not sent. One that was sent and not delivered
/// was sent all the same, and is paid.
fn progress(delivery: Delivery) -> Result<Progress, Failure> {
    debug!(?delivery);
    match delivery {
        Delivery::Submitted { message_id: _ } => Ok(Progress::Submitted),
        Delivery::Delivered => Ok(Progress::Delivered),
        Delivery::Unknown => Ok(Progress::Unknown),
        Delivery::Failed(Failure::Undelivered | Failure::Unreachable) => Ok(Progress::Undelivered),
        Delivery::Failed(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn submitted() -> Delivery {
        Delivery::Submitted { message_id: "7".to_owned() }
    }

    #[test]
    fn a_signal_that_was_sent_and_not_delivered_has_not_failed() {
        let undelivered = Delivery::Failed(Failure::Undelivered);
        assert_eq!(progress(undelivered), Ok(Progress::Undelivered));
        assert_eq!(progress(Delivery::Failed(Failure::Full)), Err(Failure::Full));
    }

    #[tokio::test]
    async fn a_cancel_reaches_the_bearer_of_a_submitted_signal_and_not_before() {
        let (bearer, mut told) = mpsc::channel(4);
        let (withdraw, withdrawn) = oneshot::channel();
        let (happenings, mut happened) = mpsc::channel(4);
        let story = async move || told.recv().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(RingId(1), story, withdrawn, happenings));

        for (step, is) in
            [(submitted(), Progress::Submitted), (Delivery::Delivered, Progress::Delivered)]
        {
            bearer.send(step).await.expect("somebody listens");
            let Some(Happening::Told(Event::RingProgressed { progress, .. })) =
                happened.recv().await
            else {
                panic!("{is:?} is not told");
            };
            assert_eq!(progress, is);
            assert!(!bearer.is_closed(), "the signal is not taken back");
        }
        drop(withdraw);
        bearer.closed().await;
        let ended = happened.recv().await;
        assert!(matches!(ended, Some(Happening::RingEnded { event: None, .. })), "{ended:?}");
        tasks.join_all().await;
    }

    #[tokio::test]
    async fn a_signal_that_failed_is_told_as_such_and_followed_no_longer() {
        let (bearer, mut told) = mpsc::channel(4);
        let (_withdraw, withdrawn) = oneshot::channel();
        let (happenings, mut happened) = mpsc::channel(4);
        bearer.send(Delivery::Failed(Failure::Full)).await.expect("somebody listens");
        follow(RingId(1), async move || told.recv().await, withdrawn, happenings).await;
        let Some(Happening::RingEnded { event: Some(Event::RingFailed { permanent, .. }), .. }) =
            happened.recv().await
        else {
            panic!("the failure is not told");
        };
        assert!(!permanent && bearer.is_closed());
    }
}
