//! The post office: takes orders, keeps a few connections to the submission server, and tells what
//! becomes of each mail.
//!
//! A mail is offered again only while it is certain that the server does not have it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ringback_proto::mail::letter::Letter;
use ringback_proto::terminal::Callee;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, info};

use super::Submission;
use super::pause::Pause;
use super::smtp::{Parcel, Talk, open};
use super::wire::{Fault, Secured};
use crate::health::{Reporter, Verdict};
use crate::limits::{
    FAREWELL_PATIENCE, MAIL_AGAIN, MAIL_CONNECTIONS, MAIL_KEPT, MAIL_TRIES, MAILS_UNDER_WAY,
};
use crate::{Body, Delivery, Failure, Order};

/// What the finding is called.
pub(super) const SUBMISSION: &str = "submission";

pub(super) struct Office {
    config: Submission,
    reporter: Arc<Reporter>,
    shutdown: CancellationToken,
    connections: Semaphore,
    /// Connections that nobody uses, and since when.
    kept: Mutex<Vec<(Talk<Secured>, Instant)>>,
    /// Held by who connects: one at a time.
    pause: Mutex<Pause>,
    /// Whether the last attempt to connect failed.
    failing: AtomicBool,
    /// Whether a task is about to find out if the server can be used.
    checking: AtomicBool,
}

/// A connection that a mail went over, and its place among the few there may be.
type Used<'a> = (Talk<Secured>, Option<SemaphorePermit<'a>>);

