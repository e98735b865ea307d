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
/// How long those that were closed stay away.
const AWAY: Duration = Duration::from_secs(4);
/// How long accesses are measured without them, and then among them: longer than any of them is kept.
const WITHOUT: Duration = Duration::from_secs(2);
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
    house.fill("id = 1\nport = 80\nhttp = true\n").await?;
    let without = accesses(&house, WITHOUT).await?;
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

    let among = accesses(&house, AMONG).await?;
    let (median, worst) = (without[without.len() / 2], among[among.len() - 1]);
    println!(
        "{ATTACKERS} slow clients, {files} descriptors, {each:.1} KiB for each held; an access \
         takes {median:.2?} without them and at most {worst:.2?} of {} among them",
        among.len()
    );
    assert_eq!(house.sms()?, rung + among.len(), "a slow client was rung for");
    assert!(worst < median + Duration::from_secs(1), "{among:?} among them, {without:?} without");
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
        sleep(AWAY).await;
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

/// How long each access takes with an SMS of its own, the shortest first.
async fn accesses(house: &House, measured: Duration) -> Result<Vec<Duration>> {
    let url = format!("http://{NAME}:{}/", house.http.port());
    let (mut took, until) = (Vec::new(), Instant::now() + measured);
    while Instant::now() < until {
        let begun = Instant::now();
        let words = ["-sS", "--fail", "--max-time", "30", "-o", "/dev/null", &url];
        let access = Command::new("curl").args(words).output().await?;
        ensure!(access.status.success(), "{access:?}");
        took.push(begun.elapsed());
    }
    took.sort();
    Ok(took)
}

fn resident_kib(house: &House) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.pid("public")?))?;
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).context("no number")
}

fn descriptors(house: &House) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", house.pid("public")?))?.count())
}
