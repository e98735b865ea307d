//! A session with a mailbox's server (RFC 3501, 2177, 4315): it logs in, fetches what is new of one
//! folder, marks it and waits for more.

use std::time::Duration;

use ringback_proto::limits::{MAIL_BATCH, MAIL_BODY_OCTETS, MAIL_HEADER_OCTETS};
use ringback_proto::mail::account::Account;
use ringback_proto::mail::bookmark::Batch;
use ringback_proto::mail::imap::{Fetched, Folder, Outcome, Response, Responses, code};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;
use zeroize::Zeroizing;

use super::wire::{Fault, Plain, Secured, Wire, secured};
use super::{Handled, Mailbox, Security};
use crate::limits::MAILBOX_ANSWER;

/// Commands and responses over a connection.
pub(super) struct Talk<S> {
    wire: Wire<S>,
    responses: Responses,
    commands: u64,
    capabilities: Vec<String>,
    /// Until then the server's words are not logged: it may repeat ours.
    logged_in: bool,
    /// How many mails the selected folder holds.
    exists: u32,
    /// Whether some may have come that nobody has asked for yet.
    arrived: bool,
    /// Whether it has said of a mail what nobody can read.
    unreadable: bool,
    validity: Option<u32>,
    /// Every mail had a lower UID than this when the folder was selected.
    next: Option<u32>,
}

/// What a server says of a folder's UIDs.
pub(super) struct Selected {
    /// The number they are valid under.
    pub(super) validity: u32,
    /// What the next mail gets, or less; old servers do not tell.
    pub(super) next: Option<u32>,
}

