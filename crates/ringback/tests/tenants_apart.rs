//! Goal S8: tenants at one public proxy. Whatever one's key, password or token asks of the other's
//! terminals is told nothing and rings nobody; one's spending and waiting take nothing from the other;
//! and of many requests at once, none reaches the other's server.
//!
//! That a private proxy is not let in with another tenant's session is shown by the attackers' tests.

mod fleet;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet::client::{Told, ask, connect, get, hear};
use fleet::{Fleet, Tenant, basic, name, password, private};
use ringback_proto::limits::{TENANT_SHARE, WAITING_CLIENTS};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Whoever is let in is called the same by both tenants: what counts is whose it is.
const GUARDED: &[(&str, &str)] = &[
    ("http = true\nlevel = \"http\"\nusers = \"{tenant}.users\"", ""),
    (
        "raw = \"{raw}\"\nlevel = \"knock\"\nusers = \"{tenant}.users\"\n\
      [[terminal.service.client]]\nname = \"lee\"\nkey = \"{tenant}-client.pub\"",
        "",
    ),
    (
        "level = \"end-to-end\"\n\
      [[terminal.service.client]]\nname = \"lee\"\nkey = \"{tenant}-client.pub\"",
        "level = \"end-to-end\"\n\
      [[terminal.service.client]]\nname = \"lee\"\nkey = \"{tenant}-client.pub\"",
    ),
];
const OPEN: &[(&str, &str)] = &[("http = true", "")];
const CLOSED: [Tenant; 2] = [
    Tenant { name: "ada", terminals: 1, budget: "", terminal: "", services: GUARDED },
    Tenant { name: "bob", terminals: 1, budget: "", terminal: "", services: GUARDED },
];
/// Where the other tenant's user comes from: what is good there is remembered.
const ADA: Ipv4Addr = Ipv4Addr::new(127, 3, 0, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(127, 3, 0, 2);
const PAGE: &str = "/.well-known/ringback/knock";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_one_tenant_has_opens_no_door_of_the_other() -> Result<()> {
    let fleet = Fleet::open(&CLOSED, "").await?;
    let (theirs, nobody) = (name("bob", 0), "bob9.localhost".to_owned());
    fleet.write_contacts(&theirs, &nobody).await?;

    // A key tells nobody whether a terminal exists that is closed to it.
    let mut cases = 0;
    let services = ["", ":1", ":2", ":3"];
    // Whoever connects must say to which of several services.
    for (words, services) in [(&["--knock"][..], &services[..]), (&[], &services[1..])] {
        for service in services {
            let mut told = Vec::new();
            for host in [&theirs, &nobody] {
                let output = fleet.connect("ada", words, &format!("{host}{service}")).await?;
                ensure!(output.status.code() == Some(69), "{words:?} {service}: {output:?}");
                told.push((output.stdout, String::from_utf8(output.stderr)?));
            }
            assert_eq!(told[0], told[1], "{words:?} {service}");
            assert!(told[0].1.contains("RB-UNKNOWN"), "{told:?}");
            cases += 1;
        }
    }

    // Who has opened a port of its own tenant has opened no other.
    for (own, other) in [(0, 1), (1, 0)] {
        let (from, tenant) = ([ADA, BOB][own], CLOSED[own].name);
        let shown = basic("lee", &password(tenant));
        let page = get(&name(tenant, 0), PAGE, &[("Authorization", &shown)]);
        let heard = String::from_utf8(hear(from, fleet.http, &page).await?)?;
        ensure!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
        assert_eq!(ask(from, fleet.raw[other][0], "").await?, Told::Reset);
        cases += 1;
    }
    // A credential of the other tenant's users is worth what a made-up one is.
    let theirs = &*theirs;
    let made_up = [basic("lee", "guess"), "Bearer guess".to_owned()];
    let of_ada = [basic("lee", &password("ada")), fleet.bearer("ada")?];
    for (foreign, made_up) in of_ada.iter().zip(&made_up) {
        for target in ["/", PAGE] {
            let asked = |shown: &String| get(theirs, target, &[("Authorization", shown)]);
            assert_alike(fleet.http, &asked(foreign), &asked(made_up)).await?;
            cases += 1;
        }
        for port in 1..=4 {
            let field = "Proxy-Authorization";
            let asked = |shown: &String| connect(theirs, port, &[(field, shown)], "");
            assert_alike(fleet.proxy, &asked(foreign), &asked(made_up)).await?;
            cases += 1;
        }
    }
    for port in 1..=4 {
        let foreign = socks(theirs, port, &password("ada"));
        assert_alike(fleet.proxy, &foreign, &socks(theirs, port, "guess")).await?;
        cases += 1;
    }

    assert_eq!(fleet.sms()?, 0);
    println!("{cases} ways to the other tenant's terminal, and no SMS");

    assert_open_to_their_own(&fleet, theirs).await?;
    fleet.assert_quiet_logs()
}

/// The doors that were tried open to whom they belong.
async fn assert_open_to_their_own(fleet: &Fleet, theirs: &str) -> Result<()> {
    let served = |target: &str| Told::Served(format!("bob {target}"));
    let inside = get(theirs, "/raw", &[]);
    assert_eq!(ask(BOB, fleet.raw[1][0], &inside).await?, served("/raw"));
    let shown = fleet.bearer("bob")?;
    let (own, through) = (("Authorization", &*shown), ("Proxy-Authorization", &*shown));
    assert_eq!(ask(BOB, fleet.http, &get(theirs, "/http", &[own])).await?, served("/http"));
    let inside = connect(theirs, 1, &[through], &get(theirs, "/in", &[]));
    assert_eq!(ask(BOB, fleet.proxy, &inside).await?, served("/in"));
    let output = fleet.connect("bob", &[], &format!("{theirs}:3")).await?;
    ensure!(String::from_utf8_lossy(&output.stdout).ends_with("bob /key"), "{output:?}");
    Ok(())
}

impl Fleet {
    /// Both contacts, of a terminal that there is and of one that there is not.
    async fn write_contacts(&self, there: &str, nobody: &str) -> Result<()> {
        let contact = self.told(&["contact", "--config", "public.toml", there]).await?;
        std::fs::write(self.path(&format!("{there}.toml")), &contact)?;
        let contact = contact.replace(there, nobody);
        Ok(std::fs::write(self.path(&format!("{nobody}.toml")), contact)?)
    }

    /// `ringback connect` with a tenant's key.
    async fn connect(
        &self,
        tenant: &str,
        words: &[&str],
        to: &str,
    ) -> Result<std::process::Output> {
        let key = format!("{tenant}-client.key");
        let common = ["connect", "--json", "--key", &key, "--contacts", "."];
        self.run(&[&common[..], words, &[to]].concat(), &get("anything", "/key", &[])).await
    }
}

/// Both are told the same, to the octet, and are not let in.
async fn assert_alike(door: SocketAddr, foreign: &str, made_up: &str) -> Result<()> {
    let mut told = Vec::new();
    for (from, said) in [(ADA, foreign), (fresh_source(), made_up)] {
        let heard = hear(from, door, said).await?;
        ensure!(!heard.is_empty(), "{said:?} was told nothing");
        told.push(String::from_utf8_lossy(&heard).into_owned());
    }
    assert_eq!(told[0], told[1]);
    let refused = [
        "HTTP/1.1 400",
        "HTTP/1.1 401",
        "HTTP/1.1 407",
        "HTTP/1.1 403",
        "HTTP/1.1 502",
        "\x05\x02\x01\0\x05",
    ];
    ensure!(refused.iter().any(|it| told[0].starts_with(it)), "{told:?}");
    Ok(())
}

/// An address that nobody has come from; each of many at once is of another network, as far as there are.
fn fresh_source() -> Ipv4Addr {
    use std::sync::atomic::{AtomicU16, Ordering};
    static LAST: AtomicU16 = AtomicU16::new(0);
    let [high, low] = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 4, low, 1 + high)
}

