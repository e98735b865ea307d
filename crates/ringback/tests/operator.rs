//! The simulated operator: with our own bearer at both ends, with foreign ESMEs, and with peers
//! that do not keep to the rules.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ringback::operator::{self, Account, Config, Delay};
use ringback_bearer::{
    Bearer, Body, Delivery, Failure, Health, Message, Receiver, Transmitter, smpp,
};
use ringback_proto::smpp::pdu::{self, Bind, Pdu, Role};
use ringback_proto::smpp::status::Status;
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::smpp::wire::{Framed, Frames};
use ringback_proto::terminal::{CallNumber, Callee};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[path = "operator/accounts.rs"]
mod accounts;
#[path = "operator/kannel.rs"]
mod kannel;

#[tokio::test]
async fn a_message_arrives_with_its_octets_and_its_receipt() {
    let operator = Operator::open(quick()).await;
    let (public, mut private) = (operator.party("public"), operator.party("private"));
    let octets: Vec<u8> = (0..=139).collect();
    for body in [Body::Text("RB*text".into()), Body::Binary(octets)] {
        let expected = match &body {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Binary(octets) => octets.clone(),
        };
        let mut story = public.transmitter.ring(message(body));
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
        let heard = soon(private.receiver.hear()).await.unwrap();
        assert_eq!((heard.octets, heard.from.as_str()), (expected, "70707"));
        assert_eq!(soon(story.next()).await, Some(Delivery::Delivered));
    }
    operator.close([public, private]).await;
}

#[tokio::test]
async fn a_message_for_an_account_that_is_not_bound_waits_for_it() {
    let operator = Operator::open(quick()).await;
    let public = operator.party("public");
    let mut story = public.transmitter.ring(message(Body::Text("RB".into())));
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    let mut private = operator.party("private");
    assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, b"RB");
    operator.close([public, private]).await;
}

#[tokio::test]
async fn a_message_whose_validity_runs_out_is_not_delivered() {
    let operator = Operator::open(quick()).await;
    let public = operator.party("public");
    let short = Message { valid_for: Duration::from_secs(1), ..message(Body::Text("RB".into())) };
    let mut story = public.transmitter.ring(short);
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Undelivered)));

    let mut private = operator.party("private");
    let mut fresh = public.transmitter.ring(message(Body::Text("RB-fresh".into())));
    assert!(matches!(soon(fresh.next()).await, Some(Delivery::Submitted { .. })));
    assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, b"RB-fresh");
    operator.close([public, private]).await;
}

#[tokio::test]
async fn duplicates_arrive_twice_and_lost_messages_never() {
    let operator = Operator::open(Config { duplicates: 1.0, ..quick() }).await;
    let (public, mut private) = (operator.party("public"), operator.party("private"));
    let _story = public.transmitter.ring(message(Body::Text("RB".into())));
    for _ in 0..2 {
        assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, b"RB");
    }
    operator.close([public, private]).await;

    let lossy = Operator::open(Config { loss: 0.5, seed: 3, ..quick() }).await;
    let (public, mut private) = (lossy.party("public"), lossy.party("private"));
    let mut stories = Vec::new();
    for count in 0..40 {
        let body = Body::Text(format!("RB-{count}"));
        let mut story = public.transmitter.ring(message(body));
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
        stories.push(story);
    }
    // The last to arrive cannot be known; that all of them have is what closing tells.
    lossy.shutdown.cancel();
    let mut heard = 0;
    lossy.closed().await;
    private.shutdown.cancel();
    while soon(private.receiver.hear()).await.is_some() {
        heard += 1;
    }
    assert!((10..30).contains(&heard), "{heard} of 40 arrived");
    public.end().await;
    private.end().await;
}

#[tokio::test]
async fn a_throttled_account_submits_everything_in_the_end() {
    let operator = Operator::open(Config { throttle_per_second: Some(10), ..quick() }).await;
    let (public, mut private) = (operator.party("public"), operator.party("private"));
    let start = Instant::now();
    let rings: Vec<_> =
        (0..15).map(|_| public.transmitter.ring(message(Body::Text("RB".into())))).collect();
    for mut story in rings {
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
        assert!(soon(private.receiver.hear()).await.is_some());
    }
    assert!(Duration::from_secs(1) <= start.elapsed(), "nothing was throttled: the test is void");
    operator.close([public, private]).await;
}

