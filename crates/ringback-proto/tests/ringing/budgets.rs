//! Stories of rings that a budget denies, of shares, and of terminals whose keys are revoked.

use std::time::Duration;

use ringback_proto::access_request::Kid;
use ringback_proto::hello::Outcome;
use ringback_proto::limits;
use ringback_proto::refusal::Budget;
use ringback_proto::switchboard::{CallEnd, Census, Event, RingId, Room};
use ringback_proto::terminal::TenantName;

use crate::story::{Story, lingering, seconds, story};

const NOTHING: [&str; 0] = [];
const EMPTY: Census = Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 };

fn denies(story: &mut Story, ring: u64, budget: Budget) -> Vec<String> {
    story.event(Event::RingDenied { ring: RingId(ring), budget, wait: Duration::from_secs(77) })
}

// Denied.

#[test]
fn whoever_is_denied_a_ring_is_told_at_once_by_which_budget() {
    for (budget, code) in [
        (Budget::Terminal, "RB-BUDGET-TERMINAL"),
        (Budget::Client, "RB-BUDGET-CLIENT"),
        (Budget::Tenant, "RB-BUDGET-TENANT"),
        (Budget::Money, "RB-BUDGET-MONEY"),
        (Budget::Breaker, "RB-BREAKER"),
    ] {
        let mut story = story(2);
        story.arrives(1);
        assert_eq!(denies(&mut story, 1, budget), [format!("refuse 1 {code}")]);
        assert_eq!(denies(&mut story, 1, budget), NOTHING, "told twice");
        assert_eq!(story.until(3600), NOTHING, "the second route costs the same budgets");
        assert_eq!(story.board.census(), EMPTY);
        assert_eq!(story.ended, [], "no call was made");
    }
}

#[test]
fn a_source_that_has_spent_all_is_refused_alone_and_the_next_one_pays() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives(2);
    story.source = [192, 0, 2, 8].into();
    story.arrives(3);
    let told = denies(&mut story, 1, Budget::Client);
    let [one, two] = [1, 2].map(|client| format!("refuse {client} RB-BUDGET-CLIENT"));
    assert_eq!(told, [&one, &two, "ring 2 by route 0 #1 for 3"]);
    let told = story.dials(10, 2, Outcome::Connected);
    assert_eq!(told, ["cancel 2", "accept 10", "splice 3 with 10"]);
    assert_eq!(story.ended, [(2, CallEnd::Answered)]);
}

#[test]
fn a_denied_signal_ends_the_ladder_and_earlier_ones_may_still_be_answered() {
    let mut story = story(2);
    story.arrives(1);
    assert_eq!(story.until(8), ["8: ring 2 by route 0 #2 for 1"]);
    assert_eq!(denies(&mut story, 2, Budget::Money), NOTHING);
    assert_eq!(story.until(59), NOTHING, "neither this route nor the next");
    let told = story.dials(10, 1, Outcome::Connected);
    assert_eq!(told, ["cancel 1", "accept 10", "splice 1 with 10"]);
    assert_eq!(story.ended, [(1, CallEnd::Answered)]);
}

#[test]
fn whoever_was_denied_a_second_signal_is_told_so_when_the_first_was_not_taken() {
    let mut story = story(1);
    story.arrives(1);
    story.until(8);
    denies(&mut story, 2, Budget::Money);
    assert_eq!(story.fails(1, false, None), ["refuse 1 RB-BUDGET-MONEY"]);
}

// How calls end.

#[test]
fn a_call_ends_once_and_as_it_did() {
    let mut story = story(1);
    story.arrives(1);
    story.arrives(2);
    story.until(60);
    assert_eq!(story.ended, [(1, CallEnd::Unanswered)]);

    story.arrives(3);
    story.leaves(3);
    assert_eq!(story.ended[1..], [(2, CallEnd::Abandoned)]);

    story.arrives(4);
    story.dials(10, 6, Outcome::Refused);
    assert_eq!(story.ended[2..], [(3, CallEnd::Answered)], "though its service refused");

    story.arrives(5);
    story.fails(7, true, None);
    assert_eq!(story.ended[3..], [(4, CallEnd::Abandoned)], "no route took it");
    story.until(3600);
    assert_eq!(story.ended.len(), 4);
}

#[test]
fn a_patience_that_is_over_before_its_ladder_is_counts_as_unanswered() {
    let mut story = story(1);
    story.terminal.answer_patience = seconds(100);
    story.arrives(1);
    story.terminal.answer_patience = seconds(60);
    story.arrives(2);
    story.leaves(1);
    story.until(60);
    assert_eq!(story.ended, [(1, CallEnd::Unanswered)]);
}

