//! Which access requests have been obeyed: the replay window (RFC 4303, 3.4.3, with 1024 places).
//!
//! Saves useless dials and no more: that nothing opens twice is the public proxy's to see to. Reads
//! no clock and no file; both come in as arguments.

use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::access_request::AccessRequest;
use crate::limits;

/// Why a request is not of now.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Stale {
    /// Its time to live is over.
    #[error("expired {0:?} ago")]
    Expired(Duration),
    /// It is from the future.
    #[error("valid only in {0:?}: set one of the clocks right")]
    NotYet(Duration),
}

/// The octets are no replay window: torn while written, or never one.
///
/// The operator should know; an empty window is safe to go on with.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the replay window is damaged; delete it, at worst some dials will be useless")]
pub struct Damaged;

/// Remembers which of the last 1024 sequence numbers of one key id have been obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    highest: u32,
    /// One bit for each number, at the number modulo the window's size.
    seen: [u8; SEEN],
}

const SEEN: usize = limits::REPLAY_WINDOW as usize / 8;
const MAGIC: [u8; 4] = *b"RBW1";
const CHECKSUM: usize = 8;

/// Whether a request is of now, as far as two clocks can agree on it.
///
/// A clock that was never set cannot tell, and does not try.
pub fn fresh(request: &AccessRequest, unix_seconds: u64, synchronized: bool) -> Result<(), Stale> {
    if !synchronized {
        return Ok(());
    }
    let begin = u64::from(request.issued).saturating_sub(limits::CLOCK_SKEW_SECONDS);
    let end =
        u64::from(request.issued) + u64::from(request.ttl_seconds) + limits::CLOCK_SKEW_SECONDS;
    if unix_seconds < begin {
        return Err(Stale::NotYet(Duration::from_secs(begin - unix_seconds)));
    }
    if end < unix_seconds {
        return Err(Stale::Expired(Duration::from_secs(unix_seconds - end)));
    }
    Ok(())
}

impl ReplayWindow {
    /// How many octets [`ReplayWindow::to_octets`] makes.
    pub const OCTETS: usize = MAGIC.len() + 4 + SEEN + CHECKSUM;

    /// A window that has seen nothing.
    pub fn new() -> Self {
        Self { highest: 0, seen: [0; SEEN] }
    }

    /// Whether this number is new. One too old to be remembered is not.
    pub fn check(&self, seq: u32) -> bool {
        if self.highest < seq {
            return true;
        }
        let (at, bit) = place(seq);
        self.highest - seq < limits::REPLAY_WINDOW && self.seen[at] & bit == 0
    }

    /// Remembers a number; what the window slides past is forgotten, and counts as seen.
    pub fn record(&mut self, seq: u32) {
        if self.highest < seq {
            let slide = seq - self.highest;
            if limits::REPLAY_WINDOW <= slide {
                self.seen = [0; SEEN];
            } else {
                (self.highest + 1..=seq).map(place).for_each(|(at, bit)| self.seen[at] &= !bit);
            }
            self.highest = seq;
        }
        if self.highest - seq < limits::REPLAY_WINDOW {
            let (at, bit) = place(seq);
            self.seen[at] |= bit;
        }
    }

    /// Writes the window down: magic, highest number, bits, checksum.
    pub fn to_octets(&self) -> [u8; Self::OCTETS] {
        let mut octets = [0; Self::OCTETS];
        let (body, sum) = octets.split_at_mut(Self::OCTETS - CHECKSUM);
        body[..4].copy_from_slice(&MAGIC);
        body[4..8].copy_from_slice(&self.highest.to_be_bytes());
        body[8..].copy_from_slice(&self.seen);
        sum.copy_from_slice(&checksum(body));
        octets
    }

