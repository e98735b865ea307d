//! The private proxy's configuration: whom it answers for, whom it dials, what it connects to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringback_bearer::Bearer;
use ringback_proto::access_request::{OpeningKey, Protocol, TunnelType};
use ringback_proto::dialer::{Fleet, forbidden};
use ringback_proto::gate::Level;
use ringback_proto::nat64::Prefix;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::{Callees, ServiceId, TerminalName};

use super::bearer;
use super::callees;
use super::grant::{self, Grant};
use super::ipsec::{self, IpsecConfig};
use super::section::Section;
use super::tunnel;
use crate::keyring::{Contents, Keyring};
use crate::keys::{self, KeyFault, TerminalKeys};
use crate::tunnel::Identity;

/// What a private proxy runs by.
#[derive(Debug)]
pub struct PrivateConfig {
    /// Its TLS identity.
    pub identity: Identity,
    /// Where replay windows are kept.
    pub state: PathBuf,
    /// Where the keys of enrolled terminals are kept.
    pub keyring: Option<Keyring>,
    /// How an IPv6-only operator's network reaches IPv4 addresses.
    pub nat64: Nat64,
    /// How long a splice may be idle.
    pub idle: Duration,
    /// How long splices may go on after a stop.
    pub grace: Duration,
    /// Threads that carry sessions.
    pub workers: usize,
    /// What signals come by, by name.
    pub bearers: BTreeMap<String, Bearer>,
    /// IPsec, if any service is reached over it.
    pub ipsec: Option<IpsecConfig>,
    /// Whom it may dial.
    pub public_proxies: Vec<PublicProxy>,
    /// Whom it answers for.
    pub subscriptions: Vec<Subscription>,
}

/// Where the NAT64 prefix comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat64 {
    /// There is none: addresses are dialed as they are.
    Off,
    /// Asked of the network when first needed (RFC 7050).
    Discover,
    /// As configured.
    Prefix(Prefix),
}

/// A public proxy that may be dialed.
#[derive(Clone, Debug)]
pub struct PublicProxy {
    /// What the file calls it.
    pub name: String,
    /// Proves that it is the one.
    pub public_key: PublicKey,
    /// Where it may be dialed, exactly, whatever these addresses are.
    pub addresses: Vec<SocketAddr>,
    /// Where it may be dialed as one of many, if the address is one that a public proxy can have.
    pub fleets: Vec<Fleet>,
}

/// One terminal that is answered for, by one generation of its keys.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Opens its signals.
    pub key: OpeningKey,
    /// The file that the key is kept in.
    pub keys_file: PathBuf,
    /// Whether a ring with them was answered before.
    pub proved: bool,
    /// What the terminal is called, if it is.
    pub name: Option<TerminalName>,
    /// Whom its signals are for, any of them.
    pub callees: Callees,
    /// Which public proxies may ring it, by place in the list.
    pub public_proxies: Vec<usize>,
    /// What it serves and where; one that serves nothing yet dials back to prove its number.
    pub services: BTreeMap<ServiceId, ServiceTarget>,
}

/// Where a service is connected to.
#[derive(Clone, Debug)]
pub struct ServiceTarget {
    /// `host:port`, looked up at each connection, since a terminal's address is dynamic.
    pub address: String,
    /// Whether the connection begins with a PROXY protocol header that tells the client's address.
    pub proxy_protocol: bool,
    /// Whether its octets are encrypted end to end already, so that a public proxy that takes them for
    /// that too may have them carried past the tunnel's TLS.
    pub bare: bool,
    /// Who may use it.
    pub grant: Grant,
    /// What it may be reached over, whatever a signal asks for.
    pub tunnel: TunnelType,
}

