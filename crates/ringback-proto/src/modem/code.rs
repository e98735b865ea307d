//! Why a modem would not: `+CMS ERROR`, `+CME ERROR` and plain `ERROR`, and what to do about it.
//!
//! The numbers are of 3GPP TS 27.005, 3.2.5, which takes those below 128 from TS 24.011, annex E-2
//! (the network's) and those below 256 from TS 23.040, 9.2.3.22 (the center's); and of TS 27.007, 9.2.

use std::fmt;
use std::time::Duration;

use crate::limits::MODEM_NUMBER_REST;

/// An error as a modem tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `+CMS ERROR`: about messages.
    Message(u16),
    /// `+CME ERROR`: about the equipment.
    Equipment(u16),
    /// `ERROR`, or an error in words.
    Unnamed,
}

/// What the sender of a message does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Give it to the modem again, a few times.
    Again,
    /// Tell the modem its settings again, then give it the message again.
    Settings,
    /// Use another bearer: this one cannot reach the number now.
    Elsewhere,
    /// The same, and it is the terminal that is away or full.
    Absent,
    /// Nothing: the network may have it.
    Unknown,
    /// Give up: the same message will always be refused.
    Never,
}

impl Code {
    /// What the sender of a message does about it.
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Message(number) => message_remedy(number),
            Self::Equipment(number) => equipment_remedy(number),
            Self::Unnamed => Remedy::Settings,
        }
    }

    /// Whether the network certainly does not have a message that the modem was given: it, the
    /// center or the modem itself has said why. What a vendor's own number means nobody knows.
    pub fn proves_refusal(self) -> bool {
        match self {
            Self::Message(number) => matches!(number, 0..=255 | 300..=331),
            Self::Equipment(number) => matches!(number, 3..=18 | 30 | 32),
            Self::Unnamed => false,
        }
    }

    /// How long to leave the number alone.
    pub fn retry_after(self) -> Option<Duration> {
        match self.remedy() {
            Remedy::Again | Remedy::Elsewhere | Remedy::Absent => Some(MODEM_NUMBER_REST),
            Remedy::Settings | Remedy::Unknown | Remedy::Never => None,
        }
    }

    /// Whether the card is still starting: to be asked again soon.
    pub fn is_busy(self) -> bool {
        match self {
            // 515 and 517 are "please wait" and "not ready" of two large vendors.
            Self::Message(number) => matches!(number, 301 | 314 | 515 | 517),
            Self::Equipment(number) => matches!(number, 14 | 515),
            Self::Unnamed => false,
        }
    }

    /// Whether there is no card, or none that works.
    pub fn lacks_card(self) -> bool {
        match self {
            Self::Message(number) => matches!(number, 310 | 313 | 315),
            Self::Equipment(number) => matches!(number, 10 | 13 | 15),
            Self::Unnamed => false,
        }
    }
}

fn message_remedy(number: u16) -> Remedy {
    match number {
        // The network: unassigned, barred, unidentified, rejected, unknown, not subscribed, not
        // implemented, and whatever is wrong with the message itself.
        1 | 8 | 10 | 11 | 28..=30 | 50 | 69 | 81 | 95..=97 | 99 => Remedy::Never,
        // The network: transfer rejected, out of order, temporary failure, congestion, no
        // resources, not compatible with the state, unspecified.
        21 | 38 | 41 | 42 | 47 | 98 | 101 | 111 | 127 => Remedy::Again,
        // The network: destination out of order.
        27 => Remedy::Absent,
        // The network: what the specification does not name.
        0..=127 => Remedy::Elsewhere,
        // The center: busy, its system failed, its queue is full, unspecified.
        192 | 194 | 213 | 255 => Remedy::Again,
        // The center: no such service, coding, number or subscription.
        128..=207 => Remedy::Never,
        // What the other end says: its card is full, its application is busy.
        208..=254 => Remedy::Absent,
        // Not allowed, not supported, an invalid parameter: its settings are not ours any more.
        302..=305 | 321 | 340 => Remedy::Settings,
        // The card: absent, locked, wrong. Starting over finds out and says so.
        310..=318 => Remedy::Settings,
        // The service is reserved by somebody else, the equipment failed.
        300 | 301 | 320 | 322 => Remedy::Again,
        // The center's number is not known: nothing can be sent until it is.
        330 => Remedy::Elsewhere,
        // No network service.
        331 => Remedy::Again,
        // No answer from the network: it may have it.
        332 => Remedy::Unknown,
        // Unknown, and the vendors' own: anybody's guess.
        256..=u16::MAX => Remedy::Again,
    }
}

