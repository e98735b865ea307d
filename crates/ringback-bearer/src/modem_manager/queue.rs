//! Messages that wait to be sent. It fails what has expired and forgets what was taken back, whether
//! there is a modem or not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;

use ringback_proto::limits::{MODEM_AGAIN, MODEM_TRIES, MODEM_WAITING};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::{Delivery, Failure, Order, sms};

/// What waits, and where more comes from.
pub(super) struct Queue {
    orders: mpsc::Receiver<Order>,
    /// Somebody still holds the transmitter.
    open: bool,
    waiting: VecDeque<Turn>,
}

/// A message that one SMS can carry, and when it is to be tried.
pub(super) struct Turn {
    pub(super) order: Order,
    pub(super) number: String,
    tries: u8,
    not_before: Instant,
}

impl Queue {
    pub(super) fn new(orders: mpsc::Receiver<Order>) -> Self {
        Self { orders, open: true, waiting: VecDeque::new() }
    }

    /// Waits for the next message that may be sent. Cancel safe.
    pub(super) async fn next(&mut self) -> Turn {
        loop {
            self.prune();
            let now = Instant::now();
            let next = self.waiting.iter().position(|it| it.not_before <= now);
            if let Some(turn) = next.and_then(|it| self.waiting.remove(it)) {
                return turn;
            }
            self.change().await;
        }
    }

    /// Looks after what waits, for ever. Cancel safe.
    pub(super) async fn tend(&mut self) -> Infallible {
        loop {
            self.prune();
            self.change().await;
        }
    }

    /// Takes back a message that was not sent.
    pub(super) fn put_back(&mut self, turn: Turn) {
        self.waiting.push_front(turn);
    }

    /// Refuses all that waits, and all that is still to come.
    pub(super) fn end(mut self) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            order.tell(Delivery::Failed(Failure::ShutDown));
        }
        for turn in self.waiting {
            turn.order.tell(Delivery::Failed(Failure::ShutDown));
        }
    }

    fn prune(&mut self) {
        let now = Instant::now();
        self.waiting.retain(|turn| {
            if turn.order.until <= now {
                turn.order.tell(Delivery::Failed(Failure::Expired));
            }
            turn.is_wanted(now)
        });
    }

    async fn change(&mut self) {
        let now = Instant::now();
        let times = self.waiting.iter().flat_map(|it| [it.order.until, it.not_before]);
        let due = times.filter(|it| now < *it).min();
        let due = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let room = self.open && self.waiting.len() < MODEM_WAITING;
        tokio::select! {
            order = self.orders.recv(), if room => match order {
                Some(order) => self.take(order),
                None => self.open = false,
            },
            () = due => {}
        }
    }

    fn take(&mut self, order: Order) {
        match sms::check(&order.message) {
            Err(failure) => order.tell(Delivery::Failed(failure)),
            Ok(number) => {
                let not_before = Instant::now();
                self.waiting.push_back(Turn { order, number, tries: 0, not_before });
            }
        }
    }
}

impl Turn {
    /// Whether somebody still waits for it, and it is still worth sending.
    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        now < self.order.until && !self.order.progress.is_closed()
    }

    /// It was refused for now: counts that, and tells whether it may be tried again.
    pub(super) fn may_try_again(&mut self) -> bool {
        self.tries += 1;
        self.not_before = Instant::now() + MODEM_AGAIN;
        self.tries < MODEM_TRIES
    }
}
