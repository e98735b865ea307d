//! The public proxy's loop: holds clients, lets the switchboard decide, rings, pairs, splices.
//!
//! It decides nothing itself: what happens is told to the switchboard, and what the switchboard
//! commands is done. Nothing here waits: whatever takes time is a task that reports back.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use ringback_bearer::{Receiver, Transmitter};
use ringback_proto::access_request::{Kid, SealingKey, TunnelType};
use ringback_proto::dns::Zone;
use ringback_proto::enrolment::Word;
use ringback_proto::hello::{Answer, Caller, SessionId, ToPrivate};
use ringback_proto::ipsec::End;
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::{
    ClientId, Command, Event, Paired, RingId, Switchboard, TunnelId,
};
use ringback_proto::terminal::Callee;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::config::{Access, Config, Directory, ListedTerminal, PublicConfig};
use crate::control::server::{self as control, Desk as ControlDesk, Wish};
use crate::gate::{self, Gate};
use crate::ipsec::Ipsec;
use crate::keys::KeyFault;
use crate::limits::{EVENTS, INCOMPLETE_PER_NETWORK, RATCHET_CHECK, SEQUENCE_CHECK, TRIALS_ASKED};
use crate::reload::Reload;
use crate::state::{self, Sequences};
use crate::tunnel::{Acceptor, Framed, Identity};
use crate::workers::{Desks, Workers};
use crate::{clock, journal};

mod alone;
mod armed;
mod awaiting;
mod clients;
mod doorway;
mod enrolment;
mod files;
mod fixed;
mod keyed;
mod knocks;
mod listeners;
mod lobby;
mod proving;
mod purse;
mod rings;
mod room;
#[cfg(feature = "quic")]
mod streams;
mod trying;
mod tunnels;

pub use alone::answer_dns;
use armed::{Armed, Port};
use awaiting::{Ready, Sending};
use enrolment::Desk;
use fixed::{FIXED, Fixed};
use listeners::RawPorts;
use lobby::Lobby;
use proving::Changing;
use purse::Purse;
use rings::Wanted;
use trying::Trials;

/// What every task of the role needs to know.
#[derive(Debug)]
struct House {
    directory: RwLock<Arc<Directory>>,
    acceptor: Acceptor,
    gate: Gate,
    identity: Identity,
    desk: Desk,
    idle: Duration,
    happenings: mpsc::Sender<Happening>,
    ids: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Clients that are not let in yet.
    lobby: Arc<Lobby>,
    /// Room for those that are.
    seats: Arc<Semaphore>,
    /// Where somebody has logged in from.
    armed: Armed,
    ipsec: Option<Ipsec>,
    /// Where clients and tunnels are accepted, and stay.
    workers: Desks,
}

impl House {
    /// The phone book as it is now.
    fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes what was opened by whoever the directory does not know any more.
    fn forget_strangers(&self, before: &BTreeMap<Kid, Arc<ListedTerminal>>) {
        let directory = self.directory();
        let now: BTreeMap<_, _> =
            directory.terminals().map(|it| (it.key.kid, it.clone())).collect();
        self.armed.keep(|port, identity| {
            let listed = access(&now, port).filter(|it| it.knocks(identity));
            listed.zip(access(before, port)).is_some_and(|(now, before)| now.asks_like(before))
        });
    }
}

/// What tasks report to the role.
#[derive(Debug)]
enum Happening {
    /// A client has named its terminal and is held.
    ClientArrived { event: Event, client: Held },
    /// A tunnel has said a whole hello, or has come back from a session and can serve another: from
    /// now on it takes orders.
    TunnelArrived { event: Event, tunnel: TunnelId, orders: mpsc::Sender<Order> },
    /// A bearer has done what it can for a ring.
    RingEnded { ring: RingId, event: Option<Event> },
    /// Somebody wants a terminal's route to be proved.
    Prove { kid: Kid, told: Option<mpsc::Sender<Word>> },
    /// It was not, and nobody was rung for it.
    NotProved { kid: Kid, word: Word },
    /// A key was turned to its next epoch on the disk, or cannot be.
    Turned { kid: Kid, turned: Result<(SealingKey, u64), KeyFault> },
    /// The keyring has changed: everything is to be read again, and the sender dropped.
    Reread(oneshot::Sender<()>),
    /// A signal that has waited for its session to be awaited may leave.
    Ready(Box<Sending>),
    /// Anything that only the switchboard must know.
    Told(Event),
}

