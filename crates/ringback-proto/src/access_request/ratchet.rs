//! The ratchet of a shared key: a new epoch now and then, and no way back from it.
//!
//! Pure: when it turns is the sealing end's to say, where it is kept the shells'. Whoever steals the
//! keys of one epoch can follow to later ones and never return to earlier ones.

use std::iter::successors;
use std::sync::OnceLock;

use hkdf::Hkdf;
use sha2::Sha256;

use super::seal::expand;
use crate::limits::{PREVIOUS_EPOCHS, RATCHET_REACH};
use crate::secret::Secret;

/// The shared keys of one key id at the end that opens: this epoch's, and a few before it for the
/// signals that are still under way.
#[derive(Clone, Debug)]
pub struct Ratchet {
    epoch: u32,
    psk: Secret<32>,
    /// The latest first.
    previous: Vec<Secret<32>>,
    /// The next first, worked out once: the epoch stands in clear in a signal, and a stranger may say
    /// the farthest as often as it likes.
    later: OnceLock<Vec<Secret<32>>>,
}

/// The shared key of the epoch after that of `psk`.
pub fn next_epoch(psk: &Secret<32>) -> Secret<32> {
    expand(&Hkdf::<Sha256>::new(None, psk.expose()), &[b"rb1 ratchet"])
}

impl Ratchet {
    /// Stands at an epoch and knows none before it.
    pub fn new(epoch: u32, psk: Secret<32>) -> Self {
        Self { epoch, psk, previous: Vec::new(), later: OnceLock::new() }
    }

    /// As it was kept; of the previous keys, the latest first, no more than are ever needed.
    pub fn restored(epoch: u32, psk: Secret<32>, mut previous: Vec<Secret<32>>) -> Self {
        previous.truncate(PREVIOUS_EPOCHS);
        Self { epoch, psk, previous, later: OnceLock::new() }
    }

    /// The epoch it stands at.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The shared key of this epoch.
    pub fn psk(&self) -> &Secret<32> {
        &self.psk
    }

    /// Those of the epochs before, the latest first.
    pub fn previous(&self) -> &[Secret<32>] {
        &self.previous
    }

    /// The shared key of the epoch with this low octet, if it is within reach.
    pub fn psk_of(&self, octet: u8) -> Option<Secret<32>> {
        let [.., low] = self.epoch.to_be_bytes();
        let back = usize::from(low.wrapping_sub(octet));
        match back {
            0 => Some(self.psk.clone()),
            1..=PREVIOUS_EPOCHS => self.previous.get(back - 1).cloned(),
            _ => self.later().get(usize::from(octet.wrapping_sub(low)) - 1).cloned(),
        }
    }

    /// The ratchet turned forward to the epoch with this low octet; none if that is no later one, or
    /// too late. To be adopted once a signal of that epoch has opened: what is older is then erased.
    pub fn turned_to(&self, octet: u8) -> Option<Self> {
        let [.., low] = self.epoch.to_be_bytes();
        let steps = octet.wrapping_sub(low);
        if steps == 0 || RATCHET_REACH < steps {
            return None;
        }
        let mut turned = self.clone();
        (0..steps).for_each(|_| turned.turn());
        Some(turned)
    }

    fn later(&self) -> &[Secret<32>] {
        self.later.get_or_init(|| {
            // Never moved to make room: that would leave copies behind.
            let mut later = Vec::with_capacity(RATCHET_REACH.into());
            let chain = successors(Some(next_epoch(&self.psk)), |psk| Some(next_epoch(psk)));
            later.extend(chain.take(RATCHET_REACH.into()));
            later
        })
    }

    fn turn(&mut self) {
        let next = next_epoch(&self.psk);
        self.previous.insert(0, std::mem::replace(&mut self.psk, next));
        self.previous.truncate(PREVIOUS_EPOCHS);
        self.epoch = self.epoch.wrapping_add(1);
        self.later = OnceLock::new();
    }
}

/// What was worked out already makes no difference.
impl PartialEq for Ratchet {
    fn eq(&self, other: &Self) -> bool {
        let Self { epoch, psk, previous, later: _ } = self;
        (epoch, psk, previous) == (&other.epoch, &other.psk, &other.previous)
    }
}

impl Eq for Ratchet {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shared keys of epochs 0, 1, 2, …
    fn chain(length: usize) -> Vec<Secret<32>> {
        let first = Secret::new(std::array::from_fn(|at| at as u8));
        successors(Some(first), |psk| Some(next_epoch(psk))).take(length).collect()
    }

    #[test]
    fn the_next_epochs_are_the_published_ones() {
        let hex = |psk: &Secret<32>| -> String {
            psk.expose().iter().map(|it| format!("{it:02x}")).collect()
        };
        let published = include_str!("../../../../docs/protocol.md");
        let chain = chain(3);
        for psk in &chain {
            assert!(published.contains(&hex(psk)), "{}", hex(psk));
        }
    }

    #[test]
    fn signals_of_this_epoch_of_two_before_and_of_many_later_find_their_key() {
        let chain = chain(300);
        let ratchet = Ratchet::new(0, chain[0].clone()).turned_to(100).unwrap();
        for (epoch, psk) in chain.iter().enumerate().take(256) {
            let within = (98..=100 + usize::from(RATCHET_REACH)).contains(&epoch);
            let found = ratchet.psk_of(epoch as u8);
            assert_eq!(found.as_ref(), within.then_some(psk), "epoch {epoch}");
        }
        assert_eq!(ratchet, Ratchet::new(0, chain[0].clone()).turned_to(100).unwrap());
        let beyond = ratchet.turned_to(228).unwrap().turned_to(3).unwrap();
        assert_eq!((beyond.epoch(), beyond.psk()), (259, &chain[259]));
        assert_eq!(beyond.psk_of(1), Some(chain[257].clone()));
        assert_eq!(beyond.psk_of(0), None);
    }

    #[test]
    fn what_is_kept_of_an_epoch_holds_no_key_of_three_epochs_before() {
        let chain = chain(10);
        let stolen = Ratchet::new(0, chain[0].clone()).turned_to(9).unwrap();
        let held: Vec<_> = [stolen.psk()].into_iter().chain(stolen.previous()).collect();
        assert_eq!(held, [&chain[9], &chain[8], &chain[7]]);
        // Nor does turning it forward, all the way round, lead back to one.
        let mut turned = stolen;
        for _ in 0..600 {
            turned.turn();
            assert!(chain.iter().take(7).all(|old| old != turned.psk()));
        }
    }

    #[test]
    fn later_epochs_are_worked_out_once_and_afresh_after_a_turn() {
        let chain = chain(6);
        let ratchet = Ratchet::new(0, chain[0].clone());
        assert!(ratchet.psk_of(0).is_some() && ratchet.later.get().is_none());
        assert_eq!(ratchet.psk_of(5).as_ref(), Some(&chain[5]));
        assert_eq!(ratchet.later.get().map(Vec::len), Some(RATCHET_REACH.into()));
        let turned = ratchet.turned_to(3).unwrap();
        assert!(turned.later.get().is_none());
        assert_eq!(turned.psk_of(5).as_ref(), Some(&chain[5]));
    }

    #[test]
    fn a_ratchet_never_turns_back() {
        let chain = chain(6);
        let ratchet = Ratchet::new(0, chain[0].clone()).turned_to(5).unwrap();
        for octet in [3, 4, 5] {
            assert_eq!(ratchet.turned_to(octet), None);
        }
    }
}