#[tokio::test]
async fn what_nobody_has_taken_waits_with_the_operator() {
    const COUNT: usize = 200;
    let operator = Operator::open(quick()).await;
    let (public, mut private) = (operator.party("public"), operator.party("private"));
    let (mut expected, mut stories) = (Vec::new(), Vec::new());
    for count in 0..COUNT {
        let text = format!("RB-{count:03}");
        let mut story = public.transmitter.ring(message(Body::Text(text.clone())));
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
        expected.push(text.into_bytes());
        stories.push(story);
    }
    for expected in expected {
        assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, expected);
    }
    operator.close([public, private]).await;
}

#[tokio::test]
async fn a_ring_that_nobody_wants_any_more_is_never_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let public = Party::start(listener.local_addr().unwrap().port(), "public");
    let unwanted = public.transmitter.ring(message(Body::Text("RB-unwanted".into())));
    let _wanted = public.transmitter.ring(message(Body::Text("RB-wanted".into())));

    // The bearer binds and waits for the answer; meanwhile it takes both orders in.
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let bound = next_pdu(&mut stream).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(unwanted);
    let body = pdu::Body::BindResp(Role::Transceiver, Text::default());
    stream.write_all(&octets(&Pdu::request(bound.sequence, body))).await.unwrap();
    let pdu::Body::SubmitSm(first) = next_pdu(&mut stream).await.body else { panic!("no message") };
    assert_eq!(first.content, b"RB-wanted");
    public.end().await;
}

#[tokio::test]
async fn a_full_queue_refuses_the_newest_at_once() {
    let operator = Operator::open(quick()).await;
    let public = operator.party("public");
    // Nothing is awaited here, so the bearer cannot look at what is ordered.
    let ring = || public.transmitter.ring(message(Body::Text("RB".into())));
    let taken: Vec<_> = (0..ringback_bearer::limits::ORDERS).map(|_| ring()).collect();
    assert_eq!(ring().next().await, Some(Delivery::Failed(Failure::Full)));
    for mut story in taken {
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    }
    operator.close([public]).await;
}

#[tokio::test]
async fn a_bearer_that_has_shut_down_says_so() {
    let operator = Operator::open(quick()).await;
    let mut public = operator.party("public");
    let transmitter = public.transmitter.clone();
    public.shutdown.cancel();
    assert_eq!(soon(public.receiver.hear()).await, None);
    public.end().await;
    let mut story = transmitter.ring(message(Body::Text("RB".into())));
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::ShutDown)));
    operator.close([]).await;
}

#[tokio::test]
async fn what_is_ordered_while_the_bearer_shuts_down_is_refused_and_not_forgotten() {
    let operator = Operator::open(quick()).await;
    let public = operator.party("public");
    public.shutdown.cancel();
    // Nothing is awaited here: all of them are in the queue when the bearer first looks.
    let ring = || public.transmitter.ring(message(Body::Text("RB".into())));
    let stories: Vec<_> = (0..20).map(|_| ring()).collect();
    for mut story in stories {
        assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::ShutDown)));
    }
    public.end().await;
    operator.close([]).await;
}

#[tokio::test]
async fn what_sms_cannot_carry_fails_for_ever() {
    let operator = Operator::open(quick()).await;
    let public = operator.party("public");
    for body in [
        Body::Text("x".repeat(161)),
        Body::Text("tilde~".into()),
        Body::Text("é".into()),
        Body::Binary(vec![0; 141]),
    ] {
        let mut story = public.transmitter.ring(message(body));
        let Some(Delivery::Failed(failure)) = soon(story.next()).await else { panic!("taken") };
        assert!(failure.is_permanent(), "{failure}");
    }
    operator.close([public]).await;
}

#[tokio::test]
async fn two_receivers_of_one_account_take_turns() {
    let operator = Operator::open(quick()).await;
    let public = operator.party("public");
    let (mut one, mut two) = (operator.party("private"), operator.party("private"));
    let (mut ones, mut twos) = (0, 0);
    // Each must have bound before turns can be counted: ring until both have heard one.
    let start = Instant::now();
    while ones == 0 || twos == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "one receiver hears everything");
        let _story = public.transmitter.ring(message(Body::Text("RB".into())));
        tokio::select! {
            heard = soon(one.receiver.hear()) => { heard.unwrap(); ones += 1; }
            heard = soon(two.receiver.hear()) => { heard.unwrap(); twos += 1; }
        }
    }
    (ones, twos) = (0, 0);
    for _ in 0..10 {
        let mut story = public.transmitter.ring(message(Body::Text("RB".into())));
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
        tokio::select! {
            heard = soon(one.receiver.hear()) => { heard.unwrap(); ones += 1; }
            heard = soon(two.receiver.hear()) => { heard.unwrap(); twos += 1; }
        }
    }
    assert_eq!((ones, twos), (5, 5));
    operator.close([public, one, two]).await;
}

