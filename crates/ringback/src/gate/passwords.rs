//! Passwords that are checked: few at once, and a good one not again for a while.
//!
//! What a check costs (tens of milliseconds and of megabytes) is what a guess costs us, so a
//! stranger must not be able to multiply it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use aws_lc_rs::hmac;
use ringback_proto::gate::Source;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::turns::{NoTurn, Turn, Turns};
use crate::fading::Fading;
use crate::{clock, limits, users};

/// A credential that was good: whose, with which password, from where; by a key of this process.
pub(super) type Print = [u8; 32];

/// The checks under way, and what they have found good.
#[derive(Debug)]
pub(super) struct Passwords {
    key: hmac::Key,
    good: Mutex<Fading<Print, ()>>,
    under_way: Mutex<BTreeMap<Print, watch::Receiver<Option<bool>>>>,
    turns: Turns,
    tasks: TaskTracker,
    #[cfg(test)]
    checked: std::sync::atomic::AtomicUsize,
}

/// One check; whoever shows the same meanwhile learns its outcome when this is dropped.
struct Check<'a> {
    passwords: &'a Passwords,
    print: Print,
    outcome: watch::Sender<Option<bool>>,
}

impl Passwords {
    /// Nothing was checked yet. Checks are tasks of the tracker.
    pub(super) fn new(key: hmac::Key, tasks: TaskTracker) -> Self {
        Self {
            key,
            good: Mutex::new(Fading::new(limits::GOOD_LIFE, limits::GOOD_CREDENTIALS)),
            under_way: Mutex::default(),
            turns: Turns::new(),
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

    /// Checks a password, and remembers a good one; `None` if the source may not try any more once
    /// it is its turn. The turn comes back, so that the outcome is noted before the next one.
    ///
    /// Whoever shows what is being checked waits for that outcome, and costs nothing.
    pub(super) async fn check(
        &self,
        (print, source): (Print, Source),
        (password, hash): (Zeroizing<String>, &PasswordHash),
        may_try: impl Fn() -> bool,
    ) -> Result<Option<(bool, Option<Turn>)>, NoTurn> {
        let check = loop {
            let mut outcome = match self.begin(print) {
                Ok(check) => break check,
                Err(outcome) => outcome,
            };
            if let Ok(fits) = outcome.wait_for(Option::is_some).await {
                return Ok(fits.map(|it| (it, None)));
            }
        };
        if self.knows(&print) {
            return Ok(Some((true, None)));
        }
        let mut turn = self.turns.wait(source).await?;
        if !may_try() {
            return Ok(None);
        }
        #[cfg(test)]
        self.checked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let hash = hash.clone();
        // It keeps its turn even if nobody waits for it any more.
        let work = move || (users::password_fits(&password, &hash, &mut turn.memory), turn);
        let done = self.tasks.spawn_blocking(work).await;
        let (fits, turn) = done.map_err(|_| NoTurn::Closed)?;
        if fits {
            self.remember(print);
        }
        check.outcome.send_replace(Some(fits));
        Ok(Some((fits, Some(turn))))
    }

    /// Begins a check, or tells where the outcome of the one under way will be known.
    fn begin(&self, print: Print) -> Result<Check<'_>, watch::Receiver<Option<bool>>> {
        let mut under_way = self.under_way();
        if let Some(outcome) = under_way.get(&print) {
            return Err(outcome.clone());
        }
        let (sender, outcome) = watch::channel(None);
        under_way.insert(print, outcome);
        Ok(Check { passwords: self, print, outcome: sender })
    }

    /// How many checks there were.
    #[cfg(test)]
    pub(super) fn checked(&self) -> usize {
        self.checked.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Lets no check begin any more.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.turns.close();
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<Print, watch::Receiver<Option<bool>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self) -> MutexGuard<'_, Fading<Print, ()>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.passwords.under_way().remove(&self.print);
    }
}