fn equipment_remedy(number: u16) -> Remedy {
    match number {
        // Not allowed, not supported; the card is absent, locked, wrong.
        3..=18 => Remedy::Settings,
        // No network service.
        30 => Remedy::Again,
        // No answer from the network: it may have it.
        31 => Remedy::Unknown,
        // Emergency calls only.
        32 => Remedy::Elsewhere,
        0..=u16::MAX => Remedy::Again,
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(number) => write!(f, "{} (+CMS ERROR: {number})", message_words(*number)),
            Self::Equipment(number) => {
                write!(f, "{} (+CME ERROR: {number})", equipment_words(*number))
            }
            Self::Unnamed => f.write_str("an error without a number"),
        }
    }
}

fn message_words(number: u16) -> &'static str {
    match number {
        1 => "unassigned number",
        8 => "barred by the operator",
        10 => "call barred",
        21 => "transfer rejected",
        27 => "destination out of order",
        28 => "unidentified subscriber",
        29 => "facility rejected",
        30 => "unknown subscriber",
        38 => "network out of order",
        41 => "temporary failure",
        42 => "congestion",
        47 => "resources unavailable",
        50 => "facility not subscribed",
        69 => "facility not implemented",
        192 => "center busy",
        193 => "no subscription at the center",
        194 => "center failed",
        195 => "invalid address",
        196 => "destination barred",
        197 => "duplicate rejected",
        300 => "equipment failed",
        301 => "service reserved",
        302 => "not allowed",
        303 => "not supported",
        304 => "invalid PDU",
        310 => "no card",
        311 => "PIN required",
        313 => "card failed",
        314 => "card busy",
        315 => "wrong card",
        316 => "PUK required",
        320 => "memory failed",
        322 => "memory full",
        330 => "center's number unknown",
        331 => "no network service",
        332 => "no answer from the network",
        500 => "unknown error",
        0..=127 => "refused by the network",
        128..=255 => "refused by the center",
        256..=u16::MAX => "another error",
    }
}

fn equipment_words(number: u16) -> &'static str {
    match number {
        3 => "not allowed",
        4 => "not supported",
        10 => "no card",
        11 => "PIN required",
        12 => "PUK required",
        13 => "card failed",
        14 => "card busy",
        15 => "wrong card",
        16 => "incorrect PIN",
        30 => "no network service",
        31 => "no answer from the network",
        32 => "emergency calls only",
        0..=u16::MAX => "another error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_passes_and_an_unassigned_number_does_not() {
        let remedies = [
            (Code::Message(1), Remedy::Never),
            (Code::Message(17), Remedy::Elsewhere),
            (Code::Message(27), Remedy::Absent),
            (Code::Message(30), Remedy::Never),
            (Code::Message(42), Remedy::Again),
            (Code::Message(195), Remedy::Never),
            (Code::Message(304), Remedy::Settings),
            (Code::Message(332), Remedy::Unknown),
            (Code::Message(500), Remedy::Again),
            (Code::Message(65535), Remedy::Again),
            (Code::Equipment(30), Remedy::Again),
            (Code::Equipment(10), Remedy::Settings),
            (Code::Unnamed, Remedy::Settings),
        ];
        for (code, remedy) in remedies {
            assert_eq!(code.remedy(), remedy, "{code}");
        }
        for code in [Code::Message(332), Code::Message(500), Code::Message(515), Code::Unnamed] {
            assert!(!code.proves_refusal(), "{code}");
        }
        assert!(Code::Message(42).proves_refusal() && Code::Equipment(30).proves_refusal());
        assert_eq!(Code::Message(42).retry_after(), Some(MODEM_NUMBER_REST));
        assert_eq!(Code::Message(1).retry_after(), None);
    }
}
