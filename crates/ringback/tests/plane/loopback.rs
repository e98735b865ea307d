//! Two proxies on the loopback: a client, a tunnel and a terminal, spliced.

use std::time::Duration;

use ringback::splice::{Ended, Proof, Tally, splice};
use ringback::tunnel::{Acceptor, Asks, Dialer, Identity, Tunnel};
use tokio::net::{TcpListener, TcpStream};
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
        let (dialed, accepted) = pair().await;
        let (dialed, (_, accepted)) = tokio::try_join!(
            self.dialer.dial(dialed, self.public.public_key(), Asks::DialBack),
            self.acceptor.accept(accepted)
        )
        .unwrap();
        (dialed, accepted)
    }
}

impl Chain {
    pub(crate) async fn new(proxies: &Proxies, idle: Duration) -> Self {
        Self::over(proxies.tunnel().await, idle).await
    }

    pub(crate) async fn over((private, public): (Tunnel, Tunnel), idle: Duration) -> Self {
        let (client, held) = pair().await;
        let (connected, terminal) = pair().await;
        let mut splices = JoinSet::new();
        splices.spawn(async move { splice(held, public, idle, &Tally::default(), &Assumed).await });
        splices.spawn(async move {
            splice(private, connected, idle, &Tally::default(), &Assumed).await
        });
        Self { client, terminal, splices }
    }

    pub(crate) async fn ended(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(one) = self.splices.join_next().await {
            ended.push(one.unwrap());
        }
        ended
    }
}
