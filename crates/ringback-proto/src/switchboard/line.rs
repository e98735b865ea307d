//! One terminal's line: its waiting clients, its pending rings, its tunnels.
//!
//! Knows no other terminal. Whatever happens only changes what is held; [`Line::settle`] then makes
//! good what the switchboard promises: whoever waits has a tunnel or is being rung for. How rings
//! leave is in `line/ringing.rs`, how clients send theirs in `line/own.rs`, what tunnels do in
//! `line/tunnels.rs`.

mod demand;
mod judging;
mod own;
mod ringing;
mod tunnels;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::access_request::SessionKeys;
use crate::gate::Admitted;
use crate::hello::SessionId;
use crate::refusal::Refusal;
use crate::terminal::ServiceId;

use super::ladder::{Ladder, Step};
use super::ledger::{Ledger, Waiting};
use super::paired::Paired;
use super::{CallEnd, ClientId, Command, LineId, Over, PublicKey, RingId, Terminal, TunnelId};

use demand::Demand;
pub(super) use own::OwnRings;

/// Everything that is held for one terminal.
#[derive(Debug)]
pub(super) struct Line {
    id: LineId,
    /// As the latest client brought it.
    terminal: Arc<Terminal>,
    /// Whoever waits, those included for whom a tunnel is being opened.
    clients: BTreeMap<ClientId, Client>,
    /// Whoever waits and has no tunnel, first come first.
    queue: VecDeque<ClientId>,
    /// Tunnels without a session.
    tunnels: BTreeMap<TunnelId, Tunnel>,
    /// Tunnels with one: of these there may be thousands, and no event looks at all of them.
    sessions: BTreeMap<TunnelId, Session>,
    demand: Demand,
    rings: BTreeMap<RingId, Rung>,
    calling: Calling,
    /// The call that the ladder's signals belong to.
    call: Option<OpenCall>,
    /// Since when no client has been here.
    quiet_since: Option<Instant>,
    /// When a standby may be one too many.
    surplus_ends_at: Option<Instant>,
}

/// A waiting client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) service: ServiceId,
    pub(super) admitted: Arc<Admitted>,
    pub(super) arrived_at: Instant,
    pub(super) give_up_at: Instant,
    /// There if it rings by itself.
    pub(super) own: Option<OwnRings>,
}

/// A tunnel that was accepted and has no session.
#[derive(Debug)]
struct Tunnel {
    peer: PublicKey,
    duty: Duty,
}

/// A tunnel and its client, which no longer waits, but would again if the splice could not begin.
#[derive(Debug)]
struct Session {
    peer: PublicKey,
    id: ClientId,
    client: Client,
}

/// What a tunnel without a session is there for. Its proof goes into the splice, and comes back if
/// the tunnel can serve another session.
#[derive(Debug)]
enum Duty {
    Standby {
        /// When it last was heard of.
        since: Instant,
        paired: Paired,
    },
    Opening {
        client: ClientId,
        until: Instant,
        paired: Paired,
    },
}

/// A signal that a dial-back may answer.
#[derive(Debug)]
struct Rung {
    over: Over,
    service: ServiceId,
    /// For whom it was sent over a tunnel; any other signal is for all.
    client: Option<ClientId>,
    admitted: Arc<Admitted>,
    /// Unknown until it is sealed.
    keys: Option<SessionKeys>,
    sent_at: Instant,
    until: Instant,
    /// The bearer of its route has not handed it on yet.
    held: bool,
    /// Neither failed, withdrawn nor lost with the tunnel that carried it.
    outstanding: bool,
}

/// How those in the queue are being served.
#[derive(Debug)]
enum Calling {
    /// Nobody is in the queue.
    Nobody,
    /// A dial-back that was rung over a tunnel is awaited, for a while.
    Tunnels { until: Instant },
    /// The routes are rung.
    Routes(Ladder),
}

/// A call that has not ended.
#[derive(Debug)]
struct OpenCall {
    id: u64,
    signals: usize,
}

impl Line {
    pub(super) fn new(id: LineId, terminal: Arc<Terminal>) -> Self {
        Self {
            id,
            terminal,
            clients: BTreeMap::new(),
            queue: VecDeque::new(),
            tunnels: BTreeMap::new(),
            sessions: BTreeMap::new(),
            demand: Demand::default(),
            rings: BTreeMap::new(),
            calling: Calling::Nobody,
            call: None,
            quiet_since: None,
            surplus_ends_at: None,
        }
    }

    /// Takes in how many clients there are: before anything changes, for there have been as many ever
    /// since anything did, and after.
    pub(super) fn note_demand(&mut self, now: Instant) {
        self.demand.note(self.in_use(), now);
    }

    /// How many clients there are, those included that have a session.
    fn in_use(&self) -> usize {
        self.clients.len() + self.sessions.len()
    }

    /// How many clients wait.
    pub(super) fn waiting(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&self) -> bool {
        let tunnels = self.tunnels.len() + self.sessions.len();
        self.clients.is_empty() && tunnels == 0 && self.rings.is_empty()
    }

    pub(super) fn client_arrived(
        &mut self,
        id: ClientId,
        client: Client,
        terminal: Arc<Terminal>,
        ledger: &mut Ledger,
    ) {
        if self.terminal.private_proxy != terminal.private_proxy {
            self.close_standbys(ledger);
        }
        self.terminal = terminal;
        ledger.waits(id, Waiting { line: self.id, source: client.admitted.source() });
        self.clients.insert(id, client);
        self.queue.push_back(id);
    }

