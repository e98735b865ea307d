//! The reference model: what may be commanded, told from events and commands alone.
//!
//! It plans nothing. It knows for each client, tunnel and ring where it stands, and refuses to
//! believe a command that does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringback_proto::access_request::{Kid, SessionKeys, Sid};
use ringback_proto::gate::Level;
use ringback_proto::hello::{Hello, Outcome, SessionId, confirm_private, confirm_public};
use ringback_proto::limits;
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::{
    Call, Census, ClientId, Command, Over, Progress, PublicKey, RingId, Terminal, TunnelId, Way,
};
use ringback_proto::terminal::ServiceId;

pub(crate) const EXPORTER: [u8; 32] = [0x55; 32];

/// Whose clients may share a ring or a tunnel.
type Line = (Kid, Level);

#[derive(Default)]
pub(crate) struct Model {
    /// Whoever waits; whose story has ended is moved to `ended`.
    pub(crate) clients: BTreeMap<ClientId, Client>,
    ended: BTreeMap<ClientId, Client>,
    /// Whatever is open.
    pub(crate) tunnels: BTreeMap<TunnelId, Tunnel>,
    sids: BTreeMap<Sid, RingId>,
    pub(crate) rings: BTreeMap<RingId, Ring>,
    /// The hello that awaits its answer.
    heard: Option<(TunnelId, PublicKey, Hello)>,
    consumed: BTreeSet<Sid>,
    /// Signals taken since the ladder of a line began, by route.
    signals: BTreeMap<Line, BTreeMap<usize, usize>>,
    /// The latest signal of a call by a route.
    latest: BTreeMap<(u64, usize), RingId>,
    /// What is rung last, and since when at least.
    sunk: BTreeMap<Way, Instant>,
    /// Lines whose ladder goes on although its call has ended: the answer was for nobody who waits.
    goes_on: BTreeSet<Line>,
    pub(crate) stopped: bool,
    pub(crate) revoked: BTreeSet<Kid>,
    /// Calls of which a signal was paid.
    pub(crate) calls_begun: BTreeSet<u64>,
    /// Calls that have ended.
    pub(crate) calls_ended: BTreeSet<u64>,
    /// Tunnels that were opened at once when they came back, and those that stood by again.
    pub(crate) turns: (usize, usize),
}

pub(crate) struct Client {
    pub(crate) terminal: Arc<Terminal>,
    pub(crate) session: SessionId,
    pub(crate) service: ServiceId,
    pub(crate) level: Level,
    pub(crate) rings_itself: bool,
    pub(crate) arrived: Instant,
    pub(crate) at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Queue { since: Instant },
    Opening(TunnelId),
    Spliced(TunnelId),
    Refused(Refusal),
    Left,
}

pub(crate) struct Tunnel {
    pub(crate) line: Option<Line>,
    pub(crate) is: Is,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    Offered,
    Accepted(Outcome, ServiceId),
    Standby,
    Opening(ClientId),
    Opened(ClientId),
    Spliced,
    /// Its session came to its end, and it waits for what becomes of it.
    Returned {
        lingers: bool,
    },
    Gone,
}

pub(crate) struct Ring {
    pub(crate) kid: Kid,
    pub(crate) level: Level,
    pub(crate) service: ServiceId,
    pub(crate) over: Over,
    pub(crate) session: Option<SessionId>,
    pub(crate) rung: Instant,
    pub(crate) ttl_seconds: u16,
    pub(crate) keys: Option<SessionKeys>,
    pub(crate) failed: bool,
    /// Its bearer has it no longer.
    handed_on: bool,
    undelivered: bool,
    pub(crate) cancelled: bool,
}

impl Client {
    fn line(&self) -> Line {
        (self.terminal.kid, self.level)
    }
}

impl Ring {
    fn line(&self) -> Line {
        (self.kid, self.level)
    }
}

