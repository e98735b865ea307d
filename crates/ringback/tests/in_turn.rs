//! Tunnels used in turn: what the second client costs, what a cut takes with it, and what `bare` changes.

mod house;

use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use house::House;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SPLICED: &str = "client spliced";
const BACK: &str = "its session has ended, and it waits for orders";
/// Longer than any test.
const LINGER: &str = "linger_seconds = 600";

/// Both proxies with a server of the test's own, at a raw port; `public` and `private` are what their
/// tables of the service say more.
async fn open(public: &str, private: &str) -> Result<(House, TcpListener)> {
    let mut house = House::empty().await?;
    let server = TcpListener::bind(house.other).await?;
    house.write_files(&format!("id = 2\nport = 22\nraw = \"{}\"\n{public}", house.raw))?;
    let edit = |name: &str, old: &str, new: &str| {
        let file = house.path(name);
        let text = std::fs::read_to_string(&file)?;
        ensure!(text.contains(old), "{name} does not say {old}");
        Ok(std::fs::write(file, text.replacen(old, new, 1))?)
    };
    edit("public.toml", "linger_seconds = 0", LINGER)?;
    let service = "[[terminal.service]]\nid = 2\n";
    edit("private.toml", service, &format!("{service}{private}"))?;
    for role in ["operator", "private", "public"] {
        house.begin(role).await?;
    }
    Ok((house, server))
}

/// How many dial-backs were let in.
fn let_in(house: &House) -> Result<usize> {
    let log = std::fs::read_to_string(house.path("public.log"))?;
    Ok(log.matches("\"step\":\"H\"").count())
}

/// A client and what the server sees of it.
async fn connect(house: &House, server: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(house.raw).await?;
    Ok((client, server.accept().await?.0))
}

/// A session in order, in which either side ends first.
async fn converse(house: &House, server: &TcpListener, client_first: bool) -> Result<()> {
    let (mut one, mut other) = connect(house, server).await?;
    if !client_first {
        std::mem::swap(&mut one, &mut other);
    }
    for octets in [10, 300_000] {
        let said: Vec<u8> = (0..octets).map(|it| (it >> 4) as u8).collect();
        one.write_all(&said).await?;
        one.shutdown().await?;
        let mut heard = Vec::new();
        other.read_to_end(&mut heard).await?;
        ensure!(heard == said, "{} of {octets} octets", heard.len());
        std::mem::swap(&mut one, &mut other);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_costs_neither_an_sms_nor_a_handshake() -> Result<()> {
    for (more, bare) in [("", false), ("bare = true\n", true)] {
        let (house, server) = open(more, more).await?;
        for session in 1..=6 {
            converse(&house, &server, session % 2 == 0).await?;
            house.says("public", BACK, session).await?;
            assert_eq!((house.sms()?, let_in(&house)?), (1, 1), "session {session}");
        }
        let log = std::fs::read_to_string(house.path("public.log"))?;
        let spliced: Vec<&str> = log.lines().filter(|it| it.contains(SPLICED)).collect();
        let carried = format!("\"bare\":{bare}");
        ensure!(
            spliced.len() == 6 && spliced.iter().all(|it| it.contains(&carried)),
            "{spliced:?}"
        );
        house.assert_quiet_logs()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_a_reset_for_both_sides_and_takes_the_tunnel_with_it() -> Result<()> {
    for more in ["", "bare = true\n"] {
        let (house, server) = open(more, more).await?;
        for (rung, client_cuts) in [(1, true), (2, false)] {
            let (mut client, mut served) = connect(&house, &server).await?;
            client.write_all(b"begun").await?;
            served.read_exact(&mut [0; 5]).await?;
            let (gone, mut left) = if client_cuts { (client, served) } else { (served, client) };
            ringback::socket::reset(gone);
            let cut = left.read_to_end(&mut Vec::new()).await.err().context("an end")?;
            assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
            house.says("public", "session ended", rung).await?;
            assert_eq!((house.sms()?, let_in(&house)?), (rung, rung));
        }
        assert_eq!(house.count("public", BACK)?, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_bare_only_if_both_tables_say_so() -> Result<()> {
    for (public, private, warned) in [("bare = true\n", "", 2), ("", "bare = true\n", 0)] {
        let (house, server) = open(public, private).await?;
        // On a fresh tunnel, and on one that stands by.
        for session in 1..=2 {
            converse(&house, &server, true).await?;
            house.says("public", BACK, session).await?;
        }
        let log = std::fs::read_to_string(house.path("public.log"))?;
        assert_eq!(log.matches("RB-BARE").count(), warned);
        ensure!(!log.contains("\"bare\":true"), "downgraded");
    }
    Ok(())
}
