//! What a configuration opens, and to whom, and how its bearers fare: two tables, and one line that
//! sums them up.
//!
//! It rings nobody and takes no message. This file reads the configuration and nothing else; what is
//! looked at besides is in `doctor/checks.rs`.

use std::process::ExitCode;

use ringback_proto::gate::Level;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::Doctor;
use crate::config::{
    Access, Config, Grant, ListedService, ListedTerminal, PrivateConfig, PublicConfig,
    ServiceTarget,
};
use crate::control::Found;
use crate::table::{Table, Tone};

mod checks;
mod ipsec;

/// What was found.
#[derive(Debug)]
struct Report {
    heads: Vec<&'static str>,
    findings: Vec<Finding>,
    checks: Vec<Found>,
}

/// One way to one service.
#[derive(Debug)]
struct Finding {
    cells: Vec<String>,
    tone: Tone,
}

/// Examines, prints, and ends with 1 if anything is bad.
pub async fn run(wanted: &Doctor, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    let config = Config::load(&wanted.show.file.config)?;
    let mut report = examine(&config);
    report.checks = checks::look(config, wanted.offline, stop).await;
    if wanted.show.json {
        println!("{}", report.to_json());
    } else {
        report.print();
    }
    Ok(if report.tone() == Tone::Bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(config: &Config) -> Report {
    match config {
        Config::Public(config) => of_public(config),
        Config::Private(config) => of_private(config),
        Config::Responder(_) => nothing("only DNS: it tells names and addresses to everybody"),
        Config::Operator(_) => nothing("a simulated operator: whoever has its passwords may send"),
    }
}

impl Report {
    /// The worst that was found.
    fn tone(&self) -> Tone {
        self.tones().max().unwrap_or(Tone::Good)
    }

    fn tones(&self) -> impl Iterator<Item = Tone> {
        self.findings.iter().map(|it| it.tone).chain(self.checks.iter().map(|it| it.tone))
    }

    /// For people.
    fn print(&self) {
        let mut table = Table::new(&self.heads);
        for finding in &self.findings {
            table.row(finding.tone, finding.cells.clone());
        }
        println!("{table}\n");
        let mut checks = Table::new(&["whose", "what", "finding"]);
        for it in &self.checks {
            checks.row(it.tone, vec![it.of.clone(), it.what.clone(), it.text.clone()]);
        }
        if !self.checks.is_empty() {
            println!("{checks}\n");
        }
        let count = |tone| self.tones().filter(|it| *it == tone).count();
        let (ways, doubtful, bad) = (self.findings.len(), count(Tone::Doubtful), count(Tone::Bad));
        let ways = format!("{ways} {}", if ways == 1 { "way in" } else { "ways in" });
        let checked = some(self.checks.len(), "check");
        let summary = format!("{ways}, {checked}: {doubtful} doubtful, {bad} bad");
        println!("SUMMARY  {}", table.colored(self.tone(), &summary));
    }

    /// For machines.
    fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|it| {
            let cells = self.heads.iter().zip(&it.cells);
            let mut object: Value = cells.map(|(head, cell)| (*head, json!(cell))).collect();
            object["tone"] = json!(it.tone.name());
            object
        });
        json!({
            "findings": findings.collect::<Vec<_>>(),
            "checks": self.checks,
            "worst": self.tone().name(),
        })
    }
}

fn nothing(remark: &str) -> Report {
    let cells = vec!["-".to_owned(), remark.to_owned()];
    let findings = vec![Finding { cells, tone: Tone::Good }];
    Report { heads: vec!["way", "remark"], findings, checks: Vec::new() }
}

fn of_public(config: &PublicConfig) -> Report {
    let mut findings = Vec::new();
    for terminal in config.directory.terminals() {
        for service in &terminal.services {
            for way in ways(config, terminal, service) {
                findings.push(judge(terminal, service, way));
            }
        }
    }
    for (name, services) in config.directory.unenrolled() {
        for service in services {
            let cells =
                [name.as_str(), &service.id.to_string(), "-", service.access.level.name(), "-"];
            let mut cells: Vec<String> = cells.map(str::to_owned).to_vec();
            cells.push("not enrolled yet: `ringback enrol offer`".to_owned());
            findings.push(Finding { cells, tone: Tone::Doubtful });
        }
    }
    let heads = vec!["terminal", "service", "way in", "level", "to whom", "remark"];
    Report { heads, findings, checks: Vec::new() }
}

/// How a client comes to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Http(String),
    /// TLS that is passed through.
    Tls(String),
    /// TLS that ends here.
    Ended(String),
    Proxy(String),
    Raw(String),
    Connect,
}

fn ways(config: &PublicConfig, terminal: &ListedTerminal, service: &ListedService) -> Vec<Way> {
    let mut ways = Vec::new();
    if service.http && !config.http.is_empty() {
        ways.push(Way::Http(format!("http {}", terminal.name)));
    }
    if service.tls && !config.tls.is_empty() {
        let way = if service.tls_end.is_some() { Way::Ended } else { Way::Tls };
        ways.push(way(format!("tls {}", terminal.name)));
    }
    if !config.proxy.is_empty() {
        ways.push(Way::Proxy(format!("proxy {}:{}", terminal.name, service.port)));
    }
    ways.extend(service.raw.map(|it| Way::Raw(format!("tcp {it}"))));
    if !service.access.clients.is_empty() {
        ways.push(Way::Connect);
    }
    ways
}

