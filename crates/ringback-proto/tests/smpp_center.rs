//! Stories of the message center's end of a session, and of both ends together.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use ringback_proto::limits::{SMPP_CONTENT_OCTETS, SMPP_UNANSWERED};
use ringback_proto::smpp::center::{Center, Command, DeliveryId, Event, Patience};
use ringback_proto::smpp::link::{self, Link, Submission, SubmissionId};
use ringback_proto::smpp::pdu::{Bind, Body, Cancel, Message, Pdu, Role};
use ringback_proto::smpp::status::Status;
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::smpp::wire::{Framed, Frames, Lost};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn whoever_does_not_bind_in_time_gets_one_refusal() {
    let mut world = World::new();
    world.pass(5 * SECOND);
    let [Pdu { status: Status::INVALID_BIND_STATUS, body: Body::GenericNack, .. }] =
        world.said()[..]
    else {
        panic!("not refused")
    };
    assert_eq!(world.commands(), [Command::Disconnect(Lost::Silent)]);
}

#[test]
fn a_refused_bind_ends_the_session() {
    let mut world = World::new();
    world.ask(1, Body::Bind(bind(Role::Transceiver)));
    assert_eq!(world.commands(), [Command::Authenticate(bind(Role::Transceiver))]);
    world.center.handle_event(Event::Refuse(Status::INVALID_PASSWORD), world.now);
    assert_eq!(world.said()[0].status, Status::INVALID_PASSWORD);
    let lost = Lost::Refused(Status::INVALID_PASSWORD);
    assert_eq!(world.commands(), [Command::Disconnect(lost)]);
}

#[test]
fn a_second_bind_is_refused_and_the_first_stays() {
    let mut world = World::bound(Role::Transceiver);
    world.ask(9, Body::Bind(bind(Role::Transceiver)));
    assert_eq!(world.said()[0].status, Status::ALREADY_BOUND);
    world.ask(10, Body::SubmitSm(Message::default()));
    assert_eq!(world.commands(), [Command::Submission(10, Message::default())]);
}

#[test]
fn a_receiver_may_not_submit() {
    let mut world = World::bound(Role::Receiver);
    world.ask(2, Body::SubmitSm(Message::default()));
    assert_eq!(world.said()[0].status, Status::INVALID_BIND_STATUS);
    assert_eq!(world.commands(), []);
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    let mut world = World::bound(Role::Transceiver);
    let content = vec![0; SMPP_CONTENT_OCTETS + 1];
    world.ask(2, Body::SubmitSm(Message { content, ..Message::default() }));
    assert_eq!(world.said()[0].status, Status::INVALID_MESSAGE_LENGTH);
}

#[test]
fn an_esme_that_does_not_wait_for_answers_is_throttled() {
    let mut world = World::bound(Role::Transceiver);
    for sequence in 0..=u32::try_from(SMPP_UNANSWERED).unwrap() {
        world.ask(sequence + 2, Body::SubmitSm(Message::default()));
    }
    assert_eq!(world.commands().len(), SMPP_UNANSWERED);
    let [Pdu { status: Status::THROTTLED, .. }] = world.said()[..] else { panic!("not throttled") };
}

#[test]
fn data_sm_is_answered_as_data_sm() {
    let mut world = World::bound(Role::Transceiver);
    world.ask(2, Body::DataSm(Message::default()));
    let id = Text::new("4f").unwrap();
    world.center.handle_event(Event::Answer(2, Ok(id.clone())), world.now);
    assert_eq!(world.said(), [Pdu::request(2, Body::DataSmResp(id))]);
}

#[test]
fn whoever_may_submit_may_cancel() {
    let cancel = Cancel {
        message_id: Text::new("4f").unwrap(),
        source: Address::parse("70707").unwrap(),
        destination: Address::parse("+15550100777").unwrap(),
    };
    let mut world = World::bound(Role::Transceiver);
    world.ask(2, Body::CancelSm(cancel.clone()));
    assert_eq!(world.commands(), [Command::Cancellation(2, cancel.clone())]);
    world.center.handle_event(Event::Canceled(2, Status::OK), world.now);
    assert_eq!(world.said(), [Pdu::request(2, Body::CancelSmResp)]);

    let mut world = World::bound(Role::Receiver);
    world.ask(2, Body::CancelSm(cancel));
    assert_eq!(world.said()[0].status, Status::INVALID_BIND_STATUS);
    assert_eq!(world.commands(), []);
}

#[test]
fn a_delivery_without_an_answer_comes_back() {
    let mut world = World::bound(Role::Transceiver);
    world.center.handle_event(Event::Deliver(DeliveryId(7), Message::default()), world.now);
    let sequence = world.said()[0].sequence;
    world.pass(10 * SECOND);
    let back = Command::Delivered(DeliveryId(7), Status::RECEIVER_TEMPORARY);
    assert_eq!(world.commands(), [back]);
    world.ask(sequence, Body::DeliverSmResp);
    assert_eq!(world.commands(), [], "a late answer changes nothing");
}

#[test]
fn a_silent_esme_is_given_up() {
    let mut world = World::bound(Role::Transceiver);
    world.pass(30 * SECOND);
    let [Pdu { body: Body::EnquireLink, .. }] = world.said()[..] else { panic!("not asked") };
    world.pass(10 * SECOND);
    assert_eq!(world.commands(), [Command::Disconnect(Lost::Silent)]);
}

#[test]
fn both_ends_understand_each_other_in_any_pieces() {
    for seed in 1..=50 {
        story_of_both_ends(seed);
    }
}

