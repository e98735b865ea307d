//! A switchboard under the hands of a storyteller: one terminal, virtual time, commands as words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringback_proto::access_request::{Kid, Protocol, SessionKeys, Sid, TunnelType};
use ringback_proto::gate::{Level, Shown, Source, admit};
use ringback_proto::hello::{Hello, Outcome, SessionId, confirm_private};
use ringback_proto::limits;
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::{
    BearerId, CallEnd, ClientId, Command, Event, Over, Paired, Progress, PublicKey, RingId, Room,
    RoutePlan, Spares, Switchboard, Terminal, TunnelId, Way,
};
use ringback_proto::terminal::{ServiceId, TenantName};

pub(crate) const EXPORTER: [u8; 32] = [0x55; 32];
pub(crate) const OURS: PublicKey = PublicKey([1; 44]);
pub(crate) const STRANGER: PublicKey = PublicKey([2; 44]);

pub(crate) struct Story {
    pub(crate) board: Switchboard,
    pub(crate) terminal: Terminal,
    pub(crate) now: Instant,
    pub(crate) seals: bool,
    /// Whether bearers hand on at once what they are given.
    pub(crate) submits: bool,
    /// Where clients come from.
    pub(crate) source: IpAddr,
    /// What the services that they want are reached over, and what is dialed back over.
    pub(crate) through: TunnelType,
    pub(crate) protocol: Protocol,
    /// How calls have ended.
    pub(crate) ended: Vec<(u64, CallEnd)>,
    ttls: BTreeMap<u64, u16>,
    /// The proofs of the splices that go on, by tunnel.
    pairs: BTreeMap<u64, Paired>,
}

/// A terminal with so many routes of 30 seconds, each by its own bearer, no linger, a patience of 60 seconds.
pub(crate) fn story(routes: usize) -> Story {
    let plan = |it| RoutePlan { bearer: BearerId(it), patience: seconds(30) };
    let terminal = Terminal {
        kid: Kid(7),
        tenant: TenantName::default(),
        private_proxy: OURS,
        routes: (0..routes).map(plan).collect(),
        answer_patience: seconds(60),
        linger: Duration::ZERO,
        spares: Spares::fixed(0),
        waiting: limits::WAITING_CLIENTS_PER_TERMINAL,
    };
    let ttls = BTreeMap::new();
    let mut board = Switchboard::new();
    board.make_room(Room::among(1, limits::WAITING_CLIENTS));
    let source = [192, 0, 2, 7].into();
    let (ended, now) = (Vec::new(), start());
    let pairs = BTreeMap::new();
    let (through, protocol) = (TunnelType::Tls, Protocol::Tls);
    let (seals, submits) = (true, true);
    Story { board, terminal, source, through, protocol, ended, now, seals, submits, ttls, pairs }
}

/// The same, whose tunnels linger for five minutes, with so many spares.
pub(crate) fn lingering(spares: usize) -> Story {
    let mut story = story(1);
    (story.terminal.linger, story.terminal.spares) = (seconds(300), Spares::fixed(spares));
    story
}

impl Story {
    pub(crate) fn event(&mut self, event: Event) -> Vec<String> {
        self.board.handle_event(event, self.now);
        self.drain()
    }

    pub(crate) fn arrives(&mut self, client: u64) -> Vec<String> {
        self.arrives_for(client, 0)
    }

    pub(crate) fn arrives_for(&mut self, client: u64, service: u16) -> Vec<String> {
        self.comes(client, service, false)
    }

    /// A client that rings by itself.
    pub(crate) fn arrives_ringing(&mut self, client: u64) -> Vec<String> {
        self.comes(client, 0, true)
    }

    fn comes(&mut self, client: u64, service: u16, rings_itself: bool) -> Vec<String> {
        let terminal = Arc::new(self.terminal.clone());
        self.event(Event::ClientArrived {
            client: ClientId(client),
            session: SessionId(client),
            terminal,
            service: ServiceId(service),
            through: self.through,
            admitted: admit(Level::Open, Shown::Nothing, Source::of(self.source))
                .expect("open to all"),
            rings_itself,
        })
    }