#[test]
fn a_call_that_was_given_up_is_unanswered_though_another_client_goes_on_waiting() {
    let mut story = story(1);
    story.arrives(1);
    story.until(59);
    story.arrives(2);
    story.until(61);
    assert_eq!(story.ended, [(1, CallEnd::Unanswered)]);
}

// Shares.

#[test]
fn a_source_may_have_so_many_waiting_clients_over_all_terminals() {
    let mut story = story(1);
    story.board.make_room(Room::default());
    for client in 0..limits::WAITING_CLIENTS_PER_SOURCE as u64 {
        story.terminal.kid = Kid(client as u32);
        assert_eq!(story.arrives(client).len(), 1);
    }
    assert_eq!(story.arrives(100), ["refuse 100 RB-BUSY"]);
    story.source = [192, 0, 2, 8].into();
    assert_eq!(story.arrives(101), NOTHING, "another source shares the ring");
    story.source = [192, 0, 2, 7].into();
    story.leaves(3);
    assert_eq!(story.arrives(102), NOTHING);
}

#[test]
fn one_of_several_tenants_leaves_room_for_the_others() {
    let mut story = story(1);
    story.board.make_room(Room::among(2, usize::MAX));
    let share = (limits::WAITING_CLIENTS / limits::TENANT_SHARE) as u64;
    for client in 0..share {
        story.terminal.kid = Kid(client as u32);
        assert_eq!(story.arrives(client).len(), 1);
    }
    story.terminal.kid = Kid(1_000_000);
    assert_eq!(story.arrives(1_000_000), ["refuse 1000000 RB-BUSY"]);
    story.terminal.tenant = TenantName::parse("other").unwrap();
    assert_eq!(story.arrives(1_000_001).len(), 1, "rung");
}

#[test]
fn a_tenant_has_so_many_pending_rings_and_no_more() {
    let mut story = story(1);
    let room = Room { rings_per_tenant: 2, ..Room::among(2, usize::MAX) };
    story.board.make_room(room);
    for kid in 1..=2 {
        story.terminal.kid = Kid(kid);
        assert_eq!(story.arrives(kid.into()).len(), 1);
    }
    assert_eq!(story.until(20), NOTHING, "not even the second signals");
    story.terminal.kid = Kid(3);
    assert_eq!(story.arrives(3), ["refuse 3 RB-BUSY"]);
    story.leaves(1);
    assert_eq!(story.arrives(4), ["ring 3 by route 0 #1 for 4"], "room again");
}

#[test]
fn a_terminal_may_have_a_limit_of_its_own() {
    let mut story = story(1);
    story.terminal.waiting = 2;
    story.arrives(1);
    story.arrives(2);
    assert_eq!(story.arrives(3), ["refuse 3 RB-BUSY"]);
}

#[test]
fn a_terminal_that_changes_hands_shares_nothing_with_its_past() {
    let mut story = lingering(0);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.arrives(2);
    story.terminal.tenant = TenantName::parse("other").unwrap();
    assert_eq!(story.arrives(3), ["ring 3 by route 0 #1 for 3"], "a ring of its own");
    let told = story.dials(11, 3, Outcome::Connected);
    assert_eq!(told, ["cancel 3", "accept 11", "splice 3 with 11"], "and not of the other's");
}

// Revoked.

#[test]
fn a_revoked_terminal_loses_its_clients_its_rings_and_every_tunnel() {
    let mut story = lingering(2);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    story.dials(12, 3, Outcome::NotTried);
    story.arrives(2);
    let told = story.event(Event::Revoke { kid: story.terminal.kid });
    let all = ["refuse 2 RB-UNKNOWN", "cut 1 from 10", "close 11", "close 12"];
    assert_eq!(told, all);
    assert_eq!(story.board.census(), EMPTY);
    assert_eq!(story.ended(1, 10), NOTHING, "what is cut has nothing to tell");
    assert_eq!(story.fails_to_splice(1, 10), NOTHING);
    assert_eq!(story.opened(12, Outcome::Connected), NOTHING);
    assert_eq!(story.until(3600), NOTHING);
}

#[test]
fn nobody_answers_what_was_rung_before_the_revocation() {
    let mut story = story(1);
    story.arrives(1);
    let kid = story.terminal.kid;
    story.terminal.kid = Kid(8);
    story.arrives(2);
    assert_eq!(story.event(Event::Revoke { kid }), ["refuse 1 RB-UNKNOWN", "cancel 1"]);
    assert_eq!(story.ended, [(1, CallEnd::Abandoned)]);
    assert_eq!(story.dials(10, 1, Outcome::Connected), ["dismiss 10"]);
    assert_eq!(story.dials(11, 2, Outcome::Connected).len(), 3, "another terminal's goes on");
}
