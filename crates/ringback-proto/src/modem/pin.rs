//! A card's PIN: wiped when dropped, never printed.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Four to eight digits (3GPP TS 31.101, 9.5.1).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Pin(String);

impl Pin {
    /// Takes a PIN in if it can be one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (4..=8).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
    }

    /// Lends the digits out; the caller answers for where they go.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_four_to_eight_digits_and_does_not_print_itself() {
        for text in ["", "123", "123456789", "12a4", "12\"4", "١٢٣٤"] {
            assert!(Pin::new(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", Pin::new("1234").unwrap()), "Pin(…)");
    }
}
