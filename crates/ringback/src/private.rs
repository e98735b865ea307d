//! The private proxy's loop: hears rings, lets the dialer judge them, dials back.
//!
//! It listens on nothing. Everything that it does begins with an access request that the dialer has
//! verified, and everything that it connects to stands in its own table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use ringback_bearer::Receiver;
use ringback_proto::access_request::{Kid, Ratchet, find};
use ringback_proto::dialer::{
    Allowed, AllowedFleet, Command, Dialer, Event, Over, Rejection, Subscriber,
};
use ringback_proto::freshness::ReplayWindow;
use ringback_proto::ipsec::End;
use ringback_proto::nat64::Prefix;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::ServiceId;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::config::{Config, IpsecConfig, Nat64, PrivateConfig, PublicProxy, ServiceTarget};
use crate::control::server::{self as control, Desk};
use crate::ipsec::Ipsec;
use crate::keyring::{Keyring, keep_turned};
use crate::limits::{COMPLAINT_PAUSE, EVENTS, RETIRE_CHECK};
use crate::reload::Reload;
use crate::socket::Congestion;
use crate::workers::{Desks, Workers};
use crate::{clock, state, tunnel};

#[cfg(feature = "quic")]
mod by_quic;
mod dial;
mod inner;
mod inside;
mod presence;

use presence::Presence;

/// What every dial needs to know.
#[derive(Debug)]
struct House {
    dialer: tunnel::Dialer,
    identity: tunnel::Identity,
    tables: RwLock<Arc<Tables>>,
    presence: Presence,
    keyring: Option<Keyring>,
    ipsec: Option<Ipsec>,
    #[cfg(feature = "quic")]
    quic: tunnel::quic::Dialer,
    nat64: Nat64,
    discovered: OnceCell<Prefix>,
    idle: Duration,
    congestion: Congestion,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
}

/// Whom to dial and what to connect to: nothing else ever is.
#[derive(Debug)]
struct Tables {
    public_proxies: Vec<PublicProxy>,
    services: BTreeMap<Kid, BTreeMap<ServiceId, ServiceTarget>>,
    /// Who may ring for each key id, by the place in [`Self::public_proxies`].
    believed: BTreeMap<Kid, Vec<usize>>,
    /// Where each key id's keys are kept.
    files: BTreeMap<Kid, PathBuf>,
    /// Those of enrolled terminals that no ring was answered with yet.
    unproved: Mutex<BTreeSet<Kid>>,
}

