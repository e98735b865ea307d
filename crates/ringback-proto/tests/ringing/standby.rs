//! Stories of tunnels that stand by: how they come, who gets them, how they go.

use ringback_proto::hello::Outcome;
use ringback_proto::limits;
use ringback_proto::switchboard::{CallEnd, Census, Event, RingId, Room, Spares};
use std::time::Duration;

use crate::story::{STRANGER, Story, lingering, seconds, story};

const NOTHING: [&str; 0] = [];

#[test]
fn a_spare_is_asked_for_over_the_tunnel_of_the_first_client() {
    let mut story = lingering(2);
    story.arrives(1);
    let told = story.dials(10, 1, Outcome::Connected);
    let spares = ["ring 2 a spare over tunnel 10", "ring 3 a spare over tunnel 10"];
    assert_eq!(told, ["cancel 1", "accept 10", spares[0], spares[1], "splice 1 with 10"]);
    assert_eq!(story.ttl(2), limits::TUNNEL_RING_TTL.as_secs() as u16);
    assert_eq!(story.dials(11, 2, Outcome::NotTried), ["accept 11", "standby 11"]);
    assert_eq!(story.dials(12, 3, Outcome::NotTried), ["accept 12", "standby 12"]);
}

#[test]
fn no_spare_is_asked_for_where_nothing_lingers() {
    let mut story = story(1);
    story.terminal.spares = Spares::fixed(3);
    story.arrives(1);
    assert_eq!(
        story.dials(10, 1, Outcome::Connected),
        ["cancel 1", "accept 10", "splice 1 with 10"]
    );
}

#[test]
fn a_client_gets_a_standby_at_once_and_its_place_is_filled() {
    let mut story = with_a_standby();
    let told = story.arrives(2);
    assert_eq!(told, ["ring 3 a spare over tunnel 11", "open 11 for 2"], "and no route is rung");
    assert_eq!(story.opened(11, Outcome::Connected), ["splice 2 with opened 11"]);
    assert_eq!(story.dials(12, 3, Outcome::NotTried), ["accept 12", "standby 12"]);
}

#[test]
fn two_clients_get_two_standbys() {
    let mut story = lingering(2);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    story.dials(12, 3, Outcome::NotTried);
    assert_eq!(story.arrives(2).last().unwrap(), "open 12 for 2");
    assert_eq!(story.arrives(3).last().unwrap(), "open 11 for 3");
}

#[test]
fn a_client_waits_for_a_spare_that_is_on_its_way() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.arrives(2), NOTHING);
    let told = story.dials(11, 2, Outcome::NotTried);
    assert_eq!(told, ["accept 11", "ring 3 a spare over tunnel 11", "open 11 for 2"]);
}

#[test]
fn a_spare_that_does_not_come_is_not_waited_for_long() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.until(1);
    assert_eq!(story.arrives(2), NOTHING);
    assert_eq!(story.until(10), ["5: ring 3 by route 0 #1 for 2"], "counted from its ring");
}

#[test]
fn a_spare_that_has_not_come_delays_nobody_who_comes_later() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.until(limits::TUNNEL_RING_PATIENCE.as_secs());
    assert_eq!(story.arrives(2), ["ring 3 by route 0 #1 for 2"]);
    assert_eq!(
        story.dials(11, 2, Outcome::NotTried).last().unwrap(),
        "open 11 for 2",
        "late, but good"
    );
}

#[test]
fn a_spare_that_was_rung_over_a_lost_tunnel_is_not_waited_for() {
    let mut story = with_a_standby();
    assert_eq!(story.arrives(2), ["ring 3 a spare over tunnel 11", "open 11 for 2"]);
    story.leaves(2);
    story.lost(11);
    assert_eq!(story.arrives(3), ["ring 4 by route 0 #1 for 3"]);
    let told = story.dials(12, 3, Outcome::NotTried);
    let again = "ring 5 a spare over tunnel 12";
    assert_eq!(told, ["accept 12", "cancel 4", again, "open 12 for 3"], "it came after all");
}

#[test]
fn whoever_waits_for_a_spare_is_rung_for_when_the_tunnel_that_carried_it_is_lost() {
    let mut story = with_a_standby();
    story.arrives(2);
    assert_eq!(story.arrives(3), NOTHING);
    story.leaves(2);
    assert_eq!(story.lost(11), ["ring 4 by route 0 #1 for 3"]);
}

