//! `ringback ring`: one real ring of a terminal by one route, told as it goes.
//!
//! The running public proxy rings, pays and waits; this asks it to, and shows what it says.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ringback_proto::door::Told;
use ringback_proto::refusal::Refusal;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::cli::Ring;
use crate::config::{Config, Mistakes};
use crate::connect::{Fault, Teller};
use crate::control::client::Asked;
use crate::control::{Failed, Question, Said};
use crate::limits::{CONTROL_PATIENCE, PROOF_PATIENCE};

/// Rings, and hands back how that ended in the exit codes of `ringback connect`.
pub async fn run(wanted: Ring, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let file = &wanted.file.config;
    let config = match Config::load(file)? {
        Config::Public(config) => config,
        other @ (Config::Private(_) | Config::Responder(_) | Config::Operator(_)) => {
            return Err(Mistakes::of_role(file, "public", &other).into());
        }
    };
    let scribe = Scribe {
        json: wanted.json,
        terminal: wanted.name.to_string(),
        currency: config.budget.currency.clone(),
        teller: Teller::new(wanted.json).at("waiting for the dial-back"),
        since: Instant::now(),
    };
    let question = Question::Ring {
        terminal: wanted.name.to_string(),
        route: wanted.route,
        service: wanted.service,
    };
    let rung = async {
        let mut asked = match Asked::new(&config.state, &question).await {
            Ok(asked) => asked,
            Err(failed) => return scribe.end(failed),
        };
        let mut has_left = false;
        loop {
            let said = scribe.teller.watch(asked.next()).await;
            let said = said.unwrap_or_else(Said::Failed);
            if let Said::Failed(failed) = said {
                return scribe.end(if has_left { failed } else { unsent(failed) });
            }
            has_left |= matches!(said, Said::Submitted { .. } | Said::Unconfirmed);
            scribe.tell(&said)?;
            if said.is_last() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    };
    tokio::select! {
        rung = timeout(PROOF_PATIENCE + CONTROL_PATIENCE, rung) => rung?,
        () = stop.cancelled() => {
            scribe.teller.fault(&Fault::Stopped);
            Ok(Fault::Stopped.exit_code().into())
        }
    }
}

/// Of a signal that never left, nobody can say that it was not answered.
fn unsent(failed: Failed) -> Failed {
    if failed.code != Refusal::NoAnswer.code() {
        return failed;
    }
    let detail = "The bearer could not send the signal in time: `ringback doctor` says why.";
    Failed { detail: detail.to_owned(), ..Refusal::Unringable.into() }
}

/// As of a session that did not begin: a wrong route is bad usage, all else a refusal.
fn exit_code(failed: Failed) -> ExitCode {
    if failed.code == "RB-ROUTE" {
        return ExitCode::from(64); // EX_USAGE
    }
    let retry = failed.retry_after.map(Duration::from_secs);
    Fault::Refused(Told { code: failed.code, retry }).exit_code().into()
}

/// Writes a ring's stages: for people on a terminal or for machines, one line each.
struct Scribe {
    json: bool,
    terminal: String,
    currency: String,
    teller: Teller,
    since: Instant,
}

impl Scribe {
    fn end(&self, failed: Failed) -> anyhow::Result<ExitCode> {
        if self.json {
            self.tell(&failed.clone().into())?;
        } else {
            eprintln!("error: {failed}");
        }
        Ok(exit_code(failed))
    }

    fn tell(&self, said: &Said) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        if self.json {
            return Ok(writeln!(out, "{}", serde_json::to_string(said)?)?);
        }
        let seconds = self.since.elapsed().as_secs_f64();
        Ok(writeln!(out, "{seconds:>7.2} s  {}", self.sentence(said))?)
    }

    fn sentence(&self, said: &Said) -> String {
        match said {
            Said::Rung { route, place, of, service, cost, patience_seconds } => {
                let cost = format!("{cost} {}", self.currency);
                format!(
                    "{} is rung by {route} (route {place} of {of}) for service {service}\n{:>11}\
                     it costs {}; {patience_seconds} s to answer",
                    self.terminal,
                    "",
                    cost.trim_end()
                )
            }
            Said::Submitted { message_id } if message_id.is_empty() => "submitted".to_owned(),
            Said::Submitted { message_id } => format!("submitted (message id {message_id})"),
            Said::Unconfirmed => "submitted, perhaps: the operator has not confirmed it".to_owned(),
            Said::Delivered => "delivered, says the operator".to_owned(),
            Said::Undelivered => "not delivered, says the operator".to_owned(),
            Said::Answered { seconds } => format!("answered: dialed back after {seconds:.2} s"),
            Said::Reachable => "the service is reachable".to_owned(),
            Said::Guarded => {
                "the private proxy connects to the service once it knows who calls".to_owned()
            }
            Said::Health { .. } | Said::Failed(_) => String::new(),
        }
    }
}
