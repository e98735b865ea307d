//! The clocks of the shells: the machines take time as an argument, and this is where it comes from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, by the runtime's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until an instant, or for ever if there is none.
pub(crate) async fn reach(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// Seconds since 1970 by the system's clock.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

/// Whether the system's clock can be believed: a device without a battery starts in 1970.
///
/// A clock before this program was written is certainly wrong; a signal's time is then not judged,
/// and the public proxy, which alone judges freshness, still does.
pub(crate) fn synchronized() -> bool {
    const WRITTEN: u64 = 1_767_225_600; // 2026-01-01
    WRITTEN <= unix_seconds()
}
