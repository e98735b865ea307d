//! The directory: the terminals of a file, their services, routes and keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringback_bearer::Bearer;
use ringback_proto::access_request::{Kid, Protocol, SealingKey, TunnelType};
use ringback_proto::budget::Money;
use ringback_proto::dns::Published;
use ringback_proto::gate::Level;
use ringback_proto::limits::{LEARNED_SPARES, WAITING_CLIENTS_PER_TERMINAL};
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::{BearerId, PublicKey, RoutePlan, Spares, Terminal};
use ringback_proto::terminal::{Callee, Callees, ServiceId, TenantName, TerminalName};

use super::access::{self, Access};
use super::callees;
use super::section::Section;
use super::tls;
use super::tunnel;
use crate::ingress::TlsEnd;
use crate::keyring::{Contents, Keyring};
use crate::keys::{self, KeyFault, TerminalKeys};

/// The phone book: name → terminal, services, private proxy, routes, policy, keys.
#[derive(Debug, Default)]
pub struct Directory {
    terminals: BTreeMap<TerminalName, Arc<ListedTerminal>>,
    /// Those with keys whose route is yet to be proved, beside their old keys or without any.
    candidates: BTreeMap<Kid, Arc<ListedTerminal>>,
    /// Those that the keyring has or will have the keys of.
    enrollable: BTreeMap<TerminalName, Enrollable>,
    /// Those without keys to ring them with.
    unenrolled: BTreeMap<TerminalName, Vec<ListedService>>,
    /// Key ids that are never to be used again.
    revoked: BTreeSet<Kid>,
}

/// What an offer says of a terminal.
#[derive(Clone, Debug)]
pub struct Enrollable {
    /// What it is rung by.
    pub callees: Callees,
    /// Its services: id, and the port that clients ask for.
    pub services: Vec<(ServiceId, u16)>,
}

/// One terminal of the directory.
#[derive(Clone, Debug)]
pub struct ListedTerminal {
    /// What DNS calls it.
    pub name: TerminalName,
    /// What the switchboard knows of it.
    pub terminal: Arc<Terminal>,
    /// Seals its signals.
    pub key: SealingKey,
    /// The file that the key is kept in.
    pub keys_file: PathBuf,
    /// When the key's epoch began, in unix seconds; zero if nobody has noted it.
    pub since: u64,
    /// When the operator has last asked for the proof of its route.
    pub asked: Option<u64>,
    /// Whom its signals are for.
    pub callees: Callees,
    /// Which of our addresses its signals name.
    pub announce: SocketAddr,
    /// How it is rung, cheapest first; as many as the switchboard's plans.
    pub routes: Vec<Route>,
    /// What it serves.
    pub services: Vec<ListedService>,
}

/// One bearer and one address by which a private proxy can be rung.
#[derive(Clone, Debug)]
pub struct Route {
    /// The bearer's name.
    pub bearer: String,
    /// Whom the bearer addresses.
    pub to: Callee,
    /// Whom its signals name: the terminal's own address of that kind, if it has one.
    pub named: Callee,
    /// Whether the signal goes as octets instead of text.
    pub binary: bool,
    /// What one signal costs.
    pub price: Money,
}

/// One service of a terminal and the ways to it.
#[derive(Clone, Debug)]
pub struct ListedService {
    /// What the private proxy calls it.
    pub id: ServiceId,
    /// The port that SOCKS5 and CONNECT clients ask for.
    pub port: u16,
    /// The public proxy's port that belongs to this service alone.
    pub raw: Option<SocketAddr>,
    /// Reached by Host.
    pub http: bool,
    /// Reached by SNI.
    pub tls: bool,
    /// Where its TLS ends, if not at the terminal.
    pub tls_end: Option<TlsEnd>,
    /// Whether requests are told the client's address (`Forwarded`).
    pub forwarded: bool,
    /// Whether its octets are encrypted end to end already, and may go past the tunnel's TLS where its
    /// private proxy takes them for that too.
    pub bare: bool,
    /// Who may reach it.
    pub access: Access,
    /// What it may be reached over.
    pub tunnel: TunnelType,
}

impl Directory {
    /// The terminal of that name.
    pub fn find(&self, name: &TerminalName) -> Option<&Arc<ListedTerminal>> {
        self.terminals.get(name)
    }

    /// Whether any service may be reached over such tunnels.
    pub fn wants(&self, protocol: Protocol) -> bool {
        let listed = self.terminals.values().chain(self.candidates.values());
        let listed = listed.flat_map(|it| &it.services).chain(self.unenrolled.values().flatten());
        listed.into_iter().any(|it| it.tunnel.permits(protocol))
    }

