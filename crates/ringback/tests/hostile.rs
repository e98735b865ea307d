//! Peers that mean no good, or nothing at all, at every listener of the running roles.
//!
//! Each is ended once, in the listener's own protocol and within its named limit; none costs an
//! SMS, and what was there before is there after: the service, the descriptors, a quiet log.

mod house;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use house::{House, ROLES};
use ringback::limits;
use ringback::tunnel::{Asks, Dialer, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take that has no limit of its own, on a busy machine.
const SOON: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn hostile_peers_are_each_ended_in_time_and_nobody_is_rung() -> Result<()> {
    let house = House::open().await?;
    house.assert_serves().await?;
    let before = house.settled_descriptors(&[]).await?;
    let rung = house.sms()?;

    let cases = client_cases(&house).into_iter().chain(inner_cases(&house));
    let cases: Vec<_> = cases.map(|case| async move { (case.run().await, case) }).collect();
    let (ended, stranger, hesitant, dns) =
        tokio::join!(join_all(cases), stranger(&house), hesitant(&house), dns_garbage(&house),);
    for (ending, case) in ended {
        case.judge(&ending?);
    }
    stranger?;
    hesitant?;
    dns?;
    assert_eq!(house.sms()?, rung, "a stranger was rung for");

    let after = house.settled_descriptors(&before).await?;
    assert_eq!(after, before, "descriptors of {ROLES:?}");
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

/// At the level `open` the connection to a service's own port is the whole request: it rings.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_to_a_raw_port_rings_once_and_reaches_the_server_itself() -> Result<()> {
    let house = House::open().await?;
    let before = house.settled_descriptors(&[]).await?;

    // What speaks is the server on the terminal: the public proxy adds no word.
    let garbage =
        Case::new("raw garbage", house.raw, b"\x00\xff\x13garbage\r\n\r\n", Manner::Waits);
    let garbage = garbage.answered(b"HTTP/1.1 400", SOON);
    garbage.judge(&garbage.run().await?);
    assert_eq!(house.sms()?, 1);

    // A client that sends nothing and ends its direction is served too, and gets the server's end.
    let mute = Case::new("raw end", house.raw, b"", Manner::HalfCloses).answered(b"", SOON);
    mute.judge(&mute.run().await?);
    assert_eq!(house.sms()?, 2);

    // One that leaves by reset before the answer takes back what it has asked for.
    let stream = TcpStream::connect(house.raw).await?;
    house.says("public", "client arrived", 3).await?;
    stream.set_zero_linger()?;
    drop(stream);
    house.says("public", "client left before an answer", 1).await?;
    assert!(house.sms()? <= 3);

    let after = house.settled_descriptors(&before).await?;
    assert_eq!(after, before, "descriptors of {ROLES:?}");
    house.assert_quiet_logs()
}

fn client_cases(house: &House) -> Vec<Case> {
    let (http, tls, proxy) = (house.http, house.tls, house.proxy);
    let long = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'x'; limits::HEAD_OCTETS]].concat();
    let half = b"GET / HTTP/1.1\r\nHost: patient.loc";
    let socks = b"\x05\x01\x00\x05\x01\x00\x03\x40short";
    let endless = [&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[7; 20_000]].concat();
    let slow = limits::HEAD_PATIENCE;
    use Manner::{Dribbles, HalfCloses, Waits};
    vec![
        Case::new("http garbage", http, b"\x00\xff\x13\r\n\r\n", Waits)
            .answered(b"HTTP/1.1 400", SOON),
        Case::new("http oversized", http, &long, Waits).answered(b"HTTP/1.1 431", SOON),
        Case::new("http silent", http, b"", Waits).answered(b"HTTP/1.1 408", slow),
        Case::new("http slow", http, half, Dribbles).answered(b"HTTP/1.1 408", slow),
        Case::new("http half", http, half, HalfCloses).answered(b"HTTP/1.1 400", SOON),
        Case::new("http speaks tls", http, &endless, Waits).answered(b"HTTP/1.1 400", SOON),
        Case::new("tls garbage", tls, b"GET / HTTP/1.1\r\n\r\n", Waits)
            .answered(b"\x15\x03\x03", SOON),
        Case::new("tls oversized", tls, &endless, Waits).answered(b"\x15\x03\x03", SOON),
        Case::new("tls silent", tls, b"", Waits).answered(b"\x15\x03\x03", slow),
        Case::new("tls slow", tls, &endless[..40], Dribbles).answered(b"\x15\x03\x03", slow),
        Case::new("tls half", tls, &endless[..40], HalfCloses).answered(b"\x15\x03\x03", SOON),
        Case::new("proxy garbage", proxy, b"\x04\x01\x00\r\n\r\n", Waits)
            .answered(b"HTTP/1.1 400", SOON),
        Case::new("proxy oversized", proxy, &long, Waits).answered(b"HTTP/1.1 431", SOON),
        Case::new("proxy silent", proxy, b"", Waits).reset(slow),
        Case::new("socks slow", proxy, socks, Dribbles).answered(b"\x05\x00\x05\x01", slow),
        Case::new("socks half", proxy, socks, HalfCloses).answered(b"\x05\x00\x05\x01", SOON),
    ]
}

