//! The private proxy's dialer: which access requests to obey, when to dial, when to give up.
//!
//! Pure. It never says why a request was rejected to whoever sent it: a bearer has no way back, and
//! an attacker should learn nothing. It dials no address that is not in its own table.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::access_request::{
    AccessRequest, Kid, OpeningKey, Purpose, Ratchet, SessionKeys, Sid, Signal, SignalId,
    TunnelType, open,
};
use crate::freshness::{self, ReplayWindow};
use crate::limits;
use crate::terminal::{Callee, ServiceId};

mod bucket;
mod fleet;
mod forbidden;
mod rejection;
mod vain;

use bucket::Bucket;
use vain::{Common, Shares};

pub use bucket::Rate;
pub use fleet::Fleet;
pub use forbidden::{Forbidden, forbidden};
pub use rejection::{Counters, Rejection};

/// Where a key id may be told to dial back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The one address and port.
    pub address: SocketAddr,
    /// Whom to expect there: a public proxy by its place in the role's own table.
    pub public_proxy: usize,
    /// Listed by itself, and so dialed whatever it is; else it only lies in a listed network.
    pub listed: bool,
}

/// Where a key id may be told to dial back to, as a network of public proxies with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedFleet {
    /// Their addresses.
    pub fleet: Fleet,
    /// As of [`Allowed`].
    pub public_proxy: usize,
}

/// All that one key id entitles to.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Opens its signals.
    pub key: OpeningKey,
    /// The addresses it answers to.
    pub callee: Vec<Callee>,
    /// Who may ring it, one by one.
    pub public_proxies: Vec<Allowed>,
    /// Who may ring it by the network; what is forbidden there is not dialed.
    pub fleets: Vec<AllowedFleet>,
    /// What it offers, and over which tunnels: what a signal asks for cannot lower that.
    pub services: BTreeMap<ServiceId, TunnelType>,
    /// What it has obeyed already, as last remembered.
    pub window: ReplayWindow,
}

/// What carried a signal here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A bearer that anybody may send over: its signals are counted.
    Bearer,
    /// A tunnel, so an authenticated public proxy.
    Tunnel {
        /// Dial back, but connect to no service yet.
        spare: bool,
    },
}

/// Names one access request's dials, retries included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialId(pub u64);

/// How a dial ended, from the dialer's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialOutcome {
    /// The public proxy accepted the hello.
    Served,
    /// It was who it should be, and nobody waits any more.
    Gone,
    /// There was no answer, or no way there: worth another try.
    Unreachable,
    /// It was not who it should be, or would not have us: not worth another.
    Refused,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Octets came that may be a signal.
    RingHeard {
        /// The signal, or whatever else came.
        octets: Vec<u8>,
        /// What carried it.
        over: Over,
        /// The wall clock.
        unix_seconds: u64,
        /// Whether the wall clock has been set since the machine started.
        synchronized: bool,
    },
    /// The window that was last asked to be remembered is on the disk.
    Remembered {
        /// Whose window it is.
        kid: Kid,
    },
    /// It is not, and the operator has been told: go on without.
    NotRemembered {
        /// Whose window it was.
        kid: Kid,
    },
    /// A dial came to its end, as far as the hello's answer.
    DialEnded {
        /// Which one.
        dial: DialId,
        /// And how.
        outcome: DialOutcome,
    },
    /// The role stops: start nothing new.
    Stopping,
}

/// What the role must now do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write this window to the disk, flush it, and say [`Event::Remembered`].
    Remember {
        /// Whose window it is.
        kid: Kid,
        /// All of it.
        window: [u8; ReplayWindow::OCTETS],
    },
    /// Keep this ratchet instead of the one before, and erase that. Nobody waits for it: what is not
    /// kept is turned forward again by the next signal.
    Adopt {
        /// Whose ratchet it is.
        kid: Kid,
        /// All of it.
        ratchet: Ratchet,
    },
    /// Dial back, and say [`Event::DialEnded`].
    Dial {
        /// What to call it.
        dial: DialId,
        /// Why it may be dialed.
        verified: Verified,
    },
    /// Log it at DEBUG, and tell nobody.
    Reject {
        /// Whose signal it claimed to be.
        kid: Option<Kid>,
        /// Why it was not obeyed.
        rejection: Rejection,
    },
}

/// Proof that a request was sealed for us, is fresh and new, and names only what our tables allow.
///
/// Only the dialer makes one, and nothing is dialed without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    kid: Kid,
    request: AccessRequest,
    keys: SessionKeys,
    allowed: Allowed,
    tunnel: TunnelType,
    spare: bool,
}