impl Model {
    pub(crate) fn queued(&self, line: Line) -> impl Iterator<Item = (&ClientId, &Client)> {
        let queued = move |it: &Client| it.line() == line && matches!(it.at, At::Queue { .. });
        self.clients.iter().filter(move |(_, it)| queued(it))
    }

    /// A client that waits, by its session: the world gives both the same number.
    fn waiting(&self, session: SessionId) -> Option<&Client> {
        let waits = |it: &&Client| matches!(it.at, At::Queue { .. } | At::Opening(_));
        self.clients.get(&ClientId(session.0)).filter(waits)
    }

    /// Takes in what a ring's signal derives.
    pub(crate) fn sealed(&mut self, ring: RingId, keys: SessionKeys) {
        self.sids.insert(keys.sid, ring);
        self.rings.get_mut(&ring).expect("a known ring").keys = Some(keys);
    }

    pub(crate) fn hears(&mut self, tunnel: TunnelId, peer: PublicKey, hello: Hello) {
        self.tunnels.insert(tunnel, Tunnel { line: None, is: Is::Offered });
        self.heard = Some((tunnel, peer, hello));
    }

    /// Whether the hello proves knowledge of a pending signal, by whom it should.
    fn good(
        &self,
        peer: &PublicKey,
        hello: &Hello,
        keys: &BTreeMap<Kid, PublicKey>,
    ) -> Option<RingId> {
        let id = self.sids.get(&hello.sid)?;
        let ring = &self.rings[id];
        let mac = confirm_private(ring.keys.as_ref()?, &EXPORTER);
        let good =
            mac == hello.mac && *peer == keys[&ring.kid] && !self.consumed.contains(&hello.sid);
        good.then_some(*id)
    }

    /// Checks one command and takes it in.
    pub(crate) fn commanded(
        &mut self,
        command: &Command,
        keys: &BTreeMap<Kid, PublicKey>,
        now: Instant,
    ) {
        match command {
            Command::Ring {
                ring,
                kid,
                service,
                over,
                session,
                attempt,
                ttl_seconds,
                admitted,
                call,
                through: _,
            } => {
                let counts = !matches!(over, Over::Tunnel { .. });
                assert_eq!(call.is_some(), counts, "only what a tunnel carries does not count");
                assert!(!self.stopped, "rings after the end");
                assert!(1 <= *ttl_seconds && *ttl_seconds <= 3600);
                let new = Ring {
                    kid: *kid,
                    level: admitted.level(),
                    service: *service,
                    over: *over,
                    session: *session,
                    rung: now,
                    ttl_seconds: *ttl_seconds,
                    keys: None,
                    failed: false,
                    handed_on: false,
                    undelivered: false,
                    cancelled: false,
                };
                self.rings_are_in_order(&new, *attempt, *call);
                if let (Over::Route(route), Some(call)) = (over, call) {
                    self.nothing_is_held(call.id, *route);
                    self.latest.insert((call.id, *route), *ring);
                }
                assert!(self.rings.insert(*ring, new).is_none(), "a ring has one name");
            }
            Command::Cancel { ring } => {
                let ring = self.rings.get_mut(ring).expect("cancels a known ring");
                assert!(matches!(ring.over, Over::Route(_)) && !ring.cancelled && !ring.failed);
                assert!(!ring.undelivered, "there is nothing to take back");
                ring.cancelled = true;
            }
            Command::Accept { tunnel, mac } => self.accepted(*tunnel, mac, keys),
            Command::Dismiss { tunnel, .. } => self.dismissed(*tunnel, keys, now),
            Command::Standby { tunnel } => {
                let it = self.tunnels.get_mut(tunnel).expect("a known tunnel");
                assert!(matches!(it.is, Is::Accepted(outcome, _) if outcome != Outcome::Connected));
                it.is = Is::Standby;
            }
            Command::Open { tunnel, client, session, service } => {
                let it = self.tunnels.get_mut(tunnel).expect("a known tunnel");
                let new =
                    matches!(it.is, Is::Accepted(outcome, _) if outcome != Outcome::Connected);
                let again = matches!(it.is, Is::Standby | Is::Returned { lingers: true });
                assert!(new || again, "opens a {:?}", it.is);
                self.turns.0 += usize::from(matches!(it.is, Is::Returned { .. }));
                it.is = Is::Opening(*client);
                let whom = self.clients.get_mut(client).expect("a known client");
                assert!(matches!(whom.at, At::Queue { .. }), "opens for a {:?}", whom.at);
                assert_eq!((whom.session, whom.service), (*session, *service));
                assert_eq!(it.line, Some(whom.line()), "opens another's tunnel");
                whom.at = At::Opening(*tunnel);
            }
            Command::Splice { client, tunnel, session, .. } => {
                self.spliced(*client, *tunnel, *session)
            }
            Command::Refuse { client, refusal } => self.refused(*client, *refusal, now),
            Command::Probe { .. }
            | Command::Probed { .. }
            | Command::Unawait { .. }
            | Command::Try { .. }
            | Command::Tried { .. } => unreachable!("nobody proves"),
            Command::Close { tunnel } => {
                let standbys = self.standbys(self.tunnels[tunnel].line);
                let it = self.tunnels.get_mut(tunnel).expect("a known tunnel");
                assert!(
                    !matches!(it.is, Is::Offered | Is::Spliced | Is::Gone),
                    "closes a {:?}",
                    it.is
                );
                if it.is == (Is::Returned { lingers: true }) {
                    let full = limits::STANDBYS_PER_TERMINAL <= standbys;
                    let revoked = it.line.is_none_or(|it| self.revoked.contains(&it.0));
                    assert!(self.stopped || full || revoked, "closes what could serve again");
                }
                let Is::Opening(client) = std::mem::replace(&mut it.is, Is::Gone) else { return };
                self.back_to_queue(client, *tunnel, now);
            }
            Command::Cut { client, tunnel } => self.cut(*client, *tunnel),
            Command::Sank { way } => {
                assert!(self.sunk.insert(*way, now).is_none(), "{way:?} sinks twice");
            }
            Command::Rose { way } => {
                assert!(self.sunk.remove(way).is_some(), "{way:?} had not sunk");
            }
            Command::CallEnded { call, .. } => {
                assert!(self.calls_ended.insert(*call), "ends twice")
            }
        }
    }

