//! Signals of a rogue public proxy, sealed with the right keys, that name what lies inside (S4): not
//! one connection is begun, as the kernel counts them in the private proxy's own namespace.

use anyhow::{Context, Result};
use ringback_lab::addresses;
use ringback_proto::access_request::AccessRequest;

use crate::scene::Scene;

/// Counts every connection that leaves the private proxy, to itself included, but to the SMSC.
const WATCH: &str = "table inet watch {\ncounter begun { }\nchain leaving {\n\
    type filter hook output priority filter; policy accept;\n\
    tcp dport != 2775 tcp flags & (syn | ack) == syn counter name begun\n}\n}";

/// An address that only the private proxy's host has, and that could be anybody's.
const OWN: &str = "198.51.100.77";

/// What is inside, whatever the configuration says of networks. A v4 address has one form in a
/// signal, the mapped one, and `0.0.0.0` and `::` cannot be written in one (docs/protocol.md).
const INSIDE: [&str; 19] = [
    "127.0.0.1:7443",
    "127.0.0.1:22",
    "127.8.9.10:7443",
    "[::1]:7443",
    "100.64.0.2:7443",
    "100.64.0.3:7443",
    "100.65.1.1:7443",
    "10.0.0.1:7443",
    "172.16.0.1:7443",
    "192.168.1.1:7443",
    "169.254.169.254:7443",
    "0.0.0.1:7443",
    "224.0.0.1:7443",
    "255.255.255.255:7443",
    "[fe80::1]:7443",
    "[ff02::1]:7443",
    "[fd00::1]:7443",
    "[64:ff9b::7f00:1]:7443",
    "[2002:7f00:1::1]:7443",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_signal_makes_the_private_proxy_connect_inward() -> Result<()> {
    let Some(mut scene) = Scene::set_up().await? else { return Ok(()) };
    let private = &scene.field.lab.private;
    private.nft(WATCH).await?;
    private.ip(&format!("address add {OWN}/32 dev eth0")).await?;

    // With addresses listed one by one: neither the inside, nor a victim, nor another port.
    let victims = ["203.0.113.20:443", "203.0.113.10:7443", "198.51.100.77:7443"];
    let victims: Vec<&str> = INSIDE.into_iter().chain(victims).collect();
    honest_after(&mut scene, 1, &victims, "may not ring here", victims.len()).await?;
    assert_eq!(scene.rejections().len(), victims.len());

    // With every address there is, at the one port: not the inside, not our own, no other port.
    let every = "networks = [\"0.0.0.0/0:7443\", \"[::/0]:7443\"]\naddresses";
    scene.field.edit("private.toml", "addresses", every)?;
    scene.field.hang_up("private")?;
    scene.field.process("private").says("\"message\":\"reloaded").await?;
    let own = format!("{OWN}:7443");
    let victims = INSIDE.into_iter().chain([own.as_str(), "203.0.113.20:443"]).collect::<Vec<_>>();
    honest_after(&mut scene, 2, &victims, "not listed by itself", INSIDE.len() - 1).await?;
    assert_eq!(scene.field.process("private").count("RB-INSIDE"), 1);
    Ok(())
}

/// Sends those signals, and one honest one after them: only that begins connections, its two.
async fn honest_after(
    scene: &mut Scene,
    number: usize,
    victims: &[&str],
    reason: &str,
    times: usize,
) -> Result<()> {
    let begun = begun(scene).await?;
    let access = scene.access()?;
    let signal = scene.overheard(number).await?;
    let (request, _) = scene.opened(&signal)?;
    let mut signals = Vec::new();
    for (place, address) in (1..).zip(victims) {
        let (public_proxy, seq) = (address.parse()?, request.seq + 100 * number as u32 + place);
        let request = AccessRequest { public_proxy, seq, ..request.clone() };
        signals.push(scene.sealed(&request)?.0);
    }
    let before = scene.rejections().len();
    let ended = scene.field.process("private").count("\"message\":\"dialed back\"");
    scene.deliver(&signals).await?;
    // An own address is told from others only when it is about to be dialed, and so by a dial.
    let own = victims.iter().filter(|it| number == 2 && it.starts_with(OWN)).count();
    let private = scene.field.process("private");
    private.says_times("\"message\":\"not obeyed\"", before + signals.len() - own).await?;
    private.says_times("\"message\":\"dialed back\"", ended + own).await?;
    let told = scene.rejections();
    let told = told[before..].iter().filter(|it| it.contains(reason)).count();
    assert_eq!(told, times, "{:?}", scene.rejections());
    assert_eq!(self::begun(scene).await?, begun, "a connection was begun for a rogue's signal");

    scene.deliver(&[signal]).await?;
    scene.assert_served(access).await?;
    assert_eq!(self::begun(scene).await?, begun + 2, "to the terminal, and to the public proxy");
    Ok(())
}

async fn begun(scene: &Scene) -> Result<u64> {
    let words = ["nft", "list", "counter", "inet", "watch", "begun"];
    let listing = scene.field.lab.private.run(&words).await?;
    let packets = listing.split_whitespace().skip_while(|it| *it != "packets").nth(1);
    packets.context("no count")?.parse().context("no number")
}

#[test]
fn the_public_proxy_of_the_lab_is_none_of_these() {
    let public = format!("{}:7443", addresses::PUBLIC);
    assert!(!INSIDE.contains(&public.as_str()) && !public.contains(OWN));
}