/// Decides which access requests to obey, and dials back for them.
#[derive(Debug)]
pub struct Dialer {
    subscribers: BTreeMap<Kid, Known>,
    /// The windows of those who have gone while theirs was on its way to the disk.
    leaving: BTreeMap<Kid, ReplayWindow>,
    pending: BTreeMap<DialId, Pending>,
    in_vain: Common,
    heard: u64,
    stopping: bool,
    counters: Counters,
    commands: VecDeque<Command>,
}

/// A subscriber, and what becomes of it here.
#[derive(Debug)]
struct Known {
    subscriber: Subscriber,
    in_vain: Shares,
    dials_by_bearer: Bucket,
    dials_by_tunnel: Bucket,
    /// Whether a window of it is on its way to the disk.
    remembering: bool,
}

/// What was heard, and when by the wall clock.
struct Ring {
    octets: Vec<u8>,
    over: Over,
    unix_seconds: u64,
    synchronized: bool,
}

#[derive(Debug)]
struct Pending {
    verified: Verified,
    phase: Phase,
    dials: usize,
    /// By our own steady clock, from when it was heard: whatever the wall clocks think of each
    /// other, nobody waits for longer than the request's time to live.
    worth_until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Recorded after the window that is now on its way to the disk.
    Recorded,
    /// In the window that is now on its way to the disk.
    Remembering,
    Dialing,
    Again(Instant),
}

impl Verified {
    /// Whose keys sealed it.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// What it asks for.
    pub fn request(&self) -> &AccessRequest {
        &self.request
    }

    /// What to authenticate with.
    pub fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    /// Where to dial, and whom to expect there.
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// What the tunnel may run over: what the signal asks for and our own table permits.
    pub fn tunnel(&self) -> TunnelType {
        self.tunnel
    }

    /// Whether the tunnel is to stand by for a client that has not come yet.
    pub fn spare(&self) -> bool {
        self.spare
    }

    /// What to connect to before the hello; nothing for a spare or a probe.
    pub fn service(&self) -> Option<ServiceId> {
        let connects = self.request.purpose == Purpose::Access && !self.spare;
        connects.then_some(self.request.service)
    }

    /// What to call it in logs.
    pub fn signal_id(&self) -> SignalId {
        self.keys.sid.signal_id()
    }
}

impl Dialer {
    /// Answers for these subscribers; of two with one key id the later counts.
    pub fn new(subscribers: Vec<Subscriber>) -> Self {
        let known = |it| Known::new(it, false);
        Self {
            subscribers: subscribers.into_iter().map(|it| (it.key.kid, known(it))).collect(),
            leaving: BTreeMap::new(),
            pending: BTreeMap::new(),
            in_vain: Common::default(),
            heard: 0,
            stopping: false,
            counters: Counters::default(),
            commands: VecDeque::new(),
        }
    }

    /// Answers for these subscribers from now on, and for no other.
    ///
    /// A key id that stays keeps its window and its buckets: what was obeyed stays obeyed, and so it
    /// does for one that goes and comes again before the disk has its window. What waits for one
    /// that goes is dropped; a dial under way is let come to its end.
    pub fn resubscribe(&mut self, subscribers: Vec<Subscriber>) {
        let mut before = std::mem::take(&mut self.subscribers);
        for mut subscriber in subscribers {
            let kid = subscriber.key.kid;
            let known = match (before.remove(&kid), self.leaving.remove(&kid)) {
                (Some(known), _) => {
                    subscriber.window = known.subscriber.window.clone();
                    let ratchet = &known.subscriber.key.psk;
                    if subscriber.key.psk.epoch() < ratchet.epoch() {
                        // Its latest turn is still on the way to the disk.
                        subscriber.key.psk = ratchet.clone();
                    }
                    Known { subscriber, ..known }
                }
                (None, Some(window)) => Known::new(Subscriber { window, ..subscriber }, true),
                (None, None) => Known::new(subscriber, false),
            };
            self.subscribers.insert(kid, known);
        }
        let unwritten = before.into_iter().filter(|(_, it)| it.remembering);
        self.leaving.extend(unwritten.map(|(kid, it)| (kid, it.subscriber.window)));
        let stays = |kid| self.subscribers.contains_key(&kid);
        self.pending.retain(|_, it| it.phase == Phase::Dialing || stays(it.verified.kid));
    }