    /// Whose service the port at this address is.
    pub fn behind(&self, raw: SocketAddr) -> Option<(Arc<ListedTerminal>, ListedService)> {
        self.terminals.values().find_map(|terminal| {
            let service = terminal.services.iter().find(|it| it.raw == Some(raw))?;
            Some((terminal.clone(), service.clone()))
        })
    }

    /// Why there is nobody of that name to be rung.
    pub fn missing(&self, name: &TerminalName) -> Refusal {
        let waits = self.unenrolled.contains_key(name);
        if waits { Refusal::NotEnrolled } else { Refusal::Unknown }
    }

    /// Terminals that have no keys yet, and their services.
    pub fn unenrolled(&self) -> impl Iterator<Item = (&TerminalName, &[ListedService])> {
        self.unenrolled.iter().map(|(name, services)| (name, services.as_slice()))
    }

    /// Terminals whose route is yet to be proved.
    pub fn candidates(&self) -> &BTreeMap<Kid, Arc<ListedTerminal>> {
        &self.candidates
    }

    /// Whether the key id is never to be used again.
    pub fn is_revoked(&self, kid: Kid) -> bool {
        self.revoked.contains(&kid)
    }

    /// What an offer says of the terminal of that name, if it can be enrolled.
    pub fn enrollable(&self, name: &TerminalName) -> Option<&Enrollable> {
        self.enrollable.get(name)
    }

    /// Every service that is or will be reached by a port of its own.
    pub fn raw_ports(&self) -> impl Iterator<Item = SocketAddr> {
        let enrolled = self.terminals.values().map(|it| &it.services);
        enrolled.chain(self.unenrolled.values()).flatten().filter_map(|it| it.raw)
    }

    /// Whether any service lists a client's key, for whom no door but `dial_back` is needed.
    pub fn has_clients_with_keys(&self) -> bool {
        let enrolled = self.terminals.values().map(|it| &it.services);
        let mut services = enrolled.chain(self.unenrolled.values()).flatten();
        services.any(|it| !it.access.clients.is_empty())
    }

    /// Every terminal that can be rung, by name.
    pub fn terminals(&self) -> impl Iterator<Item = &Arc<ListedTerminal>> {
        self.terminals.values()
    }
}

/// The terminals' names and what DNS publishes of their services.
pub(super) type Names = BTreeMap<TerminalName, Vec<Published>>;

/// Reads of `[[terminal]]` what a responder must know, and leaves the rest.
pub(super) fn read_names(root: &mut Section<'_>) -> Names {
    let mut names = Names::new();
    for mut section in root.sections("terminal") {
        let mut raw = BTreeSet::new();
        let (_, published) = read_services(&mut section, &mut raw, &Reading::NAMES);
        if let Some(name) = section.required("name")
            && names.insert(name, published).is_some()
        {
            section.wrong("name", "another terminal has this name");
        }
    }
    names
}

/// What the terminals' own tables may leave out, and what they may refer to.
#[derive(Debug)]
pub(super) struct Defaults<'a> {
    /// The bearers that routes may name.
    pub bearers: &'a BTreeMap<String, Bearer>,
    /// What a signal by each of them costs.
    pub prices: &'a BTreeMap<String, Money>,
    /// The tenants that terminals may belong to, the default one apart.
    pub tenants: BTreeSet<TenantName>,
    /// The addresses that signals may name.
    pub announce: Vec<SocketAddr>,
    /// How long clients wait.
    pub answer: Duration,
    /// How long tunnels stand by.
    pub linger: Duration,
    /// What enrolment has brought, and where it is kept.
    pub keyring: (Option<Keyring>, Contents),
}

/// Reads `[[terminal]]` whole.
pub(super) fn read(root: &mut Section<'_>, defaults: Defaults<'_>) -> (Directory, Names) {
    let revoked = defaults.keyring.1.revoked().keys().copied().collect();
    let mut reader = Reader {
        defaults,
        directory: Directory { revoked, ..Directory::default() },
        kids: BTreeSet::new(),
        raw: BTreeSet::new(),
    };
    let mut names = Names::new();
    for mut section in root.sections("terminal") {
        reader.terminal(&mut section, &mut names);
        section.finish();
    }
    (reader.directory, names)
}

struct Reader<'a> {
    defaults: Defaults<'a>,
    directory: Directory,
    kids: BTreeSet<Kid>,
    raw: BTreeSet<SocketAddr>,
}

