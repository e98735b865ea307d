//! Stories of spares: how many a terminal deserves is learned from how many clients it has had.

use ringback_proto::hello::Outcome;
use ringback_proto::limits;
use ringback_proto::switchboard::Spares;

use crate::story::{Story, lingering};

const NOTHING: [&str; 0] = [];
/// A browser's connections to one server.
const BURST: std::ops::Range<u64> = 1..7;
/// The tunnel that stands by when all of them have their sessions.
const SPARE: u64 = 17;

#[test]
fn a_second_client_costs_no_round_trip_before_anything_was_learned() {
    let mut story = learning();
    story.arrives(1);
    assert_eq!(story.dials(10, 1, Outcome::Connected)[2], "ring 2 a spare over tunnel 10");
    story.dials(11, 2, Outcome::NotTried);
    assert_eq!(story.arrives(2).last().unwrap(), "open 11 for 2");
}

#[test]
fn a_burst_that_came_once_waits_for_nobody_when_it_comes_again() {
    let (mut story, tunnels) = after_a_burst();
    for (client, tunnel) in BURST.zip(&tunnels) {
        assert_eq!(story.returns(client, *tunnel), NOTHING);
    }
    for client in 101..107 {
        let told = story.arrives(client);
        assert!(told.last().unwrap().starts_with("open "), "{client} waits: {told:?}");
    }
}

#[test]
fn what_does_not_come_back_from_a_burst_is_rung_over_what_stands_by() {
    let (mut story, tunnels) = after_a_burst();
    let mut rung = Vec::new();
    for (client, tunnel) in BURST.zip(&tunnels) {
        rung.extend(story.ended(client, *tunnel));
    }
    // Six are expected, one stands by.
    let over = format!("a spare over tunnel {SPARE}");
    assert_eq!(rung.len(), 5, "{rung:?}");
    assert!(rung.iter().all(|it| it.ends_with(&over)), "{rung:?}");
}

#[test]
fn spares_that_do_not_come_are_not_rung_for_again_and_again() {
    let (mut story, tunnels) = after_a_burst();
    for (client, tunnel) in BURST.zip(&tunnels) {
        story.ended(client, *tunnel);
    }
    let told = story.until(limits::DEMAND_EBB.as_secs() * 5);
    assert!(told.iter().all(|it| it.contains("close")), "{told:?}");
}

#[test]
fn nobody_is_rung_by_a_route_for_a_spare() {
    let (mut story, tunnels) = after_a_burst();
    story.lost(SPARE);
    for (client, tunnel) in BURST.zip(&tunnels) {
        assert_eq!(story.ended(client, *tunnel), NOTHING, "there is nothing to ring over");
    }
}

#[test]
fn a_burst_is_forgotten_by_one_client_at_a_time_and_its_standbys_with_it() {
    let (mut story, tunnels) = after_a_burst();
    for (client, tunnel) in BURST.zip(&tunnels) {
        story.returns(client, *tunnel);
    }
    let ebb = limits::DEMAND_EBB.as_secs();
    assert_eq!(story.board.census().tunnels, 7);
    for step in 1..=2 {
        assert_eq!(story.until(ebb * step).len(), 1);
        assert_eq!(story.board.census().tunnels, 7 - step as usize);
    }
    // Then what has lingered is closed altogether.
    assert_eq!(story.until(300).len(), 5);
    assert_eq!(story.board.census().lines, 0);
}

#[test]
fn one_spare_stays_for_ever_where_tunnels_linger_for_ever() {
    let (mut story, tunnels) = after_a_burst();
    story.terminal.linger = std::time::Duration::MAX;
    story.arrives(7);
    story.opened(SPARE, Outcome::Refused);
    for (client, tunnel) in BURST.zip(&tunnels) {
        story.returns(client, *tunnel);
    }
    story.until(100_000);
    assert_eq!(story.board.census().tunnels, 1);
}

#[test]
fn more_than_so_many_spares_are_not_rung_however_many_clients_came() {
    let mut story = learning();
    let all = 3 * limits::LEARNED_SPARES as u64;
    (1..=all).for_each(|it| drop(story.arrives(it)));
    (1..=all).for_each(|it| drop(story.dials(100 + it, it, Outcome::Connected)));
    story.dials(99, all + 1, Outcome::NotTried);
    let rung: Vec<String> = (1..=all).flat_map(|it| story.ended(it, 100 + it)).collect();
    assert_eq!(rung.len(), limits::LEARNED_SPARES - 1, "{rung:?}");
}

#[test]
fn a_number_of_spares_that_is_given_is_neither_raised_nor_lowered() {
    let mut story = learning();
    story.terminal.spares = Spares::fixed(0);
    story.arrives(1);
    story.arrives(2);
    let told = story.dials(10, 1, Outcome::Connected);
    assert_eq!(told[2..], ["ring 2 over tunnel 10 for 2", "splice 1 with 10"]);
    story.dials(11, 2, Outcome::Connected);
    assert_eq!(story.ended(1, 10), NOTHING);
    assert_eq!(story.ended(2, 11), NOTHING);
}

#[test]
fn no_more_is_rung_over_tunnels_at_once_than_a_private_proxy_dials() {
    let mut story = learning();
    (story.terminal.spares, story.terminal.waiting) = (Spares::fixed(0), 100);
    let all = 100;
    (1..=all).for_each(|it| drop(story.arrives(it)));
    // Each dial-back carries further rings, until so many are under way.
    let (mut rung, mut most) = (1, 0);
    for ring in 1..=all {
        let told = story.dials(1000 + ring, ring, Outcome::Connected);
        let over = format!("over tunnel {}", 1000 + ring);
        rung += told.iter().filter(|it| it.contains(&over)).count() as u64;
        assert!(told.last().unwrap().starts_with("splice "), "{ring}: {told:?}");
        most = most.max(rung - ring);
    }
    assert_eq!(most, limits::TUNNEL_RINGS_AT_ONCE as u64);
    assert_eq!(rung, all, "each client is rung for once");
    assert_eq!(story.board.census().waiting, 0);
}

#[test]
fn rings_over_tunnels_that_nobody_obeys_keep_no_others_back() {
    let mut story = learning();
    story.terminal.waiting = 100;
    (1..=100).for_each(|it| drop(story.arrives(it)));
    (1..=4).for_each(|it| drop(story.dials(1000 + it, it, Outcome::Connected)));
    let routes = story.until(5);
    let route = routes.iter().find(|it| it.contains("by route")).expect("the routes are rung");
    let ring = route.split(' ').nth(2).and_then(|it| it.parse().ok()).expect("a ring");
    let told = story.dials(1005, ring, Outcome::Connected);
    let carried = told.iter().filter(|it| it.contains("over tunnel 1005")).count();
    assert_eq!(carried, limits::RINGS_PER_TUNNEL);
}

fn learning() -> Story {
    let mut story = lingering(0);
    story.terminal.spares = Spares::LEARNED;
    story
}

/// Six clients at once, their tunnels, and one spare that stands by.
fn after_a_burst() -> (Story, Vec<u64>) {
    let mut story = learning();
    BURST.for_each(|it| drop(story.arrives(it)));
    story.dials(11, 1, Outcome::Connected);
    // Over the first tunnel five clients were rung for, and a spare.
    (2..=6).for_each(|it| drop(story.dials(10 + it, it, Outcome::Connected)));
    assert_eq!(story.dials(SPARE, 7, Outcome::NotTried).last().unwrap(), "standby 17");
    assert_eq!(story.board.census().tunnels, 7);
    (story, (11..17).collect())
}