#[tokio::test]
async fn a_peer_of_another_protocol_gets_one_refusal_and_is_dropped() {
    let operator = Operator::open(quick()).await;
    let mut stream = operator.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let refusal =
        Pdu { sequence: 0, status: Status::INVALID_COMMAND_LENGTH, body: pdu::Body::GenericNack };
    assert_eq!(everything(&mut stream).await, [refusal]);
    operator.close([]).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_connection_closed() {
    let operator = Operator::open(quick()).await;
    for (name, password, status) in [
        ("public", "wrong", Status::INVALID_PASSWORD),
        ("nobody", "secret", Status::INVALID_SYSTEM_ID),
    ] {
        let mut stream = operator.connect().await;
        let bind = pdu::Body::Bind(bind(name, password));
        stream.write_all(&octets(&Pdu::request(1, bind))).await.unwrap();
        let body = pdu::Body::BindResp(Role::Transceiver, Text::default());
        assert_eq!(everything(&mut stream).await, [Pdu { sequence: 1, status, body }]);
    }
    operator.close([]).await;
}

#[tokio::test]
async fn submitting_before_binding_is_refused_and_costs_nothing() {
    let operator = Operator::open(quick()).await;
    let mut stream = operator.connect().await;
    let submission = pdu::Body::SubmitSm(pdu::Message::default());
    let mut said = octets(&Pdu::request(1, submission));
    said.extend(octets(&Pdu::request(2, pdu::Body::Bind(bind("public", "secret")))));
    said.extend(octets(&Pdu::request(3, pdu::Body::Unbind)));
    stream.write_all(&said).await.unwrap();
    let answers = everything(&mut stream).await;
    let answers: Vec<_> = answers.iter().map(|it| (it.sequence, it.status)).collect();
    assert_eq!(answers[0], (1, Status::INVALID_BIND_STATUS));
    assert!(answers.contains(&(3, Status::OK)), "{answers:?}");
    operator.close([]).await;
}

#[tokio::test]
async fn silent_peers_are_dropped_after_the_time_to_bind_and_hinder_nobody() {
    let operator = Operator::open(quick()).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(operator.connect().await);
    }
    let (public, mut private) = (operator.party("public"), operator.party("private"));
    let _story = public.transmitter.ring(message(Body::Text("RB".into())));
    assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, b"RB");
    for stream in &mut silent {
        let [Pdu { status: Status::INVALID_BIND_STATUS, .. }] = everything(stream).await[..] else {
            panic!("not refused")
        };
    }
    operator.close([public, private]).await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused() {
    let operator = Operator::open(quick()).await;
    let mut held = Vec::new();
    for _ in 0..ringback::limits::OPERATOR_CONNECTIONS {
        held.push(operator.connect().await);
    }
    let mut refused = operator.connect().await;
    let [Pdu { status: Status::SYSTEM_ERROR, .. }] = everything(&mut refused).await[..] else {
        panic!("not refused")
    };
    operator.close([]).await;
}

#[tokio::test]
async fn a_foreign_esme_submits_and_hears() {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("peers");
    let python = peers.join("venv/bin/python");
    if !python.exists() {
        let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
        assert!(!required, "smpplib is missing: run `cargo xtask peers`");
        println!("skipped: smpplib is missing: run `cargo xtask peers`");
        return;
    }
    let operator = Operator::open(quick()).await;
    let script = "../ringback-bearer/tests/peers/smpplib_esme.py";
    let esme = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .arg(operator.port.to_string())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let said = String::from_utf8(soon(esme).await.unwrap().stdout).unwrap();
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "heard 0 52422d746578742a",
            "heard 4 11ff0080",
            "receipt True 2",
            "receipt True 2",
            "unbound",
        ]
    );
    operator.close([]).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_run_is_refused() {
    let account = |system_id: &str| Account {
        system_id: system_id.into(),
        password: "secret".into(),
        prefixes: vec![],
    };
    for config in [
        Config { loss: 1.1, ..Config::default() },
        Config { late: f64::NAN, ..Config::default() },
        Config { delay: Delay::Fixed { seconds: -1.0 }, ..Config::default() },
        Config {
            delay: Delay::Uniform { from_seconds: 2.0, to_seconds: 1.0 },
            ..Config::default()
        },
        Config { delay: Delay::Fixed { seconds: f64::INFINITY }, ..Config::default() },
        Config { accounts: vec![account("a name that is too long")], ..Config::default() },
        Config { accounts: vec![account("twin"), account("twin")], ..Config::default() },
    ] {
        assert!(config.check().is_err(), "{config:?}");
    }
    Config::default().check().unwrap();
}