    /// Reads what [`ReplayWindow::to_octets`] wrote, all of it or nothing.
    pub fn from_octets(octets: &[u8]) -> Result<Self, Damaged> {
        let (body, sum) = octets.split_last_chunk::<CHECKSUM>().ok_or(Damaged)?;
        let (magic, rest) = body.split_first_chunk::<4>().ok_or(Damaged)?;
        let (highest, seen) = rest.split_first_chunk::<4>().ok_or(Damaged)?;
        let seen = seen.try_into().map_err(|_| Damaged)?;
        if *magic != MAGIC || *sum != checksum(body) {
            return Err(Damaged);
        }
        Ok(Self { highest: u32::from_be_bytes(*highest), seen })
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

fn place(seq: u32) -> (usize, u8) {
    let at = seq % limits::REPLAY_WINDOW;
    (at as usize / 8, 1 << (at % 8))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(body);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access_request::{Purpose, TunnelType};
    use crate::secret::Secret;
    use crate::terminal::{CallNumber, Callee, ServiceId};

    #[test]
    fn the_window_agrees_with_a_set_of_numbers() {
        for seed in 1..=20 {
            let mut chance = Chance(seed);
            let (mut window, mut seen, mut highest) = (ReplayWindow::new(), BTreeSet::new(), 0u32);
            for _ in 0..5_000 {
                // Mostly about the window's edges, sometimes far ahead.
                let reach = [3, 40, 1030, 5000][chance.below(4) as usize];
                let back = chance.below(1100);
                let seq = (highest.saturating_sub(back)).saturating_add(chance.below(reach));
                let expected = !seen.contains(&seq)
                    && (highest < seq || highest - seq < limits::REPLAY_WINDOW);
                assert_eq!(window.check(seq), expected, "seed {seed}, {seq} after {highest}");
                if expected || chance.below(4) == 0 {
                    window.record(seq);
                    seen.insert(seq);
                    highest = highest.max(seq);
                }
                assert!(!window.check(seq), "seed {seed}, {seq} after itself");
            }
            assert_eq!(ReplayWindow::from_octets(&window.to_octets()), Ok(window), "seed {seed}");
        }
    }

    #[test]
    fn the_window_reaches_to_the_last_number_there_is() {
        let mut window = ReplayWindow::new();
        assert!(window.check(0));
        window.record(u32::MAX);
        assert!(!window.check(u32::MAX) && window.check(u32::MAX - 1023));
        assert!(!window.check(u32::MAX - 1024) && !window.check(0));
    }

    #[test]
    fn a_torn_or_flipped_window_is_damaged() {
        let mut window = ReplayWindow::new();
        (7..900).step_by(3).for_each(|seq| window.record(seq));
        let old = window.to_octets();
        window.record(1000);
        let octets = window.to_octets();
        for length in 0..octets.len() {
            assert_eq!(ReplayWindow::from_octets(&octets[..length]), Err(Damaged), "{length}");
            // The way a crash tears it: new octets in front of the old ones.
            let torn = [&octets[..length], &old[length..]].concat();
            let whole = torn == octets || torn == old;
            assert_eq!(ReplayWindow::from_octets(&torn).is_ok(), whole, "{length}");
        }
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ReplayWindow::from_octets(&flipped), Err(Damaged), "bit {bit}");
        }
        assert_eq!(ReplayWindow::from_octets(&[&octets[..], &[0]].concat()), Err(Damaged));
    }

    #[test]
    fn a_request_is_fresh_for_its_ttl_and_the_skew_of_two_clocks() {
        let request = request(1_764_000_000, 60);
        let seconds = Duration::from_secs;
        for (now, expected) in [
            (1_764_000_000 - 661, Err(Stale::NotYet(seconds(1)))),
            (1_764_000_000 - 660, Ok(())),
            (1_764_000_000 + 720, Ok(())),
            (1_764_000_000 + 721, Err(Stale::Expired(seconds(1)))),
            (u64::MAX, Err(Stale::Expired(seconds(u64::MAX - 1_764_000_720)))),
        ] {
            assert_eq!(fresh(&request, now, true), expected, "{now}");
            assert_eq!(fresh(&request, now, false), Ok(()), "{now}, clock never set");
        }
        assert_eq!(fresh(&self::request(5, 1), 0, true), Ok(()));
        assert_eq!(fresh(&self::request(u32::MAX, 3600), u64::from(u32::MAX) + 4260, true), Ok(()));
    }

    fn request(issued: u32, ttl_seconds: u16) -> AccessRequest {
        AccessRequest {
            purpose: Purpose::Access,
            tunnel: TunnelType::Tls,
            seq: 1,
            issued,
            ttl_seconds,
            service: ServiceId(0),
            public_proxy: ([192, 0, 2, 1], 443).into(),
            callee: Callee::Number(CallNumber::parse("+15550100777").unwrap()),
            key: Secret::new([0; 16]),
        }
    }

    /// SplitMix64: small, seeded, good enough to wander about.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: u32) -> u32 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut it = self.0;
            it = (it ^ it >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            it = (it ^ it >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((it ^ it >> 31) % u64::from(bound)) as u32
        }
    }
}
