//! Signals that the client itself sends, by an account of its own with the operator: the public
//! proxy seals them, sends nothing and pays nothing.

mod pair;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pair::{House, PATIENCE, TERMINALS, converse};
use ringback::keys;
use ringback::tunnel::{Asks, Dialer, Talk};
use ringback_bearer::smpp::Config;
use ringback_bearer::{Bearer, Body, Delivery, Message};
use ringback_proto::door::{Errand, Reply, Request, Want};
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::terminal::{ServiceId, TerminalName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const TO: &str = "car7.fleet.example:2";
const NUMBER: &str = "15550100777";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_rings_by_itself_and_the_public_proxy_neither_sends_nor_pays() -> Result<()> {
    let house = house().await?;
    let input: Vec<u8> = (0..1 << 20).map(|it: u32| (it >> 7) as u8).collect();
    let output = ring(&house, "lee", "smpp", "own.toml", &input).await?;
    assert!(output.status.success(), "{}", words(&output));
    assert!(output.stdout == input, "{} octets came back", output.stdout.len());
    let stages = stages(&output)?;
    let told = ["connecting", "asking", "ringing", "ringing by smpp", "sent", "answered"];
    assert_eq!(stages, [&told[..], &["end to end"]].concat());
    assert_eq!(submitted(&house)?, (1, 0), "by the client, by the public proxy");
    assert_eq!(house.count("public", "submitted")?, 0);

    let spent = budget(&house).await?;
    let tenant = &spent["tenants"][0];
    assert_eq!(tenant["money_per_day"]["used"], "0.00", "{spent}");
    assert_eq!(tenant["rings_per_day"]["used"], 1, "and yet it counts: {spent}");
    assert_eq!(spent["terminals"][0]["per_hour"]["used"], 1);

    // What stands by serves without any signal, and the client's bearer need not even work.
    house.says("private", "dialed back", 2).await?;
    let output = ring(&house, "lee", "smpp", "dead.toml", b"again").await?;
    assert_eq!(output.stdout, b"again", "{}", words(&output));
    assert_eq!(self::stages(&output)?, ["connecting", "asking", "ringing", "end to end"]);
    assert_eq!(submitted(&house)?, (1, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ring_by_itself_is_told_so_and_never_the_number() -> Result<()> {
    let house = house().await?;
    let output = ring(&house, "mallory", "smpp", "own.toml", b"").await?;
    assert_eq!(failed(&output)?["code"], "RB-NO-OWN-RING", "{}", words(&output));
    assert_eq!(output.status.code(), Some(77));
    assert!(!words(&output).contains(NUMBER) && output.stdout.is_empty());
    // Nor is it rung for in another way.
    assert_eq!(submitted(&house)?, (0, 0));

    let unlike = ring(&house, "lee", "modem", "own.toml", b"").await?;
    assert_eq!(unlike.status.code(), Some(64), "{}", words(&unlike));
    let honest = house.say("mallory", "car7.fleet.example:6", b"as ever").await?;
    assert_eq!(honest.stdout, b"as ever", "{}", words(&honest));
    assert_eq!(submitted(&house)?, (0, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_bearer_cannot_send_is_told_so_at_once() -> Result<()> {
    let house = house().await?;
    let output = ring(&house, "lee", "smpp", "dead.toml", b"").await?;
    assert_eq!(failed(&output)?["code"], "RB-NOT-RUNG", "{}", words(&output));
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(submitted(&house)?, (0, 0));
    // Its terminal is none the worse for it.
    let output = ring(&house, "lee", "smpp", "own.toml", b"now").await?;
    assert_eq!(output.stdout, b"now", "{}", words(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_cannot_have_a_client_ring_whom_its_file_does_not_list() -> Result<()> {
    let house = house().await?;
    let own = std::fs::read_to_string(house.path("own.toml"))?;
    std::fs::write(house.path("barred.toml"), format!("only_to = [\"+49\"]\n{own}"))?;
    let output = ring(&house, "lee", "smpp", "barred.toml", b"").await?;
    assert_eq!(failed(&output)?["code"], "RB-NOT-RUNG", "{}", words(&output));
    assert_eq!(output.status.code(), Some(69));
    assert!(!words(&output).contains(NUMBER));
    assert_eq!(submitted(&house)?, (0, 0));

    std::fs::write(house.path("listed.toml"), format!("only_to = [\"+1555\"]\n{own}"))?;
    let output = ring(&house, "lee", "smpp", "listed.toml", b"now").await?;
    assert_eq!(output.stdout, b"now", "{}", words(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_sends_is_handed_three_signals_and_then_refused() -> Result<()> {
    let house = house().await?;
    let mut talk = asks_to_ring(&house).await?;
    let mut errands = Vec::new();
    let told = loop {
        match timeout(PATIENCE, talk.frame(Reply::decode)).await?? {
            Reply::Ring(errand) => errands.push(errand),
            Reply::Refused(told) => break told,
            Reply::Ringing(_) => {}
            other @ (Reply::Accepted | Reply::Armed(_)) => anyhow::bail!("{other:?}"),
        }
    };
    assert_eq!(told.code, "RB-NO-ANSWER");
    assert_eq!(errands.len(), 3, "as often as the ladder would ring, and no more");
    assert_eq!(submitted(&house)?, (0, 0), "nobody sends in its stead");
    let spent = budget(&house).await?;
    assert_eq!(spent["breaker"], serde_json::json!({ "is": "closed", "unanswered": 0 }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_was_handed_opens_nothing_once_it_has_gone() -> Result<()> {
    let house = house().await?;
    let mut talk = asks_to_ring(&house).await?;
    let errand = loop {
        if let Reply::Ring(errand) = timeout(PATIENCE, talk.frame(Reply::decode)).await?? {
            break errand;
        }
    };
    talk.close().await;
    house.says("public", "client left before an answer", 1).await?;
    // Sent twice, it is heard twice, and obeyed once.
    send_twice(&house, &errand).await?;
    house.says("private", "heard", 2).await?;
    house.says("private", "not obeyed", 1).await?;
    house.says("private", "dialed back", 1).await?;
    let log = std::fs::read_to_string(house.path("private.log"))?;
    assert!(log.contains("\"outcome\":\"Gone\""), "nobody waits for it any more");
    assert_eq!(house.count("private", "dialed back")?, 1);
    assert_eq!(house.seen(0).await?.len(), 0, "no server has heard of it");
    Ok(())
}

/// Every role, where `lee` may ring `car7` by itself and `mallory` may not; the client's account.
async fn house() -> Result<House> {
    let mut house = House::open(&["lee", "mallory"], &[]).await?;
    let public = std::fs::read_to_string(house.path("public.toml"))?;
    let lee = "name = \"lee\"\n";
    let public = public
        .replace(lee, &format!("{lee}may_ring = true\n"))
        .replace("system_id = \"public\"\n", "system_id = \"public\"\nprice = \"0.05\"\n")
        .replacen("[public]\n", "[public]\nanswer_seconds = 25\n", 1);
    ensure!(public.contains("may_ring"));
    std::fs::write(house.path("public.toml"), public)?;
    let account = "[[operator.accounts]]\nsystem_id = \"client\"\npassword = \"canary-of-own\"\n";
    let operator = std::fs::read_to_string(house.path("operator.toml"))? + account;
    std::fs::write(house.path("operator.toml"), &operator)?;
    std::fs::write(house.path("own.password"), "canary-of-own")?;
    let secret = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(house.path("own.password"), secret)?;
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    for (file, address) in [("own.toml", operator_address(&house)?), ("dead.toml", nobody)] {
        let bearer = format!(
            "[[bearer]]\nname = \"own\"\nkind = \"smpp\"\naddress = \"{address}\"\n\
             system_id = \"client\"\npassword_file = \"own.password\"\n"
        );
        std::fs::write(house.path(file), bearer)?;
    }
    for role in ["operator", "private", "public"] {
        house.start(role).await?;
    }
    Ok(house)
}

async fn ring(house: &House, client: &str, kind: &str, file: &str, input: &[u8]) -> Result<Output> {
    let words = ["--contacts", ".", "--ring-with", kind, "--bearer", file, TO];
    converse(house.connect(client, &words), input).await
}

/// As `lee`, who has said what it wants and nothing more.
async fn asks_to_ring(house: &House) -> Result<Talk> {
    let lee = keys::read_identity(&house.path("lee.key"))?;
    let server = keys::read_public_key(&house.path("public.pub"))?;
    let stream = TcpStream::connect(house.dial_back).await?;
    let mut talk = Talk::new(Dialer::new(lee).dial(stream, &server, Asks::Client).await?);
    let name = TerminalName::parse(TERMINALS[0].0)?;
    let request = Request { want: Want::RingNumber, service: Some(ServiceId(2)), name };
    talk.say(&request.encode()).await?;
    Ok(talk)
}

/// Sends what a client was handed, by its own account.
async fn send_twice(house: &House, errand: &Errand) -> Result<()> {
    let bind = Bind {
        role: Role::Transceiver,
        system_id: Text::new("client").context("an id")?,
        password: Password::new("canary-of-own").context("a password")?,
        system_type: Text::new("").context("a type")?,
    };
    let source = Address::parse("").context("an address")?;
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let bearer = Bearer::Smpp(Config::new(operator_address(house)?.to_string(), bind, source));
    let (transmitter, _receiver, _) = bearer.start(&tasks, ended.clone());
    for _ in 0..2 {
        let body = Body::Text(errand.signal.to_text());
        let (to, valid_for) = (errand.to.clone(), Duration::from_secs(60));
        let mut story = transmitter.ring(Message { to, body, valid_for });
        let sent = timeout(PATIENCE, story.next()).await?;
        ensure!(matches!(sent, Some(Delivery::Submitted { .. })), "{sent:?}");
        // Dropped, it would be recalled.
        std::mem::forget(story);
    }
    house.says("private", "heard", 2).await?;
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn operator_address(house: &House) -> Result<SocketAddr> {
    let text = std::fs::read_to_string(house.path("operator.toml"))?;
    let line = text.lines().find_map(|it| it.strip_prefix("listen = "));
    Ok(line.context("no address")?.trim_matches('"').parse()?)
}

/// How many SMS the client has submitted, and how many the public proxy.
fn submitted(house: &House) -> Result<(usize, usize)> {
    let log = std::fs::read_to_string(house.path("operator.log"))?;
    let by = |account: &str| {
        let account = format!("\"account\":\"{account}\"");
        let accepted = |it: &&str| it.contains("\"sms accepted\"") && it.contains(&account);
        log.lines().filter(accepted).count()
    };
    Ok((by("client"), by("public")))
}

/// What `ringback budget` says.
async fn budget(house: &House) -> Result<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.args(["budget", "--json", "--config"]).arg(house.path("public.toml"));
    let output = command.output().await?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The stages that a client has told.
fn stages(output: &Output) -> Result<Vec<String>> {
    let told = String::from_utf8_lossy(&output.stderr);
    let events = told.lines().map(serde_json::from_str::<Value>);
    let events: Vec<Value> = events.collect::<serde_json::Result<_>>()?;
    Ok(events.iter().filter_map(|it| it["stage"].as_str().map(str::to_owned)).collect())
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
