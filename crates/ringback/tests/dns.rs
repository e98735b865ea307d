//! The responder questioned by the resolvers' own tools, and pestered by peers that mean it ill.
//!
//! A tool that is not installed is a loud skip, or a failure where `RINGBACK_PEERS=require`.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test itself")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringback::limits;
use ringback::responder::Responder;
use ringback_proto::dns::{Draft, Listing, Published, Soa, Throttle, Zone};
use ringback_proto::terminal::{MailAddress, TerminalName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long anything here may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

// Questioned by dig, kdig and delv

#[tokio::test]
async fn dig_gets_the_addresses_of_a_terminal_from_an_authority() {
    let served = Served::start().await;
    for over in ["+notcp", "+tcp"] {
        let Some(said) = served.dig(&[over, "car.ring.localhost", "A"]).await else { return };
        assert!(said.contains("status: NOERROR") && said.contains("flags: qr aa;"), "{said}");
        assert!(said.contains("car.ring.localhost. 5 IN A 127.0.0.1\n"), "{said}");
        assert!(said.contains("EDNS: version: 0, flags:; udp: 1232"), "{said}");
        assert!(!said.to_lowercase().contains("warning"), "{said}");
    }
    let said = served.dig(&["+short", "CaR.rInG.lOcAlHoSt", "AAAA"]).await.unwrap_or_default();
    assert_eq!(said, "::1\n");
    served.end().await;
}

#[tokio::test]
async fn dig_gets_the_port_of_a_service_and_the_address_with_it() {
    let served = Served::start().await;
    let Some(said) = served.dig(&["_ssh._tcp.car.ring.localhost", "SRV"]).await else { return };
    assert!(said.contains("IN SRV 0 0 2222 car.ring.localhost.\n"), "{said}");
    assert!(said.contains("ADDITIONAL: 3"), "{said}");

    let said = served.dig(&["+short", "car.ring.localhost", "HTTPS"]).await.unwrap_or_default();
    assert_eq!(said, "1 . alpn=\"h2,http/1.1\" port=8443\n");
    let prefixed = ["+short", "_8443._https.car.ring.localhost", "HTTPS"];
    let said = served.dig(&prefixed).await.unwrap_or_default();
    assert_eq!(said, "1 car.ring.localhost. alpn=\"h2,http/1.1\" port=8443\n");
    let said = served.dig(&["bus.ring.localhost", "HTTPS"]).await.unwrap_or_default();
    assert!(said.contains("status: NOERROR") && said.contains("ANSWER: 0"), "{said}");
    served.end().await;
}

#[tokio::test]
async fn dig_is_told_what_does_not_exist_and_what_is_none_of_our_business() {
    let served = Served::start().await;
    for (asked, status, flags) in [
        (&["no.ring.localhost", "A"][..], "NXDOMAIN", "qr aa;"),
        (&["*.ring.localhost", "A"], "NXDOMAIN", "qr aa;"),
        (&["_tcp.car.ring.localhost", "A"], "NOERROR", "qr aa;"),
        (&["car.ring.localhost", "MX"], "NOERROR", "qr aa;"),
        (&["example.org", "A"], "REFUSED", "qr;"),
        (&["version.bind", "TXT", "CH"], "REFUSED", "qr;"),
        (&["+opcode=status", "car.ring.localhost", "A"], "NOTIMP", "qr;"),
        (&["+edns=1", "+noednsnegotiation", "car.ring.localhost", "A"], "BADVERS", "qr;"),
        (&["+header-only", "car.ring.localhost", "A"], "FORMERR", "qr;"),
    ] {
        let Some(said) = served.dig(asked).await else { return };
        assert!(said.contains(&format!("status: {status}")), "{asked:?}: {said}");
        assert!(said.contains(&format!("flags: {flags}")), "{asked:?}: {said}");
        assert!(said.contains("ANSWER: 0"), "{asked:?}: {said}");
        let denied = flags.contains("aa");
        assert_eq!(said.contains("IN SOA ns.ring.localhost."), denied, "{asked:?}: {said}");
    }
    let said = served.dig(&["+notcp", "car.ring.localhost", "ANY"]).await.unwrap_or_default();
    assert!(said.contains("HINFO \"RFC8482\" \"\""), "{said}");
    let said = served.dig(&["ring.localhost", "AXFR"]).await.unwrap_or_default();
    assert!(said.contains("Transfer failed"), "{said}");
    let noedns = served.dig(&["+noedns", "car.ring.localhost", "A"]).await.unwrap_or_default();
    assert!(!noedns.contains("OPT PSEUDOSECTION"), "{noedns}");
    served.end().await;
}

#[tokio::test]
async fn dig_comes_over_tcp_for_what_does_not_fit_a_datagram() {
    let served = Served::start().await;
    let many = "_many._tcp.bus.ring.localhost";
    for size in ["+noedns", "+bufsize=512", "+bufsize=4096"] {
        let Some(said) = served.dig(&["+ignore", size, many, "SRV"]).await else { return };
        assert!(said.contains("flags: qr aa tc;") && said.contains("ANSWER: 0"), "{said}");
        let said = served.dig(&[size, many, "SRV"]).await.unwrap_or_default();
        assert!(said.contains("Truncated, retrying in TCP mode"), "{said}");
        assert!(said.contains("flags: qr aa;") && said.contains("ANSWER: 64"), "{said}");
    }
    served.end().await;
}

#[tokio::test]
async fn kdig_keeps_its_connection_open_for_many_questions() {
    let served = Served::start().await;
    let asked = [
        "+tcp",
        "+keepopen",
        "car.ring.localhost",
        "A",
        "car.ring.localhost",
        "AAAA",
        "_ssh._tcp.car.ring.localhost",
        "SRV",
        "no.ring.localhost",
        "A",
    ];
    let Some(said) = served.ask("kdig", &asked).await else { return };
    assert!(said.contains("A 127.0.0.1") && said.contains("AAAA ::1"), "{said}");
    assert!(said.contains("SRV 0 0 2222") && said.contains("status: NXDOMAIN"), "{said}");
    assert!(!said.contains(";; WARNING") && !said.contains(";; ERROR"), "{said}");
    let said = served.ask("kdig", &["car.ring.localhost", "HTTPS"]).await.unwrap_or_default();
    assert!(said.contains("1 . alpn=h2,http/1.1 port=8443"), "{said}");
    served.end().await;
}

#[tokio::test]
async fn delv_accepts_an_answer_as_a_validating_resolver_does() {
    let served = Served::start().await;
    let Some(said) = served.ask("delv", &["-i", "+noroot", "car.ring.localhost", "A"]).await else {
        return;
    };
    assert!(said.contains("car.ring.localhost. 5 IN A 127.0.0.1"), "{said}");
    let said = served.ask("delv", &["-i", "no.ring.localhost", "A"]).await.unwrap_or_default();
    assert!(said.contains("ncache nxdomain"), "{said}");
    served.end().await;
}

// Pestered

#[tokio::test]
async fn a_flood_from_one_network_is_limited_and_another_is_served() {
    let served = Served::with(Throttle::new(1, 20)).await;
    let flooder = served.socket("127.0.7.1").await;
    for _ in 0..200 {
        flooder.send(QUERY).await.unwrap();
    }

    // The responder takes datagrams one by one: once the neighbor has its answer, the flooder has
    // had all of its own.
    let neighbor = served.socket("127.0.8.1").await;
    let answer = exchange(&neighbor, QUERY).await;
    assert!(!truncated(&answer) && QUERY.len() < answer.len());

    let (mut whole, mut slipped) = (0, 0);
    let mut answer = [0; 1500];
    while let Ok(length) = flooder.try_recv(&mut answer) {
        let cut = truncated(&answer[..length]);
        assert!(!cut || length <= QUERY.len());
        whole += usize::from(!cut);
        slipped += usize::from(cut);
    }
    // A slow machine may let some seconds pass; each is worth one more answer.
    assert!((20..40).contains(&whole), "{whole} answered");
    assert!((80..=90).contains(&slipped), "{slipped} slipped");

    let mut tcp = served.connect().await;
    assert!(!truncated(&over_tcp(&mut tcp, QUERY).await), "the way that a slip points to is open");
    served.end().await;
}

#[tokio::test]
async fn garbage_in_datagrams_is_survived_and_responses_are_met_with_silence() {
    let served = Served::start().await;
    let socket = served.socket("127.0.0.1").await;
    let response = [&QUERY[..2], &[0x80], &QUERY[3..]].concat();
    for garbage in [&b""[..], b"x", &response, &[0xff; 1400]] {
        socket.send(garbage).await.unwrap();
    }
    let mut format_error = QUERY[..12].to_vec();
    format_error[5] = 9;
    let answer = exchange(&socket, &format_error).await;
    assert_eq!((answer.len(), answer[3] & 0x0f), (12, 1), "and it is the first thing heard");
    served.end().await;
}

#[tokio::test]
async fn one_network_cannot_take_all_connections() {
    let served = Served::start().await;
    let mut held = Vec::new();
    for _ in 0..limits::DNS_CONNECTIONS_PER_PREFIX {
        held.push(served.connect().await);
    }
    let closed = served.connect().await.read(&mut [0; 1]).await;
    assert!(closed.is_ok_and(|it| it == 0), "one more is closed");
    for stream in &mut held {
        over_tcp(stream, QUERY).await;
    }

    let mut elsewhere = served.connect_from("127.0.9.1").await;
    over_tcp(&mut elsewhere, QUERY).await;

    drop(held.pop());
    let again = async {
        loop {
            let mut stream = served.connect().await;
            let asked = [&(QUERY.len() as u16).to_be_bytes()[..], QUERY].concat();
            if stream.write_all(&asked).await.is_ok() && stream.read_u16().await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a place that was left is given again");
    served.end().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_whoever_is_connected() {
    let served = Served::start().await;
    let mut half = served.connect().await;
    half.write_all(&[0]).await.unwrap();
    let mut idle = served.connect().await;
    over_tcp(&mut idle, QUERY).await;
    served.end().await;
    assert!(idle.read(&mut [0; 1]).await.is_ok_and(|it| it == 0));
}

// Told and shown

#[tokio::test]
async fn another_zone_takes_effect_with_the_next_query() {
    let served = Served::start().await;
    let socket = served.socket("127.0.0.1").await;
    assert_eq!(exchange(&socket, QUERY).await[7], 1, "one answer");
    let mut draft = draft();
    draft.terminals.clear();
    served.zone.send_replace(Arc::new(Zone::new(draft).unwrap()));
    let answer = exchange(&socket, QUERY).await;
    assert_eq!((answer[3] & 0x0f, answer[7]), (3, 0), "no such name");
    served.end().await;
}

#[tokio::test]
async fn a_terminal_is_named_in_the_log_at_debug_only() {
    for (level, wanted) in [(tracing::Level::DEBUG, 2), (tracing::Level::INFO, 0)] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let served = Served::start().await;
        let socket = served.socket("127.0.0.1").await;
        // Whoever meets a log line first decides for the process whether it is wanted, and that may be
        // a test on another thread, where nothing is.
        exchange(&socket, QUERY).await;
        tracing::callsite::rebuild_interest_cache();
        log.0.lock().unwrap().clear();
        exchange(&socket, QUERY).await;
        served.end().await;

        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let steps: Vec<_> = text.lines().filter(|it| it.contains("ringback::step")).collect();
        assert_eq!(steps.len(), wanted, "{text}");
        assert!(steps.iter().all(|it| it.contains("terminal=car.ring.localhost")), "{text}");
        assert!(0 < wanted || !text.contains("car.ring"), "{text}");
        let letters = ["step=\"A\"", "step=\"B\""];
        assert!(steps.iter().zip(letters).all(|(line, letter)| line.contains(letter)), "{text}");
    }
}

// Helpers

/// `car.ring.localhost A`, without EDNS.
const QUERY: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03car\x04ring\x09localhost\0\0\x01\0\x01";

/// A responder that runs on a port of its own.
struct Served {
    address: SocketAddr,
    zone: watch::Sender<Arc<Zone>>,
    shutdown: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

impl Served {
    async fn start() -> Self {
        Self::with(Throttle::default()).await
    }

    async fn with(throttle: Throttle) -> Self {
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let (sender, zone) = watch::channel(Arc::new(Zone::new(draft()).unwrap()));
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        let responder = Responder { zone, throttle };
        running.spawn(responder.run(udp, tcp, shutdown.clone()));
        Self { address, zone: sender, shutdown, running }
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        // Sooner than any limit would end a connection by itself.
        let soon = limits::DNS_MESSAGE_PATIENCE / 2;
        let ended = timeout(soon, self.running.join_next()).await.expect("shutdown waits");
        ended.unwrap().unwrap().unwrap();
    }

    async fn dig(&self, asked: &[&str]) -> Option<String> {
        let options = ["+norecurse", "+nocookie", "+tries=1", "+time=10", "-r"];
        self.ask("dig", &[&options[..], asked].concat()).await
    }

    /// What a tool prints, each gap made one space; or nothing where it is not installed.
    async fn ask(&self, tool: &str, asked: &[&str]) -> Option<String> {
        let (server, port) = (format!("@{}", self.address.ip()), self.address.port().to_string());
        let mut command = Command::new(tool);
        command.args([&server, "-p", &port]).args(asked).stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(PATIENCE, command.output()).await.expect("the tool hangs") {
            Ok(output) => output,
            Err(fault) if std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require") => {
                panic!("{tool} is required and does not run: {fault}")
            }
            Err(fault) => {
                eprintln!("skipped: {tool} does not run: {fault}");
                return None;
            }
        };
        let said = [output.stdout, output.stderr].concat();
        let mut said = String::from_utf8_lossy(&said).replace('\t', " ");
        while said.contains("  ") {
            said = said.replace("  ", " ");
        }
        Some(said)
    }

    async fn socket(&self, from: &str) -> UdpSocket {
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect_from(&self, from: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

/// One port for both protocols: one that is free for TCP is tried for UDP until both agree.
async fn bind_both() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for UDP and TCP")
}

async fn exchange(socket: &UdpSocket, query: &[u8]) -> Vec<u8> {
    socket.send(query).await.unwrap();
    let mut answer = vec![0; 1500];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.expect("no answer").unwrap();
    answer.truncate(length);
    answer
}

async fn over_tcp(stream: &mut TcpStream, query: &[u8]) -> Vec<u8> {
    let asked = [&(query.len() as u16).to_be_bytes()[..], query].concat();
    let exchange = async {
        stream.write_all(&asked).await.unwrap();
        let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, exchange).await.expect("no answer")
}

fn truncated(answer: &[u8]) -> bool {
    answer[2] & 0x02 != 0
}

fn draft() -> Draft {
    let host = |text| TerminalName::parse(text).unwrap();
    let published = |srv: &str, port, alpn: &[&str]| Published {
        srv: srv.to_owned(),
        port,
        tls: !alpn.is_empty(),
        alpn: alpn.iter().map(|it| (*it).to_owned()).collect(),
    };
    let addresses = ["127.0.0.1", "::1"].map(|it| it.parse().unwrap()).to_vec();
    let car = vec![
        published("_ssh._tcp", 2222, &[]),
        published("_https._tcp", 8443, &["h2", "http/1.1"]),
    ];
    let bus = (1..=64).map(|port| published("_many._tcp", port, &[])).collect();
    Draft {
        origin: host("ring.localhost"),
        nameservers: vec![(host("ns.ring.localhost"), addresses.clone())],
        soa: Soa {
            mname: host("ns.ring.localhost"),
            rname: MailAddress::parse("hostmaster@ring.localhost").unwrap(),
            serial: 1,
            refresh_seconds: 3600,
            retry_seconds: 600,
            expire_seconds: 86_400,
            minimum_seconds: 5,
        },
        ttl_seconds: 5,
        terminals: BTreeMap::from([
            (host("car.ring.localhost"), Listing { addresses: addresses.clone(), services: car }),
            (host("bus.ring.localhost"), Listing { addresses, services: bus }),
        ]),
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
