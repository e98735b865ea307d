//! The public proxy's switchboard: who is waiting for which terminal, and what to do next.
//!
//! Pure. It owns no socket, reads no clock and draws no randomness; it seals nothing and never sees
//! a session's bytes. Hand it an [`Event`], then drain [`Switchboard::poll_command`]. This file
//! finds the line an event is for; what a line does with it is in `switchboard/line.rs`.

mod call;
mod ladder;
mod ledger;
mod line;
mod paired;
mod probe;
mod progress;
mod record;
mod room;
mod standings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access_request::{Kid, Protocol, SessionKeys, TunnelType};
use crate::gate::{Admitted, Level};
use crate::hello::{Exporter, Hello, Outcome, SessionId};
use crate::limits;
use crate::refusal::{Budget, Refusal};
use crate::terminal::{ServiceId, TenantName};

use ledger::Ledger;
use line::{Client, Line, OwnRings};
use probe::{Aim, Probes};

pub use call::{Call, CallEnd, Over};
pub use paired::Paired;
pub use progress::Progress;
pub use record::{BearerId, PublicKey, RoutePlan, Spares, Terminal};
pub use room::{Census, Room};
pub use standings::Way;

/// Joins waiting clients with the tunnels that private proxies dial back.
#[derive(Debug, Default)]
pub struct Switchboard {
    lines: BTreeMap<LineId, Line>,
    timers: BTreeSet<(Instant, LineId)>,
    ledger: Ledger,
    probes: Probes,
    stopping: bool,
}

/// A client's connection, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A tunnel's connection, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u64);

/// One signal, numbered by the switchboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId(pub u64);