fn judge(terminal: &ListedTerminal, service: &ListedService, way: Way) -> Finding {
    let access = &service.access;
    let (tone, remark) = remark(access, &way);
    let to_whom = if way == Way::Connect { keys(access) } else { whom(access) };
    let way = match way {
        Way::Http(it) | Way::Tls(it) | Way::Proxy(it) | Way::Raw(it) => it,
        Way::Ended(it) => format!("{it}, ended here"),
        Way::Connect => "ringback connect".to_owned(),
    };
    let cells = vec![
        terminal.name.to_string(),
        service.id.to_string(),
        way,
        access.level.to_string(),
        to_whom,
        remark.to_owned(),
    ];
    Finding { cells, tone }
}

/// Whose keys, and how many of those are told the terminal's number to ring it by themselves.
fn keys(access: &Access) -> String {
    let all = some(access.clients.len(), "key");
    match access.may_ring.len() {
        0 => all,
        ringing => format!("{all}, {ringing} may ring"),
    }
}

/// To whom a level opens.
fn whom(access: &Access) -> String {
    let users = access.users.as_ref().map_or(0, |it| it.count());
    match access.level {
        Level::Open => "everybody".to_owned(),
        Level::Allow => some(access.allow.len(), "network"),
        Level::Knock | Level::Http => some(users, "user"),
        Level::Mtls => "its authority's certificates".to_owned(),
        Level::EndToEnd => some(access.clients.len(), "key"),
    }
}

fn some(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn remark(access: &Access, way: &Way) -> (Tone, &'static str) {
    match (access.level, way) {
        (_, Way::Connect) => (Tone::Good, "by key"),
        (Level::Open, Way::Raw(_)) => (Tone::Bad, "a port scan rings, up to the budget"),
        (Level::Open, Way::Http(_) | Way::Tls(_) | Way::Ended(_) | Way::Proxy(_)) => {
            (Tone::Doubtful, "whoever knows the name can spend the budget")
        }
        (Level::Allow, _) => (Tone::Good, "by address"),
        (Level::Knock, _) => (Tone::Good, "after a log-in, for some minutes"),
        (Level::Http, Way::Ended(_)) => (Tone::Good, "credentials inside TLS"),
        (Level::Http, Way::Http(_) | Way::Proxy(_)) => {
            let basic = access.users.as_ref().is_some_and(|it| it.have_passwords());
            if basic {
                return (Tone::Doubtful, "passwords in clear: end TLS here, or use Digest");
            }
            (Tone::Good, "credentials in clear, but no password")
        }
        (Level::Mtls, Way::Ended(_)) => (Tone::Good, "no revocation list is read"),
        (Level::EndToEnd, _) => (Tone::Good, "closed this way: `ringback connect` only"),
        (Level::Http, Way::Raw(_) | Way::Tls(_))
        | (Level::Mtls, Way::Http(_) | Way::Tls(_) | Way::Proxy(_) | Way::Raw(_)) => {
            (Tone::Good, "closed this way: it cannot carry the proof")
        }
    }
}

fn of_private(config: &PrivateConfig) -> Report {
    let mut findings = Vec::new();
    for subscription in &config.subscriptions {
        let proxies = subscription.public_proxies.iter();
        let proxies = proxies.filter_map(|it| config.public_proxies.get(*it));
        let proxies: Vec<&str> = proxies.map(|it| it.name.as_str()).collect();
        for (id, target) in &subscription.services {
            let (tone, remark) = target_remark(target);
            let cells = vec![
                subscription.key.kid.to_string(),
                id.to_string(),
                target.address.clone(),
                proxies.join(", "),
                target.grant.level.to_string(),
                granted(&target.grant),
                remark.to_owned(),
            ];
            findings.push(Finding { cells, tone });
        }
    }
    let heads =
        vec!["key id", "service", "connects to", "rung by", "least level", "granted to", "remark"];
    Report { heads, findings, checks: Vec::new() }
}

/// Whom the private proxy itself lets through.
fn granted(grant: &Grant) -> String {
    match &grant.end_to_end {
        Some(it) => some(it.clients.len(), "key"),
        None if grant.identities.is_empty() => "whomever it let in".to_owned(),
        None => some(grant.identities.len(), "identity").replace("identitys", "identities"),
    }
}

fn target_remark(target: &ServiceTarget) -> (Tone, &'static str) {
    if target.grant.end_to_end.is_some() {
        return (Tone::Good, "end to end: the public proxy reads nothing");
    }
    if !target.grant.is_guarded() {
        return (Tone::Doubtful, "the public proxy alone decides who comes: give a `level`");
    }
    (Tone::Good, "checked here again")
}

#[test]
fn what_costs_money_or_shows_a_password_is_told() {
    let access = |level| Access { level, ..Access::open() };
    let raw = Way::Raw("tcp 0.0.0.0:1".to_owned());
    assert_eq!(remark(&access(Level::Open), &raw).0, Tone::Bad);
    assert_eq!(remark(&access(Level::Knock), &raw).0, Tone::Good);
    let http = Way::Http("http a.b".to_owned());
    let argon2 = crate::users::password_line(&"lee".parse().expect("a name"), "x").expect("a hash");
    let users = crate::users::Users::parse(&argon2).expect("a users file");
    let basic = Access { users: Some(std::sync::Arc::new(users)), ..access(Level::Http) };
    assert_eq!(remark(&basic, &http).0, Tone::Doubtful);
    assert_eq!(remark(&basic, &Way::Ended("tls a.b".to_owned())).0, Tone::Good);
}
