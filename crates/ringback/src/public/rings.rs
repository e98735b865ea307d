//! One ring's story at a bearer: what becomes of a signal, as far as the bearer can tell.
//!
//! Only a failure that is certain is told to the switchboard. A delivery receipt is telemetry: the
//! answer to a ring is a dial-back, and nothing else.

use ringback_bearer::{Delivery, Failure, Submission};
use ringback_proto::switchboard::{Event, RingId};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::Happening;

/// Follows a submission until it ends or is withdrawn, and tells the role either way.
pub(super) async fn follow(
    ring: RingId,
    mut submission: Submission,
    withdrawn: oneshot::Receiver<()>,
    happenings: mpsc::Sender<Happening>,
) {
    let ended = tokio::select! {
        failure = failed(&mut submission) => failure,
        _ = withdrawn => None,
    };
    // Dropping the submission takes the signal back if it is still queued.
    drop(submission);
    let event = ended.map(|failure| Event::RingFailed {
        ring,
        permanent: failure.is_permanent(),
        retry_after: failure.retry_after(),
    });
    let _ = happenings.send(Happening::RingEnded { ring, event }).await;
}

async fn failed(submission: &mut Submission) -> Option<Failure> {
    while let Some(delivery) = submission.next().await {
        if let Some(failure) = not_sent(delivery) {
            warn!(%failure, "RB-BEARER: a signal was not sent");
            return Some(failure);
        }
    }
    None
}

/// Why a signal was certainly not sent, if that is what the bearer tells. One that was sent and
/// not delivered counts as sent: its like would fare no better, and the ladder rings again anyway.
fn not_sent(delivery: Delivery) -> Option<Failure> {
    match delivery {
        Delivery::Submitted { message_id } => debug!(message_id, "submitted"),
        Delivery::Delivered => debug!("delivered"),
        Delivery::Unknown => debug!("submitted, perhaps"),
        Delivery::Failed(Failure::Undelivered) => debug!("not delivered"),
        Delivery::Failed(failure) => return Some(failure),
    }
    None
}

#[test]
fn a_signal_that_was_sent_and_not_delivered_has_not_failed() {
    assert_eq!(not_sent(Delivery::Failed(Failure::Undelivered)), None);
    assert_eq!(not_sent(Delivery::Failed(Failure::Full)), Some(Failure::Full));
}
