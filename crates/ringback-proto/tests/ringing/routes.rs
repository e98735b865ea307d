//! Stories of ringing by routes: who is rung, how often, who may answer, who is told what.

use std::time::Duration;

use ringback_proto::access_request::{Protocol, Sid};
use ringback_proto::hello::{Hello, Outcome, confirm_private, confirm_public};
use ringback_proto::limits;
use ringback_proto::switchboard::{Census, Command, Event, Progress, RingId, TunnelId};

use crate::story::{EXPORTER, OURS, STRANGER, keys, seconds, story};

const NOTHING: [&str; 0] = [];

// One client.

#[test]
fn a_client_is_rung_for_and_joined_with_whoever_dials_back() {
    let mut story = story(1);
    assert_eq!(story.arrives(1), ["ring 1 by route 0 #1 for 1"]);
    assert_eq!(
        story.dials(10, 1, Outcome::Connected),
        ["cancel 1", "accept 10", "splice 1 with 10"]
    );
    assert_eq!(story.until(3600), NOTHING);
    assert_eq!(story.ended(1, 10), NOTHING);
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}

#[test]
fn the_answer_proves_that_the_public_proxy_has_sealed_the_signal() {
    let mut story = story(1);
    story.arrives(1);
    let keys = keys(RingId(1));
    let mac = confirm_private(&keys, &EXPORTER);
    let hello = Hello { sid: keys.sid, mac, outcome: Outcome::Connected, bare: false };
    let (tunnel, peer) = (TunnelId(10), OURS);
    let event =
        Event::HelloHeard { tunnel, protocol: Protocol::Tls, peer, hello, exporter: EXPORTER };
    story.board.handle_event(event, story.now);
    let mac = confirm_public(&keys, &EXPORTER);
    assert_eq!(story.board.poll_command(), Some(Command::Cancel { ring: RingId(1) }));
    assert_eq!(story.board.poll_command(), Some(Command::Accept { tunnel, mac }));
}

#[test]
fn nobody_waits_beyond_patience() {
    let mut story = story(1);
    story.arrives(1);
    let told = story.until(60);
    assert_eq!(told[3], "60: refuse 1 RB-NO-ANSWER");
    assert_eq!(told[4..], [1, 2, 3, 4].map(|ring| format!("60: cancel {ring}")));
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["dismiss 10"], "too late");
}

#[test]
fn a_patience_beyond_all_clocks_is_for_ever() {
    let mut story = story(1);
    story.terminal.answer_patience = Duration::MAX;
    story.arrives(1);
    assert_eq!(story.ttl(1), 3600, "as long as a signal can live");
    assert_eq!(story.until(40).len(), 3);
    assert!(story.until(100_000_000).is_empty());
}

// Strangers and duplicates.

#[test]
fn a_stranger_with_the_token_is_turned_away_without_spoiling_it() {
    let mut story = story(1);
    story.arrives(1);
    let keys = keys(RingId(1));
    let mac = confirm_private(&keys, &EXPORTER);
    let hello = Hello { sid: keys.sid, mac, outcome: Outcome::Connected, bare: false };
    assert_eq!(story.hello(10, STRANGER, hello), ["dismiss 10 unproven"]);
    assert_eq!(
        story.dials(11, 1, Outcome::Connected),
        ["cancel 1", "accept 11", "splice 1 with 11"]
    );
}

#[test]
fn a_wrong_code_is_turned_away_without_spoiling_the_session() {
    let mut story = story(1);
    story.arrives(1);
    let keys = keys(RingId(1));
    let good = confirm_private(&keys, &EXPORTER);
    for octet in 0..32 {
        let mut mac = good;
        mac[octet] ^= 1;
        let hello = Hello { sid: keys.sid, mac, outcome: Outcome::Refused, bare: false };
        assert_eq!(
            story.hello(10 + octet as u64, OURS, hello),
            [format!("dismiss {} unproven", 10 + octet)]
        );
    }
    let elsewhere = confirm_private(&keys, &[0x56; 32]);
    let hello = Hello { sid: keys.sid, mac: elsewhere, outcome: Outcome::Connected, bare: false };
    assert_eq!(story.hello(50, OURS, hello), ["dismiss 50 unproven"], "the code of another tunnel");
    assert_eq!(
        story.dials(51, 1, Outcome::Connected),
        ["cancel 1", "accept 51", "splice 1 with 51"]
    );
}

