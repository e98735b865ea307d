//! Setting a modem up: from the first `AT` to the listing of what it has stored.
//!
//! A PIN is entered once in the life of the dialog, once more if the card was busy, and only if the card has all its tries left
//! where it tells: three wrong ones lock it.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::{Asking, Lost, Modem, State, Trouble};
use crate::limits::{
    MODEM_ANSWER, MODEM_ATTENTION, MODEM_BUSY, MODEM_PIN_TRIES, MODEM_SETTLE, MODEM_STORE_ANSWER,
};
use crate::modem::answer::{Card, Store};
use crate::modem::code::Code;

/// A step of setting a modem up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Attention,
    Echo,
    Errors,
    Card,
    PinTries,
    EnterPin,
    Services,
    Mode,
    Center,
    Stores(usize),
    Notices(usize),
    Watch,
    Registration,
    LongTermRegistration,
    Signal { registered: bool },
}

/// The stores that messages may come into, the preferred one first: a card outlives its modem.
const STORES: [Store; 2] = [Store::CARD, Store::EQUIPMENT];

/// How messages and reports may be announced, the preferred way first: straight, then by place. The
/// first is only for those who acknowledge, or a message would be lost with us.
const NOTICES: [&str; 6] =
    ["2,2,0,1,0", "2,1,0,1,0", "2,1,0,2,0", "2,1,0,0,0", "1,1,0,1,0", "1,1,0,0,0"];

impl Modem {
    pub(super) fn ask_step(&mut self, step: Step, now: Instant) {
        let text = self.step_text(step);
        let patience = patience(step);
        self.ask(Asking::Step(step), text, patience, now);
        if step == Step::EnterPin {
            // Until it is accepted it counts as refused: no answer may be an answer too.
            (self.pin_entered, self.pin_refused) = (true, true);
            // An echo is compared with what was asked; a PIN need not stay here for that.
            if let Some(asked) = &mut self.asked {
                asked.text.zeroize();
            }
        }
    }

    fn step_text(&self, step: Step) -> String {
        match step {
            Step::Attention => "AT".to_owned(),
            Step::Echo => "ATE0".to_owned(),
            Step::Errors => "AT+CMEE=1".to_owned(),
            Step::Card => "AT+CPIN?".to_owned(),
            Step::PinTries => "AT+CPINR=\"SIM PIN\"".to_owned(),
            Step::EnterPin => {
                let pin = self.config.pin.as_ref().map_or("", |it| it.expose());
                format!("AT+CPIN=\"{pin}\"")
            }
            Step::Services => "AT+CSMS=1".to_owned(),
            Step::Mode => "AT+CMGF=0".to_owned(),
            Step::Center => "AT+CSCA?".to_owned(),
            Step::Stores(index) => {
                let letters = STORES[index].letters();
                format!("AT+CPMS=\"{letters}\",\"{letters}\",\"{letters}\"")
            }
            Step::Notices(index) => format!("AT+CNMI={}", NOTICES[index]),
            Step::Watch => "AT+CREG=1".to_owned(),
            Step::Registration => "AT+CREG?".to_owned(),
            Step::LongTermRegistration => "AT+CEREG?".to_owned(),
            Step::Signal { .. } => "AT+CSQ".to_owned(),
        }
    }

    pub(super) fn step_unanswered(&mut self, step: Step, now: Instant) {
        if step == Step::Attention {
            return self.step_again(step, (now, now), MODEM_ATTENTION.1, Lost::Silent);
        }
        self.start(now);
    }

