//! A simulated operator: a message center that speaks SMPP over TCP, with delays and faults on demand.
//!
//! For trying Ringback out and for its tests. It reaches no phone and says so in its name; its
//! luck is seeded, so that a run can be repeated. Numbers and contents stay out of its log.

use std::net::{Ipv4Addr, SocketAddr};

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use ringback_proto::smpp::center;
use ringback_proto::smpp::pdu::{Body, Pdu};
use ringback_proto::smpp::status::Status;
use ringback_proto::smpp::text::{Password, Text};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::limits::{ACCEPT_PAUSE, OPERATOR_CONNECTIONS, OPERATOR_EVENTS, OPERATOR_TOLD};
use chance::is_time;
use exchange::{ConnectionId, Exchange};
use session::Session;

pub use chance::Delay;

mod chance;
mod exchange;
mod session;

/// How the simulated operator behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where ESMEs connect.
    pub listen: SocketAddr,
    /// Who may bind, and which numbers are routed to whom.
    pub accounts: Vec<Account>,
    /// How long a message takes.
    pub delay: Delay,
    /// The share of messages that never arrive, 0 to 1.
    pub loss: f64,
    /// The share of messages that arrive twice.
    pub duplicates: f64,
    /// The share of messages that later ones may overtake.
    pub reordered: f64,
    /// How much later an overtaken message arrives, at most.
    pub reorder_seconds: f64,
    /// The share of messages that arrive late.
    pub late: f64,
    /// How much later a late message arrives, at most.
    pub late_seconds: f64,
    /// Submissions an account may make in a second; no limit if absent.
    pub throttle_per_second: Option<u32>,
    /// Whether receipts are sent to those who ask for them.
    pub receipts: bool,
    /// Where its luck starts.
    pub seed: u64,
}

/// An account of the simulated operator.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The account's name.
    pub system_id: String,
    /// Its password.
    pub password: String,
    /// The first digits of the numbers routed to it; the longest match wins.
    #[serde(default)]
    pub prefixes: Vec<String>,
}

struct Operator {
    exchange: Exchange,
    sessions: JoinSet<()>,
    telling: BTreeMap<ConnectionId, mpsc::Sender<center::Event>>,
    said: mpsc::Sender<exchange::Event>,
    shutdown: CancellationToken,
    next_connection: u64,
}

/// Serves until `shutdown` is cancelled and every ESME has been unbound.
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    let (said, mut heard) = mpsc::channel(OPERATOR_EVENTS);
    let mut operator = Operator {
        exchange: Exchange::new(config, Instant::now().into_std()),
        sessions: JoinSet::new(),
        telling: BTreeMap::new(),
        said,
        shutdown: shutdown.clone(),
        next_connection: 0,
    };
    info!("the simulated operator is open");
    loop {
        operator.tell();
        let due = operator.exchange.poll_timeout().map(Instant::from_std);
        tokio::select! {
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                operator.exchange.handle_timeout(Instant::now().into_std());
            }
            Some(event) = heard.recv() => operator.hear(event),
            Some(_) = operator.sessions.join_next() => {}
            connection = listener.accept(), if !shutdown.is_cancelled() => match connection {
                Ok((stream, _)) => operator.welcome(stream),
                Err(cause) => {
                    warn!(error = %cause, "RB-ACCEPT: cannot accept: raise the limit on open files");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = shutdown.cancelled(), if operator.sessions.is_empty() => return Ok(()),
        }
    }
}

impl Operator {
    fn welcome(&mut self, stream: TcpStream) {
        if OPERATOR_CONNECTIONS <= self.telling.len() {
            debug!("too many connections: the newest is refused");
            return refuse(&stream);
        }
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        let (telling, told) = mpsc::channel(OPERATOR_TOLD);
        self.telling.insert(id, telling);
        let (said, shutdown) = (self.said.clone(), self.shutdown.clone());
        self.sessions.spawn(Session { id, stream, said, told, shutdown }.run());
    }

    fn hear(&mut self, event: exchange::Event) {
        if let exchange::Event::Gone(id) = &event {
            self.telling.remove(id);
        }
        self.exchange.handle_event(event, Instant::now().into_std());
    }

    fn tell(&mut self) {
        while let Some((id, event)) = self.exchange.poll_command() {
            let Some(telling) = self.telling.get(&id) else { continue };
            if telling.try_send(event).is_err() {
                // It has stopped listening; without its sender it ends.
                self.telling.remove(&id);
            }
        }
    }
}

impl Config {
    /// Whether it can be run.
    pub fn check(&self) -> anyhow::Result<()> {
        for account in &self.accounts {
            let name = &account.system_id;
            Text::<16>::new(name).with_context(|| format!("{name}: at most 15 characters"))?;
            Password::new(&account.password)
                .with_context(|| format!("the password of {name}: at most 32 characters"))?;
        }
        let names: BTreeSet<&str> = self.accounts.iter().map(|it| it.system_id.as_str()).collect();
        ensure!(names.len() == self.accounts.len(), "two accounts have one system_id");
        for (name, share) in [
            ("loss", self.loss),
            ("duplicates", self.duplicates),
            ("reordered", self.reordered),
            ("late", self.late),
        ] {
            ensure!((0.0..=1.0).contains(&share), "{name}: a share lies between 0 and 1");
        }
        if let Delay::Uniform { from_seconds, to_seconds } = self.delay {
            ensure!(from_seconds <= to_seconds, "delay: from_seconds exceeds to_seconds");
        }
        let times = match self.delay {
            Delay::Fixed { seconds } => [seconds, 0.0],
            Delay::Uniform { from_seconds, to_seconds } => [from_seconds, to_seconds],
            Delay::Lognormal { median_seconds, sigma } => [median_seconds, sigma],
        };
        let times = times.into_iter().chain([self.reorder_seconds, self.late_seconds]);
        ensure!({ times }.all(is_time), "a delay lies between 0 and 3600 seconds");
        Ok(())
    }
}

/// Mobile terminals of a healthy network: a few seconds, nothing lost.
impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 2775)),
            accounts: Vec::new(),
            delay: Delay::Lognormal { median_seconds: 3.0, sigma: 0.4 },
            loss: 0.0,
            duplicates: 0.0,
            reordered: 0.0,
            reorder_seconds: 2.0,
            late: 0.0,
            late_seconds: 60.0,
            throttle_per_second: None,
            receipts: true,
            seed: 0,
        }
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("system_id", &self.system_id).finish_non_exhaustive()
    }
}

/// Says why in one PDU, if it can be said without waiting.
fn refuse(stream: &TcpStream) {
    let mut octets = Vec::new();
    let status = Status::SYSTEM_ERROR;
    Pdu { sequence: 0, status, body: Body::GenericNack }.encode(&mut octets);
    // A fresh socket has room for 16 octets; if not, closing says enough.
    let _ = stream.try_write(&octets);
}
