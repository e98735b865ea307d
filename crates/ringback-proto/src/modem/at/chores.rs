//! What has to be done in a modem besides submitting: read, delete, acknowledge, list.
//!
//! A message is deleted or acknowledged only after it was taken, or found to be none of ours.

use std::time::Instant;

use super::{Asking, Command, Dropped, HandedId, Modem, Trouble};
use crate::limits::{MODEM_ANSWER, MODEM_CHORES, MODEM_HANDED, MODEM_STORE_ANSWER};
use crate::modem::answer::{Slot, Store};
use crate::modem::code::Code;
use crate::modem::tpdu::{Deliver, Pdu, Tpdu};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// Tells the network that a message straight from it has been taken.
    Acknowledge,
    /// Tells it that nobody took it.
    Decline,
    /// Reads a message that was announced.
    Read(Slot),
    /// Deletes a message that was taken.
    Delete(Slot),
    /// Reads whatever a store holds.
    List(Option<Store>),
    /// Tells again that messages are written in hexadecimal digits.
    Mode,
    /// Tells again how messages are to be announced.
    Notices,
    /// Asks for the network, by its older name and by its newer.
    Registration,
    LongTermRegistration,
    /// Asks how strong the signal is.
    Signal,
}

/// Where a message comes from, and so where it must be done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Straight from the network.
    Direct,
    /// A store.
    Slot(Slot),
}

impl Modem {
    /// Adds something to do, once. What does not fit is found by the next listing.
    pub(super) fn add(&mut self, chore: Chore) {
        if !chore.is_awaited() && self.chores.contains(&chore) {
            return;
        }
        if MODEM_CHORES <= self.chores.len() {
            self.unlisted.insert(chore.store().or(self.terms.store));
            return;
        }
        match chore {
            // The network waits for it, and not for long; each message for its own.
            Chore::Acknowledge | Chore::Decline => {
                let behind = self.chores.iter().take_while(|it| it.is_awaited()).count();
                self.chores.insert(behind, chore);
            }
            Chore::Read(_)
            | Chore::Delete(_)
            | Chore::List(_)
            | Chore::Mode
            | Chore::Notices
            | Chore::Registration
            | Chore::LongTermRegistration
            | Chore::Signal => self.chores.push_back(chore),
        }
    }

    /// Tells it its settings again, in case it lost them unseen, and looks into the store; asks
    /// how strong the signal is, and for the network.
    pub(super) fn look_after(&mut self, lists: bool, registers: bool) {
        if lists {
            self.add(Chore::Mode);
            self.add(Chore::Notices);
            self.add(Chore::Signal);
            self.add(Chore::List(self.terms.store));
            self.unlisted.append(&mut self.declined);
        }
        if registers {
            self.add(Chore::Registration);
        }
    }

    /// Asks the next thing; tells whether there was one.
    pub(super) fn ask_chore(&mut self, now: Instant) -> bool {
        if self.chores.is_empty()
            && self.handed.is_empty()
            && let Some(store) = self.unlisted.pop_first()
        {
            self.chores.push_back(Chore::List(store));
        }
        let Some(chore) = self.chores.front().copied() else { return false };
        if let Some(store) = chore.store()
            && self.terms.selected != Some(store)
        {
            let text = format!("AT+CPMS=\"{}\"", store.letters());
            self.ask(Asking::Select(store), text, MODEM_STORE_ANSWER, now);
            return true;
        }
        self.chores.pop_front();
        let (text, patience) = match chore {
            Chore::Acknowledge => ("AT+CNMA".to_owned(), MODEM_ANSWER),
            Chore::Decline => ("AT+CNMA=2".to_owned(), MODEM_ANSWER),
            Chore::Read(slot) => (format!("AT+CMGR={}", slot.index), MODEM_STORE_ANSWER),
            Chore::Delete(slot) => (format!("AT+CMGD={}", slot.index), MODEM_STORE_ANSWER),
            Chore::List(_) => ("AT+CMGL=4".to_owned(), MODEM_STORE_ANSWER),
            Chore::Mode => ("AT+CMGF=0".to_owned(), MODEM_ANSWER),
            Chore::Notices => match self.terms.notices {
                Some(notices) => (format!("AT+CNMI={notices}"), MODEM_ANSWER),
                None => return self.ask_chore(now),
            },
            Chore::Registration => ("AT+CREG?".to_owned(), MODEM_ANSWER),
            Chore::LongTermRegistration => ("AT+CEREG?".to_owned(), MODEM_ANSWER),
            Chore::Signal => ("AT+CSQ".to_owned(), MODEM_ANSWER),
        };
        self.ask(Asking::Chore(chore), text, patience, now);
        true
    }

    pub(super) fn chore_answered(&mut self, chore: Chore, result: Result<(), Code>) {
        match chore {
            Chore::Acknowledge | Chore::Decline if result.is_ok() => {}
            // A modem that was not acknowledged in time stops giving messages straight, and has
            // stored what came since.
            Chore::Acknowledge | Chore::Decline => {
                self.add(Chore::Notices);
                self.add(Chore::List(self.terms.store));
            }
            Chore::Delete(_) if result.is_err() => self.tell(Trouble::Undeletable),
            Chore::Registration if self.facts.registered == Some(false) => {
                self.add(Chore::LongTermRegistration);
            }
            Chore::LongTermRegistration if self.facts.registered != Some(true) => {
                self.tell(Trouble::NoNetwork);
            }
            Chore::Read(_)
            | Chore::Delete(_)
            | Chore::List(_)
            | Chore::Mode
            | Chore::Notices
            | Chore::Registration
            | Chore::LongTermRegistration
            | Chore::Signal => {}
        }
    }

