//! A world around the real switchboard: bearers that lose, double, delay and fail, private proxies,
//! strangers, clients that leave, tunnels that are cut; all out of one seed.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringback_proto::access_request::{Kid, Protocol, SessionKeys, Sid, TunnelType};
use ringback_proto::budget::{Charge, Denial, Money, Rules};
use ringback_proto::gate::{Level, Shown, Source, admit};
use ringback_proto::hello::{Hello, Outcome, SessionId, confirm_private};
use ringback_proto::limits;
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::{
    BearerId, Call, ClientId, Command, Event, Over, Paired, Progress, PublicKey, RingId, Room,
    RoutePlan, Spares, Switchboard, Terminal, TunnelId,
};
use ringback_proto::terminal::{ServiceId, TenantName};

use crate::chance::Chance;
use crate::model::{At, Client, EXPORTER, Is, Model, Tunnel};
use crate::till::{PRICE, Till};

/// The bearer that carries mail: slow, and nothing is lost. All others carry SMS.
pub(crate) const MAIL: BearerId = BearerId(9);

/// How unkind the world is, in cases of a thousand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) doubling: u64,
    pub(crate) delay: u64,
    pub(crate) bearer_failure: u64,
    pub(crate) held: u64,
    pub(crate) undelivered: u64,
    pub(crate) dead_service: u64,
    pub(crate) cut: u64,
    /// How many sessions of a thousand end so that their tunnel can serve another.
    pub(crate) in_turn: u64,
    pub(crate) leaving: u64,
    pub(crate) strangers: u64,
    pub(crate) crashes: u64,
    /// How many clients of a thousand are let in by where they come from; they share no tunnel.
    pub(crate) allowed: u64,
    /// How many clients of a thousand ring by themselves.
    pub(crate) ringing: u64,
}

pub(crate) struct World {
    chance: Chance,
    weather: Weather,
    terminals: Vec<Arc<Terminal>>,
    keys: BTreeMap<Kid, PublicKey>,
    tenants: BTreeMap<Kid, TenantName>,
    bearers: BTreeMap<Kid, Vec<BearerId>>,
    board: Switchboard,
    pub(crate) model: Model,
    pub(crate) till: Till,
    agenda: BTreeMap<(Instant, u64), Happening>,
    /// Hellos seen on the wire, for whoever replays them.
    seen: Vec<(PublicKey, Hello)>,
    pub(crate) served_after: Vec<Duration>,
    /// When clients came that got a tunnel which stood by, and how long they had waited for it.
    pub(crate) opened_after: Vec<(Duration, Duration)>,
    /// When bearers are down, and keep what they are given.
    outages: Vec<(BearerId, Duration, Duration)>,
    /// What was rung: when, by which bearer, and as which signal of its call.
    pub(crate) rung: Vec<(Duration, BearerId, usize)>,
    /// What operators have got: when, and by which bearer.
    pub(crate) submitted: Vec<(Duration, BearerId)>,
    now: Instant,
    serial: u64,
}