/// What a terminal's own table says of its keys.
enum Explicit {
    /// Nothing: the keyring has them, or will have them.
    None,
    /// Which files to read.
    Given(Keyed),
    /// Something that is noted as a mistake.
    Wrong,
}

/// What rings a terminal, and who answers.
struct Keyed {
    key: SealingKey,
    private_proxy: PublicKey,
    file: PathBuf,
    since: u64,
    asked: Option<u64>,
}

/// All else of a listed terminal.
#[derive(Clone)]
struct Unkeyed {
    name: TerminalName,
    plans: Vec<RoutePlan>,
    answer: Duration,
    linger: Duration,
    spares: Spares,
    tenant: TenantName,
    waiting: usize,
    callees: Callees,
    announce: SocketAddr,
    routes: Vec<Route>,
    services: Vec<ListedService>,
}

impl Keyed {
    fn of(keyring: &Keyring, keys: &TerminalKeys) -> Result<Self, KeyFault> {
        let enrolment = keys.enrolment.as_ref();
        let private_proxy = enrolment.and_then(|it| it.private_proxy);
        Ok(Self {
            key: keys.sealing()?,
            private_proxy: private_proxy.ok_or(KeyFault::Not(
                "key file of a public proxy but a private one's: give each side its own",
            ))?,
            file: keyring.file(keys.kid),
            since: keys.since,
            asked: enrolment.and_then(|it| it.asked),
        })
    }
}

impl Unkeyed {
    fn with(self, keyed: Keyed) -> ListedTerminal {
        let terminal = Terminal {
            kid: keyed.key.kid,
            private_proxy: keyed.private_proxy,
            routes: self.plans,
            answer_patience: self.answer,
            linger: self.linger,
            spares: self.spares,
            tenant: self.tenant,
            waiting: self.waiting,
        };
        ListedTerminal {
            name: self.name,
            terminal: Arc::new(terminal),
            key: keyed.key,
            keys_file: keyed.file,
            since: keyed.since,
            asked: keyed.asked,
            callees: self.callees,
            announce: self.announce,
            routes: self.routes,
            services: self.services,
        }
    }
}

