//! A public proxy that means ill, with every key that the real one has: it reads, alters, exchanges,
//! replays and truncates what passes between the real client and the real private proxy.
//!
//! Each time it is found out: the client ends with a failure, and the server sees neither a forged
//! octet nor an end that the client has not made. Reading yields nothing.

mod intruder;
mod pair;

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use intruder::{Intruder, Mischief, Passed, Way, forward};
use pair::House;
use ringback_proto::gate::Level;
use ringback_proto::hello::Outcome;
use tokio::task::JoinSet;

/// What nobody but the two ends may ever see.
const CANARY: &str = "glucose 5.4 mmol/l";
/// Clients that call at the same time; each has a key of its own.
const LANES: [&str; 4] = ["lee", "lane1", "lane2", "lane3"];
/// Octets of what a client says.
const SAID: usize = 3_000;
/// Reproduces the places that are altered.
const SEED: u64 = 0x5eed_0011;
/// How many alterations and truncations are tried, in each direction.
const ALTERATIONS: usize = 70;
const TRUNCATIONS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_public_proxy_reads_nothing_and_alters_nothing_unnoticed() -> Result<()> {
    let house = Arc::new(House::open(&LANES, &["operator", "private"]).await?);
    let intruder = Arc::new(Intruder::new(&house).await?);

    // Left alone, the session comes to its end: what follows fails for no other reason.
    let honest = attempt(&house, &intruder, 0, "honest", Mischief::None).await?;
    assert!(honest.output.status.success(), "{}", honest.words());
    assert_eq!(honest.output.stdout, said("honest"));
    let lengths = [honest.passed.octets[0].len(), honest.passed.octets[1].len()];
    assert!(lengths.iter().all(|it| SAID < *it), "{lengths:?}");

    let mischiefs = mischiefs(&honest.passed.octets);
    let count = mischiefs.len();
    let mischiefs = Arc::new(mischiefs);
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut lanes = JoinSet::new();
    for lane in 0..LANES.len() {
        let (house, intruder) = (house.clone(), intruder.clone());
        let (mischiefs, next, done) = (mischiefs.clone(), next.clone(), done.clone());
        lanes.spawn(async move {
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                let Some(mischief) = mischiefs.get(case) else { return anyhow::Ok(()) };
                let name = format!("case {case}");
                let attempt = attempt(&house, &intruder, lane, &name, *mischief).await?;
                let context = format!("{mischief:?}: {}", attempt.words());
                // Records may be cut otherwise than in the honest session, and so be fewer octets.
                if !attempt.passed.mischief_done {
                    continue;
                }
                if mischief.is_idle(&attempt.passed) {
                    let same = attempt.output.stdout == said(&name);
                    ensure!(same && attempt.output.status.success(), "altered: {context}");
                    continue;
                }
                ensure!(!attempt.output.status.success(), "not noticed: {context}");
                ensure!(said(&name).starts_with(&attempt.output.stdout), "forged: {context}");
                ensure!(!attempt.passed.reads(CANARY), "read: {context}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    let done = done.load(Ordering::Relaxed);
    assert!(count * 9 / 10 <= done, "{done} of {count}");
    assert!(!honest.passed.reads(CANARY));
    assert_untouched(&house, count).await?;
    eprintln!("{done} mischiefs, seed {SEED:#x}: all noticed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_public_proxy_exchanges_nothing_unnoticed() -> Result<()> {
    let house = Arc::new(House::open(&LANES, &["operator", "private"]).await?);
    let intruder = Intruder::new(&house).await?;
    let mut cases = 0;

    // Another service of the terminal, another terminal of the gateway, both.
    for (terminal, service) in [(0, 3), (0, 6), (1, 2), (1, 3)] {
        let calling = call(&house, 0, "exchanged");
        let serving = async {
            let client = intruder.client(LANES[0]).await?;
            let tunnel = intruder.opened(terminal, service, Level::EndToEnd).await?;
            forward(client, tunnel, Mischief::None).await
        };
        let (output, passed) = tokio::try_join!(calling, serving)?;
        ensure!(!output.status.success(), "terminal {terminal}, service {service}: not noticed");
        ensure!(output.stdout.is_empty() && !passed.reads(CANARY));
        cases += 1;
    }

    // Another client's session: service 2 of the terminal lets in `lee` only.
    let calling = call(&house, 1, "another");
    let serving = async {
        let client = intruder.client(LANES[1]).await?;
        let tunnel = intruder.opened(0, 2, Level::EndToEnd).await?;
        forward(client, tunnel, Mischief::None).await
    };
    let (output, _) = tokio::try_join!(calling, serving)?;
    assert_eq!(output.status.code(), Some(77), "{}", String::from_utf8_lossy(&output.stderr));
    cases += 1;

    // Two sessions of one service, exchanged after so many octets from the client.
    for after in [0, 40, 700, 1_500, 2_500, 4_000] {
        let calls = async { tokio::try_join!(call(&house, 0, "one"), call(&house, 1, "other")) };
        let serving = async {
            let clients = (intruder.client(LANES[0]).await?, intruder.client(LANES[1]).await?);
            let (one, other) = tokio::try_join!(
                intruder.opened(0, 6, Level::EndToEnd),
                intruder.opened(0, 6, Level::EndToEnd)
            )?;
            intruder::exchange(clients, (one, other), after).await
        };
        let ((one, other), ()) = tokio::try_join!(calls, serving)?;
        for (output, name) in [(one, "one"), (other, "other")] {
            // Exchanged before their first octet, nothing has been exchanged: both are one service.
            ensure!(output.status.success() == (after == 0), "{name} after {after}");
            ensure!(said(name).starts_with(&output.stdout), "{name} after {after}: forged");
        }
        cases += 1;
    }

    // What the public proxy says of a client counts for nothing without the client's own key.
    for (service, level) in
        [(2, Level::Open), (2, Level::Mtls), (4, Level::Knock), (5, Level::Open)]
    {
        let outcome = intruder.open(0, service, level).await?.1;
        assert_eq!(outcome, Outcome::NotGranted, "service {service} at {level}");
        cases += 1;
    }
    assert_untouched(&house, 2).await?;
    eprintln!("{cases} exchanges: all noticed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_public_proxy_replays_nothing_and_speaks_for_nobody() -> Result<()> {
    let house = Arc::new(House::open(&LANES, &["operator", "private"]).await?);
    let intruder = Intruder::new(&house).await?;
    let honest = attempt(&house, &intruder, 0, "recorded", Mischief::None).await?;
    assert!(honest.output.status.success(), "{}", honest.words());

    // To a new dial-back: the client's octets, from the first, and the same without the handshake.
    for from in [0, honest.passed.octets[0].len() / 2] {
        let tunnel = intruder.opened(0, 6, Level::EndToEnd).await?;
        intruder::recite(tunnel, &honest.passed.octets[0][from..]).await?;
    }
    // To a new call: the terminal's octets.
    let calling = call(&house, 0, "replayed");
    let serving = async {
        let client = intruder.client(LANES[0]).await?;
        intruder::recite(client, &honest.passed.octets[1]).await
    };
    let (output, ()) = tokio::try_join!(calling, serving)?;
    ensure!(!output.status.success() && output.stdout.is_empty(), "a replay was believed");

    // In clear, to a service that is end to end; and bound to what was never connected.
    let tunnel = intruder.opened(0, 2, Level::EndToEnd).await?;
    intruder::recite(tunnel, CANARY.as_bytes()).await?;
    let (talk, outcome) = intruder.rung(0, 2).await?;
    assert_eq!(outcome, Outcome::NotTried, "a guarded service was connected to");
    intruder::recite(intruder::bound(talk).await?, CANARY.as_bytes()).await?;

    // The server has seen the honest session and not a connection more.
    let seen = house.seen(1).await?;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].whole && seen[0].octets == said("recorded"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_guarded_meanwhile_is_not_bound() -> Result<()> {
    let house = House::open(&["lee"], &["operator", "private"]).await?;
    let intruder = Intruder::new(&house).await?;
    let (open, outcome) = intruder.rung(0, 1).await?;
    assert_eq!(outcome, Outcome::Connected);
    let (late, outcome) = intruder.rung(0, 1).await?;
    assert_eq!(outcome, Outcome::Connected);

    let tunnel = intruder::bound(open).await?;
    house.reload("private", "\nid = 1\n", "\nid = 1\nlevel = \"http\"\n").await?;
    intruder::recite(intruder::bound(late).await?, b"too late").await?;
    assert!(house.seen(1).await?.iter().all(|it| it.octets.is_empty() && !it.whole));
    // A session that runs goes on.
    drop(tunnel);
    Ok(())
}

/// One call, as its client saw it and as the intruder did.
struct Attempt {
    output: Output,
    passed: Passed,
}

impl Attempt {
    fn words(&self) -> String {
        format!("{} {}", self.output.status, String::from_utf8_lossy(&self.output.stderr))
    }
}

async fn attempt(
    house: &House,
    intruder: &Intruder,
    lane: usize,
    name: &str,
    mischief: Mischief,
) -> Result<Attempt> {
    let serving = async {
        let client = intruder.client(LANES[lane]).await?;
        let tunnel = intruder.opened(0, 6, Level::EndToEnd).await?;
        forward(client, tunnel, mischief).await
    };
    let (output, passed) = tokio::try_join!(call_service(house, lane, name, 6), serving)?;
    Ok(Attempt { output, passed })
}

async fn call(house: &House, lane: usize, name: &str) -> Result<Output> {
    let service = if name == "one" || name == "other" || name == "replayed" { 6 } else { 2 };
    call_service(house, lane, name, service).await
}

async fn call_service(house: &House, lane: usize, name: &str, service: u16) -> Result<Output> {
    let to = format!("car7.fleet.example:{service}");
    house.say(LANES[lane], &to, &said(name)).await.context("the call")
}

/// What a client says: its own name first, so that no two say the same.
fn said(name: &str) -> Vec<u8> {
    format!("{name}\n").bytes().chain(CANARY.bytes().cycle()).take(SAID).collect()
}

/// Every server saw only beginnings of what some client has said, and an end only behind all of it.
async fn assert_untouched(house: &House, most: usize) -> Result<()> {
    let names = (0..most).map(|it| format!("case {it}"));
    let names = names.chain(["honest", "exchanged", "another", "one", "other"].map(str::to_owned));
    let all: Vec<Vec<u8>> = names.map(|it| said(&it)).collect();
    for seen in house.seen(1).await? {
        let begun = all.iter().find(|it| it.starts_with(&seen.octets));
        let begun = begun.with_context(|| format!("forged: {seen:?}"))?;
        ensure!(!seen.whole || *begun == seen.octets, "an end that no client has made");
    }
    Ok(())
}

/// Places all over a session, in both directions, the first record's head and the last record among
/// them.
fn mischiefs(passed: &[Vec<u8>; 2]) -> Vec<Mischief> {
    let mut chance = SEED;
    let mut draw = |below: usize| {
        // splitmix64
        chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = chance;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((it ^ (it >> 31)) % below as u64) as usize
    };
    let mut mischiefs = Vec::new();
    for (way, octets) in [Way::ToTerminal, Way::ToClient].into_iter().zip(passed) {
        let seeded: Vec<usize> = (0..ALTERATIONS).map(|_| draw(octets.len())).collect();
        let ends = [0, 2, 3, 4, 5, 9, octets.len() - 1, octets.len() - 24];
        for at in seeded.into_iter().chain(ends) {
            let mask = 1 << draw(8);
            mischiefs.push(Mischief::Alter { way, at, mask });
        }
        let seeded: Vec<usize> = (0..TRUNCATIONS).map(|_| draw(octets.len())).collect();
        for at in seeded.into_iter().chain([0, octets.len() - 1, octets.len() - 24]) {
            mischiefs.push(Mischief::Truncate { way, at });
        }
    }
    mischiefs
}
