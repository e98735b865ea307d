//! A public proxy in the hands of an intruder: the real one's keys and protocol, and any wish.

#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ringback::config::{Config, PublicConfig};
use ringback::keys;
use ringback::tunnel::{Acceptor, Asks, Carrier, Framed, Talk};
use ringback_bearer::{Body, Message, Receiver, Transmitter};
use ringback_proto::access_request::{AccessRequest, Purpose, SessionKeys, Sid, TunnelType, seal};
use ringback_proto::door::{Reply, Request};
use ringback_proto::gate::{Identity, Level};
use ringback_proto::hello::{
    Answer, Caller, ClientAddress, Hello, Outcome, SessionId, ToPrivate, ToPublic, confirm_private,
    confirm_public, equal,
};
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::ServiceId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pair::{House, PATIENCE, TERMINALS};

/// How long nothing moves until the intruder ends a session that it has spoiled.
const STALL: Duration = Duration::from_secs(1);

/// What is done to one session.
#[derive(Clone, Copy, Debug)]
pub enum Mischief {
    None,
    /// One octet is not what it was.
    Alter {
        way: Way,
        at: usize,
        mask: u8,
    },
    /// All ends, in order, before this octet.
    Truncate {
        way: Way,
        at: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToTerminal,
    ToClient,
}

/// What passed in a session.
#[derive(Debug)]
pub struct Passed {
    pub octets: [Vec<u8>; 2],
    pub mischief_done: bool,
}

impl Mischief {
    /// Whether it alters something that says nothing, in what has passed.
    pub fn is_idle(self, passed: &Passed) -> bool {
        match self {
            Self::Alter { way, at, .. } => {
                without_meaning(&passed.octets[way as usize]).contains(&at)
            }
            Self::None | Self::Truncate { .. } => false,
        }
    }
}

impl Passed {
    pub fn reads(&self, canary: &str) -> bool {
        let within = |it: &Vec<u8>| it.windows(canary.len()).any(|it| it == canary.as_bytes());
        self.octets.iter().any(within)
    }
}

/// The intruder's public proxy.
pub struct Intruder {
    config: Box<PublicConfig>,
    transmitter: Transmitter,
    waiting: Arc<Waiting>,
    /// A tunnel of each terminal over which further signals go.
    control: tokio::sync::Mutex<BTreeMap<usize, Talk>>,
    seq: AtomicU32,
    stop: CancellationToken,
    folder: std::path::PathBuf,
    _receiver: Receiver,
    _accepting: JoinSet<()>,
}

/// Clients that nobody has taken yet, and signals that nobody has obeyed.
#[derive(Default)]
struct Waiting {
    clients: Mutex<Vec<(PublicKey, Talk)>>,
    come: Notify,
    rung: Mutex<BTreeMap<Sid, (SessionKeys, oneshot::Sender<DialedBack>)>>,
}

/// A tunnel, and what its hello has said of the service.
pub type DialedBack = (Talk, Outcome);

impl Intruder {
    pub async fn new(house: &House) -> Result<Self> {
        let Config::Public(mut config) = Config::load(&house.path("public.toml"))? else {
            bail!("no public proxy's configuration");
        };
        let stop = CancellationToken::new();
        let Some((_, bearer)) = config.bearers.pop_first() else { bail!("no bearer") };
        let (transmitter, receiver, _) = bearer.start(&TaskTracker::new(), stop.clone());
        let listener = TcpListener::bind(house.dial_back).await?;
        let (acceptor, waiting) = (Acceptor::new(&config.identity), Arc::new(Waiting::default()));
        let all = waiting.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut greeted = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                greeted.spawn(greet(acceptor.clone(), stream, all.clone()));
            }
        });
        let seq = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 1_700_000_000;
        Ok(Self {
            config,
            transmitter,
            waiting,
            control: tokio::sync::Mutex::default(),
            seq: AtomicU32::new(u32::try_from(seq)?),
            stop,
            folder: house.folder.path().to_owned(),
            _receiver: receiver,
            _accepting: accepting,
        })
    }

    /// The next call of that client, accepted.
    pub async fn client(&self, name: &str) -> Result<Carrier> {
        let key = keys::read_public_key(&self.folder.join(format!("{name}.pub")))?;
        let coming = async {
            loop {
                let come = self.waiting.come.notified();
                {
                    let mut clients = self.waiting.clients.lock().expect("no panic while held");
                    if let Some(place) = clients.iter().position(|it| it.0 == key) {
                        return clients.swap_remove(place).1;
                    }
                }
                // Several wait for theirs: one that is not ours must wake the next.
                let _ = timeout(Duration::from_millis(20), come).await;
            }
        };
        let mut talk = timeout(PATIENCE, coming).await.context("no client comes")?;
        talk.say(&Reply::Ringing(SessionId(7)).encode()).await?;
        talk.say(&Reply::Accepted.encode()).await?;
        Ok(talk.into())
    }

    /// A tunnel that the private proxy has opened to a service.
    pub async fn opened(&self, terminal: usize, service: u16, level: Level) -> Result<Framed> {
        let (talk, outcome) = self.open(terminal, service, level).await?;
        anyhow::ensure!(outcome == Outcome::Connected, "{outcome:?}");
        Ok(Framed::new(talk, false)?)
    }

    /// The same, and what the private proxy says of it.
    pub async fn open(
        &self,
        terminal: usize,
        service: u16,
        level: Level,
    ) -> Result<(Talk, Outcome)> {
        let (mut talk, _) = self.dialed_back(terminal, service, true).await?;
        let (session, service, caller) = (SessionId(7), ServiceId(service), lee(level)?);
        talk.say(&ToPrivate::Open { session, bare: false, service, caller }.encode()?).await?;
        match timeout(PATIENCE, talk.frame(ToPublic::decode)).await?? {
            ToPublic::Opened { outcome, bare: _ } => Ok((talk, outcome)),
            other @ (ToPublic::Pong | ToPublic::Ready) => {
                bail!("{other:?}, which nobody asked for")
            }
        }
    }

    /// A tunnel of a private proxy that was rung as for a client, and what its hello says.
    pub async fn rung(&self, terminal: usize, service: u16) -> Result<DialedBack> {
        self.dialed_back(terminal, service, false).await
    }

    async fn dialed_back(&self, terminal: usize, service: u16, spare: bool) -> Result<DialedBack> {
        let mut control = self.control.lock().await;
        if let Entry::Vacant(control) = control.entry(terminal) {
            let (signal, dialed) = self.seal(terminal, service)?;
            let listed = self.config.directory.find(&TERMINALS[terminal].0.parse()?);
            let to = listed.context("no such terminal")?.callees.first().clone();
            let valid_for = Duration::from_secs(60);
            let body = Body::Binary(signal);
            let _submission = self.transmitter.ring(Message { to, body, valid_for });
            let (mut talk, _) = timeout(PATIENCE, dialed).await.context("no dial-back")??;
            talk.say(&ToPrivate::Standby.encode()?).await?;
            control.insert(talk);
        }
        let (signal, dialed) = self.seal(terminal, service)?;
        let frame = if spare { ToPrivate::Spare(signal) } else { ToPrivate::Ring(signal) };
        control.get_mut(&terminal).context("no control")?.say(&frame.encode()?).await?;
        drop(control);
        Ok(timeout(PATIENCE, dialed).await.context("no dial-back over the tunnel")??)
    }

    fn seal(
        &self,
        terminal: usize,
        service: u16,
    ) -> Result<(Vec<u8>, oneshot::Receiver<DialedBack>)> {
        let listed = self.config.directory.find(&TERMINALS[terminal].0.parse()?);
        let listed = listed.context("no such terminal")?;
        let issued = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let request = AccessRequest {
            purpose: Purpose::Access,
            tunnel: TunnelType::Tls,
            seq: self.seq.fetch_add(1, Ordering::Relaxed),
            issued: u32::try_from(issued)?,
            ttl_seconds: 60,
            service: ServiceId(service),
            public_proxy: listed.announce,
            callee: listed.callees.first().clone(),
            key: Secret::new(keys::random()?),
        };
        let (signal, keys) = seal(&request, &listed.key, keys::random()?)?;
        let (obeyed, dialed) = oneshot::channel();
        let mut rung = self.waiting.rung.lock().expect("no panic while held");
        rung.insert(keys.sid, (keys, obeyed));
        Ok((signal.octets().to_vec(), dialed))
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Binds a tunnel, whatever its hello has said.
pub async fn bound(mut talk: Talk) -> Result<Framed> {
    let (session, caller) = (SessionId(7), lee(Level::EndToEnd)?);
    talk.say(&ToPrivate::Bound { session, bare: false, caller }.encode()?).await?;
    Ok(Framed::new(talk, false)?)
}

fn lee(level: Level) -> Result<Caller> {
    let identity = Some(Identity::parse("lee")?);
    Ok(Caller { address: ClientAddress::UNKNOWN, level, identity })
}

/// Lets everybody in, as the real public proxy would let in whom it knows.
async fn greet(acceptor: Acceptor, stream: TcpStream, waiting: Arc<Waiting>) {
    let Ok((asks, tunnel)) = acceptor.accept(stream).await else { return };
    let (peer, mut talk) = (*tunnel.peer(), Talk::new(tunnel));
    if asks == Asks::Client {
        if talk.frame(Request::decode).await.is_ok() {
            waiting.clients.lock().expect("no panic while held").push((peer, talk));
            waiting.come.notify_waiters();
        }
        return;
    }
    let Ok(octets) = talk.exactly().await else { return };
    let Ok(hello) = Hello::decode(&octets) else { return };
    let rung = waiting.rung.lock().expect("no panic while held").remove(&hello.sid);
    let Some((keys, obeyed)) = rung else { return };
    let exporter = talk.tunnel().exporter(&hello.sid);
    assert!(equal(&hello.mac, &confirm_private(&keys, &exporter)));
    let mac = confirm_public(&keys, &exporter);
    if talk.say(&Answer::Accepted { mac }.encode()).await.is_ok() {
        let _ = obeyed.send((talk, hello.outcome));
    }
}

/// Joins the two, with a mischief, until both ways have ended or nothing moves any more. Whatever
/// has happened, both are then ended in order: as if the other had said so.
pub async fn forward(client: Carrier, tunnel: Framed, mischief: Mischief) -> Result<Passed> {
    let stall = if matches!(mischief, Mischief::None) { PATIENCE } else { STALL };
    forward_for(client, tunnel, mischief, stall).await
}

async fn forward_for(
    client: Carrier,
    tunnel: Framed,
    mischief: Mischief,
    stall: Duration,
) -> Result<Passed> {
    let ((mut from_client, mut to_client), (mut from_tunnel, mut to_tunnel)) =
        (split(client), split(tunnel));
    let moved = Mutex::new(Instant::now());
    let mut up = Pump { way: Way::ToTerminal, mischief, moved: &moved, ..Pump::new(&moved) };
    let mut down = Pump { way: Way::ToClient, mischief, moved: &moved, ..Pump::new(&moved) };
    let stalled = async {
        loop {
            let until = *moved.lock().expect("no panic while held") + stall;
            if until < Instant::now() {
                return;
            }
            sleep_until(until + Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = async {
            tokio::try_join!(
                up.run(&mut from_client, &mut to_tunnel),
                down.run(&mut from_tunnel, &mut to_client)
            )
        } => {}
        () = stalled => {}
    }
    let parting = async {
        let _ = tokio::join!(to_client.shutdown(), to_tunnel.shutdown());
        let _ = tokio::join!(drain(&mut from_client), drain(&mut from_tunnel));
    };
    let _ = timeout(STALL, parting).await;
    let mischief_done = up.done || down.done;
    Ok(Passed { octets: [up.passed, down.passed], mischief_done })
}

/// One direction.
struct Pump<'a> {
    way: Way,
    mischief: Mischief,
    moved: &'a Mutex<Instant>,
    passed: Vec<u8>,
    done: bool,
}

impl<'a> Pump<'a> {
    fn new(moved: &'a Mutex<Instant>) -> Self {
        let (way, mischief) = (Way::ToClient, Mischief::None);
        Self { way, mischief, moved, passed: Vec::new(), done: false }
    }

    async fn run(
        &mut self,
        source: &mut (impl AsyncReadExt + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let read = source.read(&mut buffer).await?;
            if read == 0 {
                return Ok(sink.shutdown().await?);
            }
            *self.moved.lock().expect("no panic while held") = Instant::now();
            let begun = self.passed.len();
            self.passed.extend(&buffer[..read]);
            let within = |at: usize| (begun..begun + read).contains(&at);
            match self.mischief {
                Mischief::Alter { way, at, mask } if way == self.way && within(at) => {
                    buffer[at - begun] ^= mask;
                    self.done = true;
                }
                Mischief::Truncate { way, at } if way == self.way && within(at) => {
                    self.done = true;
                    sink.write_all(&buffer[..at - begun]).await?;
                    sink.flush().await?;
                    bail!("truncated");
                }
                Mischief::None | Mischief::Alter { .. } | Mischief::Truncate { .. } => {}
            }
            sink.write_all(&buffer[..read]).await?;
            sink.flush().await?;
        }
    }
}

/// Forwards two sessions until each client has sent so many octets, then each to the other.
pub async fn exchange(
    clients: (Carrier, Carrier),
    tunnels: (Framed, Framed),
    after: usize,
) -> Result<()> {
    let ((mut one, mut other), (mut first, mut second)) = (clients, tunnels);
    tokio::try_join!(
        forward_until(&mut one, &mut first, after),
        forward_until(&mut other, &mut second, after)
    )?;
    let stall = if after == 0 { PATIENCE } else { STALL };
    tokio::try_join!(
        forward_for(one, second, Mischief::None, stall),
        forward_for(other, first, Mischief::None, stall)
    )?;
    Ok(())
}

async fn forward_until(client: &mut Carrier, tunnel: &mut Framed, after: usize) -> Result<()> {
    let ((from_client, mut to_client), (mut from_tunnel, mut to_tunnel)) =
        (split(client), split(tunnel));
    let mut limited = from_client.take(after as u64);
    let up = async {
        copy(&mut limited, &mut to_tunnel).await?;
        to_tunnel.flush().await
    };
    // What comes back may end before that; the client's octets decide.
    let down = async {
        let _ = copy(&mut from_tunnel, &mut to_client).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        sent = timeout(PATIENCE, up) => sent??,
        () = down => {}
    }
    Ok(())
}

/// Says these octets and nothing else, and waits until the other end has had enough.
pub async fn recite(carrier: impl AsyncRead + AsyncWrite, octets: &[u8]) -> Result<()> {
    let (mut from, mut to) = split(carrier);
    // It may have had enough before the last octet.
    let _ = to.write_all(octets).await;
    let _ = to.flush().await;
    timeout(PATIENCE, drain(&mut from)).await.context("a replay is kept")
}

/// Reads to the end; whether that is one in order does not matter.
async fn drain(source: &mut (impl AsyncRead + Unpin)) {
    let _ = copy(source, &mut sink()).await;
}

/// Octets that TLS passes over: the lower half of each record's version (RFC 8446, 5.1). They say
/// nothing, and whoever alters them has altered nothing.
pub fn without_meaning(octets: &[u8]) -> BTreeSet<usize> {
    let (mut idle, mut at) = (BTreeSet::new(), 0);
    while let Some(&[_, _, _, high, low]) = octets[at.min(octets.len())..].first_chunk::<5>() {
        idle.insert(at + 2);
        at += 5 + usize::from(u16::from_be_bytes([high, low]));
    }
    idle
}
