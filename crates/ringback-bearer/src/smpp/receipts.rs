//! Who wants to know what became of a message that the operator has taken.

use std::collections::{BTreeMap, VecDeque};

use ringback_proto::smpp::receipt::{Receipt, State};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{Delivery, Failure, limits, tell};

/// The stories that wait for a receipt.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    stories: BTreeMap<String, mpsc::Sender<Delivery>>,
    oldest_first: VecDeque<String>,
}

impl Receipts {
    pub(super) fn insert(&mut self, message_id: String, story: mpsc::Sender<Delivery>) {
        while limits::RECEIPTS <= self.oldest_first.len() {
            let oldest = self.oldest_first.pop_front();
            oldest.and_then(|id| self.stories.remove(&id));
        }
        let key = key(&message_id);
        self.oldest_first.push_back(key.clone());
        self.stories.insert(key, story);
    }

    pub(super) fn tell(&mut self, receipt: &Receipt) {
        let step = match receipt.state {
            State::Enroute | State::Accepted | State::Unknown => return,
            State::Delivered => Delivery::Delivered,
            State::Expired | State::Deleted | State::Undeliverable | State::Rejected => {
                Delivery::Failed(Failure::Undelivered)
            }
        };
        let message_id = receipt.message_id.as_str();
        debug!(message_id, state = ?receipt.state, "receipt");
        let Some(story) = self.stories.remove(&key(message_id)) else { return };
        tell(&story, step);
    }
}

/// Operators write one id in either case, and with or without leading zeros.
fn key(message_id: &str) -> String {
    message_id.trim_start_matches('0').to_ascii_lowercase()
}