/// Whose clients share rings and tunnels: those of one terminal that were admitted at one level, to
/// services that are reached over the same tunnels, while it belongs to one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LineId {
    kid: Kid,
    level: Level,
    tenant: TenantName,
    through: TunnelType,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A client has named a terminal and is held.
    ClientArrived {
        /// The client.
        client: ClientId,
        /// The session that begins with it.
        session: SessionId,
        /// Whom it wants.
        terminal: Arc<Terminal>,
        /// What it wants there.
        service: ServiceId,
        /// What it may be reached over.
        through: TunnelType,
        /// That it may cause a ring.
        admitted: Admitted,
        /// It has a bearer of its own: no route is rung for it.
        rings_itself: bool,
    },
    /// A client that was waiting has gone away.
    ClientLeft {
        /// The client.
        client: ClientId,
    },
    /// A ring's signal was sealed; told before its octets leave.
    Sealed {
        /// The ring.
        ring: RingId,
        /// What a dial-back must prove to know.
        keys: SessionKeys,
    },
    /// A bearer did not take a ring's signal, for certain; or the client that was to send it.
    RingFailed {
        /// The ring.
        ring: RingId,
        /// Trying again by the same route is of no use.
        permanent: bool,
        /// When the bearer wants to be tried again, if it has said so.
        retry_after: Option<Duration>,
    },
    /// A bearer tells what has become of a ring's signal that it did take.
    RingProgressed {
        /// The ring.
        ring: RingId,
        /// What.
        progress: Progress,
    },
    /// A ring's signal was not sent, since its dial-back could not be awaited: nobody who wants the same
    /// tunnel can be served.
    NoTunnel {
        /// The ring.
        ring: RingId,
    },
    /// A ring's signal was not sent, since there was no room to await its dial-back. Nobody is
    /// concerned but whom the ring is for.
    NoRoom {
        /// The ring.
        ring: RingId,
    },
    /// A budget denies a ring by a route or by a client: its signal has not left. Told at once.
    RingDenied {
        /// The ring.
        ring: RingId,
        /// Which budget.
        budget: Budget,
        /// When it would allow it.
        wait: Duration,
    },
    /// A tunnel's handshake is done and its hello was read.
    HelloHeard {
        /// The tunnel.
        tunnel: TunnelId,
        /// What it runs over.
        protocol: Protocol,
        /// The key that the dialing end has proven in the handshake.
        peer: PublicKey,
        /// Its hello.
        hello: Hello,
        /// What the exporter yields at our end, with the hello's token as its context.
        exporter: Exporter,
    },
    /// The private proxy has replied to [`Command::Open`].
    Opened {
        /// The tunnel.
        tunnel: TunnelId,
        /// What became of the connection to the service.
        outcome: Outcome,
    },
    /// A tunnel that was accepted has ended; of a spliced one the splice's own end is awaited.
    TunnelLost {
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// A splice could not begin, since its tunnel is gone; the client has heard nothing and is
    /// still held. Told instead of [`Event::SpliceEnded`], never beside it.
    SpliceFailed {
        /// The client.
        client: ClientId,
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// A splice has ended, and its client with it.
    SpliceEnded {
        /// The client.
        client: ClientId,
        /// The tunnel.
        tunnel: TunnelId,
        /// The splice's proof, if both directions came to their end and the tunnel can serve another
        /// session; the tunnel still takes orders then. Without it, the tunnel has ended too.
        back: Option<Paired>,
    },
    /// A terminal's keys are worth nothing any more: nobody is rung, joined or served by them.
    Revoke {
        /// Its keys.
        kid: Kid,
    },
    /// The operator wants to know whether a terminal's first route leads to its private proxy.
    Prove {
        /// Whose.
        terminal: Arc<Terminal>,
    },
    /// The operator wants to know what becomes of one ring by one route.
    Try {
        /// Whose route it is.
        terminal: Arc<Terminal>,
        /// Which, by its place in [`Terminal::routes`].
        route: usize,
        /// What the private proxy is to connect to.
        service: ServiceId,
        /// What it may be reached over.
        through: TunnelType,
    },
    /// The public proxy shuts down: nobody is rung or joined any more.
    Stop,
}

/// What the role must now do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Seal a signal, report [`Event::Sealed`], send it.
    Ring {
        /// Names it from now on.
        ring: RingId,
        /// Whose keys seal it.
        kid: Kid,
        /// What the private proxy is to connect to.
        service: ServiceId,
        /// What it may dial back over.
        through: TunnelType,
        /// What carries it.
        over: Over,
        /// Whose client it is for; none for a spare.
        session: Option<SessionId>,
        /// Counts the signals of its route, from 1.
        attempt: usize,
        /// Which call it is counted with; none over a tunnel, which costs nothing.
        call: Option<Call>,
        /// How long it is worth obeying, 1 to 3600 seconds; the bearer's validity too.
        ttl_seconds: u16,
        /// That somebody may cause it.
        admitted: Arc<Admitted>,
    },
    /// Seal a probe, report [`Event::Sealed`], send it by the first route.
    Probe {
        /// Names it from now on.
        ring: RingId,
        /// Whose keys seal it.
        kid: Kid,
        /// How long it is worth obeying; the bearer's validity too.
        ttl_seconds: u16,
    },
    /// What came of [`Event::Prove`].
    Probed {
        /// Whose route it was.
        kid: Kid,
        /// Whether its private proxy has dialed back.
        answered: bool,
    },
    /// Seal a signal, report [`Event::Sealed`], send it by this route.
    Try {
        /// Names it from now on.
        ring: RingId,
        /// Whose keys seal it.
        kid: Kid,
        /// The route, by its place in [`Terminal::routes`].
        route: usize,
        /// What the private proxy is to connect to.
        service: ServiceId,
        /// What it may dial back over.
        through: TunnelType,
        /// How long it is worth obeying; the bearer's validity too.
        ttl_seconds: u16,
    },
    /// What came of [`Event::Try`].
    Tried {
        /// Whose route it was.
        kid: Kid,
        /// What whoever has dialed back says of the service; nothing if nobody has.
        outcome: Option<Outcome>,
    },
    /// Follow the ring's signal no longer, and withdraw it if it is still queued at its bearer.
    /// Every ring by a route that was neither denied nor has failed, nor was undelivered, comes to
    /// this: answered, given up or outrun. One that the operator has is to be recalled if it can be.
    Cancel {
        /// The ring.
        ring: RingId,
    },
    /// Nobody can answer the ring's signal any more: what was prepared for its dial-back over IPsec is of
    /// no use. Told of rings that may be answered so, and of no others.
    Unawait {
        /// The ring.
        ring: RingId,
    },
    /// Answer the hello with this code; more commands for the tunnel follow.
    Accept {
        /// The tunnel.
        tunnel: TunnelId,
        /// The answer's authentication code.
        mac: [u8; 32],
    },
    /// Answer the hello with "gone" and close.
    Dismiss {
        /// The tunnel.
        tunnel: TunnelId,
        /// Whose pending signal it knows without being the private proxy configured for it. Only who
        /// has opened the signal can: its operator must hear of it.
        unproven: Option<Kid>,
    },
    /// Tell the tunnel that it stands by.
    Standby {
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// Tell the tunnel that a client has come; report [`Event::Opened`].
    Open {
        /// The tunnel.
        tunnel: TunnelId,
        /// The client.
        client: ClientId,
        /// Its session.
        session: SessionId,
        /// What it wants.
        service: ServiceId,
    },
    /// Join the two; report [`Event::SpliceEnded`] or [`Event::SpliceFailed`], once.
    Splice {
        /// The client.
        client: ClientId,
        /// The tunnel.
        tunnel: TunnelId,
        /// Their session.
        session: SessionId,
        /// After [`Command::Open`] the session's bytes follow at once; otherwise the tunnel is
        /// first told that it is bound.
        opened: bool,
        /// That they belong together.
        paired: Paired,
    },
    /// Tell the client why it cannot be served, and forget it.
    Refuse {
        /// The client.
        client: ClientId,
        /// Why.
        refusal: Refusal,
    },
    /// End a tunnel that was accepted, and forget it.
    Close {
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// Cut a splice so that both ends see a cut, and forget it; nothing needs to be reported.
    Cut {
        /// The client.
        client: ClientId,
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// Tell the operator that a bearer or a route has failed so often that it is rung last.
    Sank {
        /// Which.
        way: Way,
    },
    /// Tell the operator that it works again.
    Rose {
        /// Which.
        way: Way,
    },
    /// Note how a call has ended. Every call of which one signal was not denied comes to this.
    CallEnded {
        /// The call.
        call: u64,
        /// Whose.
        kid: Kid,
        /// How.
        how: CallEnd,
    },
}

impl Switchboard {
    /// A switchboard at which nobody waits, with room for several tenants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes how much one source and one tenant may hold; who waits already may go on.
    pub fn make_room(&mut self, room: Room) {
        self.ledger.room = room;
    }

    /// The next thing to do; in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.ledger.commands.pop_front()
    }

    /// When [`Self::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lines = self.timers.first().map(|(due, _)| *due);
        [lines, self.probes.poll_timeout()].into_iter().flatten().min()
    }

    /// How much is held, for status and for tests.
    pub fn census(&self) -> Census {
        Census {
            lines: self.lines.len(),
            waiting: self.ledger.clients.len(),
            tunnels: self.ledger.tunnels.len(),
            rings: self.ledger.rings.len(),
        }
    }

    /// Does what has become due: rings again, gives up, closes.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.probes.handle_timeout(now, &mut self.ledger);
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.at(id, now, |line, ledger| line.tick(now, ledger));
            debug_assert!(self.timers.first() != Some(&(due, id)), "what was due is done");
        }
    }

    /// Takes in what has happened. An id it does not know is not an error: things cross.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::ClientArrived {
                client,
                session,
                terminal,
                service,
                through,
                admitted,
                rings_itself,
            } => {
                let admitted = Arc::new(admitted);
                let give_up_at = after(now, terminal.answer_patience);
                let arrived_at = now;
                let own = rings_itself.then(|| OwnRings::new(now));
                let arrived = Client { session, service, admitted, arrived_at, give_up_at, own };
                self.client_arrived(client, arrived, (terminal, through), now);
            }
            Event::ClientLeft { client } => {
                let Some(it) = self.ledger.clients.get(&client) else { return };
                self.at(it.line, now, |line, ledger| line.client_left(client, ledger));
            }
            Event::Sealed { ring, keys } => {
                let Some(keys) = self.probes.sealed(ring, keys) else { return };
                let Some(id) = self.ledger.rings.get(&ring) else { return };
                let Some(line) = self.lines.get_mut(id) else { return };
                line.sealed(ring, keys, &mut self.ledger);
            }
            Event::RingFailed { ring, permanent, retry_after } => {
                let Some(&id) = self.ledger.rings.get(&ring) else {
                    return self.probes.failed(ring, &mut self.ledger);
                };
                let retry = if permanent { None } else { Some(retry_after.unwrap_or_default()) };
                self.at(id, now, |line, ledger| line.ring_failed(ring, retry, now, ledger));
            }
            Event::RingProgressed { ring, progress } => {
                let Some(&id) = self.ledger.rings.get(&ring) else { return };
                self.at(id, now, |line, ledger| line.ring_progressed(ring, progress, now, ledger));
            }
            Event::NoTunnel { ring } => {
                let Some(&id) = self.ledger.rings.get(&ring) else {
                    return self.probes.failed(ring, &mut self.ledger);
                };
                self.at(id, now, |line, ledger| line.no_tunnel(ring, ledger));
            }
            Event::NoRoom { ring } => {
                let Some(&id) = self.ledger.rings.get(&ring) else {
                    return self.probes.failed(ring, &mut self.ledger);
                };
                self.at(id, now, |line, ledger| line.no_room(ring, now, ledger));
            }
            Event::RingDenied { ring, budget, wait } => {
                let Some(&id) = self.ledger.rings.get(&ring) else { return };
                self.at(id, now, |line, ledger| {
                    line.ring_denied(ring, (budget, wait), now, ledger)
                });
            }
            Event::HelloHeard { tunnel, protocol, peer, hello, exporter } => {
                if self.probes.is_for(&hello.sid) {
                    let heard = paired::Heard { tunnel, protocol, peer, hello, exporter };
                    return self.probes.hello_heard(&heard, &mut self.ledger);
                }
                let ring = self.ledger.sids.get(&hello.sid).copied();
                let line = ring.and_then(|it| self.ledger.rings.get(&it)).copied();
                let (Some(ring), Some(id)) = (ring, line) else {
                    let dismiss = Command::Dismiss { tunnel, unproven: None };
                    return self.ledger.commands.push_back(dismiss);
                };
                let heard = paired::Heard { tunnel, protocol, peer, hello, exporter };
                self.at(id, now, |line, ledger| line.hello_heard(ring, heard, now, ledger));
            }
            Event::Opened { tunnel, outcome } => {
                let Some(&id) = self.ledger.tunnels.get(&tunnel) else { return };
                self.at(id, now, |line, ledger| line.opened(tunnel, outcome, now, ledger));
            }
            Event::TunnelLost { tunnel } => {
                let Some(&id) = self.ledger.tunnels.get(&tunnel) else { return };
                self.at(id, now, |line, ledger| line.tunnel_lost(tunnel, now, ledger));
            }
            Event::SpliceFailed { client, tunnel } => {
                let Some(&id) = self.ledger.tunnels.get(&tunnel) else { return };
                let stopping = self.stopping;
                let act = |line: &mut Line, ledger: &mut Ledger| {
                    line.splice_failed((client, tunnel), stopping, now, ledger);
                };
                self.at(id, now, act);
            }
            Event::SpliceEnded { client, tunnel, back: None } => {
                let Some(&id) = self.ledger.tunnels.get(&tunnel) else { return };
                self.at(id, now, |line, ledger| line.splice_ended((client, tunnel), now, ledger));
            }
            Event::SpliceEnded { client, tunnel, back: Some(paired) } => {
                // Its line may have been revoked, or its session cut, in this very moment.
                let Some(&id) = self.ledger.tunnels.get(&tunnel) else {
                    return self.ledger.commands.push_back(Command::Close { tunnel });
                };
                let stopping = self.stopping;
                let act = |line: &mut Line, ledger: &mut Ledger| {
                    line.tunnel_returned((client, tunnel), paired, stopping, now, ledger);
                };
                self.at(id, now, act);
            }
            Event::Revoke { kid } => {
                let ids: Vec<LineId> =
                    self.lines.keys().filter(|it| it.kid == kid).copied().collect();
                ids.into_iter().for_each(|id| self.at(id, now, Line::revoke));
            }
            Event::Prove { terminal } => {
                if !self.stopping {
                    self.probes.begin(terminal, Aim::Proof, now, &mut self.ledger);
                }
            }
            Event::Try { terminal, route, service, through } => {
                if !self.stopping {
                    let aim = Aim::Trial { route, service, through };
                    self.probes.begin(terminal, aim, now, &mut self.ledger);
                }
            }
            Event::Stop => self.stop(now),
        }
    }

    fn client_arrived(
        &mut self,
        client: ClientId,
        arrived: Client,
        (terminal, through): (Arc<Terminal>, TunnelType),
        now: Instant,
    ) {
        let (level, tenant) = (arrived.admitted.level(), terminal.tenant);
        let id = LineId { kid: terminal.kid, level, tenant, through };
        let waiting = self.lines.get(&id).map_or(0, Line::waiting);
        let source = arrived.admitted.source();
        let full = terminal.waiting <= waiting
            || !self.ledger.held.fits(&self.ledger.room, source, tenant)
            || limits::WAITING_CLIENTS <= self.ledger.clients.len()
            || limits::PENDING_RINGS <= self.ledger.rings.len();
        if self.stopping || full {
            let refusal = if self.stopping { Refusal::Stopping } else { Refusal::Busy };
            return self.ledger.commands.push_back(Command::Refuse { client, refusal });
        }

        debug_assert!(!self.ledger.clients.contains_key(&client), "a client arrives once");
        self.lines.entry(id).or_insert_with(|| Line::new(id, Arc::clone(&terminal)));
        self.at(id, now, |line, ledger| line.client_arrived(client, arrived, terminal, ledger));
    }

    fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.probes.stop(&mut self.ledger);
        let ids: Vec<LineId> = self.lines.keys().copied().collect();
        for id in ids {
            self.at(id, now, Line::stop);
        }
    }

    /// Lets a line act, then brings its promises and its timer up to date.
    fn at(&mut self, id: LineId, now: Instant, act: impl FnOnce(&mut Line, &mut Ledger)) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let before = line.poll_timeout();
        line.note_demand(now);
        act(line, &mut self.ledger);
        line.settle(now, &mut self.ledger);

        let due = line.poll_timeout();
        if line.is_idle() {
            self.lines.remove(&id);
        }
        if before != due {
            before.map(|due| self.timers.remove(&(due, id)));
            due.map(|due| self.timers.insert((due, id)));
        }
    }
}

/// `now` and then some, however long that is.
fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + limits::FOREVER)
}
