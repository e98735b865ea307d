//! A client served by way of SMPP and a message center that shares no code with ours, and what
//! becomes of it when that center fails, throttles, loses, doubles or refuses.

mod house;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use house::{House, NAME, free_addresses};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Of both accounts; no word that stands in a configuration without being a password.
const PASSWORD: &str = "canary-of-node";
const SERVICE: &str = "id = 1\nport = 80\nhttp = true\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_before_and_after_the_center_was_killed() -> Result<()> {
    let Some((house, mut center)) = open(&[]).await? else { return Ok(()) };
    house.visit().await?;
    center.kill().await?;
    let _center = start(&house, house.operator, &[]).await?;
    // The bearers rest a little before they bind again; the signal waits for that.
    house.visit().await?;
    assert_eq!(house.count("center", "sms accepted")?, 2);
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_dies_with_the_center_is_rung_again() -> Result<()> {
    let Some((house, mut center)) = open(&[("LOSE", "1")]).await? else { return Ok(()) };
    let restarted = async {
        house.says("center", "sms lost", 1).await?;
        center.kill().await?;
        start(&house, house.operator, &[]).await
    };
    let (served, center) = tokio::join!(house.visit(), restarted);
    let _center = center?;
    served?;
    assert_eq!(house.count("center", "sms accepted")?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_signal_is_submitted_again_and_paid_once() -> Result<()> {
    let Some((house, _center)) = open(&[("THROTTLE", "2")]).await? else { return Ok(()) };
    house.visit().await?;
    assert_eq!(house.count("center", "sms throttled")?, 2);
    assert_eq!(house.count("center", "sms accepted")?, 1);
    let log = std::fs::read_to_string(house.path("public.log"))?;
    assert_eq!(log.matches("\"step\":\"D\"").count(), 1, "one signal was sealed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_signal_is_obeyed_once() -> Result<()> {
    let Some((house, _center)) = open(&[("DOUBLE", "1")]).await? else { return Ok(()) };
    house.visit().await?;
    house.says("private", "not obeyed", 1).await?;
    let log = std::fs::read_to_string(house.path("private.log"))?;
    assert!(log.contains("\"rejection\":\"already obeyed\""), "{log}");
    assert_eq!(house.count("center", "sms accepted")?, 1);
    house.visit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_of_the_account_takes_over() -> Result<()> {
    let Some((house, mut center)) = open(&[]).await? else { return Ok(()) };
    house.visit().await?;
    let _other = start(&house, house.other, &[]).await?;
    center.kill().await?;
    house.says("private", "bound", 2).await?;
    house.visit().await?;
    assert_eq!(house.count("center", "sms accepted")?, 2);
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_refused_at_once_while_the_account_is_turned_away() -> Result<()> {
    let Some(mut house) = empty().await? else { return Ok(()) };
    let _center = start(&house, house.operator, &[]).await?;
    let only_one = house.carried.public.replace(&format!(", \"{}\"", house.other), "");
    house.carried.public = only_one.replace("node.password", "smpp.password");
    house.fill(SERVICE).await?;
    house.says("center", "bind refused", 1).await?;
    house.says("public", "lost the message center", 1).await?;
    let page = timeout(Duration::from_secs(3), get(house.http)).await??;
    assert!(page.contains("RB-UNRINGABLE"), "{page}");
    assert_eq!(house.count("center", "sms accepted")?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_refused_within_seconds_while_no_host_is_there() -> Result<()> {
    let Some(mut house) = empty().await? else { return Ok(()) };
    house.fill(SERVICE).await?;
    let page = timeout(Duration::from_secs(10), get(house.http)).await??;
    assert!(page.contains("RB-UNRINGABLE"), "{page}");
    Ok(())
}

/// Both proxies bound to a center with such faults; `None` if that is not installed.
async fn open(faults: &[(&str, &str)]) -> Result<Option<(House, Child)>> {
    let Some(mut house) = empty().await? else { return Ok(None) };
    let center = start(&house, house.operator, faults).await?;
    house.fill(SERVICE).await?;
    house.says("private", "bound", 1).await?;
    house.says("public", "bound", 1).await?;
    Ok(Some((house, center)))
}

/// Both proxies configured for two hosts of one center, of which none runs yet.
async fn empty() -> Result<Option<House>> {
    if !Path::new(&modules()?).join("smpp").exists() {
        let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
        assert!(!required, "node-smpp is missing: run `cargo xtask peers`");
        println!("skipped: node-smpp is missing: run `cargo xtask peers`");
        return Ok(None);
    }
    let mut house = House::empty().await?;
    [house.other] = free_addresses()?;
    let password = house.path("node.password");
    std::fs::write(&password, PASSWORD)?;
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600))?;
    let (one, other) = (house.operator, house.other);
    let table = |system_id: &str| {
        format!(
            "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\nsource = \"70707\"\n\
             address = [\"{one}\", \"{other}\"]\nsystem_id = \"{system_id}\"\n\
             password_file = \"node.password\"\n"
        )
    };
    (house.carried.public, house.carried.private) = (table("public"), table("private"));
    house.carried.operator = false;
    Ok(Some(house))
}

/// Starts a center and waits until it listens.
async fn start(house: &House, at: SocketAddr, faults: &[(&str, &str)]) -> Result<Child> {
    let log = house.path("center.log");
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    let listening = house.count("center", "listening")?;
    let script = "../ringback-bearer/tests/peers/node_center.js";
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).arg(at.port().to_string());
    command
        .env("NODE_PATH", modules()?)
        .env("TELL", "1")
        .env("PASSWORD", PASSWORD)
        .envs(faults.iter().copied());
    let center = command.stdin(Stdio::null()).stdout(log).kill_on_drop(true).spawn()?;
    house.says("center", "listening", listening + 1).await?;
    Ok(center)
}

fn modules() -> Result<String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?;
    Ok(target.join("peers/node_modules").to_string_lossy().into_owned())
}

/// What a client that asks for the terminal's page is told.
async fn get(http: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(http).await?;
    let head = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