    /// A client whose tunnel came to nothing waits again.
    pub(crate) fn back_to_queue(&mut self, client: ClientId, tunnel: TunnelId, now: Instant) {
        let Some(it) = self.clients.get_mut(&client) else { return };
        if it.at == At::Opening(tunnel) {
            it.at = At::Queue { since: now };
        }
    }

    /// A tunnel replies to an open, possibly when it is no longer wanted.
    pub(crate) fn opened(&mut self, tunnel: TunnelId, outcome: Outcome, now: Instant) {
        let Some(it) = self.tunnels.get_mut(&tunnel) else { return };
        let Is::Opening(client) = it.is else { return };
        match outcome {
            Outcome::Connected => it.is = Is::Opened(client),
            Outcome::NotTried => {
                it.is = Is::Opened(client);
                self.back_to_queue(client, tunnel, now);
            }
            Outcome::Refused
            | Outcome::Unreachable
            | Outcome::Silent
            | Outcome::UnknownService
            | Outcome::NotGranted
            | Outcome::NoTunnel => it.is = Is::Standby,
        }
    }

    /// A tunnel has ended by itself.
    pub(crate) fn lost(&mut self, tunnel: TunnelId, now: Instant) {
        let Some(it) = self.tunnels.get_mut(&tunnel) else { return };
        let Is::Opening(client) = std::mem::replace(&mut it.is, Is::Gone) else { return };
        self.back_to_queue(client, tunnel, now);
    }