    /// Takes in what has happened.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::RingHeard { octets, over, unix_seconds, synchronized } => {
                self.ring_heard(&Ring { octets, over, unix_seconds, synchronized }, now);
            }
            Event::Remembered { kid } => self.remembered(kid),
            Event::NotRemembered { kid } => {
                // Safety is at the public proxy: a replay would cost one useless dial.
                self.counters.not_remembered += 1;
                self.remembered(kid);
            }
            Event::DialEnded { dial, outcome } => self.dial_ended(dial, outcome, now),
            Event::Stopping => {
                self.stopping = true;
                self.pending.retain(|_, it| it.phase == Phase::Dialing);
            }
        }
    }

    /// Drops what is no longer worth a dial; dials again what is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let before = self.pending.len();
        self.pending.retain(|_, it| it.phase == Phase::Dialing || now < it.worth_until);
        self.counters.given_up += (before - self.pending.len()) as u64;

        let due = |it: &Pending| matches!(it.phase, Phase::Again(at) if at <= now);
        for (dial, pending) in self.pending.iter_mut().filter(|(_, it)| due(it)) {
            self.commands.push_back(pending.dial(*dial));
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Dialer::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = self.pending.values().filter_map(|it| match it.phase {
            Phase::Recorded | Phase::Remembering => Some(it.worth_until),
            Phase::Again(at) => Some(at),
            Phase::Dialing => None,
        });
        timeouts.min()
    }

    /// What has been obeyed, rejected and given up so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn ring_heard(&mut self, ring: &Ring, now: Instant) {
        self.counters.heard += 1;
        let verified = match self.verify(ring, now) {
            Ok(verified) => verified,
            Err(rejection) => {
                let kid = Signal::from_octets(&ring.octets).ok().map(|it| it.kid());
                self.counters.count(&rejection);
                self.commands.push_back(Command::Reject { kid, rejection });
                return;
            }
        };
        match verified.request.purpose {
            Purpose::Access | Purpose::Probe => self.obey(verified, now),
            // Cancelling twice is no worse than once: nothing to record, nothing to remember.
            Purpose::Cancel => {
                self.cancel(verified.kid, Sid(*verified.request.key.expose()));
            }
        }
    }

    /// Opens no more than the machine can afford. What earns a dial is bounded by the dials, and so
    /// an opening is counted only if it was in vain: whoever knows a key id, which every signal
    /// shows, cannot keep out with forgeries what is sealed with its keys.
    fn verify(&mut self, ring: &Ring, now: Instant) -> Result<Verified, Rejection> {
        let signal = Signal::from_octets(&ring.octets)?;
        let Some(known) = self.subscribers.get(&signal.kid()) else {
            return Err(Rejection::UnknownKid);
        };
        if signal.suite() != known.subscriber.key.suite() {
            return Err(Rejection::Suite);
        }
        if !known.in_vain.afford(ring.over, &self.in_vain, now) {
            return Err(Rejection::TooMany);
        }
        let judged = self.judge(&signal, ring, now);
        let earned = judged.as_ref().is_ok_and(|it| it.request.purpose != Purpose::Cancel);
        if !earned && let Some(known) = self.subscribers.get_mut(&signal.kid()) {
            known.in_vain.spend(ring.over, &mut self.in_vain, now);
        }
        judged
    }

    /// The order of the checks is the protocol's: what costs least and proves most comes first.
    fn judge(&mut self, signal: &Signal, ring: &Ring, now: Instant) -> Result<Verified, Rejection> {
        let kid = signal.kid();
        let Some(known) = self.subscribers.get_mut(&kid) else {
            return Err(Rejection::UnknownKid);
        };
        let subscriber = &known.subscriber;
        let (request, keys) = open(signal.octets(), &subscriber.key)?;
        if let Some(ratchet) = subscriber.key.psk.turned_to(signal.epoch()) {
            known.subscriber.key.psk = ratchet.clone();
            self.commands.push_back(Command::Adopt { kid, ratchet });
        }
        let subscriber = &known.subscriber;
        let allowed = subscriber.allowed(&request)?;
        if !subscriber.callee.contains(&request.callee) {
            return Err(Rejection::WrongCallee);
        }
        let tunnel = subscriber.tunnel(&request)?;
        freshness::fresh(&request, ring.unix_seconds, ring.synchronized)?;
        if !subscriber.window.check(request.seq) {
            return Err(Rejection::Replayed);
        }
        if self.stopping {
            return Err(Rejection::Stopping);
        }
        if request.purpose != Purpose::Cancel {
            let waiting = self.pending.values().filter(|it| it.verified.kid == kid).count();
            if limits::DIALS_PER_KID <= waiting {
                return Err(Rejection::Busy);
            }
            let (bucket, rate) = match ring.over {
                Over::Bearer => (&mut known.dials_by_bearer, limits::DIALS_BY_BEARER),
                Over::Tunnel { .. } => (&mut known.dials_by_tunnel, limits::DIALS_BY_TUNNEL),
            };
            if !bucket.take(rate, now) {
                return Err(Rejection::TooManyDials);
            }
        }
        let spare = matches!(ring.over, Over::Tunnel { spare: true });
        Ok(Verified { kid, request, keys, allowed, tunnel, spare })
    }

    /// Records the request as obeyed; it is dialed once the disk knows.
    fn obey(&mut self, verified: Verified, now: Instant) {
        let kid = verified.kid;
        let Some(known) = self.subscribers.get_mut(&kid) else { return };
        known.subscriber.window.record(verified.request.seq);

        let worth_until = now + Duration::from_secs(verified.request.ttl_seconds.into());
        let pending = Pending { verified, phase: Phase::Recorded, dials: 0, worth_until };
        self.counters.obeyed += 1;
        self.heard += 1;
        self.pending.insert(DialId(self.heard), pending);
        self.remember(kid);
    }

    /// Sends the window to the disk, once for all that were recorded while it was last written.
    fn remember(&mut self, kid: Kid) {
        let Some(known) = self.subscribers.get_mut(&kid) else { return };
        if known.remembering {
            return;
        }
        let recorded = |it: &&mut Pending| it.verified.kid == kid && it.phase == Phase::Recorded;
        for pending in self.pending.values_mut().filter(recorded) {
            pending.phase = Phase::Remembering;
            known.remembering = true;
        }
        if known.remembering {
            let window = known.subscriber.window.to_octets();
            self.commands.push_back(Command::Remember { kid, window });
        }
    }

    fn remembered(&mut self, kid: Kid) {
        self.leaving.remove(&kid);
        let Some(known) = self.subscribers.get_mut(&kid) else { return };
        known.remembering = false;
        let waits = |it: &Pending| it.verified.kid == kid && it.phase == Phase::Remembering;
        for (dial, pending) in self.pending.iter_mut().filter(|(_, it)| waits(it)) {
            self.commands.push_back(pending.dial(*dial));
        }
        self.remember(kid);
    }

    /// Forgets whatever waits for that session. A dial under way will hear that it is gone.
    fn cancel(&mut self, kid: Kid, sid: Sid) {
        let before = self.pending.len();
        self.pending.retain(|_, it| it.verified.kid != kid || it.verified.keys.sid != sid);
        self.counters.cancelled += (before - self.pending.len()) as u64;
    }

    fn dial_ended(&mut self, dial: DialId, outcome: DialOutcome, now: Instant) {
        let Some(pending) = self.pending.get_mut(&dial) else { return };
        if pending.phase != Phase::Dialing {
            return;
        }
        match outcome {
            DialOutcome::Served => self.counters.served += 1,
            DialOutcome::Gone => self.counters.gone += 1,
            DialOutcome::Refused => self.counters.refused += 1,
            DialOutcome::Unreachable => {
                let again = limits::DIAL_AGAIN.get(pending.dials - 1).map(|pause| now + *pause);
                let known = self.subscribers.contains_key(&pending.verified.kid);
                let again = again.filter(|at| known && *at < pending.worth_until && !self.stopping);
                if let Some(at) = again {
                    pending.phase = Phase::Again(at);
                    return;
                }
                self.counters.given_up += 1;
            }
        }
        self.pending.remove(&dial);
    }
}

