//! The dialog with a modem: sets it up, submits, hears, and comes back when it is lost.
//!
//! Pure: it owns no port and reads no clock. One command at a time, and whatever a modem says of its
//! own in between is taken in. A message in the store is deleted only after it has been taken; a
//! message that the network may have is never given to the modem again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::answer::{Answer, Card, Header, Slot, Store};
use super::code::Code;
use super::lines::{Lines, Said};
use crate::limits::{
    MODEM_CARD_REST, MODEM_LISTING, MODEM_REGISTRATION, MODEM_REST, MODEM_RESTARTS, MODEM_SETTLE,
    MODEM_WAITING,
};
use chores::{Chore, Origin};
use setup::Step;
use submitting::Turn;

pub use condition::{Condition, Signal};
pub use events::{
    Command, Config, Dropped, Event, Failure, HandedId, Lost, Submission, SubmissionId, Trouble,
};

mod chores;
mod condition;
mod events;
mod setup;
mod submitting;

/// A modem on a port, ready or not.
pub struct Modem {
    config: Config,
    state: State,
    lines: Lines,
    asked: Option<Asked>,
    facts: Facts,
    condition: Condition,
    /// A message follows on the next line.
    announced: Option<(Origin, Option<u16>)>,
    waiting: BTreeMap<SubmissionId, Turn>,
    chores: VecDeque<Chore>,
    handed: BTreeMap<HandedId, Origin>,
    next_handed: u64,
    /// Stores that held more than could be taken on.
    unlisted: BTreeSet<Option<Store>>,
    /// Stores that hold what nobody took; they are listed again with the others.
    declined: BTreeSet<Option<Store>>,
    /// A place whose message came garbled, and is read once more.
    garbled: Option<Slot>,
    /// A chore was done last: the next turn is a submission's.
    yields: bool,
    terms: Terms,
    /// The PIN was entered since the dialog started over.
    pin_entered: bool,
    /// The PIN was entered and not accepted: it is not entered again.
    pin_refused: bool,
    /// The PIN was entered a second time, since the card was busy.
    pin_repeated: bool,
    attempts: u32,
    /// How often the dialog started over since it last went on for a while.
    restarts: u8,
    told: BTreeSet<Trouble>,
    output: VecDeque<Vec<u8>>,
    commands: VecDeque<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { until: Instant },
    Opening,
    Starting { step: Step, at: Instant, tries: u8 },
    Ready { since: Instant, listing_at: Instant, registration_at: Option<Instant> },
    Ended,
}

/// A command that has not been answered.
#[derive(Debug)]
struct Asked {
    what: Asking,
    text: String,
    until: Instant,
}

#[derive(Debug)]
enum Asking {
    Step(Step),
    Chore(Chore),
    Select(Store),
    /// The mode is told again before each submission: a modem that has forgotten it would take
    /// the length of a PDU for a number, and send the PDU's digits there.
    Mode(SubmissionId, Turn),
    Submit {
        id: SubmissionId,
        turn: Turn,
        given: bool,
    },
    /// What a modem says that is told not to wait for a message any more.
    BrokenOff,
}

/// What the lines of an answer have told so far.
#[derive(Debug, Default)]
struct Facts {
    card: Option<Card>,
    tries: Option<u8>,
    center: bool,
    registered: Option<bool>,
    reference: Option<u8>,
}

/// What a modem agreed to when it was set up.
#[derive(Debug, Default)]
struct Terms {
    /// Each message that comes straight from the network wants to be acknowledged.
    acknowledges: bool,
    /// The store that messages come into.
    store: Option<Store>,
    /// The store that is read and deleted from.
    selected: Option<Store>,
    /// How it announces messages, if it does.
    notices: Option<&'static str>,
    /// It has stopped repeating what it is told.
    quiet: bool,
}

