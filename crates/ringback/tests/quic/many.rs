//! More tunnels than one connection has room for, and connections that do not answer.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use ringback::limits::{QUIC_CONNECTIONS, QUIC_FIRST_STREAMS, QUIC_STREAMS};
use ringback::tunnel::quic::{Accepted, Dialer, Found};
use ringback::tunnel::{Identity, Tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::PATIENCE;

/// Both proxies; the public one accepts whatever comes.
struct Proxies {
    public: Identity,
    dialer: Dialer,
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxies {
    fn new(welcoming: bool) -> Result<Self> {
        let (private, public) = (identity()?, identity()?);
        let tasks = TaskTracker::new();
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        let endpoint = Accepted::endpoint(&public, socket, &tasks)?;
        let dialer = Dialer::new(private, tasks.clone());
        let accepting = tasks.spawn(accept(endpoint.clone(), tasks.clone(), welcoming));
        let _accepting = AbortOnDropHandle::new(accepting);
        Ok(Self { public, dialer, endpoint, address, _accepting })
    }

    /// Dials, and is heard if there is room.
    async fn dial(&self, instead_of: Option<Found>) -> Result<Option<Tunnel>> {
        let dialing = self.dialer.dial(self.address, self.public.public_key(), instead_of);
        let Some(mut tunnel) = timeout(PATIENCE, dialing).await.context("no end")?? else {
            return Ok(None);
        };
        tunnel.write_all(b"!").await?;
        tunnel.flush().await?;
        Ok(Some(tunnel))
    }

    async fn tunnel(&self) -> Result<Tunnel> {
        self.dial(None).await?.context("no room")
    }

    fn handshakes(&self) -> u64 {
        self.endpoint.stats().accepted_handshakes
    }
}

fn identity() -> Result<Identity> {
    Ok(Identity::from_pem(&Identity::generate()?)?)
}

/// Accepts everything, says a word in each tunnel that has said one, and ends each when its other end has.
async fn accept(endpoint: quinn::Endpoint, tasks: TaskTracker, welcoming: bool) {
    while let Some(incoming) = endpoint.accept().await {
        let inner = tasks.clone();
        tasks.spawn(async move {
            let Ok(mut connection) = Accepted::shake(incoming, &inner).await else { return };
            while let Ok(stream) = connection.stream().await {
                let mut tunnel = connection.tunnel(stream);
                inner.spawn(async move {
                    tunnel.read_u8().await?;
                    if welcoming {
                        tunnel.welcome();
                    }
                    tunnel.write_all(b"!").await?;
                    tunnel.flush().await?;
                    tunnel.read_u8().await
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_connection_is_full_the_next_tunnel_has_another_and_then_only_it_is_refused()
-> Result<()> {
    let proxies = Proxies::new(true)?;
    let mut tunnels = Vec::new();
    for connection in 1..=QUIC_CONNECTIONS {
        for _ in 0..QUIC_STREAMS {
            tunnels.push(proxies.tunnel().await?);
        }
        assert_eq!(proxies.handshakes(), connection as u64);
    }
    assert!(proxies.dial(None).await?.is_none(), "as many as may be");
    // None of the others has noticed.
    for tunnel in &mut tunnels {
        assert_eq!(timeout(PATIENCE, tunnel.read_u8()).await??, b'!');
    }
    // The first one's room comes back, and is taken first.
    let mut left = tunnels.split_off(QUIC_STREAMS as usize);
    drop(tunnels);
    let again = async {
        loop {
            if let Some(tunnel) = proxies.dial(None).await? {
                return anyhow::Ok(tunnel);
            }
        }
    };
    left.push(timeout(PATIENCE, again).await.context("no room came back")??);
    assert!(proxies.handshakes() <= QUIC_CONNECTIONS as u64 + 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_that_wait_for_a_tunnel_hold_nobody_up() -> Result<()> {
    // Lets nobody in, and so has few tunnels for each connection.
    let proxies = Proxies::new(false)?;
    let first = proxies.tunnel().await?;
    let rush = 2 * QUIC_FIRST_STREAMS as usize - 1;
    let mut dials = tokio::task::JoinSet::new();
    let proxies = std::sync::Arc::new(proxies);
    for _ in 0..rush {
        let proxies = proxies.clone();
        dials.spawn(async move { proxies.tunnel().await });
    }
    let tunnels = dials.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!((tunnels.len(), proxies.handshakes()), (rush, 2));
    drop((first, tunnels));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_connection_that_does_not_answer_is_given_up() -> Result<()> {
    let proxies = Proxies::new(true)?;
    let first = proxies.tunnel().await?;
    assert!(first.found().is_none(), "its own");
    // Two dials find it, and have no answer from it.
    let (one, other) = (proxies.tunnel().await?, proxies.tunnel().await?);
    assert_eq!(proxies.handshakes(), 1);
    let (given_up, too) = (one.found().context("new")?, other.found().context("new")?);
    let instead = proxies.dial(Some(given_up)).await?.context("no room")?;
    assert_eq!(proxies.handshakes(), 2, "none that is as old");
    assert!(instead.found().is_none());
    let as_well = proxies.dial(Some(too)).await?.context("no room")?;
    assert_eq!(proxies.handshakes(), 2, "the one that was made meanwhile is as good as any");
    drop((instead, as_well, first, one, other));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_after_does_not_try_what_was_given_up() -> Result<()> {
    let proxies = Proxies::new(true)?;
    let first = proxies.tunnel().await?;
    let found = proxies.tunnel().await?.found().context("new")?;
    let second = proxies.dial(Some(found)).await?.context("no room")?;
    drop(first);
    let third = proxies.tunnel().await?;
    let gone = async {
        while 1 < proxies.endpoint.open_connections() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.context("what was given up is kept")?;
    drop((second, third));
    Ok(())
}
