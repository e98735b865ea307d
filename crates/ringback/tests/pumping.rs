//! Goal S5: SMS pumping. A hundred thousand connects from a thousand addresses to a hundred terminals
//! cost what the budgets allow, to the SMS, through a kill of the public proxy in their midst; whoever
//! shows no credential costs nothing, and whoever has one is served as if nobody else were there.

mod fleet;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleet::client::{Told, ask, get, hear};
use fleet::{Fleet, Tenant, basic, name, password};
use ringback::limits::FAILURES;
use serde_json::Value;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How many connects there are, in all.
const CONNECTS: usize = 100_000;
/// How many addresses they come from. The first of them alone visits the terminals of `lone`.
const SOURCES: usize = 1_000;
/// How many connect at the same time.
const AT_ONCE: usize = 200;
/// Which addresses guess; each does oftener than it may.
const GUESSERS: usize = 300;
/// How many SMS there are when the public proxy is killed: about half of all.
const SMS_AT_KILL: usize = 60;

/// Calls that a terminal, a source and the tenant `few` may cost.
const BY_TERMINAL: usize = 3;
const BY_SOURCE: usize = 10;
const BY_TENANT: usize = 40;

/// One client waits for one terminal, so that none shares a call with another and each call is an SMS.
const ALONE: &str = "waiting = 1\nspares = 0";
const OPEN: &[(&str, &str)] = &[("http = true", "")];
const GUARDED: &[(&str, &str)] = &[
    ("http = true\nlevel = \"http\"\nusers = \"{tenant}.users\"", ""),
    ("raw = \"{raw}\"\nlevel = \"knock\"\nusers = \"{tenant}.users\"", ""),
];
/// Those who need a credential; those whose terminals, whose tenant, whose one visitor has a limit.
const TENANTS: [Tenant; 4] = [
    Tenant { name: "guarded", terminals: 50, budget: "", terminal: ALONE, services: GUARDED },
    Tenant { name: "many", terminals: 20, budget: "", terminal: ALONE, services: OPEN },
    Tenant {
        name: "few",
        terminals: 20,
        budget: "rings_per_day = 40",
        terminal: ALONE,
        services: OPEN,
    },
    Tenant { name: "lone", terminals: 10, budget: "", terminal: ALONE, services: OPEN },
];
/// The budgets are those by default, spelled out.
const PUBLIC: &str =
    "linger_seconds = 0\n[budget]\nterminal_per_5_minutes = 3\nsource_per_hour = 10\n";

/// What became of the connects of one kind: served, reset, or a code.
type Tally = BTreeMap<String, usize>;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_connects_cost_what_the_budgets_allow_and_delay_nobody() -> Result<()> {
    let mut fleet = Fleet::open(&TENANTS, PUBLIC).await?;
    let authorized =
        get(&name("guarded", 0), "/in", &[("Authorization", &fleet.bearer("guarded")?)]);
    let without = access(&fleet, &authorized).await?;

    let flood = Arc::new(Flood::new(&fleet));
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        workers.spawn(flood.clone().work());
    }

    // The public proxy dies in the midst, while some of its clients are held.
    fleet.says("operator", "sms accepted", SMS_AT_KILL).await?;
    let closed = flood.gate.write().await;
    fleet.kill("public").await?;
    let charged_at_kill = charged(&fleet.budget().await?);
    fleet.start("public").await?;
    // What was charged and had not reached the operator never will.
    let lost = charged_at_kill - fleet.sms()?;
    let before = (fleet.descriptors()?, fleet.resident_kib()?.0);
    knock(&fleet).await?;
    drop(closed);

    let mut among = Vec::new();
    for part in [3, 6] {
        flood.reaches(part * CONNECTS / 10).await?;
        among.push(access(&fleet, &authorized).await?);
        among.push(access_raw(&fleet).await?);
    }
    let most = flood.next.load(Ordering::Relaxed);
    ensure!(most < CONNECTS, "the flood was over before all were served in its midst");
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    let took = begun.elapsed();

    let (spent, tallies) = (fleet.budget().await?, flood.tallies());
    let (after, (resident, peak)) = settled(&fleet, before.0).await?;
    let rate = CONNECTS as f64 / took.as_secs_f64();
    println!(
        "{CONNECTS} connects in {took:.1?}: {rate:.0} in a second, {lost} SMS lost by the kill"
    );
    println!("an access takes {without:.2?} without them, {among:.2?} among them");
    println!("descriptors {} → {after}, KiB {} → {resident}, {peak} at most", before.0, before.1);
    for (kind, tally) in &tallies {
        println!("{kind:?}: {tally:?}");
    }
    assert_eq!(tallies.values().flat_map(Tally::values).sum::<usize>(), CONNECTS);
    assert_costs(&spent, fleet.sms()? + lost, 1 + among.len())?;
    assert_told(&tallies);
    for it in among {
        assert!(it < without + Duration::from_secs(1), "{it:?} instead of {without:?}");
    }
    assert!(after <= before.0 + 8, "descriptors: {} → {after}", before.0);
    assert!(resident <= before.1 + 64 * 1024, "KiB: {} → {resident}", before.1);
    fleet.assert_quiet_logs()
}

