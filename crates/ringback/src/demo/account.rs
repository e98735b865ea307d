//! The demo's account of the steps A–I: gathers what the roles log and tells it in order.
//!
//! Colors only on a terminal; with `--json` one object a line and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::line::{DAY, Line};
use super::stage::{Premise, Stage};
use super::visit::Visit;
use crate::cli::Demo;

/// Log lines under way from the roles.
const LINES: usize = 1_024;
/// How long the roles' last lines may take after the client is done.
const TAIL_PATIENCE: Duration = Duration::from_millis(300);
/// Sessions and messages remembered; then any one is forgotten, and told no further.
const REMEMBERED: usize = 4_096;

/// What has been told, and what is still needed to tell the rest.
#[derive(Debug)]
pub(super) struct Account {
    lines: mpsc::Receiver<Line>,
    json: bool,
    color: bool,
    sessions: BTreeMap<String, Told>,
    count: usize,
    /// Which session a signal was sealed for, and whether it went by SMS.
    signals: BTreeMap<String, String>,
    accepted: BTreeMap<String, f64>,
    sms_seconds: f64,
    asked_at: Option<f64>,
}

#[derive(Debug)]
struct Told {
    number: usize,
    start: f64,
    steps: BTreeSet<String>,
    by_sms: bool,
}

impl Account {
    /// An account and where log lines are handed in.
    pub(super) fn new(json: bool) -> (Self, mpsc::Sender<Line>) {
        let (sender, lines) = mpsc::channel(LINES);
        let account = Self {
            lines,
            json,
            color: !json && std::io::stdout().is_terminal(),
            sessions: BTreeMap::new(),
            count: 0,
            signals: BTreeMap::new(),
            accepted: BTreeMap::new(),
            sms_seconds: 0.0,
            asked_at: None,
        };
        (account, sender)
    }

    /// Says what runs where and what to try.
    pub(super) fn introduce(&self, stage: &Stage, wanted: &Demo) {
        let site = &stage.site;
        let (http, dns, proxy) = (site.http, site.dns, site.proxy);
        let name = &site.name;
        let url = format!("http://{name}:{}/", http.port());
        if self.json {
            println!("{}", json!({ "ready": true, "url": url, "dns": dns, "proxy": proxy }));
            return;
        }
        let bold = |text: &str| self.paint("1", text);
        println!("{}", bold("Ringback: the terminal is rung, and calls back."));
        println!();
        let place = match stage.lab {
            Some(_) => "behind the operator's NAT and firewall",
            None => "on this machine; --lab puts it behind a real NAT",
        };
        println!("  terminal       {}   {place}", site.terminal);
        println!("  private proxy  listens on nothing; hears SMS, dials out");
        println!(
            "  operator       {}   simulated SMSC (SMPP 3.4), an SMS takes {} s",
            site.operator_outside, wanted.sms_delay
        );
        println!("  public proxy   {http} (HTTP), {proxy} (SOCKS5, CONNECT)");
        println!("  responder      {dns} (DNS)");
        println!();
        if wanted.once {
            return;
        }
        if let Some(lab) = &stage.lab {
            println!("  From another shell, as the client in the lab:");
            println!("  curl   {}", lab.curl(&url));
        } else {
            println!("  Open   {}", bold(&url));
            println!("  curl   curl {url}");
            println!("  dig    dig @{} -p {} {name} A", dns.ip(), dns.port());
            println!("  SOCKS  curl --socks5-hostname {proxy} http://{name}/");
        }
        println!("  Stop   Ctrl-C");
        println!();
    }

    /// Says that the terminal cannot be reached directly, as was just tried.
    pub(super) fn premise(&self, premise: &Premise) {
        if self.json {
            println!(
                "{}",
                json!({ "direct": premise.outcome, "blocked_packets": premise.blocked })
            );
            return;
        }
        println!(
            "  first, directly: client → {}   {}",
            premise.tried,
            self.paint("31", &premise.outcome)
        );
        println!("  the operator's firewall has dropped {} packets", premise.blocked);
        println!();
    }

    /// Tells every step as it happens; returns when the roles are gone.
    pub(super) async fn follow(&mut self) {
        while let Some(line) = self.lines.recv().await {
            self.take(line);
        }
    }

