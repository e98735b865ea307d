//! The responder: authoritative DNS for terminal names over UDP and TCP.
//!
//! It carries octets between sockets and [`dns::answer`] and decides nothing about names. It never
//! rings: an answer is given at once, because resolvers do not wait. Bind one UDP socket for each
//! address: from a wildcard address the kernel may answer under another address than was asked.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use ringback_proto::dns::{self, Answer, Over, Throttle, Verdict, Zone};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::limits;
use crate::telemetry::STEPS;

/// Answers for the terminals of one zone.
#[derive(Debug)]
pub struct Responder {
    /// The zone; another one takes effect with the next query.
    pub zone: watch::Receiver<Arc<Zone>>,
    /// What one network may ask over UDP.
    pub throttle: Throttle,
}

/// What every socket's loop needs in order to answer.
#[derive(Clone, Debug)]
struct Desk {
    zone: watch::Receiver<Arc<Zone>>,
}

impl Responder {
    /// Answers until shutdown; an error means that a connection's task has panicked.
    pub async fn run(
        self,
        udp: UdpSocket,
        tcp: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let desk = Desk { zone: self.zone };
        let datagrams = async {
            serve_datagrams(&udp, &desk, self.throttle, &shutdown).await;
            Ok(())
        };
        tokio::try_join!(datagrams, serve_connections(&tcp, &desk, &shutdown))?;
        Ok(())
    }
}

/// Answers datagrams one after the other: an answer takes microseconds, a task would cost more.
async fn serve_datagrams(
    udp: &UdpSocket,
    desk: &Desk,
    mut throttle: Throttle,
    shutdown: &CancellationToken,
) {
    let mut shut_down = pin!(shutdown.cancelled());
    let mut query = vec![0; limits::DNS_QUERY_OCTETS];
    loop {
        let received = tokio::select! {
            biased;
            () = &mut shut_down => return,
            received = udp.recv_from(&mut query) => received,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                rest(&error, shutdown).await;
                continue;
            }
        };

        let query = &query[..length];
        let answer = match throttle.judge(from.ip(), Instant::now().into_std()) {
            Verdict::Serve => desk.answer(query, from, Over::Udp),
            Verdict::Slip => dns::slip(query),
            Verdict::Drop => None,
        };
        let Some(answer) = answer else { continue };
        if let Err(error) = udp.send_to(&answer, from).await {
            debug!(%from, %error, "could not send an answer");
        }
    }
}

/// Accepts connections and waits for their ends (RFC 7766).
async fn serve_connections(
    tcp: &TcpListener,
    desk: &Desk,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    let mut open = BTreeMap::<IpAddr, usize>::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                leave(&mut open, ended?);
                continue;
            }
            accepted = tcp.accept(), if connections.len() < limits::DNS_CONNECTIONS => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                rest(&error, shutdown).await;
                continue;
            }
        };

        let prefix = dns::source_prefix(from.ip());
        let count = open.entry(prefix).or_default();
        if limits::DNS_CONNECTIONS_PER_PREFIX <= *count {
            debug!(%from, "closed a connection: its network has as many as it may");
            continue;
        }
        *count += 1;

        let desk = desk.clone();
        connections.spawn(async move {
            if let Err(error) = converse(stream, from, &desk).await {
                debug!(%from, %error, "closed a connection");
            }
            prefix
        });
    }
    connections.shutdown().await;
    Ok(())
}

fn leave(open: &mut BTreeMap<IpAddr, usize>, prefix: IpAddr) {
    let count = open.get_mut(&prefix).expect("who leaves has come");
    *count -= 1;
    if *count == 0 {
        open.remove(&prefix);
    }
}

/// Answers the queries of one connection in their order until it ends, is idle or is no use.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    desk: &Desk,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(limits::DNS_QUERY_OCTETS, stream);
    let mut query = vec![0; limits::DNS_QUERY_OCTETS];
    loop {
        let ended = timeout(limits::DNS_IDLE, stream.fill_buf()).await??.is_empty();
        if ended {
            return Ok(());
        }

        let arriving = async {
            let length = usize::from(stream.read_u16().await?);
            let query = query.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
            stream.read_exact(query).await?;
            Ok::<_, io::Error>(&*query)
        };
        let query = timeout(limits::DNS_MESSAGE_PATIENCE, arriving).await??;

        // Who sends what is no query cannot be answered and has nothing to wait for.
        let Some(answer) = desk.answer(query, from, Over::Tcp) else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(limits::DNS_MESSAGE_PATIENCE, stream.write_all(&framed)).await??;
    }
}

/// Lets a fault of the machine pass instead of meeting it again at once.
async fn rest(error: &io::Error, shutdown: &CancellationToken) {
    warn!(%error, "can neither receive nor accept: check descriptors and memory");
    let _ = timeout(limits::DNS_REST, shutdown.cancelled()).await;
}