/// A client from its arrival to its end: while it waits, and while it is joined to a tunnel that
/// may yet fail it.
#[derive(Debug)]
struct Held {
    id: ClientId,
    caller: Caller,
    /// Its service's octets are encrypted end to end already.
    bare: bool,
    /// The terminal's address that it rings by itself, if it does.
    rings: Option<Callee>,
    /// Holds one, beside the signals that the client sends by itself: the next is given only after
    /// the client has told that the one before failed. In boxes: a channel keeps room for 32.
    verdicts: mpsc::Sender<Box<Verdict>>,
    /// Ends it at once, whatever it is doing: its terminal was revoked while it was joined.
    cut: CancellationToken,
}

/// What becomes of a client.
#[derive(Debug)]
enum Verdict {
    /// It is joined to a tunnel, which is handed over on this channel once it carries the session.
    Joined { tunnel: TunnelId, taken: oneshot::Receiver<Framed>, paired: Paired },
    /// It is told why not.
    Refused(Refusal),
    /// It is not over yet: the client sends a signal by itself, as these octets say.
    Ring(Vec<u8>),
}

/// What a tunnel must now do.
#[derive(Debug)]
enum Order {
    /// Let it in: say these octets first.
    Accept(Vec<u8>),
    /// Say these octets.
    Say(Vec<u8>),
    /// Say these octets as soon as a session is awaited, before anything else; or never.
    SayWhen(Ready, Vec<u8>),
    /// Say these octets, then wait for the private proxy's word on the service; whether it may be to go
    /// past TLS.
    Open(Vec<u8>, bool),
    /// Tell the private proxy, unless it was opened, then hand the tunnel over for one session.
    Join(Option<Binding>, oneshot::Sender<Framed>),
    /// Say these octets, if any, and end.
    End(Vec<u8>),
}

/// Whom a tunnel whose service is connected already is bound to.
#[derive(Debug)]
struct Binding {
    session: SessionId,
    caller: Caller,
    /// Past TLS, if the private proxy has offered that.
    bare: bool,
}

/// Runs a public proxy until it is stopped.
pub async fn run(
    config: PublicConfig,
    mut reload: Reload,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let fixed = Fixed::of(&config);
    let state = || format!("RB-STATE: cannot use {}", config.state.display());
    reload.report_in(state::open(&config.state).with_context(state)?);
    let sequences = Sequences::open(&config.state, clock::unix_seconds()).with_context(state)?;
    let (purse, written) =
        Purse::open(&config.state, config.budget.rules.clone()).with_context(state)?;
    gate::self_test(&config.directory).await?;
    let files = files::Files::divide(listeners::sockets(&config));
    let listeners = listeners::bind(&config, config.workers)?;
    let workers = Workers::start(config.workers).context("cannot start threads")?;
    let tasks = TaskTracker::new();
    tasks.spawn(journal::sync(written));
    let (happenings, told) = mpsc::channel(EVENTS);
    let (mut transmitters, mut healths) = (BTreeMap::new(), BTreeMap::new());
    for (name, bearer) in config.bearers {
        let (transmitter, receiver, health) = bearer.start(&tasks, stop.clone());
        transmitters.insert(name.clone(), transmitter);
        healths.insert(name, health);
        tasks.spawn(ignore(receiver));
    }
    let ipsec = config.ipsec.map(|it| {
        let (own, stop) = (*config.identity.public_key(), stop.clone());
        Ipsec::start(it, End::Public, config.identity.clone(), &[own], &tasks, stop)
    });
    let (wishes, wished) = mpsc::channel(TRIALS_ASKED);
    let desk = ControlDesk { healths, wishes: Some(wishes) };
    control::open(&config.state, desk, &tasks, stop.clone());
    let house = Arc::new(House {
        directory: RwLock::new(config.directory.clone()),
        acceptor: Acceptor::new(&config.identity),
        gate: Gate::new(tasks.clone())?,
        identity: config.identity.clone(),
        desk: Desk::new(config.keyring.clone(), config.announce.clone()),
        idle: config.idle,
        happenings,
        ids: AtomicU64::new(1),
        tasks: tasks.clone(),
        stop: stop.clone(),
        lobby: Arc::new(Lobby::new(files.incomplete, INCOMPLETE_PER_NETWORK)),
        seats: Arc::new(Semaphore::new(files.clients)),
        armed: Armed::default(),
        ipsec,
        workers: workers.desks().clone(),
    });
    let (raw_ports, zone) = listeners.open(&house, files);
    let mut changing = Changing::new(config.keyring, config.ratchet);
    let mut role = Role {
        fixed,
        switchboard: Switchboard::new(),
        sequences,
        purse,
        by_kid: changing.by_kid(&BTreeMap::new(), &config.directory, clock::now()).0,
        changing,
        raw_ports,
        zone,
        transmitters,
        clients: BTreeMap::new(),
        tunnels: BTreeMap::new(),
        tunnels_kept: files.clients,
        ringing: BTreeMap::new(),
        awaited: BTreeMap::new(),
        trials: Trials::default(),
        wished,
        late: 0,
        told,
        house: house.clone(),
    };
    role.make_room(&config.directory, &config.budget);
    info!(role = "public", terminals = config.directory.terminals().count(), "ready");
    // A task, and not what the runtime itself runs: that is woken by a system call each time.
    let runs = tasks.spawn(async move { role.run(&mut reload, &stop).await });
    runs.await.context("the role has failed")?;

    tasks.close();
    if tokio::time::timeout(config.grace, tasks.wait()).await.is_err() {
        info!("sessions were cut at the end of the grace period");
    }
    workers.end().await;
    Ok(())
}