#[test]
fn a_token_opens_the_door_only_once() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives(2);
    let told = story.dials(10, 1, Outcome::Connected);
    assert_eq!(told[1..], ["accept 10", "ring 2 over tunnel 10 for 2", "splice 1 with 10"]);
    assert_eq!(story.dials(11, 1, Outcome::Connected), ["dismiss 11"], "though a client waits");
}

#[test]
fn an_unknown_token_and_one_not_yet_sealed_open_nothing() {
    let mut story = story(1);
    story.seals = false;
    story.arrives(1);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["dismiss 10"]);
    let hello = Hello { sid: Sid([0; 16]), mac: [0; 32], outcome: Outcome::Connected, bare: false };
    assert_eq!(story.hello(11, OURS, hello), ["dismiss 11"]);
}

#[test]
fn a_ring_is_sealed_once() {
    let mut story = story(1);
    story.arrives(1);
    story.event(Event::Sealed { ring: RingId(1), keys: keys(RingId(99)) });
    assert_eq!(story.dials(10, 99, Outcome::Connected), ["dismiss 10"]);
    assert_eq!(
        story.dials(11, 1, Outcome::Connected),
        ["cancel 1", "accept 11", "splice 1 with 11"]
    );
}

// Again and again.

#[test]
fn a_silent_route_is_rung_again_and_again_while_it_has_patience_and_then_the_next() {
    let mut story = story(2);
    story.terminal.answer_patience = seconds(80);
    assert_eq!(story.arrives(1), ["ring 1 by route 0 #1 for 1"]);
    let rings = [
        "8: ring 2 by route 0 #2 for 1",
        "20: ring 3 by route 0 #3 for 1",
        "30: ring 4 by route 1 #1 for 1",
        "38: ring 5 by route 1 #2 for 1",
        "50: ring 6 by route 1 #3 for 1",
        "70: ring 7 by route 1 #4 for 1",
    ];
    assert_eq!(story.until(79), rings);
    assert_eq!([1, 2, 7].map(|ring| story.ttl(ring)), [80, 72, 10], "worth what is left");
}

#[test]
fn a_route_of_little_patience_is_rung_less_often() {
    let mut story = story(2);
    story.terminal.routes[0].patience = seconds(8);
    story.arrives(1);
    assert_eq!(story.until(10), ["8: ring 2 by route 1 #1 for 1"]);
}

#[test]
fn a_shell_that_was_held_up_sends_one_signal_and_not_all_it_missed() {
    let mut story = story(1);
    story.arrives(1);
    story.now += seconds(40);
    story.board.handle_timeout(story.now);
    assert!(matches!(story.board.poll_command(), Some(Command::Ring { attempt: 2, .. })));
    assert_eq!(story.board.poll_command(), None);
    story.progresses(2, Progress::Submitted);
    assert_eq!(story.board.poll_timeout(), Some(story.now + seconds(12)));
}

#[test]
fn any_signal_of_a_ring_may_be_answered_and_the_rest_is_withdrawn() {
    let mut story = story(2);
    story.arrives(1);
    story.until(35);
    let told = story.dials(10, 2, Outcome::Connected);
    let expected =
        ["cancel 2", "accept 10", "cancel 1", "cancel 3", "cancel 4", "splice 1 with 10"];
    assert_eq!(told, expected);
    assert_eq!(story.until(59), NOTHING);
    assert_eq!(story.dials(11, 3, Outcome::Connected), ["dismiss 11"], "nobody waits any more");
}

#[test]
fn a_bearer_that_fails_for_good_gives_way_at_once() {
    let mut story = story(2);
    story.arrives(1);
    assert_eq!(story.fails(1, true, None), ["ring 2 by route 1 #1 for 1"]);
    assert_eq!(story.fails(1, true, None), NOTHING, "told twice");
    assert_eq!(story.fails(2, true, None), ["refuse 1 RB-UNRINGABLE"]);
}

#[test]
fn a_signal_that_is_under_way_is_waited_for_though_all_routes_have_failed() {
    let mut story = story(2);
    story.arrives(1);
    story.until(30);
    let told = story.fails(4, true, None);
    assert_eq!(told, NOTHING);
    assert_eq!(story.until(59), NOTHING, "no route is left");
    assert_eq!(story.dials(10, 3, Outcome::Connected).last().unwrap(), "splice 1 with 10");
}

