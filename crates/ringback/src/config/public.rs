//! The public proxy's configuration: its listeners, its bearers and its directory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringback_bearer::Bearer;
use ringback_proto::access_request::Protocol;

use super::bearer;
use super::budget::{self, BudgetConfig};
use super::directory::{self, Defaults, Directory};
use super::ipsec::{self, IpsecConfig};
use super::responder::{self, ResponderConfig};
use super::section::Section;
use crate::keyring::{Contents, Keyring};
use crate::keys;
use crate::limits::RATCHET_EVERY;
use crate::tunnel::Identity;

/// What a public proxy runs by.
#[derive(Debug)]
pub struct PublicConfig {
    /// Its TLS identity.
    pub identity: Identity,
    /// Where private proxies dial back to, as bound here.
    pub dial_back: Vec<SocketAddr>,
    /// The same, as an operator's network sees it; named in signals.
    pub announce: Vec<SocketAddr>,
    /// Where HTTP clients name their terminal by Host.
    pub http: Vec<SocketAddr>,
    /// Where TLS clients name their terminal by SNI.
    pub tls: Vec<SocketAddr>,
    /// Where clients name their terminal through SOCKS5 or CONNECT.
    pub proxy: Vec<SocketAddr>,
    /// Where sequence numbers are kept.
    pub state: PathBuf,
    /// Where the keys of enrolled terminals are kept.
    pub keyring: Option<Keyring>,
    /// How long signals are sealed in one epoch of a terminal's keys.
    pub ratchet: Duration,
    /// How long a splice may be idle.
    pub idle: Duration,
    /// How long splices may go on after a stop.
    pub grace: Duration,
    /// Threads that carry sessions.
    pub workers: usize,
    /// What carries signals, by name.
    pub bearers: BTreeMap<String, Bearer>,
    /// What rings may cost.
    pub budget: BudgetConfig,
    /// The phone book.
    pub directory: Arc<Directory>,
    /// IPsec, if any service is reached over it.
    pub ipsec: Option<IpsecConfig>,
    /// DNS, if this process answers it.
    pub responder: Option<ResponderConfig>,
}

/// Reads the whole file of a public proxy.
pub(super) fn read(root: &mut Section<'_>) -> Option<PublicConfig> {
    let budget = budget::read(root);
    let mut public = root.section("public");
    if public.is_none() {
        root.wrong("public", "missing: a file has a [public], [private] or [operator] table");
    }
    let base = public.as_mut().and_then(read_base);
    let state = base.as_ref().and_then(|it| it.state.clone()).unwrap_or_default();
    let mut prices = BTreeMap::new();
    let bearers = bearer::read_all(root, Some(&mut prices), &state);
    let announce = base.as_ref().map(|it| it.announce.clone()).unwrap_or_default();
    let defaults = base.as_ref().map(|it| (it.answer, it.linger));
    let (answer, linger) = defaults.unwrap_or((ANSWER, LINGER));
    let keyring =
        public.as_mut().map_or_else(|| (None, Contents::default()), |it| it.keyring("keyring"));
    let ring = keyring.0.clone();
    if let Some(public) = public {
        public.finish();
    }

    let tenants = budget.rules.tenants.keys().copied().collect();
    let defaults =
        Defaults { bearers: &bearers, prices: &prices, tenants, announce, answer, linger, keyring };
    let (directory, names) = directory::read(root, defaults);
    let tls_port = base.as_ref().and_then(|it| it.tls.first()).map_or(443, SocketAddr::port);
    let responder = responder::read(root, &names, tls_port).flatten();

    let ipsec = ipsec::read(root, Some(&state));
    if ipsec.is_none() && directory.wants(Protocol::Ipsec) {
        root.wrong("ipsec", ipsec::WANTED);
    }

    let base = base?;
    check_listeners(root, &base, &directory);
    Some(PublicConfig {
        identity: base.identity?,
        dial_back: base.dial_back,
        announce: base.announce,
        http: base.http,
        tls: base.tls,
        proxy: base.proxy,
        state: base.state?,
        keyring: ring,
        ratchet: base.ratchet,
        idle: base.idle,
        grace: base.grace,
        workers: base.workers,
        bearers,
        budget,
        directory: Arc::new(directory),
        ipsec,
        responder,
    })
}

/// No two listeners share an address, and clients have one at all.
fn check_listeners(root: &Section<'_>, base: &Base, directory: &Directory) {
    let raw: Vec<_> = directory.raw_ports().collect();
    let all = [
        ("http", &base.http),
        ("tls", &base.tls),
        ("proxy", &base.proxy),
        ("a service's raw", &raw),
        ("dial_back", &base.dial_back),
    ];
    let keyed = directory.has_clients_with_keys();
    if !keyed && all.iter().take(4).all(|(_, addresses)| addresses.is_empty()) {
        let cure = "give http, tls, proxy, a service's raw, or clients with keys";
        root.wrong("public", format!("clients cannot come: {cure}"));
    }
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for (key, addresses) in all {
        for address in addresses.iter().filter(|it| it.port() != 0) {
            if let Some(other) = taken.insert(*address, key) {
                root.wrong("public", format!("{other} and {key} both have {address}"));
            }
        }
    }
}

/// How long a client waits in all: an SMS takes seconds, a retry of it up to a minute.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a tunnel is kept without a client: a page's further requests then cost no ring.
const LINGER: Duration = Duration::from_secs(90);

struct Base {
    identity: Option<Identity>,
    dial_back: Vec<SocketAddr>,
    announce: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    proxy: Vec<SocketAddr>,
    state: Option<PathBuf>,
    answer: Duration,
    linger: Duration,
    ratchet: Duration,
    idle: Duration,
    grace: Duration,
    workers: usize,
}

fn read_base(section: &mut Section<'_>) -> Option<Base> {
    let identity = section.file("identity", keys::read_identity);
    let dial_back: Vec<SocketAddr> = section.list("dial_back");
    if section.lacks("dial_back") {
        section.wrong("dial_back", "missing: give the addresses that private proxies dial back to");
    }
    let mut announce: Vec<SocketAddr> = section.list("announce");
    if announce.is_empty() {
        announce = dial_back.clone();
    }
    if announce.iter().any(|it| it.ip().is_unspecified() || it.port() == 0) {
        let cure = "give the addresses and ports by which operators' networks reach dial_back";
        section.wrong("announce", cure);
    }
    Some(Base {
        identity,
        dial_back,
        announce,
        http: section.list("http"),
        tls: section.list("tls"),
        proxy: section.list("proxy"),
        state: section.path("state"),
        answer: section.seconds("answer_seconds", 5, 600, ANSWER.as_secs()),
        linger: section.seconds("linger_seconds", 0, 31_536_000, LINGER.as_secs()),
        ratchet: section.seconds("ratchet_seconds", 1, 31_536_000, RATCHET_EVERY.as_secs()),
        idle: section.seconds("idle_seconds", 10, 31_536_000, 3600),
        grace: section.seconds("grace_seconds", 0, 3600, 30),
        workers: section.workers(),
    })
}