impl Reader<'_> {
    fn terminal(&mut self, section: &mut Section<'_>, names: &mut Names) -> Option<()> {
        let name: Option<TerminalName> = section.required("name");
        let keys = self.explicit(section);
        let callees = callees::read(section);
        let announce = self.preferred(section);
        let answer = section.seconds("answer_seconds", 5, 600, self.defaults.answer.as_secs());
        let linger =
            section.seconds("linger_seconds", 0, 31_536_000, self.defaults.linger.as_secs());
        let spares = if section.has("spares") {
            let number = section.number("spares", 0, LEARNED_SPARES as u64, 1);
            Spares::fixed(usize::try_from(number).unwrap_or(1))
        } else {
            Spares::LEARNED
        };
        let waiting = section.number("waiting", 1, 4_096, WAITING_CLIENTS_PER_TERMINAL as u64);
        let tenant = self.tenant(section);
        let routes = self.routes(section, callees.as_ref());
        let (services, published) = read_services(section, &mut self.raw, &Reading::WHOLE);
        if section.lacks("service") {
            section.wrong("service", "missing: a terminal has one [[terminal.service]] or more");
        }

        let (name, callees, announce) = (name?, callees?, announce?);
        if names.insert(name.clone(), published).is_some() {
            section.wrong("name", "another terminal has this name");
        }
        let unkeyed = Unkeyed {
            name: name.clone(),
            plans: routes.iter().map(|(_, plan)| plan.clone()).collect(),
            answer,
            linger,
            spares,
            tenant: tenant?,
            waiting: usize::try_from(waiting).unwrap_or(WAITING_CLIENTS_PER_TERMINAL),
            callees: callees.clone(),
            announce,
            routes: routes.into_iter().map(|(route, _)| route).collect(),
            services,
        };
        let in_use = match keys {
            Explicit::Given(keys) => Some(keys).filter(|it| !self.directory.is_revoked(it.key.kid)),
            Explicit::Wrong => return None,
            Explicit::None => {
                let services = unkeyed.services.iter().map(|it| (it.id, it.port)).collect();
                let enrollable = Enrollable { callees, services };
                self.directory.enrollable.insert(name.clone(), enrollable);
                self.enrolled(section, &unkeyed)
            }
        };
        let Some(in_use) = in_use else {
            self.directory.unenrolled.insert(name, unkeyed.services);
            return Some(());
        };
        if !self.kids.insert(in_use.key.kid) {
            section.wrong("keys", "another terminal has the same keys: make its own");
        }
        self.directory.terminals.insert(name, Arc::new(unkeyed.with(in_use)));
        Some(())
    }

    fn tenant(&self, section: &mut Section<'_>) -> Option<TenantName> {
        if !section.has("tenant") {
            return Some(TenantName::default());
        }
        let tenant: TenantName = section.text("tenant")?;
        if tenant != TenantName::default() && !self.defaults.tenants.contains(&tenant) {
            section.wrong("tenant", format!("no [[tenant]] is called \"{tenant}\""));
            return None;
        }
        Some(tenant)
    }

    /// The keys that the file names for the terminal itself.
    fn explicit(&self, section: &mut Section<'_>) -> Explicit {
        let (keyring, _) = &self.defaults.keyring;
        let given = section.has("keys") | section.has("private_proxy");
        if !given && keyring.is_some() {
            return Explicit::None;
        }
        let keys = section.file("keys", |file| {
            let keys = TerminalKeys::read(file)?;
            Ok::<_, KeyFault>((file.to_owned(), keys.sealing()?, keys.since))
        });
        let private_proxy = section.file("private_proxy", keys::read_public_key);
        let Some(((file, key, since), private_proxy)) = keys.zip(private_proxy) else {
            return Explicit::Wrong;
        };
        Explicit::Given(Keyed { key, private_proxy, file, since, asked: None })
    }

    /// The keys that enrolment has brought; those yet to be proved are kept aside.
    fn enrolled(&mut self, section: &Section<'_>, unkeyed: &Unkeyed) -> Option<Keyed> {
        let (Some(keyring), contents) = &self.defaults.keyring else { return None };
        let keyed = |keys: &TerminalKeys| match Keyed::of(keyring, keys) {
            Ok(keyed) => Some(keyed),
            Err(fault) => {
                section.wrong("name", format!("{}: {fault}", keyring.file(keys.kid).display()));
                None
            }
        };
        let in_use = contents.in_use(&unkeyed.name).and_then(keyed);
        if let Some(candidate) = contents.candidate(&unkeyed.name).and_then(keyed) {
            let kid = candidate.key.kid;
            self.directory.candidates.insert(kid, Arc::new(unkeyed.clone().with(candidate)));
        }
        in_use
    }

    fn preferred(&self, section: &mut Section<'_>) -> Option<SocketAddr> {
        let prefer: Option<String> = section.text("prefer");
        let wanted = match prefer.as_deref() {
            None => return self.defaults.announce.first().copied(),
            Some("ipv4") => self.defaults.announce.iter().find(|it| it.is_ipv4()),
            Some("ipv6") => self.defaults.announce.iter().find(|it| it.is_ipv6()),
            Some(_) => {
                section.wrong("prefer", "must be \"ipv4\" or \"ipv6\"");
                return None;
            }
        };
        if wanted.is_none() {
            section.wrong("prefer", "public.announce has no address of this family");
        }
        wanted.copied()
    }

    fn routes(
        &self,
        section: &mut Section<'_>,
        callees: Option<&Callees>,
    ) -> Vec<(Route, RoutePlan)> {
        let mut routes = Vec::new();
        for mut route in section.sections("route") {
            let bearer: Option<String> = route.required("bearer");
            if let Some(bearer) = &bearer
                && !self.defaults.bearers.contains_key(bearer)
            {
                route.wrong("bearer", format!("no [[bearer]] is called {bearer:?}"));
            }
            let by = bearer.as_ref().and_then(|it| self.defaults.bearers.get(it));
            let to = callees::of_route(&mut route, by, callees);
            let form: Option<String> = route.text("form");
            if form.as_deref().is_some_and(|it| it != "text" && it != "binary") {
                route.wrong("form", "must be \"text\" or \"binary\"");
            }
            if form.as_deref() == Some("binary") && matches!(by, Some(Bearer::Mail(_))) {
                route.wrong("form", "e-mail carries text only");
            }
            let patience = route.seconds("patience_seconds", 1, 600, 30);
            if let (Some(bearer), Some(to), Some(own)) = (bearer, to, callees) {
                let named = own.named_beside(&to);
                let binary = form.as_deref() == Some("binary");
                let price = self.defaults.prices.get(&bearer).copied().unwrap_or_default();
                let place = self.defaults.bearers.keys().position(|it| *it == bearer);
                let plan = RoutePlan { bearer: BearerId(place.unwrap_or_default()), patience };
                routes.push((Route { bearer, to, named, binary, price }, plan));
            }
            route.finish();
        }
        if section.lacks("route") {
            section.wrong("route", "missing: a terminal has one [[terminal.route]] or more");
        }
        routes
    }
}