#[test]
fn a_spare_that_comes_too_late_is_dismissed() {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.until(30);
    assert_eq!(story.dials(11, 2, Outcome::NotTried), ["dismiss 11"]);
    assert_eq!(story.arrives(2), ["ring 3 by route 0 #1 for 2"]);
}

#[test]
fn a_dead_service_refuses_one_client_of_a_standby_and_leaves_the_tunnel() {
    let mut story = with_a_standby();
    story.arrives(2);
    assert_eq!(story.opened(11, Outcome::Silent), ["refuse 2 RB-TERMINAL-SILENT"]);
    assert_eq!(story.arrives(3), ["open 11 for 3"], "the spare is still on its way");
}

#[test]
fn the_tunnel_that_told_of_a_dead_service_lingers() {
    let mut story = lingering(1);
    story.arrives(1);
    let told = story.dials(10, 1, Outcome::Refused);
    assert_eq!(told, ["cancel 1", "refuse 1 RB-TERMINAL-REFUSED", "accept 10", "standby 10"]);
    assert_eq!(story.arrives(2).last().unwrap(), "open 10 for 2");
}

#[test]
fn a_client_whose_tunnel_is_lost_while_it_opens_is_rung_for_by_the_routes() {
    let mut story = with_a_standby();
    story.arrives(2);
    assert_eq!(story.lost(11), ["ring 4 by route 0 #1 for 2"]);
    assert_eq!(story.dials(12, 4, Outcome::Connected).last().unwrap(), "splice 2 with 12");
}

#[test]
fn a_client_whose_tunnel_is_lost_while_it_opens_gets_the_next_standby() {
    let mut story = lingering(2);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    story.dials(12, 3, Outcome::NotTried);
    story.arrives(2);
    assert_eq!(story.lost(12).last().unwrap(), "open 11 for 2");
}

#[test]
fn a_standby_that_does_not_open_in_time_counts_as_cut() {
    let mut story = with_a_standby();
    story.arrives(2);
    let told = story.until(limits::OPEN_PATIENCE.as_secs());
    assert_eq!(told, ["8: close 11", "8: ring 4 by route 0 #1 for 2"]);
    assert_eq!(story.opened(11, Outcome::Connected), NOTHING, "too late");
}

#[test]
fn a_reply_that_makes_no_sense_ends_the_tunnel_and_not_the_session() {
    let mut story = with_a_standby();
    story.arrives(2);
    assert_eq!(story.opened(11, Outcome::NotTried), ["close 11", "ring 4 by route 0 #1 for 2"]);
}

#[test]
fn a_tunnel_that_opens_for_a_client_that_has_gone_is_closed() {
    let mut story = with_a_standby();
    story.arrives(2);
    story.arrives(3);
    assert_eq!(story.leaves(2), NOTHING);
    assert_eq!(story.opened(11, Outcome::Connected), ["close 11"], "it is bound to nobody else");
}

#[test]
fn a_tunnel_that_does_not_open_for_a_client_that_has_gone_stands_by_again() {
    let mut story = with_a_standby();
    story.arrives(2);
    story.leaves(2);
    assert_eq!(story.opened(11, Outcome::Refused), NOTHING);
    assert_eq!(story.arrives(3), ["open 11 for 3"]);
}

#[test]
fn an_opened_that_nobody_asked_for_changes_nothing() {
    let mut story = with_a_standby();
    assert_eq!(story.opened(11, Outcome::Connected), NOTHING);
    assert_eq!(story.opened(10, Outcome::Refused), NOTHING, "the spliced one");
    assert_eq!(story.arrives(2).last().unwrap(), "open 11 for 2");
}

#[test]
fn a_client_gives_up_on_a_tunnel_that_is_still_opening() {
    let mut story = with_a_standby();
    story.terminal.answer_patience = seconds(3);
    story.arrives(2);
    assert_eq!(story.until(3), ["3: refuse 2 RB-NO-ANSWER"]);
    assert_eq!(story.opened(11, Outcome::Connected), ["close 11"]);
}

#[test]
fn standbys_are_closed_when_the_line_has_been_quiet_for_the_linger_time() {
    let mut story = with_a_standby();
    assert_eq!(story.until(1000), NOTHING, "a session goes on");
    story.ended(1, 10);
    assert_eq!(story.until(1299), NOTHING);
    assert_eq!(story.until(1300), ["1300: close 11"]);
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}