impl Known {
    fn new(subscriber: Subscriber, remembering: bool) -> Self {
        let (in_vain, dials_by_bearer, dials_by_tunnel) = Default::default();
        Self { subscriber, in_vain, dials_by_bearer, dials_by_tunnel, remembering }
    }
}

impl Subscriber {
    /// Looks the address up in our own tables: it is checked, never obeyed.
    fn allowed(&self, request: &AccessRequest) -> Result<Allowed, Rejection> {
        let address = request.public_proxy;
        if let Some(allowed) = self.public_proxies.iter().find(|it| it.address == address) {
            return Ok(allowed.clone());
        }
        let fleet = self.fleets.iter().find(|it| it.fleet.contains(address));
        let fleet = fleet.ok_or(Rejection::ForeignProxy)?;
        if let Some(kind) = forbidden(address.ip(), None) {
            return Err(Rejection::Forbidden(kind));
        }
        Ok(Allowed { address, public_proxy: fleet.public_proxy, listed: false })
    }

    /// What the tunnel may run over. What reaches no service, a probe or a cancel, has TLS.
    fn tunnel(&self, request: &AccessRequest) -> Result<TunnelType, Rejection> {
        let offered = match request.purpose {
            Purpose::Access => self.services.get(&request.service),
            Purpose::Probe | Purpose::Cancel => Some(&TunnelType::Tls),
        };
        let offered = offered.ok_or(Rejection::UnknownService)?;
        offered.narrowed(request.tunnel).ok_or(Rejection::Tunnel)
    }
}

impl Pending {
    fn dial(&mut self, dial: DialId) -> Command {
        self.phase = Phase::Dialing;
        self.dials += 1;
        Command::Dial { dial, verified: self.verified.clone() }
    }
}
