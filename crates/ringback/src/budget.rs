//! `ringback budget`: what is spent of each budget, read from the file and the journal.
//!
//! Changes nothing, and needs no proxy to run. Sources are shown by a wider network: addresses are
//! personal data.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use ringback_proto::access_request::Kid;
use ringback_proto::budget::{BreakerIs, Budgets, Money, Report, Used};
use serde_json::{Value, json};

use crate::cli;
use crate::config::{Config, Mistakes, PublicConfig};
use crate::{clock, journal};

/// Prints the state of all budgets.
pub fn run(wanted: &cli::Show) -> anyhow::Result<()> {
    let config = match Config::load(&wanted.file.config)? {
        Config::Public(config) => config,
        other @ (Config::Private(_) | Config::Operator(_) | Config::Responder(_)) => {
            return Err(Mistakes::of_role(&wanted.file.config, "public", &other).into());
        }
    };
    let path = config.state.join(journal::FILE);
    let replay = journal::read(&path)
        .with_context(|| format!("RB-STATE: cannot read {}", path.display()))?;
    let mut budgets = Budgets::new(config.budget.rules.clone());
    replay.records.iter().for_each(|it| budgets.enter(it));
    let report = budgets.report(clock::unix_seconds());
    let names = config.directory.terminals();
    let names: BTreeMap<Kid, String> =
        names.map(|it| (it.key.kid, it.name.as_str().to_owned())).collect();
    let mut out = std::io::stdout().lock();
    if wanted.json {
        writeln!(out, "{}", as_json(&report, &config, &names))?;
        return Ok(());
    }
    let color = out.is_terminal();
    Ok(write!(out, "{}", Table { color, currency: &config.budget.currency }.of(&report, &names))?)
}

fn name(names: &BTreeMap<Kid, String>, kid: Kid) -> String {
    names.get(&kid).cloned().unwrap_or_else(|| format!("{kid} (gone)"))
}

fn as_json(report: &Report, config: &PublicConfig, names: &BTreeMap<Kid, String>) -> Value {
    let one = |it: &Used| json!({ "used": it.used, "limit": it.limit, "free_in_seconds": it.wait });
    let money = |it: &Used| {
        let text = |micros| Money::from_micros(micros).to_string();
        json!({ "used": text(it.used), "limit": text(it.limit), "free_in_seconds": it.wait })
    };
    let tenants = report.tenants.iter().map(|(tenant, [rings, spent])| {
        json!({
            "name": tenant.as_str(), "rings_per_day": one(rings), "money_per_day": money(spent),
            "breaker": report.tenant_breakers.get(tenant).map(|it| breaker(*it)),
        })
    });
    let terminals = report.terminals.iter().map(|(kid, [few, hour, day])| {
        json!({
            "name": name(names, *kid),
            "per_5_minutes": one(few), "per_hour": one(hour), "per_day": one(day),
        })
    });
    let sources = report.sources.iter().filter(|(_, it)| it.is_over_half());
    let sources =
        sources.map(|(it, used)| json!({ "source": format!("{it:?}"), "per_hour": one(used) }));
    json!({
        "currency": config.budget.currency,
        "tenants": tenants.collect::<Vec<_>>(),
        "terminals": terminals.collect::<Vec<_>>(),
        "sources_over_half": sources.collect::<Vec<_>>(),
        "breaker": breaker(report.breaker),
        "last_hour": {
            "called": report.called, "answered": report.answered, "alarm": report.few_answered,
        },
    })
}

fn breaker(is: BreakerIs) -> Value {
    match is {
        BreakerIs::Closed { unanswered } => json!({ "is": "closed", "unanswered": unanswered }),
        BreakerIs::Open { seconds } => json!({ "is": "open", "free_in_seconds": seconds }),
        BreakerIs::HalfOpen => json!({ "is": "half-open" }),
    }
}

struct Table<'a> {
    color: bool,
    currency: &'a str,
}

impl Table<'_> {
    fn of(&self, report: &Report, names: &BTreeMap<Kid, String>) -> String {
        let mut rows = vec![self.head(["tenant", "rings a day", "money a day", "", "next free"])];
        for (tenant, [rings, money]) in &report.tenants {
            let next = self.next(rings.wait.max(money.wait));
            let cells = [tenant.to_string(), self.used(rings), self.money(money), String::new()];
            rows.push(self.row(cells, next));
        }
        rows.push(String::new());
        rows.push(self.head(["terminal", "in 5 minutes", "an hour", "a day", "next free"]));
        for (kid, windows) in &report.terminals {
            let next = self.next(windows.iter().map(|it| it.wait).max().unwrap_or(0));
            let [few, hour, day] = windows.each_ref().map(|it| self.used(it));
            rows.push(self.row([name(names, *kid), few, hour, day], next));
        }
        let busy: Vec<_> = report.sources.iter().filter(|(_, it)| it.is_over_half()).collect();
        if !busy.is_empty() {
            rows.push(String::new());
            rows.push(self.head(["source over half", "an hour", "", "", "next free"]));
        }
        for (source, used) in busy {
            let cells = [format!("{source:?}"), self.used(used), String::new(), String::new()];
            rows.push(self.row(cells, self.next(used.wait)));
        }
        rows.push(String::new());
        rows.push(self.breaker(report.breaker, ""));
        for (tenant, is) in &report.tenant_breakers {
            rows.push(self.breaker(*is, &format!(" (tenant {tenant})")));
        }
        let ratio = format!("answered  {} of {} in an hour", report.answered, report.called);
        rows.push(if report.few_answered { self.paint("31", &ratio) } else { ratio });
        rows.join("\n") + "\n"
    }

    fn breaker(&self, is: BreakerIs, whose: &str) -> String {
        match is {
            BreakerIs::Closed { unanswered } => {
                format!("breaker   closed, {unanswered} unanswered in a row{whose}")
            }
            BreakerIs::Open { seconds } => {
                self.paint("31", &format!("breaker   open: nobody is rung for {seconds} s{whose}"))
            }
            BreakerIs::HalfOpen => {
                self.paint("33", &format!("breaker   half open: one call at a time{whose}"))
            }
        }
    }

    fn head(&self, cells: [&str; 5]) -> String {
        let [a, b, c, d, e] = cells;
        self.paint("1", format!("{a:<28}{b:>16}{c:>22}{d:>14}{e:>12}").trim_end())
    }

    fn row(&self, cells: [String; 4], next: String) -> String {
        let [a, b, c, d] = cells;
        format!("{a:<28}{b:>16}{c:>22}{d:>14}{next}")
    }

    /// Colored after it was padded, since a terminal does not count colors as columns.
    fn next(&self, seconds: u64) -> String {
        let text = match seconds {
            0 => "now".to_owned(),
            1..=119 => format!("{seconds} s"),
            120..=7_199 => format!("{} min", seconds.div_ceil(60)),
            7_200.. => format!("{} h", seconds.div_ceil(3_600)),
        };
        let padded = format!("{text:>12}");
        if seconds == 0 { padded } else { self.paint("31", &padded) }
    }

    fn used(&self, it: &Used) -> String {
        let limit = if it.limit == 0 { "–".to_owned() } else { it.limit.to_string() };
        format!("{} / {limit}", it.used)
    }

    fn money(&self, it: &Used) -> String {
        let text = |micros| Money::from_micros(micros).to_string();
        let limit = if it.limit == 0 { "–".to_owned() } else { text(it.limit) };
        format!("{} / {limit} {}", text(it.used), self.currency).trim_end().to_owned()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