/// What a service asks of its clients.
fn access<'a>(
    by_kid: &'a BTreeMap<Kid, Arc<ListedTerminal>>,
    (kid, service): &Port,
) -> Option<&'a Access> {
    by_kid.get(kid)?.services.iter().find(|it| it.id == *service).map(|it| &it.access)
}

/// Takes what comes back to the public proxy's own number, so that the operator need not keep it.
async fn ignore(mut receiver: Receiver) {
    while receiver.hear().await.is_some() {}
}

struct Role {
    fixed: Fixed,
    switchboard: Switchboard,
    sequences: Sequences,
    purse: Purse,
    by_kid: BTreeMap<Kid, Arc<ListedTerminal>>,
    changing: Changing,
    raw_ports: RawPorts,
    zone: Option<watch::Sender<Arc<Zone>>>,
    transmitters: BTreeMap<String, Transmitter>,
    clients: BTreeMap<ClientId, Held>,
    tunnels: BTreeMap<TunnelId, mpsc::Sender<Order>>,
    /// How many may be kept, by the limit on open files.
    tunnels_kept: usize,
    /// Rings that are followed at a bearer; dropping one takes its signal back, submitted or not.
    ringing: BTreeMap<RingId, oneshot::Sender<()>>,
    /// Rings whose dial-back a daemon awaits; dropping one ends that.
    awaited: BTreeMap<RingId, DropGuard>,
    /// Routes that the operator has tried.
    trials: Trials,
    wished: mpsc::Receiver<Wish>,
    /// Dial-backs that came when nobody awaited them any more.
    late: u64,
    told: mpsc::Receiver<Happening>,
    house: Arc<House>,
}

impl Role {
    async fn run(mut self, reload: &mut Reload, stop: &CancellationToken) {
        let mut between_rings = tokio::time::interval(SEQUENCE_CHECK);
        let mut between_epochs = tokio::time::interval(RATCHET_CHECK.min(self.fixed.ratchet));
        self.prove_asked(&self.house.directory());
        loop {
            while let Some(command) = self.switchboard.poll_command() {
                self.execute(command);
            }
            tokio::select! {
                Some(happening) = self.told.recv() => {
                    if let Happening::Reread(_done) = happening {
                        if let Some(config) = reload.now() {
                            self.reload(config);
                        }
                    } else {
                        self.take(happening);
                    }
                }
                Some(wish) = self.wished.recv() => self.wish(wish),
                () = clock::reach(self.switchboard.poll_timeout()) => {
                    self.switchboard.handle_timeout(clock::now());
                }
                _ = between_rings.tick() => {
                    if let Err(fault) = self.sequences.keep_ahead(clock::unix_seconds()) {
                        error!(%fault, "RB-STATE: sequence numbers cannot be kept");
                    }
                    self.purse.look_after();
                }
                _ = between_epochs.tick() => self.ratchet(),
                config = reload.next() => {
                    let taken_over = self.reload(config);
                    reload.report(taken_over);
                }
                () = stop.cancelled() => break,
            }
        }
        self.switchboard.handle_event(Event::Stop, clock::now());
        while let Some(command) = self.switchboard.poll_command() {
            self.execute(command);
        }
    }