enum Happening {
    Arrives(usize),
    Leaves(ClientId),
    SignalArrives(RingId),
    BearerFails(RingId),
    Submitted(RingId),
    Progresses(RingId, Progress),
    Dials(PublicKey, Hello),
    Opened(TunnelId, Outcome),
    TunnelCut(TunnelId),
    SpliceFails(ClientId, TunnelId),
    SpliceEnds(ClientId, TunnelId, Option<Paired>),
    IsRevoked(usize),
    Stops,
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, terminals: Vec<Terminal>, rules: Rules) -> Self {
        let mut board = Switchboard::new();
        board.make_room(Room::among(1, limits::WAITING_CLIENTS));
        let keys = terminals.iter().map(|it| (it.kid, it.private_proxy)).collect();
        let tenants = terminals.iter().map(|it| (it.kid, it.tenant)).collect();
        let bearers = |it: &Terminal| it.routes.iter().map(|it| it.bearer).collect();
        let bearers = terminals.iter().map(|it| (it.kid, bearers(it))).collect();
        Self {
            chance: Chance::new(seed),
            weather,
            terminals: terminals.into_iter().map(Arc::new).collect(),
            keys,
            tenants,
            bearers,
            board,
            model: Model::default(),
            till: Till::new(rules),
            agenda: BTreeMap::new(),
            seen: Vec::new(),
            served_after: Vec::new(),
            opened_after: Vec::new(),
            outages: Vec::new(),
            rung: Vec::new(),
            submitted: Vec::new(),
            now: start(),
            serial: 0,
        }
    }

    /// Lets a client come to a terminal, so long after the start.
    pub(crate) fn client_comes(&mut self, terminal: usize, after: Duration) {
        self.plan_at(start() + after, Happening::Arrives(terminal));
    }

    pub(crate) fn is_revoked(&mut self, terminal: usize, after: Duration) {
        self.plan_at(start() + after, Happening::IsRevoked(terminal));
    }

    /// Lets a bearer be down from one time to another, so long after the start.
    pub(crate) fn is_down(&mut self, bearer: BearerId, from: Duration, to: Duration) {
        self.outages.push((bearer, from, to));
    }

    pub(crate) fn stops(&mut self, after: Duration) {
        self.plan_at(start() + after, Happening::Stops);
    }

    /// Runs until nothing is left to happen, and checks that nothing is left behind.
    pub(crate) fn run(&mut self) {
        while let Some(at) = self.next() {
            self.now = at;
            // Events and timeouts of one instant come in any order.
            let due = self.board.poll_timeout() == Some(at);
            let happens = self.agenda.first_key_value().is_some_and(|((it, _), _)| *it == at);
            if due && (!happens || self.chance.permille(500)) {
                self.board.handle_timeout(at);
                self.obey();
                let next = self.board.poll_timeout();
                assert!(next.is_none_or(|next| at < next), "the law of timeouts");
                self.model.check(self.board.census(), next, at);
                continue;
            }
            if let Some((_, happening)) = self.agenda.pop_first() {
                self.happen(happening);
                self.obey();
            }
            // A client whose patience ends now may be told by the timeout of the same instant.
            if !due {
                self.model.check(self.board.census(), self.board.poll_timeout(), at);
            }
        }
        assert!(self.model.clients.is_empty(), "somebody is forgotten");
        assert_eq!(self.model.calls_begun, self.model.calls_ended, "each call ends, and once");
        assert_eq!(self.model.served(), self.served_after.len());
        let census = self.board.census();
        assert_eq!((census.lines, census.waiting, census.rings, census.tunnels), (0, 0, 0, 0));
    }

    fn next(&self) -> Option<Instant> {
        let happens = self.agenda.first_key_value().map(|((at, _), _)| *at);
        [happens, self.board.poll_timeout()].into_iter().flatten().min()
    }

    fn plan_at(&mut self, at: Instant, happening: Happening) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), happening);
    }

    fn plan(&mut self, least: u64, most: u64, happening: Happening) {
        let at = self.now + self.chance.span(least, most);
        self.plan_at(at, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(terminal) => self.client_arrives(terminal),
            Happening::Leaves(client) => {
                if let Some(it) = self.model.clients.get_mut(&client) {
                    it.at = At::Left;
                }
                self.tell(Event::ClientLeft { client });
            }
            Happening::SignalArrives(ring) => self.private_proxy_hears(ring),
            Happening::BearerFails(ring) => {
                self.model.failed(ring);
                let permanent = self.chance.permille(300);
                let retry_after = self.chance.permille(500).then(|| self.chance.span(0, 20_000));
                self.tell(Event::RingFailed { ring, permanent, retry_after });
            }
            Happening::Submitted(ring) => self.operator_has(ring),
            Happening::Progresses(ring, progress) => {
                self.model.progressed(ring, progress);
                self.tell(Event::RingProgressed { ring, progress });
            }
            Happening::Dials(peer, hello) => self.hello(peer, hello),
            Happening::Opened(tunnel, outcome) => {
                self.model.opened(tunnel, outcome, self.now);
                self.tell(Event::Opened { tunnel, outcome });
            }
            Happening::TunnelCut(tunnel) => self.tunnel_is_cut(tunnel),
            // What was cut cannot fail any more: its client was joined, if only for a moment.
            Happening::SpliceFails(_, tunnel) if !self.model.tunnels.contains_key(&tunnel) => {
                self.served_after.push(Duration::ZERO);
            }
            Happening::SpliceFails(client, tunnel) => {
                self.model.splice_failed(client, tunnel, self.now);
                self.tell(Event::SpliceFailed { client, tunnel });
            }
            Happening::SpliceEnds(client, tunnel, back) => {
                self.model.splice_ended(client, tunnel, back.is_some());
                self.tell(Event::SpliceEnded { client, tunnel, back });
            }
            Happening::IsRevoked(terminal) => {
                let kid = self.terminals[terminal].kid;
                self.model.revoked.insert(kid);
                self.tell(Event::Revoke { kid });
                self.obey();
                let left = self
                    .model
                    .tunnels
                    .values()
                    .any(|it| it.line.is_some_and(|it| it.0 == kid) && it.is != Is::Gone);
                assert!(!left, "a tunnel outlives its keys");
            }
            Happening::Stops => {
                self.model.stopped = true;
                self.tell(Event::Stop);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.board.handle_event(event, self.now);
    }

    fn client_arrives(&mut self, terminal: usize) {
        self.serial += 1;
        let (client, session) = (ClientId(self.serial), SessionId(self.serial));
        let terminal = Arc::clone(&self.terminals[terminal]);
        let service = ServiceId(self.chance.pick(&[0, 0, 0, 1]));
        let allowed = self.chance.permille(self.weather.allowed);
        let level = if allowed { Level::Allow } else { Level::Open };
        let (arrived, at) = (self.now, At::Queue { since: self.now });
        let rings_itself = self.chance.permille(self.weather.ringing);
        let it = Client {
            terminal: Arc::clone(&terminal),
            session,
            service,
            level,
            rings_itself,
            arrived,
            at,
        };
        self.model.clients.insert(client, it);
        let source = Source::of([192, 0, 2, self.chance.below(4) as u8].into());
        let admitted = admit(level, Shown::Network, source).expect("it has shown enough");
        self.tell(Event::ClientArrived {
            client,
            session,
            terminal,
            service,
            through: TunnelType::Tls,
            admitted,
            rings_itself,
        });
        if self.chance.permille(self.weather.leaving) {
            self.plan(0, 70_000, Happening::Leaves(client));
        }
    }

    /// Obeys what has arrived, twice if it comes twice: the worst a private proxy may do.
    fn private_proxy_hears(&mut self, ring: RingId) {
        let it = &self.model.rings[&ring];
        let (kid, keys) = (it.kid, it.keys.clone());
        let spare = matches!(it.over, Over::Tunnel { spare: true, .. });
        let Some(keys) = keys else { return };
        let dead = [
            Outcome::Refused,
            Outcome::Unreachable,
            Outcome::Silent,
            Outcome::UnknownService,
            Outcome::NotTried,
        ];
        let outcome = match (spare, self.chance.permille(self.weather.dead_service)) {
            (true, _) => Outcome::NotTried,
            (false, true) => self.chance.pick(&dead),
            (false, false) => Outcome::Connected,
        };
        let peer = self.keys[&kid];
        let hello =
            Hello { sid: keys.sid, mac: confirm_private(&keys, &EXPORTER), outcome, bare: false };
        if self.chance.permille(self.weather.strangers) {
            self.plan(0, 1_500, Happening::Dials(PublicKey([0xee; 44]), hello.clone()));
            let forged = Hello { mac: [0; 32], outcome: Outcome::Refused, ..hello.clone() };
            self.plan(0, 1_500, Happening::Dials(peer, forged));
        }
        self.plan(100, 3_000, Happening::Dials(peer, hello));
    }

    fn hello(&mut self, peer: PublicKey, hello: Hello) {
        self.serial += 1;
        let tunnel = TunnelId(self.serial);
        self.seen.push((peer, hello.clone()));
        self.model.hears(tunnel, peer, hello.clone());
        self.tell(Event::HelloHeard {
            tunnel,
            protocol: Protocol::Tls,
            peer,
            hello,
            exporter: EXPORTER,
        });
        if self.chance.permille(self.weather.strangers) {
            let which = self.chance.below(self.seen.len() as u64) as usize;
            let (peer, hello) = self.seen[which].clone();
            self.plan(0, 60_000, Happening::Dials(peer, hello));
        }
    }

    fn tunnel_is_cut(&mut self, tunnel: TunnelId) {
        let spliced = |it: &Tunnel| it.is == Is::Spliced;
        if self.model.tunnels.get(&tunnel).is_some_and(spliced) {
            return;
        }
        self.model.lost(tunnel, self.now);
        self.tell(Event::TunnelLost { tunnel });
    }

    /// Does what the switchboard commands, as the shell would, until it is content.
    fn obey(&mut self) {
        while let Some(command) = self.board.poll_command() {
            self.model.commanded(&command, &self.keys, self.now);
            match command {
                Command::Ring { ring, kid, over, call: Some(call), admitted, .. } => {
                    self.pay(ring, kid, over, call, admitted.source());
                }
                Command::Ring { ring, over, call: None, .. } => self.send(ring, over),
                Command::CallEnded { call, kid, how } => {
                    let at = self.unix_seconds();
                    self.till.ended(|it| it.ended(call, kid, how, at));
                }
                Command::Splice { client, tunnel, paired, .. } => {
                    if self.chance.permille(self.weather.cut) {
                        self.plan(0, 15_000, Happening::SpliceFails(client, tunnel));
                        continue;
                    }
                    let arrived = self.model.clients[&client].arrived;
                    self.served_after.push(self.now - arrived);
                    let back = Some(paired).filter(|_| self.chance.permille(self.weather.in_turn));
                    self.plan(100, 90_000, Happening::SpliceEnds(client, tunnel, back));
                }
                Command::Open { tunnel, client, .. } => {
                    let arrived = self.model.clients[&client].arrived;
                    self.opened_after.push((arrived - start(), self.now - arrived));
                    self.open(tunnel);
                }
                Command::Standby { tunnel } | Command::Accept { tunnel, .. } => {
                    if self.chance.permille(self.weather.cut) {
                        self.plan(0, 120_000, Happening::TunnelCut(tunnel));
                    }
                }
                Command::Probe { .. }
                | Command::Probed { .. }
                | Command::Unawait { .. }
                | Command::Try { .. }
                | Command::Tried { .. } => unreachable!("nobody proves"),
                Command::Cancel { .. }
                | Command::Dismiss { .. }
                | Command::Refuse { .. }
                | Command::Close { .. }
                | Command::Sank { .. }
                | Command::Rose { .. }
                | Command::Cut { .. } => {}
            }
        }
    }

    fn pay(&mut self, ring: RingId, kid: Kid, over: Over, call: Call, source: Source) {
        if self.chance.permille(self.weather.crashes) {
            self.till.dies();
        }
        let tenant = self.tenants[&kid];
        let price = if call.is_by_client() { Money::default() } else { PRICE };
        let charge = Charge { kid, source, tenant, price, call };
        match self.till.ask(charge, self.unix_seconds()) {
            Ok(()) => {
                if !call.is_by_client() {
                    self.model.calls_begun.insert(call.id);
                    self.rung.push((self.now - start(), self.bearer(ring), call.signal));
                }
                self.send(ring, over);
            }
            Err(Denial { budget, wait }) => {
                self.model.failed(ring);
                self.tell(Event::RingDenied { ring, budget, wait });
            }
        }
    }

    fn unix_seconds(&self) -> u64 {
        1_800_000_000 + (self.now - start()).as_secs()
    }

    fn send(&mut self, ring: RingId, over: Over) {
        if self.chance.permille(self.weather.bearer_failure) {
            return self.plan(0, 3_000, Happening::BearerFails(ring));
        }
        let keys = self.session_keys();
        self.model.sealed(ring, keys.clone());
        self.tell(Event::Sealed { ring, keys });
        if let Over::Tunnel { .. } = over {
            if !self.chance.permille(self.weather.cut) {
                self.plan(20, 2_000, Happening::SignalArrives(ring));
            }
            return;
        }
        if let Over::Client(_) = over {
            for _ in 0..=u64::from(self.chance.permille(self.weather.doubling)) {
                if !self.chance.permille(self.weather.loss) {
                    self.plan(1_500, 6_000, Happening::SignalArrives(ring));
                }
            }
            return;
        }
        let (at, bearer) = (self.now - start(), self.bearer(ring));
        let down = |it: &&(BearerId, Duration, Duration)| it.0 == bearer && it.1 <= at && at < it.2;
        if let Some((_, _, until)) = self.outages.iter().find(down) {
            return self.plan_at(start() + *until, Happening::Submitted(ring));
        }
        let most = if self.chance.permille(self.weather.held) { 90_000 } else { 400 };
        self.plan(10, most, Happening::Submitted(ring));
    }

    /// A bearer hands a signal on, unless it was taken back.
    fn operator_has(&mut self, ring: RingId) {
        if self.model.rings[&ring].cancelled {
            return;
        }
        let bearer = self.bearer(ring);
        self.submitted.push((self.now - start(), bearer));
        let unsure = self.chance.permille(self.weather.held);
        let progress = if unsure { Progress::Unknown } else { Progress::Submitted };
        self.model.progressed(ring, progress);
        self.tell(Event::RingProgressed { ring, progress });
        if self.chance.permille(self.weather.undelivered) {
            let event = Happening::Progresses(ring, Progress::Undelivered);
            return self.plan(0, 5_000, event);
        }
        let late = self.chance.permille(self.weather.delay);
        if bearer == MAIL {
            let most = if late { 600_000 } else { 40_000 };
            return self.plan(3_000, most, Happening::SignalArrives(ring));
        }
        let copies = 1 + u64::from(self.chance.permille(self.weather.doubling));
        for _ in 0..copies {
            if self.chance.permille(self.weather.loss) {
                continue;
            }
            let most = if late { 3 * 3600 * 1000 } else { 6_000 };
            self.plan(1_500, most, Happening::SignalArrives(ring));
            if self.chance.permille(self.weather.held) {
                let event = Happening::Progresses(ring, Progress::Delivered);
                self.plan(6_000, 20_000, event);
            }
        }
    }

    /// What carries a ring by a route.
    fn bearer(&self, ring: RingId) -> BearerId {
        let it = &self.model.rings[&ring];
        let Over::Route(route) = it.over else { panic!("a ring over a tunnel has no bearer") };
        self.bearers[&it.kid][route]
    }

    fn open(&mut self, tunnel: TunnelId) {
        if self.chance.permille(self.weather.cut) {
            return;
        }
        let dead = self.chance.permille(self.weather.dead_service);
        let outcomes = [Outcome::NotGranted, Outcome::Silent, Outcome::NotTried];
        let outcome = if dead { self.chance.pick(&outcomes) } else { Outcome::Connected };
        // Late is also later than anybody waits for it.
        let most = if 0 < self.weather.delay { 9_000 } else { 3_000 };
        self.plan(50, most, Happening::Opened(tunnel, outcome));
    }

    fn session_keys(&mut self) -> SessionKeys {
        let mut octets = || {
            let mut octets = [0; 32];
            octets
                .chunks_mut(8)
                .for_each(|it| it.copy_from_slice(&self.chance.next().to_be_bytes()));
            octets
        };
        let mut sid = [0; 16];
        sid.copy_from_slice(&octets()[..16]);
        SessionKeys {
            sid: Sid(sid),
            psk: Secret::new(octets()),
            confirm_private: Secret::new(octets()),
            confirm_public: Secret::new(octets()),
        }
    }
}

/// One terminal with so many routes of 30 seconds, each by its own operator, that does not linger.
pub(crate) fn terminal(kid: u32, routes: usize) -> Terminal {
    let plan = |it| RoutePlan { bearer: BearerId(it), patience: Duration::from_secs(30) };
    Terminal {
        kid: Kid(kid),
        tenant: TenantName::default(),
        private_proxy: PublicKey([kid as u8; 44]),
        routes: (0..routes).map(plan).collect(),
        answer_patience: Duration::from_secs(60),
        linger: Duration::ZERO,
        spares: Spares::fixed(0),
        waiting: limits::WAITING_CLIENTS_PER_TERMINAL,
    }
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "any instant will do; there is no other maker")]
    *START.get_or_init(Instant::now)
}
