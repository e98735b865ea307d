//! Trials: one ring by one route, which the operator asks for to see where the route leads.
//!
//! Charged like any signal, and bounded by itself. No client is near it: the tunnel that it brings is
//! closed, and what its private proxy says of the service is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringback_bearer::{Delivery, Failure};
use ringback_proto::access_request::{Kid, Purpose, TunnelType};
use ringback_proto::hello::Outcome;
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::{Event, RingId};
use ringback_proto::terminal::{ServiceId, TerminalName};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::Role;
use super::proving::Signaled;
use super::purse::Unpaid;
use crate::clock;
use crate::config::ListedTerminal;
use crate::control::server::Wish;
use crate::control::{Failed, Owner, Said};
use crate::limits::TRIALS_PER_HOUR;

const HOUR: Duration = Duration::from_secs(3600);

/// The trials that are under way, one a terminal at most, and when the last ones rang.
#[derive(Debug, Default)]
pub(super) struct Trials {
    under_way: BTreeMap<Kid, Trial>,
    rang: VecDeque<Instant>,
}

/// Whose route is tried, which, for what.
type Begun = (Arc<ListedTerminal>, usize, (ServiceId, TunnelType));

#[derive(Debug)]
struct Trial {
    /// Holding it is the right to ring.
    owner: Option<Owner>,
    told: mpsc::Sender<Said>,
    rang: Option<Instant>,
}

impl Trials {
    /// How long no trial may ring.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let is_over = |it: &Instant| HOUR <= now.saturating_duration_since(*it);
        while self.rang.front().is_some_and(is_over) {
            self.rang.pop_front();
        }
        let oldest = self.rang.front().filter(|_| TRIALS_PER_HOUR <= self.rang.len());
        oldest.map(|it| HOUR.saturating_sub(now.saturating_duration_since(*it)))
    }
}

impl Role {
    /// Has a route tried, or tells why not.
    pub(super) fn wish(&mut self, wish: Wish) {
        let Wish { terminal, route, service, owner, told } = wish;
        let begun = self.begin_trial(&terminal, route.as_deref(), service.map(ServiceId));
        let (terminal, route, (service, through)) = match begun {
            Ok(begun) => begun,
            Err(failed) => {
                info!(code = failed.code, "a route was not tried");
                return tell(&told, failed);
            }
        };
        let trial = Trial { owner: Some(owner), told, rang: None };
        self.trials.under_way.insert(terminal.key.kid, trial);
        let terminal = terminal.terminal.clone();
        self.switchboard
            .handle_event(Event::Try { terminal, route, service, through }, clock::now());
    }

    fn begin_trial(
        &mut self,
        name: &str,
        route: Option<&str>,
        service: Option<ServiceId>,
    ) -> Result<Begun, Failed> {
        let directory = self.house.directory();
        let name = TerminalName::parse(name).map_err(|_| Refusal::Unknown)?;
        let terminal = directory.find(&name).ok_or_else(|| directory.missing(&name))?;
        let route = route_of(terminal, route)?;
        let mut listed = terminal.services.iter();
        let listed = listed.find(|it| service.is_none_or(|wanted| it.id == wanted));
        let listed = listed.ok_or(Refusal::NoService)?;
        let service = (listed.id, listed.tunnel);
        if listed.tunnel == TunnelType::Ipsec && !self.has_ipsec() {
            return Err(Refusal::NoTunnel.into());
        }
        let kid = terminal.key.kid;
        if self.trials.under_way.contains_key(&kid) || self.changing.is_proving(kid) {
            let title = "The terminal is being rung for a trial already.";
            return Err(too_often(title, terminal.terminal.answer_patience));
        }
        if let Some(wait) = self.trials.wait(clock::now()) {
            let title = format!("Routes were tried {TRIALS_PER_HOUR} times in an hour.");
            return Err(too_often(&title, wait));
        }
        Ok((terminal.clone(), route, service))
    }

    /// Seals a signal and sends it by the route that is tried.
    pub(super) fn try_route(
        &mut self,
        ring: RingId,
        kid: Kid,
        (place, service, through): (usize, ServiceId, TunnelType),
        ttl_seconds: u16,
    ) {
        let through = self.asked(through);
        let Some(trial) = self.trials.under_way.get_mut(&kid) else { return };
        let Some(_owner) = trial.owner.take() else { return };
        let told = trial.told.clone();
        let signaled = Signaled { ring, kid, place, ttl_seconds, told: Some(told.clone()) };
        if let Err(fault) = self.signal(signaled, Purpose::Access, (service, through)) {
            let failed = match fault.downcast_ref() {
                Some(Unpaid::Denied(it)) => Refusal::Overspent(it.budget, it.wait).into(),
                Some(Unpaid::Unwritten(_)) | None => {
                    error!(%kid, fault = %format!("{fault:#}"), "RB-RING: cannot ring");
                    Failed { detail: format!("{fault:#}"), ..Refusal::Unringable.into() }
                }
            };
            tell(&told, failed);
            let event = Event::RingFailed { ring, permanent: true, retry_after: None };
            return self.switchboard.handle_event(event, clock::now());
        }
        let now = clock::now();
        if let Some(trial) = self.trials.under_way.get_mut(&kid) {
            trial.rang = Some(now);
        }
        self.trials.rang.push_back(now);
        info!(%kid, place = place + 1, "a terminal is rung to try a route");
    }