    pub(super) fn select_answered(&mut self, store: Store, result: Result<(), Code>) {
        if result.is_ok() {
            self.terms.selected = Some(store);
            return;
        }
        self.chores.retain(|it| it.store() != Some(store));
    }

    /// Takes in a message of so many octets, as the modem says, without the center's address.
    pub(super) fn receive(&mut self, origin: Origin, length: Option<u16>, line: &str) {
        match Pdu::from_line(line).map(|it| it.tpdu) {
            Err(_) if !has_length(line, length) && self.comes_again(origin) => {}
            Err(malformed) => self.drop_message(origin, Dropped::Malformed(malformed)),
            Ok(Tpdu::Deliver(deliver)) if deliver.user_data.is_part() => {
                self.drop_message(origin, Dropped::Part);
            }
            Ok(Tpdu::Deliver(deliver)) => self.hand(origin, deliver),
            Ok(Tpdu::StatusReport(report)) => {
                self.commands.push_back(Command::Report(report));
                self.done_with(origin);
            }
            // The owner's own: not ours to delete.
            Ok(Tpdu::Submit(_)) => {}
        }
    }

    pub(super) fn taken(&mut self, handed: HandedId) {
        // Handed out before the dialog started over: it comes again.
        let Some(origin) = self.handed.remove(&handed) else { return };
        self.done_with(origin);
    }

    pub(super) fn declined(&mut self, handed: HandedId) {
        match self.handed.remove(&handed) {
            // Who declines once would decline the next moment, too.
            Some(Origin::Slot(slot)) => drop(self.declined.insert(slot.store)),
            Some(Origin::Direct) => self.keep(Origin::Direct),
            None => {}
        }
    }

    /// Has a message brought again of which the line has lost a part: once by its store, and as
    /// long as the network repeats it.
    fn comes_again(&mut self, origin: Origin) -> bool {
        match origin {
            Origin::Direct => self.keep(origin),
            Origin::Slot(slot) if self.garbled == Some(slot) => return false,
            Origin::Slot(slot) => {
                self.garbled = Some(slot);
                self.add(Chore::Read(slot));
            }
        }
        true
    }

    fn hand(&mut self, origin: Origin, deliver: Deliver) {
        let known = match origin {
            Origin::Direct => false,
            Origin::Slot(slot) => {
                self.handed.values().any(|it| *it == origin)
                    || self.chores.contains(&Chore::Delete(slot))
            }
        };
        if known {
            return;
        }
        if MODEM_HANDED <= self.handed.len() {
            return self.keep(origin);
        }
        self.next_handed += 1;
        let handed = HandedId(self.next_handed);
        self.handed.insert(handed, origin);
        let Deliver { source, user_data, .. } = deliver;
        let octets = user_data.content.into_octets();
        self.commands.push_back(Command::Hand { handed, source, octets });
    }

    fn drop_message(&mut self, origin: Origin, dropped: Dropped) {
        self.commands.push_back(Command::Dropped(dropped));
        self.done_with(origin);
    }

    fn done_with(&mut self, origin: Origin) {
        match origin {
            Origin::Direct if self.terms.acknowledges => self.add(Chore::Acknowledge),
            Origin::Direct => {}
            Origin::Slot(slot) => self.add(Chore::Delete(slot)),
        }
    }

    /// Leaves a message where it is, for the network or the next listing to bring it again.
    fn keep(&mut self, origin: Origin) {
        match origin {
            Origin::Direct if self.terms.acknowledges => self.add(Chore::Decline),
            Origin::Direct => {}
            Origin::Slot(slot) => drop(self.unlisted.insert(slot.store)),
        }
    }
}

impl Chore {
    /// The store that must be selected for it.
    fn store(self) -> Option<Store> {
        match self {
            Self::Read(slot) | Self::Delete(slot) => slot.store,
            Self::List(store) => store,
            Self::Acknowledge
            | Self::Decline
            | Self::Mode
            | Self::Notices
            | Self::Registration
            | Self::LongTermRegistration
            | Self::Signal => None,
        }
    }

    /// Whether the network waits for it.
    pub(super) fn is_awaited(self) -> bool {
        matches!(self, Self::Acknowledge | Self::Decline)
    }

    pub(super) fn is_registration(self) -> bool {
        matches!(self, Self::Registration | Self::LongTermRegistration)
    }
}

/// Whether a line has as many octets behind the center's address as the modem has said.
fn has_length(line: &str, length: Option<u16>) -> bool {
    let center = line.get(..2).and_then(|it| usize::from_str_radix(it, 16).ok());
    let behind = center.and_then(|it| (line.len() / 2).checked_sub(1 + it));
    line.len().is_multiple_of(2) && length.is_none_or(|it| behind == Some(it.into()))
}