/// Connects, insists on TLS and logs in.
pub(super) async fn open(config: &Mailbox) -> Result<Talk<Secured>, Fault> {
    let mut talk = Talk::new(secured(&config.server, Talk::new).await?);
    if config.server.security == Security::Implicit {
        talk.greeted().await?;
    }
    talk.ask("CAPABILITY").await?;
    talk.log_in(&config.account).await.map_err(Fault::of_login)?;
    talk.logged_in = true;
    // A server may be able to do more for whom it knows.
    talk.ask("CAPABILITY").await?;
    Ok(talk)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self {
            wire: Wire::new(stream),
            responses: Responses::default(),
            commands: 0,
            capabilities: Vec::new(),
            logged_in: false,
            exists: 0,
            arrived: false,
            unreadable: false,
            validity: None,
            next: None,
        }
    }

    async fn greeted(&mut self) -> Result<(), Fault> {
        // Nobody can have logged us in over a connection that has only just been made.
        let greeting = in_time(self.next()).await?;
        let usual = matches!(greeting, Response::Status { outcome: Outcome::Ok, .. });
        if usual { Ok(()) } else { Err(Fault::Unprotected("the server does not greet")) }
    }

    fn offers(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|it| it == capability)
    }

    /// Gives a command and waits until it has ended.
    async fn ask(&mut self, command: &str) -> Result<(), Fault> {
        self.gather(command, |_| {}).await
    }

    /// Gives a command and passes on what is fetched until it has ended. Servers also tell of mails
    /// that nobody has asked for.
    async fn gather(&mut self, command: &str, take: impl FnMut(Fetched)) -> Result<(), Fault> {
        in_time(async {
            let tag = self.say(command).await?;
            self.ended(&tag, take).await
        })
        .await
    }

    /// Gives a command that the server lets go on.
    async fn begin(&mut self, command: &str) -> Result<String, Fault> {
        in_time(async {
            let tag = self.say(command).await?;
            loop {
                let response = self.next().await?;
                if response == Response::GoOn {
                    return Ok(tag);
                }
                if let Response::Ended { outcome, words, .. } = response {
                    return Err(self.refused(outcome, &words));
                }
            }
        })
        .await
    }

    /// Says what a command was let go on for.
    async fn go_on(&mut self, line: &str, tag: &str) -> Result<(), Fault> {
        in_time(async {
            let line = Zeroizing::new(format!("{line}\r\n"));
            self.wire.write(line.as_bytes()).await?;
            self.ended(tag, |_| {}).await
        })
        .await
    }

    async fn say(&mut self, command: &str) -> Result<String, Fault> {
        self.commands += 1;
        let tag = format!("t{}", self.commands);
        let line = Zeroizing::new(format!("{tag} {command}\r\n"));
        self.wire.write(line.as_bytes()).await?;
        Ok(tag)
    }

    async fn ended(&mut self, of: &str, mut take: impl FnMut(Fetched)) -> Result<(), Fault> {
        loop {
            let response = self.next().await?;
            if let Response::Ended { tag, outcome, words } = response {
                let well = tag == of && outcome == Outcome::Ok;
                return if well { Ok(()) } else { Err(self.refused(outcome, &words)) };
            }
            if let Response::Fetched(mail) = response {
                take(mail);
            }
        }
    }

    /// The next response, of which everything has been noted that is always true. Cancel safe.
    async fn next(&mut self) -> Result<Response, Fault> {
        let response = loop {
            if let Some(response) = self.responses.poll_response()? {
                break response;
            }
            let octets = self.wire.read().await?;
            self.responses.handle_input(octets);
        };
        if let Response::Status { outcome, validity, next, words } = &response {
            if *outcome == Outcome::Bye {
                debug!(words = self.logged_in.then_some(words), "farewell");
                return Err(Fault::Farewell);
            }
            self.validity = validity.or(self.validity);
            self.next = next.or(self.next);
        }
        if let Response::Capabilities(capabilities) = &response {
            self.capabilities.clone_from(capabilities);
        }
        if let Response::Exists(exists) = response {
            // Some servers say it again and again.
            self.arrived |= self.exists < exists;
            self.exists = exists;
        }
        self.unreadable |= response == Response::Unreadable;
        if response == Response::Expunged {
            self.exists = self.exists.saturating_sub(1);
        }
        Ok(response)
    }

    fn refused(&self, outcome: Outcome, words: &str) -> Fault {
        debug!(?outcome, words = self.logged_in.then_some(words), "refused");
        let status = format!("{outcome:?} {}", code(words)).trim().to_uppercase();
        Fault::Refused { status, permanent: outcome == Outcome::Bad }
    }
}

impl Plain for Talk<TcpStream> {
    async fn greeted(&mut self) -> Result<(), Fault> {
        self.greeted().await
    }

    async fn offers_tls(&mut self) -> Result<bool, Fault> {
        self.ask("CAPABILITY").await?;
        Ok(self.offers("STARTTLS"))
    }

    async fn begin_tls(&mut self) -> Result<(), Fault> {
        self.ask("STARTTLS").await
    }

    fn has_unread(&self) -> bool {
        !self.responses.is_empty()
    }

    fn into_stream(self) -> TcpStream {
        self.wire.into_stream()
    }
}

impl Talk<Secured> {
    async fn log_in(&mut self, account: &Account) -> Result<(), Fault> {
        if self.offers("AUTH=PLAIN") {
            let tag = self.begin("AUTHENTICATE PLAIN").await?;
            self.go_on(&account.plain(), &tag).await
        } else if !self.offers("LOGINDISABLED")
            && let Some(login) = account.imap_login()
        {
            self.ask(&login).await
        } else {
            Err(Fault::Lacking("AUTHENTICATE PLAIN, or LOGIN for this account"))
        }
    }

    /// Selects a folder and tells what its UIDs are.
    pub(super) async fn select(&mut self, folder: &Folder) -> Result<Selected, Fault> {
        self.ask(&format!("SELECT {}", folder.quoted())).await?;
        let validity = self.validity.ok_or(Fault::Lacking("UIDVALIDITY"))?;
        Ok(Selected { validity, next: self.next })
    }