    pub(crate) fn leaves(&mut self, client: u64) -> Vec<String> {
        self.event(Event::ClientLeft { client: ClientId(client) })
    }

    pub(crate) fn fails(&mut self, ring: u64, permanent: bool, after: Option<u64>) -> Vec<String> {
        let retry_after = after.map(seconds);
        self.event(Event::RingFailed { ring: RingId(ring), permanent, retry_after })
    }

    pub(crate) fn progresses(&mut self, ring: u64, progress: Progress) -> Vec<String> {
        self.event(Event::RingProgressed { ring: RingId(ring), progress })
    }

    /// A good hello that answers `ring`.
    pub(crate) fn dials(&mut self, tunnel: u64, ring: u64, outcome: Outcome) -> Vec<String> {
        let keys = keys(RingId(ring));
        let hello =
            Hello { sid: keys.sid, mac: confirm_private(&keys, &EXPORTER), outcome, bare: false };
        self.hello(tunnel, OURS, hello)
    }

    pub(crate) fn hello(&mut self, tunnel: u64, peer: PublicKey, hello: Hello) -> Vec<String> {
        let tunnel = TunnelId(tunnel);
        let (protocol, exporter) = (self.protocol, EXPORTER);
        self.event(Event::HelloHeard { tunnel, protocol, peer, hello, exporter })
    }

    pub(crate) fn opened(&mut self, tunnel: u64, outcome: Outcome) -> Vec<String> {
        self.event(Event::Opened { tunnel: TunnelId(tunnel), outcome })
    }

    pub(crate) fn lost(&mut self, tunnel: u64) -> Vec<String> {
        self.event(Event::TunnelLost { tunnel: TunnelId(tunnel) })
    }

    pub(crate) fn ended(&mut self, client: u64, tunnel: u64) -> Vec<String> {
        let (client, tunnel) = (ClientId(client), TunnelId(tunnel));
        self.event(Event::SpliceEnded { client, tunnel, back: None })
    }

    /// A session ends in both directions, and its tunnel can serve another.
    pub(crate) fn returns(&mut self, client: u64, tunnel: u64) -> Vec<String> {
        let back = Some(self.pairs.remove(&tunnel).expect("a splice"));
        let (client, tunnel) = (ClientId(client), TunnelId(tunnel));
        self.event(Event::SpliceEnded { client, tunnel, back })
    }

    pub(crate) fn fails_to_splice(&mut self, client: u64, tunnel: u64) -> Vec<String> {
        self.event(Event::SpliceFailed { client: ClientId(client), tunnel: TunnelId(tunnel) })
    }

    /// Lets time pass until `at` seconds after the start, stopping wherever the board asks for it;
    /// each command is preceded by its second.
    pub(crate) fn until(&mut self, at: u64) -> Vec<String> {
        let end = start() + seconds(at);
        let mut told = Vec::new();
        while let Some(due) = self.board.poll_timeout().filter(|due| *due <= end) {
            assert!(self.now <= due, "no timeout lies in the past");
            self.now = due;
            self.board.handle_timeout(due);
            assert!(self.board.poll_timeout().is_none_or(|next| due < next), "the law of timeouts");
            let second = (due - start()).as_secs();
            told.extend(self.drain().into_iter().map(|it| format!("{second}: {it}")));
        }
        self.now = end;
        told
    }

    /// For how many seconds a ring's signal is worth obeying.
    pub(crate) fn ttl(&self, ring: u64) -> u16 {
        self.ttls[&ring]
    }