#[test]
fn a_client_that_comes_and_goes_keeps_the_line_warm() {
    let mut story = with_a_standby();
    story.ended(1, 10);
    story.until(200);
    story.arrives(2);
    story.opened(11, Outcome::Refused);
    assert_eq!(story.until(499), NOTHING);
    assert_eq!(story.until(500), ["500: close 11"]);
}

#[test]
fn an_endless_linger_never_ends() {
    let mut story = with_a_standby();
    story.terminal.linger = Duration::MAX;
    story.arrives(2);
    story.opened(11, Outcome::Refused);
    story.ended(1, 10);
    assert_eq!(story.until(100_000_000), NOTHING);
    assert_eq!(story.arrives(3).last().unwrap(), "open 11 for 3");
}

#[test]
fn a_standby_that_is_lost_is_forgotten() {
    let mut story = with_a_standby();
    assert_eq!(story.lost(11), NOTHING);
    assert_eq!(story.arrives(2), ["ring 3 by route 0 #1 for 2"]);
}

#[test]
fn a_new_key_of_the_private_proxy_ends_what_the_old_one_has_opened() {
    let mut story = with_a_standby();
    story.terminal.private_proxy = STRANGER;
    assert_eq!(story.arrives(2), ["close 11", "ring 3 by route 0 #1 for 2"]);
    assert_eq!(story.dials(12, 3, Outcome::Connected), ["dismiss 12 unproven"], "the old key");
}

#[test]
fn more_than_so_many_do_not_stand_by() {
    let mut story = lingering(1000);
    let all = limits::STANDBYS_PER_TERMINAL as u64;
    story.arrives(1);
    let told = story.dials(10, 1, Outcome::Connected);
    assert_eq!(told.len(), 3 + limits::RINGS_PER_TUNNEL);
    // Each that comes carries what is missing still.
    (1..=all).for_each(|it| drop(story.dials(10 + it, 1 + it, Outcome::NotTried)));
    assert_eq!(story.board.census(), Census { lines: 1, waiting: 0, tunnels: 65, rings: 0 });
    // One is in use, one more is rung; then the used one comes back first.
    let used = story.arrives(2);
    assert_eq!(used.len(), 2, "{used:?}");
    story.opened(10 + all, Outcome::Refused);
    assert_eq!(story.dials(99, all + 2, Outcome::NotTried), ["dismiss 99"]);
}

#[test]
fn more_than_there_is_room_for_do_not_stand_by_whosever_they_are() {
    let mut story = lingering(2);
    let room = Room { tunnels: 2, ..Room::among(1, limits::WAITING_CLIENTS) };
    story.board.make_room(room);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.dials(11, 2, Outcome::NotTried), ["accept 11", "standby 11"]);
    assert_eq!(story.dials(12, 3, Outcome::NotTried), ["dismiss 12"]);
    // Nobody who waits is turned away for it, and whoever has served comes back into its place.
    story.arrives(2);
    assert_eq!(story.opened(11, Outcome::Connected), ["splice 2 with opened 11"]);
    assert_eq!(story.returns(1, 10), NOTHING);
    assert_eq!(story.board.census().tunnels, 2);
}

#[test]
fn a_stop_closes_what_stands_by_or_opens_and_leaves_splices_alone() {
    let mut story = lingering(2);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    story.dials(12, 3, Outcome::NotTried);
    story.arrives(2);
    let told = story.event(Event::Stop);
    assert_eq!(told, ["refuse 2 RB-STOPPING", "close 11", "close 12"]);
    assert_eq!(story.board.census().tunnels, 1);
    let (ring, retry_after) = (RingId(4), None);
    assert_eq!(story.event(Event::RingFailed { ring, permanent: true, retry_after }), NOTHING);
}

#[test]
fn a_tunnel_whose_session_came_to_its_end_stands_by_and_serves_the_next() {
    let mut story = lingering(0);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    for client in 2..50 {
        assert_eq!(story.returns(client - 1, 10), NOTHING);
        assert_eq!(story.board.census(), Census { lines: 1, waiting: 0, tunnels: 1, rings: 0 });
        assert_eq!(story.arrives(client), [format!("open 10 for {client}")], "nobody is rung");
        let told = story.opened(10, Outcome::Connected);
        assert_eq!(told, [format!("splice {client} with opened 10")]);
    }
}