/// Every budget is spent to the last, and what was spent is what the operator has carried.
fn assert_costs(spent: &Value, sms: usize, accesses: usize) -> Result<()> {
    assert_eq!(charged(spent), sms, "{spent}");
    let calls = |tenant: &str| -> Result<Vec<usize>> {
        let terminals = spent["terminals"].as_array().context("terminals")?.iter();
        let of = |it: &&Value| it["name"].as_str().is_some_and(|it| it.starts_with(tenant));
        let used = terminals.filter(of).map(|it| number(&it["per_5_minutes"]["used"]));
        Ok(used.collect())
    };
    assert_eq!(calls("guarded")?.iter().sum::<usize>(), accesses, "without a credential: {spent}");
    assert_eq!(calls("many")?, vec![BY_TERMINAL; TENANTS[1].terminals], "{spent}");
    assert_eq!(calls("lone")?.iter().sum::<usize>(), BY_SOURCE, "{spent}");
    assert!(calls("few")?.iter().all(|it| *it <= BY_TERMINAL), "{spent}");
    assert_eq!(rings(spent, "few"), BY_TENANT, "{spent}");
    assert_eq!(rings(spent, "guarded"), accesses, "{spent}");
    Ok(())
}

/// Whoever shows nothing, or the wrong thing, is told so, and nothing else; whoever may ring is served
/// or told which limit is met. What is reset but at a closed port was under way at the kill.
fn assert_told(tallies: &BTreeMap<Kind, Tally>) {
    for (kind, always, at_times) in [
        (Kind::Nothing, &["RB-UNAUTHORIZED"][..], &[][..]),
        (Kind::Wrong, &["RB-UNAUTHORIZED", "RB-LOCKED-OUT"], &["RB-BUSY"]),
        (Kind::Unarmed, &["RESET"], &[]),
        (Kind::Terminal, &["SERVED", "RB-BUDGET-TERMINAL"], &["RB-BUSY"]),
        (Kind::Tenant, &["SERVED", "RB-BUDGET-TENANT"], &["RB-BUSY", "RB-BUDGET-TERMINAL"]),
        (Kind::Source, &["SERVED", "RB-BUDGET-CLIENT"], &["RB-BUSY", "RB-BUDGET-TERMINAL"]),
    ] {
        let tally = &tallies[&kind];
        let known = |it: &String| *it == "RESET" || [always, at_times].concat().contains(&&**it);
        assert!(tally.keys().all(known), "{kind:?}: {tally:?}");
        assert!(always.iter().all(|it| tally.contains_key(*it)), "{kind:?}: {tally:?}");
        let reset = tally.get("RESET").copied().unwrap_or_default();
        assert!(kind == Kind::Unarmed || reset <= AT_ONCE, "{kind:?}: {tally:?}");
    }
    let guesses = tallies[&Kind::Wrong]["RB-UNAUTHORIZED"];
    let before_and_after = 2 * GUESSERS * (FAILURES as usize + AT_ONCE);
    assert!(guesses <= before_and_after, "{guesses} guesses");
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Shows no credential.
    Nothing,
    /// Shows a wrong one.
    Wrong,
    /// Comes to a port that nobody has opened for it.
    Unarmed,
    /// May ring, as often as the terminal may be rung.
    Terminal,
    /// May ring, as often as the tenant can pay.
    Tenant,
    /// May ring, as often as its address may.
    Source,
}

impl Kind {
    fn of(connect: usize) -> Self {
        match connect % 10 {
            0 => Self::Nothing,
            1 | 2 => Self::Wrong,
            3 | 4 => Self::Unarmed,
            5 | 6 => Self::Terminal,
            7 | 8 => Self::Tenant,
            _ => Self::Source,
        }
    }
}

/// All the connects: which is next, and what became of those before.
struct Flood {
    next: AtomicUsize,
    /// Closed while there is no public proxy to connect to.
    gate: RwLock<()>,
    tallies: Mutex<BTreeMap<Kind, Tally>>,
    http: std::net::SocketAddr,
    raw: Vec<std::net::SocketAddr>,
}

impl Flood {
    fn new(fleet: &Fleet) -> Self {
        let (http, raw) = (fleet.http, fleet.raw[0].clone());
        let (next, gate, tallies) = (AtomicUsize::new(0), RwLock::default(), Mutex::default());
        Self { next, gate, tallies, http, raw }
    }