    /// Takes over the directory and what DNS says of it; sessions and held clients go on.
    fn reload(&mut self, config: Config) -> bool {
        let Config::Public(config) = config else {
            error!("not reloaded: the file has no [public] table any more");
            return false;
        };
        if self.fixed != Fixed::of(&config) {
            error!("not reloaded: {FIXED} need a restart to change");
            return false;
        }
        self.purse.follow(config.budget.rules.clone());
        self.make_room(&config.directory, &config.budget);
        let before = self.rekey(&config.directory);
        if let (Some(zone), Some(responder)) = (&self.zone, &config.responder) {
            zone.send_replace(responder.zone.clone());
        }
        let directory = config.directory;
        *self.house.directory.write().unwrap_or_else(PoisonError::into_inner) = directory.clone();
        self.house.forget_strangers(&before);
        self.raw_ports.follow(&directory, &self.house);
        self.prove_asked(&directory);
        info!(terminals = directory.terminals().count(), "reloaded");
        true
    }

    /// Takes over the keys of a new directory. Revoked is whatever has gone without a successor, and
    /// whatever another private proxy answers for now. Hands back those that there were.
    fn rekey(&mut self, directory: &Directory) -> BTreeMap<Kid, Arc<ListedTerminal>> {
        let (new, gone) = self.changing.by_kid(&self.by_kid, directory, clock::now());
        let old = std::mem::replace(&mut self.by_kid, new);
        let moved = old.iter().filter(|(kid, it)| {
            let kept = self.by_kid.get(*kid).map(|it| it.terminal.private_proxy);
            kept.is_some_and(|kept| kept != it.terminal.private_proxy)
        });
        for kid in gone.into_iter().chain(moved.map(|(kid, _)| *kid)) {
            warn!(%kid, "revoked: its clients are refused and its sessions cut");
            self.switchboard.handle_event(Event::Revoke { kid }, clock::now());
        }
        old
    }

    fn take(&mut self, happening: Happening) {
        let event = match happening {
            Happening::ClientArrived { mut event, client } => {
                if !self.is_up_to_date(&mut event) {
                    let _ = client.verdicts.try_send(Box::new(Verdict::Refused(Refusal::Unknown)));
                    return;
                }
                let strict = TunnelType::Ipsec;
                if matches!(&event, Event::ClientArrived { through, .. } if *through == strict)
                    && !self.has_ipsec()
                {
                    // Nobody is rung who could not dial back.
                    let _ = client.verdicts.try_send(Box::new(Verdict::Refused(Refusal::NoTunnel)));
                    return;
                }
                self.clients.insert(client.id, client);
                event
            }
            Happening::TunnelArrived { event, tunnel, orders } => {
                self.tunnels.insert(tunnel, orders);
                event
            }
            Happening::RingEnded { ring, event } => {
                self.ringing.remove(&ring);
                let Some(event) = event else { return };
                event
            }
            Happening::Prove { kid, told } => return self.prove(kid, told),
            Happening::NotProved { kid, word } => return self.not_proved(kid, word),
            Happening::Turned { kid, turned } => return self.turned(kid, turned),
            Happening::Ready(sending) => return self.send(*sending),
            // The role's loop has it, where the files are.
            Happening::Reread(_) => return,
            Happening::Told(event) => {
                if let Event::TunnelLost { tunnel } = &event {
                    self.tunnels.remove(tunnel);
                }
                event
            }
        };
        if let Event::ClientLeft { client } | Event::SpliceEnded { client, .. } = &event {
            self.clients.remove(client);
        }
        self.switchboard.handle_event(event, clock::now());
    }

