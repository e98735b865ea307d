//! Posts messages to an API: so many at once, so many a second, again if it is refused for now, and
//! never again once the API may have it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringback_proto::sms_api::answer::Outcome;
use ringback_proto::sms_api::preset::Method;
use ringback_proto::sms_api::template::Values;
use ringback_proto::sms_api::url::Url;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, info, warn};

use super::Api;
use super::ask::{self, Unanswered};
use crate::health::{Reporter, Verdict};
use crate::{Body, Delivery, Failure, Order, limits, sms};

/// Posts what is ordered.
pub(super) struct Desk {
    post: Arc<Post>,
    shutdown: CancellationToken,
}

/// What every message's task shares.
struct Post {
    api: Api,
    shutdown: CancellationToken,
    reporter: Arc<Reporter>,
    /// When the next post may leave.
    next_at: Mutex<Instant>,
}

/// A message that the API has and may be asked to give back.
struct Recallable {
    order: Order,
    message_id: String,
}

/// What a try came to.
enum Tried {
    Told(Delivery),
    Taken(String),
    Again { at: Instant, otherwise: Failure },
}

impl Desk {
    pub(super) fn new(api: Api, shutdown: CancellationToken, reporter: Arc<Reporter>) -> Self {
        let next_at = Mutex::new(Instant::now());
        Self {
            post: Arc::new(Post { api, shutdown: shutdown.clone(), reporter, next_at }),
            shutdown,
        }
    }

    /// Works until it is shut down, or nobody can order any more and all is done.
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        self.shutdown.run_until_cancelled(self.post.introduce()).await;
        let mut under_way = JoinSet::new();
        let mut recallable: JoinSet<()> = JoinSet::new();
        let mut open = true;
        while open || !under_way.is_empty() || !recallable.is_empty() {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                order = orders.recv(), if open && under_way.len() < self.post.api.window => {
                    let Some(order) = order else {
                        open = false;
                        continue;
                    };
                    let post = Arc::clone(&self.post);
                    under_way.spawn(async move { post.carry(order).await }.instrument(Span::current()));
                }
                Some(done) = under_way.join_next() => {
                    self.keep(&mut recallable, done.ok().flatten());
                }
                Some(_) = recallable.join_next() => {}
            }
        }
        orders.close();
        while let Ok(order) = orders.try_recv() {
            order.tell(Delivery::Failed(Failure::ShutDown));
        }
        // Each has its own end once the shutdown is known.
        while under_way.join_next().await.is_some() {}
        while recallable.join_next().await.is_some() {}
    }

    fn keep(&self, recallable: &mut JoinSet<()>, it: Option<Recallable>) {
        let Some(it) = it.filter(|_| recallable.len() < limits::HTTP_RECALLABLE) else { return };
        let post = Arc::clone(&self.post);
        recallable.spawn(async move { post.recall(it).await }.instrument(Span::current()));
    }
}

impl Post {
    async fn introduce(&self) {
        match ask::knock(&self.api).await {
            Ok(()) => {
                info!("ready to post");
                self.reporter.found("api", Verdict::Good, "can be connected to; nothing sent yet");
            }
            Err(unanswered) => self.complain(&unanswered),
        }
    }

    fn complain(&self, unanswered: &Unanswered) {
        warn!(cause = %unanswered, "the API cannot be used");
        self.reporter.found("api", Verdict::Bad, unanswered.to_string());
    }

    /// Carries one message to its end; gives back what may still be recalled.
    async fn carry(&self, order: Order) -> Option<Recallable> {
        let body = match &order.message.body {
            Body::Text(_) => Some(&self.api.manner.text),
            Body::Binary(_) => self.api.manner.binary.as_ref(),
        };
        let number = sms::check(&order.message);
        let (number, body) = match (number, body) {
            (Ok(number), Some(body)) => (number, body),
            (Err(failure), _) => return self.tell(&order, Delivery::Failed(failure)),
            (Ok(_), None) => {
                let failure =
                    Failure::Unsendable("this API carries texts only: use form = \"text\"");
                return self.tell(&order, Delivery::Failed(failure));
            }
        };
        let mut values = self.values(&order, &number);
        let (mut tries, mut pause) = (0, limits::HTTP_PAUSE.0);
        loop {
            if let Err(step) = self.turn(&order).await {
                return step.and_then(|it| self.tell(&order, it));
            }
            let left = order.until.saturating_duration_since(Instant::now());
            let validity = &self.api.manner.validity;
            values.validity = left.clamp(*validity.start(), *validity.end());
            match self.attempt(body, &values, &mut tries, &mut pause).await {
                Tried::Told(step) => return self.tell(&order, step),
                Tried::Taken(message_id) => {
                    self.tell(&order, Delivery::Submitted { message_id: message_id.clone() });
                    let recalled = self.api.cancel.is_some() && !message_id.is_empty();
                    return recalled.then_some(Recallable { order, message_id });
                }
                Tried::Again { at, otherwise } if order.until <= at => {
                    return self.tell(&order, Delivery::Failed(otherwise));
                }
                Tried::Again { at, otherwise: _ } => tokio::select! {
                    () = sleep_until(at) => {}
                    () = order.progress.closed() => return None,
                    () = self.shutdown.cancelled() => {}
                },
            }
        }
    }

