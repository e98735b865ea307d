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
    tries: u8,
}

impl Turn {
    pub(super) fn new(submission: Submission, now: Instant) -> Self {
        Self { submission, not_before: now, tries: 0 }
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
        // The same message, but for what is left of its validity: its length does not change.
        let Ok((octets, _)) = self.pdu(&turn.submission, now).encode() else {
            self.output.push_back(vec![ESCAPE]);
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
        let refused = Failure::Refused(code);
        match code.remedy() {
            Remedy::Never | Remedy::Elsewhere => self.fail(id, refused),
            Remedy::Unknown if given => self.commands.push_back(Command::Unknown(id)),
            Remedy::Unknown | Remedy::Again => self.try_again(id, turn, refused, now),
            Remedy::Settings => {
                self.try_again(id, turn, refused, now);
                self.start(now);
            }
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
