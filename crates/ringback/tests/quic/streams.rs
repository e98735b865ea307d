//! Who gets a stream, what the streams of one connection have to do with each other, and how they end.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use ringback::splice::Leg;
use ringback::tunnel::quic::{Accepted, Dialer};
use ringback::tunnel::{Framed, Identity, NoTunnel, Talk, Tunnel};
use ringback_proto::access_request::{Protocol, Sid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both proxies, in one process.
struct Proxies {
    private: Identity,
    public: Identity,
    dialer: Dialer,
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    accepted: Option<Accepted>,
    tasks: TaskTracker,
}

impl Proxies {
    fn new() -> Result<Self> {
        let (private, public) = (identity()?, identity()?);
        let tasks = TaskTracker::new();
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        let endpoint = Accepted::endpoint(&public, socket, &tasks)?;
        let dialer = Dialer::new(private.clone(), tasks.clone());
        Ok(Self { private, public, dialer, endpoint, address, accepted: None, tasks })
    }

    /// The private proxy's end and the public proxy's. The latter hears of a stream by what is said.
    async fn tunnel(&mut self) -> Result<(Tunnel, Tunnel)> {
        let Self { dialer, endpoint, accepted, tasks, .. } = self;
        let dialing = async {
            let tunnel = dialer.dial(self.address, self.public.public_key(), None).await?;
            let mut tunnel = tunnel.context("taken")?;
            tunnel.write_all(b"!").await?;
            tunnel.flush().await?;
            anyhow::Ok(tunnel)
        };
        let accepting = async {
            let connection = match accepted {
                Some(connection) => connection,
                None => {
                    let incoming = endpoint.accept().await.context("closed")?;
                    accepted.insert(Accepted::shake(incoming, tasks).await?)
                }
            };
            let stream = connection.stream().await?;
            let mut tunnel = connection.tunnel(stream);
            assert_eq!(tunnel.read_u8().await?, b'!');
            anyhow::Ok(tunnel)
        };
        timeout(PATIENCE, async { tokio::try_join!(dialing, accepting) }).await?
    }

    /// The same, while a session is carried.
    async fn session(&mut self) -> Result<(Framed, Framed)> {
        let (private, public) = self.tunnel().await?;
        public.welcome();
        let session = |it| Framed::new(Talk::new(it), false);
        let (private, public) = (session(private)?, session(public)?);
        private.arm()?;
        public.arm()?;
        Ok((private, public))
    }

    fn handshakes(&self) -> u64 {
        self.endpoint.stats().accepted_handshakes
    }
}

fn identity() -> Result<Identity> {
    Ok(Identity::from_pem(&Identity::generate()?)?)
}

#[tokio::test]
async fn both_ends_know_each_other_and_each_session_has_its_own_exporter() -> Result<()> {
    let mut proxies = Proxies::new()?;
    let (private, public) = proxies.tunnel().await?;
    assert_eq!(private.peer(), proxies.public.public_key());
    assert_eq!(public.peer(), proxies.private.public_key());
    assert_eq!(private.protocol(), Protocol::Quic);

    let (one, other) = (Sid([1; 16]), Sid([2; 16]));
    assert_eq!(private.exporter(&one), public.exporter(&one));
    assert_ne!(private.exporter(&one), private.exporter(&other));
    let mut others = Proxies::new()?;
    let (another, _) = others.tunnel().await?;
    assert_ne!(private.exporter(&one), another.exporter(&one), "another connection's");
    Ok(())
}

#[tokio::test]
async fn a_private_proxy_dials_one_key_and_no_other() -> Result<()> {
    let proxies = Proxies::new()?;
    let stranger = identity()?;
    let accepting = async {
        let incoming = proxies.endpoint.accept().await.context("closed")?;
        Ok(Accepted::shake(incoming, &proxies.tasks).await.is_ok())
    };
    let dialing = proxies.dialer.dial(proxies.address, stranger.public_key(), None);
    let (dialed, accepted): (_, Result<bool>) = tokio::join!(dialing, accepting);
    let Err(fault @ NoTunnel::Handshake(_)) = dialed else { panic!("{dialed:?}") };
    assert!(fault.is_permanent(), "dialing again is of no use: {fault:?}");
    assert!(!accepted?, "nor has the other end a connection");
    Ok(())
}

#[tokio::test]
async fn a_second_tunnel_costs_no_handshake_and_the_connection_ends_with_the_last() -> Result<()> {
    let mut proxies = Proxies::new()?;
    let first = proxies.tunnel().await?;
    let second = proxies.tunnel().await?;
    assert_eq!(proxies.handshakes(), 1);
    drop(first);
    let third = proxies.tunnel().await?;
    assert_eq!(proxies.handshakes(), 1);
    drop((second, third));
    // Our own end closes it; what is left of it afterwards is the time in which late packets come.
    let accepted = proxies.accepted.take().context("no connection")?;
    timeout(PATIENCE, accepted.idle()).await?;
    assert!(timeout(PATIENCE, accepted.stream()).await?.is_err(), "closed by the private proxy");
    drop(accepted);
    let gone = async {
        while 0 < proxies.endpoint.open_connections() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await?;
    let _fourth = proxies.tunnel().await?;
    assert_eq!(proxies.handshakes(), 2, "the next dial needs one again");
    Ok(())
}

#[tokio::test]
async fn one_session_is_cut_and_the_others_of_its_connection_go_on() -> Result<()> {
    let mut proxies = Proxies::new()?;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(proxies.session().await?);
    }
    assert_eq!(proxies.handshakes(), 1);
    for (private, public) in &mut sessions {
        private.write_all(b"before").await?;
        private.flush().await?;
        public.read_exact(&mut [0; 6]).await?;
    }

    let (cut, mut public) = sessions.swap_remove(3);
    drop(cut);
    let mut read = Vec::new();
    let fault = timeout(PATIENCE, public.read_to_end(&mut read)).await?.unwrap_err();
    assert_eq!((fault.kind(), read.len()), (ErrorKind::ConnectionReset, 0));
    public.write_all(b"x").await.and(public.flush().await).unwrap_err();

    for (mut private, mut public) in sessions {
        let sent = vec![7; 3_000_000];
        let writing = async {
            private.write_all(&sent).await?;
            private.shutdown().await?;
            let mut end = Vec::new();
            private.read_to_end(&mut end).await?;
            assert!(end.is_empty());
            private.disarm()?;
            private.into_talk().await
        };
        let reading = async {
            let mut read = Vec::new();
            public.read_to_end(&mut read).await?;
            public.shutdown().await?;
            public.disarm()?;
            std::io::Result::Ok((read, public.into_talk().await?))
        };
        let (_, (read, _)) =
            timeout(PATIENCE, async { tokio::try_join!(writing, reading) }).await??;
        assert!(read == sent);
    }
    Ok(())
}

#[tokio::test]
async fn whatever_ends_a_stream_but_its_own_end_is_a_cut() -> Result<()> {
    // Each leaves the public proxy's end with octets read, and no end said.
    for way in ["dropped", "finished without the frame of length 0", "the connection is lost"] {
        let mut proxies = Proxies::new()?;
        let (mut private, mut public) = proxies.session().await?;
        private.write_all(b"octets").await?;
        private.flush().await?;
        public.read_exact(&mut [0; 6]).await?;
        match way {
            "dropped" => drop(private),
            "the connection is lost" => proxies.endpoint.close(1u32.into(), b""),
            _ => {
                private.disarm()?;
                drop(private);
            }
        }
        let cut = timeout(PATIENCE, public.read_to_end(&mut Vec::new())).await?;
        assert!(cut.is_err(), "{way}: {cut:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_said_before_the_end_arrives_though_the_end_is_dropped_at_once() -> Result<()> {
    let mut proxies = Proxies::new()?;
    let (mut private, mut public) = proxies.tunnel().await?;
    let sent = vec![9; 1_000_000];
    let writing = async {
        private.write_all(&sent).await?;
        private.shutdown().await?;
        drop(private);
        anyhow::Ok(())
    };
    let mut read = Vec::new();
    public.welcome();
    let reading = async { Ok(public.read_to_end(&mut read).await?) };
    timeout(PATIENCE, async { tokio::try_join!(writing, reading) }).await??;
    assert!(read == sent);
    Ok(())
}

#[tokio::test]
async fn a_stranger_that_has_no_place_keeps_no_connection_until_it_has_heard_its_answer()
-> Result<()> {
    for accepted in [false, true] {
        let mut proxies = Proxies::new()?;
        let (private, mut public) = proxies.tunnel().await?;
        if accepted {
            public.welcome();
        }
        public.write_all(b"gone").await?;
        // Nothing has run since that could have told that it arrived.
        drop(public);
        let kept = proxies.accepted.as_ref().context("no connection")?.has_tunnels();
        assert_eq!(kept, accepted);
        drop(private);
    }
    Ok(())
}