#[test]
fn a_bearer_that_fails_for_a_while_is_tried_again_when_it_says() {
    let mut story = story(1);
    story.arrives(1);
    story.fails(1, false, Some(5));
    assert_eq!(story.until(5), ["5: ring 2 by route 0 #1 for 1"], "nothing was sent before");
    story.fails(2, false, None);
    let soonest = 5 + limits::RETRY_AFTER.as_secs();
    assert_eq!(story.until(soonest), [format!("{soonest}: ring 3 by route 0 #1 for 1")]);
}

#[test]
fn a_bearer_that_keeps_failing_for_a_while_is_left_in_the_end() {
    let mut story = story(1);
    story.arrives(1);
    for ring in 1..=limits::FAILED_SIGNALS_PER_ROUTE as u64 {
        assert_eq!(story.fails(ring, false, None), NOTHING);
        story.until(2 * ring);
    }
    let last = limits::FAILED_SIGNALS_PER_ROUTE as u64 + 1;
    assert_eq!(story.fails(last, false, None), ["refuse 1 RB-UNRINGABLE"]);
}

#[test]
fn a_terminal_without_routes_cannot_be_rung() {
    assert_eq!(story(0).arrives(1), ["refuse 1 RB-UNRINGABLE"]);
}

// Several clients.

#[test]
fn many_clients_of_one_terminal_are_one_ring() {
    let mut story = story(1);
    story.arrives(1);
    for client in 2..=20 {
        assert_eq!(story.arrives(client), NOTHING);
    }
    assert_eq!(story.until(8), ["8: ring 2 by route 0 #2 for 1"]);
}

#[test]
fn the_first_tunnel_carries_the_rings_of_everybody_else() {
    let mut story = story(1);
    (1..=3).for_each(|client| drop(story.arrives_for(client, client as u16)));
    let told = story.dials(10, 1, Outcome::Connected);
    let expected = [
        "cancel 1",
        "accept 10",
        "ring 2 over tunnel 10 for 2, service 2",
        "ring 3 over tunnel 10 for 3, service 3",
        "splice 1 with 10",
    ];
    assert_eq!(told, expected);
    assert_eq!(story.dials(12, 3, Outcome::Connected), ["accept 12", "splice 3 with 12"]);
    assert_eq!(story.dials(11, 2, Outcome::Connected), ["accept 11", "splice 2 with 11"]);
}

#[test]
fn a_tunnel_carries_so_many_rings_and_the_next_tunnels_the_others() {
    let mut story = story(1);
    (1..=40).for_each(|client| drop(story.arrives(client)));
    let rings = |told: Vec<String>| told.iter().filter(|it| it.starts_with("ring")).count();
    assert_eq!(rings(story.dials(100, 1, Outcome::Connected)), limits::RINGS_PER_TUNNEL);
    assert_eq!(rings(story.dials(101, 2, Outcome::Connected)), limits::RINGS_PER_TUNNEL);
    // The first of them has come, so one more may be under way.
    assert_eq!(rings(story.dials(102, 3, Outcome::Connected)), 2);
}

#[test]
fn who_is_not_reached_over_a_tunnel_is_rung_for_by_the_routes() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives(2);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.until(10), ["5: ring 3 by route 0 #1 for 2"]);
    let told = story.dials(11, 2, Outcome::Connected);
    assert_eq!(told, ["accept 11", "cancel 3", "splice 2 with 11"], "late, but good");
}

#[test]
fn a_tunnel_that_cannot_carry_a_ring_leaves_it_to_the_routes() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives(2);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.fails(2, false, None), ["ring 3 by route 0 #1 for 2"]);
}

#[test]
fn a_late_signal_serves_the_next_client_of_its_service_and_no_other() {
    let mut story = story(1);
    story.arrives(1);
    story.until(8);
    story.arrives_for(2, 9);
    story.arrives(3);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.dials(11, 2, Outcome::Connected), ["accept 11", "splice 3 with 11"]);
}

#[test]
fn a_dial_back_for_a_service_that_nobody_waits_for_is_dismissed() {
    let mut story = story(1);
    story.arrives_for(1, 1);
    story.arrives_for(2, 2);
    story.leaves(1);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["cancel 1", "dismiss 10"]);
    assert_eq!(story.until(8), ["8: ring 2 by route 0 #2 for 2, service 2"]);
}

