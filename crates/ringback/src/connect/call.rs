//! One call: to the public proxy, accepted there, and on to the terminal if it is end to end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ringback_proto::door::{Reply, Request};
use ringback_proto::hello::Outcome;
use ringback_proto::refusal::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Fault;
use super::ringer::{Outbox, Ringer};
use super::teller::Teller;
use crate::config::{Contact, server_name};
use crate::limits::{
    ACCEPTANCE_PATIENCE, CLIENT_DIAL_PATIENCE, CLIENT_DIALS, HELLO_PATIENCE, INNER_PATIENCE,
};
use crate::splice::{Leg, Proof};
use crate::tunnel::inner::{self, Inner};
use crate::tunnel::{Asks, Carrier, Dialer, Identity, NoTunnel, Talk};

/// What every call needs to know.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) contact: Contact,
    pub(super) request: Request,
    pub(super) end_to_end: bool,
    pub(super) identity: Identity,
    /// There if it rings by itself.
    pub(super) ringer: Option<Ringer>,
}

/// An accepted session's octets.
#[derive(Debug)]
pub(super) enum Line {
    /// As the public proxy sees them.
    Plain(Carrier),
    /// As the terminal's side has sealed them.
    Sealed(Inner<Carrier>),
}

/// The public proxy has accepted the session, and the terminal's side too if it is end to end.
#[derive(Debug)]
pub(super) struct Accepted(());

impl Proof for Accepted {}

impl Agent {
    /// Calls the service; from here on, whatever drops the line is seen as a cut by the other end.
    pub(super) async fn call(&self, teller: &Teller) -> Result<(Line, Accepted), Fault> {
        let mut talk = self.dial(teller).await?;
        let mut outbox = self.ringer.as_ref().map(Ringer::outbox);
        loop {
            let reply = tokio::select! {
                reply = self.reply(&mut talk) => reply?,
                sent = sent(&mut outbox) => {
                    sent?;
                    teller.stage("sent");
                    continue;
                }
            };
            match (reply, &mut outbox) {
                (Reply::Ringing(session), _) => teller.ringing(session),
                (Reply::Accepted, _) => break,
                (Reply::Refused(told), _) => return Err(Fault::Refused(told)),
                (Reply::Ring(errand), Some(outbox)) => {
                    teller.stage(&format!("ringing by {}", outbox.kind()));
                    outbox.send(errand)?;
                }
                (Reply::Armed(_), _) | (Reply::Ring(_), None) => return Err(nonsense()),
            }
        }
        if outbox.is_some_and(|it| it.has_sent()) {
            teller.stage("answered");
        }
        let carrier = Carrier::from(talk);
        carrier.arm().map_err(Fault::Cut)?;
        if !self.end_to_end {
            return Ok((Line::Plain(carrier), Accepted(())));
        }
        teller.stage("end to end");
        let sealed = timeout(INNER_PATIENCE, self.seal(carrier)).await;
        let sealed = sealed.map_err(|late| Fault::NotTheTerminal(late.into()))??;
        Ok((Line::Sealed(sealed), Accepted(())))
    }

    /// Has the terminal's ports opened for our address; says for how long they are.
    pub(super) async fn knock(&self, teller: &Teller) -> Result<Duration, Fault> {
        let mut talk = self.dial(teller).await?;
        let reply = self.reply(&mut talk).await?;
        talk.close().await;
        match reply {
            Reply::Armed(armed) => Ok(armed),
            Reply::Refused(told) => Err(Fault::Refused(told)),
            Reply::Ringing(_) | Reply::Accepted | Reply::Ring(_) => Err(nonsense()),
        }
    }

