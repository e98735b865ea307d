//! A link in virtual time, and the message center's side of its wire.

use std::time::{Duration, Instant};

use ringback_proto::smpp::link::{
    Command, Config, Event, Failure, HandedId, Link, Submission, SubmissionId,
};
use ringback_proto::smpp::pdu::{Bind, Body, Message, Pdu, Role};
use ringback_proto::smpp::status::Status;
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::smpp::wire::{Framed, Frames};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A link, and the message center's side of its wire. Keeps the law of timeouts at every step.
pub(crate) struct World {
    pub(crate) link: Link,
    pub(crate) now: Instant,
    pub(crate) frames: Frames,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_hosts(1)
    }

    pub(crate) fn with_hosts(hosts: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let now = Instant::now();
        let bind = Bind {
            role: Role::Transceiver,
            system_id: Text::new("public").unwrap(),
            password: Password::new("secret").unwrap(),
            system_type: Text::default(),
        };
        let mut config = Config::new(bind, Address::parse("70707").unwrap(), 1);
        config.per_second = 1000;
        config.hosts = hosts;
        Self { link: Link::new(config, now), now, frames: Frames::default() }
    }

    pub(crate) fn bound() -> Self {
        let mut world = Self::new();
        world.link.handle_timeout(world.now);
        world.bind();
        world
    }

    pub(crate) fn bind(&mut self) {
        self.frames = Frames::default();
        self.link.handle_event(Event::Connected, self.now);
        let sequence = self.sent()[0].sequence;
        self.answer(sequence, Status::OK, Body::BindResp(Role::Transceiver, Text::default()));
        self.commands();
    }

    pub(crate) fn turn_away(&mut self, status: Status) {
        self.link.handle_event(Event::Connected, self.now);
        self.sent();
        self.frames = Frames::default();
        self.answer(1, status, Body::BindResp(Role::Transceiver, Text::default()));
    }

    pub(crate) fn submit(&mut self, id: u64) {
        self.submit_for(id, 60 * SECOND);
    }

    pub(crate) fn submit_for(&mut self, id: u64, time: Duration) {
        let submission = Submission {
            destination: Address::parse("+15550100777").unwrap(),
            data_coding: 0,
            content: id.to_string().into_bytes(),
            until: self.now + time,
        };
        self.link.handle_event(Event::Submit(SubmissionId(id), submission), self.now);
    }

    pub(crate) fn deliver(&mut self, sequence: u32, content: &[u8]) {
        let message = Message { content: content.to_vec(), ..Message::default() };
        self.say(Pdu::request(sequence, Body::DeliverSm(message)));
    }

    pub(crate) fn accept(&mut self, sequence: u32) {
        self.answer(sequence, Status::OK, Body::SubmitSmResp(Text::new("4f").unwrap()));
    }

    pub(crate) fn refuse(&mut self, sequence: u32, status: Status) {
        self.answer(sequence, status, Body::SubmitSmResp(Text::default()));
    }

    pub(crate) fn answer(&mut self, sequence: u32, status: Status, body: Body) {
        self.say(Pdu { sequence, status, body });
    }

    pub(crate) fn say(&mut self, pdu: Pdu) {
        let mut octets = Vec::new();
        pdu.encode(&mut octets);
        self.link.handle_input(&octets, self.now);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.link.poll_timeout().filter(|it| *it <= end) {
            self.now = self.now.max(at);
            self.link.handle_timeout(self.now);
            let next = self.link.poll_timeout();
            assert!(next.is_none_or(|it| self.now < it), "a timeout that stays due");
        }
        self.now = end;
    }

    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.link.poll_command()).collect()
    }

    pub(crate) fn sent(&mut self) -> Vec<Pdu> {
        while let Some(octets) = self.link.poll_output() {
            self.frames.extend(&octets);
        }
        let mut sent = Vec::new();
        while let Some(framed) = self.frames.cut().unwrap() {
            let Framed::Pdu(pdu) = framed else { panic!("{framed:?}") };
            sent.push(pdu);
        }
        sent
    }
}

pub(crate) fn submitted(id: u64) -> Command {
    Command::Submitted(SubmissionId(id), Text::new("4f").unwrap())
}

pub(crate) fn failed(id: u64, status: Status) -> Command {
    Command::Failed(SubmissionId(id), Failure::Refused(status))
}

pub(crate) fn handed(command: &Command) -> HandedId {
    let Command::Hand { handed, .. } = command else { panic!("{command:?}") };
    *handed
}

pub(crate) fn contents(sent: &[Pdu]) -> Vec<&[u8]> {
    sent.iter()
        .map(|pdu| {
            let Body::SubmitSm(message) = &pdu.body else { panic!("{pdu:?}") };
            message.content.as_slice()
        })
        .collect()
}

pub(crate) fn unbound(id: u64) -> Command {
    Command::Failed(SubmissionId(id), Failure::Unbound)
}
