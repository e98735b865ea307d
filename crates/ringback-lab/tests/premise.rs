//! The premise itself: what the lab's operator makes impossible, what it allows, and its faults.
//!
//! Were one of these claims false, every other test in the lab would pass for the wrong reason.

use std::net::{IpAddr, SocketAddr};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ringback_lab::{Host, Lab, Plan, addresses};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// More than anything in the lab takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must come for a test to call it silence.
const SILENCE: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_client_cannot_reach_the_terminal() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let service = Service::start(&lab.terminal.host, lab.terminal.address()).await?;

    // Nobody outside has a route to a private address.
    let output = talk(&lab.client, service.address, None).await?;
    ensure!(complaint(&output).contains("unreachable"), "{}", complaint(&output));
    ensure!(lab.gateway.blocked().await? == 0);

    // The gateway's own address leads nowhere: no flow, no way in.
    let gateway = SocketAddr::new(addresses::GATEWAY.into(), service.address.port());
    let output = talk(&lab.client, gateway, None).await?;
    ensure!(complaint(&output).contains("silence"), "{}", complaint(&output));
    let blocked = lab.gateway.blocked().await?;
    ensure!(0 < blocked, "the firewall has counted nothing");

    // Even one who knew the way is met with silence.
    lab.client.run(&["ip", "route", "add", "100.64.0.0/10", "via", "203.0.113.1"]).await?;
    let output = talk(&lab.client, service.address, None).await?;
    ensure!(complaint(&output).contains("silence"), "{}", complaint(&output));
    ensure!(blocked < lab.gateway.blocked().await?, "the firewall has counted nothing more");
    lab.down().await
}

#[tokio::test]
async fn inside_the_terminal_is_reached_by_the_operator_but_not_by_its_neighbor() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let service = Service::start(&lab.terminal.host, lab.terminal.address()).await?;

    let output = talk(&lab.private, service.address, None).await?;
    ensure!(seen(&output)?.ip() == IpAddr::V4(addresses::PRIVATE));

    let neighbor = lab.subscribe("neighbor").await?;
    let output = talk(&neighbor.host, service.address, None).await?;
    ensure!(complaint(&output).contains("silence"), "{}", complaint(&output));
    lab.down().await
}

#[tokio::test]
async fn outward_the_nat_is_symmetric() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let public = Service::start(&lab.public, addresses::PUBLIC).await?;
    let elsewhere = Service::start(&lab.dns, addresses::DNS).await?;

    let source = 40_000;
    let one = seen(&talk(&lab.private, public.address, Some(source)).await?)?;
    let other = seen(&talk(&lab.private, elsewhere.address, Some(source)).await?)?;
    ensure!(one.ip() == IpAddr::V4(addresses::GATEWAY), "seen from {one}");
    ensure!(one.ip() == other.ip(), "seen from {one} and {other}");
    ensure!(one.port() != source && other.port() != source, "a port was kept");
    ensure!(one.port() != other.port(), "one port serves two destinations");
    lab.down().await
}

#[tokio::test]
async fn the_smsc_is_reached_from_both_networks() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let smsc = Service::start(&lab.smsc, std::net::Ipv4Addr::UNSPECIFIED).await?;

    for (host, address, from) in [
        (&lab.public, addresses::SMSC_OUTSIDE, addresses::PUBLIC),
        (&lab.private, addresses::SMSC, addresses::PRIVATE),
    ] {
        let output = talk(host, SocketAddr::new(address.into(), smsc.address.port()), None).await?;
        ensure!(seen(&output)?.ip() == IpAddr::V4(from));
    }
    lab.down().await
}

#[tokio::test]
async fn attaching_again_brings_another_address() -> Result<()> {
    let Some(mut lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let service = Service::start(&lab.terminal.host, std::net::Ipv4Addr::UNSPECIFIED).await?;
    let port = service.address.port();

    let old = lab.terminal.address();
    let new = lab.terminal.attach(&lab.gateway).await?;
    ensure!(old != new, "the terminal has kept its address");

    let output = talk(&lab.private, SocketAddr::new(new, port), None).await?;
    ensure!(output.status.success(), "{}", complaint(&output));
    let output = talk(&lab.private, SocketAddr::new(old, port), None).await?;
    ensure!(!output.status.success(), "the old address still answers");
    lab.down().await
}

#[tokio::test]
async fn a_forgotten_flow_dies_in_silence() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let public = Service::start(&lab.public, addresses::PUBLIC).await?;
    let mut call = Call::dial(&lab.private, public.address).await?;
    call.echo("before").await?;

    lab.gateway.forget_flows().await?;
    call.send("after").await?;
    ensure!(timeout(SILENCE, call.lines.next_line()).await.is_err(), "a forgotten flow lives on");
    lab.down().await
}

#[tokio::test]
async fn a_silent_drop_stalls_a_flow_until_it_is_healed() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let public = Service::start(&lab.public, addresses::PUBLIC).await?;
    let mut call = Call::dial(&lab.private, public.address).await?;

    lab.gateway.silent_drop().await?;
    call.send("held up").await?;
    ensure!(timeout(SILENCE, call.lines.next_line()).await.is_err(), "nothing was dropped");

    lab.gateway.heal().await?;
    let line = timeout(PATIENCE, call.lines.next_line()).await??;
    ensure!(line.as_deref() == Some("held up"), "{line:?}");
    lab.down().await
}