    async fn work(self: Arc<Self>) -> Result<()> {
        loop {
            drop(self.gate.read().await);
            let connect = self.next.fetch_add(1, Ordering::Relaxed);
            if CONNECTS <= connect {
                return Ok(());
            }
            let (kind, told) = (Kind::of(connect), self.connect(connect).await);
            let outcome = match told.with_context(|| format!("connect {connect}"))? {
                Told::Served(_) => "SERVED".to_owned(),
                Told::Reset => "RESET".to_owned(),
                // Whoever has said nothing yet sees an end when the whole process dies, and only then.
                Told::Ended if self.gate.try_read().is_err() => "RESET".to_owned(),
                Told::Ended => bail!("connect {connect} was ended without a word"),
                Told::Refused(code, after) => {
                    ensure!(is_told_when(&code, after), "{code}: Retry-After {after:?}");
                    code
                }
            };
            let mut tallies = self.tallies.lock().expect("no panic while held");
            *tallies.entry(kind).or_default().entry(outcome).or_default() += 1;
        }
    }

    async fn connect(&self, connect: usize) -> Result<Told> {
        let (kind, each) = (Kind::of(connect), connect / 10);
        let source = match kind {
            Kind::Source => 0,
            Kind::Wrong => 1 + each % GUESSERS,
            Kind::Nothing | Kind::Unarmed | Kind::Terminal | Kind::Tenant => {
                1 + connect * 7_919 % (SOURCES - 1)
            }
        };
        let from = Ipv4Addr::new(127, 1, (source % 100) as u8, (1 + source / 100) as u8);
        let [wrong_password, wrong_token] = [basic("lee", "guess"), "Bearer guess".to_owned()];
        let (tenant, shown) = match kind {
            Kind::Nothing => (0, None),
            Kind::Wrong if each % 8 == 0 => (0, Some(wrong_password)),
            Kind::Wrong => (0, Some(wrong_token)),
            Kind::Unarmed => return ask(from, self.raw[each % self.raw.len()], "").await,
            Kind::Terminal => (1, None),
            Kind::Tenant => (2, None),
            Kind::Source => (3, None),
        };
        let Tenant { name: tenant, terminals, .. } = TENANTS[tenant];
        let shown = shown.as_deref().map(|it| ("Authorization", it));
        let request = get(&name(tenant, each % terminals), "/", shown.as_slice());
        ask(from, self.http, &request).await
    }

    /// Waits until so many connects have begun.
    async fn reaches(&self, connects: usize) -> Result<()> {
        let waiting = async {
            while self.next.load(Ordering::Relaxed) < connects {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(120), waiting).await.context("the flood does not flow")
    }

    fn tallies(&self) -> BTreeMap<Kind, Tally> {
        self.tallies.lock().expect("no panic while held").clone()
    }
}

/// Whoever can do nothing but wait is told for how long, and never longer than a budget's window.
fn is_told_when(code: &str, after: Option<u64>) -> bool {
    let most = match code {
        "RB-BUSY" => 5,
        "RB-BUDGET-TERMINAL" | "RB-LOCKED-OUT" => 300,
        "RB-BUDGET-CLIENT" => 3_600,
        "RB-BUDGET-TENANT" => 86_400,
        _ => return after.is_none(),
    };
    after.is_some_and(|it| (1..=most).contains(&it))
}

/// How long it takes until a client with a credential is served.
async fn access(fleet: &Fleet, request: &str) -> Result<Duration> {
    let begun = Instant::now();
    let told = ask(Ipv4Addr::LOCALHOST, fleet.http, request).await?;
    assert_eq!(told, Told::Served("guarded /in".to_owned()));
    Ok(begun.elapsed())
}

/// Logs in on the page of a terminal with a port of its own.
async fn knock(fleet: &Fleet) -> Result<()> {
    let shown = basic("lee", &password("guarded"));
    let page = "/.well-known/ringback/knock";
    let request = get(&name("guarded", 1), page, &[("Authorization", &shown)]);
    let heard = String::from_utf8(hear(Ipv4Addr::LOCALHOST, fleet.http, &request).await?)?;
    ensure!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    Ok(())
}

/// How long it takes until whoever has logged in is served by that port.
async fn access_raw(fleet: &Fleet) -> Result<Duration> {
    let begun = Instant::now();
    let request = get("anything", "/raw", &[]);
    let told = ask(Ipv4Addr::LOCALHOST, fleet.raw[0][1], &request).await?;
    assert_eq!(told, Told::Served("guarded /raw".to_owned()));
    Ok(begun.elapsed())
}

/// What the public proxy weighs once it is rid of all clients, or when time is up.
async fn settled(fleet: &Fleet, descriptors: usize) -> Result<(usize, (u64, u64))> {
    let until = Instant::now() + Duration::from_secs(20);
    while descriptors < fleet.descriptors()? && Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
    }
    Ok((fleet.descriptors()?, fleet.resident_kib()?))
}

/// How many signals were paid for in all.
fn charged(spent: &Value) -> usize {
    TENANTS.iter().map(|it| rings(spent, it.name)).sum()
}

fn rings(spent: &Value, tenant: &str) -> usize {
    let tenants = spent["tenants"].as_array().into_iter().flatten();
    let of = tenants.filter(|it| it["name"] == tenant);
    of.map(|it| number(&it["rings_per_day"]["used"])).sum()
}

fn number(value: &Value) -> usize {
    value.as_u64().and_then(|it| it.try_into().ok()).unwrap_or_default()
}
