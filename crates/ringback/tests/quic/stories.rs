//! Client, ring, dial-back over QUIC, octets: the real binary once a role, on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::PATIENCE;
use crate::house::{BINARY, House, free_addresses};
use crate::relay::{Relay, Way};

/// What the private proxy says of a connection.
const CONNECTED: &str = "connected by QUIC";

/// The installation, and what is changed in its files before anything runs.
pub(crate) async fn house(public: &[(&str, &str)], private: &[(&str, &str)]) -> Result<House> {
    let mut house = House::empty().await?;
    open(&mut house, public, private).await?;
    Ok(house)
}

async fn open(house: &mut House, public: &[(&str, &str)], private: &[(&str, &str)]) -> Result<()> {
    let service =
        format!("id = 1\nport = 80\nhttp = true\nraw = \"{}\"\ntunnel = \"quic\"\n", house.raw);
    house.write_files(&service)?;
    let mut command = Command::new(BINARY);
    command.args(["key", "identity", "--out", "other"]).current_dir(house.folder.path());
    ensure!(command.output().await?.status.success(), "no key");
    edit(house, "public.toml", public)?;
    let tunnel =
        ("[[terminal.service]]\nid = 1\n", "[[terminal.service]]\nid = 1\ntunnel = \"quic\"\n");
    edit(house, "private.toml", &[&[tunnel], private].concat())?;
    house.start_all().await
}

fn edit(house: &House, file: &str, changes: &[(&str, &str)]) -> Result<()> {
    let mut text = std::fs::read_to_string(house.path(file))?;
    for (from, to) in changes {
        ensure!(text.contains(from), "{file} has no {from:?}");
        text = text.replacen(from, to, 1);
    }
    Ok(std::fs::write(house.path(file), text)?)
}

/// A client that asks for one page, has its first octets, and stays.
async fn visitor(house: &House) -> Result<TcpStream> {
    let mut client = TcpStream::connect(house.raw).await?;
    client.write_all(b"GET / HTTP/1.0\r\nHost: patient.localhost\r\n").await?;
    // The server answers only the whole head, which comes when the client leaves.
    Ok(client)
}

/// Has the rest of it, to its end.
async fn leaves(mut client: TcpStream) -> Result<()> {
    client.write_all(b"\r\n").await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut answer)).await.context("no answer")??;
    ensure!(answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
    Ok(())
}

/// What a refused client sees, on a port of the terminal's own: nothing but a reset.
async fn is_refused(house: &House) -> Result<bool> {
    let mut client = TcpStream::connect(house.raw).await?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: patient.localhost\r\n\r\n").await?;
    let read = timeout(PATIENCE, client.read(&mut [0; 64])).await.context("neither nor")?;
    Ok(read.is_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_served_over_one_connection_which_ends_with_the_last_tunnel() -> Result<()> {
    let lasting = ("linger_seconds = 0", "linger_seconds = 8");
    let house = house(&[lasting], &[]).await?;
    let before = sockets(&house)?;
    let first = visitor(&house).await?;
    house.says("public", "client spliced", 1).await?;
    let second = visitor(&house).await?;
    house.says("public", "client spliced", 2).await?;
    // A tunnel of its own, whose word may come after the client's; but no handshake.
    house.says("private", "dialed back", 2).await?;
    assert_eq!(house.count("private", CONNECTED)?, 1, "the second has cost a handshake");
    leaves(second).await?;
    house.says("public", "its session has ended, and it waits for orders", 1).await?;
    // Served by the tunnel that stands by now.
    leaves(visitor(&house).await?).await?;
    leaves(first).await?;
    assert_eq!((house.count("private", CONNECTED)?, house.sms()?), (1, 2));

    let settled = async {
        while sockets(&house)? != before {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, settled).await.context("something remains after the linger time")??;
    leaves(visitor(&house).await?).await?;
    assert_eq!((house.count("private", CONNECTED)?, house.sms()?), (2, 3));
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_before_a_restart_costs_the_next_client_no_ring() -> Result<()> {
    let mut house = house(&[("linger_seconds = 0", "linger_seconds = 600")], &[]).await?;
    leaves(visitor(&house).await?).await?;
    house.restart("public").await?;
    leaves(visitor(&house).await?).await?;
    assert_eq!(house.sms()?, 2, "a second, and none more: the first dial-back has counted");
    assert_eq!(house.count("private", CONNECTED)?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_late_on_an_old_connection_counts_whatever_becomes_of_another()
-> Result<()> {
    for way in [Way::Shut, Way::Open] {
        let [between] = free_addresses()?;
        let announced = format!("linger_seconds = 0\nannounce = \"{between}\"");
        let mut house = House::empty().await?;
        let direct = format!("addresses = \"{}\"", house.dial_back);
        let relayed = format!("addresses = \"{between}\"");
        let relay = Relay::open(between, house.dial_back).await?;
        open(&mut house, &[("linger_seconds = 0", &announced)], &[(&direct, &relayed)]).await?;
        let first = visitor(&house).await?;
        house.says("public", "client spliced", 1).await?;
        house.says("private", "dialed back", 1).await?;
        relay.set(0, Way::Held);
        relay.set(1, way);
        let second = visitor(&house).await?;
        house.says("private", "a connection that was there before does not answer", 1).await?;
        if way == Way::Open {
            let late = "dismissed: a dial-back that is late, or not the first";
            house.says("public", late, 1).await?;
        }
        assert_eq!(house.count("private", "dialed back")?, 1, "and it has not given up");
        relay.set(0, Way::Open);
        house.says("private", "dialed back", 2).await?;
        leaves(second).await?;
        leaves(first).await?;
        assert_eq!(house.sms()?, 2, "nobody was rung again, {way:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_linger_every_client_rings_and_is_served() -> Result<()> {
    let house = house(&[], &[]).await?;
    house.assert_serves().await?;
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_with_another_key_is_not_dialed_to() -> Result<()> {
    let house = house(&[IMPATIENT], &[("public.pub", "other.pub")]).await?;
    assert!(is_refused(&house).await?);
    assert!(1 <= house.count("private", "RB-PEER: not the public proxy configured")?);
    assert_eq!(house.count("private", CONNECTED)?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_stolen_a_terminals_keys_and_not_its_proxys_is_sent_away() -> Result<()> {
    let house = house(&[IMPATIENT], &[("private.key", "other.key")]).await?;
    assert!(is_refused(&house).await?);
    assert!(1 <= house.count("private", CONNECTED)?, "any key may shake hands");
    let told = "RB-PEER: who dials back is not the private_proxy configured, or not by its service's tunnel";
    assert!(1 <= house.count("public", told)?, "and none but one is let in");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_takes_tls_only_obeys_no_signal_that_asks_for_quic() -> Result<()> {
    let house = house(&[IMPATIENT], &[("tunnel = \"quic\"\n", "")]).await?;
    assert!(is_refused(&house).await?);
    assert!(1 <= house.count("private", "not obeyed")?);
    assert_eq!(house.count("private", CONNECTED)?, 0);
    Ok(())
}

/// Gives up early where nobody dials back who could be served.
const IMPATIENT: (&str, &str) = ("linger_seconds = 0", "linger_seconds = 0\nanswer_seconds = 5");

/// How many sockets the proxies have.
fn sockets(house: &House) -> Result<Vec<usize>> {
    ["private", "public"]
        .into_iter()
        .map(|role| {
            let files = std::fs::read_dir(format!("/proc/{}/fd", house.pid(role)?))?;
            let links = files.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
            Ok(links.filter(|it| it.to_string_lossy().starts_with("socket:")).count())
        })
        .collect()
}