    /// Tells what has come of a trial.
    pub(super) fn tried(&mut self, kid: Kid, outcome: Option<Outcome>) {
        let Some(Trial { told, rang, .. }) = self.trials.under_way.remove(&kid) else { return };
        // Who was not even rung has heard why.
        let Some(rang) = rang else { return };
        let after = clock::now().saturating_duration_since(rang);
        info!(%kid, ?outcome, seconds = after.as_secs_f64(), "a route was tried");
        let Some(outcome) = outcome else { return tell(&told, Failed::from(Refusal::NoAnswer)) };
        tell(&told, Said::Answered { seconds: after.as_secs_f64() });
        match (Refusal::of(outcome), outcome) {
            (Some(refusal), _) => tell(&told, Failed::from(refusal)),
            (None, Outcome::NotTried) => tell(&told, Said::Guarded),
            (None, _) => tell(&told, Said::Reachable),
        }
    }
}

/// Tells that a trial's signal is paid and about to leave.
pub(super) fn tell_rung(
    told: &mpsc::Sender<Said>,
    terminal: &ListedTerminal,
    (place, service): (usize, ServiceId),
    patience_seconds: u16,
) {
    let Some(route) = terminal.routes.get(place) else { return };
    let rung = Said::Rung {
        route: route.bearer.clone(),
        place: place + 1,
        of: terminal.routes.len(),
        service: service.0,
        cost: route.price.to_string(),
        patience_seconds: patience_seconds.into(),
    };
    tell(told, rung);
}

/// Tells what a bearer says of a trial's signal.
pub(super) fn tell_delivery(told: &mpsc::Sender<Said>, delivery: &Delivery) {
    let said = match delivery {
        Delivery::Submitted { message_id } => Said::Submitted { message_id: message_id.clone() },
        Delivery::Unknown => Said::Unconfirmed,
        Delivery::Delivered => Said::Delivered,
        Delivery::Failed(Failure::Undelivered | Failure::Unreachable) => Said::Undelivered,
        Delivery::Failed(failure) => {
            let wait = failure.retry_after().map(|it| it.as_secs());
            let refusal = Failed::from(Refusal::Unringable);
            let retry_after =
                if failure.is_permanent() { None } else { wait.or(refusal.retry_after) };
            let detail = format!("By this route: {failure}.");
            Failed { detail, retry_after, ..refusal }.into()
        }
    };
    tell(told, said);
}

fn route_of(terminal: &ListedTerminal, wanted: Option<&str>) -> Result<usize, Failed> {
    let Some(wanted) = wanted else { return Ok(0) };
    let routes = &terminal.routes;
    let by_place = wanted.parse().ok().and_then(|it: usize| it.checked_sub(1));
    let by_place = by_place.filter(|it| *it < routes.len());
    let found = by_place.or_else(|| routes.iter().position(|it| it.bearer == wanted));
    found.ok_or_else(|| {
        let known = routes.iter().enumerate();
        let known: Vec<_> = known.map(|(at, it)| format!("{} {}", at + 1, it.bearer)).collect();
        let title = format!("The terminal has no route {wanted:?}.");
        Failed::new("RB-ROUTE", title, format!("It has: {}.", known.join(", ")))
    })
}

fn too_often(title: &str, wait: Duration) -> Failed {
    let retry_after = Some(wait.as_secs());
    Failed { retry_after, ..Failed::new("RB-TRIALS", title, "Wait until the time told is over.") }
}

fn tell(told: &mpsc::Sender<Said>, said: impl Into<Said>) {
    // Whoever does not listen any more need not hear.
    let _ = told.try_send(said.into());
}

#[test]
fn trials_are_bounded_and_free_again_an_hour_after_each() {
    let (mut trials, now) = (Trials::default(), clock::now());
    for _ in 0..TRIALS_PER_HOUR {
        assert_eq!(trials.wait(now), None);
        trials.rang.push_back(now);
    }
    assert_eq!(trials.wait(now + HOUR / 4), Some(HOUR * 3 / 4));
    assert_eq!(trials.wait(now + HOUR), None);
    assert!(trials.rang.is_empty());
}

#[test]
fn a_terminal_out_of_reach_ends_no_trial() {
    for failure in [Failure::Undelivered, Failure::Unreachable] {
        let (told, mut heard) = mpsc::channel(1);
        tell_delivery(&told, &Delivery::Failed(failure));
        assert_eq!(heard.try_recv(), Ok(Said::Undelivered), "it may yet dial back");
    }
}
