//! The directory: the terminals of a file, their services, routes and keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringback_proto::access_request::{Kid, SealingKey};
use ringback_proto::budget::Money;
use ringback_proto::dns::Published;
use ringback_proto::gate::Level;
use ringback_proto::limits::WAITING_CLIENTS_PER_TERMINAL;
use ringback_proto::switchboard::{RoutePlan, Terminal};
use ringback_proto::terminal::{CallNumber, Callee, ServiceId, TenantName, TerminalName};

use super::access::{self, Access};
use super::bearer::BearerConfig;
use super::section::Section;
use super::tls;
use crate::ingress::TlsEnd;
use crate::keys;

/// The phone book: name → terminal, services, private proxy, routes, policy, keys.
#[derive(Debug, Default)]
pub struct Directory {
    terminals: BTreeMap<TerminalName, Arc<ListedTerminal>>,
}

/// One terminal of the directory.
#[derive(Debug)]
pub struct ListedTerminal {
    /// What DNS calls it.
    pub name: TerminalName,
    /// What the switchboard knows of it.
    pub terminal: Arc<Terminal>,
    /// Seals its signals.
    pub key: SealingKey,
    /// Whom its signals are for.
    pub callee: Callee,
    /// Which of our addresses its signals name.
    pub announce: SocketAddr,
    /// How it is rung, cheapest first; as many as the switchboard's plans.
    pub routes: Vec<Route>,
    /// What it serves.
    pub services: Vec<ListedService>,
}

/// One bearer and one address by which a private proxy can be rung.
#[derive(Debug)]
pub struct Route {
    /// The bearer's name.
    pub bearer: String,
    /// Whom the bearer addresses.
    pub to: CallNumber,
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
    /// Who may reach it.
    pub access: Access,
}

impl Directory {
    /// The terminal of that name.
    pub fn find(&self, name: &TerminalName) -> Option<&Arc<ListedTerminal>> {
        self.terminals.get(name)
    }

    /// Whose service the port at this address is.
    pub fn behind(&self, raw: SocketAddr) -> Option<(Arc<ListedTerminal>, ListedService)> {
        self.terminals.values().find_map(|terminal| {
            let service = terminal.services.iter().find(|it| it.raw == Some(raw))?;
            Some((terminal.clone(), service.clone()))
        })
    }

    /// Every terminal, by name.
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
    pub bearers: &'a BTreeMap<String, BearerConfig>,
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
}

/// Reads `[[terminal]]` whole.
pub(super) fn read(root: &mut Section<'_>, defaults: Defaults<'_>) -> (Directory, Names) {
    let mut reader = Reader {
        defaults,
        terminals: BTreeMap::new(),
        kids: BTreeSet::new(),
        raw: BTreeSet::new(),
    };
    let mut names = Names::new();
    for mut section in root.sections("terminal") {
        reader.terminal(&mut section, &mut names);
        section.finish();
    }
    (Directory { terminals: reader.terminals }, names)
}

struct Reader<'a> {
    defaults: Defaults<'a>,
    terminals: BTreeMap<TerminalName, Arc<ListedTerminal>>,
    kids: BTreeSet<Kid>,
    raw: BTreeSet<SocketAddr>,
}

impl Reader<'_> {
    fn terminal(&mut self, section: &mut Section<'_>, names: &mut Names) -> Option<()> {
        let name: Option<TerminalName> = section.required("name");
        let key = section.file("keys", keys::read_sealing_key);
        let number: Option<CallNumber> = section.required("number");
        let private_proxy = section.file("private_proxy", keys::read_public_key);
        let announce = self.preferred(section);
        let answer = section.seconds("answer_seconds", 5, 600, self.defaults.answer.as_secs());
        let linger =
            section.seconds("linger_seconds", 0, 31_536_000, self.defaults.linger.as_secs());
        let spares = section.number("spares", 0, 8, 1);
        let waiting = section.number("waiting", 1, 4_096, 64);
        let tenant = self.tenant(section);
        let routes = self.routes(section, number.as_ref());
        let (services, published) = read_services(section, &mut self.raw, &Reading::WHOLE);
        if section.lacks("service") {
            section.wrong("service", "missing: a terminal has one [[terminal.service]] or more");
        }

        let (name, key, number) = (name?, key?, number?);
        if !self.kids.insert(key.kid) {
            section.wrong("keys", "another terminal has the same keys: make its own");
        }
        let terminal = Terminal {
            kid: key.kid,
            tenant: tenant?,
            private_proxy: private_proxy?,
            routes: routes.iter().map(|(_, plan)| plan.clone()).collect(),
            answer_patience: answer,
            linger,
            spares: usize::try_from(spares).unwrap_or(1),
            waiting: usize::try_from(waiting).unwrap_or(WAITING_CLIENTS_PER_TERMINAL),
        };
        let listed = ListedTerminal {
            name: name.clone(),
            terminal: Arc::new(terminal),
            key,
            callee: Callee::Number(number),
            announce: announce?,
            routes: routes.into_iter().map(|(route, _)| route).collect(),
            services,
        };
        names.insert(name.clone(), published);
        if self.terminals.insert(name, Arc::new(listed)).is_some() {
            section.wrong("name", "another terminal has this name");
        }
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
        number: Option<&CallNumber>,
    ) -> Vec<(Route, RoutePlan)> {
        let mut routes = Vec::new();
        for mut route in section.sections("route") {
            let bearer: Option<String> = route.required("bearer");
            if let Some(bearer) = &bearer
                && !self.defaults.bearers.contains_key(bearer)
            {
                route.wrong("bearer", format!("no [[bearer]] is called {bearer:?}"));
            }
            let to: Option<CallNumber> = route.text("to").or_else(|| number.cloned());
            let form: Option<String> = route.text("form");
            if form.as_deref().is_some_and(|it| it != "text" && it != "binary") {
                route.wrong("form", "must be \"text\" or \"binary\"");
            }
            let patience = route.seconds("patience_seconds", 1, 600, 30);
            if let (Some(bearer), Some(to)) = (bearer, to) {
                let binary = form.as_deref() == Some("binary");
                let price = self.defaults.prices.get(&bearer).copied().unwrap_or_default();
                routes.push((Route { bearer, to, binary, price }, RoutePlan { patience }));
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
    let id = u16::try_from(section.number("id", 0, 65_535, 0)).ok()?;
    let port = u16::try_from(section.number("port", 1, 65_535, 80)).ok()?;
    let (http, tls) = (section.flag("http"), section.flag("tls"));
    let access = (reading.access)(section);
    let listed = ListedService {
        id: ServiceId(id),
        port,
        raw: section.text("raw"),
        http,
        tls,
        tls_end: (reading.tls)(section, access.level, (tls, http)),
        forwarded: section.flag("forwarded"),
        access,
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
