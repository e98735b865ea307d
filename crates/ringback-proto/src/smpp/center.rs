//! The message center's end of one SMPP session, for the simulated operator.
//!
//! Pure, and ignorant of accounts and routes: who may bind and what becomes of a message is
//! answered from outside. It only keeps the peer to the rules and to the limits.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::pdu::{Bind, Body, Cancel, Message, Pdu, Role};
use super::status::Status;
use super::text::Text;
use super::wire::{Lost, Wire};
use crate::limits::{SMPP_CONTENT_OCTETS, SMPP_UNANSWERED};

/// How patient a message center is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From connecting to a bind.
    pub bind: Duration,
    /// Idle time after which the ESME is asked whether it is alive.
    pub idle: Duration,
    /// For an answer.
    pub answer: Duration,
}

/// Names a delivery to whoever asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

/// What the operator decides.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Answers a bind.
    Admit,
    /// Refuses a bind and ends the session.
    Refuse(Status),
    /// Answers a submission: its id, or why not.
    Answer(u32, Result<Text<65>, Status>),
    /// Answers a cancellation.
    Canceled(u32, Status),
    /// Hands a message or a receipt to the ESME.
    Deliver(DeliveryId, Message),
    /// Unbinds.
    ShutDown,
}

/// What the operator must decide or know.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Admit or refuse it.
    Authenticate(Bind),
    /// Answer it.
    Submission(u32, Message),
    /// Take the message back, and answer whether it was.
    Cancellation(u32, Cancel),
    /// What the ESME said to a delivery.
    Delivered(DeliveryId, Status),
    /// The session is over: write what is left to write and close the connection.
    Disconnect(Lost),
}

/// One session, from the message center's end.
#[derive(Debug)]
pub struct Center {
    name: Text<16>,
    patience: Patience,
    state: State,
    wire: Wire,
    unanswered: BTreeMap<u32, Asked>,
    delivering: BTreeMap<u32, (DeliveryId, Instant)>,
    commands: VecDeque<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open { until: Instant },
    Binding { sequence: u32, role: Role },
    Bound(Role),
    Unbinding { until: Instant },
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    SubmitSm,
    DataSm,
}

impl Center {
    /// A session that has just been connected.
    pub fn new(name: Text<16>, patience: Patience, now: Instant) -> Self {
        Self {
            name,
            patience,
            state: State::Open { until: now + patience.bind },
            wire: Wire::new(patience.idle, patience.answer, now),
            unanswered: BTreeMap::new(),
            delivering: BTreeMap::new(),
            commands: VecDeque::new(),
        }
    }

