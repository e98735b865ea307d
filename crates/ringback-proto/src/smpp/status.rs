//! The status of an SMPP response, and what to do about it.

use std::fmt;

/// A command status as it stands on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u32);

/// What the sender of a message does about the status it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: the message was accepted.
    Accepted,
    /// Pause, submit more slowly, and submit this message again.
    SlowDown,
    /// Leave this number alone for a while.
    Later,
    /// Submit again, a few times.
    Again,
    /// Use another bearer: this one cannot reach the number now.
    Elsewhere,
    /// Give up: the same message will always be refused.
    Never,
}

impl Status {
    /// No error.
    pub const OK: Self = Self(0x00);
    /// The message is too long.
    pub const INVALID_MESSAGE_LENGTH: Self = Self(0x01);
    /// The length of the PDU does not fit its fields.
    pub const INVALID_COMMAND_LENGTH: Self = Self(0x02);
    /// No such command.
    pub const INVALID_COMMAND: Self = Self(0x03);
    /// Not allowed in this state of the session.
    pub const INVALID_BIND_STATUS: Self = Self(0x04);
    /// Bound already.
    pub const ALREADY_BOUND: Self = Self(0x05);
    /// The other end has trouble of its own.
    pub const SYSTEM_ERROR: Self = Self(0x08);
    /// No such source address.
    pub const INVALID_SOURCE: Self = Self(0x0a);
    /// No such destination address.
    pub const INVALID_DESTINATION: Self = Self(0x0b);
    /// Binding failed.
    pub const BIND_FAILED: Self = Self(0x0d);
    /// Wrong password.
    pub const INVALID_PASSWORD: Self = Self(0x0e);
    /// No such account.
    pub const INVALID_SYSTEM_ID: Self = Self(0x0f);
    /// The message cannot be canceled: it is unknown or has been delivered.
    pub const CANCEL_FAILED: Self = Self(0x11);
    /// The queue of the destination or of the account is full.
    pub const QUEUE_FULL: Self = Self(0x14);
    /// Submitting failed.
    pub const SUBMIT_FAILED: Self = Self(0x45);
    /// More messages than the account may submit.
    pub const THROTTLED: Self = Self(0x58);
    /// The receiving application cannot take the message now.
    pub const RECEIVER_TEMPORARY: Self = Self(0x64);
    /// The receiving application will never take the message.
    pub const RECEIVER_PERMANENT: Self = Self(0x65);
    /// Delivery failed; with transaction mode, the terminal cannot be reached.
    pub const DELIVERY_FAILURE: Self = Self(0xfe);

    /// What the sender of a message does about it.
    pub fn remedy(self) -> Remedy {
        match self {
            Self::OK => Remedy::Accepted,
            Self::THROTTLED => Remedy::SlowDown,
            Self::QUEUE_FULL => Remedy::Later,
            Self::SYSTEM_ERROR | Self::SUBMIT_FAILED | Self::RECEIVER_TEMPORARY => Remedy::Again,
            Self::DELIVERY_FAILURE => Remedy::Elsewhere,
            // What a vendor means by its own codes is anybody's guess; it need not be for ever.
            Self(0x400..) => Remedy::Elsewhere,
            Self(_) => Remedy::Never,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match *self {
            Self::OK => "accepted",
            Self::INVALID_MESSAGE_LENGTH => "invalid message length",
            Self::INVALID_COMMAND_LENGTH => "invalid command length",
            Self::INVALID_COMMAND => "unknown command",
            Self::INVALID_BIND_STATUS => "not in this state of the session",
            Self::ALREADY_BOUND => "already bound",
            Self::SYSTEM_ERROR => "system error",
            Self::INVALID_SOURCE => "invalid source address",
            Self::INVALID_DESTINATION => "invalid destination address",
            Self::BIND_FAILED => "bind failed",
            Self::INVALID_PASSWORD => "invalid password",
            Self::INVALID_SYSTEM_ID => "invalid system id",
            Self::CANCEL_FAILED => "cannot be canceled",
            Self::QUEUE_FULL => "message queue full",
            Self::SUBMIT_FAILED => "submission failed",
            Self::THROTTLED => "throttled",
            Self::RECEIVER_TEMPORARY => "receiver cannot take it now",
            Self::RECEIVER_PERMANENT => "receiver will not take it",
            Self::DELIVERY_FAILURE => "delivery failed",
            Self(_) => "another status",
        };
        write!(f, "{words} (0x{:02x})", self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
