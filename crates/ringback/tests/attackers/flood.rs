//! A flood of forged signals by real SMS (S6): no dial, no answer, and an honest client is served in
//! its midst as if there were none.

use std::time::Duration;

use anyhow::{Context, Result};
use ringback::keys::{self, TerminalKeys};
use ringback_lab::addresses;
use ringback_proto::access_request::{AccessRequest, Purpose, TunnelType, seal};
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{CallNumber, Callee, ServiceId};
use tokio::time::Instant;

use crate::field::{Field, NAME, Wishes};
use crate::order::{Order, Post, hex};
use crate::scene::SERVER;
use crate::sms::TELL_EACH;

/// How many SMS are forged.
const FORGERIES: usize = 10_000;
/// And how many in a second: far more than an operator carries to one subscriber.
const A_SECOND: u32 = 500;
/// How often the honest client comes meanwhile.
const ACCESSES: usize = 3;
/// What the private proxy says of each.
const HEARD: &str = "\"message\":\"heard\"";
/// How much later than without the flood an honest client may be served.
const LATER: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_client_is_served_amid_forged_sms() -> Result<()> {
    let rogue = "[[operator.accounts]]\nsystem_id = \"rogue\"\npassword = \"field\"\n";
    let wishes = Wishes {
        public: "linger_seconds = 0".into(),
        terminal: "spares = 0".into(),
        operator: format!("delay = {{ kind = \"fixed\", seconds = 0.1 }}\n{rogue}"),
        ..Wishes::default()
    };
    let Some(mut field) = Field::set_up(&wishes).await? else { return Ok(()) };
    std::fs::write(field.path("server.py"), SERVER)?;
    field.start("server", "python3", &["-u", "server.py"], "up").await?;
    let quiet = access(&field).await?;

    std::fs::write(field.path("forgeries"), forgeries(&field)?)?;
    let cpu_before = cpu(&mut field)?;
    let (file, to) = ("forgeries".into(), "+15550100777".into());
    let words = Order::Post(Post { file, to, per_second: A_SECOND }).words()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    field.start("gateway", "env", &words, "attacker posts").await?;
    let mut slowest = Duration::ZERO;
    for part in 1..=ACCESSES {
        // Its words are few: to watch the private proxy's would take the cores from it.
        let far = FORGERIES * part / (ACCESSES + 1) / TELL_EACH;
        field.process("gateway").says_times("attacker has come far", far).await?;
        slowest = slowest.max(access(&field).await?);
        assert_eq!(field.process("gateway").count("attacker posted"), 0, "the flood was over");
    }
    field.process("gateway").says("attacker posted").await?;
    field.process("private").says_times(HEARD, FORGERIES + ACCESSES + 1).await?;
    field.process("private").says_times("\"not obeyed\"", FORGERIES).await?;

    let (dials, sms) = (field.process("private").count("\"step\":\"G\""), field.sms());
    let took = cpu(&mut field)? - cpu_before;
    eprintln!(
        "{FORGERIES} forged SMS took {took:?} of a core; served in {slowest:?}, else {quiet:?}"
    );
    assert!(slowest < quiet + LATER, "{slowest:?} in the flood, {quiet:?} without");
    assert_eq!(dials, ACCESSES + 1, "a forgery was dialed for");
    assert_eq!(sms, FORGERIES + ACCESSES + 1, "a forgery was answered");
    Ok(())
}

/// One access by an honest client, and how long it took.
async fn access(field: &Field) -> Result<Duration> {
    let begun = Instant::now();
    let page = field.curl(&[&format!("http://{NAME}/")]).await?;
    anyhow::ensure!(page == "5.4 mmol/l", "{page}");
    Ok(begun.elapsed())
}

/// Signals of the right form and key id that nobody sealed: half are random, half a good one spoiled.
fn forgeries(field: &Field) -> Result<String> {
    let key = TerminalKeys::read(&field.path("patient.public.keys"))?.sealing()?;
    let request = AccessRequest {
        purpose: Purpose::Access,
        tunnel: TunnelType::Tls,
        seq: 1,
        issued: 1_800_000_000,
        ttl_seconds: 60,
        service: ServiceId(1),
        public_proxy: (addresses::PUBLIC, 7443).into(),
        callee: Callee::Number(CallNumber::parse("+15550100777")?),
        key: Secret::new(keys::random()?),
    };
    let (good, _) = seal(&request, &key, keys::random()?)?;
    let mut lines = Vec::with_capacity(FORGERIES);
    for number in 0..FORGERIES {
        let (mut forged, chance) = (good.octets().to_vec(), keys::random::<128>()?);
        if number % 2 == 0 {
            let random = forged[5..].iter_mut().zip(chance);
            random.for_each(|(octet, random)| *octet = random);
        } else {
            let at = 5 + usize::from(chance[0]) % (forged.len() - 5);
            forged[at] ^= 1 << (chance[1] % 8);
        }
        lines.push(hex(&forged));
    }
    Ok(lines.join("\n"))
}

/// What the private proxy has had of the cores, all its threads together.
fn cpu(field: &mut Field) -> Result<Duration> {
    let pid = field.process("private").child.id().context("it has ended")?;
    let mut all = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = stat.split(' ').next().context("no schedstat")?;
        all += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(all)
}