impl Desk {
    fn answer(&self, query: &[u8], from: SocketAddr, over: Over) -> Option<Vec<u8>> {
        let zone = Arc::clone(&self.zone.borrow());
        let answer = dns::answer(query, &zone, over)?;
        self.log(&answer, from, over);
        Some(answer.into_octets())
    }

    fn log(&self, answer: &Answer<'_>, from: SocketAddr, over: Over) {
        debug!(
            %from,
            ?over,
            name = answer.name().map(tracing::field::display),
            kind = answer.kind().map(tracing::field::display),
            code = %answer.code(),
            truncated = answer.truncated(),
            octets = answer.octets().len(),
            "answered"
        );
        let (Some(terminal), Some(kind)) = (answer.terminal(), answer.kind()) else { return };
        debug!(target: STEPS, step = "A", %terminal, %kind, ?over, "asked for a terminal");
        let parameters = answer.parameters();
        debug!(target: STEPS, step = "B", %terminal, %kind, parameters, "told the public proxy's parameters");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringback_proto::dns::{Draft, Soa};
    use ringback_proto::terminal::{MailAddress, TerminalName};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// `fleet.example SOA`, with its length before it.
    const QUERY: &[u8] = b"\0\x1f\x12\x34\0\0\0\x01\0\0\0\0\0\0\x05fleet\x07example\0\0\x06\0\x01";

    #[tokio::test(start_paused = true)]
    async fn queries_are_answered_in_order_however_small_their_pieces() {
        let (mut peer, connection) = connection(3);
        let mut second = QUERY.to_vec();
        second[2] = 0x56;
        let both = [QUERY, &second].concat();
        let talk = async {
            let (mut hears, mut speaks) = tokio::io::split(&mut peer);
            let listening = async { (read(&mut hears).await, read(&mut hears).await) };
            tokio::join!(listening, async { speaks.write_all(&both).await.unwrap() }).0
        };
        let (first, second) = tokio::select! {
            answers = talk => answers,
            ended = connection => panic!("ended early: {ended:?}"),
        };
        assert_eq!((first[0], second[0]), (0x12, 0x56));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_let_go_at_the_idle_limit() {
        let (_peer, connection) = connection(64);
        assert_eq!(lifetime(connection).await, (limits::DNS_IDLE, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_finishes_its_query_is_let_go_at_the_message_limit() {
        let (mut peer, connection) = connection(64);
        let dripping = async {
            // An octet each second keeps the connection busy, but not the query within its time.
            for octet in QUERY {
                peer.write_u8(*octet).await.ok();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let (_, ended) = tokio::join!(dripping, lifetime(connection));
        assert_eq!(ended, (limits::DNS_MESSAGE_PATIENCE, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_answer_is_let_go_at_the_message_limit() {
        let (mut peer, connection) = connection(QUERY.len());
        peer.write_all(QUERY).await.unwrap();
        assert_eq!(lifetime(connection).await, (limits::DNS_MESSAGE_PATIENCE, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_talks_anything_but_queries_is_let_go_at_once() {
        let response = b"\0\x0c\x12\x34\x80\0\0\0\0\0\0\0\0\0";
        for (talk, good) in
            [(&response[..], true), (b"\0\0", true), (b"GET / HTTP/1.1\r\n\r\n", false)]
        {
            let (mut peer, connection) = connection(64);
            peer.write_all(talk).await.unwrap();
            assert_eq!(lifetime(connection).await, (Duration::ZERO, good), "{talk:x?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_ended_its_side_still_gets_its_answers() {
        let (mut peer, connection) = connection(256);
        peer.write_all(QUERY).await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(lifetime(connection).await, (Duration::ZERO, true));
        assert_eq!(read(&mut peer).await[0], 0x12);
    }

    fn connection(room: usize) -> (DuplexStream, impl Future<Output = io::Result<()>>) {
        let (peer, stream) = duplex(room);
        let from = SocketAddr::from(([192, 0, 2, 1], 53));
        (peer, async move { converse(stream, from, &desk()).await })
    }

    /// How long a connection lasts, and whether it ended well.
    async fn lifetime(connection: impl Future<Output = io::Result<()>>) -> (Duration, bool) {
        let start = Instant::now();
        let ended = timeout(Duration::from_secs(3600), connection).await.expect("lasts for ever");
        (start.elapsed(), ended.is_ok())
    }

    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let length = stream.read_u16().await.unwrap();
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await.unwrap();
        message
    }

    fn desk() -> Desk {
        let host = |text| TerminalName::parse(text).unwrap();
        let draft = Draft {
            origin: host("fleet.example"),
            nameservers: vec![(host("ns.example"), vec![])],
            soa: Soa {
                mname: host("ns.example"),
                rname: MailAddress::parse("a@fleet.example").unwrap(),
                serial: 1,
                refresh_seconds: 3600,
                retry_seconds: 600,
                expire_seconds: 86_400,
                minimum_seconds: 5,
            },
            ttl_seconds: 5,
            terminals: BTreeMap::new(),
        };
        let (_, zone) = watch::channel(Arc::new(Zone::new(draft).unwrap()));
        Desk { zone }
    }
}
