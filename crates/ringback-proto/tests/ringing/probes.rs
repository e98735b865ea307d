//! Probes: one signal, one dial-back, and no client near it.

use std::sync::Arc;

use ringback_proto::access_request::TunnelType;
use ringback_proto::hello::{Hello, Outcome, confirm_private};
use ringback_proto::switchboard::{Event, RingId};
use ringback_proto::terminal::ServiceId;

use super::story::{EXPORTER, OURS, STRANGER, Story, keys, lingering, story};

fn prove(story: &mut Story) -> Vec<String> {
    let terminal = Arc::new(story.terminal.clone());
    story.event(Event::Prove { terminal })
}

#[test]
fn a_dial_back_proves_the_route_and_its_tunnel_is_closed() {
    let mut story = story(2);
    assert_eq!(prove(&mut story), ["probe 1"]);
    assert_eq!(story.ttl(1), 60);
    let told = story.dials(9, 1, Outcome::NotTried);
    assert_eq!(told, ["accept 9", "close 9", "cancel 1", "probed: true"]);
    // Once: what has been answered is over.
    assert_eq!(story.dials(10, 1, Outcome::NotTried), ["dismiss 10"]);
    assert_eq!(story.until(600), [""; 0]);
}

#[test]
fn a_probe_that_nobody_answers_is_given_up_and_never_repeated() {
    let mut story = story(2);
    assert_eq!(prove(&mut story), ["probe 1"]);
    assert_eq!(story.until(600), ["60: cancel 1", "60: probed: false"]);
    assert_eq!(story.dials(9, 1, Outcome::NotTried), ["dismiss 9"]);
}

#[test]
fn a_probe_whose_signal_was_not_sent_is_over_at_once() {
    let mut story = story(1);
    prove(&mut story);
    assert_eq!(story.fails(1, false, None), ["probed: false"]);
}

#[test]
fn one_terminal_is_probed_once_at_a_time() {
    let mut story = story(1);
    prove(&mut story);
    assert_eq!(prove(&mut story), [""; 0]);
    story.until(60);
    assert_eq!(prove(&mut story), ["probe 2"]);
}

#[test]
fn a_stranger_who_has_opened_the_probe_proves_nothing_and_spoils_nothing() {
    let mut story = story(1);
    prove(&mut story);
    let keys = keys(RingId(1));
    let mac = confirm_private(&keys, &EXPORTER);
    let hello = Hello { sid: keys.sid, mac, outcome: Outcome::NotTried, bare: false };
    assert_eq!(story.hello(9, STRANGER, hello.clone()), ["dismiss 9 unproven"]);
    let guessed = Hello { mac: [0; 32], ..hello };
    assert_eq!(story.hello(10, OURS, guessed), ["dismiss 10 unproven"]);
    let told = story.dials(11, 1, Outcome::NotTried);
    assert_eq!(told.last().map(String::as_str), Some("probed: true"));
}

#[test]
fn clients_ring_beside_a_probe_and_never_get_its_tunnel() {
    let mut story = lingering(1);
    prove(&mut story);
    assert_eq!(story.arrives(1), ["ring 2 by route 0 #1 for 1"]);
    let told = story.dials(9, 1, Outcome::NotTried);
    assert_eq!(told, ["accept 9", "close 9", "cancel 1", "probed: true"]);
    assert!(story.dials(10, 2, Outcome::Connected).contains(&"splice 1 with 10".to_owned()));
}

#[test]
fn nobody_is_probed_once_all_stops() {
    let mut story = story(1);
    prove(&mut story);
    assert_eq!(story.event(Event::Stop), ["cancel 1"]);
    assert_eq!(prove(&mut story), [""; 0]);
}

#[test]
fn a_trial_rings_by_its_route_alone_and_tells_what_became_of_the_service() {
    let mut story = story(2);
    let terminal = Arc::new(story.terminal.clone());
    let (route, service) = (1, ServiceId(7));
    let wanted =
        || Event::Try { terminal: terminal.clone(), route, service, through: TunnelType::Tls };
    assert_eq!(story.event(wanted()), ["try 1 by route 1 for service 7"]);
    assert_eq!(story.event(wanted()), [""; 0], "one at a time");
    assert_eq!(story.ttl(1), 60);
    let told = story.dials(9, 1, Outcome::Refused);
    assert_eq!(told, ["accept 9", "close 9", "cancel 1", "tried: Some(Refused)"]);
    assert_eq!(story.event(wanted()), ["try 2 by route 1 for service 7"]);
    assert_eq!(story.until(600), ["60: cancel 2", "60: tried: None"]);
}
