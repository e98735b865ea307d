//! Passwords that are checked: few at once, and a good one not again for a while.
//!
//! What a check costs (tens of milliseconds and of megabytes) is what a guess costs us, so a
//! stranger must not be able to multiply it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use aws_lc_rs::hmac;
use ringback_proto::gate::Source;
use ringback_proto::refusal::Refusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::fading::Fading;
use crate::{clock, limits, users};

/// A credential that was good: whose, with which password, from where; by a key of this process.
pub(super) type Print = [u8; 32];

/// The checks under way, and what they have found good.
#[derive(Debug)]
pub(super) struct Passwords {
    key: hmac::Key,
    good: Mutex<Fading<Print, ()>>,
    queue: Semaphore,
    checks: Arc<Semaphore>,
    tasks: TaskTracker,
    #[cfg(test)]
    checked: std::sync::atomic::AtomicUsize,
}

/// A turn to check one password; whoever holds it has waited for it.
pub(super) type Turn = OwnedSemaphorePermit;

impl Passwords {
    /// Nothing was checked yet. Checks are tasks of the tracker.
    pub(super) fn new(key: hmac::Key, tasks: TaskTracker) -> Self {
        Self {
            key,
            good: Mutex::new(Fading::new(limits::GOOD_LIFE, limits::GOOD_CREDENTIALS)),
            queue: Semaphore::new(limits::PASSWORDS_QUEUED),
            checks: Arc::new(Semaphore::new(limits::PASSWORDS_AT_ONCE)),
            tasks,
            #[cfg(test)]
            checked: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// What stands for a credential that one source has shown, as long as the file says the same.
    pub(super) fn print(&self, source: Source, parts: [&str; 3]) -> Print {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [&source.to_string()[..]].into_iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.sign().as_ref());
        print
    }

    /// Whether it was good a short while ago.
    pub(super) fn knows(&self, print: &Print) -> bool {
        self.good().find(print, clock::now()).is_some()
    }

    /// Takes it as good for a while.
    pub(super) fn remember(&self, print: Print) {
        self.good().add(print, (), clock::now());
    }

    /// Waits for a turn. When too many wait, the newest is refused.
    pub(super) async fn turn(&self) -> Result<Turn, Refusal> {
        let _queued = self.queue.try_acquire().map_err(|_| Refusal::Busy)?;
        let turn = self.checks.clone().acquire_owned().await;
        turn.map_err(|_| Refusal::Stopping)
    }

    /// Checks a password. The turn comes back, so that the outcome is noted before the next one.
    pub(super) async fn check(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        hash: PasswordHash,
    ) -> Result<(bool, Turn), Refusal> {
        #[cfg(test)]
        self.checked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // It keeps its turn even if nobody waits for it any more.
        let check = move || (users::password_fits(&password, &hash), turn);
        self.tasks.spawn_blocking(check).await.map_err(|_| Refusal::Busy)
    }

    /// How many checks there were.
    #[cfg(test)]
    pub(super) fn checked(&self) -> usize {
        self.checked.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Lets no check begin any more.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.checks.close();
    }

    fn good(&self) -> MutexGuard<'_, Fading<Print, ()>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
