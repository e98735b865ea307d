//! The lab's cable: that it delays, loses and throttles as told, and carries everything else.
//!
//! Whoever measures round trips in the lab relies on these.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringback_lab::{Cable, Host, Lab, Plan, addresses};

/// What the tests' cable delays, each way.
const EACH_WAY: Duration = Duration::from_millis(25);

#[tokio::test]
async fn a_cable_delays_each_way_by_what_it_was_told() -> Result<()> {
    let Some(mut lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let near = round_trip(&lab.private).await?;
    ensure!(near < 10.0, "{near} ms without a cable");

    lab.delay(EACH_WAY).await?;
    let far = round_trip(&lab.private).await?;
    ensure!((50.0..60.0).contains(&far), "{far} ms through a cable of 2 × 25 ms");
    ensure!(lab.delay(EACH_WAY).await.is_err(), "there can be one cable only");
    lab.down().await
}

#[tokio::test]
async fn a_cable_carries_whole_segments_unchanged() -> Result<()> {
    let Some(mut lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    lab.delay(EACH_WAY).await?;

    let (got, _) = transfer(&lab, 4096).await?;
    ensure!(got == "1048576 True", "{got}");
    lab.down().await
}

#[tokio::test]
async fn a_cable_varies_its_delay_within_its_jitter() -> Result<()> {
    let Some(mut lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(30));
    lab.plug(Cable { delay, jitter, ..Cable::default() }).await?;
    let [shortest, _, longest] = round_trips(&lab.private, 40).await?;
    ensure!(20.0 <= shortest && longest < 90.0, "{shortest} to {longest} ms, told 20 to 80");
    ensure!(shortest + 20.0 < longest, "hardly any jitter: {shortest} to {longest} ms");
    lab.down().await
}

#[tokio::test]
async fn a_cable_loses_its_share_in_both_directions() -> Result<()> {
    const PINGS: u32 = 300;
    let Some(mut lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    lab.plug(Cable { loss_percent: 20, ..Cable::default() }).await?;
    let before = echoes(&lab.public).await?;
    let (count, to) = (PINGS.to_string(), addresses::PUBLIC.to_string());
    let told = lab.private.run(&["ping", "-n", "-q", "-c", &count, "-i", "0.005", &to]).await?;
    let there = echoes(&lab.public).await? - before;
    let (_, told) = told.split_once("transmitted, ").context("ping counts nothing")?;
    let back: u32 = told.split(' ').next().context("ping counts nothing")?.parse()?;
    ensure!((210..=270).contains(&there), "{there} of {PINGS} got there");
    let share = f64::from(back) / f64::from(there);
    ensure!((0.7..0.9).contains(&share), "{back} of {there} came back");
    lab.down().await
}

#[tokio::test]
async fn a_cable_is_as_slow_as_it_was_told() -> Result<()> {
    let Some(mut lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    lab.plug(Cable { rate_kbit: NonZeroU32::new(1000), ..Cable::default() }).await?;
    let (got, seconds) = transfer(&lab, 600).await?;
    ensure!(got == "153600 True", "{got}");
    // 1.23 s of octets; their frames' heads come on top.
    ensure!((1.23..2.2).contains(&seconds), "153600 octets took {seconds} s at 1000 kbit/s");
    lab.down().await
}

/// Carries this many times 256 octets to the inside: what came of it, and in how many seconds.
async fn transfer(lab: &Lab, times: u32) -> Result<(String, f64)> {
    // Python's own server: sums of the two ends tell a changed, a lost or a doubled segment.
    let mut server = lab
        .public
        .command("python3")
        .args(["-c", SERVER, &times.to_string()])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let stdout = server.stdout.take().context("piped")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    let port = lines.next_line().await?.context("the server has ended")?;
    let (address, times) = (addresses::PUBLIC.to_string(), times.to_string());
    let got = lab.private.run(&["python3", "-c", CLIENT, &address, &port, &times]).await?;
    let (got, seconds) = got.trim().rsplit_once(' ').context("the client tells no time")?;
    Ok((got.to_owned(), seconds.parse()?))
}

/// Sends every octet there is, so many times, to its first caller.
const SERVER: &str = "
import socket, sys
s = socket.create_server(('', 0))
print(s.getsockname()[1], flush=True)
s.accept()[0].sendall(bytes(range(256)) * int(sys.argv[1]))
";

/// Tells how much came, whether it is what was sent, and how long it took.
const CLIENT: &str = "
import socket, sys, time
start = time.monotonic()
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
got = c.makefile('rb').read()
print(len(got), got == bytes(range(256)) * int(sys.argv[3]), time.monotonic() - start)
";

/// The echo requests that have reached a host.
async fn echoes(host: &Host) -> Result<u32> {
    let counters = host.run(&["nstat", "-asz", "IcmpInEchos"]).await?;
    let mut words = counters.split_whitespace().skip_while(|&it| it != "IcmpInEchos");
    Ok(words.nth(1).context("no such counter")?.parse()?)
}

/// The shortest of several round trips to the Internet, in milliseconds.
async fn round_trip(from: &Host) -> Result<f64> {
    Ok(round_trips(from, 5).await?[0])
}

/// The shortest, the mean and the longest of so many round trips, in milliseconds.
async fn round_trips(from: &Host, count: u32) -> Result<[f64; 3]> {
    let (count, to) = (count.to_string(), addresses::PUBLIC.to_string());
    let told = from.run(&["ping", "-n", "-q", "-c", &count, "-i", "0.1", &to]).await?;
    let (_, times) = told.split_once("min/avg/max/mdev = ").context("ping tells no times")?;
    let mut times = times.split('/').map(str::parse);
    let mut next = || anyhow::Ok(times.next().context("ping tells too few times")??);
    Ok([next()?, next()?, next()?])
}
