//! What carries an access request. A bearer knows octets and addresses; it knows no session, no
//! tunnel and no client.
//!
//! The whole contract is on this page: [`Bearer::start`] gives a [`Transmitter`], which takes
//! messages and tells what becomes of them, a [`Receiver`], which hears them, and the bearer's
//! [`Health`]. A new bearer is one more file and one more arm of [`Bearer`].

use std::fmt;
use std::time::Duration;

use ringback_proto::terminal::Callee;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod health;
pub mod http;
pub mod limits;
pub mod mail;
pub mod modem;
pub mod modem_manager;
pub mod smpp;
mod sms;
mod tls;

pub use health::{Finding, Health, Verdict};
pub use tls::Tls;

/// A bearer and its configuration.
#[derive(Debug)]
pub enum Bearer {
    /// SMS by way of an operator's message center.
    Smpp(smpp::Config),
    /// SMS by a modem of our own.
    Modem(modem::Config),
    /// SMS by a modem that ModemManager looks after.
    ModemManager(modem_manager::Config),
    /// E-mail by way of a submission server and a mailbox.
    Mail(mail::Config),
    /// SMS by way of a provider's HTTP API.
    Http(http::Config),
}

/// Sends messages. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Transmitter {
    orders: mpsc::Sender<Order>,
}

/// Hears messages.
#[derive(Debug)]
pub struct Receiver {
    heard: mpsc::Receiver<Heard>,
}

/// What to send, to whom, and how long it is worth delivering.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whom it is for.
    pub to: Callee,
    /// What it says.
    pub body: Body,
    /// How long it is worth delivering.
    pub valid_for: Duration,
}

/// What a message says. Its `Debug` shows only how long it is.
#[derive(Clone)]
pub enum Body {
    /// Text of the characters that every bearer leaves alone (docs/protocol.md).
    Text(String),
    /// Octets.
    Binary(Vec<u8>),
}

/// The story of one message. Dropping it takes the message back if it has not been sent yet; one
/// that has been is recalled where the operator allows that.
#[derive(Debug)]
pub struct Submission {
    progress: mpsc::Receiver<Delivery>,
}

/// A step of that story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The operator has it. Told at once: a bearer that holds a message for long counts as down.
    Submitted {
        /// The operator's name for it.
        message_id: String,
    },
    /// The operator says that it arrived. Telemetry: it may never come.
    Delivered,
    /// The operator may have it: no answer came. It is not sent again.
    Unknown,
    /// It will not arrive.
    Failed(Failure),
}

/// Why a message will not arrive.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// Too much is waiting.
    #[error("the bearer's queue is full")]
    Full,
    /// It stopped being worth delivering before it could be sent.
    #[error("the bearer could not send it in time")]
    Expired,
    /// The bearer has no way to the operator now, and has waited long enough for one.
    #[error("the bearer has no way to the operator")]
    Down,
    /// This bearer cannot carry such a message.
    #[error("the bearer cannot carry it: {0}")]
    Unsendable(&'static str),
    /// The operator refused it.
    #[error("the operator refused it: {reason}")]
    Refused {
        /// In the operator's words.
        reason: String,
        /// Whether it always would.
        permanent: bool,
        /// When to come back to this number, if the operator is to be left alone.
        retry_after: Option<Duration>,
    },
    /// The operator cannot reach the terminal now, and has not kept it.
    #[error("the operator cannot reach the terminal now")]
    Unreachable,
    /// The operator took it and could not deliver it.
    #[error("the operator could not deliver it")]
    Undelivered,
    /// The bearer has been shut down.
    #[error("the bearer has been shut down")]
    ShutDown,
}

/// A message that has come. Nothing proves where it came from. Its `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it says: text or octets, whichever was sent.
    pub octets: Vec<u8>,
    /// Who says to have sent it.
    pub from: String,
    /// Whom it was sent to; empty where the bearer does not tell.
    pub to: String,
}

