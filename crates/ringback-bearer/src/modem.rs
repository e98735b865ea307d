//! SMS by a modem of our own: the shell of [`at::Modem`], with its port, its clock and its queues.
//!
//! It decides nothing about the dialog: it carries octets and events to the machine and does what
//! the machine says. The modem belongs to it alone: what others left in its store is heard and
//! deleted.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::path::PathBuf;

use ringback_proto::modem::at::{
    self, Command, Event, HandedId, Lost, Modem, SubmissionId, Trouble,
};
use ringback_proto::modem::code::Remedy;
use ringback_proto::modem::tpdu::{Address, Content};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::health::{Health, Reporter};
use crate::{Body, Delivery, Ends, Failure, Heard, Message, Order, sms, tell};
use port::Port;
use reports::Reports;

mod port;
mod report;
mod reports;

/// Where a modem is, and what its dialog needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its device, by a name that stays the same when it is plugged in again.
    pub device: PathBuf,
    /// The speed of the line; modems on USB do not care.
    pub bits_per_second: u32,
    /// PIN, center and reports.
    pub dialog: at::Config,
}

struct Driver {
    config: Config,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    orders: mpsc::Receiver<Order>,
    hearing: mpsc::Sender<Heard>,
    modem: Modem,
    port: Port,
    stories: BTreeMap<SubmissionId, Story>,
    reports: Reports,
    to_hand: VecDeque<(HandedId, Heard)>,
    next_submission: u64,
    stopping: bool,
    reporter: Reporter,
}

/// Who wants to know what becomes of a message, and whom it is for.
struct Story {
    number: String,
    progress: mpsc::Sender<Delivery>,
}

enum Happened {
    Due,
    ShutDown,
    Ordered(Order),
    /// Nobody holds the transmitter any more.
    OrdersEnded,
    Port(port::Happened),
    /// The receiver can take one more message, or is gone.
    Hearing {
        open: bool,
    },
}

impl Config {
    /// What suits most modems, without a PIN.
    pub fn new(device: PathBuf) -> Self {
        let dialog = at::Config { pin: None, center: None, reports: true };
        Self { device, bits_per_second: 115_200, dialog }
    }
}

pub(crate) fn start(config: Config, ends: Ends<'_>) -> Health {
    let (reporter, health) = Reporter::new(&report::LOOKS_AT);
    let Ends { tasks, shutdown, orders, hearing } = ends;
    let span = info_span!("modem", device = %config.device.display());
    let driver = Driver {
        modem: Modem::new(config.dialog.clone(), Instant::now().into_std()),
        config,
        tasks: tasks.clone(),
        shutdown,
        orders,
        hearing,
        port: Port::default(),
        stories: BTreeMap::new(),
        reports: Reports::default(),
        to_hand: VecDeque::new(),
        next_submission: 0,
        stopping: false,
        reporter,
    };
    tasks.spawn(driver.run().instrument(span));
    health
}

impl Driver {
    async fn run(mut self) {
        let mut orders_open = true;
        loop {
            self.obey();
            if self.modem.is_ended() {
                return self.end();
            }
            let happened = self.wait(orders_open).await;
            // Whatever happened may make the modem submit: what was taken back goes first.
            self.forget_unwanted();
            let now = Instant::now().into_std();
            match happened {
                Happened::Due => {}
                Happened::ShutDown => {
                    self.stopping = true;
                    self.modem.handle_event(Event::ShutDown, now);
                }
                Happened::Ordered(order) => self.order(order),
                Happened::OrdersEnded => orders_open = false,
                Happened::Port(happened) => self.port_happened(happened),
                Happened::Hearing { open } => self.hand(open),
            }
            // Whatever happened, what is due is due: a chattering modem must not starve its timers.
            if self.modem.poll_timeout().is_some_and(|it| it <= now) {
                self.modem.handle_timeout(now);
            }
        }
    }

