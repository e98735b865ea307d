//! Hearing by ModemManager: what it lists is handed on and deleted.
//!
//! A message is deleted only after it was taken, or found to be none of ours.

use std::collections::HashSet;

use ringback_proto::limits::MODEM_LISTING;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};
use zbus::zvariant::OwnedObjectPath;

use super::bus::{self, Bus, Fault, Properties, text_of};
use super::{Lost, MESSAGES, Never};
use crate::Heard;
use crate::health::{Reporter, Verdict};
use crate::limits::{MANAGER_ANSWER, MANAGER_DELETES_AFTER, MANAGER_MESSAGE_OCTETS};

/// `MMSmsState`.
const RECEIVING: u32 = 2;
const RECEIVED: u32 = 3;
/// `MMSmsPduType`.
const DELIVER: u32 = 1;

/// What is heard of a modem.
pub(super) struct Hearing<'a> {
    bus: &'a Bus,
    modem: &'a OwnedObjectPath,
    hearing: &'a mpsc::Sender<Heard>,
    /// Done with, and still to be deleted.
    done: HashSet<OwnedObjectPath>,
    deleting_at: Option<Instant>,
    /// Incomplete when the store was last listed for its own sake.
    incomplete: HashSet<OwnedObjectPath>,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(
        bus: &'a Bus,
        modem: &'a OwnedObjectPath,
        hearing: &'a mpsc::Sender<Heard>,
    ) -> Self {
        let (done, incomplete) = (HashSet::new(), HashSet::new());
        Self { bus, modem, hearing, done, deleting_at: None, incomplete }
    }

    /// Lists when there is news, and from time to time.
    pub(super) async fn hear(
        &mut self,
        mut news: watch::Receiver<()>,
        reporter: &Reporter,
    ) -> Result<Never, Lost> {
        let mut listing_at = Instant::now();
        loop {
            news.mark_unchanged();
            let is_due = listing_at <= Instant::now();
            if is_due {
                listing_at = Instant::now() + MODEM_LISTING;
            }
            match self.list(is_due).await {
                Ok(()) => reporter.found(MESSAGES, Verdict::Good, "heard and deleted"),
                Err(fault @ Fault::Refused { .. }) => {
                    warn!(%fault, "messages are not heard");
                    let text =
                        format!("{fault}: the modem, or polkit's rules, must allow messages");
                    reporter.found(MESSAGES, Verdict::Bad, text);
                }
                Err(fault @ (Fault::Silent(_) | Fault::Broken(_))) => return Err(fault.into()),
            }
            let next = self.deleting_at.map_or(listing_at, |it| it.min(listing_at));
            let _changed_or_due = timeout_at(next, news.changed()).await;
        }
    }

    /// Hands on what is new, and deletes what is done with once nothing came for a while.
    async fn list(&mut self, is_due: bool) -> Result<(), Fault> {
        let listed: Vec<OwnedObjectPath> =
            self.bus.call(MANAGER_ANSWER, self.modem, bus::MESSAGING, "List", &()).await?;
        self.done.retain(|it| listed.contains(it));
        // Whoever only looks, as the doctor does, leaves the messages to whoever hears them.
        if self.hearing.is_closed() {
            return Ok(());
        }
        let before = if is_due { std::mem::take(&mut self.incomplete) } else { HashSet::new() };
        for path in listed {
            if self.done.contains(&path) {
                continue;
            }
            let Ok(properties) = self.bus.properties(&path, bus::SMS).await else { continue };
            match state(&properties) {
                RECEIVED if self.hand(&properties).await => {}
                // Its other parts should have come long ago.
                RECEIVING if before.contains(&path) => {}
                RECEIVING if is_due => {
                    self.incomplete.insert(path);
                    continue;
                }
                // Being received, ours to send, or left to whoever hears it.
                _ => continue,
            }
            self.done.insert(path);
            self.deleting_at = Some(Instant::now() + MANAGER_DELETES_AFTER);
        }

        if self.deleting_at.is_none_or(|it| Instant::now() < it) {
            return Ok(());
        }
        for path in &self.done {
            self.delete(path).await?;
        }
        // What could not be deleted is tried again with the next message.
        self.deleting_at = None;
        Ok(())
    }

    /// Hands a message on if it is one; waits until it is taken, and tells whether it is done with.
    async fn hand(&self, properties: &Properties) -> bool {
        let kind = properties.get("PduType").and_then(|it| it.downcast_ref::<u32>().ok());
        let data =
            properties.get("Data").and_then(|it| Vec::<u8>::try_from(it.try_clone().ok()?).ok());
        let octets = match data {
            Some(data) if !data.is_empty() => data,
            Some(_) | None => text_of(properties, "Text").into_bytes(),
        };
        if kind != Some(DELIVER) || MANAGER_MESSAGE_OCTETS < octets.len() {
            debug!("a message that is none of ours");
            return true;
        }
        let heard = Heard { octets, from: text_of(properties, "Number"), to: String::new() };
        self.hearing.send(heard).await.is_ok()
    }

    async fn delete(&self, path: &OwnedObjectPath) -> Result<(), Fault> {
        let (modem, message) = (self.modem, (path,));
        match self.bus.call(MANAGER_ANSWER, modem, bus::MESSAGING, "Delete", &message).await {
            Ok(()) => Ok(()),
            Err(fault @ Fault::Refused { .. }) => {
                warn!(%fault, "a message cannot be deleted");
                Ok(())
            }
            Err(fault @ (Fault::Silent(_) | Fault::Broken(_))) => Err(fault),
        }
    }
}

fn state(properties: &Properties) -> u32 {
    properties.get("State").and_then(|it| it.downcast_ref().ok()).unwrap_or_default()
}
