//! What is told on standard error while a client waits and when it fails: for people or machines.
//!
//! Standard output carries the session and nothing else.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringback_proto::hello::SessionId;
use serde_json::{Value, json};
use tokio::time::{Instant, interval_at};

use super::Fault;
use crate::limits::{PROGRESS_AFTER, PROGRESS_EVERY};

/// Tells how calls go.
#[derive(Debug)]
pub(crate) struct Teller {
    json: bool,
    shows: bool,
    since: Instant,
    stage: Mutex<String>,
}

impl Teller {
    pub(crate) fn new(json: bool) -> Self {
        let shows = !json && std::io::stderr().is_terminal();
        Self { json, shows, since: Instant::now(), stage: Mutex::new("connecting".to_owned()) }
    }

    /// The same, beginning with another stage than that of connecting.
    pub(crate) fn at(self, stage: &'static str) -> Self {
        Self { stage: Mutex::new(stage.to_owned()), ..self }
    }

    /// Waits for a call and, if that takes long, shows how far it is.
    pub(crate) async fn watch<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        let mut shown = false;
        let mut tick = interval_at(Instant::now() + PROGRESS_AFTER, PROGRESS_EVERY);
        loop {
            tokio::select! {
                done = &mut call => {
                    if shown {
                        self.say("\r\x1b[K");
                    }
                    return done;
                }
                _ = tick.tick(), if self.shows => {
                    shown = true;
                    let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    self.say(&format!("\r\x1b[K{stage} … {} s", self.since.elapsed().as_secs()));
                }
            }
        }
    }

    pub(super) fn stage(&self, stage: &str) {
        self.keep(stage);
        self.event(&json!({ "event": "stage", "stage": stage }));
    }

    pub(super) fn ringing(&self, session: SessionId) {
        self.keep("ringing");
        let session = session.to_string();
        self.event(&json!({ "event": "stage", "stage": "ringing", "session": session }));
    }

    pub(super) fn connected(&self) {
        self.event(&json!({ "event": "connected" }));
    }

    pub(super) fn ended(&self, sent: u64, received: u64) {
        self.event(&json!({ "event": "ended", "sent": sent, "received": received }));
    }

    pub(super) fn armed(&self, armed: Duration) {
        let seconds = armed.as_secs();
        self.event(&json!({ "event": "armed", "seconds": seconds }));
        self.line(&format!("the terminal's ports are open for your address for {seconds} s"));
    }

    pub(super) fn listening(&self, address: std::net::SocketAddr) {
        self.event(&json!({ "event": "listening", "address": address.to_string() }));
        self.line(&format!("listening on {address}"));
    }

    pub(crate) fn fault(&self, fault: &Fault) {
        let (retry, refusal) = match fault {
            Fault::Refused(told) => (told.retry.map(|it| it.as_secs()), told.refusal()),
            Fault::Unreachable(_)
            | Fault::Stranger(_)
            | Fault::NotTheTerminal(_)
            | Fault::NotRung { .. }
            | Fault::Cut(_)
            | Fault::Local(_)
            | Fault::Stopped => (None, None),
        };
        let detail = refusal.map_or_else(|| fault.to_string(), |it| it.cure().to_owned());
        let title = refusal.map(|it| it.sentence());
        self.event(&json!({
            "event": "failed", "code": fault.code(), "title": title, "detail": detail,
            "retry_after": retry,
        }));
        self.line(&format!("error: {fault}"));
    }

    fn keep(&self, stage: &str) {
        stage.clone_into(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn event(&self, event: &Value) {
        if self.json {
            self.say(&format!("{event}\n"));
        }
    }

    fn line(&self, text: &str) {
        if !self.json {
            self.say(&format!("{text}\n"));
        }
    }

    fn say(&self, text: &str) {
        // Whoever has closed it does not want to hear it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