fn inner_cases(house: &House) -> Vec<Case> {
    let (dial_back, dns, operator) = (house.dial_back, house.dns, house.operator);
    let hello = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    let nack = b"\x00\x00\x00\x10\x80\x00\x00\x00";
    use Manner::{HalfCloses, Waits};
    vec![
        Case::new("dial-back garbage", dial_back, b"GET / HTTP/1.1\r\n\r\n", Waits).ended(SOON),
        Case::new("dial-back half", dial_back, &hello, HalfCloses).ended(SOON),
        Case::new("dial-back stuck", dial_back, &hello, Waits).ended(limits::HELLO_PATIENCE),
        Case::new("dial-back silent", dial_back, b"", Waits).ended(limits::HELLO_PATIENCE),
        Case::new("dns oversized", dns, &[0xff; 9_000], Waits).ended(SOON),
        Case::new("dns half", dns, b"\x00\x28\x01", HalfCloses).ended(SOON),
        Case::new("dns stuck", dns, b"\x00\x28\x01", Waits).ended(limits::DNS_MESSAGE_PATIENCE),
        Case::new("dns silent", dns, b"", Waits).ended(limits::DNS_IDLE),
        Case::new("smpp http", operator, b"GET / HTTP/1.1\r\n\r\n", Waits).answered(nack, SOON),
        Case::new("smpp 4 GiB", operator, &[0xff; 16], Waits).answered(nack, SOON),
        Case::new("smpp silent", operator, b"", Waits).ended(limits::OPERATOR_BIND_PATIENCE),
        Case::new("smpp half", operator, b"\x00\x00\x00\x30\x00", HalfCloses).ended(SOON),
    ]
}

/// Speaks the tunnel's protocol perfectly, with a key and a signal of its own making.
async fn stranger(house: &House) -> Result<()> {
    let mut tunnel = dial_as_a_stranger(house).await?;
    tunnel.write_all(&[[7; 48].as_slice(), &[0]].concat()).await?;
    tunnel.flush().await?;
    let mut said = Vec::new();
    timeout(SOON, tunnel.read_to_end(&mut said)).await.context("a stranger is kept")??;
    ensure!(said == [0; 33], "a stranger is told {said:?} instead of `gone`");
    Ok(())
}

/// Says half a hello, and then nothing.
async fn hesitant(house: &House) -> Result<()> {
    let begun = Instant::now();
    let mut tunnel = dial_as_a_stranger(house).await?;
    tunnel.write_all(&[7; 20]).await?;
    tunnel.flush().await?;
    let mut said = Vec::new();
    let within = limits::HELLO_PATIENCE + SOON;
    // Whether the end is an orderly one does not matter; that it comes does.
    let _ = timeout(within, tunnel.read_to_end(&mut said)).await.context("half a hello is kept")?;
    ensure!(said.is_empty(), "half a hello is answered with {said:?}");
    let took = begun.elapsed();
    ensure!(limits::HELLO_PATIENCE - SOON < took, "half a hello was ended after {took:?}");
    Ok(())
}