/// SOCKS5 with a password, all at once.
fn socks(host: &str, port: u16, password: &str) -> String {
    let length = |text: &str| char::from(text.len() as u8);
    let login = format!("\x01\x03lee{}{password}", length(password));
    let [high, low] = port.to_be_bytes().map(char::from);
    format!("\x05\x01\x02{login}\x05\x01\0\x03{}{host}{high}{low}", length(host))
}

/// One tenant has two rings a day and nobody who answers them; its terminals have room for more clients
/// than its share.
const SPENT: [Tenant; 3] = [
    Tenant {
        name: "ada",
        terminals: 2,
        budget: "rings_per_day = 2",
        terminal: LONG,
        services: OPEN,
    },
    Tenant { name: "bob", terminals: 1, budget: "", terminal: LONG, services: OPEN },
    Tenant { name: "eve", terminals: 2, budget: "", terminal: LONG, services: OPEN },
];
const LONG: &str = "spares = 0\nwaiting = 4096\nanswer_seconds = 120";
const NO_LIMIT: &str = "linger_seconds = 0\n[budget]\nterminal_per_5_minutes = 0\nsource_per_hour = 0\n\
     breaker_unanswered = 0\nwaiting_per_source = 16384";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_has_spent_all_and_fills_its_room_takes_nothing_from_another() -> Result<()> {
    const SHARE: usize = WAITING_CLIENTS / TENANT_SHARE;
    const TOO_MANY: usize = 100;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    if maximum.is_some_and(|it| it < 3 * SHARE as u64) {
        eprintln!("skipped: needs a hard limit of {} open files", 3 * SHARE);
        return Ok(());
    }
    let mut fleet = Fleet::open(&SPENT, NO_LIMIT).await?;
    let without = visit(&fleet, "bob", 0).await?;

    for _ in 0..2 {
        visit(&fleet, "ada", 0).await?;
    }
    for terminal in [0, 1] {
        let told = ask(fresh_source(), fleet.http, &get(&name("ada", terminal), "/", &[])).await?;
        ensure!(
            matches!(&told, Told::Refused(code, Some(_)) if code == "RB-BUDGET-TENANT"),
            "{told:?}"
        );
    }
    let spent = visit(&fleet, "bob", 0).await?;

    // Nobody answers the third one any more: its clients wait, as many as its share.
    fleet.kill(&private(&SPENT[2])).await?;
    let mut waiting = JoinSet::new();
    for client in 0..SHARE + TOO_MANY {
        let (from, http) = (Ipv4Addr::new(127, 5, (client % 250) as u8, 1), fleet.http);
        let request = get(&name("eve", client % 2), "/", &[]);
        waiting.spawn(async move { ask(from, http, &request).await });
    }
    for _ in 0..TOO_MANY {
        let told = waiting.join_next().await.context("they are all gone")???;
        assert_eq!(told, Told::Refused("RB-BUSY".to_owned(), Some(5)));
    }
    let full = visit(&fleet, "bob", 0).await?;
    println!(
        "an access takes {without:.2?}; {spent:.2?} beside a tenant that has spent all, {full:.2?} beside one with {SHARE} clients that wait"
    );
    for it in [spent, full] {
        assert!(it < without + Duration::from_secs(1), "{it:?} instead of {without:?}");
    }
    ensure!(waiting.try_join_next().is_none(), "its clients do not wait any more");
    waiting.shutdown().await;
    fleet.assert_quiet_logs()
}

