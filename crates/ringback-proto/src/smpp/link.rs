//! Our end of an account with a message center: binds, submits, hears, and comes back when lost.
//!
//! Pure: it owns no socket and reads no clock. It never submits again what may have been accepted:
//! a submission without an answer is reported as unknown, and whoever asked for it decides.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::content::{self, Unusable};
use super::hosts::Hosts;
use super::pdu::{Bind, Body, Cancel, Message, Pdu};
use super::receipt::{self, Receipt};
use super::status::{Remedy, Status};
use super::text::{Address, Text};
use super::wire::{Lost, Wire};
use super::{pace::Pace, validity};
use crate::limits::{SMPP_RETRIES, SMPP_UNANSWERED, SMPP_UNBIND, SMPP_UNBOUND, SMPP_WAITING};

/// What an account with a message center needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Account and role.
    pub bind: Bind,
    /// The address that messages come from.
    pub source: Address,
    /// How many hosts the account may be used at, one at a time.
    pub hosts: usize,
    /// Submissions that may be in flight together.
    pub window: usize,
    /// Submissions in a second, as agreed with the operator.
    pub per_second: u32,
    /// Idle time after which the message center is asked whether it is alive.
    pub idle: Duration,
    /// How long an answer may take.
    pub patience: Duration,
    /// The shortest and the longest rest before connecting to the same host again.
    pub rest: (Duration, Duration),
    /// The rest after a refused bind: accounts that hurry get locked.
    pub refused_rest: Duration,
    /// Spreads the rests of many proxies that lost the same message center.
    pub seed: u64,
}

impl Config {
    /// What suits most operators; `seed` should differ from proxy to proxy.
    pub fn new(bind: Bind, source: Address, seed: u64) -> Self {
        Self {
            bind,
            source,
            hosts: 1,
            // Operators are known to allow 20 at most.
            window: 10,
            // The slowest default seen at a large operator.
            per_second: 30,
            // Idle binds are known to be cut after 30 seconds.
            idle: Duration::from_secs(20),
            patience: Duration::from_secs(10),
            rest: (Duration::from_secs(1), Duration::from_secs(60)),
            refused_rest: Duration::from_secs(60),
            seed,
        }
    }
}

/// Names a submission to whoever asked for it. Lower ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmissionId(pub u64);

/// Names a message handed out, until it has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandedId(pub u64);

/// What happens to the link.
#[derive(Debug)]
pub enum Event {
    /// The connection asked for is there.
    Connected,
    /// It is not, or is no longer.
    Disconnected,
    /// Somebody wants a message to be sent.
    Submit(SubmissionId, Submission),
    /// Nobody wants a message any more that the message center has taken.
    Cancel {
        /// The message center's name for it.
        message_id: Text<65>,
        /// Whom it was for.
        destination: Address,
    },
    /// A message handed out is in safe hands: the message center may forget it.
    Taken(HandedId),
    /// Nobody takes it: the message center shall keep it.
    Declined(HandedId),
    /// Unbind and end.
    ShutDown,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Whom it is for.
    pub destination: Address,
    /// 0 for text of the default alphabet, 4 for octets.
    pub data_coding: u8,
    /// The text or the octets.
    pub content: Vec<u8>,
    /// When it stops being worth delivering.
    pub until: Instant,
}

/// What the driver must do or tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect, and report how it went.
    Connect {
        /// To which of the account's hosts, counted from zero.
        host: usize,
    },
    /// Write what is left to write and close the connection.
    Disconnect(Lost),
    /// The bind was accepted.
    Bound,
    /// The message center has the message.
    Submitted(SubmissionId, Text<65>),
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
        /// Whom it was sent to.
        destination: Address,
        /// What it holds.
        octets: Vec<u8>,
    },
    /// What became of a message sent earlier.
    Receipt(Receipt),
}

/// Why a message will not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It stopped being worth sending first.
    Expired,
    /// There is no bind to send it over.
    Unbound,
    /// The message center refused it.
    Refused(Status),
    /// The link shuts down.
    ShutDown,
}

/// One account with a message center, connected or not.
#[derive(Debug)]
pub struct Link {
    config: Config,
    state: State,
    wire: Wire,
    pace: Pace,
    waiting: BTreeMap<SubmissionId, Waiting>,
    in_flight: BTreeMap<u32, InFlight>,
    handed: BTreeMap<HandedId, Handed>,
    next_handed: u64,
    hosts: Hosts,
    unbound_since: Option<Instant>,
    /// Another host is to have its turn once nothing is in flight here.
    leaving: bool,
    last_refusal: Option<Status>,
    commands: VecDeque<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { until: Instant },
    Connecting,
    Binding { until: Instant },
    Bound { since: Instant },
    Unbinding { until: Instant },
    Ended,
}

