//! What the doctor looks at besides the configuration: the clock, the state folder and the bearers.
//!
//! A running role is asked. Where none runs, its bearers are started for a moment, and nothing that
//! they hear is taken: their receivers are gone before they begin, so that messages stay with the
//! operator.

use std::collections::BTreeMap;
use std::path::Path;

use ringback_bearer::Bearer;
use ringback_proto::ipsec::End;
use rustix::fs::{Access, access};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connect::Teller;
use crate::control::client::Asked;
use crate::control::{Found, Question, Said};
use crate::limits::{CONTROL_PATIENCE, DOCTOR_FAREWELL, DOCTOR_PATIENCE};
use crate::table::Tone;
use crate::{clock, state};

/// Looks at what a role needs; at what touches nothing only, if so wanted.
pub(super) async fn look(config: Config, offline: bool, stop: &CancellationToken) -> Vec<Found> {
    let (state, bearers, ipsec) = match config {
        Config::Public(config) => {
            (config.state, config.bearers, config.ipsec.map(|it| (it, End::Public)))
        }
        Config::Private(config) => {
            (config.state, config.bearers, config.ipsec.map(|it| (it, End::Private)))
        }
        Config::Responder(_) | Config::Operator(_) => return Vec::new(),
    };
    let mut found = vec![clock(), writable(&state)];
    let tenant = state::tenant(&state);
    if let Some((ipsec, end)) = &ipsec {
        let runs = matches!(&tenant, Ok(Some(_)));
        found.extend(super::ipsec::machine(ipsec, *end, runs));
    }
    if offline {
        return found;
    }
    if let (Some((ipsec, end)), Ok(tenant)) = (&ipsec, &tenant) {
        found.extend(super::ipsec::daemon(ipsec, *end, tenant.is_some()).await);
    }
    match tenant {
        Ok(Some(tenant)) => {
            let text = format!("runs as process {}", tenant.pid);
            found.push(row("proxy", "process", Tone::Good, text));
            found.extend(ask(&state).await);
        }
        Ok(None) => {
            let text = "does not run: its bearers were started for this look";
            found.push(row("proxy", "process", Tone::Good, text));
            found.extend(start(bearers, stop).await);
        }
        Err(fault) => {
            let text = format!("cannot tell whether it runs: {fault}; run this as its user");
            found.push(row("proxy", "process", Tone::Bad, text));
        }
    }
    found
}

pub(super) fn row(of: &str, what: &str, tone: Tone, text: impl Into<String>) -> Found {
    Found { of: of.to_owned(), what: what.to_owned(), tone, text: text.into() }
}

fn clock() -> Found {
    if clock::synchronized() {
        return row("machine", "clock", Tone::Good, "set");
    }
    row("machine", "clock", Tone::Bad, "is before 2026: set it, or have it synchronized")
}

/// Whether the folder, or the nearest one above it that there is, lets its files be written.
fn writable(state: &Path) -> Found {
    let there = state.ancestors().find(|it| it.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == state => row("machine", "state", Tone::Good, "writable"),
        Ok(()) => row("machine", "state", Tone::Good, "made at the first start"),
        Err(fault) => {
            let text = format!("{}: {fault}: make it this user's", there.display());
            row("machine", "state", Tone::Bad, text)
        }
    }
}

async fn ask(state: &Path) -> Vec<Found> {
    let asked = async { Asked::new(state, &Question::Health).await?.next().await };
    let said = match timeout(CONTROL_PATIENCE, asked).await {
        Ok(said) => said.unwrap_or_else(Said::Failed),
        Err(_) => {
            return vec![row("proxy", "control", Tone::Bad, "RB-CONTROL: it does not answer")];
        }
    };
    match said {
        Said::Health { findings } => findings,
        Said::Failed(failed) => vec![row("proxy", "control", Tone::Bad, failed.to_string())],
        Said::Rung { .. }
        | Said::Submitted { .. }
        | Said::Unconfirmed
        | Said::Delivered
        | Said::Undelivered
        | Said::Answered { .. }
        | Said::Reachable
        | Said::Guarded => {
            vec![row("proxy", "control", Tone::Bad, "RB-CONTROL: it is of another version")]
        }
    }
}

async fn start(bearers: BTreeMap<String, Bearer>, stop: &CancellationToken) -> Vec<Found> {
    let (tasks, end) = (TaskTracker::new(), stop.child_token());
    let begin = |(name, bearer): (String, Bearer)| {
        let (transmitter, _, health) = bearer.start(&tasks, end.clone());
        (name, (transmitter, health))
    };
    let mut started: BTreeMap<_, _> = bearers.into_iter().map(begin).collect();
    tasks.close();
    let settled = async {
        for (_, health) in started.values_mut() {
            health.settled().await;
        }
    };
    let teller = Teller::new(false).at("looking at the bearers");
    let watched = teller.watch(timeout(DOCTOR_PATIENCE, settled));
    let _ = stop.run_until_cancelled(watched).await;
    let found = started.iter().flat_map(|(name, (_, health))| Found::of(name, health)).collect();
    end.cancel();
    let _ = timeout(DOCTOR_FAREWELL, tasks.wait()).await;
    found
}
