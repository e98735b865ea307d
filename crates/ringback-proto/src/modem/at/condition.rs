//! What a modem has said of its own condition, as far as it has since it was set up.

use super::Modem;

/// How a modem fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether it has a network.
    pub registered: Option<bool>,
    /// How well it hears the network.
    pub signal: Option<Signal>,
    /// Whether the center's number is known.
    pub center: Option<bool>,
    /// Whether it announces messages.
    pub notices: Option<bool>,
    /// How many places of the store that messages come into are taken, and how many there are, when
    /// it was looked at last.
    pub store: Option<(u16, u16)>,
}

/// The strength of a signal as `AT+CSQ` tells it (3GPP TS 27.007, 8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u8);

impl Signal {
    /// In dBm, if it is known.
    pub fn dbm(self) -> Option<i16> {
        let steps = i16::from(self.0);
        match self.0 {
            0..=31 => Some(2 * steps - 113),
            // TD-SCDMA, which some modems use for LTE too.
            100..=191 => Some(steps - 100 - 116),
            32..=99 | 192..=u8::MAX => None,
        }
    }

    /// In a word, if it is known.
    pub fn word(self) -> Option<&'static str> {
        Some(match self.dbm()? {
            -72..=i16::MAX => "strong",
            -88..=-73 => "good",
            -102..=-89 => "fair",
            i16::MIN..=-103 => "weak",
        })
    }
}

impl Modem {
    /// How the modem fares, as far as is known.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Takes in how full the store is that messages come into.
    pub(super) fn counted(&mut self, taken: u16, all: u16) {
        self.condition.store = Some((taken, all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_in_dbm_and_in_words() {
        let known = [(0, -113, "weak"), (20, -73, "good"), (31, -51, "strong"), (141, -75, "good")];
        for (steps, dbm, word) in known {
            assert_eq!(Signal(steps).dbm(), Some(dbm));
            assert_eq!(Signal(steps).word(), Some(word), "{dbm} dBm");
        }
        assert_eq!((Signal(99).dbm(), Signal(199).word()), (None, None));
    }
}
