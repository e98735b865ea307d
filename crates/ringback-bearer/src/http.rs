//! SMS by a provider's HTTP API: out by requests made of templates, in by the provider's posts.
//!
//! TLS always, unless the API is this machine. No redirect is followed, no secret is told to
//! anybody but the API, and what an API says is never repeated but for an id and a short code. That
//! a message arrived is not told: it would need one more door to the world.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringback_proto::sms_api::post::Names;
use ringback_proto::sms_api::preset::{Manner, Method};
use ringback_proto::sms_api::url::Url;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};
use zeroize::Zeroizing;

use crate::health::{Health, Reporter, Verdict};
use crate::{Delivery, Ends, Failure, Order, Tls};
use desk::Desk;
pub use signature::Proof;
use webhook::Door;

mod ask;
mod desk;
mod signature;
mod webhook;

/// What SMS are sent by and where they come; either may be absent.
#[derive(Debug)]
pub struct Config {
    /// Sends them; without it every message is refused.
    pub api: Option<Box<Api>>,
    /// Hears them; without it the receiver ends at once.
    pub webhook: Option<Box<Webhook>>,
}

/// An account with a provider. Its `Debug` shows no secret.
pub struct Api {
    /// Where messages are posted.
    pub url: Url,
    /// Whom to trust; must be there if the URL is `https`.
    pub tls: Option<Tls>,
    /// How it is asked.
    pub manner: Manner,
    /// How a message is taken back, at the same place.
    pub cancel: Option<(Method, Url)>,
    /// Whom messages are from.
    pub from: String,
    /// The user data header of octets; empty for none.
    pub udh: Vec<u8>,
    /// The account's user.
    pub user: String,
    /// The account's password, or its token.
    pub password: Zeroizing<String>,
    /// How many posts a second.
    pub per_second: u32,
    /// How many messages at once.
    pub window: usize,
    /// How long an answer may take.
    pub patience: Duration,
}

/// Where a provider posts what has come.
#[derive(Debug)]
pub struct Webhook {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The path that is posted to.
    pub path: String,
    /// How a post shows that it is the provider's.
    pub proof: Proof,
    /// What its fields are called.
    pub names: Names,
    /// TLS, unless a proxy in front of us ends it.
    pub tls: Option<Certified>,
    /// Whether the provider wants TwiML for an answer.
    pub twiml: bool,
}

/// A certificate and its key, ready to be shown.
#[derive(Clone)]
pub struct Certified(pub Arc<rustls::ServerConfig>);

pub(crate) fn start(config: Config, ends: Ends<'_>) -> Health {
    let (reporter, health) = Reporter::new(&["api", "webhook"]);
    let reporter = Arc::new(reporter);
    let Ends { tasks, shutdown, orders, hearing } = ends;
    match config.api {
        Some(api) => {
            let span = info_span!("sms_api", api = %api.url.authority());
            let desk = Desk::new(*api, shutdown.clone(), Arc::clone(&reporter));
            tasks.spawn(desk.run(orders).instrument(span));
        }
        None => {
            reporter.found("api", Verdict::Good, "none: it only hears");
            tasks.spawn(refuse(orders, shutdown.clone()));
        }
    }
    match config.webhook {
        Some(webhook) => {
            let span = info_span!("webhook", listen = %webhook.listen);
            let door = Door::new(*webhook, hearing, reporter);
            tasks.spawn(door.run(shutdown).instrument(span));
        }
        None => reporter.found("webhook", Verdict::Good, "none: it only sends"),
    }
    health
}

async fn refuse(mut orders: mpsc::Receiver<Order>, shutdown: CancellationToken) {
    while let Some(Some(order)) = shutdown.run_until_cancelled(orders.recv()).await {
        let cause = Failure::Unsendable("this bearer has a webhook only");
        order.tell(Delivery::Failed(cause));
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.url.authority()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certified(…)")
    }
}

#[cfg(test)]
mod tests;