    async fn wait(&mut self, orders_open: bool) -> Happened {
        let due = self.modem.poll_timeout();
        let due = async {
            match due {
                Some(at) => sleep_until(Instant::from_std(at)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => Happened::Due,
            () = self.shutdown.cancelled(), if !self.stopping => Happened::ShutDown,
            order = self.orders.recv(), if orders_open && !self.modem.is_full() => {
                order.map_or(Happened::OrdersEnded, Happened::Ordered)
            }
            room = self.hearing.reserve(), if !self.to_hand.is_empty() => {
                Happened::Hearing { open: room.is_ok() }
            }
            it = self.port.happen() => Happened::Port(it),
        }
    }

    fn forget_unwanted(&mut self) {
        let stories = &mut self.stories;
        self.modem.retain(|id| {
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
        let (number, submission) = match submission(&order.message, order.until) {
            Ok(submission) => submission,
            Err(failure) => return order.tell(Delivery::Failed(failure)),
        };
        self.next_submission += 1;
        let id = SubmissionId(self.next_submission);
        self.stories.insert(id, Story { number, progress: order.progress });
        self.modem.handle_event(Event::Submit(id, submission), Instant::now().into_std());
    }

    fn port_happened(&mut self, happened: port::Happened) {
        let now = Instant::now().into_std();
        match happened {
            port::Happened::Opened => self.modem.handle_event(Event::Opened, now),
            port::Happened::Read(octets) => self.modem.handle_input(&octets, now),
            port::Happened::Wrote => {}
            port::Happened::Broke(cause) => {
                warn!(error = %cause, "no port to the modem");
                report::no_port(&cause, &self.reporter);
                self.modem.handle_event(Event::Closed, now);
            }
        }
    }

    fn hand(&mut self, open: bool) {
        let Some((handed, heard)) = self.to_hand.pop_front() else { return };
        let taken = open && self.hearing.try_send(heard).is_ok();
        let event = if taken { Event::Taken(handed) } else { Event::Declined(handed) };
        self.modem.handle_event(event, Instant::now().into_std());
    }

    fn obey(&mut self) {
        report::condition(self.modem.condition(), &self.reporter);
        while let Some(octets) = self.modem.poll_output() {
            self.port.write(&octets);
        }
        while let Some(command) = self.modem.poll_command() {
            match command {
                Command::Open => self.port.open(&self.config, &self.tasks),
                Command::Close(lost) => self.close(lost),
                Command::Ready => {
                    info!("ready");
                    report::ready(self.modem.condition(), &self.reporter);
                }
                Command::Submitted(id, reference) => self.submitted(id, reference),
                Command::Unknown(id) => self.tell_last(id, Delivery::Unknown),
                Command::Failed(id, cause) => self.tell_last(id, Delivery::Failed(cause.into())),
                Command::Hand { handed, source, octets } => {
                    let heard = Heard { octets, from: source.to_string(), to: String::new() };
                    self.to_hand.push_back((handed, heard));
                }
                Command::Forget => self.to_hand.clear(),
                Command::Report(report) => self.reports.tell(&report),
                Command::Dropped(why) => debug!(?why, "a message that is none of ours"),
                Command::Trouble(trouble) => complain(trouble),
            }
        }
    }

    fn submitted(&mut self, id: SubmissionId, reference: Option<u8>) {
        let Some(Story { number, progress }) = self.stories.remove(&id) else { return };
        let message_id = reference.map_or_else(String::new, |it| it.to_string());
        debug!(message_id, "submitted");
        tell(&progress, Delivery::Submitted { message_id });
        if let Some(reference) = reference
            && self.config.dialog.reports
        {
            self.reports.insert(reference, number, progress);
        }
    }

    fn close(&mut self, lost: Lost) {
        report::lost(lost, &self.reporter);
        match lost {
            Lost::ShutDown => info!("closed"),
            // Somebody must act: trying again will not help.
            Lost::NoCard | Lost::PinWanted | Lost::PinRefused | Lost::Locked | Lost::Refused(_) => {
                error!(reason = %lost, "lost the modem");
            }
            Lost::Silent => warn!(reason = %lost, "lost the modem"),
        }
        self.port.close(&self.tasks);
    }

    fn tell_last(&mut self, id: SubmissionId, step: Delivery) {
        let Some(Story { progress, .. }) = self.stories.remove(&id) else { return };
        debug!(?step, "not known to be submitted");
        tell(&progress, step);
    }

    /// Refuses what came too late to be taken on.
    fn end(mut self) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            order.tell(Delivery::Failed(Failure::ShutDown));
        }
    }
}

fn complain(trouble: Trouble) {
    match trouble {
        Trouble::NoCenter => error!("{trouble}"),
        Trouble::NoNotices | Trouble::NoNetwork | Trouble::StoreFull | Trouble::Undeletable => {
            warn!("{trouble}");
        }
    }
}

fn submission(message: &Message, until: Instant) -> Result<(String, at::Submission), Failure> {
    let number = sms::check(message)?;
    let destination =
        Address::parse(&number).ok_or(Failure::Unsendable("the call number is too long"))?;
    let content = match &message.body {
        Body::Text(text) => Content::Text(text.clone()),
        Body::Binary(octets) => Content::Octets(octets.clone()),
    };
    let until = until.into_std();
    Ok((number, at::Submission { destination, content, until }))
}

impl From<at::Failure> for Failure {
    fn from(cause: at::Failure) -> Self {
        match cause {
            at::Failure::Expired => Self::Expired,
            at::Failure::ShutDown => Self::ShutDown,
            at::Failure::Unfit => Self::Unsendable("it does not fit one message"),
            at::Failure::NoAnswer => Self::Refused {
                reason: "the modem does not answer".to_owned(),
                permanent: false,
                retry_after: None,
            },
            at::Failure::Refused(code) if code.remedy() == Remedy::Absent => Self::Unreachable,
            at::Failure::Refused(code) => Self::Refused {
                reason: code.to_string(),
                permanent: code.remedy() == Remedy::Never,
                retry_after: code.retry_after(),
            },
        }
    }
}