#[test]
fn a_configuration_reads_from_toml_and_misspellings_are_errors() {
    let text = r#"
        loss = 0.05
        throttle_per_second = 30
        delay = { kind = "lognormal", median_seconds = 4.0, sigma = 0.4 }
        [[accounts]]
        system_id = "public"
        password = "secret"
        prefixes = ["+1555"]
    "#;
    let config: Config = toml::from_str(text).unwrap();
    assert_eq!(config.delay, Delay::Lognormal { median_seconds: 4.0, sigma: 0.4 });
    assert!(!format!("{config:?}").contains("secret"), "a password prints itself");
    assert!(toml::from_str::<Config>("los = 0.05").is_err());
    assert!(toml::from_str::<Config>("delay = { kind = \"fixed\", second = 1.0 }").is_err());
}

/// The operator, open.
struct Operator {
    port: u16,
    shutdown: CancellationToken,
    running: tokio::task::JoinSet<anyhow::Result<()>>,
}

impl Operator {
    async fn open(config: Config) -> Self {
        Self::run(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), config)
    }

    fn run(listener: TcpListener, config: Config) -> Self {
        let port = listener.local_addr().unwrap().port();
        let shutdown = CancellationToken::new();
        let mut running = tokio::task::JoinSet::new();
        running.spawn(operator::run(listener, config, shutdown.clone()));
        Self { port, shutdown, running }
    }

    fn party(&self, name: &str) -> Party {
        Party::start(self.port, name)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    async fn close<const N: usize>(self, parties: [Party; N]) {
        for party in parties {
            party.end().await;
        }
        self.shutdown.cancel();
        self.closed().await;
    }

    async fn closed(mut self) {
        soon(self.running.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// One bearer, started.
struct Party {
    transmitter: Transmitter,
    receiver: Receiver,
    health: Health,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Party {
    fn start(port: u16, name: &str) -> Self {
        Self::with(config(port, name))
    }

    fn with(config: smpp::Config) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (transmitter, receiver, health) = Bearer::Smpp(config).start(&tasks, shutdown.clone());
        Self { transmitter, receiver, health, tasks, shutdown }
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.tasks.close();
        soon(self.tasks.wait()).await;
    }
}

fn config(port: u16, name: &str) -> smpp::Config {
    let source = Address::parse("70707").unwrap();
    let address = format!("127.0.0.1:{port}");
    let mut config = smpp::Config::new(address, bind(name, "secret"), source);
    config.account.per_second = 1000;
    config
}

/// No delay, no luck needed.
fn quick() -> Config {
    let account = |system_id: &str, prefix: &str| Account {
        system_id: system_id.into(),
        password: "secret".into(),
        prefixes: vec![prefix.into()],
    };
    Config {
        accounts: vec![account("public", "70707"), account("private", "+1555")],
        delay: Delay::Fixed { seconds: 0.0 },
        ..Config::default()
    }
}

fn bind(name: &str, password: &str) -> Bind {
    Bind {
        role: Role::Transceiver,
        system_id: Text::new(name).unwrap(),
        password: Password::new(password).unwrap(),
        system_type: Text::default(),
    }
}

fn message(body: Body) -> Message {
    let to = Callee::Number(CallNumber::parse("+15550100777").unwrap());
    Message { to, body, valid_for: Duration::from_secs(60) }
}

fn octets(pdu: &Pdu) -> Vec<u8> {
    let mut octets = Vec::new();
    pdu.encode(&mut octets);
    octets
}

async fn next_pdu(stream: &mut TcpStream) -> Pdu {
    let mut frames = Frames::default();
    loop {
        if let Some(framed) = frames.cut().unwrap() {
            let Framed::Pdu(pdu) = framed else { panic!("{framed:?}") };
            return pdu;
        }
        frames.extend(&[soon(stream.read_u8()).await.unwrap()]);
    }
}

/// What the operator says until it closes.
async fn everything(stream: &mut TcpStream) -> Vec<Pdu> {
    let mut octets = Vec::new();
    soon(stream.read_to_end(&mut octets)).await.unwrap();
    let mut frames = Frames::default();
    frames.extend(&octets);
    let mut pdus = Vec::new();
    while let Some(framed) = frames.cut().unwrap() {
        let Framed::Pdu(pdu) = framed else { panic!("{framed:?}") };
        pdus.push(pdu);
    }
    pdus
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("within thirty seconds")
}