/// A message on its way to the bearer.
#[derive(Debug)]
struct Order {
    message: Message,
    until: Instant,
    progress: mpsc::Sender<Delivery>,
}

/// A bearer's ends of what it shares with whoever started it.
struct Ends<'a> {
    tasks: &'a TaskTracker,
    shutdown: CancellationToken,
    orders: mpsc::Receiver<Order>,
    hearing: mpsc::Sender<Heard>,
}

impl Bearer {
    /// Starts the bearer; it works until `shutdown` is cancelled, and its tasks belong to `tasks`.
    pub fn start(
        self,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> (Transmitter, Receiver, Health) {
        let (orders, ordered) = mpsc::channel(limits::ORDERS);
        let (hearing, heard) = mpsc::channel(limits::HEARD);
        let ends = Ends { tasks, shutdown, orders: ordered, hearing };
        let health = match self {
            Self::Smpp(config) => smpp::start(config, ends),
            Self::Modem(config) => modem::start(config, ends),
            Self::ModemManager(config) => modem_manager::start(config, ends),
            Self::Mail(config) => mail::start(config, ends),
            Self::Http(config) => http::start(config, ends),
        };
        (Transmitter { orders }, Receiver { heard }, health)
    }

    /// Whether it can send messages, as it is configured.
    pub fn transmits(&self) -> bool {
        match self {
            Self::Smpp(it) => it.account.bind.role.transmits(),
            Self::Modem(_) | Self::ModemManager(_) => true,
            Self::Mail(it) => it.submission.is_some(),
            Self::Http(it) => it.api.is_some(),
        }
    }

    /// Whether it can hear messages, as it is configured.
    pub fn receives(&self) -> bool {
        match self {
            Self::Smpp(it) => it.account.bind.role.receives(),
            Self::Modem(_) | Self::ModemManager(_) => true,
            Self::Mail(it) => it.mailbox.is_some(),
            Self::Http(it) => it.webhook.is_some(),
        }
    }
}

impl Transmitter {
    /// Takes a message on, or refuses it at once as the first step of its story.
    pub fn ring(&self, message: Message) -> Submission {
        let (progress, story) = mpsc::channel(limits::PROGRESS);
        let until = Instant::now() + message.valid_for;
        let order = Order { message, until, progress };
        let refused = match self.orders.try_send(order) {
            Ok(()) => return Submission { progress: story },
            Err(mpsc::error::TrySendError::Full(order)) => (order, Failure::Full),
            Err(mpsc::error::TrySendError::Closed(order)) => (order, Failure::ShutDown),
        };
        refused.0.tell(Delivery::Failed(refused.1));
        Submission { progress: story }
    }
}

impl Submission {
    /// The next step; `None` once nothing more can become of it. Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.progress.recv().await
    }
}

impl Receiver {
    /// The next message; `None` once the bearer has shut down. Cancel safe.
    pub async fn hear(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

impl Failure {
    /// Whether the same message would fail for ever.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unsendable(_) => true,
            Self::Refused { permanent, .. } => *permanent,
            Self::Full
            | Self::Expired
            | Self::Down
            | Self::Unreachable
            | Self::Undelivered
            | Self::ShutDown => false,
        }
    }

    /// How long to leave this number alone on this bearer.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Full
            | Self::Expired
            | Self::Down
            | Self::Unsendable(_)
            | Self::Unreachable
            | Self::Undelivered
            | Self::ShutDown => None,
        }
    }
}

impl Order {
    fn tell(&self, step: Delivery) {
        tell(&self.progress, step);
    }
}

/// Tells a step of a story; nobody may be listening any more.
fn tell(progress: &mpsc::Sender<Delivery>, step: Delivery) {
    if let Err(mpsc::error::TrySendError::Full(_)) = progress.try_send(step) {
        debug_assert!(false, "a story has fewer steps than limits::PROGRESS");
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} characters)", text.chars().count()),
            Self::Binary(octets) => write!(f, "Binary({} octets)", octets.len()),
        }
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heard({} octets)", self.octets.len())
    }
}
