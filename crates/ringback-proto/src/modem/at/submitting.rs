//! Submitting a message: the mode, the length, the prompt, the digits, the network's answer.

use std::fmt::Write;
use std::time::Instant;

use super::{Asked, Asking, Command, Failure, Modem, Submission, SubmissionId};
use crate::limits::{MODEM_AGAIN, MODEM_ANSWER, MODEM_PROMPT, MODEM_SUBMIT, MODEM_TRIES};
use crate::modem::code::{Code, Remedy};
use crate::modem::tpdu::{Pdu, Submit, Tpdu, UserData, Validity};

/// Ends a message.
const END: char = '\u{1a}';
/// Breaks one off.
pub(super) const ESCAPE: u8 = 0x1b;

/// A message and its tries.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) submission: Submission,
    pub(super) not_before: Instant,
    /// It was taken back, or nobody waits for it any more, while its turn had begun.
    pub(super) unwanted: bool,
    tries: u8,
}

/// What has happened to a message since its turn began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overtaken {
    Unwanted,
    Expired,
}

fn overtaken(turn: &Turn, now: Instant) -> Option<Overtaken> {
    let expired = turn.submission.until <= now;
    let overtaken = if turn.unwanted { Overtaken::Unwanted } else { Overtaken::Expired };
    (turn.unwanted || expired).then_some(overtaken)
}

impl Turn {
    pub(super) fn new(submission: Submission, now: Instant) -> Self {
        Self { submission, not_before: now, unwanted: false, tries: 0 }
    }
}

impl Modem {
    pub(super) fn awaits_prompt(&self) -> bool {
        matches!(&self.asked, Some(Asked { what: Asking::Submit { given: false, .. }, .. }))
    }

    /// Asks for the next message's turn; tells whether there was one.
    pub(super) fn ask_submission(&mut self, now: Instant) -> bool {
        if !self.may_submit() {
            return false;
        }
        let next = self.waiting.iter().find(|(_, it)| it.not_before <= now);
        let Some((&id, _)) = next else { return false };
        let Some(turn) = self.waiting.remove(&id) else { return false };
        if turn.submission.until <= now {
            self.fail(id, Failure::Expired);
            return true;
        }
        self.ask(Asking::Mode(id, turn), "AT+CMGF=0".to_owned(), MODEM_ANSWER, now);
        true
    }

    pub(super) fn mode_answered(
        &mut self,
        id: SubmissionId,
        mut turn: Turn,
        result: Result<(), Code>,
        now: Instant,
    ) {
        turn.tries += 1;
        if let Err(code) = result {
            self.try_again(id, turn, Failure::Refused(code), now);
            return self.start(now);
        }
        if let Some(overtaken) = overtaken(&turn, now) {
            return self.overtaken(id, overtaken);
        }
        let Ok((_, length)) = self.pdu(&turn.submission, now).encode() else {
            return self.fail(id, Failure::Unfit);
        };
        let text = format!("AT+CMGS={length}");
        self.ask(Asking::Submit { id, turn, given: false }, text, MODEM_PROMPT, now);
    }

    /// Gives the message that the modem asks for.
    pub(super) fn give(&mut self, now: Instant) {
        let Some(Asked { what: Asking::Submit { id, turn, .. }, .. }) = self.asked.take() else {
            return;
        };
        if let Some(overtaken) = overtaken(&turn, now) {
            self.break_off(now);
            return self.overtaken(id, overtaken);
        }
        // The same message, but for what is left of its validity: its length does not change.
        let Ok((octets, _)) = self.pdu(&turn.submission, now).encode() else {
            self.break_off(now);
            return self.fail(id, Failure::Unfit);
        };
        let mut digits = String::with_capacity(octets.len() * 2 + 1);
        for octet in octets {
            let _ = write!(digits, "{octet:02X}");
        }
        digits.push(END);
        self.output.push_back(digits.into_bytes());
        let what = Asking::Submit { id, turn, given: true };
        // Some modems repeat the digits of a message whatever they were told about echoes.
        self.asked = Some(Asked { what, text: String::new(), until: now + MODEM_SUBMIT });
    }

    pub(super) fn submit_answered(
        &mut self,
        id: SubmissionId,
        turn: Turn,
        given: bool,
        result: Result<(), Code>,
        now: Instant,
    ) {
        let code = match result {
            Ok(()) if given => {
                let reference = self.facts.reference;
                return self.commands.push_back(Command::Submitted(id, reference));
            }
            // Done, it says, before it knew the message: it is not in the mode we think.
            Ok(()) => Code::Unnamed,
            Err(code) => code,
        };
        let (refused, remedy) = (Failure::Refused(code), code.remedy());
        if given && !code.proves_refusal() {
            self.commands.push_back(Command::Unknown(id));
        } else if matches!(remedy, Remedy::Never | Remedy::Elsewhere | Remedy::Absent) {
            self.fail(id, refused);
        } else {
            self.try_again(id, turn, refused, now);
        }
        if remedy == Remedy::Settings {
            self.start(now);
        }
    }

    /// Tells the modem that the message it asks for does not come, and awaits what it says to that.
    fn break_off(&mut self, now: Instant) {
        self.output.push_back(vec![ESCAPE]);
        let until = now + MODEM_PROMPT;
        self.asked = Some(Asked { what: Asking::BrokenOff, text: String::new(), until });
    }

    fn overtaken(&mut self, id: SubmissionId, overtaken: Overtaken) {
        match overtaken {
            Overtaken::Unwanted => {}
            Overtaken::Expired => self.fail(id, Failure::Expired),
        }
    }

    /// Lets a message wait for another turn that the network cannot have, or fails it.
    pub(super) fn try_again(
        &mut self,
        id: SubmissionId,
        mut turn: Turn,
        failure: Failure,
        now: Instant,
    ) {
        if turn.unwanted {
            return;
        }
        if MODEM_TRIES <= turn.tries {
            return self.fail(id, failure);
        }
        turn.not_before = if turn.tries == 0 { now } else { now + MODEM_AGAIN };
        self.waiting.insert(id, turn);
    }

    fn pdu(&self, submission: &Submission, now: Instant) -> Pdu {
        let left = submission.until.saturating_duration_since(now);
        let submit = Submit {
            // The modem counts for itself.
            reference: 0,
            destination: submission.destination.clone(),
            protocol: 0,
            validity: Some(Validity::within(left)),
            report: self.config.reports,
            user_data: UserData::new(submission.content.clone()),
        };
        Pdu { center: self.config.center.clone(), tpdu: Tpdu::Submit(submit) }
    }
}