    /// A tunnel was gone before its splice began: the story of its client goes on.
    pub(crate) fn splice_failed(&mut self, client: ClientId, tunnel: TunnelId, now: Instant) {
        self.tunnels.get_mut(&tunnel).expect("a known tunnel").is = Is::Gone;
        // In the very instant of its splice it has not been moved yet.
        let it = self.clients.remove(&client).or_else(|| self.ended.remove(&client));
        let mut it = it.expect("a client that was spliced");
        assert_eq!(it.at, At::Spliced(tunnel));
        it.at = At::Queue { since: now };
        self.clients.insert(client, it);
    }

    /// A session has ended, and its tunnel with it unless it can serve another. If that was cut in
    /// this very moment it is nobody's any more.
    pub(crate) fn splice_ended(&mut self, client: ClientId, tunnel: TunnelId, returns: bool) {
        let client = self.ended.get(&client).or_else(|| self.clients.get(&client));
        let lingers = client.is_some_and(|it| !it.terminal.linger.is_zero());
        let is = if returns { Is::Returned { lingers } } else { Is::Gone };
        self.tunnels.entry(tunnel).or_insert(Tunnel { line: None, is: Is::Gone }).is = is;
    }

    fn standbys(&self, line: Option<Line>) -> usize {
        self.tunnels.values().filter(|it| it.line == line && it.is == Is::Standby).count()
    }

    fn rings_are_in_order(&mut self, ring: &Ring, attempt: usize, call: Option<Call>) {
        let whom = ring.session.map(|it| self.waiting(it).expect("rings for one who waits"));
        match ring.over {
            Over::Route(route) => {
                let whom = whom.expect("a route is rung for somebody");
                assert!(matches!(whom.at, At::Queue { .. }), "rings for one who has a tunnel");
                assert!(!whom.rings_itself, "rings by a route for one who rings by itself");
                assert_eq!((whom.line(), whom.service), (ring.line(), ring.service));
                assert!(route < whom.terminal.routes.len());
                if call.is_some_and(|it| it.signal == 1) {
                    let terminal = Arc::clone(&whom.terminal);
                    self.signals.remove(&ring.line());
                    if !self.goes_on.remove(&ring.line()) {
                        self.begins_well(&terminal, route, ring.rung);
                    }
                }
                let signals =
                    self.signals.entry(ring.line()).or_default().entry(route).or_default();
                *signals += 1;
                assert!(
                    attempt <= limits::SIGNALS_PER_RING && *signals <= limits::SIGNALS_PER_RING
                );
            }
            Over::Tunnel { tunnel, spare } => {
                assert_eq!(spare, ring.session.is_none());
                let it = &self.tunnels[&tunnel];
                assert_eq!(it.line, Some(ring.line()), "rings over another's tunnel");
                let idle = matches!(it.is, Is::Accepted(..) | Is::Standby | Is::Returned { .. });
                assert!(idle, "over a {:?}", it.is);
            }
            Over::Client(client) => {
                let whom = whom.expect("a signal is handed to somebody");
                assert!(matches!(whom.at, At::Queue { .. }), "hands one to one who has a tunnel");
                assert!(whom.rings_itself && whom.session.0 == client.0);
                assert_eq!((whom.line(), whom.service), (ring.line(), ring.service));
                assert!(attempt <= limits::SIGNALS_PER_RING);
            }
        }
    }

    /// What has sunk begins no call while there is better, but one after each rest.
    fn begins_well(&mut self, terminal: &Terminal, route: usize, now: Instant) {
        let ways = |route: usize| {
            [Way::Route(terminal.kid, route), Way::Bearer(terminal.routes[route].bearer)]
        };
        let is_sunk = |route: usize| ways(route).iter().any(|it| self.sunk.contains_key(it));
        let better = (0..terminal.routes.len()).any(|it| !is_sunk(it));
        for way in ways(route) {
            let Some(since) = self.sunk.get_mut(&way) else { continue };
            let rested = *since + limits::SUNK_FOR <= now;
            assert!(rested || !better, "{way:?} has sunk, and route {route} begins a call");
            if rested {
                *since = now;
            }
        }
    }