/// How long an access takes.
async fn visit(fleet: &Fleet, tenant: &str, terminal: usize) -> Result<Duration> {
    let begun = Instant::now();
    let told = ask(fresh_source(), fleet.http, &get(&name(tenant, terminal), "/", &[])).await?;
    assert_eq!(told, Told::Served(format!("{tenant} /")));
    Ok(begun.elapsed())
}

const MIXED: [Tenant; 2] = [
    Tenant { name: "ada", terminals: 10, budget: "", terminal: SHARED, services: OPEN },
    Tenant { name: "bob", terminals: 10, budget: "", terminal: SHARED, services: OPEN },
];
const SHARED: &str = "waiting = 4096\nanswer_seconds = 120";

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_at_once_each_reaches_the_server_of_its_own_tenant() -> Result<()> {
    const REQUESTS: usize = 2_000;
    let unlimited = NO_LIMIT.replace("linger_seconds = 0", "linger_seconds = 10\nworkers = 3");
    let fleet = Fleet::open(&MIXED, &unlimited).await?;
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..REQUESTS {
        let (tenant, terminal) = (MIXED[number % 2].name, number / 2 % 10);
        let (host, target) = (name(tenant, terminal), format!("/{number}"));
        let (door, request) = match number / 20 % 2 {
            0 => (fleet.http, get(&host, &target, &[])),
            _ => (fleet.proxy, connect(&host, 1, &[], &get(&host, &target, &[]))),
        };
        let from = fresh_source();
        clients.spawn(async move { (tenant, target, ask(from, door, &request).await) });
    }
    let mut refused = BTreeMap::<String, usize>::new();
    while let Some(ended) = clients.join_next().await {
        let (tenant, target, told) = ended?;
        match told? {
            Told::Served(by) => assert_eq!(by, format!("{tenant} {target}"), "crossed"),
            Told::Refused(code, _) => *refused.entry(code).or_default() += 1,
            other @ (Told::Reset | Told::Ended) => panic!("{tenant} {target}: {other:?}"),
        }
    }
    let (took, sms) = (begun.elapsed(), fleet.sms()?);
    println!(
        "{REQUESTS} requests of two tenants in {took:.1?} for {sms} SMS, refused: {refused:?}"
    );
    assert!(refused.is_empty(), "{refused:?}");
    assert!(sms < REQUESTS / 2, "{sms} SMS: nothing was shared, so nothing could cross");
    fleet.assert_quiet_logs()
}