#[test]
fn whoever_waits_gets_a_tunnel_that_comes_back_and_is_rung_for_no_longer() {
    let mut story = lingering(0);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.arrives(2), ["ring 2 by route 0 #1 for 2"]);
    assert_eq!(story.arrives(3), NOTHING);
    let told = story.returns(1, 10);
    assert_eq!(told, ["cancel 2", "ring 3 over tunnel 10 for 3", "open 10 for 2"]);
    assert_eq!(story.ended, [(1, CallEnd::Answered), (2, CallEnd::Answered)]);
    assert_eq!(story.dials(11, 2, Outcome::Connected).last().unwrap(), "splice 3 with 11");
}

#[test]
fn the_tunnel_that_was_heard_of_last_is_used_first() {
    let mut story = with_a_standby();
    story.until(20);
    story.returns(1, 10);
    assert_eq!(story.arrives(2), ["open 10 for 2"], "although 11 is younger");
    story.until(25);
    story.opened(10, Outcome::Refused);
    assert_eq!(story.arrives(3), ["open 10 for 3"], "it has just told so");
    assert_eq!(story.arrives(4).last().unwrap(), "open 11 for 4");
}

#[test]
fn a_tunnel_that_comes_back_takes_the_place_of_a_spare() {
    let mut story = with_a_standby();
    story.arrives(2);
    story.opened(11, Outcome::Connected);
    assert_eq!(story.returns(1, 10), NOTHING);
    story.until(31);
    assert_eq!(story.board.census().rings, 0, "the spare never came");
    assert_eq!(story.returns(2, 11), NOTHING);
    assert_eq!(story.arrives(3), ["open 11 for 3"], "and is not missed");
}

#[test]
fn where_nothing_lingers_no_tunnel_comes_back() {
    let mut story = story(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    assert_eq!(story.arrives(2), ["ring 2 by route 0 #1 for 2"]);
    assert_eq!(story.returns(1, 10), ["close 10"], "a ring per session");
    assert_eq!(story.dials(11, 2, Outcome::Connected).last().unwrap(), "splice 2 with 11");
}

#[test]
fn a_tunnel_that_comes_back_lingers_no_longer_than_others() {
    let mut story = with_a_standby();
    story.until(1000);
    story.returns(1, 10);
    assert_eq!(story.until(1119), NOTHING);
    assert_eq!(story.until(1299), ["1120: close 11"], "for one client there is the other");
    assert_eq!(story.until(1300), ["1300: close 10"]);
    assert_eq!(story.board.census(), Census { lines: 0, waiting: 0, tunnels: 0, rings: 0 });
}

#[test]
fn a_tunnel_that_came_back_is_lost_like_any_other() {
    let mut story = lingering(0);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.returns(1, 10);
    assert_eq!(story.lost(10), NOTHING);
    assert_eq!(story.arrives(2), ["ring 2 by route 0 #1 for 2"]);
}

#[test]
fn a_tunnel_under_an_old_key_does_not_come_back() {
    let mut story = with_a_standby();
    story.terminal.private_proxy = STRANGER;
    story.arrives(2);
    assert_eq!(story.returns(1, 10), ["close 10"]);
}

#[test]
fn no_more_come_back_than_may_stand_by() {
    let mut story = lingering(0);
    let all = limits::STANDBYS_PER_TERMINAL as u64;
    for client in 1..=all + 1 {
        let ring = story.arrives(client);
        assert_eq!(ring, [format!("ring {client} by route 0 #1 for {client}")]);
        story.dials(1000 + client, client, Outcome::Connected);
    }
    (1..=all).for_each(|it| assert_eq!(story.returns(it, 1000 + it), NOTHING));
    assert_eq!(story.returns(all + 1, 1001 + all), [format!("close {}", 1001 + all)]);
}

#[test]
fn what_comes_back_after_a_stop_or_a_revocation_is_closed() {
    let mut story = with_a_standby();
    story.event(Event::Stop);
    assert_eq!(story.returns(1, 10), ["close 10"]);
    assert_eq!(story.board.census().tunnels, 0);

    let mut story = with_a_standby();
    let told = story.event(Event::Revoke { kid: story.terminal.kid });
    assert_eq!(told, ["cut 1 from 10", "close 11"]);
    assert_eq!(story.returns(1, 10), ["close 10"], "it ended as it was to be cut");
    assert_eq!(story.board.census().tunnels, 0);
}

/// Client 1 is spliced with tunnel 10; tunnel 11 stands by; two rings so far.
fn with_a_standby() -> Story {
    let mut story = lingering(1);
    story.arrives(1);
    story.dials(10, 1, Outcome::Connected);
    story.dials(11, 2, Outcome::NotTried);
    story
}