    /// Tells the last steps and what the one access cost.
    pub(super) async fn conclude(&mut self, visit: &Visit) {
        while let Ok(Some(line)) = timeout(TAIL_PATIENCE, self.lines.recv()).await {
            self.take(line);
        }
        let sms_ms = self.sms_seconds * 1000.0;
        let waited_ms = visit.first_octet_ms - visit.connected_ms;
        let own_ms = waited_ms - sms_ms;
        if self.json {
            let steps: Vec<_> = self.sessions.values().flat_map(|it| it.steps.iter()).collect();
            let told = json!({
                "succeeded": visit.succeeded(), "visit": visit, "steps": steps,
                "operator_ms": sms_ms, "own_overhead_ms": own_ms,
            });
            println!("{told}");
            return;
        }
        println!();
        let verdict = if visit.succeeded() {
            self.paint("32", "reached")
        } else {
            self.paint("31", "not reached")
        };
        println!("  {verdict}: HTTP {}, {} octets", visit.status, visit.octets);
        if let Some(refusal) = &visit.refusal {
            println!("  {refusal}");
        }
        println!(
            "  first octet {waited_ms:.1} ms after the connect: {sms_ms:.1} ms of it the operator's SMS,"
        );
        println!("  {} our own", self.paint("1", &format!("{own_ms:.1} ms")));
    }

    fn take(&mut self, line: Line) {
        match (line.message.as_str(), &line.message_id) {
            ("sms accepted", Some(id)) => {
                self.accepted.insert(id.clone(), line.at);
                forget_beyond(&mut self.accepted);
            }
            ("sms delivered", Some(id)) => {
                if let Some(accepted) = self.accepted.remove(id) {
                    self.sms_seconds = (line.at - accepted).rem_euclid(DAY);
                }
            }
            (_, _) => {}
        }
        let Some(step) = line.step.clone() else { return };
        self.step(&step, &line);
    }

    fn step(&mut self, step: &str, line: &Line) {
        if step == "A" || step == "B" {
            let start = *self.asked_at.get_or_insert(line.at);
            self.tell("dns", step, line.at - start, line, false);
            return;
        }
        if let (Some(session), Some(signal)) = (&line.session, &line.signal) {
            self.signals.insert(signal.clone(), session.clone());
            forget_beyond(&mut self.signals);
        }
        let by_signal = || line.signal.as_ref().and_then(|it| self.signals.get(it));
        let Some(session) = line.session.as_ref().or_else(by_signal).cloned() else { return };
        let count = &mut self.count;
        let told = self.sessions.entry(session).or_insert_with(|| Told {
            number: {
                *count += 1;
                *count
            },
            start: line.at,
            steps: BTreeSet::new(),
            by_sms: false,
        });
        told.by_sms |= step == "D" && line.over.as_deref() != Some("standby");
        told.steps.insert(step.to_owned());
        let (label, since, by_sms) =
            (format!("#{}", told.number), line.at - told.start, told.by_sms);
        self.tell(&label, step, since, line, by_sms);
        if REMEMBERED < self.sessions.len() {
            self.sessions.pop_first();
        }
    }

    fn tell(&self, label: &str, step: &str, since: f64, line: &Line, by_sms: bool) {
        let since = since.rem_euclid(DAY);
        if self.json {
            let told = json!({
                "label": label, "step": step, "seconds": since, "role": line.role,
                "session": line.session, "signal": line.signal, "time": line.timestamp,
            });
            println!("{told}");
            return;
        }
        let (who, what) = words(step, by_sms);
        let letter = self.paint("1;36", step);
        println!("  {label:<5} {since:>8.3} s  {letter}  {who:<30} {what}");
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn words(step: &str, by_sms: bool) -> (&'static str, &'static str) {
    match (step, by_sms) {
        ("A", _) => ("client → responder", "asks for the terminal's name"),
        ("B", _) => ("responder → client", "tells the public proxy's address"),
        ("C", _) => ("client → public proxy", "connects, and is held"),
        ("D", true) => ("public → private proxy", "rings: one sealed SMS"),
        ("D", false) => ("public → private proxy", "rings over a tunnel that stands by: free"),
        ("E", _) => ("private proxy → terminal", "connects to the service"),
        ("F", _) => ("terminal → private proxy", "acknowledges"),
        ("G", _) => ("private → public proxy", "dials back, outward: TLS 1.3"),
        ("H", _) => ("public → private proxy", "knows it, and lets it in"),
        ("I", _) => ("public proxy → client", "acknowledges: spliced, bytes flow"),
        (_, _) => ("", ""),
    }
}

fn forget_beyond<T>(map: &mut BTreeMap<String, T>) {
    if REMEMBERED < map.len() {
        map.pop_first();
    }
}
