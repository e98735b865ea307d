//! Stories of clients that ring by themselves: each is handed its signals, and sends them.

use ringback_proto::budget::{Budgets, Charge, Money, Rules};
use ringback_proto::gate::Source;
use ringback_proto::hello::Outcome;
use ringback_proto::limits::SIGNALS_PER_RING;
use ringback_proto::refusal::Budget;
use ringback_proto::switchboard::{Call, Census, Event, RingId};

use crate::story::{Story, lingering, seconds, story};

const NOTHING: [&str; 0] = [];
const EMPTY: Census = Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 };

#[test]
fn a_client_is_handed_its_signal_and_joined_with_whoever_it_has_rung() {
    let mut story = story(1);
    assert_eq!(story.arrives_ringing(1), ["ring 1 by client 1 #1 for 1"]);
    assert_eq!(story.ttl(1), 60, "worth obeying for as long as the client waits");
    let told = story.dials(10, 1, Outcome::Connected);
    assert_eq!(told, ["accept 10", "splice 1 with 10"], "there is nothing of ours to cancel");
    assert_eq!(story.dials(11, 1, Outcome::Connected), ["dismiss 11"], "it has opened one door");
    assert_eq!(story.until(3600), NOTHING);
    assert_eq!(story.ended(1, 10), NOTHING);
    assert_eq!(story.board.census(), EMPTY);
    assert_eq!(story.ended, [], "it was no call of ours");
}

#[test]
fn further_signals_are_handed_out_at_the_ladders_times_and_no_route_is_rung() {
    let mut story = story(2);
    story.arrives_ringing(1);
    let again =
        [2, 3, 4].map(|it| format!("{}: ring {it} by client 1 #{it} for 1", [8, 20, 40][it - 2]));
    assert_eq!(story.until(59), again);
    assert_eq!(story.dials(10, 2, Outcome::Connected), ["accept 10", "splice 1 with 10"]);
}

#[test]
fn a_client_that_never_sends_waits_in_vain_and_nobody_holds_it_against_the_terminal() {
    let mut story = story(1);
    story.arrives_ringing(1);
    assert_eq!(story.until(60)[3..], ["60: refuse 1 RB-NO-ANSWER"]);
    assert_eq!(story.board.census(), EMPTY);
    assert_eq!(story.ended, [], "no breaker hears of it");
}

#[test]
fn a_client_that_has_gone_is_handed_nothing_and_what_it_has_opens_nothing() {
    let mut story = story(1);
    story.arrives_ringing(1);
    assert_eq!(story.leaves(1), NOTHING);
    assert_eq!(story.board.census(), EMPTY);
    assert_eq!(story.until(59), NOTHING);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["dismiss 10"]);
}

#[test]
fn what_a_client_is_handed_counts_for_terminal_and_source_and_costs_nothing() {
    let rules = Rules { terminal_per_hour: 2, source_per_hour: 3, ..Rules::default() };
    let mut budgets = Budgets::new(rules);
    let story = story(1);
    let charge = |signal| Charge {
        kid: story.terminal.kid,
        source: Source::of(story.source),
        tenant: story.terminal.tenant,
        price: Money::default(),
        call: Call::by_client(signal),
    };
    for at in 0..2 {
        for signal in 1..=SIGNALS_PER_RING {
            let record = budgets.ask(&charge(signal), at).unwrap();
            budgets.enter(&record);
        }
    }
    assert_eq!(budgets.ask(&charge(1), 2).unwrap_err().budget, Budget::Terminal);
    assert_eq!(budgets.ask(&charge(2), 2).map(drop), Ok(()), "a call that was begun goes on");
}

#[test]
fn an_open_breaker_stops_no_client_that_rings_and_learns_nothing_from_it() {
    let rules = Rules { breaker_unanswered: 1, breaker_seconds: 60, ..Rules::none() };
    let mut budgets = Budgets::new(rules);
    let story = story(1);
    let charge = |call| Charge {
        kid: story.terminal.kid,
        source: Source::of(story.source),
        tenant: story.terminal.tenant,
        price: Money::default(),
        call,
    };
    let ours = |id| charge(Call { id, signal: 1 });
    let record = budgets.ask(&ours(1), 0).unwrap();
    budgets.enter(&record);
    let unanswered = ringback_proto::switchboard::CallEnd::Unanswered;
    let record = budgets.ended(1, story.terminal.kid, unanswered, 30);
    budgets.enter(&record);
    assert_eq!(budgets.ask(&ours(2), 31).unwrap_err().budget, Budget::Breaker);
    for at in [31, 91] {
        let record = budgets.ask(&charge(Call::by_client(1)), at).unwrap();
        budgets.enter(&record);
    }
    assert!(budgets.ask(&ours(3), 91).is_ok(), "the place of the trial is still free");
}

#[test]
fn a_budget_denies_whoever_rings_by_itself_alone() {
    let mut story = story(1);
    story.arrives_ringing(1);
    story.arrives(2);
    let event = Event::RingDenied { ring: RingId(1), budget: Budget::Terminal, wait: seconds(77) };
    assert_eq!(story.event(event), ["refuse 1 RB-BUDGET-TERMINAL"]);
    assert_eq!(story.dials(10, 2, Outcome::Connected).last().unwrap(), "splice 2 with 10");
}