    /// Whether mails may have come since this was asked last.
    pub(super) fn take_arrived(&mut self) -> bool {
        std::mem::take(&mut self.arrived)
    }

    /// The highest UID in the selected folder; 0 if it is empty.
    pub(super) async fn newest(&mut self, folder: &Folder) -> Result<u32, Fault> {
        if self.exists == 0 {
            return Ok(0);
        }
        let mut newest = 0;
        self.gather("FETCH * (UID)", |it| newest = newest.max(it.uid)).await?;
        if self.next.is_some_and(|next| next <= newest) {
            // Mails have come since, or this is nonsense that would hide all mails to come: the
            // folder itself knows.
            self.select(folder).await?;
        }
        Ok(self.next.map_or(newest, |next| newest.min(next.saturating_sub(1))))
    }

    /// Fetches of each mail the few headers and the octets that are looked at, and marks none.
    /// What has come before a fault is passed on with it.
    pub(super) async fn fetch(&mut self, batch: Batch) -> (Vec<Fetched>, Result<(), Fault>) {
        let command = format!(
            "UID FETCH {batch} (UID FLAGS BODY.PEEK[HEADER.FIELDS (CONTENT-TYPE \
             CONTENT-TRANSFER-ENCODING CONTENT-DISPOSITION FROM)]<0.{MAIL_HEADER_OCTETS}> \
             BODY.PEEK[TEXT]<0.{MAIL_BODY_OCTETS}>)"
        );
        let mut mails = Vec::new();
        self.unreadable = false;
        let gathering = self.gather(&command, |mail| {
            let asked = batch.first <= mail.uid && mail.uid <= batch.last;
            if asked && !mail.headers.is_empty() && mails.len() < MAIL_BATCH as usize {
                mails.push(mail);
            }
        });
        let fetched = match gathering.await {
            Ok(()) if self.unreadable => Err(Fault::Unreadable),
            fetched => fetched,
        };
        (mails, fetched)
    }

    /// Marks mails as handled, and nothing but them where the server is able to.
    pub(super) async fn mark(&mut self, uids: &[u32], how: Handled) -> Result<(), Fault> {
        if uids.is_empty() {
            return Ok(());
        }
        let uids = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        match how {
            Handled::Mark => {
                self.ask(&format!("UID STORE {uids} +FLAGS.SILENT (\\Seen)")).await?;
            }
            Handled::Delete => {
                self.ask(&format!("UID STORE {uids} +FLAGS.SILENT (\\Seen \\Deleted)")).await?;
                let of = if self.offers("UIDPLUS") {
                    format!("UID EXPUNGE {uids}")
                } else {
                    "EXPUNGE".into()
                };
                self.ask(&of).await?;
            }
        }
        Ok(())
    }

    /// Whether the server tells by itself what has come.
    pub(super) fn is_told(&self) -> bool {
        self.offers("IDLE")
    }

    /// Waits until mails have come, or it is time to ask.
    pub(super) async fn wait(&mut self, idle: Duration, poll: Duration) -> Result<(), Fault> {
        if self.arrived {
            return Ok(());
        }
        if self.is_told() {
            self.idle(idle).await?;
        } else {
            tokio::time::sleep(poll).await;
        }
        // Some servers tell nothing by themselves; and whoever is gone is noticed here.
        self.ask("NOOP").await
    }

    async fn idle(&mut self, time: Duration) -> Result<(), Fault> {
        let until = Instant::now() + time;
        let tag = self.begin("IDLE").await?;
        while !self.arrived {
            match timeout_at(until, self.next()).await {
                Ok(Ok(Response::Ended { outcome, words, .. })) => {
                    return Err(self.refused(outcome, &words));
                }
                Ok(Ok(_)) => {}
                Ok(Err(fault)) => return Err(fault),
                Err(_) => break,
            }
        }
        self.go_on("DONE", &tag).await
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(MAILBOX_ANSWER, answer).await.map_err(|_| Fault::Silent)?
}