impl Office {
    pub(super) fn new(
        config: Submission,
        reporter: Arc<Reporter>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            reporter,
            shutdown,
            connections: Semaphore::new(MAIL_CONNECTIONS),
            kept: Mutex::default(),
            pause: Mutex::new(Pause::new()),
            failing: AtomicBool::new(true),
            checking: AtomicBool::new(false),
        })
    }

    pub(super) async fn run(self: Arc<Self>, mut orders: mpsc::Receiver<Order>) {
        let mut under_way = JoinSet::new();
        let mut used = true;
        let office = self.clone();
        under_way.spawn(async move { office.check().await }.instrument(Span::current()));
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                order = orders.recv(), if under_way.len() < MAILS_UNDER_WAY => {
                    let Some(order) = order else { break };
                    used = true;
                    under_way.spawn(self.clone().deliver(order).instrument(Span::current()));
                }
                Some(_) = under_way.join_next() => {}
                () = sleep(MAIL_KEPT), if used && under_way.is_empty() => {
                    used = false;
                    self.close_kept().await;
                }
            }
        }
        while under_way.join_next().await.is_some() {}
        orders.close();
        while let Ok(order) = orders.try_recv() {
            order.tell(Delivery::Failed(Failure::ShutDown));
        }
        self.close_kept().await;
    }

    /// Connects while the server is not known to be usable, so that it is known before the next mail.
    async fn check(&self) {
        if !self.failing.load(Ordering::Relaxed) || self.checking.swap(true, Ordering::Relaxed) {
            return;
        }
        let checking = async {
            let _connection = self.connections.acquire().await;
            let talk = self.connect().await;
            self.keep(talk).await;
        };
        self.shutdown.run_until_cancelled(checking).await;
        self.checking.store(false, Ordering::Relaxed);
    }

    /// One mail's story; the server is looked for again if it was not found.
    async fn deliver(self: Arc<Self>, order: Order) {
        self.tell(order).await;
        self.check().await;
    }

    /// Tells a mail's story, until its end or until nobody wants to hear it any more.
    async fn tell(&self, order: Order) {
        let (id, parcel) = match self.parcel(&order) {
            Ok(parcel) => parcel,
            Err(failure) => return order.tell(Delivery::Failed(failure)),
        };
        let handed = AtomicBool::new(false);
        let not_sent = |cause| match handed.load(Ordering::Relaxed) {
            true => Delivery::Unknown,
            false => Delivery::Failed(cause),
        };
        let (carried, used) = tokio::select! {
            biased;
            () = order.progress.closed() => return,
            carried = self.carry(&parcel, &handed) => carried,
            () = sleep_until(order.until) => (Err(not_sent(Failure::Expired)), None),
            () = self.ending() => (Err(not_sent(Failure::ShutDown)), None),
        };
        let step = carried.map_or_else(|step| step, |()| Delivery::Submitted { message_id: id });
        if let Delivery::Submitted { message_id } = &step {
            debug!(message_id, "submitted");
        } else {
            debug!(?step, "not known to be submitted");
        }
        // Told before anything else is said to the server: it has nothing to do with this mail.
        order.tell(step);
        let Some((talk, _place)) = used else { return };
        tokio::select! {
            () = self.keep(talk) => {}
            () = self.ending() => {}
        }
    }

    /// Offers a mail until the server has it; what else becomes of it is the error.
    async fn carry(
        &self,
        parcel: &Parcel,
        handed: &AtomicBool,
    ) -> (Result<(), Delivery>, Option<Used<'_>>) {
        let mut refusals = 0;
        loop {
            let place = self.connections.acquire().await.ok();
            let (mut talk, fresh) = match self.take_kept().await {
                Some(talk) => (talk, false),
                None => (self.connect().await, true),
            };
            let fault = match talk.submit(parcel, handed).await {
                Ok(()) => {
                    self.forget_pause();
                    return (Ok(()), Some((talk, place)));
                }
                Err(fault) => fault,
            };
            if let Fault::Refused { status, permanent } = fault {
                refusals += 1;
                self.forget_pause();
                if permanent || MAIL_TRIES <= refusals {
                    let refused = Failure::Refused { reason: status, permanent, retry_after: None };
                    return (Err(Delivery::Failed(refused)), Some((talk, place)));
                }
                self.keep(talk).await;
                drop(place);
                sleep(MAIL_AGAIN).await;
                continue;
            }
            if handed.load(Ordering::Relaxed) {
                return (Err(Delivery::Unknown), None);
            }
            // A kept connection may have died of old age; a new one tells of the server.
            if fresh {
                self.failed(&fault);
                self.pause.lock().await.lengthen(false);
            }
        }
    }

    /// Connects, however long it takes: whoever asks knows how long that is worth waiting for.
    async fn connect(&self) -> Talk<Secured> {
        let mut pause = self.pause.lock().await;
        loop {
            pause.over().await;
            // Noted before the attempt, so that whoever gives up in the middle leaves a pause.
            let before = *pause;
            pause.lengthen(false);
            let fault = match open(&self.config).await {
                Ok(talk) => {
                    // How the server treats mails shows whether it can be used.
                    *pause = before;
                    info!("logged in");
                    self.failing.store(false, Ordering::Relaxed);
                    let known = self.config.account.is_some();
                    let text = if known {
                        "logged in, over TLS"
                    } else {
                        "reached over TLS, without a login"
                    };
                    self.reporter.found(SUBMISSION, Verdict::Good, text);
                    return talk;
                }
                Err(fault) => fault,
            };
            if fault.is_login() {
                pause.lengthen(true);
            }
            self.failed(&fault);
        }
    }

    /// Notes that the server could be used.
    fn forget_pause(&self) {
        // Whoever connects just now holds it, and the next mail forgets it.
        if let Ok(mut pause) = self.pause.try_lock() {
            pause.forget();
        }
    }

    fn failed(&self, fault: &Fault) {
        fault.complain();
        self.failing.store(true, Ordering::Relaxed);
        self.reporter.found(SUBMISSION, Verdict::Bad, fault.advice());
    }

    async fn take_kept(&self) -> Option<Talk<Secured>> {
        let (talk, since) = self.kept.lock().await.pop()?;
        (since.elapsed() < MAIL_KEPT).then_some(talk)
    }

    /// Puts a connection aside for another mail, if it is fit for one.
    async fn keep(&self, mut talk: Talk<Secured>) {
        if talk.reset().await.is_err() {
            return;
        }
        if talk.is_worn() {
            return talk.quit().await;
        }
        self.kept.lock().await.push((talk, Instant::now()));
    }

    async fn close_kept(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().await);
        for (talk, _) in kept {
            talk.quit().await;
        }
    }

    async fn ending(&self) {
        self.shutdown.cancelled().await;
        sleep(FAREWELL_PATIENCE).await;
    }

    fn parcel(&self, order: &Order) -> Result<(String, Parcel), Failure> {
        let Callee::Mail(to) = &order.message.to else {
            return Err(Failure::Unsendable("e-mail goes to mail addresses only"));
        };
        let Body::Text(text) = &order.message.body else {
            return Err(Failure::Unsendable("e-mail carries text only"));
        };
        let from = &self.config.from;
        // A name for logs, not a secret: two seeded hashes are unlike all others.
        let [high, low] = [(); 2].map(|()| u128::from(RandomState::new().hash_one(0)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let letter = Letter { from, to, id: high << 64 | low, unix_seconds: now.as_secs() };
        let data = letter
            .data(text)
            .ok_or(Failure::Unsendable("a text is one line of at most 998 plain characters"))?;
        let parcel = Parcel { from: from.clone(), to: to.clone(), data };
        Ok((letter.message_id(), parcel))
    }
}
