//! Digest's nonces (RFC 7616, 5.4): made for one source, good for a while, each count of each once.
//!
//! A nonce that was never used costs no memory: it carries its own proof. Knows no user.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringback_proto::gate::Source;

use crate::fading::Fading;
use crate::{keys, limits};

/// When a nonce was made, in milliseconds of this process, and what tells it from others.
type Made = (u64, [u8; 8]);

/// All nonces of one process.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    began: Instant,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    counts: Fading<Made, Counts>,
    /// Nonces made until then are stale: of one of them it was forgotten how it was used.
    floor: Option<u64>,
}

/// Which counts of a nonce were seen: the highest, and by bits those just below it.
#[derive(Debug, Default)]
struct Counts {
    highest: u32,
    below: u64,
}

impl Nonces {
    /// Begins with a key that ends with the process.
    pub(super) fn new(key: hmac::Key, now: Instant) -> Self {
        let counts = Fading::new(limits::NONCE_LIFE, limits::NONCES_USED);
        Self { key, began: now, used: Mutex::new(Used { counts, floor: None }) }
    }

    /// A new nonce for this source; none without randomness.
    pub(super) fn fresh(&self, source: Source, now: Instant) -> Option<String> {
        let made = u64::try_from(now.duration_since(self.began).as_millis()).ok()?;
        let random: [u8; 8] = keys::random().ok()?;
        let octets = [&made.to_be_bytes()[..], &random, &self.proof(&(made, random), source)];
        Some(URL_SAFE_NO_PAD.encode(octets.concat()))
    }

    /// Whether this count of this nonce may be used by this source, now and never again.
    pub(super) fn spend(&self, nonce: &str, count: u32, source: Source, now: Instant) -> bool {
        let Some(made) = self.read(nonce, source) else { return false };
        let end = self.began + Duration::from_millis(made.0) + limits::NONCE_LIFE;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if end <= now || used.floor.is_some_and(|it| made.0 <= it) {
            return false;
        }
        if let Some((_, counts)) = used.counts.find(&made, now) {
            return counts.spend(count);
        }
        let mut counts = Counts::default();
        let good = counts.spend(count);
        if let Some((forgotten, _)) = used.counts.add(made, counts, now) {
            used.floor = used.floor.max(Some(forgotten));
        }
        good
    }

    fn read(&self, nonce: &str, source: Source) -> Option<Made> {
        let octets: [u8; 32] = URL_SAFE_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
        let (made, rest) = octets.split_first_chunk::<8>()?;
        let (random, proof) = rest.split_first_chunk::<8>()?;
        let made = (u64::from_be_bytes(*made), *random);
        let wanted = self.proof(&made, source);
        aws_lc_rs::constant_time::verify_slices_are_equal(proof, &wanted).ok()?;
        Some(made)
    }

    fn proof(&self, made: &Made, source: Source) -> [u8; 16] {
        let source = source.to_string();
        let said = [b"nonce", &made.0.to_be_bytes()[..], &made.1, source.as_bytes()].concat();
        let mut proof = [0; 16];
        proof.copy_from_slice(&hmac::sign(&self.key, &said).as_ref()[..16]);
        proof
    }
}

impl Counts {
    /// Whether the count was not seen yet; a client with several connections may mix their order.
    fn spend(&mut self, count: u32) -> bool {
        if self.highest < count {
            let ahead = count - self.highest;
            // The former highest becomes the one `ahead` below; before the first there was none.
            let before = if self.highest == 0 { 0 } else { self.below << 1 | 1 };
            self.below = before.checked_shl(ahead - 1).unwrap_or(0);
            self.highest = count;
            return true;
        }
        let Some(back) = (self.highest - count).checked_sub(1).filter(|_| 0 < count) else {
            return false;
        };
        let Some(bit) = 1u64.checked_shl(back) else { return false };
        let seen = self.below & bit != 0;
        self.below |= bit;
        !seen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clock;

    fn nonces(now: Instant) -> Nonces {
        Nonces::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), now)
    }

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    #[test]
    fn a_nonce_is_good_once_a_count_for_its_source_and_for_its_time() {
        let now = clock::now();
        let (ours, others) =
            (nonces(now), Nonces::new(hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]), now));
        let nonce = ours.fresh(source(1), now).unwrap();
        assert!(!ours.spend(&nonce, 1, source(2), now), "another source");
        assert!(!others.spend(&nonce, 1, source(1), now), "another process");
        assert!(!ours.spend(&nonce, 0, source(1), now), "no count");
        assert!(ours.spend(&nonce, 1, source(1), now) && !ours.spend(&nonce, 1, source(1), now));
        assert!(ours.spend(&nonce, 2, source(1), now));
        assert!(!ours.spend(&nonce, 3, source(1), now + limits::NONCE_LIFE), "too old");
        for wrong in ["", "AAAA", &format!("{nonce}A"), &nonce[1..]] {
            assert!(!ours.spend(wrong, 1, source(1), now), "{wrong}");
        }
    }

    #[test]
    fn counts_in_any_order_are_each_good_once_as_a_set_would_have_it() {
        let (mut counts, mut model) = (Counts::default(), BTreeSet::new());
        let mut number: u32 = 1;
        for _ in 0..20_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let highest: u32 = model.last().copied().unwrap_or(0);
            let count = (highest + 5).saturating_sub(number >> 16 & 0x7f);
            let wanted = count != 0 && highest < count + 65 && model.insert(count);
            assert_eq!(counts.spend(count), wanted, "{count} after {highest}");
        }
        assert!(counts.spend(u32::MAX) && !counts.spend(u32::MAX));
    }

    #[test]
    fn a_used_nonce_that_had_to_be_forgotten_is_stale_and_never_fresh_again() {
        let now = clock::now();
        let nonces = nonces(now);
        let first = nonces.fresh(source(1), now).unwrap();
        assert!(nonces.spend(&first, 1, source(1), now));
        let later = now + Duration::from_millis(5);
        for _ in 0..limits::NONCES_USED {
            let nonce = nonces.fresh(source(2), later).unwrap();
            assert!(nonces.spend(&nonce, 1, source(2), later));
        }
        assert!(!nonces.spend(&first, 1, source(1), later));
        assert!(!nonces.spend(&first, 2, source(1), later));
    }
}
