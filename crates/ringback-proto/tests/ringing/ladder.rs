//! Stories of the ladder between bearers: which sinks, which is held, what is taken back.

use ringback_proto::hello::Outcome;
use ringback_proto::limits;
use ringback_proto::switchboard::{BearerId, Progress};

use crate::story::{Story, seconds, story};

const NOTHING: [&str; 0] = [];

/// Lets a client come to a terminal, whose routes have failed so often, and hands back the first ring's
/// words.
fn arrives_at(story: &mut Story, terminal: u32, client: u64) -> String {
    story.terminal.kid.0 = terminal;
    story.arrives(client).first().cloned().unwrap_or_default()
}

/// A client whose first route fails for certain, and whose second is answered. Begins at `ring`.
fn is_served_by_the_second(story: &mut Story, client: u64, ring: u64) -> Vec<String> {
    assert_eq!(story.arrives(client), [format!("ring {ring} by route 0 #1 for {client}")]);
    let mut told = story.fails(ring, true, None);
    told.extend(story.dials(client, ring + 1, Outcome::Connected));
    assert_eq!(told.last().unwrap(), &format!("splice {client} with {client}"));
    story.ended(client, client);
    told
}

// Sinking.

#[test]
fn a_route_that_has_failed_three_calls_in_a_row_is_rung_last() {
    let mut story = story(2);
    assert_eq!(is_served_by_the_second(&mut story, 1, 1)[0], "ring 2 by route 1 #1 for 1");
    assert_eq!(is_served_by_the_second(&mut story, 2, 3)[0], "ring 4 by route 1 #1 for 2");
    assert_eq!(is_served_by_the_second(&mut story, 3, 5)[0], "route 0 sinks");
    assert_eq!(story.arrives(4), ["ring 7 by route 1 #1 for 4"]);
    let rings = ["8: ring 8 by route 1 #2 for 4", "20: ring 9 by route 1 #3 for 4"];
    assert_eq!(story.until(29), rings);
    assert_eq!(story.until(30), ["30: ring 10 by route 0 #1 for 4"], "last, and not left out");
}

#[test]
fn a_sunk_route_is_tried_again_and_comes_back_first() {
    let mut story = story(2);
    (0..3).for_each(|it| drop(is_served_by_the_second(&mut story, 1 + it, 1 + 2 * it)));
    story.until(limits::SUNK_FOR.as_secs() - 1);
    assert_eq!(story.arrives(4), ["ring 7 by route 1 #1 for 4"], "it rests");
    story.dials(4, 7, Outcome::Connected);
    story.until(limits::SUNK_FOR.as_secs());
    assert_eq!(story.arrives(5), ["ring 8 by route 0 #1 for 5"], "it is tried");
    let told = story.dials(5, 8, Outcome::Connected);
    assert_eq!(told[..2], ["cancel 8", "route 0 rises"]);
    assert_eq!(story.arrives(6), ["ring 9 by route 0 #1 for 6"], "it is first again");
}

#[test]
fn one_call_alone_tries_what_has_sunk() {
    let mut story = story(2);
    (0..3).for_each(|it| drop(is_served_by_the_second(&mut story, 1 + it, 1 + 2 * it)));
    let rested = limits::SUNK_FOR.as_secs();
    story.until(rested);
    assert_eq!(story.arrives(4), ["ring 7 by route 0 #1 for 4"]);
    story.fails(7, true, None);
    story.dials(4, 8, Outcome::Connected);
    assert_eq!(story.arrives(5), ["ring 9 by route 1 #1 for 5"], "it has failed again");
    story.dials(5, 9, Outcome::Connected);
    story.until(2 * rested);
    assert_eq!(story.arrives(6), ["ring 10 by route 0 #1 for 6"], "and so on");
}

#[test]
fn one_answer_lets_a_route_begin_afresh() {
    let mut story = story(2);
    (0..2).for_each(|it| drop(is_served_by_the_second(&mut story, 1 + it, 1 + 2 * it)));
    story.arrives(3);
    story.dials(3, 5, Outcome::Connected);
    let told = is_served_by_the_second(&mut story, 4, 6);
    assert!(!told.contains(&"route 0 sinks".to_owned()), "{told:?}");
}

#[test]
fn a_route_that_is_silent_while_a_later_one_is_answered_sinks_and_a_dead_terminal_sinks_none() {
    let mut dead = story(2);
    dead.terminal.answer_patience = seconds(50);
    let mut told = Vec::new();
    for call in 0..10 {
        dead.arrives(call);
        told.extend(dead.until(100 * (call + 1)));
    }
    assert!(told.iter().all(|it| !it.contains("sinks")), "{told:?}");

    let mut deaf = story(2);
    for call in 1..=3 {
        assert_eq!(deaf.arrives(call).len(), 1);
        deaf.until(100 * call - 70);
        let told = deaf.dials(call, 4 * call, Outcome::Connected);
        assert_eq!(told.contains(&"route 0 sinks".to_owned()), call == 3, "{told:?}");
        deaf.until(100 * call);
    }
    assert_eq!(deaf.arrives(4), ["ring 13 by route 1 #1 for 4"]);
}