    fn drain(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(command) = self.board.poll_command() {
            if let Command::CallEnded { call, how, .. } = command {
                self.ended.push((call, how));
                continue;
            }
            told.push(tell(&command));
            if let Command::Splice { tunnel, paired, .. } = command {
                self.pairs.insert(tunnel.0, paired);
                continue;
            }
            let (Command::Ring { ring, ttl_seconds, .. }
            | Command::Probe { ring, ttl_seconds, .. }
            | Command::Try { ring, ttl_seconds, .. }) = command
            else {
                continue;
            };
            self.ttls.insert(ring.0, ttl_seconds);
            if self.seals {
                self.board.handle_event(Event::Sealed { ring, keys: keys(ring) }, self.now);
            }
            if self.submits {
                let progress = Progress::Submitted;
                self.board.handle_event(Event::RingProgressed { ring, progress }, self.now);
            }
        }
        told
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a ring's signal would derive.
pub(crate) fn keys(ring: RingId) -> SessionKeys {
    let mut sid = [0x5d; 16];
    sid[..8].copy_from_slice(&ring.0.to_be_bytes());
    let secret = |label: u8| {
        let mut octets = [label; 32];
        octets[..8].copy_from_slice(&ring.0.to_be_bytes());
        Secret::new(octets)
    };
    SessionKeys {
        sid: Sid(sid),
        psk: secret(1),
        confirm_private: secret(2),
        confirm_public: secret(3),
    }
}

fn tell(command: &Command) -> String {
    match command {
        Command::Ring { ring, service, over, session, attempt, .. } => {
            let whom = session.map_or_else(String::new, |it| format!(" for {}", it.0));
            let over = match over {
                Over::Route(route) => format!("by route {route} #{attempt}"),
                Over::Tunnel { tunnel, spare: false } => format!("over tunnel {}", tunnel.0),
                Over::Tunnel { tunnel, spare: true } => format!("a spare over tunnel {}", tunnel.0),
                Over::Client(client) => format!("by client {} #{attempt}", client.0),
            };
            let service =
                if service.0 == 0 { String::new() } else { format!(", service {service}") };
            format!("ring {} {over}{whom}{service}", ring.0)
        }
        Command::Try { ring, route, service, .. } => {
            format!("try {} by route {route} for service {}", ring.0, service.0)
        }
        Command::Tried { outcome, .. } => format!("tried: {outcome:?}"),
        Command::Probe { ring, .. } => format!("probe {}", ring.0),
        Command::Probed { answered, .. } => format!("probed: {answered}"),
        Command::Cancel { ring } => format!("cancel {}", ring.0),
        Command::Unawait { ring } => format!("unawait {}", ring.0),
        Command::Accept { tunnel, .. } => format!("accept {}", tunnel.0),
        Command::Dismiss { tunnel, unproven: None } => format!("dismiss {}", tunnel.0),
        Command::Dismiss { tunnel, unproven: Some(_) } => format!("dismiss {} unproven", tunnel.0),
        Command::Standby { tunnel } => format!("standby {}", tunnel.0),
        Command::Open { tunnel, client, .. } => format!("open {} for {}", tunnel.0, client.0),
        Command::Splice { client, tunnel, opened, .. } => {
            let opened = if *opened { "opened " } else { "" };
            format!("splice {} with {opened}{}", client.0, tunnel.0)
        }
        Command::Refuse { client, refusal } => format!("refuse {} {}", client.0, refusal.code()),
        Command::Close { tunnel } => format!("close {}", tunnel.0),
        Command::Cut { client, tunnel } => format!("cut {} from {}", client.0, tunnel.0),
        Command::Sank { way } => format!("{} sinks", name(*way)),
        Command::Rose { way } => format!("{} rises", name(*way)),
        Command::CallEnded { .. } => unreachable!("told apart"),
    }
}

fn name(way: Way) -> String {
    match way {
        Way::Bearer(BearerId(it)) => format!("bearer {it}"),
        Way::Route(_, route) => format!("route {route}"),
    }
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "any instant will do; there is no other maker")]
    *START.get_or_init(Instant::now)
}