#[test]
fn a_client_that_takes_no_signal_is_refused_unless_one_may_yet_be_answered() {
    let mut story = story(1);
    story.arrives_ringing(1);
    assert_eq!(story.fails(1, true, None), ["refuse 1 RB-UNRINGABLE"]);
    story.arrives_ringing(2);
    assert_eq!(story.until(8), ["8: ring 3 by client 2 #2 for 2"]);
    assert_eq!(story.fails(3, true, None), NOTHING);
    assert_eq!(story.until(59), NOTHING, "and it is handed no more");
    assert_eq!(story.dials(10, 2, Outcome::Connected), ["accept 10", "splice 2 with 10"]);
}

// Beside others.

#[test]
fn an_ordinary_client_beside_it_is_rung_for_by_routes_as_ever() {
    let mut story = story(2);
    story.arrives_ringing(1);
    assert_eq!(story.arrives(2), ["ring 2 by route 0 #1 for 2"]);
    let told = story.until(30);
    let both = [
        "8: ring 3 by route 0 #2 for 2",
        "8: ring 4 by client 1 #2 for 1",
        "20: ring 5 by route 0 #3 for 2",
        "20: ring 6 by client 1 #3 for 1",
        "30: ring 7 by route 1 #1 for 2",
    ];
    assert_eq!(told, both);
    assert_eq!(story.leaves(2), ["cancel 2", "cancel 3", "cancel 5", "cancel 7"]);
    assert_eq!(
        story.until(59),
        ["40: ring 8 by client 1 #4 for 1"],
        "for it alone no route is rung"
    );
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["accept 10", "splice 1 with 10"]);
}

#[test]
fn whoever_has_sent_the_signal_comes_first_and_its_tunnel_rings_for_the_other() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives_ringing(2);
    let told = story.dials(10, 2, Outcome::Connected);
    let carried = "ring 3 over tunnel 10 for 1";
    assert_eq!(told, ["accept 10", "cancel 1", carried, "splice 2 with 10"]);
    assert_eq!(story.dials(11, 3, Outcome::Connected), ["accept 11", "splice 1 with 11"]);
}

#[test]
fn two_that_ring_by_themselves_are_served_by_one_signal() {
    let mut story = story(1);
    story.arrives_ringing(1);
    story.arrives_ringing(2);
    let told = story.dials(10, 2, Outcome::Connected);
    assert_eq!(told, ["accept 10", "ring 3 over tunnel 10 for 1", "splice 2 with 10"]);
    assert_eq!(story.until(4), NOTHING);
    assert_eq!(story.dials(11, 3, Outcome::Connected), ["accept 11", "splice 1 with 11"]);
    assert_eq!(story.until(3600), NOTHING);
}

#[test]
fn an_ordinary_client_that_waited_in_vain_counts_as_unanswered_beside_it() {
    let mut story = story(1);
    story.arrives(1);
    story.until(10);
    story.arrives_ringing(2);
    story.until(60);
    let unanswered = ringback_proto::switchboard::CallEnd::Unanswered;
    assert_eq!(story.ended, [(1, unanswered)]);
}

// Tunnels.

#[test]
fn a_standby_serves_without_any_signal() {
    let mut story = with_a_standby();
    let told = story.arrives_ringing(2);
    assert_eq!(told, ["ring 3 a spare over tunnel 11", "open 11 for 2"]);
    assert_eq!(story.opened(11, Outcome::Connected), ["splice 2 with opened 11"]);
    assert_eq!(story.until(100), NOTHING);
}

#[test]
fn a_spare_that_is_on_its_way_is_waited_for_before_a_signal_is_handed_out() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.arrives_ringing(2), NOTHING);
    assert_eq!(story.until(5), ["5: ring 3 by client 2 #1 for 2"]);
}

#[test]
fn a_client_whose_standby_was_dead_is_handed_its_signal_then() {
    let mut story = with_a_standby();
    story.arrives_ringing(2);
    assert_eq!(story.lost(11), ["ring 4 by client 2 #1 for 2"]);
    assert_eq!(story.dials(12, 4, Outcome::Connected)[0], "accept 12");
}

#[test]
fn a_client_whose_splice_could_not_begin_is_handed_signals_anew() {
    let mut story = story(1);
    story.arrives_ringing(1);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.fails_to_splice(1, 10), ["ring 2 by client 1 #1 for 1"]);
    assert_eq!(story.until(8), ["8: ring 3 by client 1 #2 for 1"]);
}

#[test]
fn a_revoked_terminal_hands_out_nothing_more() {
    let mut story = story(1);
    story.arrives_ringing(1);
    let kid = story.terminal.kid;
    assert_eq!(story.event(Event::Revoke { kid }), ["refuse 1 RB-UNKNOWN"]);
    assert_eq!(story.board.census(), EMPTY);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["dismiss 10"]);
}

/// One client has been and gone; tunnel 11 stands by.
fn with_a_standby() -> Story {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    story.ended(1, 10);
    story
}