/// Submits and delivers forty messages each way, cutting the streams anywhere.
fn story_of_both_ends(seed: u64) {
    let mut both = Both::new(seed);
    let (mut to_center, mut to_link) = (Vec::new(), Vec::new());
    let mut chance = seed;
    let mut roll = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(chance >> 33).unwrap() % below
    };
    for step in 0.. {
        assert!(step < 10_000, "seed {seed}: no end after {step} steps");
        if both.acknowledged.len() == COUNT && both.submitted.len() == COUNT {
            break;
        }
        both.world.now += Duration::from_millis(1);
        let now = both.world.now;
        both.link.handle_timeout(now);
        both.world.center.handle_timeout(now);
        both.obey_link();
        both.obey_center();
        to_center.extend(both.link.poll_output().unwrap_or_default());
        to_link.extend(both.world.center.poll_output().unwrap_or_default());
        let count = roll(to_center.len() + 1);
        both.world.center.handle_input(&to_center.drain(..count).collect::<Vec<_>>(), now);
        let count = roll(to_link.len() + 1);
        both.link.handle_input(&to_link.drain(..count).collect::<Vec<_>>(), now);
    }

    let expected: Vec<u64> = (0..).take(COUNT).collect();
    assert_eq!(both.submitted, expected, "seed {seed}");
    assert_eq!(both.acknowledged, expected, "seed {seed}");
    assert_eq!(both.heard, expected, "seed {seed}");
}

const COUNT: usize = 40;

/// Both ends, and what came of the numbers that they sent each other.
struct Both {
    world: World,
    link: Link,
    submitted: Vec<u64>,
    heard: Vec<u64>,
    acknowledged: Vec<u64>,
}

impl Both {
    fn new(seed: u64) -> Self {
        let world = World::new();
        let source = Address::parse("70707").unwrap();
        let mut config = link::Config::new(bind(Role::Transceiver), source, seed);
        config.per_second = 100_000;
        let link = Link::new(config, world.now);
        Self { world, link, submitted: vec![], heard: vec![], acknowledged: vec![] }
    }

    fn obey_link(&mut self) {
        let now = self.world.now;
        while let Some(command) = self.link.poll_command() {
            match command {
                link::Command::Connect { .. } => {
                    self.link.handle_event(link::Event::Connected, now)
                }
                link::Command::Bound => self.send_all(),
                link::Command::Submitted(SubmissionId(id), name) => {
                    assert_eq!(name.as_str(), id.to_string());
                    self.submitted.push(id);
                }
                link::Command::Hand { handed, octets, .. } => {
                    self.heard.push(u64::from_be_bytes(octets.try_into().unwrap()));
                    self.link.handle_event(link::Event::Taken(handed), now);
                }
                link::Command::Disconnect(_)
                | link::Command::Unknown(_)
                | link::Command::Failed(..)
                | link::Command::Receipt(_) => panic!("{command:?}"),
            }
        }
    }

    fn send_all(&mut self) {
        let now = self.world.now;
        for id in (0..).take(COUNT) {
            let content = u64::to_be_bytes(id).to_vec();
            let destination = Address::parse("+15550100777").unwrap();
            let until = now + 60 * SECOND;
            let it = Submission { destination, data_coding: 4, content: content.clone(), until };
            self.link.handle_event(link::Event::Submit(SubmissionId(id), it), now);
            let message = Message { content, ..Message::default() };
            self.world.center.handle_event(Event::Deliver(DeliveryId(id), message), now);
        }
    }

    fn obey_center(&mut self) {
        let now = self.world.now;
        for command in self.world.commands() {
            match command {
                Command::Authenticate(_) => self.world.center.handle_event(Event::Admit, now),
                Command::Submission(sequence, message) => {
                    let id = u64::from_be_bytes(message.content.try_into().unwrap());
                    let name = Text::new(&id.to_string()).unwrap();
                    self.world.center.handle_event(Event::Answer(sequence, Ok(name)), now);
                }
                Command::Delivered(DeliveryId(id), Status::OK) => self.acknowledged.push(id),
                Command::Delivered(..) | Command::Cancellation(..) | Command::Disconnect(_) => {
                    panic!("{command:?}")
                }
            }
        }
    }
}

/// A message center's end, and the ESME's side of its wire.
struct World {
    center: Center,
    now: Instant,
}

impl World {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let now = Instant::now();
        let patience = Patience { bind: 5 * SECOND, idle: 30 * SECOND, answer: 10 * SECOND };
        Self { center: Center::new(Text::new("center").unwrap(), patience, now), now }
    }

    fn bound(role: Role) -> Self {
        let mut world = Self::new();
        world.ask(1, Body::Bind(bind(role)));
        world.center.handle_event(Event::Admit, world.now);
        assert_eq!(world.said()[0].status, Status::OK);
        world.commands();
        world
    }

    fn ask(&mut self, sequence: u32, body: Body) {
        let mut octets = Vec::new();
        Pdu::request(sequence, body).encode(&mut octets);
        self.center.handle_input(&octets, self.now);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.center.poll_timeout().filter(|it| *it <= end) {
            self.now = self.now.max(at);
            self.center.handle_timeout(self.now);
            let next = self.center.poll_timeout();
            assert!(next.is_none_or(|it| self.now < it), "a timeout that stays due");
        }
        self.now = end;
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.center.poll_command()).collect()
    }

    fn said(&mut self) -> Vec<Pdu> {
        let mut frames = Frames::default();
        while let Some(octets) = self.center.poll_output() {
            frames.extend(&octets);
        }
        let mut said = Vec::new();
        while let Some(framed) = frames.cut().unwrap() {
            let Framed::Pdu(pdu) = framed else { panic!("{framed:?}") };
            said.push(pdu);
        }
        said
    }
}

fn bind(role: Role) -> Bind {
    Bind {
        role,
        system_id: Text::new("public").unwrap(),
        password: Password::new("secret").unwrap(),
        system_type: Text::default(),
    }
}
