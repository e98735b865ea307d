//! Stories of splices that cannot begin: a tunnel dies between its hello and the client's first octet.

use ringback_proto::hello::Outcome;
use ringback_proto::switchboard::{Census, Event};

use crate::story::{Story, lingering, story};

const NOTHING: [&str; 0] = [];

#[test]
fn a_client_whose_splice_cannot_begin_is_rung_for_afresh() {
    let mut story = spliced();
    assert_eq!(story.fails_to_splice(1, 10), ["ring 2 by route 0 #1 for 1"]);
    let told = story.dials(11, 2, Outcome::Connected);
    assert_eq!(told, ["cancel 2", "accept 11", "splice 1 with 11"]);
    assert_eq!(story.ended(1, 11), NOTHING);
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}

#[test]
fn a_client_whose_splice_cannot_begin_gets_the_next_standby() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    assert_eq!(story.fails_to_splice(1, 10), ["ring 3 a spare over tunnel 11", "open 11 for 1"]);
    assert_eq!(story.opened(11, Outcome::Connected), ["splice 1 with opened 11"]);
    assert_eq!(story.fails_to_splice(1, 11), ["ring 4 by route 0 #1 for 1"], "and so on");
}

#[test]
fn a_client_whose_splice_cannot_begin_waits_no_longer_than_it_would_have() {
    let mut story = spliced();
    story.until(30);
    story.fails_to_splice(1, 10);
    assert_eq!(story.until(60)[2], "60: refuse 1 RB-NO-ANSWER");
    let mut story = spliced();
    story.until(60);
    assert_eq!(story.fails_to_splice(1, 10), ["refuse 1 RB-NO-ANSWER"], "it is over already");
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}

#[test]
fn a_client_whose_splice_cannot_begin_stands_where_it_stood() {
    let mut story = story(1);
    story.arrives(1);
    story.until(1);
    story.arrives(2);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.fails_to_splice(1, 10), ["ring 3 by route 0 #1 for 1"]);
    let told = story.dials(11, 2, Outcome::Connected);
    assert_eq!(told, ["accept 11", "cancel 3", "ring 4 over tunnel 11 for 2", "splice 1 with 11"]);
}

#[test]
fn a_splice_fails_or_ends_once_and_only_its_own_client_comes_back() {
    let mut story = spliced();
    assert_eq!(story.fails_to_splice(2, 10), NOTHING, "another client");
    assert_eq!(story.lost(10), NOTHING, "the splice tells its own end");
    assert_eq!(story.fails_to_splice(1, 10), ["ring 2 by route 0 #1 for 1"]);
    assert_eq!(story.fails_to_splice(1, 10), NOTHING);
    assert_eq!(story.board.census(), Census { lines: 1, waiting: 1, tunnels: 0, rings: 1 });
    let mut story = spliced();
    story.ended(1, 10);
    assert_eq!(story.fails_to_splice(1, 10), NOTHING);
}

#[test]
fn a_client_whose_splice_cannot_begin_after_a_stop_is_refused() {
    let mut story = spliced();
    story.event(Event::Stop);
    assert_eq!(story.fails_to_splice(1, 10), ["refuse 1 RB-STOPPING"]);
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}

#[test]
fn what_was_rung_over_a_tunnel_that_could_not_be_spliced_is_not_waited_for() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.fails_to_splice(1, 10);
    let told = story.dials(11, 3, Outcome::Connected);
    let again = "ring 4 a spare over tunnel 11";
    assert_eq!(told, ["cancel 3", "accept 11", again, "splice 1 with 11"]);
}

/// Client 1 is spliced with tunnel 10, which answered the only ring.
fn spliced() -> Story {
    let mut story = story(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story
}
