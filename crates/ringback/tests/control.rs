//! What a running role is asked by its own operator: real processes on loopback.

mod house;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use house::{BINARY, House, NAME};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(40);
const SERVICE: &str = "id = 1\nport = 80\nhttp = true\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_by_a_route_is_told_stage_by_stage_with_its_cost_and_its_answer_time() -> Result<()>
{
    let house = priced().await?;
    let rung = ringback(&house, &["ring", "--config", "public.toml", NAME, "--json"]).await?;
    ensure!(rung.status.success(), "{rung:?}");
    let told = stages(&rung)?;
    let names: Vec<&str> = told.iter().filter_map(|it| it["event"].as_str()).collect();
    // The operator's word that it arrived may come after the dial-back.
    let certain: Vec<&str> = names.iter().copied().filter(|it| *it != "delivered").collect();
    assert_eq!(certain, ["rung", "submitted", "answered", "reachable"], "{told:?}");
    assert_eq!(told[0]["cost"], "0.045");
    assert_eq!((&told[0]["route"], &told[0]["place"]), (&"sms".into(), &1.into()));
    let answered = told.iter().find(|it| it["event"] == "answered").context("answered")?;
    let seconds = answered["seconds"].as_f64().context("a number")?;
    ensure!((0.3..20.0).contains(&seconds), "the operator takes 0.3 s: {seconds}");
    assert_eq!(house.sms()?, 1);

    for route in ["1", "sms"] {
        let words = ["ring", "--config", "public.toml", NAME, "--route", route];
        let rung = ringback(&house, &words).await?;
        let told = String::from_utf8_lossy(&rung.stdout).into_owned();
        ensure!(rung.status.success(), "{rung:?}");
        ensure!(
            told.contains("it costs 0.045 EUR") && told.contains("dialed back after"),
            "{told}"
        );
        ensure!(!told.contains('\x1b') && rung.stderr.is_empty(), "{rung:?}");
    }
    // The second route costs more, and is rung although the first is at hand.
    let words = ["ring", "--config", "public.toml", NAME, "--route", "2", "--json"];
    let second = &stages(&ringback(&house, &words).await?)?[0];
    assert_eq!((&second["route"], &second["cost"]), (&"second".into(), &"0.10".into()));
    let spent = ringback(&house, &["budget", "--json", "--config", "public.toml"]).await?;
    let spent: Value = serde_json::from_slice(&spent.stdout)?;
    assert_eq!(spent["tenants"][0]["money_per_day"]["used"], "0.235", "{spent}");
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_cannot_be_made_says_why_and_sends_nothing() -> Result<()> {
    let mut house = priced().await?;
    let ring = ["ring", "--config", "public.toml"];
    for (words, code, exit) in [
        (&["nobody.localhost"][..], "RB-UNKNOWN", 69),
        (&[NAME, "--route", "3"], "RB-ROUTE", 64),
        (&[NAME, "--route", "0"], "RB-ROUTE", 64),
        (&[NAME, "--route", "pigeon"], "RB-ROUTE", 64),
        (&[NAME, "--service", "9"], "RB-NO-SERVICE", 69),
    ] {
        fails(&house, &[&ring, words].concat(), code, exit).await?;
    }
    assert_eq!(house.sms()?, 0);

    rewrite(&house, "public.toml", "rings_per_day = 0", "rings_per_day = 1")?;
    house.restart("public").await?;
    house.assert_serves().await?;
    fails(&house, &[&ring, &[NAME][..]].concat(), "RB-BUDGET-TENANT", 75).await?;
    assert_eq!(house.sms()?, 1);

    house.end("public").await?;
    fails(&house, &[&ring, &[NAME][..]].concat(), "RB-NOT-RUNNING", 69).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_lost_and_a_service_that_refuses_are_told_apart() -> Result<()> {
    let mut house = priced().await?;
    let ring = ["ring", "--config", "public.toml", NAME];
    house.end("readings").await?;
    let rung = fails(&house, &ring, "RB-TERMINAL-REFUSED", 75).await?;
    ensure!(rung.contains("dialed back after"), "{rung}");

    rewrite(&house, "operator.toml", "loss = 0.0", "loss = 1.0")?;
    house.restart("operator").await?;
    house.restart("public").await?;
    house.says("public", "bound", 2).await?;
    let rung = fails(&house, &ring, "RB-NO-ANSWER", 75).await?;
    ensure!(rung.contains("submitted") && !rung.contains("dialed back"), "{rung}");
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_owner_is_listened_to_and_garbage_harms_nothing() -> Result<()> {
    let house = priced().await?;
    let socket = house.path("public-state/control");
    let mode = |it| std::fs::metadata(it).map(|it| it.permissions().mode() & 0o777);
    assert_eq!(mode(socket.clone())?, 0o600);
    assert_eq!(mode(house.path("public-state"))?, 0o700);

    let garbage = [&b"\n"[..], b"{}\n", b"{\"ask\":\"stop\"}\n", b"\xff\xfe\n", &[b'['; 4096][..]];
    for octets in garbage {
        let mut stream = UnixStream::connect(&socket)?;
        // It may have hung up before the last octet.
        let _ = stream.write_all(octets);
        let mut told = String::new();
        let _ = stream.read_to_string(&mut told);
        ensure!(octets.len() == 4096 || told.contains("RB-CONTROL"), "{told}");
    }
    // Silent ones and more of them than there is room for: each is dropped in its time.
    let silent: Vec<_> = (0..10).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    let rung = ringback(&house, &["ring", "--config", "public.toml", NAME]).await?;
    ensure!(rung.status.success(), "{rung:?}");
    drop(silent);

    // A role that rings nobody does not ring.
    let mut stream = UnixStream::connect(house.path("private-state/control"))?;
    stream.write_all(b"{\"ask\":\"ring\",\"terminal\":\"patient.localhost\"}\n")?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    ensure!(told.contains("rings nobody"), "{told}");

    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // Were the folder and the socket open to everybody, their kernel would still tell who asks.
    for (path, mode) in [(house.folder.path().into(), 0o755), (house.path("public-state"), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666))?;
    let script = "use IO::Socket::UNIX; $SIG{PIPE} = q(IGNORE); \
                  $it = IO::Socket::UNIX->new(Peer => shift) or die $!; \
                  print $it \"{\\\"ask\\\":\\\"health\\\"}\\n\"; print <$it>;";
    let mut foreign = Command::new("/usr/bin/perl");
    foreign.args(["-e", script]).arg(&socket).uid(65_534).gid(65_534);
    let foreign = timeout(PATIENCE, foreign.output()).await??;
    let told = String::from_utf8_lossy(&foreign.stdout);
    ensure!(told.contains("runs as another user") && !told.contains("health"), "{foreign:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_a_running_role_and_looks_itself_where_none_runs() -> Result<()> {
    let mut house = priced().await?;
    for role in ["public", "private"] {
        house.says(role, "bound", if role == "public" { 2 } else { 1 }).await?;
        let words = ["doctor", "--json", "--config", &format!("{role}.toml")];
        let told: Value = serde_json::from_slice(&ringback(&house, &words).await?.stdout)?;
        assert_eq!(check(&told, "sms", "bind")?["tone"], "good", "{told}");
        let process = check(&told, "proxy", "process")?["text"].to_string();
        ensure!(process.contains(&house.pid(role)?.to_string()), "{told}");

        house.end(role).await?;
        let told: Value = serde_json::from_slice(&ringback(&house, &words).await?.stdout)?;
        assert_eq!(check(&told, "sms", "bind")?["tone"], "good", "{told}");
        ensure!(
            check(&told, "proxy", "process")?["text"].to_string().contains("not run"),
            "{told}"
        );
        assert_eq!(check(&told, "machine", "clock")?["tone"], "good");
        assert_eq!(check(&told, "machine", "state")?["tone"], "good");
    }
    house.end("operator").await?;
    let dead = ringback(&house, &["doctor", "--config", "public.toml"]).await?;
    let told = String::from_utf8_lossy(&dead.stdout);
    assert_eq!(dead.status.code(), Some(1), "{told}");
    ensure!(told.contains("no connection") && told.contains("2 bad"), "{told}");
    ensure!(dead.stderr.is_empty() && !told.contains('\x1b'), "{dead:?}");
    let offline = ringback(&house, &["doctor", "--offline", "--config", "public.toml"]).await?;
    let told = String::from_utf8_lossy(&offline.stdout);
    ensure!(offline.status.success() && !told.contains("sms"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_takes_no_message_from_anybody() -> Result<()> {
    let mut house = House::empty().await?;
    // An operator that accepts and says nothing keeps the doctor looking for a while.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let table = format!(
        "[[bearer]]\nname = \"mute\"\nkind = \"smpp\"\naddress = \"{}\"\nsystem_id = \"private\"\n\
         password_file = \"smpp.password\"\n",
        silent.local_addr()?
    );
    house.carried.private.push_str(&table);
    house.fill(SERVICE).await?;
    house.end("private").await?;
    let words = ["ring", "--config", "public.toml", NAME];
    let mut ring = Command::new(BINARY);
    ring.args(words).current_dir(house.folder.path()).kill_on_drop(true);
    let ring = ring.stdout(std::process::Stdio::piped()).spawn()?;
    house.says("operator", "sms accepted", 1).await?;

    let looked = ringback(&house, &["doctor", "--json", "--config", "private.toml"]).await?;
    let told: Value = serde_json::from_slice(&looked.stdout)?;
    assert_eq!(check(&told, "sms", "bind")?["tone"], "good", "{told}");
    assert_eq!(house.count("operator", "sms delivered")?, 0, "it was left with the operator");
    assert_eq!(house.count("operator", "sms lost")?, 0);

    house.begin("private").await?;
    let rung = timeout(PATIENCE, ring.wait_with_output()).await??;
    ensure!(rung.status.success(), "{rung:?}");
    assert_eq!(house.sms()?, 1);
    Ok(())
}

/// A house whose rings cost something, and whose clients wait no longer than they must.
async fn priced() -> Result<House> {
    let mut house = House::empty().await?;
    let first = format!("{}price = \"0.045\"\n", house.carried.public);
    let second = first.replace("\"sms\"", "\"second\"").replace("0.045", "0.1");
    house.carried.public = first + &second;
    house.carried.routes.push_str("[[terminal.route]]\nbearer = \"second\"\n");
    house.fill(SERVICE).await?;
    rewrite(&house, "public.toml", "[budget]\n", "[budget]\ncurrency = \"EUR\"\n")?;
    rewrite(&house, "public.toml", "[public]\n", "[public]\nanswer_seconds = 8\n")?;
    house.restart("public").await?;
    Ok(house)
}

fn rewrite(house: &House, file: &str, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(house.path(file))?;
    ensure!(text.contains(from), "{file} has no {from}");
    Ok(std::fs::write(house.path(file), text.replacen(from, to, 1))?)
}

async fn ringback(house: &House, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(BINARY);
    command.args(words).current_dir(house.folder.path()).kill_on_drop(true);
    Ok(timeout(PATIENCE, command.output()).await??)
}

/// What is told, for people, of a command that fails with a code.
async fn fails(house: &House, words: &[&str], code: &str, exit: i32) -> Result<String> {
    let failed = ringback(house, words).await?;
    let told = String::from_utf8_lossy(&failed.stderr);
    ensure!(told.starts_with(&format!("error: {code}: ")), "{words:?}: {failed:?}");
    ensure!(failed.status.code() == Some(exit), "{words:?}: {failed:?}");
    Ok(String::from_utf8_lossy(&failed.stdout).into_owned())
}

fn stages(rung: &Output) -> Result<Vec<Value>> {
    let lines = rung.stdout.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    lines.map(|it| Ok(serde_json::from_slice(it)?)).collect()
}

fn check<'a>(told: &'a Value, of: &str, what: &str) -> Result<&'a Value> {
    let checks = told["checks"].as_array().context("no checks")?;
    let found = checks.iter().find(|it| it["of"] == of && it["what"] == what);
    found.with_context(|| format!("nothing of {of}'s {what} in {told}"))
}