    pub(super) fn step_answered(&mut self, step: Step, result: Result<(), Code>, now: Instant) {
        if let Err(code) = result
            && code.is_busy()
            && step != Step::EnterPin
        {
            return self.step_again(
                step,
                (now, now + MODEM_BUSY.0),
                MODEM_BUSY.1,
                Lost::Refused(code),
            );
        }
        match step {
            Step::Attention => match result {
                Ok(()) => self.step(Step::Echo, now + MODEM_SETTLE),
                Err(_) => self.step_again(step, (now, now), MODEM_ATTENTION.1, Lost::Silent),
            },
            Step::Echo => {
                self.terms.quiet = result.is_ok();
                self.step(Step::Errors, now);
            }
            Step::Errors => self.step(Step::Card, now),
            Step::Card => self.card_answered(result, now),
            Step::PinTries => match self.facts.tries {
                Some(tries) if tries < MODEM_PIN_TRIES => self.lose(Lost::PinRefused, now),
                Some(_) | None => self.step(Step::EnterPin, now),
            },
            Step::EnterPin => match result {
                Ok(()) => self.step(Step::Card, now + MODEM_BUSY.0),
                // It was not looked at; but a card that is busy for ever must not be asked for ever.
                Err(code) if code.is_busy() && !self.pin_repeated => {
                    (self.pin_entered, self.pin_refused) = (false, false);
                    self.pin_repeated = true;
                    self.step(Step::Card, now + MODEM_BUSY.0);
                }
                Err(_) => self.lose(Lost::PinRefused, now),
            },
            Step::Services => {
                self.terms.acknowledges = result.is_ok();
                self.step(Step::Mode, now);
            }
            Step::Mode => match result {
                Ok(()) => self.step(Step::Center, now),
                Err(code) => self.lose(Lost::Refused(code), now),
            },
            Step::Center => {
                let known = self.facts.center || self.config.center.is_some();
                self.condition.center = Some(known);
                if !known {
                    self.tell(Trouble::NoCenter);
                }
                self.step(Step::Stores(0), now);
            }
            Step::Stores(index) => self.stores_answered(index, result, now),
            Step::Notices(index) => self.notices_answered(index, result, now),
            Step::Watch => self.step(Step::Registration, now),
            Step::Registration => match self.facts.registered {
                Some(false) => self.step(Step::LongTermRegistration, now),
                Some(true) | None => self.step(Step::Signal { registered: true }, now),
            },
            Step::LongTermRegistration => {
                let registered = self.facts.registered == Some(true);
                self.step(Step::Signal { registered }, now);
            }
            // A modem that does not tell can be used nevertheless.
            Step::Signal { registered } => self.ready(registered, now),
        }
    }

    fn card_answered(&mut self, result: Result<(), Code>, now: Instant) {
        match (self.facts.card, result) {
            (Some(Card::Ready), _) => {
                self.pin_refused = false;
                self.step(Step::Services, now);
            }
            (Some(Card::Pin), _) if self.config.pin.is_none() => self.lose(Lost::PinWanted, now),
            // It has taken the PIN and has not yet noticed.
            (Some(Card::Pin), _) if self.pin_entered => {
                self.step_again(
                    Step::Card,
                    (now, now + MODEM_BUSY.0),
                    MODEM_BUSY.1,
                    Lost::PinRefused,
                );
            }
            (Some(Card::Pin), _) if self.pin_refused => self.lose(Lost::PinRefused, now),
            (Some(Card::Pin), _) => self.step(Step::PinTries, now),
            (Some(Card::Locked), _) => self.lose(Lost::Locked, now),
            (None, Err(code)) if code.lacks_card() => self.lose(Lost::NoCard, now),
            // A modem that cannot be asked has a card that wants nothing.
            (None, Ok(()) | Err(_)) => self.step(Step::Services, now),
        }
    }

    fn stores_answered(&mut self, index: usize, result: Result<(), Code>, now: Instant) {
        if result.is_ok() {
            self.terms.store = Some(STORES[index]);
            self.terms.selected = self.terms.store;
        } else if index + 1 < STORES.len() {
            return self.step(Step::Stores(index + 1), now);
        }
        let first = if self.terms.acknowledges { 0 } else { 1 };
        self.step(Step::Notices(first), now);
    }

    fn notices_answered(&mut self, index: usize, result: Result<(), Code>, now: Instant) {
        self.condition.notices = Some(result.is_ok());
        if result.is_ok() {
            self.terms.notices = Some(NOTICES[index]);
            return self.step(Step::Watch, now);
        }
        if index + 1 < NOTICES.len() {
            return self.step(Step::Notices(index + 1), now);
        }
        self.tell(Trouble::NoNotices);
        self.step(Step::Watch, now);
    }

    fn step(&mut self, step: Step, at: Instant) {
        self.state = State::Starting { step, at, tries: 0 };
    }

    fn step_again(&mut self, step: Step, (now, at): (Instant, Instant), most: u8, lost: Lost) {
        let tries = match self.state {
            State::Starting { tries, .. } => tries + 1,
            State::Resting { .. } | State::Opening | State::Ready { .. } | State::Ended => 1,
        };
        if most <= tries {
            return self.lose(lost, now);
        }
        self.state = State::Starting { step, at, tries };
    }
}

fn patience(step: Step) -> Duration {
    match step {
        Step::Attention => MODEM_ATTENTION.0,
        Step::Echo
        | Step::Errors
        | Step::Services
        | Step::Mode
        | Step::Notices(_)
        | Step::Watch
        | Step::Registration
        | Step::LongTermRegistration
        | Step::Signal { .. } => MODEM_ANSWER,
        Step::Card | Step::PinTries | Step::EnterPin | Step::Center | Step::Stores(_) => {
            MODEM_STORE_ANSWER
        }
    }
}