#[derive(Debug)]
struct Waiting {
    submission: Submission,
    since: Instant,
    not_before: Instant,
    retries: u8,
}

#[derive(Debug)]
struct InFlight {
    id: SubmissionId,
    waited: Waiting,
    give_up_at: Instant,
}

#[derive(Debug)]
struct Handed {
    sequence: u32,
    answer: Body,
}

impl Link {
    /// A link that will connect at once.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            state: State::Resting { until: now },
            wire: Wire::new(config.idle, config.patience, now),
            pace: Pace::new(config.per_second, now),
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            handed: BTreeMap::new(),
            next_handed: 0,
            hosts: Hosts::new(&config, now),
            unbound_since: Some(now),
            leaving: false,
            last_refusal: None,
            commands: VecDeque::new(),
            config,
        }
    }

    /// Whether no more submissions may be given to it for now.
    pub fn is_full(&self) -> bool {
        SMPP_WAITING <= self.waiting.len()
    }

    /// Whether it has shut down: nothing will come of it any more.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Submissions in a second: as the message center lets us now, and as agreed with the operator.
    pub fn per_second(&self) -> (u32, u32) {
        self.pace.per_second()
    }

    /// The last status other than success that a submission was answered with.
    pub fn last_refusal(&self) -> Option<Status> {
        self.last_refusal
    }

    /// Forgets the submissions that nobody wants any more, of those not yet sent.
    pub fn retain(&mut self, mut wanted: impl FnMut(SubmissionId) -> bool) {
        self.waiting.retain(|id, _| wanted(*id));
    }

    /// Takes in what has happened.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected(now),
            Event::Disconnected if self.state == State::Connecting || self.is_connected() => {
                self.down(now, None);
            }
            // The driver closed the connection because it was told to.
            Event::Disconnected => {}
            Event::Submit(id, _) if self.is_shutting_down() => {
                self.commands.push_back(Command::Failed(id, Failure::ShutDown));
            }
            Event::Submit(id, _) if self.is_turned_away() => {
                self.commands.push_back(Command::Failed(id, Failure::Unbound));
            }
            Event::Submit(id, submission) => {
                debug_assert!(!self.is_full(), "the driver asks is_full first");
                let waiting = Waiting { submission, since: now, not_before: now, retries: 0 };
                self.waiting.insert(id, waiting);
            }
            Event::Cancel { message_id, destination } => self.cancel(message_id, destination),
            Event::Taken(handed) => self.answer(handed, Status::OK),
            Event::Declined(handed) => self.answer(handed, Status::RECEIVER_TEMPORARY),
            Event::ShutDown => self.shut_down(now),
        }
        self.submit(now);
    }

    /// Takes in what the message center sent.
    pub fn handle_input(&mut self, octets: &[u8], now: Instant) {
        if !self.is_connected() {
            return;
        }
        self.wire.extend(octets, now);
        while self.is_connected() {
            match self.wire.next() {
                Ok(Some(pdu)) => self.handle_pdu(pdu, now),
                Ok(None) => break,
                Err(lost) => self.lose(lost, now),
            }
        }
        self.submit(now);
    }

    /// Does what is due: gives up, asks, connects, submits.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Resting { until } if until <= now => {
                self.state = State::Connecting;
                self.commands.push_back(Command::Connect { host: self.hosts.current() });
            }
            State::Binding { until } if until <= now => self.lose(Lost::Silent, now),
            State::Unbinding { until } if until <= now => self.lose(Lost::ShutDown, now),
            State::Bound { .. } | State::Unbinding { .. } => {
                if let Err(lost) = self.wire.handle_timeout(now) {
                    self.lose(lost, now);
                }
            }
            State::Resting { .. } | State::Connecting | State::Binding { .. } | State::Ended => {}
        }
        for (_, late) in self.in_flight.extract_if(.., |_, it| it.give_up_at <= now) {
            self.commands.push_back(Command::Unknown(late.id));
        }
        let unbound_since = self.unbound_since;
        let waits_in_vain = |it: &Waiting| it.wanted_until(unbound_since) <= now;
        for (id, it) in self.waiting.extract_if(.., |_, it| waits_in_vain(it)) {
            let expired = it.submission.until <= now;
            let failure = if expired { Failure::Expired } else { Failure::Unbound };
            self.commands.push_back(Command::Failed(id, failure));
        }
        self.leave_if_idle(now);
        self.submit(now);
    }

    /// The next octets to write.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.wire.poll_output()
    }

    /// The next thing to do or tell.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Link::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Resting { until } | State::Binding { until } => Some(until),
            State::Unbinding { until } => Some(until.min(self.wire.poll_timeout())),
            State::Bound { .. } => Some(self.wire.poll_timeout()),
            State::Connecting | State::Ended => None,
        };
        let answer = self.in_flight.values().map(|it| it.give_up_at).min();
        let expiry = self.waiting.values().map(|it| it.wanted_until(self.unbound_since)).min();
        let turn = self.waiting.values().map(|it| it.not_before.max(self.pace.ready_at())).min();
        let turn = turn.filter(|_| self.has_room());
        [state, answer, expiry, turn].into_iter().flatten().min()
    }

    fn connected(&mut self, now: Instant) {
        if self.state != State::Connecting {
            return;
        }
        self.wire = Wire::new(self.config.idle, self.config.patience, now);
        self.wire.request(Body::Bind(self.config.bind.clone()));
        self.state = State::Binding { until: now + self.config.patience };
    }

    fn shut_down(&mut self, now: Instant) {
        for (id, _) in std::mem::take(&mut self.waiting) {
            self.commands.push_back(Command::Failed(id, Failure::ShutDown));
        }
        match self.state {
            State::Bound { .. } => {
                self.wire.request(Body::Unbind);
                self.state = State::Unbinding { until: now + SMPP_UNBIND };
            }
            State::Connecting | State::Binding { .. } => {
                self.state = State::Ended;
                self.commands.push_back(Command::Disconnect(Lost::ShutDown));
            }
            State::Resting { .. } => self.state = State::Ended,
            State::Unbinding { .. } | State::Ended => {}
        }
    }

    fn lose(&mut self, lost: Lost, now: Instant) {
        self.commands.push_back(Command::Disconnect(lost));
        self.down(now, Some(lost));
    }

    fn down(&mut self, now: Instant, lost: Option<Lost>) {
        for (_, it) in std::mem::take(&mut self.in_flight) {
            self.commands.push_back(Command::Unknown(it.id));
        }
        self.handed.clear();
        self.leaving = false;
        self.unbound_since.get_or_insert(now);
        self.state = match self.state {
            State::Unbinding { .. } | State::Ended => State::Ended,
            State::Bound { since } if since + self.config.rest.1 <= now => {
                self.hosts.lasted();
                State::Resting { until: self.hosts.leave(lost, now) }
            }
            State::Resting { .. }
            | State::Connecting
            | State::Binding { .. }
            | State::Bound { .. } => State::Resting { until: self.hosts.leave(lost, now) },
        };
        if self.is_turned_away() {
            for (id, _) in std::mem::take(&mut self.waiting) {
                self.commands.push_back(Command::Failed(id, Failure::Unbound));
            }
        }
    }

    /// Whether no host will have the account: waiting would only cost those who wait their time.
    fn is_turned_away(&self) -> bool {
        self.unbound_since.is_some() && self.hosts.all_refused()
    }

    /// Gives another host its turn once every answer is there.
    fn leave_if_idle(&mut self, now: Instant) {
        if self.leaving && self.in_flight.is_empty() {
            self.wire.request(Body::Unbind);
            self.lose(Lost::Troubled, now);
        }
    }

    fn cancel(&mut self, message_id: Text<65>, destination: Address) {
        // Without a name all messages to the destination would be canceled, whoever sent them (4.9.1).
        if message_id.as_str().is_empty() {
            return;
        }
        if let State::Bound { .. } = self.state {
            let source = self.config.source.clone();
            self.wire.request(Body::CancelSm(Cancel { message_id, source, destination }));
        }
    }

    fn is_connected(&self) -> bool {
        match self.state {
            State::Binding { .. } | State::Bound { .. } | State::Unbinding { .. } => true,
            State::Resting { .. } | State::Connecting | State::Ended => false,
        }
    }

    fn is_shutting_down(&self) -> bool {
        matches!(self.state, State::Unbinding { .. } | State::Ended)
    }

    fn has_room(&self) -> bool {
        matches!(self.state, State::Bound { .. })
            && !self.leaving
            && self.in_flight.len() < self.config.window
    }

    fn handle_pdu(&mut self, pdu: Pdu, now: Instant) {
        let Pdu { sequence, status, body } = pdu;
        match (body, self.state) {
            (Body::BindResp(..), State::Binding { .. }) if status == Status::OK => {
                self.state = State::Bound { since: now };
                self.unbound_since = None;
                self.hosts.bound();
                self.commands.push_back(Command::Bound);
            }
            (Body::BindResp(..) | Body::GenericNack, State::Binding { .. }) => {
                self.lose(Lost::Refused(status), now);
            }
            (Body::SubmitSmResp(id), _) => self.handle_answer(sequence, status, id, now),
            (Body::GenericNack, _) => self.handle_answer(sequence, status, Text::default(), now),
            (Body::DeliverSm(message), _) => {
                self.deliver(sequence, message, Body::DeliverSmResp);
            }
            (Body::DataSm(message), _) => {
                self.deliver(sequence, message, Body::DataSmResp(Text::default()));
            }
            (Body::Unbind, _) => {
                self.wire.answer(sequence, Status::OK, Body::UnbindResp);
                self.lose(Lost::Unbound, now);
            }
            (Body::UnbindResp, State::Unbinding { .. }) => self.lose(Lost::ShutDown, now),
            // What only an ESME says.
            (Body::Bind(_) | Body::SubmitSm(_) | Body::CancelSm(_), _) => {
                self.wire.answer(sequence, Status::INVALID_BIND_STATUS, Body::GenericNack);
            }
            // Answers to what was not asked, and what the wire has dealt with.
            (
                Body::BindResp(..)
                | Body::UnbindResp
                | Body::DeliverSmResp
                | Body::DataSmResp(_)
                | Body::CancelSmResp
                | Body::EnquireLink
                | Body::EnquireLinkResp
                | Body::AlertNotification,
                _,
            ) => {}
        }
    }

    fn handle_answer(&mut self, sequence: u32, status: Status, id: Text<65>, now: Instant) {
        // A late answer: the submission was reported as unknown, and stays so.
        let Some(mut it) = self.in_flight.remove(&sequence) else { return };
        if status != Status::OK {
            self.last_refusal = Some(status);
        }
        match status.remedy() {
            Remedy::Accepted => {
                self.pace.accepted();
                self.commands.push_back(Command::Submitted(it.id, id));
            }
            Remedy::SlowDown => {
                self.pace.throttled(now);
                self.waiting.insert(it.id, it.waited);
            }
            Remedy::Again if it.waited.retries < SMPP_RETRIES => {
                it.waited.retries += 1;
                it.waited.not_before = now + Duration::from_secs(1) * u32::from(it.waited.retries);
                self.waiting.insert(it.id, it.waited);
                self.leaving |= self.hosts.another_is_ready(now);
            }
            Remedy::Again | Remedy::Later | Remedy::Elsewhere | Remedy::Never => {
                self.commands.push_back(Command::Failed(it.id, Failure::Refused(status)));
            }
        }
        self.leave_if_idle(now);
    }

    fn deliver(&mut self, sequence: u32, message: Message, answer: Body) {
        let bound = matches!(self.state, State::Bound { .. });
        if !bound || SMPP_UNANSWERED <= self.handed.len() {
            return self.wire.answer(sequence, Status::RECEIVER_TEMPORARY, answer);
        }
        if receipt::is_receipt(&message) {
            if let Some(receipt) = receipt::parse(&message) {
                self.commands.push_back(Command::Receipt(receipt));
            }
            return self.wire.answer(sequence, Status::OK, answer);
        }
        let octets = match content::unwrap(&message) {
            Ok(octets) => octets,
            // Not for us, whoever it is for: the message center shall not bring it again.
            Err(Unusable::Part) => return self.wire.answer(sequence, Status::OK, answer),
            Err(Unusable::Malformed) => {
                return self.wire.answer(sequence, Status::RECEIVER_PERMANENT, answer);
            }
        };
        self.next_handed += 1;
        let handed = HandedId(self.next_handed);
        self.handed.insert(handed, Handed { sequence, answer });
        let Message { source, destination, .. } = message;
        self.commands.push_back(Command::Hand { handed, source, destination, octets });
    }

    fn answer(&mut self, handed: HandedId, status: Status) {
        // Handed out over a connection that is gone: the message center will deliver it again.
        let Some(Handed { sequence, answer }) = self.handed.remove(&handed) else { return };
        self.wire.answer(sequence, status, answer);
    }

    fn submit(&mut self, now: Instant) {
        while self.has_room() && self.pace.ready_at() <= now {
            let next = self.waiting.iter().find(|(_, it)| it.not_before <= now);
            let Some((&id, _)) = next else { return };
            let Some(waited) = self.waiting.remove(&id) else { return };
            if waited.submission.until <= now {
                self.commands.push_back(Command::Failed(id, Failure::Expired));
                continue;
            }
            let sequence = self.wire.request(Body::SubmitSm(self.message(&waited.submission, now)));
            let give_up_at = now + self.config.patience;
            self.in_flight.insert(sequence, InFlight { id, waited, give_up_at });
            self.pace.submitted(now);
        }
    }

    fn message(&self, submission: &Submission, now: Instant) -> Message {
        Message {
            source: self.config.source.clone(),
            destination: submission.destination.clone(),
            data_coding: submission.data_coding,
            content: submission.content.clone(),
            validity_period: validity::write(submission.until.saturating_duration_since(now)),
            registered_delivery: u8::from(self.config.bind.role.receives()),
            ..Message::default()
        }
    }
}

impl Waiting {
    /// When it has waited long enough: for its turn, or for a bind.
    fn wanted_until(&self, unbound_since: Option<Instant>) -> Instant {
        let until = self.submission.until;
        unbound_since.map_or(until, |it| until.min(it.max(self.since) + SMPP_UNBOUND))
    }
}