    /// Forgets a client that has gone. A tunnel that is being opened for it answers to nobody.
    pub(super) fn client_left(&mut self, id: ClientId, ledger: &mut Ledger) {
        self.queue.retain(|it| *it != id);
        self.clients.remove(&id);
        ledger.waits_no_more(id);
    }

    /// Whether anything may have been heard: not if bearers hold all there is.
    fn has_left(&self) -> bool {
        let mut outstanding = self.rings.values().filter(|it| it.outstanding).peekable();
        outstanding.peek().is_none() || outstanding.any(|it| !it.held)
    }

    /// Gives up, closes and rings again what has become due.
    pub(super) fn tick(&mut self, now: Instant, ledger: &mut Ledger) {
        let over: Vec<ClientId> =
            self.clients.iter().filter(|(_, it)| it.give_up_at <= now).map(|(id, _)| *id).collect();
        let heard_nothing = !over.is_empty();
        let refusal = if self.has_left() { Refusal::NoAnswer } else { Refusal::Unringable };
        over.into_iter().for_each(|id| self.refuse(id, refusal, ledger));
        if heard_nothing && self.rung_for().next().is_none() {
            self.end_call(CallEnd::Unanswered, ledger);
        }
        self.expire_opening(now, ledger);
        self.expire_rings(now, ledger);
        match &self.calling {
            Calling::Nobody => {}
            Calling::Tunnels { until } if now < *until => {}
            Calling::Tunnels { .. } => self.ring_by_routes(now, ledger),
            Calling::Routes(ladder) if now < ladder.ends_at() => self.climb(now, ledger),
            Calling::Routes(_) => {
                self.end_call(CallEnd::Unanswered, ledger);
                self.hush(ledger);
            }
        }
    }

    /// Makes good what the switchboard promises, after anything has changed.
    pub(super) fn settle(&mut self, now: Instant, ledger: &mut Ledger) {
        self.use_standbys(now, ledger);
        self.call(now, ledger);
        self.hand_out(now, ledger);

        self.note_demand(now);
        let quiet = self.in_use() == 0;
        self.quiet_since = quiet.then(|| self.quiet_since.unwrap_or(now));
        if self.lingers_until().is_some_and(|until| until <= now) {
            self.close_standbys(ledger);
        }
        self.close_surplus(now, ledger);
    }

    /// When [`Self::tick`] is wanted.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let calling = match &self.calling {
            Calling::Nobody => None,
            Calling::Tunnels { until } => Some(*until),
            Calling::Routes(ladder) => Some(ladder.due()),
        };
        let opening = self.tunnels.values().filter_map(|it| match &it.duty {
            Duty::Opening { until, .. } => Some(*until),
            Duty::Standby { .. } => None,
        });
        let clients = self.clients.values().map(|it| it.give_up_at);
        let rings = self.rings.values().map(|it| it.until);
        let lingers = self.lingers_until().filter(|_| 0 < self.standbys());
        let own = self.hands_out_at();
        let surplus = self.surplus_ends_at;
        let others = calling.into_iter().chain(lingers).chain(own).chain(surplus);
        clients.chain(opening).chain(rings).chain(others).min()
    }

    /// Refuses everybody, closes what has no session, rings no more.
    pub(super) fn stop(&mut self, ledger: &mut Ledger) {
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        clients.into_iter().for_each(|id| self.refuse(id, Refusal::Stopping, ledger));
        let rings: Vec<RingId> = self.rings.keys().copied().collect();
        rings.into_iter().for_each(|ring| self.forget(ring, ledger));
        let tunnels: Vec<TunnelId> = self.tunnels.keys().copied().collect();
        tunnels.into_iter().for_each(|tunnel| self.close(tunnel, ledger));
    }

    /// Refuses everybody, forgets every ring, closes every tunnel and cuts every splice.
    pub(super) fn revoke(&mut self, ledger: &mut Ledger) {
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        clients.into_iter().for_each(|id| self.refuse(id, Refusal::Unknown, ledger));
        let rings: Vec<RingId> = self.rings.keys().copied().collect();
        rings.into_iter().for_each(|ring| self.forget(ring, ledger));
        self.end_call(CallEnd::Abandoned, ledger);
        for (tunnel, it) in std::mem::take(&mut self.sessions) {
            ledger.tunnels.remove(&tunnel);
            ledger.commands.push_back(Command::Cut { client: it.id, tunnel });
        }
        let tunnels: Vec<TunnelId> = self.tunnels.keys().copied().collect();
        tunnels.into_iter().for_each(|tunnel| self.close(tunnel, ledger));
    }

    /// Those in the queue that do not ring by themselves.
    fn rung_for(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        let queue = self.queue.iter().filter_map(|id| Some((*id, self.clients.get(id)?)));
        queue.filter(|(_, it)| it.own.is_none())
    }

    fn refuse(&mut self, id: ClientId, refusal: Refusal, ledger: &mut Ledger) {
        self.client_left(id, ledger);
        ledger.commands.push_back(Command::Refuse { client: id, refusal });
    }

    fn refuse_queue(&mut self, refusal: Refusal, service: Option<ServiceId>, ledger: &mut Ledger) {
        let concerned = |id: &ClientId| {
            service.is_none_or(|it| self.clients.get(id).is_some_and(|c| c.service == it))
        };
        let clients: Vec<ClientId> = self.queue.iter().copied().filter(concerned).collect();
        clients.into_iter().for_each(|id| self.refuse(id, refusal, ledger));
    }

    /// Until when tunnels may stand by; none while a client is here, and for ever.
    fn lingers_until(&self) -> Option<Instant> {
        self.quiet_since?.checked_add(self.terminal.linger)
    }
}
