//! What happens to a dialog with a modem, and what comes of it.

use std::time::Instant;

use crate::modem::code::Code;
use crate::modem::pin::Pin;
use crate::modem::tpdu::{Address, Content, Malformed, StatusReport};

/// What the dialog needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The card's PIN, if it wants one. It is entered once.
    pub pin: Option<Pin>,
    /// The center that messages go by; none for the card's own.
    pub center: Option<Address>,
    /// Whether status reports are asked for; some operators charge for them.
    pub reports: bool,
}

/// Names a submission to whoever asked for it. Lower ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmissionId(pub u64);

/// Names a message handed out, until it has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandedId(pub u64);

/// What happens to the dialog.
#[derive(Debug)]
pub enum Event {
    /// The port asked for is open.
    Opened,
    /// It is not, or is no longer.
    Closed,
    /// Somebody wants a message to be sent.
    Submit(SubmissionId, Submission),
    /// A message handed out is in safe hands: it may be deleted.
    Taken(HandedId),
    /// Nobody takes it: the modem or the network shall keep it.
    Declined(HandedId),
    /// End.
    ShutDown,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Whom it is for.
    pub destination: Address,
    /// What it says.
    pub content: Content,
    /// When it stops being worth delivering.
    pub until: Instant,
}

/// What the driver must do or tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Open the port, and report how it went.
    Open,
    /// Write what is left to write and close the port.
    Close(Lost),
    /// The modem is set up.
    Ready,
    /// The network has the message, by this reference where the modem tells it.
    Submitted(SubmissionId, Option<u8>),
    /// It may have the message: no answer came.
    Unknown(SubmissionId),
    /// It will not be sent.
    Failed(SubmissionId, Failure),
    /// A message has come: hand it on, then say that it was taken.
    Hand {
        /// Names it until then.
        handed: HandedId,
        /// Who says to have sent it; nothing proves it.
        source: Address,
        /// What it holds: octets, or text as UTF-8.
        octets: Vec<u8>,
    },
    /// What was handed out and has not been taken is not to be handed on any more: it comes again.
    Forget,
    /// What became of a message sent earlier.
    Report(StatusReport),
    /// A message was not for us and is deleted.
    Dropped(Dropped),
    /// The operator should know.
    Trouble(Trouble),
}

/// Why a message will not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It stopped being worth sending first.
    Expired,
    /// The modem or the network refused it.
    Refused(Code),
    /// The modem does not answer.
    NoAnswer,
    /// It cannot be put into one message.
    Unfit,
    /// The dialog ends.
    ShutDown,
}

/// Why the port is closed.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Lost {
    /// Nothing on the port answers.
    #[error("the modem does not answer")]
    Silent,
    /// There is no card, or none that works.
    #[error("the modem has no working card")]
    NoCard,
    /// The card wants a PIN and none is configured.
    #[error("the card wants a PIN: configure it, or switch it off")]
    PinWanted,
    /// The PIN is wrong, or so few tries are left that it is not entered.
    #[error("the card refused the PIN, or has too few tries left: enter it by hand once")]
    PinRefused,
    /// The card or the phone wants a code that nobody configures.
    #[error("the card is locked: it wants its PUK or another code")]
    Locked,
    /// The modem does not do what is needed.
    #[error("the modem refused to be set up: {0}")]
    Refused(Code),
    /// We shut down.
    #[error("shutting down")]
    ShutDown,
}

/// Why a message is deleted without being handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It cannot be read.
    Malformed(Malformed),
    /// It is one of several parts; a signal never is.
    Part,
}

/// What the operator should know. Each is told once until the modem is set up again.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Neither the card nor the configuration knows the center.
    #[error("no message center is known: nothing can be sent")]
    NoCenter,
    /// The modem does not announce messages; its store is listed from time to time instead.
    #[error("the modem does not announce messages: they are heard late")]
    NoNotices,
    /// The modem is not registered with a network.
    #[error("the modem has no network")]
    NoNetwork,
    /// The store has no room: the network keeps further messages.
    #[error("the modem's store is full")]
    StoreFull,
    /// The modem does not delete a message.
    #[error("the modem does not delete messages: they are heard again and again")]
    Undeletable,
}
