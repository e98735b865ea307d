//! `ringback connect` through the real proxies: what a key reaches, end to end and otherwise, and
//! what the terminal's own side has to say about it.

mod pair;

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use pair::{House, TERMINALS, converse};
use ringback::limits::HELLO_PATIENCE;
use ringback::tunnel::{Asks, Dialer, Identity};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const ALL: [&str; 3] = ["operator", "private", "public"];

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_each_way_arrive_whole_by_sms_and_by_standby() -> Result<()> {
    let house = House::open(&["lee", "mallory"], &ALL).await?;
    let input: Vec<u8> =
        (0..10 << 20).map(|it: u32| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (time, service) in ["car7.fleet.example:2", "car7.fleet.example:2", "car7.fleet.example:1"]
        .into_iter()
        .enumerate()
    {
        let output = house.say("lee", service, &input).await?;
        assert!(output.status.success(), "{service}: {}", words(&output));
        assert!(output.stdout == input, "{} octets came back", output.stdout.len());
        let seen = house.seen(1 + time).await?;
        assert!(seen.iter().all(|it| it.whole && it.octets == input));
        if time == 0 {
            house.says("private", "dialed back", 2).await?;
        }
    }
    assert_eq!(house.sms()?, 2, "one of each level; the second came by the standby");
    let log = std::fs::read_to_string(house.path("public.log"))?;
    assert!(!log.contains("\"level\":\"ERROR\""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminals_side_has_the_last_word() -> Result<()> {
    let house = House::open(&["lee", "mallory"], &ALL).await?;
    // Listed at the public proxy, and not at the terminal; then by a standby.
    for _ in 0..2 {
        for service in [2, 4, 5] {
            let to = format!("car7.fleet.example:{service}");
            let output = house.say("mallory", &to, b"let me in").await?;
            assert_eq!(failed(&output)?["code"], "RB-NOT-GRANTED", "{to}: {}", words(&output));
            assert_eq!(output.status.code(), Some(77));
            assert!(output.stdout.is_empty());
        }
    }
    assert!(house.sms()? <= 3, "a refusal leaves the tunnel standing by");
    assert_eq!(house.seen(0).await?.len(), 0, "no server was connected to");

    // Who is granted by the terminal's side is served by the same tunnels.
    for service in [2, 4] {
        let to = format!("car7.fleet.example:{service}");
        let output = house.say("lee", &to, b"it is me").await?;
        assert_eq!(output.stdout, b"it is me", "{to}: {}", words(&output));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_to_a_key_is_told_like_one_that_does_not_exist() -> Result<()> {
    let house = House::open(&["lee", "stranger"], &ALL).await?;
    let known = std::fs::read_to_string(house.path("car7.fleet.example.toml"))?;
    let unknown = known.replace("car7.fleet.example", "car9.fleet.example");
    std::fs::write(house.path("car9.fleet.example.toml"), unknown)?;
    let mut told = Vec::new();
    for name in ["car7.fleet.example:1", "car7.fleet.example:4", "car9.fleet.example:2"] {
        let output = house.say("stranger", name, b"").await?;
        assert_eq!(output.status.code(), Some(69));
        told.push((output.stdout, output.stderr));
    }
    assert_eq!(told[0], told[2]);
    assert_eq!(told[1], told[2]);
    assert!(String::from_utf8_lossy(&told[0].1).contains("RB-UNKNOWN"));
    assert_eq!(house.sms()?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_is_told_who_was_proved_end_to_end() -> Result<()> {
    let house = House::open(&["lee", "mallory"], &ALL).await?;
    let output = house.say("mallory", "car7.fleet.example:3", b"hello").await?;
    assert!(output.status.success(), "{}", words(&output));
    let seen = house.seen(1).await?;
    let told = &seen[0].octets;
    assert!(told.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"), "{told:?}");
    assert!(told.ends_with(b"\xe0\x00\x07mallory\xe1\x00\x0aend-to-endhello"), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_cut_never_looks_like_one_that_has_ended() -> Result<()> {
    for (service, victim) in [(2, "public"), (2, "private"), (1, "public"), (1, "private")] {
        let mut house = House::open(&["lee"], &ALL).await?;
        let to = format!("car7.fleet.example:{service}");
        let mut child =
            house.connect("lee", &["--contacts", ".", &to]).kill_on_drop(true).spawn()?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        let mut stdout = child.stdout.take().context("no stdout")?;
        stdin.write_all(b"ping").await?;
        let mut pong = [0; 4];
        timeout(pair::PATIENCE, stdout.read_exact(&mut pong)).await??;
        house.kill(victim).await?;
        // The client's own end comes after the cut: it must not make it look whole.
        let output = timeout(pair::PATIENCE, child.wait_with_output()).await??;
        assert_eq!(output.status.code(), Some(74), "{victim}: {}", words(&output));
        assert_eq!(failed(&output)?["code"], "RB-CUT");
        let seen = house.seen(1).await?;
        assert!(!seen[0].whole && seen[0].octets == b"ping", "{victim}: {:?}", seen[0]);
        drop(stdin);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_port_carries_each_connection_and_resets_what_is_refused() -> Result<()> {
    let house = House::open(&["lee", "mallory"], &ALL).await?;
    for (client, served) in [("lee", true), ("mallory", false)] {
        let words = ["--contacts", ".", "-L", "127.0.0.1:0", "car7.fleet.example:2"];
        let mut child = house.connect(client, &words).kill_on_drop(true).spawn()?;
        let mut told = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let line = timeout(pair::PATIENCE, told.next_line()).await??.context("not listening")?;
        let event: Value = serde_json::from_str(&line)?;
        let address = event["address"].as_str().context("no address")?.to_owned();
        for text in ["one", "two"] {
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            let mut heard = Vec::new();
            let ended = timeout(pair::PATIENCE, stream.read_to_end(&mut heard)).await?;
            assert_eq!(ended.is_ok(), served, "{client}");
            assert_eq!(heard, if served { text.as_bytes() } else { b"" });
        }
        child.kill().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_whole_request_is_ended_like_any_stranger() -> Result<()> {
    let house = House::open(&["lee"], &ALL).await?;
    let server = ringback::keys::read_public_key(&house.path("public.pub"))?;
    let dialer = Dialer::new(Identity::from_pem(&Identity::generate()?)?);
    let begun = Instant::now();
    for (said, limit) in
        [(&b"\x01\x00\x02\x12car7"[..], HELLO_PATIENCE), (b"\x09\0\0\x01", Duration::ZERO)]
    {
        let stream = TcpStream::connect(house.dial_back).await?;
        let mut tunnel = dialer.dial(stream, &server, Asks::Client).await?;
        tunnel.write_all(said).await?;
        tunnel.flush().await?;
        let mut heard = Vec::new();
        let _ = timeout(limit + Duration::from_secs(10), tunnel.read_to_end(&mut heard)).await?;
        assert!(heard.is_empty(), "{heard:?}");
        assert!(limit < begun.elapsed() + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(house.sms()?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_without_the_contacts_key_is_not_spoken_to() -> Result<()> {
    let house = House::open(&["lee"], &ALL).await?;
    let name = TERMINALS[0].0;
    let contact = std::fs::read_to_string(house.path(&format!("{name}.toml")))?;
    let right = std::fs::read_to_string(house.path("public.pub"))?.replace("\r\n", "\n");
    let wrong = std::fs::read_to_string(house.path("private.pub"))?.replace("\r\n", "\n");
    for (from, to, code, exit) in
        [(&right, &wrong, "RB-PEER", 76), (&wrong, &right, "RB-TERMINAL-PEER", 76)]
    {
        assert!(contact.contains(from.as_str()), "{contact}");
        std::fs::write(house.path("other.toml"), contact.replace(from.as_str(), to))?;
        let output = converse(
            house.connect("lee", &["--contact", "other.toml", "car7.fleet.example:2"]),
            b"secret",
        )
        .await?;
        assert_eq!(failed(&output)?["code"], code, "{}", words(&output));
        assert_eq!(output.status.code(), Some(exit));
    }
    assert_eq!(house.seen(0).await?.len(), 0);
    Ok(())
}

fn words(output: &Output) -> String {
    format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// The event that tells why a call has failed.
fn failed(output: &Output) -> Result<Value> {
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told.lines().find(|it| it.contains("\"failed\"")).context("no failure is told")?;
    Ok(serde_json::from_str(line)?)
}
