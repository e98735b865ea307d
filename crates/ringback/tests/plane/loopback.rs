//! Two proxies on the loopback: a client, a tunnel and a terminal, spliced.

use std::time::Duration;

use ringback::splice::{Ended, How, Proof, Tally, splice};
use ringback::tunnel::{Acceptor, Asks, Dialer, Framed, Identity, Talk, Tunnel};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) struct Proxies {
    pub(crate) acceptor: Acceptor,
    pub(crate) dialer: Dialer,
    pub(crate) public: Identity,
    pub(crate) private: Identity,
}

/// What the machines would have proved: here nobody asks who is joined.
pub(crate) struct Assumed;

impl Proof for Assumed {}

/// A client, spliced into a tunnel, spliced into a terminal.
pub(crate) struct Chain {
    pub(crate) client: TcpStream,
    pub(crate) terminal: TcpStream,
    pub(crate) splices: JoinSet<Ended>,
    tunnels: mpsc::Receiver<(bool, Talk)>,
}

pub(crate) fn identity() -> Identity {
    Identity::from_pem(&Identity::generate().unwrap()).unwrap()
}

pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialed = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (dialed, listener.accept().await.unwrap().0)
}

impl Proxies {
    pub(crate) fn new() -> Self {
        let (public, private) = (identity(), identity());
        let (acceptor, dialer) = (Acceptor::new(&public), Dialer::new(private.clone()));
        Self { acceptor, dialer, public, private }
    }

    /// The private proxy's end and the public proxy's.
    pub(crate) async fn tunnel(&self) -> (Tunnel, Tunnel) {
        self.tunnel_between(pair().await).await
    }

    /// The same, of a connection that whoever is on the path has made.
    pub(crate) async fn tunnel_between(
        &self,
        (dialed, accepted): (TcpStream, TcpStream),
    ) -> (Tunnel, Tunnel) {
        let (dialed, (_, accepted)) = tokio::try_join!(
            self.dialer.dial(dialed, self.public.public_key(), Asks::DialBack),
            self.acceptor.accept(accepted)
        )
        .unwrap();
        (dialed, accepted)
    }
}

/// A tunnel while it carries a session.
pub(crate) fn framed(tunnel: Tunnel, bare: bool) -> Framed {
    Framed::new(Talk::new(tunnel), bare).unwrap()
}

impl Chain {
    pub(crate) async fn new(proxies: &Proxies, bare: bool, idle: Duration) -> Self {
        Self::over(proxies.tunnel().await, bare, idle).await
    }

    pub(crate) async fn over(
        (private, public): (Tunnel, Tunnel),
        bare: bool,
        idle: Duration,
    ) -> Self {
        let ((private, public), (client, mut held)) =
            ((framed(private, bare), framed(public, bare)), pair().await);
        let (mut connected, terminal) = pair().await;
        let mut splices = JoinSet::new();
        let (back, tunnels) = mpsc::channel(2);
        let (mut private, mut public, other) = (private, public, back.clone());
        splices.spawn(async move {
            let ended = splice(&mut held, &mut public, idle, &Tally::default(), &Assumed).await;
            if ended.how == How::Clean {
                back.send((false, public.into_talk().await.unwrap())).await.unwrap();
            }
            ended
        });
        splices.spawn(async move {
            let ended =
                splice(&mut private, &mut connected, idle, &Tally::default(), &Assumed).await;
            if ended.how == How::Clean {
                other.send((true, private.into_talk().await.unwrap())).await.unwrap();
            }
            ended
        });
        Self { client, terminal, splices, tunnels }
    }

    pub(crate) async fn ended(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(one) = self.splices.join_next().await {
            ended.push(one.unwrap());
        }
        ended
    }

    /// The tunnel after a session in order: the private proxy's end and the public proxy's.
    pub(crate) async fn tunnel(&mut self) -> (Talk, Talk) {
        let (mut ends, mut others) = (None, None);
        while let Some((private, talk)) = self.tunnels.recv().await {
            if private { ends = Some(talk) } else { others = Some(talk) }
        }
        (ends.unwrap(), others.unwrap())
    }
}
