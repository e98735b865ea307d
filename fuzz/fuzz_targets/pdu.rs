//! SMPP out of any octets: what is read can be written and read again, and neither end of an account
//! stops, loops or forgets that time passes, whatever it hears.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use ringback_proto::smpp::center::{self, Center, Patience};
use ringback_proto::smpp::link::{self, Config, Link, Submission, SubmissionId};
use ringback_proto::smpp::pdu::{Bind, Pdu, Role};
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::smpp::wire::{Framed, Frames};

fuzz_target!(|octets: &[u8]| {
    let mut frames = Frames::default();
    frames.extend(octets);
    while let Ok(Some(framed)) = frames.cut() {
        let Framed::Pdu(pdu) = framed else { continue };
        // What a field cannot hold is left out once, and never comes back.
        let Some(written) = again(&pdu) else { panic!("what is written can be read") };
        assert_eq!(again(&written), Some(written));
    }
    an_esme_hears(octets);
    a_center_hears(octets);
});

fn again(pdu: &Pdu) -> Option<Pdu> {
    let mut octets = Vec::new();
    pdu.encode(&mut octets);
    let mut frames = Frames::default();
    frames.extend(&octets);
    match frames.cut() {
        Ok(Some(Framed::Pdu(pdu))) => Some(pdu),
        _ => None,
    }
}

fn an_esme_hears(octets: &[u8]) {
    let mut now = Instant::now();
    let Some(mut link) = bound_for(now) else { return };
    link.handle_event(link::Event::Connected, now);
    for piece in octets.chunks(64) {
        link.handle_input(piece, now);
        while link.poll_output().is_some() {}
        while let Some(command) = link.poll_command() {
            match command {
                link::Command::Connect { .. } => link.handle_event(link::Event::Connected, now),
                link::Command::Disconnect(_) => {
                    link.handle_event(link::Event::Disconnected, now);
                }
                link::Command::Hand { handed, .. } => {
                    link.handle_event(link::Event::Taken(handed), now);
                }
                _ => {}
            }
        }
        now += Duration::from_millis(700);
        if link.poll_timeout().is_some_and(|it| it <= now) {
            link.handle_timeout(now);
            assert!(link.poll_timeout().is_none_or(|it| now < it), "a timeout that stays due");
        }
    }
}

fn bound_for(now: Instant) -> Option<Link> {
    let bind = Bind {
        role: Role::Transceiver,
        system_id: Text::new("public")?,
        password: Password::new("secret")?,
        system_type: Text::new("")?,
    };
    let mut link = Link::new(Config::new(bind, Address::parse("7700")?, 7), now);
    let submission = Submission {
        destination: Address::parse("+15550100777")?,
        data_coding: 0,
        content: b"RB".to_vec(),
        until: now + Duration::from_secs(60),
    };
    link.handle_event(link::Event::Submit(SubmissionId(1), submission), now);
    Some(link)
}

fn a_center_hears(octets: &[u8]) {
    let mut now = Instant::now();
    let seconds = Duration::from_secs;
    let patience = Patience { bind: seconds(5), idle: seconds(20), answer: seconds(10) };
    let Some(name) = Text::new("operator") else { return };
    let mut center = Center::new(name, patience, now);
    for piece in octets.chunks(64) {
        center.handle_input(piece, now);
        while center.poll_output().is_some() {}
        while let Some(command) = center.poll_command() {
            match command {
                center::Command::Authenticate(_) => center.handle_event(center::Event::Admit, now),
                center::Command::Submission(sequence, _) => {
                    let id = Text::new("1").ok_or(ringback_proto::smpp::status::Status::QUEUE_FULL);
                    center.handle_event(center::Event::Answer(sequence, id), now);
                }
                center::Command::Disconnect(_) => return,
                _ => {}
            }
        }
        now += Duration::from_millis(700);
        if center.poll_timeout().is_some_and(|it| it <= now) {
            center.handle_timeout(now);
            assert!(center.poll_timeout().is_none_or(|it| now < it), "a timeout that stays due");
        }
    }
}
