//! A longer or worse way to the Internet: a cable between the operator's gateway and the Internet's
//! bridge that delays, loses and throttles what it carries, each way.
//!
//! It changes and reorders nothing. A small program on a host of its own carries the frames: not
//! every kernel can delay, and this workspace has no unsafe code for raw sockets.

use std::num::NonZeroU32;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::{Host, addresses, limits};

/// What carries the frames.
const CARRIER: &str = include_str!("cable.py");

/// What only a lab with a cable runs, and the Debian package each comes from.
pub(crate) const TOOLS: [(&str, &str); 3] =
    [("ethtool", "ethtool"), ("ping", "iputils-ping"), ("python3", "python3")];

/// What a cable does to what it carries, in each direction for itself. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cable {
    /// How late every frame is, in whole milliseconds.
    pub delay: Duration,
    /// How much later still a frame may be, at random; none overtakes another.
    pub jitter: Duration,
    /// How many frames of a hundred are lost, at random; at most half of them.
    pub loss_percent: u8,
    /// How many kilobits it carries in a second; without a limit if absent.
    pub rate_kbit: Option<NonZeroU32>,
}

/// A cable in its place. Dropping it cuts the operator off from the Internet.
#[derive(Debug)]
pub(crate) struct Plugged {
    pub(crate) host: Host,
    _carrier: Child,
}

impl Plugged {
    /// Puts a cable between the gateway's `wan` and the bridge, and sees that it delays.
    pub(crate) async fn between(inet: &Host, gateway: &Host, cable: Cable) -> Result<Self> {
        ensure!(cable.loss_percent <= 50, "a cable loses half of what it carries at most");
        let host = inet.beside("cable", "").await?;
        // The host only carries: with a voice of its own it would be heard at both ends.
        host.sysctl("net.ipv6.conf.default.disable_ipv6", 1).await?;
        let pid = host.pid();
        inet.ip(&format!(
            "link set gateway netns {pid} name inside
            link add name gateway type veth peer name outside netns {pid}
            link set gateway master inet up"
        ))
        .await?;
        host.ip("link set inside up\nlink set outside up").await?;
        for (place, device) in
            [(gateway, "wan"), (&host, "inside"), (&host, "outside"), (inet, "gateway")]
        {
            // What a device would only finish on a wire of its own must be whole on this one.
            let words = "tx off tso off gso off gro off".split(' ');
            let words: Vec<_> = ["ethtool", "-K", device].into_iter().chain(words).collect();
            place.run(&words).await?;
        }
        let carrier = carry(&host, cable).await?;

        // Also makes the two ends know each other, so that no measurement pays for their ARP.
        let round_trip = round_trip(gateway).await?;
        ensure!(
            2 * cable.delay <= round_trip,
            "the cable does not delay: {round_trip:?} there and back"
        );
        Ok(Self { host, _carrier: carrier })
    }
}

/// Starts what carries the frames, and waits until it does.
async fn carry(host: &Host, cable: Cable) -> Result<Child> {
    let Cable { delay, jitter, loss_percent, rate_kbit } = cable;
    let manners = [
        delay.as_millis().to_string(),
        jitter.as_millis().to_string(),
        loss_percent.to_string(),
        rate_kbit.map_or(0, NonZeroU32::get).to_string(),
    ];
    let mut carrier = host
        .command("python3")
        .args(["-c", CARRIER])
        .args(manners)
        .args(["inside", "outside"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the cable")?;
    let stdout = carrier.stdout.take().context("the cable's output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let line =
        timeout(limits::TOOL, lines.next_line()).await.context("the cable is not ready")??;
    if line.as_deref() != Some("ready") {
        bail!("the cable has ended");
    }
    Ok(carrier)
}

/// The shortest of a few round trips from the gateway to the Internet: enough that one comes back.
async fn round_trip(gateway: &Host) -> Result<Duration> {
    let to = addresses::PUBLIC.to_string();
    let told = gateway.run(&["ping", "-n", "-q", "-c", "20", "-i", "0.02", &to]).await?;
    let shortest = told.split_once("min/avg/max/mdev = ").and_then(|(_, it)| it.split('/').next());
    let milliseconds: f64 = shortest.context("ping tells no times")?.parse()?;
    Ok(Duration::from_secs_f64(milliseconds / 1000.0))
}