impl PrivateConfig {
    /// What is no mistake, and yet worth a second look: addresses that are dialed only because they
    /// are listed, terminals that offer nothing yet.
    pub fn notes(&self) -> Vec<String> {
        let listed = self.public_proxies.iter();
        let listed = listed.flat_map(|proxy| proxy.addresses.iter().map(move |it| (proxy, it)));
        let noted = listed.filter_map(|(proxy, address)| {
            let kind = forbidden(address.ip(), None)?;
            Some(format!(
                "public_proxy {:?}: {address} is {kind}; it is dialed, since it is listed by itself",
                proxy.name
            ))
        });
        let idle = self.subscriptions.iter().filter(|it| it.services.is_empty());
        let names: BTreeSet<&str> =
            idle.filter_map(|it| Some(it.name.as_ref()?.as_str())).collect();
        let idle = names.into_iter().map(|it| {
            format!("terminal {it} offers no service yet: give it a [[terminal.service]]")
        });
        noted.chain(idle).collect()
    }
}

/// Reads the whole file of a private proxy.
pub(super) fn read(root: &mut Section<'_>) -> Option<PrivateConfig> {
    let mut base = root.section("private")?;
    let identity = base.file("identity", keys::read_identity);
    let state = base.path("state");
    let bearers = bearer::read_all(root, None, state.as_deref().unwrap_or(Path::new("")));
    let (keyring, contents) = base.keyring("keyring");
    let held = (keyring.as_ref(), &contents);
    let nat64 = read_nat64(&mut base);
    let idle = base.seconds("idle_seconds", 10, 31_536_000, 3600);
    let grace = base.seconds("grace_seconds", 0, 3600, 30);
    let workers = base.workers();
    base.finish();
    if root.lacks("bearer") {
        root.wrong("bearer", "missing: signals come by one [[bearer]] or more");
    }
    for (name, bearer) in &bearers {
        if !bearer.receives() {
            let cure = match bearer {
                Bearer::Smpp(_) => "have its `mode` be \"transceiver\" or \"receiver\"",
                Bearer::Mail(_) => "give it a `mailbox`",
                Bearer::Http(_) => "give it a `webhook`",
                Bearer::Modem(_) | Bearer::ModemManager(_) => "take another one",
            };
            root.wrong("bearer", format!("{name:?} hears nothing: {cure}"));
        }
    }

    let mut public_proxies = Vec::new();
    for mut section in root.sections("public_proxy") {
        public_proxies.extend(read_public_proxy(&mut section, &public_proxies));
        section.finish();
    }
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for mut section in root.sections("terminal") {
        let found = read_subscription(&mut section, &public_proxies, held).unwrap_or_default();
        for subscription in found {
            let kid = subscription.key.kid;
            if subscriptions.iter().any(|it| it.key.kid == kid) {
                section.wrong("keys", "another terminal has the same keys: make its own");
            }
            subscriptions.push(subscription);
        }
        section.finish();
    }
    let ipsec = ipsec::read(root, state.as_deref());
    let mut services = subscriptions.iter().flat_map(|it| it.services.values());
    if ipsec.is_none() && services.any(|it| it.tunnel.permits(Protocol::Ipsec)) {
        root.wrong("ipsec", ipsec::WANTED);
    }
    if root.lacks("terminal") {
        root.wrong("terminal", "missing: a private proxy answers for one [[terminal]] or more");
    }
    Some(PrivateConfig {
        identity: identity?,
        state: state?,
        keyring,
        nat64,
        idle,
        grace,
        workers,
        bearers,
        ipsec,
        public_proxies,
        subscriptions,
    })
}

fn read_nat64(section: &mut Section<'_>) -> Nat64 {
    let text: Option<String> = section.text("nat64");
    match text.as_deref() {
        None => Nat64::Off,
        Some("discover") => Nat64::Discover,
        Some(prefix) => match Prefix::parse(prefix) {
            Ok(prefix) => Nat64::Prefix(prefix),
            Err(error) => {
                section.wrong("nat64", format!("neither \"discover\" nor a prefix: {error}"));
                Nat64::Off
            }
        },
    }
}

fn read_public_proxy(section: &mut Section<'_>, others: &[PublicProxy]) -> Option<PublicProxy> {
    let name: Option<String> = section.required("name");
    let public_key = section.file("public_key", keys::read_public_key);
    let addresses: Vec<SocketAddr> = section.list("addresses");
    let fleets: Vec<Fleet> = section.list("networks");
    if section.lacks("addresses") && section.lacks("networks") {
        section.wrong("addresses", "missing: signals may name only the addresses listed here");
    }
    let name = name?;
    if others.iter().any(|it| it.name == name) {
        section.wrong("name", "another public proxy has this name");
    }
    Some(PublicProxy { name, public_key: public_key?, addresses, fleets })
}

