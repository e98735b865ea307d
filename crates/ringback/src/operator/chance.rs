//! The simulated operator's luck: a seeded generator, so that a run can be repeated.
//!
//! SplitMix64 (Steele, Lea, Flood 2014). Never a source of secrets.

use std::time::Duration;

use serde::Deserialize;

use crate::limits::OPERATOR_DELAY;

/// How long a message takes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// The delay.
        seconds: f64,
    },
    /// Anything in between, equally likely.
    Uniform {
        /// The shortest.
        from_seconds: f64,
        /// The longest.
        to_seconds: f64,
    },
    /// As measured in real networks: mostly near the median, with a long tail.
    Lognormal {
        /// Half of the messages are faster.
        median_seconds: f64,
        /// The standard deviation of the delay's logarithm; 0.4 is usual.
        sigma: f64,
    },
}

/// A seeded generator.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.fraction() < share
    }

    pub(super) fn delay(&mut self, delay: Delay) -> Duration {
        seconds(match delay {
            Delay::Fixed { seconds } => seconds,
            Delay::Uniform { from_seconds, to_seconds } => {
                from_seconds + (to_seconds - from_seconds) * self.fraction()
            }
            Delay::Lognormal { median_seconds, sigma } => {
                median_seconds * (sigma * self.normal()).exp()
            }
        })
    }

    pub(super) fn up_to(&mut self, longest_seconds: f64) -> Duration {
        seconds(longest_seconds * self.fraction())
    }

    /// From 0 to just below 1, in steps of 2^-53.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.fraction(), self.fraction());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// Whether a number is a time that can be waited for.
pub(super) fn is_time(seconds: f64) -> bool {
    (0.0..=OPERATOR_DELAY.as_secs_f64()).contains(&seconds)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(OPERATOR_DELAY).min(OPERATOR_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_has_the_same_luck() {
        let delay = Delay::Lognormal { median_seconds: 4.0, sigma: 0.4 };
        let run = |seed| {
            let mut chance = Chance::new(seed);
            [(); 8].map(|()| chance.delay(delay))
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn half_of_the_lognormal_delays_are_below_the_median() {
        let mut chance = Chance::new(1);
        let delay = Delay::Lognormal { median_seconds: 4.0, sigma: 0.4 };
        let fast = (0..10_000).filter(|_| chance.delay(delay) < Duration::from_secs(4)).count();
        assert!((4_800..5_200).contains(&fast), "{fast}");
    }

    #[test]
    fn a_share_is_met() {
        let mut chance = Chance::new(1);
        let count = (0..10_000).filter(|_| chance.happens(0.1)).count();
        assert!((900..1_100).contains(&count), "{count}");
        assert!((0..1000).all(|_| !chance.happens(0.0)));
        assert!((0..1000).all(|_| chance.happens(1.0)));
    }
}