impl House {
    fn tables(&self) -> Arc<Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tables {
    fn of(config: &PrivateConfig) -> Self {
        let all = &config.subscriptions;
        let unproved = all.iter().filter(|it| !it.proved);
        Self {
            public_proxies: config.public_proxies.clone(),
            services: all.iter().map(|it| (it.key.kid, it.services.clone())).collect(),
            believed: all.iter().map(|it| (it.key.kid, it.public_proxies.clone())).collect(),
            files: all.iter().map(|it| (it.key.kid, it.keys_file.clone())).collect(),
            unproved: Mutex::new(unproved.map(|it| it.key.kid).collect()),
        }
    }

    /// Whether no ring of the key id was answered before; the next asks in vain.
    fn first_answer(&self, kid: Kid) -> bool {
        self.unproved.lock().unwrap_or_else(PoisonError::into_inner).remove(&kid)
    }

    fn kids(&self) -> BTreeSet<Kid> {
        self.services.keys().copied().collect()
    }

    fn service(&self, kid: Kid, service: ServiceId) -> Option<ServiceTarget> {
        self.services.get(&kid)?.get(&service).cloned()
    }

    /// Whether the service is connected to only once it is known who calls.
    fn is_guarded(&self, kid: Kid, service: ServiceId) -> bool {
        self.service(kid, service).is_some_and(|it| it.grant.is_guarded())
    }

    /// Whether whoever has this key is still a public proxy of the key id's: tables are reloaded while
    /// tunnels stand by.
    fn believes(&self, kid: Kid, peer: &PublicKey) -> bool {
        let places = self.believed.get(&kid).into_iter().flatten();
        let mut proxies = places.filter_map(|it| self.public_proxies.get(*it));
        proxies.any(|it| it.public_key == *peer)
    }

    /// The public proxy at that place, if that address is still its own: tables are reloaded.
    fn public_proxy(&self, allowed: &Allowed) -> Option<PublicProxy> {
        let proxy = self.public_proxies.get(allowed.public_proxy)?;
        let address = allowed.address;
        let may_be_dialed = match allowed.listed {
            true => proxy.addresses.contains(&address),
            false => proxy.fleets.iter().any(|it| it.contains(address)),
        };
        may_be_dialed.then(|| proxy.clone())
    }
}

/// Runs a private proxy until it is stopped.
pub async fn run(
    config: PrivateConfig,
    mut reload: Reload,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let lock = state::open(&config.state);
    let state = || format!("RB-STATE: cannot use {}", config.state.display());
    reload.report_in(lock.with_context(state)?);
    let subscribers = subscribers(&config, &config.state)?;
    let tables = Tables::of(&config);
    let presence = Presence::default();
    presence.follow(&tables.kids());
    let tables = RwLock::new(Arc::new(tables));
    let workers = Workers::start(config.workers).context("cannot start threads")?;
    let tasks = TaskTracker::new();
    let (events, heard) = mpsc::channel(EVENTS);
    let mut healths = BTreeMap::new();
    for (name, bearer) in config.bearers {
        let (_, receiver, health) = bearer.start(&tasks, stop.clone());
        healths.insert(name.clone(), health);
        tasks.spawn(hear(name, receiver, events.clone()));
    }
    control::open(&config.state, Desk { healths, wishes: None }, &tasks, stop.clone());
    let fixed = config.ipsec.clone();
    let ipsec = config.ipsec.map(|it| {
        let proxies: Vec<_> = config.public_proxies.iter().map(|it| it.public_key).collect();
        Ipsec::start(it, End::Private, config.identity.clone(), &proxies, &tasks, stop.clone())
    });
    let house = House {
        dialer: tunnel::Dialer::new(config.identity.clone()),
        #[cfg(feature = "quic")]
        quic: tunnel::quic::Dialer::new(config.identity.clone(), tasks.clone()),
        identity: config.identity,
        tables,
        presence,
        keyring: config.keyring,
        ipsec,
        nat64: config.nat64,
        discovered: OnceCell::new(),
        idle: config.idle,
        congestion: config.congestion,
        events,
        stop: stop.clone(),
    };
    let role = Role {
        dialer: Dialer::new(subscribers),
        house: Arc::new(house),
        heard,
        state: config.state,
        ipsec: fixed,
        tasks: tasks.clone(),
        workers: workers.desks().clone(),
        rejected: 0,
        complain_at: None,
    };
    info!(role = "private", terminals = config.subscriptions.len(), "ready");
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

struct Role {
    dialer: Dialer,
    house: Arc<House>,
    heard: mpsc::Receiver<Event>,
    state: PathBuf,
    /// As it was at the start: its daemon runs.
    ipsec: Option<IpsecConfig>,
    tasks: TaskTracker,
    /// Where dials are begun, and their sessions stay.
    workers: Desks,
    rejected: u64,
    complain_at: Option<Instant>,
}

impl Role {
    async fn run(mut self, reload: &mut Reload, stop: &CancellationToken) {
        let mut between_erasures = tokio::time::interval(RETIRE_CHECK);
        loop {
            while let Some(command) = self.dialer.poll_command() {
                self.execute(command);
            }
            tokio::select! {
                Some(event) = self.heard.recv() => self.dialer.handle_event(event, clock::now()),
                () = clock::reach(self.dialer.poll_timeout()) => self.dialer.handle_timeout(clock::now()),
                _ = between_erasures.tick() => {
                    if self.retire()
                        && let Some(config) = reload.now()
                    {
                        self.reload(config);
                    }
                }
                config = reload.next() => {
                    let taken_over = self.reload(config);
                    reload.report(taken_over);
                }
                () = stop.cancelled() => break,
            }
        }
        self.dialer.handle_event(Event::Stopping, clock::now());
        info!(counters = ?self.dialer.counters(), "rings are heard no more");
    }

    /// Tells the operator that signals are not obeyed, but not each: whoever sends them must not be
    /// able to fill the log.
    fn complain(&mut self, last: &Rejection) {
        // An SMS that comes twice is nothing to be told of.
        if *last == Rejection::Replayed {
            return;
        }
        self.rejected += 1;
        let now = clock::now();
        if self.complain_at.is_some_and(|at| now < at) {
            return;
        }
        warn!(%last, count = self.rejected, "RB-REJECTED: signals were not obeyed");
        self.rejected = 0;
        self.complain_at = Some(now + COMPLAINT_PAUSE);
    }

    /// Erases keys that others have replaced for long enough; says whether there were any.
    fn retire(&self) -> bool {
        let Some(keyring) = &self.house.keyring else { return false };
        if !keyring.folder().exists() {
            return false;
        }
        let retired = keyring.hold().and_then(|it| it.retire(clock::unix_seconds()));
        retired.unwrap_or_else(|fault| {
            error!(%fault, "RB-KEYRING: replaced keys cannot be erased");
            false
        })
    }

    /// Takes over whom to answer for, whom to dial and what to connect to; sessions go on, but for
    /// those of keys that are gone: they are cut.
    fn reload(&mut self, config: Config) -> bool {
        let Config::Private(config) = config else {
            error!("not reloaded: the file has no [private] table any more");
            return false;
        };
        if self.house.keyring != config.keyring {
            error!("not reloaded: the keyring needs a restart to change");
            return false;
        }
        let fixed = (&config.ipsec, config.workers, config.congestion);
        if fixed != (&self.ipsec, self.workers.count(), self.house.congestion) {
            error!("not reloaded: IPsec, workers and congestion need a restart to change");
            return false;
        }
        match subscribers(&config, &self.state) {
            Ok(subscribers) => self.dialer.resubscribe(subscribers),
            Err(fault) => {
                error!(fault = %format!("{fault:#}"), "not reloaded");
                return false;
            }
        }
        let tables = Arc::new(Tables::of(&config));
        self.house.presence.follow(&tables.kids());
        *self.house.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
        info!(terminals = config.subscriptions.len(), "reloaded: bearers and identity as before");
        true
    }

    /// Keeps a turned ratchet. One that cannot be kept is turned again after the next start.
    fn adopt(&mut self, kid: Kid, ratchet: Ratchet) {
        let Some(file) = self.house.tables().files.get(&kid).cloned() else { return };
        let keyring = self.house.keyring.clone();
        let (epoch, since) = (ratchet.epoch(), clock::unix_seconds());
        self.tasks.spawn_blocking(move || {
            let kept = keep_turned(&file, keyring.as_ref(), |keys| {
                let newer = keys.kid == kid && keys.psk.epoch() < epoch;
                if newer {
                    (keys.psk, keys.since) = (ratchet, since);
                }
                newer
            });
            match kept {
                Ok(_) => debug!(%kid, epoch, "turned to a later epoch"),
                // Told once an epoch: the dialer goes on from what it has adopted.
                Err(fault) => {
                    warn!(%kid, %fault, "RB-RATCHET: a key's old epochs cannot be erased");
                }
            }
        });
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Remember { kid, window } => {
                let (file, events) =
                    (state::window::file(&self.state, kid), self.house.events.clone());
                self.tasks.spawn(async move {
                    let written =
                        tokio::task::spawn_blocking(move || state::window::write(&file, &window));
                    let event = match written.await.map_err(std::io::Error::other).flatten() {
                        Ok(()) => Event::Remembered { kid },
                        Err(fault) => {
                            error!(%kid, %fault, "RB-STATE: a replay window cannot be kept");
                            Event::NotRemembered { kid }
                        }
                    };
                    let _ = events.send(event).await;
                });
            }
            Command::Adopt { kid, ratchet } => self.adopt(kid, ratchet),
            Command::Dial { dial, verified } => {
                let house = self.house.clone();
                let dials = async move { dial::dial(&house, dial, &verified).await };
                self.tasks.spawn_on(dials, self.workers.next());
            }
            Command::Reject { kid, rejection } => {
                debug!(?kid, %rejection, "not obeyed");
                self.complain(&rejection);
            }
        }
    }
}

/// Hands what a bearer has heard to the dialer, which alone judges it.
async fn hear(bearer: String, mut receiver: Receiver, events: mpsc::Sender<Event>) {
    while let Some(heard) = receiver.hear().await {
        let Some(signal) = find(&heard.octets) else {
            debug!(bearer, octets = heard.octets.len(), "heard no signal");
            continue;
        };
        debug!(bearer, kid = %signal.kid(), "heard");
        if events.send(ring_heard(signal.octets().to_vec(), Over::Bearer)).await.is_err() {
            return;
        }
    }
}

fn ring_heard(octets: Vec<u8>, over: Over) -> Event {
    let (unix_seconds, synchronized) = (clock::unix_seconds(), clock::synchronized());
    Event::RingHeard { octets, over, unix_seconds, synchronized }
}

fn subscribers(config: &PrivateConfig, state: &Path) -> anyhow::Result<Vec<Subscriber>> {
    let mut subscribers = Vec::new();
    for subscription in &config.subscriptions {
        let kid = subscription.key.kid;
        let places = || subscription.public_proxies.iter().copied();
        let listed = places().flat_map(|public_proxy| {
            let addresses = config.public_proxies[public_proxy].addresses.iter();
            addresses.map(move |&address| Allowed { address, public_proxy, listed: true })
        });
        let fleets = places().flat_map(|public_proxy| {
            let fleets = config.public_proxies[public_proxy].fleets.iter();
            fleets.map(move |&fleet| AllowedFleet { fleet, public_proxy })
        });
        subscribers.push(Subscriber {
            key: subscription.key.clone(),
            callee: subscription.callees.all(),
            public_proxies: listed.collect(),
            fleets: fleets.collect(),
            services: subscription.services.iter().map(|(id, it)| (*id, it.tunnel)).collect(),
            window: read_window(state, kid)?,
        });
    }
    Ok(subscribers)
}

/// A damaged window is told, and begins anew: freshness still holds.
fn read_window(state: &Path, kid: Kid) -> anyhow::Result<ReplayWindow> {
    let file = state::window::file(state, kid);
    let window = state::window::read(&file)
        .with_context(|| format!("RB-STATE: cannot read {}", file.display()))?;
    Ok(window.unwrap_or_else(|fault| {
        error!(%kid, %fault, "RB-STATE: a replay window is damaged and begins anew");
        ReplayWindow::new()
    }))
}
