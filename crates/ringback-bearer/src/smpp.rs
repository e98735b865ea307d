//! SMS over SMPP: the shell of [`link::Link`], with its connection, its clock and its queues.
//!
//! It decides nothing about the protocol: it carries octets and events to the link and does what
//! the link says. Text goes out in the default alphabet, octets as 8-bit data, and never in parts.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::hash::{BuildHasher, RandomState};

use ringback_proto::limits::SMPP_QUEUE_FULL;
use ringback_proto::smpp::link::{self, Command, Event, HandedId, Link, SubmissionId};
use ringback_proto::smpp::pdu::Bind;
use ringback_proto::smpp::status::{Remedy, Status};
use ringback_proto::smpp::text::Address;
use ringback_proto::smpp::wire::Lost;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

pub use crate::Tls;
use crate::health::Health;
use crate::{Body, Delivery, Ends, Failure, Heard, Message, Order, sms, tell};
use connection::Connection;
use receipts::{Receipts, Taken};
use report::Report;

mod connection;
mod receipts;
mod report;

/// Where the message center is, and the account there.
#[derive(Debug)]
pub struct Config {
    /// The hosts of the account, used one at a time: the next when one fails.
    pub hosts: Vec<Host>,
    /// The account.
    pub account: link::Config,
    /// Whether messages that nobody wants any more are recalled.
    pub cancel: bool,
}

/// One host of a message center.
#[derive(Clone, Debug)]
pub struct Host {
    /// `host:port`; the name is looked up again for each connection.
    pub address: String,
    /// TLS, unless the way to the operator is protected otherwise.
    pub tls: Option<Tls>,
}

struct Driver {
    config: Config,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    orders: mpsc::Receiver<Order>,
    hearing: mpsc::Sender<Heard>,
    link: Link,
    connection: Connection,
    stories: BTreeMap<SubmissionId, Story>,
    receipts: Receipts,
    to_hand: VecDeque<(HandedId, Heard)>,
    next_submission: u64,
    stopping: bool,
    /// Which host the connection is to.
    host: usize,
    report: Report,
}

/// Who wants to know of a submission, and whom it is for.
struct Story {
    progress: mpsc::Sender<Delivery>,
    destination: Address,
}

enum Happened {
    Due,
    ShutDown,
    Ordered(Order),
    /// Nobody holds the transmitter any more.
    OrdersEnded,
    Connection(connection::Happened),
    /// The receiver can take one more message, or is gone.
    Hearing {
        open: bool,
    },
    /// Nobody wants a message any more that the operator has taken.
    Forsaken(Taken),
}

impl Config {
    /// The usual settings of an account; see [`link::Config::new`].
    pub fn new(address: String, bind: Bind, source: Address) -> Self {
        // The only chance here is when to reconnect: the hasher's seed is random enough for it.
        let seed = RandomState::new().hash_one(&address);
        let hosts = vec![Host { address, tls: None }];
        Self { hosts, account: link::Config::new(bind, source, seed), cancel: true }
    }
}

pub(crate) fn start(mut config: Config, ends: Ends<'_>) -> Health {
    let (report, health) = Report::new(&config.account.bind);
    let Ends { tasks, shutdown, orders, hearing } = ends;
    let span = info_span!("smpp", account = config.account.bind.system_id.as_str());
    config.account.hosts = config.hosts.len();
    let driver = Driver {
        link: Link::new(config.account.clone(), Instant::now().into_std()),
        config,
        tasks: tasks.clone(),
        shutdown,
        orders,
        hearing,
        connection: Connection::default(),
        stories: BTreeMap::new(),
        receipts: Receipts::default(),
        to_hand: VecDeque::new(),
        next_submission: 0,
        stopping: false,
        host: 0,
        report,
    };
    tasks.spawn(driver.run().instrument(span));
    health
}

impl Driver {
    async fn run(mut self) {
        let mut orders_open = true;
        loop {
            self.obey();
            self.report.look(&self.link);
            if self.link.is_ended() {
                return self.end();
            }
            let happened = self.wait(orders_open).await;
            // Whatever happened may make the link submit: what was taken back goes first.
            self.forget_unwanted();
            let now = Instant::now().into_std();
            match happened {
                Happened::Due => {}
                Happened::ShutDown => {
                    self.stopping = true;
                    self.link.handle_event(Event::ShutDown, now);
                }
                Happened::Ordered(order) => self.order(order),
                Happened::OrdersEnded => orders_open = false,
                Happened::Connection(happened) => self.connection_happened(happened),
                Happened::Hearing { open } => self.hand(open),
                Happened::Forsaken(Taken { message_id, destination }) => {
                    self.link.handle_event(Event::Cancel { message_id, destination }, now);
                }
            }
            // Whatever happened, what is due is due: a busy link must not starve its own timers.
            if self.link.poll_timeout().is_some_and(|it| it <= now) {
                self.link.handle_timeout(now);
            }
        }
    }

