//! A session with a submission server (RFC 5321, 3207, 4954): it logs in and hands mails over.

use std::sync::atomic::{AtomicBool, Ordering};

use ringback_proto::mail::account::Account;
use ringback_proto::mail::reply::{Class, Replies, Reply};
use ringback_proto::terminal::MailAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use super::wire::{Fault, Plain, Secured, Wire, secured};
use super::{Security, Submission};
use crate::limits::{FAREWELL_PATIENCE, MAIL_ANSWER, MAILS_PER_CONNECTION};

/// What goes into an envelope.
pub(super) struct Parcel {
    pub(super) from: MailAddress,
    pub(super) to: MailAddress,
    /// Headers, text and the closing dot.
    pub(super) data: String,
}

/// Questions and answers over a connection.
pub(super) struct Talk<S> {
    wire: Wire<S>,
    replies: Replies,
    /// Who we say to be. Which of our addresses we come from is nobody's business: our domain does.
    domain: String,
    mails: usize,
    /// Until then the server's words are not logged: it may repeat ours.
    logged_in: bool,
    /// Whether a mail was begun and not taken.
    soiled: bool,
}

/// Connects, insists on TLS and logs in.
pub(super) async fn open(config: &Submission) -> Result<Talk<Secured>, Fault> {
    let domain = config.from.domain();
    let mut talk = Talk::new(secured(&config.server, |it| Talk::new(it, domain)).await?, domain);
    if config.server.security == Security::Implicit {
        talk.greeted().await?;
    }
    let offer = talk.hello().await?;
    if let Some(account) = &config.account {
        talk.log_in(&offer, account).await.map_err(Fault::of_login)?;
    }
    talk.logged_in = true;
    Ok(talk)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S, domain: &str) -> Self {
        let (wire, replies) = (Wire::new(stream), Replies::default());
        let domain = domain.to_owned();
        Self { wire, replies, domain, mails: 0, logged_in: false, soiled: false }
    }

    async fn greeted(&mut self) -> Result<(), Fault> {
        let greeting = self.reply().await?;
        self.judge(greeting, Class::Done).map(drop)
    }

    async fn hello(&mut self) -> Result<Reply, Fault> {
        self.ask(&format!("EHLO {}", self.domain), Class::Done).await
    }

    /// Says a line and wants an answer of this class.
    async fn ask(&mut self, line: &str, wanted: Class) -> Result<Reply, Fault> {
        let line = Zeroizing::new(format!("{line}\r\n"));
        let answer = self.say(&line).await?;
        self.judge(answer, wanted)
    }

    async fn say(&mut self, words: &str) -> Result<Reply, Fault> {
        self.listen().await?;
        let write = timeout(MAIL_ANSWER, self.wire.write(words.as_bytes()));
        write.await.map_err(|_| Fault::Silent)??;
        self.reply().await
    }

    /// Nothing may be unread when we speak: it would be taken for the answer.
    async fn listen(&mut self) -> Result<(), Fault> {
        if let Some(octets) = self.wire.read_ready().await? {
            self.replies.handle_input(octets);
        }
        if self.replies.is_empty() {
            return Ok(());
        }
        let farewell = self.replies.poll_reply()?.is_some_and(|it| it.is_farewell());
        Err(if farewell { Fault::Farewell } else { Fault::Astray })
    }

    async fn reply(&mut self) -> Result<Reply, Fault> {
        let reading = async {
            loop {
                if let Some(reply) = self.replies.poll_reply()? {
                    return Ok(reply);
                }
                let octets = self.wire.read().await?;
                self.replies.handle_input(octets);
            }
        };
        timeout(MAIL_ANSWER, reading).await.map_err(|_| Fault::Silent)?
    }

    fn judge(&self, reply: Reply, wanted: Class) -> Result<Reply, Fault> {
        if reply.class() == wanted {
            return Ok(reply);
        }
        let words = self.logged_in.then(|| reply.words());
        debug!(status = reply.status(), words, "refused");
        if reply.is_farewell() {
            return Err(Fault::Farewell);
        }
        match reply.class() {
            Class::Done | Class::GoOn => Err(Fault::Astray),
            Class::NotNow => Err(Fault::Refused { status: reply.status(), permanent: false }),
            Class::Never => Err(Fault::Refused { status: reply.status(), permanent: true }),
        }
    }
}

impl Plain for Talk<TcpStream> {
    async fn greeted(&mut self) -> Result<(), Fault> {
        self.greeted().await
    }

    async fn offers_tls(&mut self) -> Result<bool, Fault> {
        Ok(self.hello().await?.offers("STARTTLS"))
    }

    async fn begin_tls(&mut self) -> Result<(), Fault> {
        self.ask("STARTTLS", Class::Done).await.map(drop)
    }

    fn has_unread(&self) -> bool {
        !self.replies.is_empty()
    }

    fn into_stream(self) -> TcpStream {
        self.wire.into_stream()
    }
}

impl Talk<Secured> {
    async fn log_in(&mut self, offer: &Reply, account: &Account) -> Result<(), Fault> {
        if offer.offers_login("PLAIN") {
            let words = Zeroizing::new(format!("AUTH PLAIN {}", *account.plain()));
            self.ask(&words, Class::Done).await?;
        } else if offer.offers_login("LOGIN") {
            let [user, password] = account.login();
            self.ask("AUTH LOGIN", Class::GoOn).await?;
            self.ask(&user, Class::GoOn).await?;
            self.ask(&password, Class::Done).await?;
        } else {
            return Err(Fault::Lacking("AUTH PLAIN or AUTH LOGIN"));
        }
        Ok(())
    }

    /// Hands a mail over; `handed` is true from when the server may have it, unless it refuses it.
    pub(super) async fn submit(
        &mut self,
        parcel: &Parcel,
        handed: &AtomicBool,
    ) -> Result<(), Fault> {
        self.soiled = true;
        self.ask(&format!("MAIL FROM:<{}>", parcel.from.as_str()), Class::Done).await?;
        self.ask(&format!("RCPT TO:<{}>", parcel.to.as_str()), Class::Done).await?;
        self.ask("DATA", Class::GoOn).await?;
        self.listen().await?;
        self.mails += 1;
        handed.store(true, Ordering::Relaxed);
        let answer = self.say(&parcel.data).await?;
        let refused = matches!(answer.class(), Class::NotNow | Class::Never);
        handed.store(!refused, Ordering::Relaxed);
        self.judge(answer, Class::Done)?;
        self.soiled = false;
        Ok(())
    }

    /// Whether the server would rather have the next mail over another connection.
    pub(super) fn is_worn(&self) -> bool {
        MAILS_PER_CONNECTION <= self.mails
    }

    /// Makes the session as good as new after a refusal.
    pub(super) async fn reset(&mut self) -> Result<(), Fault> {
        if self.soiled {
            self.ask("RSET", Class::Done).await?;
            self.soiled = false;
        }
        Ok(())
    }

    /// Says farewell; whether the server hears it does not matter.
    pub(super) async fn quit(mut self) {
        let _ = timeout(FAREWELL_PATIENCE, self.ask("QUIT", Class::Done)).await;
    }
}