    fn values(&self, order: &Order, number: &str) -> Values {
        let (content, udh) = match &order.message.body {
            Body::Text(text) => (text.clone().into_bytes(), Vec::new()),
            Body::Binary(octets) => (octets.clone(), self.api.udh.clone()),
        };
        Values {
            to_digits: number.trim_start_matches('+').to_owned(),
            from: self.api.from.clone(),
            content,
            udh,
            validity: Duration::ZERO,
            user: self.api.user.clone(),
            password: self.api.password.clone(),
            message_id: String::new(),
        }
    }

    /// Waits until a post may leave; tells if it no longer should, and what to say of it.
    async fn turn(&self, order: &Order) -> Result<(), Option<Delivery>> {
        let at = {
            let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next_at).max(Instant::now());
            *next_at = at + Duration::from_secs(1) / self.api.per_second;
            at
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Some(Delivery::Failed(Failure::ShutDown))),
            () = order.progress.closed() => Err(None),
            () = sleep_until(order.until) => Err(Some(Delivery::Failed(Failure::Expired))),
            () = sleep_until(at) => Ok(()),
        }
    }

    async fn attempt(
        &self,
        body: &ringback_proto::sms_api::body::Body,
        values: &Values,
        tries: &mut u32,
        pause: &mut Duration,
    ) -> Tried {
        let farewell = async {
            self.shutdown.cancelled().await;
            sleep(limits::FAREWELL_PATIENCE).await;
        };
        let reply = tokio::select! {
            reply = ask::post(&self.api, body, values) => reply,
            () = farewell => Err(Unanswered::Silent),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(unanswered) => return self.unanswered(&unanswered, pause),
        };
        *tries += 1;
        match reply.judged(&self.api.manner.test) {
            Outcome::Taken { message_id } => {
                debug!(message_id, "submitted");
                self.reporter.found("api", Verdict::Good, "took the last message");
                Tried::Taken(message_id)
            }
            Outcome::Later { reason, retry_after } => {
                debug!(reason, "refused for now");
                let text = format!("refused the last message for now: {reason}");
                self.reporter.found("api", Verdict::Doubtful, text);
                let retry_after = retry_after.map(|it| it.min(limits::HTTP_RETRY_AFTER));
                let failure = Failure::Refused { reason, permanent: false, retry_after };
                let wait = retry_after.unwrap_or(limits::HTTP_AGAIN);
                // One number may be the cause: a message that is held is this bearer's fault for all.
                if *tries == limits::HTTP_TRIES || limits::HTTP_HELD < wait {
                    return Tried::Told(Delivery::Failed(failure));
                }
                let at = Instant::now() + wait;
                Tried::Again { at, otherwise: failure }
            }
            Outcome::Refused { reason } => {
                warn!(reason, "refused for good");
                let text = format!("refused the last message: {reason}{}", advice(reply.status()));
                self.reporter.found("api", Verdict::Bad, text);
                let failure = Failure::Refused { reason, permanent: true, retry_after: None };
                Tried::Told(Delivery::Failed(failure))
            }
            Outcome::Unknown => self.silent("gave an answer that tells nothing"),
        }
    }

    fn unanswered(&self, unanswered: &Unanswered, pause: &mut Duration) -> Tried {
        match unanswered {
            Unanswered::Unsent(_) => {
                self.complain(unanswered);
                let at = Instant::now() + *pause;
                *pause = (*pause * 2).min(limits::HTTP_PAUSE.1);
                Tried::Again { at, otherwise: Failure::Expired }
            }
            Unanswered::Unwritable => {
                self.complain(unanswered);
                Tried::Told(Delivery::Failed(Failure::Unsendable("it cannot stand in a request")))
            }
            Unanswered::Silent => self.silent("did not answer the last message"),
        }
    }

    fn silent(&self, text: &'static str) -> Tried {
        warn!("the API may have a message: {text}");
        self.reporter.found("api", Verdict::Doubtful, text);
        Tried::Told(Delivery::Unknown)
    }

    /// Waits until a message that the API has is not wanted any more, and asks for it back once.
    async fn recall(&self, Recallable { order, message_id }: Recallable) {
        let Some(cancel): Option<&(Method, Url)> = self.api.cancel.as_ref() else { return };
        tokio::select! {
            () = order.progress.closed() => {}
            () = sleep_until(order.until) => return,
            () = self.shutdown.cancelled() => return,
        }
        let number = sms::check(&order.message).unwrap_or_default();
        let values = Values { message_id, ..self.values(&order, &number) };
        let asking = self.shutdown.run_until_cancelled(ask::cancel(&self.api, cancel, &values));
        match asking.await {
            Some(Ok(reply)) => debug!(status = reply.status(), "asked to take a message back"),
            Some(Err(cause)) => debug!(%cause, "a message could not be taken back"),
            None => {}
        }
    }

    fn tell(&self, order: &Order, step: Delivery) -> Option<Recallable> {
        order.tell(step);
        None
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": check the account and its secret",
        404 | 405 => ": check the URL",
        301 | 302 | 307 | 308 => ": it points elsewhere, which is not followed: check the URL",
        _ => "",
    }
}
