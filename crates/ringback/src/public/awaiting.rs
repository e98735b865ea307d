//! Sessions that may be reached over IPsec: the daemon awaits each before its signal leaves.
//!
//! Decides nothing: what a signal may ask for is the service's own type, and what a dial-back is worth
//! is the switchboard's to say. Nothing is heard here but what comes from inside the session's own
//! association.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringback_proto::access_request::{Protocol, SessionKeys, Sid, TunnelType};
use ringback_proto::door::Errand;
use ringback_proto::hello::ToPrivate;
use ringback_proto::switchboard::{ClientId, Event, RingId, TunnelId};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::purse::Paid;
use super::tunnels::{self, Greeting};
use super::{Happening, House, Order, Role};
use crate::clock;
use crate::config::ListedTerminal;
use crate::ipsec::{Arrival, Awaited, Fault, Ipsec};
use crate::limits::{HELLO_PATIENCE, INNER_HELLOS, IPSEC_GRACE};

/// Told once the daemon awaits a session; dropped if it cannot.
pub(super) type Ready = oneshot::Receiver<()>;

/// A signal that waits for its session to be awaited, and for its client to send it.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) ring: RingId,
    pub(super) client: ClientId,
    pub(super) errand: Errand,
    pub(super) paid: Paid,
}

impl Role {
    /// What a signal asks for: all that its service allows, as far as there is a daemon for it.
    pub(super) fn asked(&self, through: TunnelType) -> TunnelType {
        if through != TunnelType::IpsecOrTls || self.has_ipsec() {
            return through;
        }
        warn!("RB-IPSEC: no IPsec; a signal asks for TLS instead, as its service allows");
        TunnelType::Tls
    }

    /// Whether there is a daemon now.
    pub(super) fn has_ipsec(&self) -> bool {
        self.house.ipsec.as_ref().is_some_and(Ipsec::is_up)
    }

    /// Has the daemon await a session, if it may be reached over IPsec. What is rung for a client is awaited
    /// until the switchboard says that nobody can answer it, anything else for as long as it is worth.
    pub(super) fn awaits(
        &mut self,
        (ring, for_client): (RingId, bool),
        through: TunnelType,
        (keys, listed): (&SessionKeys, &ListedTerminal),
        ttl_seconds: u16,
    ) -> Option<Ready> {
        if !through.permits(Protocol::Ipsec) {
            return None;
        }
        let (ready, told) = oneshot::channel();
        // Without a daemon the sender is dropped here, and nothing is sent.
        let ipsec = self.house.ipsec.clone()?;
        let over = CancellationToken::new();
        if for_client {
            self.awaited.insert(ring, over.clone().drop_guard());
        }
        let sid = keys.sid;
        let (house, keys, terminal) = (self.house.clone(), keys.clone(), listed.terminal.clone());
        let holder = (listed.key.kid, Some(terminal.tenant));
        let worth = Duration::from_secs(ttl_seconds.into()) + IPSEC_GRACE;
        self.house.tasks.spawn(async move {
            let awaited = ipsec.expect(&keys, &terminal.private_proxy, holder).await;
            drop(keys);
            match awaited {
                Ok(awaited) => {
                    let _ = ready.send(());
                    serve(house, (awaited, sid), worth, over).await;
                }
                Err(fault) if through.permits(Protocol::Tls) => {
                    warn!(%fault, "RB-IPSEC: a session is awaited over TLS only, as its service allows");
                    let _ = ready.send(());
                }
                Err(fault) => {
                    warn!(%fault, "RB-IPSEC: a session cannot be awaited, so nobody is rung");
                    // Full is no fault of the line: only whom the ring is for is refused.
                    let full = matches!(fault, Fault::Full);
                    let event = if full { Event::NoRoom { ring } } else { Event::NoTunnel { ring } };
                    let _ = house.happenings.send(Happening::Told(event)).await;
                }
            }
        });
        Some(told)
    }

    /// Has a tunnel say something, now or when the session is awaited; what it is ordered next waits for
    /// that.
    pub(super) fn say_when(&mut self, ready: Option<Ready>, tunnel: TunnelId, frame: &ToPrivate) {
        let mut ready = ready;
        self.frame(tunnel, frame, |octets| match ready.take() {
            Some(ready) => Order::SayWhen(ready, octets),
            None => Order::Say(octets),
        });
    }

    /// Hands a signal to its client, now or when the session is awaited.
    pub(super) fn send_when(&mut self, ready: Option<Ready>, sending: Sending) {
        let Some(ready) = ready else { return self.send(sending) };
        let happenings = self.house.happenings.clone();
        self.house.tasks.spawn(async move {
            if ready.await.is_ok() {
                let _ = happenings.send(Happening::Ready(Box::new(sending))).await;
            }
        });
    }

    /// Hands a signal to its client.
    pub(super) fn send(&mut self, sending: Sending) {
        let Sending { ring, client, errand, paid } = sending;
        if let Err(fault) = self.hand_out(client, errand, &paid) {
            debug!(fault = %format!("{fault:#}"), "a client does not send its signal");
            let event = Event::RingFailed { ring, permanent: true, retry_after: None };
            self.switchboard.handle_event(event, clock::now());
        }
    }
}

/// Awaits a session's dial-back for as long as its signal is worth it, then serves it to its end.
async fn serve(
    house: Arc<House>,
    (awaited, sid): (Awaited, Sid),
    worth: Duration,
    over: CancellationToken,
) {
    let greeted = tokio::select! {
        greeted = timeout(worth, greet(&awaited, sid)) => greeted.ok().flatten(),
        () = awaited.gone() => None,
        () = over.cancelled() => None,
        () = house.stop.cancelled() => None,
    };
    // From here on the tunnel alone keeps the association.
    drop(awaited);
    let Some(greeting) = greeted else { return debug!("no dial-back over IPsec") };
    tunnels::admit(house, greeting).await;
}

/// The first whole hello from inside the association that is for its own session. Nobody has that session's
/// token who has not opened the signal: whatever else is said there, or is not said, holds nobody up.
async fn greet(awaited: &Awaited, sid: Sid) -> Option<Greeting> {
    let mut hearing = JoinSet::new();
    let mut heard: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let greeting = tokio::select! {
            arrival = awaited.accept() => {
                let arrival = match arrival {
                    Ok(arrival) => arrival,
                    Err(fault) => {
                        warn!(%fault, "RB-IPSEC: a session is awaited no more");
                        return None;
                    }
                };
                heard.retain(|it| !it.is_finished());
                if INNER_HELLOS <= heard.len()
                    && let Some(oldest) = heard.pop_front()
                {
                    oldest.abort();
                }
                heard.push_back(hearing.spawn(timeout(HELLO_PATIENCE, hear(arrival))));
                continue;
            }
            Some(greeting) = hearing.join_next() => greeting,
        };
        // The oldest was told to stop.
        let Ok(greeting) = greeting else { continue };
        match greeting {
            Ok(Some(greeting)) if greeting.sid() == sid => return Some(greeting),
            Ok(Some(_)) => debug!("no tunnel: a hello for another session"),
            Ok(None) => {}
            Err(_) => debug!("no tunnel: no whole hello in time"),
        }
    }
}

/// The hello that is said on one connection.
async fn hear(arrival: Arrival) -> Option<Greeting> {
    let tunnel = match arrival.enter().await {
        Ok(tunnel) => tunnel,
        Err(fault) => {
            debug!(%fault, "no tunnel");
            return None;
        }
    };
    let heard = Greeting::hear(tunnel.into()).await;
    heard.inspect_err(|fault| debug!(%fault, "no tunnel")).ok()
}