fn read_subscription(
    section: &mut Section<'_>,
    public_proxies: &[PublicProxy],
    (keyring, contents): (Option<&Keyring>, &Contents),
) -> Option<Vec<Subscription>> {
    let name: Option<TerminalName> = section.text("name");
    let keyed = match keyring {
        Some(keyring) if !section.has("keys") => enrolled(section, &name, keyring, contents),
        Some(_) | None => section.file("keys", Keyed::read).map(|it| vec![it]),
    };
    let callees = callees::read(section);
    let names: Vec<String> = section.list("public_proxies");
    let mut allowed = Vec::new();
    for name in &names {
        match public_proxies.iter().position(|it| it.name == *name) {
            Some(place) => allowed.push(place),
            None => {
                section.wrong("public_proxies", format!("no [[public_proxy]] is called {name:?}"))
            }
        }
    }
    if section.lacks("public_proxies") {
        section.wrong("public_proxies", "missing: name those that may ring this terminal");
    }
    let mut services = BTreeMap::new();
    for mut service in section.sections("service") {
        let id = service.service_id("id");
        let grant = grant::read(&mut service, name.as_ref(), id);
        let address = service.host_and_port("address");
        let proxy_protocol = service.flag("proxy_protocol");
        let bare = service.flag("bare");
        if bare && matches!(grant.level, Level::Http | Level::Mtls) {
            let cure = "what a public proxy reads of a service of level \"http\" or \"mtls\" is not \
                        encrypted end to end: take `bare` away, or the level";
            service.wrong("bare", cure);
        }
        let tunnel = tunnel::read(&mut service);
        let target =
            address.map(|address| ServiceTarget { address, proxy_protocol, bare, grant, tunnel });
        if let Some(target) = target
            && services.insert(id, target).is_some()
        {
            service.wrong("id", "another service of this terminal has this id");
        }
        service.finish();
    }
    if section.lacks("service") && (keyring.is_none() || section.has("keys")) {
        section.wrong("service", "missing: a terminal has one [[terminal.service]] or more");
    }
    let callees = callees?;
    let (public_proxies, revoked) = (allowed, |it: &Keyed| contents.is_revoked(it.key.kid));
    let keyed = keyed?.into_iter().filter(|it| !revoked(it));
    let subscription = |Keyed { key, file, proved }| Subscription {
        key,
        keys_file: file,
        proved,
        name: name.clone(),
        callees: callees.clone(),
        public_proxies: public_proxies.clone(),
        services: services.clone(),
    };
    Some(keyed.map(subscription).collect())
}

/// What opens a terminal's signals.
struct Keyed {
    key: OpeningKey,
    file: PathBuf,
    proved: bool,
}

impl Keyed {
    fn read(file: &Path) -> Result<Self, KeyFault> {
        Self::of(file, &TerminalKeys::read(file)?)
    }

    fn of(file: &Path, keys: &TerminalKeys) -> Result<Self, KeyFault> {
        Ok(Self { key: keys.opening()?, file: file.to_owned(), proved: keys.is_proved() })
    }
}

/// Every generation of the terminal's keys that enrolment has brought; none if it has not yet.
fn enrolled(
    section: &mut Section<'_>,
    name: &Option<TerminalName>,
    keyring: &Keyring,
    contents: &Contents,
) -> Option<Vec<Keyed>> {
    if section.lacks("name") {
        section.wrong("name", "missing: give the terminal's name, or its `keys`");
    }
    let mut found = Vec::new();
    for keys in contents.of(name.as_ref()?) {
        let file = keyring.file(keys.kid);
        match Keyed::of(&file, keys) {
            Ok(keyed) => found.push(keyed),
            Err(fault) => section.wrong("name", format!("{}: {fault}", file.display())),
        }
    }
    Some(found)
}