#[test]
fn a_bearer_that_fails_several_terminals_sinks_for_all_of_them() {
    let mut story = story(2);
    story.submits = false;
    for terminal in 1..=3_u64 {
        story.terminal.kid.0 = terminal as u32;
        let told = is_served_by_the_second(&mut story, terminal, 2 * terminal - 1);
        assert_eq!(told.contains(&"bearer 0 sinks".to_owned()), terminal == 3, "{told:?}");
    }
    assert_eq!(arrives_at(&mut story, 4, 4), "ring 7 by route 1 #1 for 4");
}

#[test]
fn a_bearer_that_fails_one_terminal_alone_does_not_sink_for_the_others() {
    let mut story = story(2);
    story.submits = false;
    (0..3).for_each(|it| drop(is_served_by_the_second(&mut story, 1 + it, 1 + 2 * it)));
    assert_eq!(arrives_at(&mut story, 8, 4), "ring 7 by route 0 #1 for 4");
}

#[test]
fn one_signal_that_an_operator_takes_lifts_its_bearer_for_all() {
    let mut story = story(2);
    story.submits = false;
    for terminal in 1..=3_u64 {
        story.terminal.kid.0 = terminal as u32;
        is_served_by_the_second(&mut story, terminal, 2 * terminal - 1);
    }
    story.until(limits::SUNK_FOR.as_secs());
    story.terminal.kid.0 = 4;
    assert_eq!(story.arrives(4), ["ring 7 by route 0 #1 for 4"]);
    assert_eq!(arrives_at(&mut story, 5, 5), "ring 8 by route 1 #1 for 5", "one call tries it");
    assert_eq!(story.progresses(7, Progress::Submitted), ["bearer 0 rises"]);
    assert_eq!(arrives_at(&mut story, 6, 6), "ring 9 by route 0 #1 for 6");
}

#[test]
fn who_has_one_route_is_rung_by_it_though_it_has_sunk() {
    let mut story = story(1);
    for call in 1..=limits::SINKS_AFTER as u64 + 2 {
        assert_eq!(story.arrives(call), [format!("ring {call} by route 0 #1 for {call}")]);
        let told = story.fails(call, true, None);
        assert_eq!(told.last().unwrap(), &format!("refuse {call} RB-UNRINGABLE"));
    }
}

#[test]
fn no_more_failures_are_remembered_than_there_is_room_for() {
    let mut story = story(1);
    let calls = limits::STANDINGS as u64 + 10;
    for call in 1..=calls {
        arrives_at(&mut story, call as u32, call);
        story.fails(call, true, None);
    }
    let last = (0..3).flat_map(|it| {
        let ring = calls + 1 + it;
        arrives_at(&mut story, u32::MAX, ring);
        story.fails(ring, true, None)
    });
    assert!(last.into_iter().all(|it| !it.contains("sinks")), "the newest is not remembered");
    story.until(limits::SUNK_FOR.as_secs());
    let last = (3..6).flat_map(|it| {
        let ring = calls + 1 + it;
        arrives_at(&mut story, u32::MAX, ring);
        story.fails(ring, true, None)
    });
    assert!(last.into_iter().any(|it| it == "route 0 sinks"), "who rests makes room");
}

// What a bearer holds.

#[test]
fn a_second_signal_is_not_laid_beside_one_that_the_bearer_still_holds() {
    let mut story = story(1);
    story.submits = false;
    story.arrives(1);
    assert_eq!(story.until(25), NOTHING);
    assert_eq!(story.progresses(1, Progress::Submitted), NOTHING);
    assert_eq!(story.until(33), ["33: ring 2 by route 0 #2 for 1"], "8 s after the first has left");
    story.progresses(2, Progress::Unknown);
    assert_eq!(story.until(45), ["45: ring 3 by route 0 #3 for 1"], "perhaps it has left");
}

#[test]
fn what_is_told_of_an_earlier_signal_frees_none_that_is_held() {
    let mut story = story(1);
    story.arrives(1);
    story.submits = false;
    story.until(8);
    story.progresses(1, Progress::Delivered);
    story.progresses(1, Progress::Undelivered);
    assert_eq!(story.until(50), NOTHING, "the second is still there");
}

#[test]
fn a_bearer_is_not_blamed_for_a_signal_that_was_answered_before_it_told() {
    let mut story = story(2);
    story.submits = false;
    story.arrives_for(1, 1);
    story.arrives_for(2, 2);
    story.leaves(1);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["cancel 1", "dismiss 10"], "for nobody");
    assert_eq!(story.until(8), ["8: ring 2 by route 0 #2 for 2, service 2"]);
}

#[test]
fn a_bearer_that_holds_a_signal_for_too_long_gives_way_and_is_counted() {
    let mut story = story(2);
    story.submits = false;
    for call in 1..=3 {
        story.arrives(call);
        let told = story.until(15 * call);
        let ring = format!("{}: ring {} by route 1 #1 for {call}", 15 * call, 2 * call);
        assert_eq!(told.last(), Some(&ring), "{told:?}");
        assert_eq!(told.len(), if call == 3 { 2 } else { 1 }, "{told:?}");
        story.progresses(2 * call, Progress::Submitted);
        let told = story.dials(call, 2 * call, Outcome::Connected);
        assert!(told.contains(&format!("cancel {}", 2 * call - 1)), "it is taken back: {told:?}");
    }
    assert_eq!(arrives_at(&mut story, 8, 4), "ring 7 by route 1 #1 for 4", "for everybody");
}

