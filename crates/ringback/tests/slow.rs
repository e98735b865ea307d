//! Goal G5: thousands of clients that say nothing, an octet a second, or half a handshake, at the doors
//! of a running public proxy; whoever says what it wants is served as if they were not there.

mod house;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use house::{House, NAME};
use ringback::limits::{INCOMPLETE, INCOMPLETE_PER_NETWORK};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How many come at once.
const ATTACKERS: usize = 5_000;
/// From how many networks: each stays below its own limit, so that the limit of all is met.
const NETWORKS: usize = 100;
/// How long those that were closed stay away at least, and up to twice as long: they do not come
/// like one man.
const AWAY: Duration = Duration::from_secs(4);
/// How long they go on while others are measured: longer than any of them is kept.
const AMONG: Duration = Duration::from_secs(15);

/// Reached in clear and by TLS that ends at the public proxy.
const SERVICE: &str = "id = 1\nport = 80\nhttp = true\ntls = true\n\
     certificate = \"tls.pem\"\ncertificate_key = \"tls.key\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_slow_clients_delay_nobody_and_ring_for_nobody() -> Result<()> {
    const { assert!(ATTACKERS / NETWORKS < INCOMPLETE_PER_NETWORK) };
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    if maximum.is_some_and(|it| it < 3 * ATTACKERS as u64) {
        eprintln!("skipped: needs a hard limit of {} open files", 3 * ATTACKERS);
        return Ok(());
    }
    let mut house = House::empty().await?;
    // As it is run: what is measured is not how fast a line about each of them can be written.
    house.log = "info";
    furnish(&house)?;
    house.fill(SERVICE).await?;
    let without = access(&house).await?;
    let before = resident_kib(&house)?;
    let rung = house.sms()?;

    let held = Arc::new(AtomicUsize::new(0));
    let mut attack = JoinSet::new();
    let dribbled: Arc<[u8]> = b"GET / HTTP/1.1\r\nHost: patient.lo".as_slice().into();
    let manners = [
        (house.http, Manner { at_once: Arc::default(), dribbled: dribbled.clone() }),
        (house.tls, Manner { at_once: client_hello()?, dribbled: Arc::default() }),
        (house.proxy, Manner { at_once: Arc::default(), dribbled }),
        (house.http, Manner::default()),
        (house.tls, Manner::default()),
    ];
    for number in 0..ATTACKERS {
        let (door, manner) = manners[number % manners.len()].clone();
        attack.spawn(attacker(number, door, manner, held.clone()));
    }
    let full = async {
        while held.load(Ordering::Relaxed) < ATTACKERS {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), full).await.context("they never all came")?;
    // Those above the limit have been closed once the rest is all that there is.
    let settled = async {
        while INCOMPLETE + 100 < descriptors(&house)? {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(30), settled).await.context("more are held than may be")??;
    let (files, during) = (descriptors(&house)?, resident_kib(&house)?);
    let each = during.saturating_sub(before) as f64 / INCOMPLETE as f64;

    // Two rings only, since a terminal is not rung without end; between them, whoever is answered
    // at once tells how long it takes to be heard.
    let first = access(&house).await?;
    let (mut heard, until) = (Duration::ZERO, Instant::now() + AMONG);
    while Instant::now() < until {
        heard = heard.max(visit(&house, "nobody.localhost", 421).await?);
        sleep(Duration::from_millis(100)).await;
    }
    let last = access(&house).await?;
    println!(
        "{ATTACKERS} slow clients, {files} descriptors, {each:.1} KiB for each held; an access \
         takes {without:.2?} without them, {first:.2?} and {last:.2?} among them; who is told no \
         is told within {heard:.2?}"
    );
    assert_eq!(house.sms()?, rung + 2, "a slow client was rung for");
    for took in [first, last, without + heard] {
        assert!(took < without + Duration::from_secs(1), "{took:?} instead of {without:?}");
    }
    assert!(each <= 16.0, "{each} KiB each");
    ensure!(attack.try_join_next().is_none(), "an attacker has given up");
    attack.shutdown().await;
    house.assert_quiet_logs()
}

/// What an attacker says: so much at once, then an octet a second.
#[derive(Clone, Default)]
struct Manner {
    at_once: Arc<[u8]>,
    dribbled: Arc<[u8]>,
}

/// Connects, never says all, and comes again when it was closed.
async fn attacker(number: usize, door: SocketAddr, manner: Manner, came: Arc<AtomicUsize>) {
    let [network, host] = [number % NETWORKS, number / NETWORKS + 1].map(|it| it as u8);
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, network, host), 0));
    let away = AWAY + AWAY * (number * 7_919 % ATTACKERS) as u32 / ATTACKERS as u32;
    let mut first = true;
    loop {
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(from)?;
            socket.connect(door).await
        };
        if let Ok(stream) = connecting.await {
            if std::mem::take(&mut first) {
                came.fetch_add(1, Ordering::Relaxed);
            }
            stay(stream, &manner).await;
        }
        sleep(away).await;
    }
}

async fn stay(mut stream: TcpStream, manner: &Manner) {
    let (mut reader, mut writer) = stream.split();
    let speaking = async {
        let _ = writer.write_all(&manner.at_once).await;
        for octet in &*manner.dribbled {
            if writer.write_all(&[*octet]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut heard = [0; 1_024];
    let hearing = async { while reader.read(&mut heard).await.is_ok_and(|it| 0 < it) {} };
    tokio::select! {
        () = speaking => {}
        () = hearing => {}
    }
}

/// A certificate that nobody asks for.
fn furnish(house: &House) -> Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let made = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    let pem = |tag, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    std::fs::write(house.path("tls.pem"), pem("CERTIFICATE", made.der()))?;
    std::fs::write(house.path("tls.key"), pem("PRIVATE KEY", &key.serialize_der()))?;
    let secret = std::fs::Permissions::from_mode(0o600);
    Ok(std::fs::set_permissions(house.path("tls.key"), secret)?)
}

/// All that a TLS client says before the server must have spoken.
fn client_hello() -> Result<Arc<[u8]>> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), NAME.try_into()?)?.write_tls(&mut hello)?;
    Ok(hello.into())
}

/// How long an access takes, with an SMS of its own.
async fn access(house: &House) -> Result<Duration> {
    visit(house, NAME, 200).await
}

/// How long it takes until that host's answer is whole.
async fn visit(house: &House, host: &str, status: u16) -> Result<Duration> {
    let begun = Instant::now();
    let url = format!("http://{host}:{}/", house.http.port());
    let words = ["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}", &url];
    let visit = Command::new("curl").args(words).output().await?;
    ensure!(visit.stdout == status.to_string().as_bytes(), "{host}: {visit:?}");
    Ok(begun.elapsed())
}

fn resident_kib(house: &House) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.pid("public")?))?;
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).context("no number")
}

fn descriptors(house: &House) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", house.pid("public")?))?.count())
}