    async fn wait(&mut self, orders_open: bool) -> Happened {
        let due = self.link.poll_timeout();
        let due = async {
            match due {
                Some(at) => sleep_until(Instant::from_std(at)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => Happened::Due,
            () = self.shutdown.cancelled(), if !self.stopping => Happened::ShutDown,
            order = self.orders.recv(), if orders_open && !self.link.is_full() => {
                order.map_or(Happened::OrdersEnded, Happened::Ordered)
            }
            room = self.hearing.reserve(), if !self.to_hand.is_empty() => {
                Happened::Hearing { open: room.is_ok() }
            }
            Some(taken) = self.receipts.forsaken() => Happened::Forsaken(taken),
            it = self.connection.happen() => Happened::Connection(it),
        }
    }

    fn forget_unwanted(&mut self) {
        let stories = &mut self.stories;
        self.link.retain(|id| {
            let wanted = stories.get(&id).is_some_and(|it| !it.progress.is_closed());
            if !wanted {
                stories.remove(&id);
            }
            wanted
        });
    }

    fn order(&mut self, order: Order) {
        if order.progress.is_closed() {
            return;
        }
        if !self.config.account.bind.role.transmits() {
            let failure = Failure::Unsendable("this account is bound to receive only");
            return order.tell(Delivery::Failed(failure));
        }
        let submission = match submission(&order.message, order.until) {
            Ok(submission) => submission,
            Err(failure) => return order.tell(Delivery::Failed(failure)),
        };
        self.next_submission += 1;
        let id = SubmissionId(self.next_submission);
        let destination = submission.destination.clone();
        self.stories.insert(id, Story { progress: order.progress, destination });
        self.link.handle_event(Event::Submit(id, submission), Instant::now().into_std());
    }

    fn connection_happened(&mut self, happened: connection::Happened) {
        let now = Instant::now().into_std();
        match happened {
            connection::Happened::Connected => self.link.handle_event(Event::Connected, now),
            connection::Happened::Read(octets) => self.link.handle_input(&octets, now),
            connection::Happened::Wrote => {}
            connection::Happened::Broke(cause) => {
                warn!(error = %cause, "no connection to the message center");
                let host = &self.config.hosts[self.host].address;
                self.report.unbound(&format!("no connection to {host}: {cause}"));
                self.to_hand.clear();
                self.link.handle_event(Event::Disconnected, now);
            }
        }
    }

    fn hand(&mut self, open: bool) {
        let Some((handed, heard)) = self.to_hand.pop_front() else { return };
        let taken = open && self.hearing.try_send(heard).is_ok();
        let event = if taken { Event::Taken(handed) } else { Event::Declined(handed) };
        self.link.handle_event(event, Instant::now().into_std());
    }

    fn obey(&mut self) {
        while let Some(octets) = self.link.poll_output() {
            self.connection.write(&octets);
        }
        while let Some(command) = self.link.poll_command() {
            match command {
                Command::Connect { host } => {
                    self.host = host;
                    self.connection.connect(&self.config.hosts[host]);
                }
                Command::Disconnect(lost) => self.disconnect(lost),
                Command::Bound => {
                    let center = &self.config.hosts[self.host].address;
                    info!(center, "bound");
                    self.report.bound(center);
                }
                Command::Submitted(id, message_id) => {
                    let Some(Story { progress, destination }) = self.stories.remove(&id) else {
                        continue;
                    };
                    // It is shown on terminals, which obey control characters.
                    let name = message_id.as_str().escape_debug().to_string();
                    debug!(message_id = name, "submitted");
                    tell(&progress, Delivery::Submitted { message_id: name });
                    let taken = Taken { message_id, destination };
                    self.receipts.insert(taken, progress, self.config.cancel);
                }
                Command::Unknown(id) => self.tell_last(id, Delivery::Unknown),
                Command::Failed(id, cause) => self.tell_last(id, Delivery::Failed(cause.into())),
                Command::Hand { handed, source, destination, octets } => {
                    let (from, to) = (source.to_string(), destination.to_string());
                    self.to_hand.push_back((handed, Heard { octets, from, to }));
                }
                Command::Receipt(receipt) => self.receipts.tell(&receipt),
            }
        }
    }

    fn disconnect(&mut self, lost: Lost) {
        let center = &self.config.hosts[self.host].address;
        self.report.unbound(&format!("{center}: {lost}"));
        match lost {
            Lost::ShutDown => info!("unbound"),
            // Somebody must act: trying again will not help.
            Lost::Refused(_) | Lost::Foreign(_) => {
                error!(center, reason = %lost, "lost the message center");
            }
            Lost::Length(_) | Lost::Silent | Lost::Unbound | Lost::Troubled | Lost::Broken => {
                warn!(center, reason = %lost, "lost the message center");
            }
        }
        self.to_hand.clear();
        self.connection.close(&self.tasks);
    }

    fn tell_last(&mut self, id: SubmissionId, step: Delivery) {
        let Some(story) = self.stories.remove(&id) else { return };
        debug!(?step, "not submitted");
        tell(&story.progress, step);
    }

    /// Refuses what came too late to be taken on.
    fn end(mut self) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            order.tell(Delivery::Failed(Failure::ShutDown));
        }
    }
}

fn submission(message: &Message, until: Instant) -> Result<link::Submission, Failure> {
    let number = sms::check(message)?;
    let destination =
        Address::parse(&number).ok_or(Failure::Unsendable("the call number is too long"))?;
    let (data_coding, content) = match &message.body {
        Body::Text(text) => (0, text.clone().into_bytes()),
        Body::Binary(octets) => (4, octets.clone()),
    };
    let until = until.into_std();
    Ok(link::Submission { destination, data_coding, content, until })
}

impl From<link::Failure> for Failure {
    fn from(cause: link::Failure) -> Self {
        match cause {
            link::Failure::Expired => Self::Expired,
            link::Failure::Unbound => Self::Down,
            link::Failure::ShutDown => Self::ShutDown,
            link::Failure::Refused(Status::DELIVERY_FAILURE) => Self::Unreachable,
            link::Failure::Refused(status) => Self::Refused {
                reason: status.to_string(),
                permanent: status.remedy() == Remedy::Never,
                retry_after: (status == Status::QUEUE_FULL).then_some(SMPP_QUEUE_FULL),
            },
        }
    }
}