    /// As far as the request.
    async fn dial(&self, teller: &Teller) -> Result<Talk, Fault> {
        teller.stage("connecting");
        let stream = self.reach().await.map_err(Fault::Unreachable)?;
        let dialer = Dialer::new(self.identity.clone());
        let dialed = dialer.dial(stream, &self.contact.public_key, Asks::Client);
        let tunnel = match timeout(HELLO_PATIENCE, dialed).await {
            Ok(Ok(tunnel)) => tunnel,
            Ok(Err(fault)) if fault.is_permanent() => return Err(Fault::Stranger(fault)),
            Ok(Err(NoTunnel::Handshake(cut))) => return Err(Fault::Unreachable(cut)),
            Ok(Err(fault @ NoTunnel::Protocol)) => return Err(Fault::Stranger(fault)),
            Err(late) => return Err(Fault::Unreachable(late.into())),
        };
        let mut talk = Talk::new(tunnel);
        talk.say(&self.request.encode()).await.map_err(Fault::Cut)?;
        teller.stage("asking");
        Ok(talk)
    }

    /// The first of the public proxy's addresses that answers.
    async fn reach(&self) -> io::Result<TcpStream> {
        let mut fault = io::Error::other("its name has no address");
        let mut dials = 0;
        for host_and_port in &self.contact.addresses {
            let addresses = match timeout(CLIENT_DIAL_PATIENCE, lookup_host(host_and_port)).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(unknown)) => {
                    fault = unknown;
                    continue;
                }
                Err(late) => {
                    fault = late.into();
                    continue;
                }
            };
            for address in addresses {
                if dials == CLIENT_DIALS {
                    return Err(fault);
                }
                dials += 1;
                match timeout(CLIENT_DIAL_PATIENCE, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(refused)) => fault = refused,
                    Err(late) => fault = late.into(),
                }
            }
        }
        Err(fault)
    }

    async fn reply(&self, talk: &mut Talk) -> Result<Reply, Fault> {
        match timeout(ACCEPTANCE_PATIENCE, talk.frame(Reply::decode)).await {
            Ok(reply) => reply.map_err(Fault::Cut),
            Err(_) => Err(Refusal::NoAnswer.into()),
        }
    }

    /// The inner handshake, and the terminal's side's own word on the service.
    async fn seal(&self, carrier: Carrier) -> Result<Inner<Carrier>, Fault> {
        let (Some(service), Some(key)) = (self.request.service, &self.contact.terminal_key) else {
            return Err(nonsense());
        };
        let name = server_name(&self.contact.name, service);
        let dialed = inner::dial(carrier, &self.identity, &name, key).await;
        let mut sealed = dialed.map_err(Fault::NotTheTerminal)?;
        let word = sealed.read_u8().await.map_err(|fault| {
            // Only whoever has proved the terminal's key can have said this.
            if inner::is_denied(&fault) {
                Refusal::NotGranted.into()
            } else {
                Fault::NotTheTerminal(fault)
            }
        })?;
        let outcome = Outcome::decode(word).map_err(|_| nonsense())?;
        match Refusal::of(outcome) {
            None if outcome == Outcome::Connected => Ok(sealed),
            None => Err(nonsense()),
            Some(refusal) => Err(refusal.into()),
        }
    }
}

/// Waits until something was sent, or cannot be; for ever if nothing is to be.
async fn sent(outbox: &mut Option<Outbox>) -> Result<(), Fault> {
    match outbox {
        Some(outbox) => outbox.sent().await,
        None => std::future::pending().await,
    }
}

pub(super) fn nonsense() -> Fault {
    Fault::Cut(io::Error::new(io::ErrorKind::InvalidData, "a reply that makes no sense here"))
}

impl Leg for Line {
    fn arm(&self) -> io::Result<()> {
        match self {
            Self::Plain(carrier) => carrier.arm(),
            Self::Sealed(inner) => inner.arm(),
        }
    }

    fn disarm(&self) -> io::Result<()> {
        match self {
            Self::Plain(carrier) => carrier.disarm(),
            Self::Sealed(inner) => inner.disarm(),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(carrier) => Pin::new(carrier).poll_read(cx, buffer),
            Self::Sealed(inner) => Pin::new(inner).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(carrier) => Pin::new(carrier).poll_write(cx, octets),
            Self::Sealed(inner) => Pin::new(inner).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(carrier) => Pin::new(carrier).poll_flush(cx),
            Self::Sealed(inner) => Pin::new(inner).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(carrier) => Pin::new(carrier).poll_shutdown(cx),
            Self::Sealed(inner) => Pin::new(inner).poll_shutdown(cx),
        }
    }
}
