//! The SMPP bearer against message centers that share no code with it.
//!
//! `cargo xtask peers` installs them; without them these tests say that they were skipped, or fail
//! if `RINGBACK_PEERS=require`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ringback_bearer::{Bearer, Body, Delivery, Failure, Message, Receiver, Transmitter, smpp};
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::terminal::{CallNumber, Callee};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every octet once, in two messages.
const OCTETS: [u8; 128] = {
    let mut octets = [0; 128];
    let mut at = 0;
    while at < 128 {
        octets[at] = (at as u8).wrapping_mul(2).wrapping_add(1);
        at += 1;
    }
    octets
};

const TEXT: &str = "RB*-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\
                    !\"#%&'()*+,-./:;<=>? RB*-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh";

#[tokio::test]
async fn text_and_octets_arrive_unchanged_by_way_of_node_smpp() {
    let Some(center) = Center::node(&[]).await else { return };
    assert_unchanged(&center).await;
}

#[tokio::test]
async fn text_and_octets_arrive_unchanged_by_way_of_smpp34() {
    let Some(center) = Center::smpp34().await else { return };
    assert_unchanged(&center).await;
}

#[tokio::test]
async fn a_throttling_center_gets_every_message_in_the_end() {
    let Some(center) = Center::node(&[("RATE", "20".into())]).await else { return };
    let (public, mut private) = (Party::start(&center, "public"), Party::start(&center, "private"));
    private.bound(&public).await;

    let start = Instant::now();
    let rings: Vec<_> = (0..30).map(|_| public.transmitter.ring(message(text("RB")))).collect();
    for mut story in rings {
        let step = soon(story.next()).await;
        assert!(matches!(step, Some(Delivery::Submitted { .. })), "{step:?}");
        private.hear().await;
    }
    assert!(Duration::from_secs(1) <= start.elapsed(), "nothing was throttled: the test is void");
    public.end().await;
    private.end().await;
}

#[tokio::test]
async fn a_restarted_center_is_found_again() {
    let Some(mut center) = Center::node(&[]).await else { return };
    let (public, mut private) = (Party::start(&center, "public"), Party::start(&center, "private"));
    private.bound(&public).await;

    center.child.kill().await.unwrap();
    center = Center::node_on(center.port, &[]).await.unwrap();
    // What was on its way into the dead connection is unknown; it is ours to ring again.
    private.bound(&public).await;
    drop(center);
    public.end().await;
    private.end().await;
}

#[tokio::test]
async fn an_unknown_number_fails_for_ever() {
    let Some(center) = Center::node(&[]).await else { return };
    let public = Party::start(&center, "public");
    let to = Callee::Number(CallNumber::parse("+999").unwrap());
    let mut story = public.transmitter.ring(Message { to, ..message(text("RB")) });
    let Some(Delivery::Failed(failure)) = soon(story.next()).await else { panic!("not refused") };
    assert!(failure.is_permanent(), "{failure}");
    assert_eq!(soon(story.next()).await, None);
    public.end().await;
}

#[tokio::test]
async fn a_center_that_speaks_tls_is_reached_if_it_is_trusted_and_only_then() {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let file = |name: &str| peers.join(name).to_str().unwrap().to_owned();
    let tls = [("TLS_KEY", file("center.key.pem")), ("TLS_CERT", file("center.cert.pem"))];
    let Some(center) = Center::node(&tls).await else { return };

    let mut trusting = config(&center, "public");
    let certificate = CertificateDer::from_pem_file(peers.join("center.cert.pem")).unwrap();
    trusting.hosts[0].tls = Some(trust(&[certificate]));
    let mut doubting = config(&center, "public");
    doubting.hosts[0].tls = Some(trust(&[]));

    let to_private = Message { valid_for: Duration::from_secs(1), ..message(text("RB")) };
    let doubter = Party::with(doubting);
    let mut story = doubter.transmitter.ring(to_private.clone());
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Expired)));
    let truster = Party::with(trusting);
    let mut story = truster.transmitter.ring(to_private);
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    doubter.end().await;
    truster.end().await;
}

#[tokio::test]
#[ignore = "a measurement: `cargo xtask bench smpp`"]
async fn how_many_submissions_in_a_second_beside_other_clients() {
    const COUNT: u32 = 20_000;
    let Some(center) = Center::node(&[("LOSE", u32::MAX.to_string())]).await else { return };
    let rate = async |program: &Path, name: &str| {
        let mut command = Command::new(program);
        command.env("NODE_PATH", installed("node_modules/smpp").unwrap().parent().unwrap());
        command.arg(script(name)).args([center.port.to_string(), COUNT.to_string()]);
        let told = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
        told.trim().parse::<f64>().unwrap_or_else(|_| panic!("{name} told {told:?}"))
    };
    let python = installed("venv/bin/python").unwrap();
    println!("| submissions a second, window 10 | run 1 | run 2 | run 3 | beside ours |");
    println!("|---|--:|--:|--:|--:|");
    let (mut ours, mut node, mut smpplib) = ([0.0; 3], [0.0; 3], [0.0; 3]);
    for run in 0..3 {
        ours[run] = our_rate(&center, COUNT).await;
        node[run] = rate(Path::new("node"), "node_rate.js").await;
        smpplib[run] = rate(&python, "smpplib_rate.py").await;
    }
    let middle = |mut runs: [f64; 3]| {
        runs.sort_by(f64::total_cmp);
        runs[1]
    };
    for (name, runs) in [("this bearer", ours), ("node-smpp", node), ("smpplib", smpplib)] {
        let [one, two, three] = runs;
        let ratio = middle(runs) / middle(ours);
        println!("| {name} | {one:.0} | {two:.0} | {three:.0} | {ratio:.2} |");
    }
}

