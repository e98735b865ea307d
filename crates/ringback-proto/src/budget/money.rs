//! Money: millionths of a currency that is called what the operator calls it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An amount in millionths. A signal costs a few hundredths, at times fractions of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u64);

/// The text is no amount.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no amount of money: digits, and after a point at most six more, such as 0.045")]
pub struct NoMoney;

/// Millionths of one.
const ONE: u64 = 1_000_000;

impl Money {
    /// So many millionths.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// How many millionths.
    pub fn micros(self) -> u64 {
        self.0
    }
}

impl FromStr for Money {
    type Err = NoMoney;
    fn from_str(text: &str) -> Result<Self, NoMoney> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole) || !digits(part) || 6 < part.len() {
            return Err(NoMoney);
        }
        let whole: u64 = whole.parse().map_err(|_| NoMoney)?;
        let part: u64 = format!("{part:0<6}").parse().map_err(|_| NoMoney)?;
        whole.checked_mul(ONE).and_then(|it| it.checked_add(part)).map(Self).ok_or(NoMoney)
    }
}

/// Two places at least, more only if they say something.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = format!("{:06}", self.0 % ONE);
        let kept = places.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", self.0 / ONE, &places[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_as_it_is_written() {
        for (text, micros, shown) in [
            ("0.045", 45_000, "0.045"),
            ("12", 12_000_000, "12.00"),
            ("3.5", 3_500_000, "3.50"),
            ("0.000001", 1, "0.000001"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.micros(), money.to_string().as_str()), (micros, shown));
        }
        for text in ["", ".", "1.", ".5", "-1", "1,5", "0.0000001", "99999999999999999999", "1e3"] {
            assert_eq!(text.parse::<Money>(), Err(NoMoney), "{text}");
        }
    }
}