impl Modem {
    /// A modem whose port will be opened at once.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            state: State::Resting { until: now },
            lines: Lines::default(),
            asked: None,
            facts: Facts::default(),
            condition: Condition::default(),
            announced: None,
            waiting: BTreeMap::new(),
            chores: VecDeque::new(),
            handed: BTreeMap::new(),
            next_handed: 0,
            unlisted: BTreeSet::new(),
            declined: BTreeSet::new(),
            garbled: None,
            yields: false,
            terms: Terms::default(),
            pin_entered: false,
            pin_refused: false,
            pin_repeated: false,
            attempts: 0,
            restarts: 0,
            told: BTreeSet::new(),
            output: VecDeque::new(),
            commands: VecDeque::new(),
        }
    }

    /// Whether no more submissions may be given to it for now.
    pub fn is_full(&self) -> bool {
        MODEM_WAITING <= self.waiting.len()
    }

    /// Whether it has shut down: nothing will come of it any more.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Forgets the submissions that nobody wants any more, of those not yet sent.
    pub fn retain(&mut self, mut wanted: impl FnMut(SubmissionId) -> bool) {
        self.waiting.retain(|id, _| wanted(*id));
        if let Some(asked) = &mut self.asked
            && let Asking::Mode(id, turn) | Asking::Submit { id, turn, given: false } =
                &mut asked.what
        {
            turn.unwanted |= !wanted(*id);
        }
    }

    /// Takes in what has happened.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Opened if self.state == State::Opening => {
                self.restarts = 0;
                self.start(now);
            }
            Event::Closed if self.state == State::Opening || self.is_open() => self.down(now, None),
            // The driver opened or closed the port for a dialog that has gone on since.
            Event::Opened | Event::Closed => {}
            Event::Submit(id, _) if self.is_ended() => self.fail(id, Failure::ShutDown),
            Event::Submit(id, submission) => {
                debug_assert!(!self.is_full(), "the driver asks is_full first");
                self.waiting.insert(id, Turn::new(submission, now));
            }
            Event::Taken(handed) => self.taken(handed),
            Event::Declined(handed) => self.declined(handed),
            Event::ShutDown => self.shut_down(now),
        }
        self.advance(now);
    }

    /// Takes in what the modem sent.
    pub fn handle_input(&mut self, octets: &[u8], now: Instant) {
        self.lines.extend(octets);
        loop {
            if !self.is_listening() {
                return self.lines.clear();
            }
            match self.lines.next(self.awaits_prompt()) {
                Some(Said::Prompt) => self.give(now),
                Some(Said::Line(line)) => self.handle_line(&line, now),
                None => break,
            }
            self.advance(now);
        }
    }

    /// Does what is due: opens, gives up, asks, submits.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.asked.as_ref().is_some_and(|it| it.until <= now) {
            self.unanswered(now);
        }
        for (id, _) in self.waiting.extract_if(.., |_, it| it.submission.until <= now) {
            self.commands.push_back(Command::Failed(id, Failure::Expired));
        }
        match &mut self.state {
            State::Resting { until } if *until <= now => {
                self.state = State::Opening;
                self.commands.push_back(Command::Open);
            }
            State::Ready { listing_at, registration_at, .. } => {
                let lists = *listing_at <= now;
                if lists {
                    *listing_at = now + MODEM_LISTING;
                }
                let registers = registration_at.is_some_and(|it| it <= now);
                if registers {
                    *registration_at = Some(now + MODEM_REGISTRATION);
                }
                self.look_after(lists, registers);
            }
            State::Resting { .. } | State::Opening | State::Starting { .. } | State::Ended => {}
        }
        self.advance(now);
    }

    /// The next octets to write.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// The next thing to do or tell.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Modem::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.asked.is_none();
        let state = match self.state {
            State::Resting { until } => Some(until),
            State::Starting { at, .. } => Some(at).filter(|_| idle),
            State::Ready { listing_at, registration_at, .. } => {
                Some(registration_at.map_or(listing_at, |it| it.min(listing_at)))
            }
            State::Opening | State::Ended => None,
        };
        let answer = self.asked.as_ref().map(|it| it.until);
        let expiry = self.waiting.values().map(|it| it.submission.until).min();
        let turn = self.waiting.values().map(|it| it.not_before).min();
        let turn = turn.filter(|_| idle && self.may_submit());
        [state, answer, expiry, turn].into_iter().flatten().min()
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Ready { .. })
    }

    /// While it is left alone before being set up, what it says is late news of an earlier dialog.
    fn is_listening(&self) -> bool {
        match self.state {
            State::Starting { .. } => self.asked.is_some(),
            State::Ready { .. } => true,
            State::Resting { .. } | State::Opening | State::Ended => false,
        }
    }

    fn has_lasted(&self, now: Instant) -> bool {
        matches!(self.state, State::Ready { since, .. } if since + MODEM_REST.1 <= now)
    }

    fn may_submit(&self) -> bool {
        matches!(self.state, State::Ready { registration_at: None, .. })
    }

    /// Starts over: whatever it was in the middle of, a prompt included, is broken off.
    fn start(&mut self, now: Instant) {
        if self.has_lasted(now) {
            self.restarts = 0;
        }
        self.restarts += 1;
        if MODEM_RESTARTS < self.restarts {
            return self.lose(Lost::Silent, now);
        }
        self.abandon(now);
        self.terms = Terms::default();
        self.told.clear();
        self.pin_entered = false;
        self.output.push_back(b"\x1b\r".to_vec());
        self.state = State::Starting { step: Step::Attention, at: now + MODEM_SETTLE, tries: 0 };
    }

    fn ready(&mut self, registered: bool, now: Instant) {
        self.condition.registered = Some(registered);
        let registration_at = if registered { None } else { Some(now + MODEM_REGISTRATION) };
        self.state = State::Ready { since: now, listing_at: now + MODEM_LISTING, registration_at };
        self.commands.push_back(Command::Ready);
        if !registered {
            self.tell(Trouble::NoNetwork);
        }
        self.add(Chore::List(self.terms.store));
        if self.terms.store == Some(Store::CARD) {
            self.add(Chore::List(Some(Store::EQUIPMENT)));
        }
    }

    fn shut_down(&mut self, now: Instant) {
        if self.is_open() {
            // It must not be left waiting for a message: the next command would become one.
            if self.awaits_prompt() {
                self.output.push_back(vec![submitting::ESCAPE]);
            }
            self.commands.push_back(Command::Close(Lost::ShutDown));
        }
        self.abandon(now);
        self.state = State::Ended;
        for (id, _) in std::mem::take(&mut self.waiting) {
            self.fail(id, Failure::ShutDown);
        }
    }

    fn lose(&mut self, lost: Lost, now: Instant) {
        self.commands.push_back(Command::Close(lost));
        self.down(now, Some(lost));
    }

    fn down(&mut self, now: Instant, lost: Option<Lost>) {
        self.abandon(now);
        if self.has_lasted(now) {
            self.attempts = 0;
        }
        let (shortest, longest) = MODEM_REST;
        let rest = longest.min(shortest * 2_u32.pow(self.attempts.min(16)));
        self.attempts += 1;
        let rest = match lost {
            Some(Lost::NoCard | Lost::PinWanted | Lost::PinRefused | Lost::Locked) => {
                MODEM_CARD_REST
            }
            Some(Lost::Silent | Lost::Refused(_) | Lost::ShutDown) | None => rest,
        };
        self.state = State::Resting { until: now + rest };
    }

    /// Forgets the dialog: what was handed out is found in the store or sent by the network again.
    fn abandon(&mut self, now: Instant) {
        self.lines.clear();
        self.condition = Condition::default();
        self.announced = None;
        self.chores.clear();
        if !std::mem::take(&mut self.handed).is_empty() {
            self.commands.push_back(Command::Forget);
        }
        self.unlisted.clear();
        self.declined.clear();
        self.garbled = None;
        match self.asked.take().map(|it| it.what) {
            Some(Asking::Mode(id, turn)) => self.try_again(id, turn, Failure::NoAnswer, now),
            Some(Asking::Submit { id, turn, given: false }) => {
                self.try_again(id, turn, Failure::NoAnswer, now);
            }
            Some(Asking::Submit { id, given: true, .. }) => {
                self.commands.push_back(Command::Unknown(id));
            }
            Some(Asking::Step(_) | Asking::Chore(_) | Asking::Select(_) | Asking::BrokenOff)
            | None => {}
        }
    }

    fn unanswered(&mut self, now: Instant) {
        let Some(asked) = &self.asked else { return };
        match asked.what {
            Asking::Step(step) => {
                self.asked = None;
                self.step_unanswered(step, now);
            }
            // Some have nothing to say to that.
            Asking::BrokenOff => self.asked = None,
            Asking::Chore(_) | Asking::Select(_) | Asking::Mode(..) | Asking::Submit { .. } => {
                self.start(now);
            }
        }
    }

    fn handle_line(&mut self, line: &str, now: Instant) {
        if let Some((origin, length)) = self.announced.take()
            && line.bytes().all(|it| it.is_ascii_hexdigit())
        {
            return self.receive(origin, length, line);
        }
        if self.asked.as_ref().is_some_and(|it| it.text == line) {
            return self.heard_echo(now);
        }
        match Answer::read(line) {
            Answer::Ok => self.answered(Ok(()), now),
            Answer::Error(code) => self.answered(Err(code), now),
            Answer::Submitted(reference) => self.facts.reference = reference,
            Answer::Header(header, length) => {
                self.announced = self.origin(header).map(|it| (it, length));
            }
            Answer::Stored(slot) => self.add(Chore::Read(slot)),
            Answer::Card(card) if self.state.is_starting() => self.facts.card = Some(card),
            // Cards say so unasked only after they were reset.
            Answer::Card(_) => self.start(now),
            Answer::Tries(tries) => self.facts.tries = Some(tries),
            Answer::Center(known) => self.facts.center = known,
            Answer::Registered(registered) => self.registered(registered, now),
            Answer::Signal(steps) => self.condition.signal = Some(Signal(steps)),
            Answer::Places(taken, all) => self.counted(taken, all),
            Answer::Full => {
                self.tell(Trouble::StoreFull);
                self.add(Chore::List(self.terms.store));
            }
            // While its attention is sought it may be starting: that is what is waited for.
            Answer::Started if self.state.is_at(Step::Attention) => {}
            Answer::Started => self.start(now),
            Answer::Other => {}
        }
    }

    /// A modem that repeats what it is told although it had stopped has started anew.
    fn heard_echo(&mut self, now: Instant) {
        if !self.terms.quiet {
            return;
        }
        if self.state.is_starting() {
            // It cannot be made to stop: an echo means nothing.
            self.terms.quiet = false;
            return;
        }
        self.start(now);
    }

    fn registered(&mut self, registered: bool, now: Instant) {
        self.facts.registered = Some(registered);
        let State::Ready { registration_at, .. } = &mut self.state else { return };
        if registered {
            self.condition.registered = Some(true);
            *registration_at = None;
            self.told.remove(&Trouble::NoNetwork);
            return;
        }
        // Without a network by one name it may have one by another: it is asked before it is said.
        let asking = matches!(&self.asked, Some(Asked { what: Asking::Chore(it), .. }) if it.is_registration());
        if registration_at.is_none() && !asking {
            *registration_at = Some(now);
        }
    }

    fn answered(&mut self, result: Result<(), Code>, now: Instant) {
        // An end of an answer that nobody awaits is an earlier one's.
        let Some(asked) = self.asked.take() else { return };
        match asked.what {
            Asking::Step(step) => self.step_answered(step, result, now),
            Asking::Chore(chore) => self.chore_answered(chore, result),
            Asking::Select(store) => self.select_answered(store, result),
            Asking::Mode(id, turn) => self.mode_answered(id, turn, result, now),
            Asking::BrokenOff => {}
            Asking::Submit { id, turn, given } => {
                self.submit_answered(id, turn, given, result, now);
            }
        }
    }

    /// Asks the next thing if nothing is being asked.
    fn advance(&mut self, now: Instant) {
        while self.asked.is_none() {
            let asked = match self.state {
                State::Starting { step, at, .. } if at <= now => {
                    self.ask_step(step, now);
                    true
                }
                State::Ready { .. } => self.ask_next(now),
                State::Starting { .. } | State::Resting { .. } | State::Opening | State::Ended => {
                    false
                }
            };
            if !asked {
                return;
            }
        }
    }

    /// What the network waits for goes first; else chores and submissions take turns, so that
    /// nobody keeps us from ringing by filling a store.
    fn ask_next(&mut self, now: Instant) -> bool {
        let awaited = self.chores.front().is_some_and(|it| it.is_awaited());
        if self.yields && !awaited && self.ask_submission(now) {
            self.yields = false;
            return true;
        }
        self.yields = self.ask_chore(now);
        self.yields || self.ask_submission(now)
    }

    fn ask(&mut self, what: Asking, text: String, patience: Duration, now: Instant) {
        self.facts = Facts::default();
        self.output.push_back(format!("{text}\r").into_bytes());
        self.asked = Some(Asked { what, text, until: now + patience });
    }

    fn tell(&mut self, trouble: Trouble) {
        if trouble == Trouble::NoNetwork {
            self.condition.registered = Some(false);
        }
        if self.told.insert(trouble) {
            self.commands.push_back(Command::Trouble(trouble));
        }
    }

    fn fail(&mut self, id: SubmissionId, failure: Failure) {
        self.commands.push_back(Command::Failed(id, failure));
    }

    fn origin(&self, header: Header) -> Option<Origin> {
        let asked = self.asked.as_ref().map(|it| &it.what);
        match (header, asked) {
            (Header::Direct, _) => Some(Origin::Direct),
            (Header::Listed(index, true), Some(Asking::Chore(Chore::List(store)))) => {
                Some(Origin::Slot(Slot { store: *store, index }))
            }
            (Header::Read(true), Some(Asking::Chore(Chore::Read(slot)))) => {
                Some(Origin::Slot(*slot))
            }
            (Header::Listed(..) | Header::Read(_), _) => None,
        }
    }
}

impl State {
    fn is_starting(self) -> bool {
        matches!(self, Self::Starting { .. })
    }

    fn is_at(self, awaited: Step) -> bool {
        matches!(self, Self::Starting { step, .. } if step == awaited)
    }
}

/// Shows neither messages nor the PIN, which may be on its way out.
impl fmt::Debug for Modem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modem").field("state", &self.state).finish_non_exhaustive()
    }
}