    /// No signal is laid beside one that the bearer has not handed on.
    fn nothing_is_held(&self, call: u64, route: usize) {
        let latest = self.latest.get(&(call, route)).map(|it| &self.rings[it]);
        assert!(latest.is_none_or(|it| it.handed_on || it.failed), "a second one is held");
    }

    /// A bearer tells how far a signal has come.
    pub(crate) fn progressed(&mut self, id: RingId, progress: Progress) {
        let ring = self.rings.get_mut(&id).expect("a known ring");
        ring.handed_on = true;
        ring.undelivered |= progress == Progress::Undelivered && !ring.cancelled;
    }

    /// A bearer did not take a signal, so it does not count.
    pub(crate) fn failed(&mut self, id: RingId) {
        let ring = self.rings.get_mut(&id).expect("a known ring");
        if ring.failed {
            return;
        }
        ring.failed = true;
        let Over::Route(route) = ring.over else { return };
        let line = ring.line();
        if let Some(signals) = self.signals.get_mut(&line).and_then(|it| it.get_mut(&route)) {
            *signals = signals.saturating_sub(1);
        }
    }

    fn accepted(&mut self, tunnel: TunnelId, mac: &[u8; 32], keys: &BTreeMap<Kid, PublicKey>) {
        let (heard, peer, hello) = self.heard.take().expect("accepts what was heard");
        assert_eq!(heard, tunnel);
        let ring = self.good(&peer, &hello, keys).expect("accepts only a good hello");
        assert!(self.consumed.insert(hello.sid), "a session is consumed once");
        let ring = &self.rings[&ring];
        let ours = ring.keys.as_ref().map(|it| confirm_public(it, &EXPORTER));
        assert_eq!(ours.as_ref(), Some(mac), "the answer proves the seal");
        let it = self.tunnels.get_mut(&tunnel).expect("a known tunnel");
        *it = Tunnel { line: Some(ring.line()), is: Is::Accepted(hello.outcome, ring.service) };
    }

    fn dismissed(&mut self, tunnel: TunnelId, keys: &BTreeMap<Kid, PublicKey>, now: Instant) {
        let (heard, peer, hello) = self.heard.take().expect("dismisses what was heard");
        assert_eq!(heard, tunnel);
        self.tunnels.get_mut(&tunnel).expect("a known tunnel").is = Is::Gone;
        let Some(ring) = self.good(&peer, &hello, keys) else { return };
        // Whoever was rung for must not be left waiting beside a good tunnel.
        let ring = &self.rings[&ring];
        // A signal's life is rounded up to whole seconds, its ring's is not.
        let age = now.duration_since(ring.rung) + Duration::from_secs(1);
        let fresh = age <= Duration::from_secs(u64::from(ring.ttl_seconds));
        let whom = ring.session.and_then(|it| self.waiting(it));
        let since = whom.and_then(|it| match it.at {
            At::Queue { since } => Some(since),
            At::Opening(_) | At::Spliced(_) | At::Refused(_) | At::Left => None,
        });
        let left_alone = fresh && since.is_some_and(|since| since <= ring.rung);
        assert!(!left_alone, "dismisses a good hello of one who waits");
        // It is used up all the same.
        self.goes_on.insert(ring.line());
        self.consumed.insert(hello.sid);
    }

    fn cut(&mut self, client: ClientId, tunnel: TunnelId) {
        let it = self.tunnels.get_mut(&tunnel).expect("a known tunnel");
        assert_eq!(it.is, Is::Spliced, "cuts a splice");
        assert!(it.line.is_some_and(|it| self.revoked.contains(&it.0)), "cuts at random");
        it.is = Is::Gone;
        let ended = self.ended.get(&client).or_else(|| self.clients.get(&client));
        assert_eq!(ended.expect("a known client").at, At::Spliced(tunnel));
    }

