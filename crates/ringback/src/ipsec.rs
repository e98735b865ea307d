//! IPsec by strongSwan: associations that a proxy's daemon has for single sessions.
//!
//! What is loaded for a session is there before its signal leaves, or before it is dialed for, and is
//! unloaded when the last that holds on to it is dropped. Whether a session may be had is not asked
//! here. `ipsec/program.rs` runs the daemon, `ipsec/daemon.rs` watches over it, `ipsec/session.rs` has what
//! is said to it, `ipsec/places.rs` who has how much of it, and `tunnel/ipsec.rs` the octets.

mod daemon;
mod paths;
mod places;
mod program;
mod session;
mod vici;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use ringback_proto::access_request::SessionKeys;
use ringback_proto::ipsec::{End, INNER_PORT};
use ringback_proto::switchboard::PublicKey;
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Charon, IpsecConfig};
use crate::limits::{IKE_AT_ONCE, INNER_BACKLOG, INNER_DIAL_PATIENCE};
use crate::tunnel::Identity;
use crate::tunnel::ipsec::IpsecTunnel;

pub(crate) use places::Holder;
pub(crate) use session::Lease;

pub(crate) use daemon::examine;
pub(crate) use program::find as find_program;

/// Why there is no association, or none that is a session's own.
#[derive(Debug, Error)]
pub enum Fault {
    /// No daemon is there to ask.
    #[error("strongSwan's charon is not running")]
    Down,
    /// No program is there to run.
    #[error(
        "strongSwan's charon is not installed; on Debian: apt install charon-systemd \
         libstrongswan-standard-plugins libcharon-extra-plugins libstrongswan-extra-plugins"
    )]
    Missing,
    /// It could not be started.
    #[error("cannot start {0}")]
    Start(PathBuf, #[source] io::Error),
    /// Somebody else has its port.
    #[error(
        "UDP port 4500 is taken: end what holds it (the system's own strongSwan?), or name its control \
         socket by `vici`"
    )]
    Taken(#[source] io::Error),
    /// It does not begin to listen.
    #[error(
        "charon does not listen: it needs CAP_NET_ADMIN, /dev/net/tun (or esp = \"kernel\") and, at a \
         public proxy, UDP port 4500 for itself"
    )]
    Deafborn,
    /// It did not answer in time.
    #[error("charon does not answer")]
    Deaf,
    /// Its socket broke, or is none.
    #[error("charon's control socket failed")]
    Socket(#[source] io::Error),
    /// It does not speak VICI.
    #[error("charon's control socket speaks no VICI")]
    Garbled(#[source] ringback_proto::vici::Garbled),
    /// It would not or could not do something.
    #[error("charon did not do {what}: {said}")]
    Undone {
        /// The command.
        what: String,
        /// Why, in its words.
        said: String,
    },
    /// An address or a route could not be set.
    #[error("`ip {words}` failed: {said}; IPsec needs CAP_NET_ADMIN, and IPv6 inside this machine")]
    Path {
        /// What was to be done.
        words: String,
        /// Why not, in its words.
        said: String,
    },
    /// A limit on sessions is met: the terminal's, its tenant's, or that of all.
    #[error("too many sessions at once")]
    Full,
    /// No association came up in time.
    #[error("no association in time; see that UDP port 4500 of the public proxy is let through")]
    Silent,
    /// The connection inside failed.
    #[error("the connection inside the association failed")]
    Inside(#[source] io::Error),
    /// The association is not there, or is not the session's.
    #[error("no association of this session")]
    Stranger,
}

/// A proxy's daemon. There may be none at times: then it is being started again.
#[derive(Clone, Debug)]
pub struct Ipsec(Arc<House>);

/// What every session at the daemon needs to know.
#[derive(Debug)]
struct House {
    end: End,
    identity: Identity,
    /// The networks whose packets never leave but inside an association.
    sealed_off: Vec<Ipv6Addr>,
    /// Where our own addresses come from.
    own: Vec<Ipv6Addr>,
    running: watch::Receiver<Option<Running>>,
    places: Arc<places::Places>,
    turns: Semaphore,
    /// What is loaded, by its connection's name.
    live: Mutex<BTreeMap<String, session::Loaded>>,
    /// Held while anything is loaded or unloaded.
    loading: tokio::sync::Mutex<()>,
    loaded: AtomicUsize,
    tasks: TaskTracker,
}

/// One life of the daemon.
#[derive(Clone, Debug)]
struct Running {
    socket: PathBuf,
    /// Whether it is one that we run, and all that was loaded ends with it.
    own: bool,
    /// It has ended, and with it every association.
    gone: CancellationToken,
}

/// A session that the public proxy's daemon awaits.
#[derive(Debug)]
pub struct Awaited {
    lease: Arc<Lease>,
    listener: TcpListener,
}

impl Ipsec {
    /// Has a daemon run, or watched over, until `stop` and the end of the last session. Nothing is
    /// waited for: where there is none, its absence is told and it is tried again.
    pub fn start(
        config: IpsecConfig,
        end: End,
        identity: Identity,
        public_proxies: &[PublicKey],
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let networks =
            |end| public_proxies.iter().map(move |it| ringback_proto::ipsec::network(it, end));
        let (own, sealed_off) = match end {
            End::Public => (networks(End::Public).collect(), networks(End::Private).collect()),
            End::Private => (networks(End::Private).collect(), networks(End::Public).collect()),
        };
        let (running, known) = watch::channel(None);
        let house = Arc::new(House {
            end,
            identity,
            sealed_off,
            own,
            running: known,
            places: Arc::new(places::Places::new()),
            turns: Semaphore::new(IKE_AT_ONCE),
            live: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            loaded: AtomicUsize::new(0),
            tasks: tasks.clone(),
        });
        tasks.spawn(daemon::look_after(house.clone(), config, running, stop));
        Self(house)
    }

    /// Whether there is a daemon now.
    pub fn is_up(&self) -> bool {
        self.0.running.borrow().is_some()
    }

    /// Whether there is room for one more session of that holder.
    pub(crate) fn has_room_for(&self, holder: Holder) -> bool {
        self.0.places.have_room_for(holder)
    }

    /// Gives so many tenants their shares.
    pub fn divide_among(&self, tenants: usize) {
        self.0.places.divide_among(tenants);
    }

    /// As the public proxy: lets the private proxy of that key in, for the session of those keys.
    pub(crate) async fn expect(
        &self,
        keys: &SessionKeys,
        private: &PublicKey,
        holder: Holder,
    ) -> Result<Awaited, Fault> {
        let lease = Lease::load(&self.0, keys, (private, None), holder).await?;
        let listener = listen((lease.inner().public, INNER_PORT).into()).map_err(Fault::Inside)?;
        Ok(Awaited { lease, listener })
    }

    /// As the private proxy: sets an association up with the public proxy of that key, at that address,
    /// and connects inside.
    pub(crate) async fn dial(
        &self,
        keys: &SessionKeys,
        (public, address): (&PublicKey, SocketAddr),
        holder: Holder,
    ) -> Result<IpsecTunnel, Fault> {
        let lease = Lease::load(&self.0, keys, (public, Some(address.ip())), holder).await?;
        lease.initiate().await?;
        let inner = lease.inner();
        let connected = async {
            let socket = TcpSocket::new_v6()?;
            socket.bind((inner.private, 0).into())?;
            socket.connect((inner.public, INNER_PORT).into()).await
        };
        let connected = timeout(INNER_DIAL_PATIENCE, connected).await;
        let connected = connected.map_err(|_| Fault::Inside(io::ErrorKind::TimedOut.into()))?;
        let stream = connected.map_err(Fault::Inside)?;
        // Watched before it is looked at: it cannot end unnoticed.
        let cut = lease.watch();
        let association = lease.association().await?;
        Ok(IpsecTunnel::new(stream, association, *public, (lease, cut)))
    }
}

impl Awaited {
    /// The next connection between the session's inner addresses; whether it comes from inside its own
    /// association is still to be asked. Any other is turned away, and costs the session nothing.
    pub(crate) async fn accept(&self) -> Result<Arrival, Fault> {
        loop {
            let (stream, from) = self.listener.accept().await.map_err(Fault::Inside)?;
            if from.ip() == self.lease.inner().private {
                return Ok(Arrival { stream, lease: self.lease.clone() });
            }
        }
    }

    /// Resolves when the daemon that awaits it has ended.
    pub async fn gone(&self) {
        self.lease.gone().await;
    }
}

/// A connection to an awaited session's inner address.
#[derive(Debug)]
pub(crate) struct Arrival {
    stream: TcpStream,
    lease: Arc<Lease>,
}

impl Arrival {
    /// The tunnel that it is, if the session's association is there.
    pub(crate) async fn enter(self) -> Result<IpsecTunnel, Fault> {
        let Self { stream, lease } = self;
        // Watched before it is looked at: it cannot end unnoticed.
        let cut = lease.watch();
        let association = lease.association().await?;
        Ok(IpsecTunnel::new(stream, association, association.private, (lease, cut)))
    }
}

/// One session's own listener: nobody else connects to its address.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(INNER_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Fault {
    /// By which name the operator looks it up.
    pub fn code(&self) -> &'static str {
        if matches!(self, Self::Taken(_)) { "RB-IPSEC-PORT" } else { "RB-IPSEC" }
    }
}

impl House {
    fn running(&self) -> Result<Running, Fault> {
        self.running.borrow().clone().ok_or(Fault::Down)
    }

    fn live(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, session::Loaded>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IpsecConfig {
    /// Where the daemon is asked.
    fn socket(&self) -> PathBuf {
        match &self.charon {
            Charon::Own(_) => program::socket(&self.state),
            Charon::Running(socket) => socket.clone(),
        }
    }
}