    /// Takes in what the operator has decided.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        match (event, self.state) {
            (Event::Admit, State::Binding { sequence, role }) => {
                let body = Body::BindResp(role, self.name.clone());
                self.wire.answer(sequence, Status::OK, body);
                self.state = State::Bound(role);
            }
            (Event::Refuse(status), State::Binding { sequence, role }) => {
                let body = Body::BindResp(role, Text::default());
                self.wire.answer(sequence, status, body);
                self.end(Lost::Refused(status));
            }
            (Event::Answer(sequence, answer), _) => self.answer(sequence, answer),
            (Event::Canceled(sequence, status), _) => {
                self.wire.answer(sequence, status, Body::CancelSmResp);
            }
            (Event::Deliver(id, message), State::Bound(_)) => {
                let sequence = self.wire.request(Body::DeliverSm(message));
                self.delivering.insert(sequence, (id, now + self.patience.answer));
            }
            (Event::Deliver(id, _), _) => {
                self.commands.push_back(Command::Delivered(id, Status::RECEIVER_TEMPORARY));
            }
            (Event::ShutDown, State::Bound(_)) => {
                self.wire.request(Body::Unbind);
                self.state = State::Unbinding { until: now + self.patience.answer };
            }
            (Event::ShutDown, State::Open { .. } | State::Binding { .. }) => {
                self.end(Lost::ShutDown);
            }
            (Event::ShutDown, State::Unbinding { .. } | State::Ended)
            | (
                Event::Admit | Event::Refuse(_),
                State::Open { .. } | State::Bound(_) | State::Unbinding { .. } | State::Ended,
            ) => {}
        }
    }

    /// Takes in what the ESME sent.
    pub fn handle_input(&mut self, octets: &[u8], now: Instant) {
        if self.state == State::Ended {
            return;
        }
        self.wire.extend(octets, now);
        while self.state != State::Ended {
            match self.wire.next() {
                Ok(Some(pdu)) => self.handle_pdu(pdu),
                Ok(None) => break,
                Err(lost) => {
                    // One refusal that any SMPP peer understands; there is no sequence number.
                    self.wire.answer(0, Status::INVALID_COMMAND_LENGTH, Body::GenericNack);
                    self.end(lost);
                }
            }
        }
    }

    /// Does what is due: gives up on a peer that does not bind, answer or live.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Open { until } if until <= now => {
                self.wire.answer(0, Status::INVALID_BIND_STATUS, Body::GenericNack);
                self.end(Lost::Silent);
            }
            State::Unbinding { until } if until <= now => self.end(Lost::ShutDown),
            State::Bound(_) => {
                if let Err(lost) = self.wire.handle_timeout(now) {
                    self.end(lost);
                }
            }
            State::Open { .. } | State::Binding { .. } | State::Unbinding { .. } | State::Ended => {
            }
        }
        for (_, (id, _)) in self.delivering.extract_if(.., |_, (_, until)| *until <= now) {
            self.commands.push_back(Command::Delivered(id, Status::RECEIVER_TEMPORARY));
        }
    }

    /// The next octets to write.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.wire.poll_output()
    }

    /// The next thing to decide or know.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Center::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Open { until } | State::Unbinding { until } => Some(until),
            State::Bound(_) => Some(self.wire.poll_timeout()),
            State::Binding { .. } | State::Ended => None,
        };
        let answer = self.delivering.values().map(|(_, until)| *until).min();
        state.into_iter().chain(answer).min()
    }

    fn end(&mut self, lost: Lost) {
        self.state = State::Ended;
        self.delivering.clear();
        self.commands.push_back(Command::Disconnect(lost));
    }

    fn answer(&mut self, sequence: u32, answer: Result<Text<65>, Status>) {
        let Some(asked) = self.unanswered.remove(&sequence) else { return };
        let (status, id) = match answer {
            Ok(id) => (Status::OK, id),
            Err(status) => (status, Text::default()),
        };
        let body = match asked {
            Asked::SubmitSm => Body::SubmitSmResp(id),
            Asked::DataSm => Body::DataSmResp(id),
        };
        self.wire.answer(sequence, status, body);
    }

    fn handle_pdu(&mut self, pdu: Pdu) {
        let Pdu { sequence, status, body } = pdu;
        match body {
            Body::Bind(bind) => self.bind(sequence, bind),
            Body::SubmitSm(message) => self.submission(sequence, message, Asked::SubmitSm),
            Body::DataSm(message) => self.submission(sequence, message, Asked::DataSm),
            Body::CancelSm(cancel) => self.cancellation(sequence, cancel),
            Body::DeliverSmResp => self.delivered(sequence, status),
            Body::GenericNack => self.delivered(sequence, Status::RECEIVER_PERMANENT),
            Body::Unbind => {
                self.wire.answer(sequence, Status::OK, Body::UnbindResp);
                self.end(Lost::Unbound);
            }
            Body::UnbindResp if matches!(self.state, State::Unbinding { .. }) => {
                self.end(Lost::ShutDown);
            }
            // What only a message center says.
            Body::DeliverSm(_) => {
                self.wire.answer(sequence, Status::INVALID_BIND_STATUS, Body::GenericNack);
            }
            // Answers to what was not asked, and what the wire has dealt with.
            Body::UnbindResp
            | Body::BindResp(..)
            | Body::SubmitSmResp(_)
            | Body::DataSmResp(_)
            | Body::CancelSmResp
            | Body::EnquireLink
            | Body::EnquireLinkResp
            | Body::AlertNotification => {}
        }
    }

    fn bind(&mut self, sequence: u32, bind: Bind) {
        let State::Open { .. } = self.state else {
            let body = Body::BindResp(bind.role, Text::default());
            return self.wire.answer(sequence, Status::ALREADY_BOUND, body);
        };
        self.state = State::Binding { sequence, role: bind.role };
        self.commands.push_back(Command::Authenticate(bind));
    }

    fn cancellation(&mut self, sequence: u32, cancel: Cancel) {
        if !self.may_submit() {
            return self.wire.answer(sequence, Status::INVALID_BIND_STATUS, Body::CancelSmResp);
        }
        self.commands.push_back(Command::Cancellation(sequence, cancel));
    }

    fn may_submit(&self) -> bool {
        matches!(self.state, State::Bound(role) if role.transmits())
    }

    fn submission(&mut self, sequence: u32, message: Message, asked: Asked) {
        let refusal = if !self.may_submit() {
            Some(Status::INVALID_BIND_STATUS)
        } else if SMPP_CONTENT_OCTETS < message.content.len() {
            Some(Status::INVALID_MESSAGE_LENGTH)
        } else if SMPP_UNANSWERED <= self.unanswered.len() {
            Some(Status::THROTTLED)
        } else {
            None
        };
        if let Some(status) = refusal {
            let body = match asked {
                Asked::SubmitSm => Body::SubmitSmResp(Text::default()),
                Asked::DataSm => Body::DataSmResp(Text::default()),
            };
            return self.wire.answer(sequence, status, body);
        }
        self.unanswered.insert(sequence, asked);
        self.commands.push_back(Command::Submission(sequence, message));
    }

    fn delivered(&mut self, sequence: u32, status: Status) {
        if let Some((id, _)) = self.delivering.remove(&sequence) {
            self.commands.push_back(Command::Delivered(id, status));
        }
    }
}
