//! Probes: whether a terminal's routes lead to its own private proxy.
//!
//! One signal by one route, on nobody's behalf but the operator's: to prove a newly enrolled terminal's
//! number, or to try a route. No client is ever joined to the tunnel that it brings: that tunnel is
//! closed, and has shown where the route leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::access_request::{SessionKeys, Sid, TunnelType};
use crate::hello::{self, Outcome};
use crate::terminal::ServiceId;

use super::ledger::Ledger;
use super::paired::{Heard, Paired};
use super::{Command, RingId, Terminal, after};

/// The probes that are under way, at most one a key id.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<RingId, Probe>);

#[derive(Debug)]
struct Probe {
    terminal: Arc<Terminal>,
    aim: Aim,
    keys: Option<SessionKeys>,
    until: Instant,
}

/// What a probe is to find out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// Whether the first route leads to the private proxy.
    Proof,
    /// Whether this route does, and whether the private proxy reaches a service.
    Trial { route: usize, service: ServiceId, through: TunnelType },
}

impl Probes {
    /// Rings once; one that is under way is let come to its end.
    pub(super) fn begin(
        &mut self,
        terminal: Arc<Terminal>,
        aim: Aim,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let kid = terminal.kid;
        if self.0.values().any(|it| it.terminal.kid == kid) {
            return;
        }
        let ring = ledger.number_ring();
        let until = after(now, terminal.answer_patience);
        let seconds = terminal.answer_patience.as_secs().clamp(1, 3600);
        let ttl_seconds = u16::try_from(seconds).unwrap_or(3600);
        self.0.insert(ring, Probe { terminal, aim, keys: None, until });
        ledger.commands.push_back(match aim {
            Aim::Proof => Command::Probe { ring, kid, ttl_seconds },
            Aim::Trial { route, service, through } => {
                Command::Try { ring, kid, route, service, through, ttl_seconds }
            }
        });
    }

    /// Keeps the probe's keys, or hands them back if this ring is none.
    pub(super) fn sealed(&mut self, ring: RingId, keys: SessionKeys) -> Option<SessionKeys> {
        let Some(probe) = self.0.get_mut(&ring) else { return Some(keys) };
        probe.keys.get_or_insert(keys);
        None
    }

    /// Gives a probe up whose signal was not sent.
    pub(super) fn failed(&mut self, ring: RingId, ledger: &mut Ledger) {
        let Some(probe) = self.0.remove(&ring) else { return };
        ledger.commands.push_back(probe.ended(None));
    }

    /// Whether somebody says to have opened a probe's signal.
    pub(super) fn is_for(&self, sid: &Sid) -> bool {
        self.find(sid).is_some()
    }

    /// Ends the probe that this hello answers; one that is not good enough costs it nothing.
    pub(super) fn hello_heard(&mut self, heard: &Heard, ledger: &mut Ledger) {
        let tunnel = heard.tunnel;
        let Some((&ring, probe)) = self.find(&heard.hello.sid) else {
            return ledger.commands.push_back(Command::Dismiss { tunnel, unproven: None });
        };
        let Some(mac) = probe.answered_by(heard) else {
            let unproven = Some(probe.terminal.kid);
            return ledger.commands.push_back(Command::Dismiss { tunnel, unproven });
        };
        let ended = probe.ended(Some(heard.hello.outcome));
        self.0.remove(&ring);
        ledger.commands.extend([
            Command::Accept { tunnel, mac },
            Command::Close { tunnel },
            Command::Cancel { ring },
            ended,
        ]);
    }

    /// Gives up what has waited too long.
    pub(super) fn handle_timeout(&mut self, now: Instant, ledger: &mut Ledger) {
        let late = |it: &(&RingId, &Probe)| it.1.until <= now;
        let late: Vec<RingId> = self.0.iter().filter(late).map(|(ring, _)| *ring).collect();
        for ring in late {
            ledger.commands.push_back(Command::Cancel { ring });
            self.failed(ring, ledger);
        }
    }

    /// When [`Self::handle_timeout`] is wanted.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.values().map(|it| it.until).min()
    }

    /// Rings nobody any more.
    pub(super) fn stop(&mut self, ledger: &mut Ledger) {
        let rings: Vec<RingId> = self.0.keys().copied().collect();
        rings.into_iter().for_each(|ring| ledger.commands.push_back(Command::Cancel { ring }));
        self.0.clear();
    }

    fn find(&self, sid: &Sid) -> Option<(&RingId, &Probe)> {
        let with = |it: &(&RingId, &Probe)| it.1.keys.as_ref().is_some_and(|it| it.sid == *sid);
        self.0.iter().find(with)
    }
}

impl Probe {
    /// What is told of its end: what the private proxy says of the service, if it has dialed back.
    fn ended(&self, outcome: Option<Outcome>) -> Command {
        let kid = self.terminal.kid;
        match self.aim {
            Aim::Proof => Command::Probed { kid, answered: outcome.is_some() },
            Aim::Trial { .. } => Command::Tried { kid, outcome },
        }
    }

    /// The answer for a hello that is good enough.
    fn answered_by(&self, heard: &Heard) -> Option<[u8; 32]> {
        let keys = self.keys.as_ref()?;
        let through = match self.aim {
            Aim::Proof => TunnelType::Tls,
            Aim::Trial { through, .. } => through,
        };
        if !heard.is_permitted(through) {
            return None;
        }
        Paired::check(keys, &self.terminal.private_proxy, heard)?;
        Some(hello::confirm_public(keys, &heard.exporter))
    }
}
