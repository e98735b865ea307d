//! A folder that is watched: what comes is handed over once, the newest first, and remembered.
//!
//! A mail counts as heard from when it was handed over. What is remembered of that is on the disk
//! before the mail is marked, so that a crash in between repeats a few mails and loses none; whoever
//! hears them must bear to hear one twice.

use std::convert::Infallible;
use std::sync::Arc;

use ringback_proto::mail::bookmark::{Batch, Bookmark};
use ringback_proto::mail::imap::{Fetched, Folder};
use ringback_proto::mail::text::{sender, text};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span};

use super::Mailbox;
use super::bookmarks::Bookmarks;
use super::imap::{Talk, open};
use super::pause::Pause;
use super::standing::Standings;
use super::wire::{Fault, Secured};
use crate::Heard;
use crate::health::{Reporter, Verdict};
use crate::limits::MAILBOX_IDLE;

pub(super) struct Watch {
    config: Arc<Mailbox>,
    folder: Folder,
    bookmarks: Bookmarks,
    /// None until the folder has been selected for the first time ever.
    bookmark: Option<Bookmark>,
    hearing: mpsc::Sender<Heard>,
    pause: Pause,
    standings: Standings,
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
            let watch = Self {
                config: config.clone(),
                folder: folder.clone(),
                bookmarks: bookmarks.clone(),
                bookmark: bookmarks.of(folder),
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
        let validity = talk.select(&self.folder).await?;
        let newest = talk.newest().await?;
        match &mut self.bookmark {
            Some(bookmark) if bookmark.is_valid(validity) => bookmark.arrived(newest),
            Some(_) | None => {
                info!("the folder is new to us: what is marked as read counts as heard");
                self.bookmark = Some(Bookmark::new(validity, newest));
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
        self.pause.forget();
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
            talk.wait(self.config.idle.min(MAILBOX_IDLE), self.config.poll).await?;
        }
    }

    /// Hands over whatever has not been yet, the newest first even while more arrive.
    async fn catch_up(&mut self, talk: &mut Talk<Secured>) -> Result<(), Fault> {
        loop {
            let newest = if talk.take_arrived() { talk.newest().await? } else { 0 };
            let Some(bookmark) = &mut self.bookmark else { return Ok(()) };
            bookmark.arrived(newest);
            let Some(batch) = bookmark.batch() else { return Ok(()) };

            let mut handed = Vec::new();
            for mail in talk.fetch(batch).await? {
                if self.hand(&mail).await? {
                    handed.push(mail.uid);
                }
            }
            if let Some(bookmark) = &mut self.bookmark {
                bookmark.handled(batch);
            }
            self.remember().await;
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

    async fn remember(&self) {
        if let Some(bookmark) = &self.bookmark {
            self.bookmarks.keep(&self.folder, bookmark).await;
        }
    }
}
