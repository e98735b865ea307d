//! The e-mail bearer against Exim and Dovecot, and against whoever stands in between.
//!
//! `cargo xtask peers` installs them; without them these tests say that they were skipped, or fail
//! if `RINGBACK_PEERS=require`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use tokio::time::timeout;

mod answers;
mod health;
mod hearing;
mod middleman;
mod party;
mod post;
mod protection;
mod secrecy;
mod sending;
mod trouble;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("within sixty seconds")
}
