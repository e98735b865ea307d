//! What the process says of itself: one line an event, as text for people or JSON for machines.
//!
//! No secret is ever logged, and no person above DEBUG: steps carry ids, not names.

use std::io::IsTerminal;

use ringback_proto::access_request::SignalId;
use ringback_proto::hello::SessionId;
use tracing_subscriber::EnvFilter;

use crate::splice::Ended;

/// Which variable chooses what is logged, in the form that `tracing` filters have.
pub const FILTER: &str = "RINGBACK_LOG";
/// The target of [`step`]; `RINGBACK_LOG=info,ringback::step=debug` shows the steps.
pub const STEPS: &str = "ringback::step";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; colored on a terminal only.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error: what [`FILTER`] chooses, or what is usual.
pub fn start(format: Format, usual: &str) {
    let wanted = std::env::var(FILTER).unwrap_or_else(|_| usual.into());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|fault| {
        eprintln!("warning: {FILTER}={wanted}: {fault}; logging as with \"info\"");
        EnvFilter::new("info")
    });
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        Format::Json => lines.json().flatten_event(true).with_span_list(false).init(),
    }
}

/// Logs one step of the method (A–I) with the ids that are known by then.
///
/// The session's id is the same at both proxies; a signal's ties steps D to H together before the
/// private proxy has been told the session.
pub fn step(step: &'static str, session: Option<SessionId>, signal: Option<SignalId>) {
    if !tracing::enabled!(target: STEPS, tracing::Level::DEBUG) {
        return;
    }
    let session = session.map(|it| it.to_string());
    let signal = signal.map(|it| it.to_string());
    tracing::debug!(target: STEPS, step, session, signal);
}

/// Logs a session's end: the second of the two lines that each has.
pub fn ended(session: SessionId, ended: &Ended) {
    let Ended { to_terminal, to_client, how } = ended;
    tracing::info!(%session, to_terminal, to_client, %how, "session ended");
}

/// Logs step D: what carries the signal, and for the how-manieth time it is tried.
pub fn rang(session: Option<SessionId>, signal: SignalId, over: &str, attempt: usize) {
    if !tracing::enabled!(target: STEPS, tracing::Level::DEBUG) {
        return;
    }
    let session = session.map(|it| it.to_string());
    tracing::debug!(target: STEPS, step = "D", session, signal = %signal, over, attempt);
}
