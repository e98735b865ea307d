//! Who is still answered for: what a reload revokes is cut at once.
//!
//! Every dial, tunnel and session of a key id holds on to that key id's presence. When a reload finds
//! the key id gone they are dropped, and what was being carried is reset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use ringback_proto::access_request::Kid;
use tokio_util::sync::CancellationToken;

/// The key ids that are answered for.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<BTreeMap<Kid, CancellationToken>>);

impl Presence {
    /// Answers for these from now on, and for no other.
    pub(super) fn follow(&self, kids: &BTreeSet<Kid>) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|kid, gone| {
            let stays = kids.contains(kid);
            if !stays {
                gone.cancel();
            }
            stays
        });
        for kid in kids {
            present.entry(*kid).or_default();
        }
    }

    /// Resolves when the key id is gone; at once if it is by now.
    pub(super) async fn gone(&self, kid: Kid) {
        let token = {
            let present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            present.get(&kid).cloned()
        };
        if let Some(token) = token {
            token.cancelled().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_has_gone_is_gone() {
        let presence = Presence::default();
        presence.follow(&BTreeSet::from([Kid(1), Kid(2)]));
        let gone = presence.gone(Kid(1));
        let stays = presence.gone(Kid(2));
        let (mut gone, mut stays) = (std::pin::pin!(gone), std::pin::pin!(stays));
        assert!(
            futures_ready(&mut gone).await.is_none() && futures_ready(&mut stays).await.is_none()
        );
        presence.follow(&BTreeSet::from([Kid(2), Kid(3)]));
        gone.await;
        assert!(futures_ready(&mut stays).await.is_none());
        presence.gone(Kid(1)).await;
        presence.gone(Kid(9)).await;
    }

    async fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
