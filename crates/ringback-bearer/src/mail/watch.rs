//! A folder that is watched: what comes is handed over once, the newest first, and remembered.
//!
//! A mail counts as heard from when it was handed over. What is remembered of that is on the disk
//! before the mail is marked, and where the disk fails it is not marked: a crash repeats a few mails
//! and loses none, and whoever hears them must bear to hear one twice. A mail that cannot be fetched even alone is passed over.

use std::convert::Infallible;
use std::sync::Arc;

use ringback_proto::mail::bookmark::{Batch, Bookmark};
use ringback_proto::mail::imap::{Fetched, Folder};
use ringback_proto::mail::text::{sender, text};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::Mailbox;
use super::bookmarks::Bookmarks;
use super::imap::{Selected, Talk, open};
use super::pause::Pause;
use super::standing::Standings;
use super::wire::{Fault, Secured};
use crate::Heard;
use crate::health::{Reporter, Verdict};
use crate::limits::{MAIL_ALONE_TRIES, MAILBOX_IDLE};

pub(super) struct Watch {
    config: Arc<Mailbox>,
    folder: Folder,
    bookmarks: Bookmarks,
    /// What the folder's bookmark is known by.
    key: String,
    /// None until the folder has been selected for the first time ever.
    bookmark: Option<Bookmark>,
    trouble: Trouble,
    hearing: mpsc::Sender<Heard>,
    pause: Pause,
    standings: Standings,
}

/// Mails that cannot be fetched.
#[derive(Default)]
struct Trouble {
    /// Where one or more of them are: there, mails are fetched one by one.
    suspects: Option<Batch>,
    /// The last that failed alone, and how often it has.
    alone: (u32, usize),
    /// How many were given up.
    passed_over: u64,
}

impl Watch {
    /// Watches all folders until `shutdown` is cancelled.
    pub(super) async fn all(
        config: Mailbox,
        hearing: mpsc::Sender<Heard>,
        reporter: Arc<Reporter>,
        shutdown: CancellationToken,
    ) {
        let config = Arc::new(config);
        let bookmarks = Bookmarks::open(config.bookmarks.clone(), reporter.clone()).await;
        let standings = Standings::new(reporter, config.folders.iter().cloned());
        let mut watches = JoinSet::new();
        for folder in &config.folders {
            let key = key(&config, folder);
            let watch = Self {
                config: config.clone(),
                folder: folder.clone(),
                bookmarks: bookmarks.clone(),
                bookmark: bookmarks.of(&key),
                key,
                trouble: Trouble::default(),
                hearing: hearing.clone(),
                pause: Pause::new(),
                standings: standings.clone(),
            };
            let span = info_span!("folder", name = folder.as_str());
            watches.spawn(watch.run(shutdown.clone()).instrument(span));
        }
        drop(hearing);
        while watches.join_next().await.is_some() {}
    }