    fn refused(&mut self, client: ClientId, refusal: Refusal, now: Instant) {
        let it = self.clients.get_mut(&client).expect("a known client");
        assert!(matches!(it.at, At::Queue { .. } | At::Opening(_)), "refuses a {:?}", it.at);
        let over = it.arrived + it.terminal.answer_patience <= now;
        it.at = At::Refused(refusal);
        let line = it.line();
        if !over {
            return assert_ne!(refusal, Refusal::NoAnswer, "no answer before patience is over");
        }
        let lives = |it: &Ring| {
            let used_up = it.keys.as_ref().is_some_and(|it| self.consumed.contains(&it.sid));
            let ttl = Duration::from_secs(it.ttl_seconds.into());
            now < it.rung + ttl && !used_up && !it.failed && !it.cancelled && !it.undelivered
        };
        let heard = |it: &&Ring| it.line() == line && it.handed_on && lives(it);
        let unsent = refusal == Refusal::Unringable && !self.rings.values().any(|it| heard(&it));
        assert!(unsent || refusal == Refusal::NoAnswer, "no answer when patience is over");
    }

    fn spliced(&mut self, client: ClientId, tunnel: TunnelId, session: SessionId) {
        let it = self.tunnels.get_mut(&tunnel).expect("a known tunnel");
        let whom = self.clients.get_mut(&client).expect("a known client");
        match (it.is, whom.at) {
            (Is::Accepted(outcome, service), At::Queue { .. }) => {
                assert_eq!((outcome, service), (Outcome::Connected, whom.service));
            }
            (Is::Opened(one), At::Opening(at)) => assert_eq!((one, at), (client, tunnel)),
            other => panic!("splices {other:?}"),
        }
        assert_eq!(it.line, Some(whom.line()), "splices with another's tunnel");
        assert_eq!(whom.session, session);
        (it.is, whom.at) = (Is::Spliced, At::Spliced(tunnel));
    }

    /// How many clients were joined.
    pub(crate) fn served(&self) -> usize {
        self.ended.values().filter(|it| matches!(it.at, At::Spliced(_))).count()
    }

    /// Every way in which a client's story has ended.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &'static str> {
        self.ended.values().map(|it| match it.at {
            At::Queue { .. } | At::Opening(_) => unreachable!("it has ended"),
            At::Spliced(_) => "spliced",
            At::Refused(refusal) => refusal.code(),
            At::Left => "left",
        })
    }

    /// What must hold whenever all commands are drained.
    pub(crate) fn check(&mut self, census: Census, timeout: Option<Instant>, now: Instant) {
        assert!(self.heard.is_none(), "every hello is answered");
        let waits = |it: &Client| matches!(it.at, At::Queue { .. } | At::Opening(_));
        for (id, it) in self.clients.extract_if(.., |_, it| !waits(it)) {
            assert!(self.ended.insert(id, it).is_none(), "{id:?} ends twice");
        }
        for (id, it) in &self.clients {
            let gives_up = it.arrived + it.terminal.answer_patience;
            assert!(now < gives_up, "{id:?} waits beyond its patience");
            assert!(timeout.is_some_and(|it| it <= gives_up), "{id:?} would wait for ever");
        }
        assert_eq!(census.waiting, self.clients.len());

        self.tunnels.retain(|_, it| it.is != Is::Gone);
        let kept = !self.stopped;
        for it in self.tunnels.values_mut().filter(|it| kept && it.line.is_some()) {
            if it.is == (Is::Returned { lingers: true }) {
                it.is = Is::Standby;
                self.turns.1 += 1;
            }
        }
        for (id, it) in &self.tunnels {
            match it.is {
                Is::Offered | Is::Accepted(..) | Is::Opened(_) | Is::Returned { .. } => {
                    panic!("{id:?} stays {:?}", it.is)
                }
                Is::Opening(_) | Is::Spliced | Is::Gone => {}
                Is::Standby => {
                    let line = it.line.expect("a standby has a terminal");
                    assert!(
                        self.queued(line).next().is_none(),
                        "{id:?} stands by a waiting client"
                    );
                }
            }
        }
        assert_eq!(census.tunnels, self.tunnels.len());
        assert!(census.rings <= self.rings.len() - self.consumed.len());
    }
}