/// How those keys of a service are read that only a public proxy has a use for.
struct Reading {
    access: fn(&mut Section<'_>) -> Access,
    tls: fn(&mut Section<'_>, Level, (bool, bool)) -> Option<TlsEnd>,
}

impl Reading {
    const WHOLE: Self = Self { access: access::read, tls: tls::read };
    const NAMES: Self = Self { access: access::pass_over, tls: tls::leave };
}

fn read_services(
    section: &mut Section<'_>,
    raw: &mut BTreeSet<SocketAddr>,
    reading: &Reading,
) -> (Vec<ListedService>, Vec<Published>) {
    let (mut services, mut published) = (Vec::new(), Vec::new());
    for mut service in section.sections("service") {
        if let Some((listed, srv)) = read_service(&mut service, raw, &services, reading) {
            published.extend(publish(&listed, srv));
            services.push(listed);
        }
        service.finish();
    }
    (services, published)
}

fn read_service(
    section: &mut Section<'_>,
    taken: &mut BTreeSet<SocketAddr>,
    others: &[ListedService],
    reading: &Reading,
) -> Option<(ListedService, Option<String>)> {
    let id = section.service_id("id");
    let port = u16::try_from(section.number("port", 1, 65_535, 80)).ok()?;
    let (http, tls) = (section.flag("http"), section.flag("tls"));
    let access = (reading.access)(section);
    let listed = ListedService {
        id,
        port,
        raw: section.text("raw"),
        http,
        tls,
        tls_end: (reading.tls)(section, access.level, (tls, http)),
        forwarded: section.flag("forwarded"),
        bare: section.flag("bare"),
        access,
        tunnel: tunnel::read(section),
    };
    let srv: Option<String> = section.text("srv");
    if srv.is_some() && listed.raw.is_none() {
        section.wrong("srv", "an SRV record names the service's own port: give `raw` too");
    }
    if let Some(raw) = listed.raw
        && !taken.insert(raw)
    {
        section.wrong("raw", "another service has this address and port");
    }
    if listed.forwarded && !listed.http {
        section.wrong("forwarded", "only requests reached by Host can carry it: set `http` too");
    }
    if listed.forwarded && listed.access.level == Level::EndToEnd {
        section.wrong("forwarded", "nothing is read here of a service of level \"end-to-end\"");
    }
    let is_read = listed.http || listed.tls_end.is_some() || listed.forwarded;
    if listed.bare && (is_read || matches!(listed.access.level, Level::Http | Level::Mtls)) {
        let cure = "what is read here is not encrypted end to end: take `bare` away, or whatever \
                    has it read (`http`, `certificate`, `forwarded`, level \"http\" or \"mtls\")";
        section.wrong("bare", cure);
    }
    if listed.access.level == Level::Http
        && (listed.raw.is_some() || (listed.tls && listed.tls_end.is_none()))
    {
        let cure = "raw TCP and TLS that is passed through carry no credential that could be \
                    asked for: take `raw` away, end TLS here by `certificate`, or ask for another level";
        section.wrong("level", cure);
    }
    let twice = |test: fn(&ListedService) -> bool| test(&listed) && others.iter().any(test);
    if others.iter().any(|it| it.id == listed.id) {
        section.wrong("id", "another service of this terminal has this id");
    }
    if others.iter().any(|it| it.port == listed.port) {
        section.wrong("port", "another service of this terminal has this port");
    }
    if twice(|it| it.http) {
        section.wrong("http", "another service of this terminal is reached by Host");
    }
    if twice(|it| it.tls) {
        section.wrong("tls", "another service of this terminal is reached by SNI");
    }
    Some((listed, srv))
}

/// SRV for a service with a port of its own; an HTTPS record only for one that speaks TLS.
fn publish(service: &ListedService, srv: Option<String>) -> Vec<Published> {
    let mut published = Vec::new();
    if let (Some(srv), Some(raw)) = (srv, service.raw) {
        published.push(Published { srv, port: raw.port(), tls: false, alpn: Vec::new() });
    }
    if service.tls {
        let srv = "_https._tcp".to_owned();
        published.push(Published { srv, port: service.port, tls: true, alpn: Vec::new() });
    }
    published
}