/// Submissions in a second of one bearer whose window is always full.
async fn our_rate(center: &Center, count: u32) -> f64 {
    let mut config = config(center, "public");
    config.account.bind.role = Role::Transmitter;
    let public = Party::with(config);
    let ring = || public.transmitter.ring(message(Body::Binary(vec![7; 110])));
    assert!(matches!(soon(ring().next()).await, Some(Delivery::Submitted { .. })));
    let start = Instant::now();
    let (mut under_way, mut kept) = (VecDeque::new(), VecDeque::new());
    for sent in 0..count + 20 {
        if sent < count {
            under_way.push_back(ring());
        }
        if sent < 20 {
            continue;
        }
        let mut story = under_way.pop_front().unwrap();
        let step = soon(story.next()).await;
        assert!(matches!(step, Some(Delivery::Submitted { .. })), "{step:?}");
        kept.push_back(story);
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    public.end().await;
    rate
}

async fn assert_unchanged(center: &Center) {
    let (public, mut private) = (Party::start(center, "public"), Party::start(center, "private"));
    private.bound(&public).await;
    let inverse = OCTETS.map(|it| it.wrapping_sub(1)).to_vec();
    for body in [text(TEXT), Body::Binary(OCTETS.to_vec()), Body::Binary(inverse)] {
        let octets = match &body {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Binary(octets) => octets.clone(),
        };
        let mut story = public.transmitter.ring(message(body));
        let step = soon(story.next()).await;
        assert!(matches!(step, Some(Delivery::Submitted { .. })), "{step:?}");
        assert_eq!(private.hear().await, octets);
        assert_eq!(soon(story.next()).await, Some(Delivery::Delivered), "the receipt");
        assert_eq!(soon(story.next()).await, None);
    }
    public.end().await;
    private.end().await;
}

/// One bearer, started.
struct Party {
    transmitter: Transmitter,
    receiver: Receiver,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Party {
    fn start(center: &Center, name: &str) -> Self {
        Self::with(config(center, name))
    }

    fn with(config: smpp::Config) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (transmitter, receiver, _) = Bearer::Smpp(config).start(&tasks, shutdown.clone());
        Self { transmitter, receiver, tasks, shutdown }
    }

    /// Rings until one arrives: then both are bound.
    async fn bound(&mut self, other: &Self) {
        soon(async {
            loop {
                let mut story = other.transmitter.ring(message(text("RB-hello")));
                // Failed: the other account has not bound yet, and this center stores nothing.
                match story.next().await {
                    Some(Delivery::Submitted { .. }) => break,
                    Some(Delivery::Failed(_) | Delivery::Unknown) => {}
                    step => panic!("{step:?}"),
                }
            }
        })
        .await;
        assert_eq!(self.hear().await, b"RB-hello");
    }

    async fn hear(&mut self) -> Vec<u8> {
        let heard = soon(self.receiver.hear()).await.unwrap();
        assert_eq!(heard.to, "+15550100777");
        heard.octets
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.tasks.close();
        soon(self.tasks.wait()).await;
    }
}

/// A foreign message center, running.
struct Center {
    child: Child,
    port: u16,
}

impl Center {
    async fn node(env: &[(&str, String)]) -> Option<Self> {
        Self::node_on(0, env).await
    }

    async fn node_on(port: u16, env: &[(&str, String)]) -> Option<Self> {
        let modules = installed("node_modules/smpp")?.parent()?.to_owned();
        let mut command = Command::new("node");
        command.env("NODE_PATH", modules).arg(script("node_center.js")).arg(port.to_string());
        command.envs(env.iter().cloned());
        Some(Self::run(command).await)
    }

    async fn smpp34() -> Option<Self> {
        let mut command = Command::new(installed("venv/bin/python")?);
        command.arg(script("smpp34_center.py"));
        Some(Self::run(command).await)
    }

    async fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon(lines.next_line()).await.unwrap().expect("the peer ended at once");
        let port = line.strip_prefix("port ").unwrap().parse().unwrap();
        Self { child, port }
    }
}

fn installed(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("peers").join(what);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
    assert!(!required, "{} is missing: run `cargo xtask peers`", path.display());
    println!("skipped: {} is missing: run `cargo xtask peers`", path.display());
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

fn config(center: &Center, name: &str) -> smpp::Config {
    let bind = Bind {
        role: Role::Transceiver,
        system_id: Text::new(name).unwrap(),
        password: Password::new("secret").unwrap(),
        system_type: Text::default(),
    };
    let address = format!("localhost:{}", center.port);
    let mut config = smpp::Config::new(address, bind, Address::parse("70707").unwrap());
    config.account.per_second = 100_000;
    config.account.rest = (Duration::from_millis(20), Duration::from_millis(200));
    config
}

fn trust(roots: &[CertificateDer<'static>]) -> smpp::Tls {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    smpp::Tls { config: Arc::new(config), name: ServerName::try_from("localhost").unwrap() }
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

fn message(body: Body) -> Message {
    let to = Callee::Number(CallNumber::parse("+15550100777").unwrap());
    Message { to, body, valid_for: Duration::from_secs(60) }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("within thirty seconds")
}
