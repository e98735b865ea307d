//! Stories of what services are reached over: no client is ever joined to a lesser tunnel.

use ringback_proto::access_request::{Protocol, TunnelType};
use ringback_proto::hello::Outcome;
use ringback_proto::switchboard::{Event, Progress, RingId};

use crate::story::{Story, lingering};

const NOTHING: [&str; 0] = [];

const PROTOCOLS: [Protocol; 3] = [Protocol::Tls, Protocol::Ipsec, Protocol::Quic];

/// What a tunnel of that type may run over.
fn first(through: TunnelType) -> Protocol {
    PROTOCOLS.into_iter().find(|it| through.permits(*it)).unwrap()
}

/// A story whose first client wants a service that is reached so.
fn wanting(through: TunnelType) -> Story {
    let mut story = lingering(0);
    story.through = through;
    story.arrives(1);
    story
}

#[test]
fn a_dial_back_over_what_the_signal_does_not_permit_is_dismissed_and_costs_the_ring_nothing() {
    for (through, _) in TunnelType::ALL {
        for protocol in PROTOCOLS {
            for outcome in [Outcome::Connected, Outcome::Refused, Outcome::NotTried] {
                let mut story = wanting(through);
                story.protocol = protocol;
                let told = story.dials(10, 1, outcome);
                if through.permits(protocol) {
                    let accepted = told.iter().any(|it| it == "accept 10");
                    assert!(accepted, "{through} over {protocol:?}: {told:?}");
                    continue;
                }
                assert_eq!(told, ["dismiss 10 unproven"], "{through} over {protocol:?}");
                // The right one is let in all the same.
                story.protocol = first(through);
                let told = story.dials(11, 1, outcome);
                assert!(told.iter().any(|it| it == "accept 11"), "{told:?}");
            }
        }
    }
}

#[test]
fn a_standby_of_one_kind_serves_no_client_that_wants_another() {
    for (kept, wanted) in [
        (TunnelType::Tls, TunnelType::Ipsec),
        (TunnelType::Tls, TunnelType::IpsecOrTls),
        (TunnelType::IpsecOrTls, TunnelType::Ipsec),
        (TunnelType::Ipsec, TunnelType::Tls),
        (TunnelType::Tls, TunnelType::Quic),
        (TunnelType::Quic, TunnelType::Tls),
        (TunnelType::Quic, TunnelType::IpsecOrTls),
    ] {
        let mut story = wanting(kept);
        story.protocol = first(kept);
        assert_eq!(story.dials(10, 1, Outcome::NotTried).last().unwrap(), "open 10 for 1");
        story.opened(10, Outcome::Refused);
        story.through = wanted;
        assert_eq!(
            story.arrives(2),
            ["ring 2 by route 0 #1 for 2"],
            "{wanted} with a standby of {kept}"
        );
        story.through = kept;
        assert_eq!(story.arrives(3), ["open 10 for 3"]);
    }
}

#[test]
fn that_there_can_be_no_tunnel_is_a_refusal_for_all_who_want_it_and_never_a_tunnel() {
    for (through, protocol) in [
        (TunnelType::Ipsec, Protocol::Tls),
        (TunnelType::Ipsec, Protocol::Ipsec),
        (TunnelType::Quic, Protocol::Tls),
        (TunnelType::Quic, Protocol::Quic),
    ] {
        let mut story = wanting(through);
        story.arrives_for(2, 1);
        story.protocol = protocol;
        let told = story.dials(10, 1, Outcome::NoTunnel);
        let unawaited = if through == TunnelType::Ipsec { "unawait 1 " } else { "" };
        let ended = "cancel 1 refuse 1 RB-NO-TUNNEL refuse 2 RB-NO-TUNNEL accept 10 close 10";
        assert_eq!(told.join(" "), format!("{unawaited}{ended}"));
        assert_eq!(story.until(400), NOTHING, "and nobody is rung again");
    }
}

#[test]
fn a_ring_whose_dial_back_cannot_be_awaited_is_a_refusal_for_all_who_want_it() {
    let mut story = wanting(TunnelType::Ipsec);
    story.arrives_for(2, 1);
    let told = story.event(Event::NoTunnel { ring: RingId(1) });
    let refused = ["refuse 1 RB-NO-TUNNEL", "refuse 2 RB-NO-TUNNEL"];
    assert_eq!(told, ["unawait 1", "cancel 1", refused[0], refused[1]]);
    assert_eq!(story.until(400), NOTHING);
    assert_eq!(story.event(Event::NoTunnel { ring: RingId(1) }), NOTHING, "things cross");
}

#[test]
fn whoever_there_is_no_room_for_has_come_at_a_busy_time_and_nobody_else() {
    let mut story = wanting(TunnelType::Ipsec);
    story.source = [198, 51, 100, 7].into();
    story.arrives_for(2, 1);
    let told = story.event(Event::NoRoom { ring: RingId(1) });
    assert_eq!(told, ["unawait 1", "refuse 1 RB-BUSY", "ring 2 by route 0 #1 for 2, service 1"]);
    assert_eq!(story.event(Event::NoRoom { ring: RingId(1) }), NOTHING, "things cross");
    // No other route is tried, no bearer is to blame, and there was no call to be told of.
    assert_eq!(story.event(Event::NoRoom { ring: RingId(2) }), ["unawait 2", "refuse 2 RB-BUSY"]);
    assert_eq!(story.until(60), NOTHING);
}

#[test]
fn what_has_left_before_there_was_no_room_is_answered() {
    let mut story = wanting(TunnelType::Ipsec);
    story.event(Event::RingProgressed { ring: RingId(1), progress: Progress::Submitted });
    assert_eq!(story.until(9), ["8: ring 2 by route 0 #2 for 1"]);
    assert_eq!(story.event(Event::NoRoom { ring: RingId(2) }), ["unawait 2"]);
    assert_eq!(story.until(20), NOTHING);
    story.protocol = Protocol::Ipsec;
    let told = story.dials(10, 1, Outcome::Connected);
    assert!(told.iter().any(|it| it == "accept 10"), "{told:?}");
}

#[test]
fn what_is_prepared_for_ipsec_is_of_no_use_once_nobody_can_answer() {
    for (through, _) in TunnelType::ALL {
        let mut story = wanting(through);
        story.until(10);
        let told = story.leaves(1);
        let unawaits = told.iter().filter(|it| it.starts_with("unawait")).count();
        let rung = if through.permits(Protocol::Ipsec) { 2 } else { 0 };
        assert_eq!(unawaits, rung, "{through}: {told:?}");
    }
}