#[test]
fn who_comes_late_to_a_ring_is_rung_for_afresh_when_it_is_given_up() {
    let mut story = story(1);
    story.arrives(1);
    story.until(59);
    assert_eq!(story.arrives(2), NOTHING);
    let told = story.until(60);
    let afresh = [
        "60: refuse 1 RB-NO-ANSWER",
        "60: cancel 1",
        "60: cancel 2",
        "60: cancel 3",
        "60: cancel 4",
        "60: ring 5 by route 0 #1 for 2",
    ];
    assert_eq!(told, afresh);
    assert_eq!(story.dials(10, 3, Outcome::Connected), ["dismiss 10"], "given up with its ring");
    assert_eq!(story.dials(11, 5, Outcome::Connected).last().unwrap(), "splice 2 with 11");
}

#[test]
fn nobody_is_rung_for_once_the_last_client_has_left() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives(2);
    assert_eq!(story.leaves(1), NOTHING);
    assert_eq!(story.until(8), ["8: ring 2 by route 0 #2 for 2"]);
    assert_eq!(story.leaves(2), ["cancel 1", "cancel 2"]);
    assert_eq!(story.until(3600), NOTHING);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["dismiss 10"]);
}

// A dead terminal.

#[test]
fn a_dead_service_refuses_everybody_who_waits_for_it_at_once() {
    let codes = [
        (Outcome::Refused, "RB-TERMINAL-REFUSED"),
        (Outcome::Unreachable, "RB-TERMINAL-UNREACHABLE"),
        (Outcome::Silent, "RB-TERMINAL-SILENT"),
        (Outcome::UnknownService, "RB-NO-SERVICE"),
        (Outcome::NotGranted, "RB-NOT-GRANTED"),
    ];
    for (outcome, code) in codes {
        let mut story = story(1);
        story.arrives(1);
        story.arrives(2);
        let told = story.dials(10, 1, outcome);
        let [one, two] = [1, 2].map(|client| format!("refuse {client} {code}"));
        assert_eq!(told, ["cancel 1", &one, &two, "accept 10", "close 10"]);
    }
}

#[test]
fn a_dead_service_does_not_keep_another_from_being_opened() {
    let mut story = story(1);
    story.arrives_for(1, 1);
    story.arrives_for(2, 2);
    let told = story.dials(10, 1, Outcome::Refused);
    assert_eq!(told, ["cancel 1", "refuse 1 RB-TERMINAL-REFUSED", "accept 10", "open 10 for 2"]);
}

// Limits and the end.

#[test]
fn the_newest_client_of_a_full_line_is_refused() {
    let mut story = story(1);
    let last = limits::WAITING_CLIENTS_PER_TERMINAL as u64;
    (1..=last).for_each(|client| drop(story.arrives(client)));
    assert_eq!(story.arrives(last + 1), [format!("refuse {} RB-BUSY", last + 1)]);
    story.leaves(5);
    assert_eq!(story.arrives(last + 2), NOTHING);
}

#[test]
fn the_newest_client_of_a_full_board_is_refused() {
    let mut story = story(1);
    for client in 0..limits::WAITING_CLIENTS as u64 {
        story.terminal.kid.0 = client as u32;
        assert_eq!(story.arrives(client).len(), 1);
    }
    story.terminal.kid.0 += 1;
    assert_eq!(story.arrives(1_000_000), ["refuse 1000000 RB-BUSY"]);
}

#[test]
fn two_terminals_have_nothing_in_common() {
    let mut story = story(1);
    story.arrives(1);
    story.terminal.kid.0 = 8;
    story.terminal.private_proxy = STRANGER;
    assert_eq!(story.arrives(2), ["ring 2 by route 0 #1 for 2"]);
    assert_eq!(story.dials(10, 2, Outcome::Connected), ["dismiss 10 unproven"], "the other's key");
    assert_eq!(
        story.dials(11, 1, Outcome::Connected),
        ["cancel 1", "accept 11", "splice 1 with 11"]
    );
}

#[test]
fn a_stop_refuses_who_waits_and_rings_no_more() {
    let mut story = story(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.arrives(2);
    assert_eq!(story.event(Event::Stop), ["refuse 2 RB-STOPPING", "cancel 2"]);
    assert_eq!(story.arrives(3), ["refuse 3 RB-STOPPING"]);
    assert_eq!(story.dials(11, 2, Outcome::Connected), ["dismiss 11"]);
    assert_eq!(story.until(3600), NOTHING, "and the splice goes on");
    assert_eq!(story.ended(1, 10), NOTHING);
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}