    /// A client may have looked its terminal up just before a reload: what is in the directory by
    /// now counts, and whoever was revoked meanwhile is rung no more.
    fn is_up_to_date(&self, event: &mut Event) -> bool {
        let Event::ClientArrived { terminal, service, through, .. } = event else { return true };
        let Some(listed) = self.by_kid.get(&terminal.kid) else { return false };
        let Some(wanted) = listed.services.iter().find(|it| it.id == *service) else {
            return false;
        };
        (*terminal, *through) = (listed.terminal.clone(), wanted.tunnel);
        true
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Ring {
                ring,
                kid,
                service,
                through,
                over,
                session,
                attempt,
                call,
                ttl_seconds,
                admitted,
            } => {
                let wanted = Wanted {
                    ring,
                    service,
                    through,
                    over,
                    session,
                    attempt,
                    call,
                    ttl_seconds,
                    admitted,
                };
                if let Err(fault) = self.ring(kid, &wanted) {
                    error!(%kid, fault = %format!("{fault:#}"), "RB-RING: cannot ring");
                    let event = Event::RingFailed { ring, permanent: true, retry_after: None };
                    self.switchboard.handle_event(event, clock::now());
                }
            }
            Command::Probe { ring, kid, ttl_seconds } => self.probe(ring, kid, ttl_seconds),
            Command::Probed { kid, answered } => self.probed(kid, answered),
            Command::Try { ring, kid, route, service, through, ttl_seconds } => {
                self.try_route(ring, kid, (route, service, through), ttl_seconds);
            }
            Command::Tried { kid, outcome } => self.tried(kid, outcome),
            Command::Cancel { ring } => drop(self.ringing.remove(&ring)),
            Command::Unawait { ring } => drop(self.awaited.remove(&ring)),
            Command::Accept { tunnel, mac } => {
                let answer = Answer::Accepted { mac }.encode();
                self.order(tunnel, Order::Accept(answer.to_vec()));
            }
            Command::Dismiss { tunnel, unproven } => {
                if let Some(kid) = unproven {
                    warn!(%kid, "RB-PEER: who dials back is not the private_proxy configured, or not by its service's tunnel");
                } else {
                    self.late += 1;
                    debug!(
                        so_far = self.late,
                        "dismissed: a dial-back that is late, or not the first"
                    );
                }
                self.order(tunnel, Order::End(Answer::Gone.encode().to_vec()));
                self.tunnels.remove(&tunnel);
            }
            Command::Standby { tunnel } => self.say(tunnel, &ToPrivate::Standby),
            Command::Open { tunnel, client, session, service } => {
                let Some(held) = self.clients.get(&client) else { return };
                let (caller, bare) = (held.caller.clone(), held.bare);
                let open = ToPrivate::Open { session, bare, caller, service };
                self.frame(tunnel, &open, |octets| Order::Open(octets, bare));
            }
            Command::Splice { client, tunnel, session, opened, paired } => {
                self.splice((client, tunnel), session, opened, paired);
            }
            Command::Refuse { client, refusal } => {
                if let Some(held) = self.clients.remove(&client) {
                    let _ = held.verdicts.try_send(Box::new(Verdict::Refused(refusal)));
                }
            }
            Command::Close { tunnel } => {
                self.frame(tunnel, &ToPrivate::Close, Order::End);
                self.tunnels.remove(&tunnel);
            }
            Command::Cut { client, tunnel } => {
                self.tunnels.remove(&tunnel);
                if let Some(held) = self.clients.remove(&client) {
                    held.cut.cancel();
                }
            }
            Command::Sank { way } => self.sank(way),
            Command::Rose { way } => self.rose(way),
            Command::CallEnded { call, kid, how } => self.purse.ended(call, kid, how),
        }
    }

    /// Joins the two. Whoever drops the taker fails the splice; the client's task tells its end.
    fn splice(
        &mut self,
        (client, tunnel): (ClientId, TunnelId),
        session: SessionId,
        opened: bool,
        paired: Paired,
    ) {
        let (held, orders) = (self.clients.get(&client), self.tunnels.remove(&tunnel));
        let (taker, taken) = oneshot::channel();
        let verdict = Box::new(Verdict::Joined { tunnel, taken, paired });
        let Some(held) = held.filter(|it| it.verdicts.try_send(verdict).is_ok()) else {
            // It has gone, and so does the tunnel, to which nobody can give orders any more.
            let event = Event::SpliceEnded { client, tunnel, back: None };
            return self.switchboard.handle_event(event, clock::now());
        };
        let binding = Binding { session, caller: held.caller.clone(), bare: held.bare };
        let join = Order::Join((!opened).then_some(binding), taker);
        let _ = orders.map(|it| it.try_send(join));
    }

    fn say(&mut self, tunnel: TunnelId, frame: &ToPrivate) {
        self.frame(tunnel, frame, Order::Say);
    }

    fn frame(&mut self, tunnel: TunnelId, frame: &ToPrivate, order: impl FnOnce(Vec<u8>) -> Order) {
        match frame.encode() {
            Ok(octets) => self.order(tunnel, order(octets)),
            Err(fault) => error!(%fault, "a frame that no tunnel can carry"),
        }
    }

    /// A tunnel that cannot take its orders is stuck: without its orders its task ends it.
    fn order(&mut self, tunnel: TunnelId, order: Order) {
        let Some(orders) = self.tunnels.get(&tunnel) else { return };
        if orders.try_send(order).is_err() {
            self.tunnels.remove(&tunnel);
        }
    }
}