#[tokio::test]
async fn a_reset_is_heard_inside() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let public = Service::start(&lab.public, addresses::PUBLIC).await?;
    let mut call = Call::dial(&lab.private, public.address).await?;

    lab.gateway.reset_inside().await?;
    call.send("into the void").await?;
    let output = timeout(PATIENCE, call.child.wait_with_output()).await??;
    ensure!(complaint(&output).contains("reset"), "{}", complaint(&output));
    lab.down().await
}

#[tokio::test]
async fn an_ipv6_only_terminal_reaches_ipv4_through_nat64_and_is_reached_by_nobody() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Ipv6Only).await? else { return Ok(()) };
    let public = Service::start(&lab.public, addresses::PUBLIC).await?;

    let translated = SocketAddr::new(addresses::PUBLIC_NAT64.into(), public.address.port());
    let output = talk(&lab.private, translated, None).await?;
    ensure!(seen(&output)?.ip() == IpAddr::V4(addresses::GATEWAY));

    let native = Service::start(&lab.public, addresses::PUBLIC_V6).await?;
    let output = talk(&lab.private, native.address, None).await?;
    ensure!(seen(&output)?.ip() == IpAddr::V6(addresses::PRIVATE_V6));

    let service = Service::start(&lab.terminal.host, lab.terminal.address()).await?;
    let output = talk(&lab.private, service.address, None).await?;
    ensure!(output.status.success(), "{}", complaint(&output));
    let output = talk(&lab.client, service.address, None).await?;
    ensure!(complaint(&output).contains("silence"), "{}", complaint(&output));
    ensure!(0 < lab.gateway.blocked().await?, "the firewall has counted nothing");
    lab.down().await
}

#[tokio::test]
async fn a_host_asks_the_labs_own_resolver() -> Result<()> {
    let Some(lab) = Lab::for_test(Plan::Cgnat).await? else { return Ok(()) };
    let file = lab.client.run(&["cat", "/etc/resolv.conf"]).await?;
    ensure!(file == "nameserver 203.0.113.53\n", "{file}");
    lab.down().await
}

#[tokio::test]
async fn nothing_is_left_when_the_owner_is_killed() -> Result<()> {
    if Lab::for_test(Plan::Cgnat).await?.is_none() {
        return Ok(());
    }

    let mut owner = Command::new(PROBE)
        .arg("hold")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = lines(owner.stdout.take())?;
    let mut namespaces = Vec::new();
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await??.context("the owner has ended")?;
        if line == "up" {
            break;
        }
        namespaces.push(line);
    }
    ensure!(namespaces.len() == 8, "a lab of {} hosts", namespaces.len());
    ensure!(!inhabitants(&namespaces)?.is_empty(), "the lab is not seen even while it is up");

    owner.start_kill()?;
    // The hosts inherit this pipe; it ends when the last of them has.
    let mut stderr = owner.stderr.take().context("piped")?;
    timeout(PATIENCE, stderr.read_to_end(&mut Vec::new())).await.context("a host lives on")??;
    let left = inhabitants(&namespaces)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// The processes that still live in one of these networks.
fn inhabitants(namespaces: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let process = entry?.path();
        let Ok(link) = std::fs::read_link(process.join("ns/net")) else { continue };
        if namespaces.iter().any(|it| link.as_os_str() == it.as_str()) {
            found.push(process.display().to_string());
        }
    }
    Ok(found)
}

/// A listening probe on a host.
struct Service {
    address: SocketAddr,
    _child: Child,
}

impl Service {
    async fn start(host: &Host, address: impl Into<IpAddr>) -> Result<Self> {
        let address = SocketAddr::new(address.into(), 0);
        let mut child = host
            .command(PROBE)
            .args(["listen", &address.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let line = timeout(PATIENCE, lines(child.stdout.take())?.next_line()).await??;
        let line = line.context("the service has ended")?;
        let address = line.strip_prefix("listening on ").context("an unknown line")?.parse()?;
        Ok(Self { address, _child: child })
    }
}

/// A live connection from a host, which has heard the service's greeting.
struct Call {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Call {
    async fn dial(host: &Host, address: SocketAddr) -> Result<Self> {
        let mut child = host
            .command(PROBE)
            .args(["talk", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("piped")?;
        let mut lines = lines(child.stdout.take())?;
        timeout(PATIENCE, lines.next_line()).await??.context("no greeting")?;
        Ok(Self { child, input, lines })
    }

    async fn send(&mut self, line: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    async fn echo(&mut self, line: &str) -> Result<()> {
        self.send(line).await?;
        let echo = timeout(PATIENCE, self.lines.next_line()).await??;
        ensure!(echo.as_deref() == Some(line), "{echo:?}");
        Ok(())
    }
}

/// Connects once, says nothing, and ends.
async fn talk(host: &Host, address: SocketAddr, from: Option<u16>) -> Result<Output> {
    let mut command = host.command(PROBE);
    command.args(["talk", &address.to_string()]).args(from.map(|it| it.to_string()));
    Ok(timeout(PATIENCE, command.stdin(Stdio::null()).output()).await??)
}

/// The address the service has seen the caller come from.
fn seen(output: &Output) -> Result<SocketAddr> {
    if !output.status.success() {
        bail!("not connected: {}", complaint(output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(stdout: Option<ChildStdout>) -> Result<Lines<BufReader<ChildStdout>>> {
    Ok(BufReader::new(stdout.context("piped")?).lines())
}
