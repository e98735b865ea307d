//! Who wants to know what became of a message that the operator has taken, and who no longer does.

use std::collections::{BTreeMap, VecDeque};

use ringback_proto::smpp::receipt::{Receipt, State};
use ringback_proto::smpp::text::{Address, Text};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use crate::{Delivery, Failure, limits, tell};

/// The stories that wait for a receipt.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    kept: BTreeMap<String, Kept>,
    oldest_first: VecDeque<String>,
    /// Each waits until nobody listens to one story any more, and names its message.
    watching: JoinSet<String>,
}

/// A message that the operator has taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) message_id: Text<65>,
    pub(super) destination: Address,
}

#[derive(Debug)]
struct Kept {
    taken: Taken,
    story: mpsc::Sender<Delivery>,
    _watch: Option<Watch>,
}

/// Ends a watch over a story when the story is not kept any more.
#[derive(Debug)]
struct Watch(AbortHandle);

impl Receipts {
    /// Keeps a story, and watches for its listener to leave if that is asked for.
    pub(super) fn insert(&mut self, taken: Taken, story: mpsc::Sender<Delivery>, watch: bool) {
        while limits::RECEIPTS <= self.oldest_first.len() {
            let oldest = self.oldest_first.pop_front();
            oldest.and_then(|id| self.kept.remove(&id));
        }
        let key = key(taken.message_id.as_str());
        self.oldest_first.push_back(key.clone());
        let watch = watch.then(|| self.watch(key.clone(), story.clone()));
        self.kept.insert(key, Kept { taken, story, _watch: watch });
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
        let Some(kept) = self.kept.remove(&key(message_id)) else { return };
        tell(&kept.story, step);
    }

    /// The next message that nobody wants any more and no receipt was about; `None` while none is
    /// watched. Cancel safe.
    pub(super) async fn forsaken(&mut self) -> Option<Taken> {
        loop {
            let Ok(key) = self.watching.join_next().await? else { continue };
            if let Some(kept) = self.kept.remove(&key) {
                return Some(kept.taken);
            }
        }
    }

    fn watch(&mut self, key: String, story: mpsc::Sender<Delivery>) -> Watch {
        Watch(self.watching.spawn(async move {
            story.closed().await;
            key
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Operators write one id in either case, and with or without leading zeros.
fn key(message_id: &str) -> String {
    message_id.trim_start_matches('0').to_ascii_lowercase()
}
