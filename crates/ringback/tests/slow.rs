//! Goal G5: thousands of clients that say nothing, or an octet a second, at the doors of a running
//! public proxy; whoever says what it wants is served as if they were not there.

mod house;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use house::{House, NAME};
use ringback::limits::{INCOMPLETE, INCOMPLETE_PER_NETWORK};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_slow_clients_delay_nobody_and_ring_for_nobody() -> Result<()> {
    assert!(ATTACKERS / NETWORKS < INCOMPLETE_PER_NETWORK);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    if maximum.is_some_and(|it| it < 3 * ATTACKERS as u64) {
        eprintln!("skipped: needs a hard limit of {} open files", 3 * ATTACKERS);
        return Ok(());
    }
    let mut house = House::empty().await?;
    // As it is run: what is measured is not how fast a line about each of them can be written.
    house.log = "info";
    house.fill("id = 1\nport = 80\nhttp = true\n").await?;
    let without = access(&house).await?;
    let before = resident_kib(&house)?;
    let rung = house.sms()?;

    let held = Arc::new(AtomicUsize::new(0));
    let mut attack = JoinSet::new();
    let doors = [house.http, house.tls, house.proxy];
    for number in 0..ATTACKERS {
        attack.spawn(attacker(number, doors[number % doors.len()], held.clone()));
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

/// Connects, says nothing or an octet a second, and comes again when it was closed.
async fn attacker(number: usize, door: SocketAddr, came: Arc<AtomicUsize>) {
    let [network, host] = [number % NETWORKS, number / NETWORKS + 1].map(|it| it as u8);
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, network, host), 0));
    let says: &[u8] = if number % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nHost: patient.lo" };
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
            stay(stream, says).await;
        }
        sleep(away).await;
    }
}

async fn stay(mut stream: TcpStream, says: &[u8]) {
    let (mut reader, mut writer) = stream.split();
    let speaking = async {
        for octet in says {
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