    /// Watches until nobody hears any more. How the folder stands is told even if nobody ever did.
    async fn run(mut self, shutdown: CancellationToken) {
        let hearing = self.hearing.clone();
        loop {
            let fault = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Err(fault) = self.watch() => fault,
            };
            if matches!(fault, Fault::Deaf) {
                break;
            }
            fault.complain();
            self.standings.found(&self.folder, Verdict::Bad, fault.advice());
            self.pause.lengthen(fault.is_login());
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = hearing.closed() => break,
                () = self.pause.over() => {}
            }
        }
        // What was handed over and not remembered yet.
        self.remember().await;
    }

    async fn watch(&mut self) -> Result<Infallible, Fault> {
        let mut talk = open(&self.config).await?;
        let Selected { validity, next } = talk.select(&self.folder).await?;
        let newest = talk.newest(&self.folder).await?;
        let valid = self.bookmark.take_if(|it| it.is_valid(validity));
        let ahead = next.is_some_and(|it| valid.as_ref().is_some_and(|mark| mark.is_ahead_of(it)));
        if ahead {
            warn!("the folder has lost mails that were heard: it was restored, or it is another's");
        }
        match valid.filter(|_| !ahead) {
            Some(mut bookmark) => {
                bookmark.arrived(newest);
                self.bookmark = Some(bookmark);
            }
            None => {
                info!("the folder is new to us: what is marked as read counts as heard");
                self.bookmark = Some(Bookmark::new(validity, newest));
                self.trouble.suspects = None;
            }
        }
        debug!("watching");
        let (verdict, text) = match talk.is_told() {
            true => (Verdict::Good, "waited for, with IDLE".to_owned()),
            false => {
                let seconds = self.config.poll.as_secs();
                let text = format!("asked every {seconds} s: its server does not offer IDLE");
                (Verdict::Doubtful, text)
            }
        };
        self.standings.found(&self.folder, verdict, text);
        let hearing = self.hearing.clone();
        tokio::select! {
            biased;
            () = hearing.closed() => Err(Fault::Deaf),
            it = self.follow(&mut talk) => it,
        }
    }

    async fn follow(&mut self, talk: &mut Talk<Secured>) -> Result<Infallible, Fault> {
        loop {
            self.catch_up(talk).await?;
            // A server that lets us in and then fails is not to be logged in to every second.
            self.pause.forget();
            talk.wait(self.config.idle.min(MAILBOX_IDLE), self.config.poll).await?;
        }
    }

    /// Hands over whatever has not been yet, the newest first even while more arrive.
    async fn catch_up(&mut self, talk: &mut Talk<Secured>) -> Result<(), Fault> {
        loop {
            let newest = if talk.take_arrived() { talk.newest(&self.folder).await? } else { 0 };
            let Some(bookmark) = &mut self.bookmark else { return Ok(()) };
            bookmark.arrived(newest);
            let batch = match self.trouble.suspects {
                Some(suspects) => bookmark.batch_beside(suspects),
                None => bookmark.batch(),
            };
            let Some(batch) = batch else { return Ok(()) };

            let (mails, fetched) = talk.fetch(batch).await;
            let mut handed = Vec::new();
            for mail in &mails {
                if self.hand(mail).await? {
                    handed.push(mail.uid);
                }
            }
            // If the only mail has come, what was wrong besides is no matter of it.
            let complete = fetched.is_ok() || batch.is_single() && !mails.is_empty();
            let done = complete || self.trouble.is_hopeless(batch);
            if let Some(bookmark) = self.bookmark.as_mut().filter(|_| done) {
                bookmark.handled(batch);
            }
            let remembered = self.remember().await;
            if let Err(fault) = fetched {
                debug!(%fault, mails = %batch, done, "not fetched");
                // A mail that failed alone is tried once more later: the fault may be the server's.
                if !fault.is_survived() || batch.is_single() && !done {
                    return Err(fault);
                }
            }
            if !remembered {
                continue;
            }
            match talk.mark(&handed, self.config.handled).await {
                // Who may read may not always write.
                Err(fault @ Fault::Refused { .. }) => fault.complain(),
                marked => marked?,
            }
        }
    }

    /// Hands a mail's text over, if it has one; tells whether the mail is to be marked.
    async fn hand(&mut self, mail: &Fetched) -> Result<bool, Fault> {
        let Some(bookmark) = &mut self.bookmark else { return Ok(false) };
        if bookmark.is_doubtful(mail.uid) && mail.seen {
            return Ok(false);
        }
        // Headers that were cut off have no empty line behind them.
        let end: &[u8] = if mail.headers.ends_with(b"\r\n\r\n") { b"" } else { b"\r\n\r\n" };
        let whole = [&mail.headers[..], end, &mail.body].concat();
        if let Some(octets) = text(&whole) {
            let from = sender(&whole).map_or_else(String::new, |it| it.as_str().to_owned());
            let to = self.config.account.user().to_owned();
            self.hearing.send(Heard { octets, from, to }).await.map_err(|_| Fault::Deaf)?;
        }
        bookmark.handled(Batch { first: mail.uid, last: mail.uid });
        Ok(true)
    }

    /// Tells whether what was handed over is on the disk.
    async fn remember(&self) -> bool {
        let Some(bookmark) = &self.bookmark else { return true };
        self.bookmarks.keep(&self.key, bookmark).await.is_ok()
    }
}

/// Whose folder it is and where, by any port: a bookmark means nothing to another account or server.
fn key(config: &Mailbox, folder: &Folder) -> String {
    let address = &config.server.address;
    let server = address.rsplit_once(':').map_or(address.as_str(), |(name, _)| name);
    format!("{} {}@{server}", folder.quoted(), config.account.user())
}

impl Trouble {
    /// Notes that mails could not be fetched; tells whether they are to be passed over.
    fn is_hopeless(&mut self, batch: Batch) -> bool {
        if !batch.is_single() {
            self.suspects = Some(self.suspects.map_or(batch, |it| it.spanning(batch)));
            return false;
        }
        let failures = if self.alone.0 == batch.last { self.alone.1 + 1 } else { 1 };
        self.alone = (batch.last, failures);
        if failures < MAIL_ALONE_TRIES {
            return false;
        }
        self.passed_over += 1;
        warn!(passed_over = self.passed_over, "a mail that cannot be fetched is passed over");
        true
    }
}