async fn dial_as_a_stranger(house: &House) -> Result<ringback::tunnel::Tunnel> {
    let identity = Identity::from_pem(&Identity::generate()?)?;
    let server = ringback::keys::read_public_key(&house.path("public.pub"))?;
    let stream = TcpStream::connect(house.dial_back).await?;
    Ok(timeout(SOON, Dialer::new(identity).dial(stream, &server, Asks::DialBack)).await??)
}

/// Datagrams that are no queries: nothing longer than what was sent comes back.
async fn dns_garbage(house: &House) -> Result<()> {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(house.dns).await?;
    for length in [0, 1, 11, 12, 13, 40, 512, 4_096, 9_000] {
        for octet in [0x00, 0x41, 0xff] {
            socket.send(&vec![octet; length]).await?;
            let mut answer = [0; 65_535];
            if let Ok(heard) = timeout(Duration::from_millis(50), socket.recv(&mut answer)).await {
                let heard = heard?;
                ensure!(heard <= length, "{length} octets of {octet} are answered with {heard}");
            }
        }
    }
    Ok(())
}

async fn join_all<T: Send + 'static>(
    futures: Vec<impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut tasks = tokio::task::JoinSet::new();
    for future in futures {
        tasks.spawn(future);
    }
    tasks.join_all().await
}

/// What a hostile peer does after it has connected.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Says it all, then waits.
    Waits,
    /// Says it all, then ends its direction.
    HalfCloses,
    /// Says an octet a second.
    Dribbles,
}

/// A hostile peer, and how it must end.
#[derive(Debug)]
struct Case {
    name: &'static str,
    to: SocketAddr,
    say: Vec<u8>,
    manner: Manner,
    answer: Option<Vec<u8>>,
    reset: bool,
    limit: Duration,
}

/// How it ended.
#[derive(Debug)]
struct Ending {
    heard: Vec<u8>,
    reset: bool,
    took: Duration,
}

impl Case {
    fn new(name: &'static str, to: SocketAddr, say: &[u8], manner: Manner) -> Self {
        Self { name, to, say: say.to_vec(), manner, answer: None, reset: false, limit: SOON }
    }

    /// It is told something that begins so, and then ended in order.
    fn answered(self, answer: &[u8], limit: Duration) -> Self {
        Self { answer: Some(answer.to_vec()), limit, ..self }
    }

    /// It is told nothing and reset.
    fn reset(self, limit: Duration) -> Self {
        Self { answer: Some(Vec::new()), reset: true, limit, ..self }
    }

    /// It is ended, in whichever way.
    fn ended(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    async fn run(&self) -> Result<Ending> {
        let begun = Instant::now();
        let (mut reader, mut writer) = TcpStream::connect(self.to).await?.into_split();
        let speaking = async {
            match self.manner {
                Manner::Waits => {
                    let _ = writer.write_all(&self.say).await;
                }
                Manner::HalfCloses => {
                    let _ = writer.write_all(&self.say).await;
                    let _ = writer.shutdown().await;
                }
                Manner::Dribbles => {
                    for octet in &self.say {
                        if writer.write_all(&[*octet]).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            std::future::pending::<()>().await
        };
        let mut heard = Vec::new();
        let hearing = async { reader.read_to_end(&mut heard).await };
        let ended: io::Result<usize> = tokio::select! {
            ended = hearing => ended,
            () = speaking => Ok(0),
            () = sleep(self.limit + SOON) => anyhow::bail!("{}: not ended in time", self.name),
        };
        Ok(Ending { heard, reset: ended.is_err(), took: begun.elapsed() })
    }

    fn judge(&self, ending: &Ending) {
        let told = String::from_utf8_lossy(&ending.heard);
        let context = format!("{}: {ending:?} {told}", self.name);
        if let Some(answer) = &self.answer {
            assert!(ending.heard.starts_with(answer), "{context}");
            assert_eq!(ending.heard.is_empty(), answer.is_empty(), "{context}");
            assert_eq!(ending.reset, self.reset, "{context}");
        }
        if ending.heard.starts_with(b"HTTP/") {
            assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "one answer only: {context}");
        }
        // Neither after its limit (see `run`) nor long before it.
        assert!(
            self.limit == SOON || self.limit < ending.took + Duration::from_secs(1),
            "{context}"
        );
    }
}