#[test]
fn a_bearer_that_holds_the_last_route_is_counted_and_waited_for() {
    let mut story = story(1);
    story.submits = false;
    for call in 1..=3 {
        story.arrives(call);
        let told = story.until(60 * call);
        let mut expected: Vec<String> =
            ["refuse {} RB-UNRINGABLE", "cancel {}"].map(|it| at(60 * call, it, call)).into();
        if call == 3 {
            expected.insert(0, "135: bearer 0 sinks".to_owned());
        }
        assert_eq!(told, expected);
    }
}

fn at(second: u64, what: &str, number: u64) -> String {
    format!("{second}: {}", what.replace("{}", &number.to_string()))
}

// What cannot be delivered.

#[test]
fn a_terminal_out_of_one_bearers_reach_is_rung_by_the_next_at_once() {
    let mut story = story(2);
    story.arrives(1);
    story.until(3);
    assert_eq!(story.progresses(1, Progress::Undelivered), ["ring 2 by route 1 #1 for 1"]);
    let told = story.dials(10, 2, Outcome::Connected);
    assert_eq!(told, ["cancel 2", "accept 10", "splice 1 with 10"], "nothing is left to recall");
}

#[test]
fn a_terminal_out_of_its_only_bearers_reach_is_rung_again_and_its_client_waits() {
    let mut story = story(1);
    story.arrives(1);
    story.until(3);
    assert_eq!(story.progresses(1, Progress::Undelivered), NOTHING);
    assert_eq!(story.until(8), ["8: ring 2 by route 0 #2 for 1"], "it may be back");
    story.progresses(2, Progress::Undelivered);
    assert_eq!(story.until(20), ["20: ring 3 by route 0 #3 for 1"]);
    story.progresses(3, Progress::Undelivered);
    assert_eq!(story.until(40), ["40: ring 4 by route 0 #4 for 1"]);
    story.progresses(4, Progress::Undelivered);
    assert_eq!(story.until(60), ["60: refuse 1 RB-NO-ANSWER"], "and nothing to take back");
}

#[test]
fn a_dial_back_may_answer_what_was_said_to_be_undelivered() {
    let mut story = story(1);
    story.arrives(1);
    story.progresses(1, Progress::Undelivered);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["accept 10", "splice 1 with 10"]);
}

#[test]
fn a_bearer_that_wants_to_be_left_alone_for_longer_than_anybody_waits_has_failed() {
    let mut story = story(2);
    story.arrives(1);
    assert_eq!(story.fails(1, false, Some(30)), ["ring 2 by route 1 #1 for 1"], "beyond its route");
    assert_eq!(story.fails(2, false, Some(59)), NOTHING, "it is the last");
    assert_eq!(story.until(59), ["59: ring 3 by route 1 #1 for 1"]);
    assert_eq!(story.fails(3, false, Some(2)), ["refuse 1 RB-UNRINGABLE"]);
}

// What is taken back.

#[test]
fn a_submitted_signal_is_cancelled_when_somebody_dials_back_and_when_the_ladder_ends() {
    let mut answered = story(2);
    answered.arrives(1);
    answered.until(30);
    answered.progresses(1, Progress::Delivered);
    let told = answered.dials(10, 4, Outcome::Connected);
    let cancelled: Vec<_> = told.iter().filter(|it| it.starts_with("cancel")).collect();
    assert_eq!(cancelled, ["cancel 4", "cancel 1", "cancel 2", "cancel 3"]);

    let mut silent = story(1);
    silent.arrives(1);
    assert!(silent.until(60).contains(&"60: cancel 1".to_owned()));

    let mut left = story(1);
    left.arrives(1);
    assert_eq!(left.leaves(1), ["cancel 1"]);
}

#[test]
fn what_a_bearer_tells_of_a_ring_that_is_over_moves_nobody() {
    let mut story = story(2);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.arrives(2);
    Progress::ALL.into_iter().for_each(|it| assert_eq!(story.progresses(1, it), NOTHING));
    assert_eq!(story.progresses(99, Progress::Undelivered), NOTHING);
}

#[test]
fn two_routes_by_one_bearer_sink_together() {
    let mut story = story(3);
    story.terminal.routes[1].bearer = BearerId(0);
    story.submits = false;
    story.arrives(1);
    let told = story.until(30);
    let rings = ["15: ring 2 by route 1 #1 for 1", "30: ring 3 by route 2 #1 for 1"];
    assert_eq!(told, rings);
    story.dials(10, 3, Outcome::Connected);
    story.arrives(2);
    assert_eq!(story.until(45), ["45: bearer 0 sinks", "45: ring 5 by route 1 #1 for 2"]);
    assert_eq!(arrives_at(&mut story, 8, 3), "ring 6 by route 2 #1 for 3");
}
