//! E-mail: texts out by a submission server, texts in from the folders of a mailbox.
//!
//! TLS always: neither a password nor a mail goes over a connection that is not protected, and a
//! server that does not offer protection is not used. Who a mail says to be from is not believed,
//! and nothing is ever answered. That a mail arrived is never told: mail has no receipts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringback_proto::mail::account::Account;
use ringback_proto::mail::imap::Folder;
use ringback_proto::terminal::MailAddress;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use crate::health::{Health, Reporter};
use crate::{Delivery, Ends, Failure, Order, Tls};
use submit::Office;
use watch::Watch;

mod bookmarks;
mod imap;
mod pause;
mod smtp;
mod standing;
mod submit;
mod watch;
mod wire;

/// What mails are sent by and where they come; either may be absent.
#[derive(Debug)]
pub struct Config {
    /// Sends them; without it every message is refused.
    pub submission: Option<Submission>,
    /// Hears them; without it the receiver ends at once.
    pub mailbox: Option<Mailbox>,
}

/// A server that takes mails from us (RFC 6409).
#[derive(Debug)]
pub struct Submission {
    /// Where it is.
    pub server: Server,
    /// Who we are there, unless it knows us otherwise.
    pub account: Option<Account>,
    /// Who the mails are from; what bounces goes there.
    pub from: MailAddress,
}

/// A mailbox that nobody else reads.
#[derive(Debug)]
pub struct Mailbox {
    /// Where its server is.
    pub server: Server,
    /// Whose it is.
    pub account: Account,
    /// The folders that mails come to; one connection each.
    pub folders: BTreeSet<Folder>,
    /// What becomes of mails that were heard.
    pub handled: Handled,
    /// The file that remembers across restarts what has been heard.
    pub bookmarks: PathBuf,
    /// How long to wait for news before asking, where the server tells news by itself.
    pub idle: Duration,
    /// How often to ask a server that does not.
    pub poll: Duration,
}

/// Where a mail server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port`; the name is looked up again for each connection.
    pub address: String,
    /// When its TLS begins.
    pub security: Security,
    /// Whom to trust.
    pub tls: Tls,
}

/// When TLS begins. There is no third way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// With the first octet (RFC 8314).
    Implicit,
    /// After STARTTLS, which a server must offer.
    StartTls,
}

/// What becomes of mails that were heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// They are marked as read.
    Mark,
    /// They are deleted and expunged.
    Delete,
}

impl Mailbox {
    /// The usual settings: the inbox, marked as read what was heard, asked every few minutes.
    pub fn new(server: Server, account: Account, bookmarks: PathBuf) -> Self {
        Self {
            server,
            account,
            folders: Folder::parse("INBOX").into_iter().collect(),
            handled: Handled::Mark,
            bookmarks,
            // A server that forgets to tell is asked by then; it costs two short lines.
            idle: Duration::from_secs(5 * 60),
            poll: Duration::from_secs(15),
        }
    }
}

pub(crate) fn start(config: Config, ends: Ends<'_>) -> Health {
    let mut looks_at = Vec::new();
    looks_at.extend(config.submission.is_some().then_some(submit::SUBMISSION));
    if config.mailbox.is_some() {
        looks_at.extend([standing::MAILBOX, bookmarks::BOOKMARKS]);
    }
    let (reporter, health) = Reporter::new(&looks_at);
    let reporter = Arc::new(reporter);
    let Ends { tasks, shutdown, orders, hearing } = ends;
    match config.submission {
        Some(submission) => {
            let span = info_span!("submission", server = %submission.server.address);
            let office = Office::new(submission, reporter.clone(), shutdown.clone());
            tasks.spawn(office.run(orders).instrument(span));
        }
        None => {
            tasks.spawn(refuse(orders, shutdown.clone()));
        }
    }
    if let Some(mailbox) = config.mailbox {
        let span = info_span!("mailbox", server = %mailbox.server.address);
        tasks.spawn(Watch::all(mailbox, hearing, reporter, shutdown).instrument(span));
    }
    health
}

async fn refuse(mut orders: mpsc::Receiver<Order>, shutdown: CancellationToken) {
    while let Some(Some(order)) = shutdown.run_until_cancelled(orders.recv()).await {
        let cause = Failure::Unsendable("this bearer has a mailbox only");
        order.tell(Delivery::Failed(cause));
    }
}
