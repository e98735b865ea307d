//! Dialing back: what the private proxy's dialer makes of the signals it hears.
//!
//! Time is virtual and the disk is whoever writes the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod flood;
mod sovereign;
mod story;

use std::time::Duration;

use ringback_proto::access_request::{
    AccessRequest, Kid, Malformed, OpeningKey, Purpose, SealingKey, hpke_public, next_epoch, seal,
};
use ringback_proto::dialer::{Command, DialId, DialOutcome, Event, Over, Rejection, Subscriber};
use ringback_proto::freshness::{ReplayWindow, Stale};
use ringback_proto::limits;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{CallNumber, Callee, MailAddress, ServiceId};

use story::*;

const KID: Kid = Kid(0x0bad_cafe);
const OTHER_KID: Kid = Kid(0x0bad_caff);
const ISSUED: u32 = 1_764_000_000;

#[test]
fn a_sound_signal_is_dialed_once_the_disk_knows_of_it() {
    let mut story = Story::new();
    story.hear(&request(1));
    let window = story.expect_remember();
    assert!(!ReplayWindow::from_octets(&window).unwrap().check(request(1).seq));
    story.expect_nothing();

    story.happens(Event::Remembered { kid: KID });
    let (_, verified) = story.expect_dial();
    let (_, keys) = sealed(&request(1));
    assert_eq!((verified.kid(), verified.request()), (KID, &request(1)));
    assert_eq!(*verified.keys(), keys);
    assert_eq!(*verified.allowed(), subscriber().public_proxies[0]);
    assert_eq!(verified.service(), Some(ServiceId(1)));
    assert_eq!(verified.signal_id(), keys.sid.signal_id());
    story.expect_nothing();
}

#[test]
fn a_signal_is_dialed_even_when_the_disk_is_full_and_the_counter_says_so() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    story.happens(Event::NotRemembered { kid: KID });
    story.expect_dial();
    assert_eq!(story.dialer.counters().not_remembered, 1);
    // Memory still knows.
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
}

#[test]
fn signals_that_come_while_the_disk_writes_wait_for_one_write_more() {
    let mut story = Story::new();
    story.hear(&request(1));
    let first = ReplayWindow::from_octets(&story.expect_remember()).unwrap();
    (2..=4).for_each(|seq| story.hear(&request(seq)));
    story.expect_nothing();
    assert!(first.check(request(2).seq));

    story.happens(Event::Remembered { kid: KID });
    let (_, verified) = story.expect_dial();
    assert_eq!(*verified.request(), request(1));
    let second = ReplayWindow::from_octets(&story.expect_remember()).unwrap();
    story.expect_nothing();
    assert!((2..=4).all(|seq| !second.check(request(seq).seq)));

    story.happens(Event::Remembered { kid: KID });
    (2..=4).for_each(|seq| assert_eq!(*story.expect_dial().1.request(), request(seq)));
    story.expect_nothing();
}

#[test]
fn a_duplicate_is_swallowed_whenever_it_comes() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
    story.happens(Event::Remembered { kid: KID });
    let (dial, _) = story.expect_dial();
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
    story.happens(dial_ended(dial, DialOutcome::Served));
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
    story.expect_nothing();
    assert_eq!((story.dialer.counters().replayed, story.dialer.counters().obeyed), (3, 1));
}

#[test]
fn a_replay_after_a_restart_is_swallowed_by_the_window_on_the_disk() {
    let mut story = Story::new();
    story.hear(&request(1));
    let disk = story.expect_remember();
    let window = ReplayWindow::from_octets(&disk).unwrap();

    let mut story = Story::of(vec![Subscriber { window, ..subscriber() }]);
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
    story.hear(&request(2));
    story.expect_remember();
}

#[test]
fn a_torn_window_is_noticed_and_an_empty_one_costs_one_useless_dial() {
    let mut story = Story::new();
    story.hear(&request(1));
    let mut disk = story.expect_remember();
    disk[100..].fill(0);
    assert!(ReplayWindow::from_octets(&disk).is_err());

    let mut story = Story::new();
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn what_is_no_signal_is_counted_and_nothing_else() {
    let mut story = Story::new();
    let (octets, _) = sealed(&request(1));
    let shapeless = |it| Rejection::Malformed(it);
    for octets in [&[][..], b"Your parcel is waiting", &octets[1..], &[&octets[..], &[0]].concat()]
    {
        story.hear_octets(octets);
        let Some(Command::Reject { rejection, kid: None }) = story.dialer.poll_command() else {
            panic!("{octets:?}")
        };
        assert!([shapeless(Malformed::Length), shapeless(Malformed::Version)].contains(&rejection));
    }
    let mut forged = octets;
    forged[50] ^= 1;
    story.hear_octets(&forged);
    story.expect_rejection(Rejection::Malformed(Malformed::Sealed));
    story.expect_counters(|it| {
        it.shapeless = 4;
        it.sealed = 1;
    });
}

#[test]
fn an_unknown_key_id_is_not_obeyed() {
    let mut story = Story::of(vec![]);
    story.hear(&request(1));
    story.expect_rejection(Rejection::UnknownKid);
    story.expect_counters(|it| it.unknown_kid = 1);
}

#[test]
fn a_suite_that_is_not_the_keys_is_not_even_opened() {
    let mut story = Story::new();
    let key = SealingKey { hpke_public: Some(hpke_public(&Secret::new([5; 32]))), ..sealing_key() };
    let (signal, _) = seal(&request(1), &key, [1; 32]).unwrap();
    // More than may be opened in vain: what is not opened takes nothing from that.
    for _ in 0..=limits::OPENED_IN_VAIN_PER_KID.tokens {
        story.hear_octets(signal.octets());
        story.expect_rejection(Rejection::Suite);
    }
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn the_default_suite_is_obeyed_too() {
    let private = Secret::new([5; 32]);
    let key = OpeningKey { hpke_private: Some(private.clone()), ..subscriber().key };
    let mut story = Story::of(vec![Subscriber { key, ..subscriber() }]);
    let key = SealingKey { hpke_public: Some(hpke_public(&private)), ..sealing_key() };
    let (signal, _) = seal(&request(1), &key, [1; 32]).unwrap();
    story.hear_octets(signal.octets());
    story.obeyed();
}

#[test]
fn a_public_proxy_that_is_not_in_the_table_is_not_dialed() {
    let mut story = Story::new();
    // Somebody else, another port, v6, ourselves.
    for address in
        ["192.0.2.9:443", "192.0.2.10:444", "[2001:db8::1]:443", "127.0.0.1:443", "[::1]:443"]
    {
        let public_proxy = address.parse().unwrap();
        story.hear(&AccessRequest { public_proxy, ..request(1) });
        story.expect_rejection(Rejection::ForeignProxy);
    }
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn a_signal_for_another_terminal_is_not_obeyed() {
    let mut story = Story::new();
    let number = Callee::Number(CallNumber::parse("+15550100778").unwrap());
    let mail = Callee::Mail(MailAddress::parse("bus@fleet.example").unwrap());
    for callee in [number, mail] {
        story.hear(&AccessRequest { callee, ..request(1) });
        story.expect_rejection(Rejection::WrongCallee);
    }
    let callee = Callee::Mail(MailAddress::parse("car@fleet.example").unwrap());
    story.hear(&AccessRequest { callee, ..request(1) });
    story.obeyed();
}

#[test]
fn an_unknown_service_is_not_dialed_for() {
    let mut story = Story::new();
    story.hear(&AccessRequest { service: ServiceId(3), ..request(1) });
    story.expect_rejection(Rejection::UnknownService);
    story.expect_counters(|it| it.unknown_service = 1);
}

#[test]
fn an_expired_signal_and_one_from_the_future_are_not_obeyed() {
    let mut story = Story::new();
    story.unix_seconds = u64::from(ISSUED) + 60 + 661;
    story.hear(&request(1));
    story.expect_rejection(Rejection::Stale(Stale::Expired(Duration::from_secs(1))));
    story.unix_seconds = u64::from(ISSUED) - 661;
    story.hear(&request(1));
    story.expect_rejection(Rejection::Stale(Stale::NotYet(Duration::from_secs(1))));

    // What was not obeyed was not recorded either: with the clocks right, it is obeyed.
    story.unix_seconds = u64::from(ISSUED) + 60 + 660;
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn a_clock_that_was_never_set_judges_nothing() {
    let mut story = Story::new();
    (story.unix_seconds, story.synchronized) = (0, false);
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn an_unreachable_public_proxy_is_dialed_again_a_few_times() {
    let mut story = Story::new();
    story.hear(&request(1));
    let (dial, first) = story.obeyed();
    for pause in limits::DIAL_AGAIN {
        story.happens(dial_ended(dial, DialOutcome::Unreachable));
        // Told once more: no dial is under way that could end.
        story.happens(dial_ended(dial, DialOutcome::Gone));
        story.expect_nothing();
        assert_eq!(story.dialer.poll_timeout(), Some(story.now + pause));
        story.passes(pause - Duration::from_nanos(1));
        story.expect_nothing();
        story.passes(Duration::from_nanos(1));
        assert_eq!(story.expect_dial(), (dial, first.clone()));
    }
    story.happens(dial_ended(dial, DialOutcome::Unreachable));
    assert_eq!(story.dialer.poll_timeout(), None);
    assert_eq!(story.dialer.counters().given_up, 1);
}

#[test]
fn only_an_unreachable_public_proxy_is_dialed_again() {
    for outcome in [DialOutcome::Served, DialOutcome::Gone, DialOutcome::Refused] {
        let mut story = Story::new();
        story.hear(&request(1));
        let (dial, _) = story.obeyed();
        story.happens(dial_ended(dial, outcome));
        assert_eq!(story.dialer.poll_timeout(), None, "{outcome:?}");
        // Told once too often: nothing to do with it.
        story.happens(dial_ended(dial, DialOutcome::Unreachable));
        assert_eq!(story.dialer.poll_timeout(), None, "{outcome:?}");
        let counters = story.dialer.counters();
        assert_eq!(counters.served + counters.gone + counters.refused, 1, "{outcome:?}");
    }
}

#[test]
fn nothing_is_dialed_again_once_the_request_has_expired() {
    let mut story = Story::new();
    story.hear(&AccessRequest { ttl_seconds: 3, ..request(1) });
    let (dial, _) = story.obeyed();
    story.happens(dial_ended(dial, DialOutcome::Unreachable));
    story.passes(limits::DIAL_AGAIN[0]);
    story.expect_dial();
    // The next dial would be at the fourth second.
    story.happens(dial_ended(dial, DialOutcome::Unreachable));
    assert_eq!(story.dialer.poll_timeout(), None);
    assert_eq!(story.dialer.counters().given_up, 1);
}

#[test]
fn a_disk_that_never_answers_holds_a_request_no_longer_than_it_lives() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    story.hear(&request(2));
    assert_eq!(story.dialer.poll_timeout(), Some(story.now + Duration::from_secs(60)));
    story.passes(Duration::from_secs(60));
    assert_eq!(story.dialer.counters().given_up, 2);
    story.happens(Event::Remembered { kid: KID });
    story.expect_nothing();
}

#[test]
fn a_probe_and_a_spare_dial_back_without_a_service() {
    let mut story = Story::new();
    let probe = AccessRequest { purpose: Purpose::Probe, service: ServiceId(999), ..request(1) };
    story.hear(&probe);
    assert_eq!(story.obeyed().1.service(), None);
    story.ring(&request(2), Over::Tunnel { spare: true });
    let (_, verified) = story.obeyed();
    assert!(verified.spare() && verified.service().is_none());
    story.ring(&request(3), Over::Tunnel { spare: false });
    assert_eq!(story.obeyed().1.service(), Some(ServiceId(1)));
}

#[test]
fn a_cancel_drops_what_waits_and_needs_no_disk() {
    let mut story = Story::new();
    // One is under way, one waits for its next try, one for the disk; one is somebody else's.
    for seq in 1..=2 {
        story.hear(&request(seq));
        let (dial, _) = story.obeyed();
        if seq == 2 {
            story.happens(dial_ended(dial, DialOutcome::Unreachable));
        }
    }
    story.hear(&request(3));
    story.expect_remember();
    story.hear(&request(4));
    for seq in 1..=3 {
        story.hear(&cancel(10 + seq, &sealed(&request(seq)).1));
        story.expect_nothing();
    }
    assert_eq!(story.dialer.counters().cancelled, 3);

    story.happens(dial_ended(DialId(1), DialOutcome::Unreachable));
    story.passes(Duration::from_secs(5));
    story.expect_nothing();
    story.happens(Event::Remembered { kid: KID });
    story.expect_remember();
    story.happens(Event::Remembered { kid: KID });
    assert_eq!(*story.expect_dial().1.request(), request(4));
    story.expect_nothing();
}

#[test]
fn a_cancel_of_another_key_id_cancels_nothing() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    let cancel = cancel(2, &sealed(&request(1)).1);
    story.hear_octets(&sealed_by(OTHER_KID, &cancel).0);
    story.happens(Event::Remembered { kid: KID });
    story.expect_dial();
    assert_eq!(story.dialer.counters().cancelled, 0);
}

#[test]
fn too_many_dials_on_their_way_drop_the_newest() {
    let mut story = Story::new();
    let many = limits::DIALS_PER_KID as u32;
    for seq in 1..=many {
        story.ring(&request(seq), Over::Tunnel { spare: false });
        story.obeyed();
    }
    story.ring(&request(many + 1), Over::Tunnel { spare: false });
    story.expect_rejection(Rejection::Busy);

    // Not obeyed, so not recorded: it may be heard again when there is room.
    story.happens(dial_ended(DialId(1), DialOutcome::Served));
    story.ring(&request(many + 1), Over::Tunnel { spare: false });
    story.obeyed();
}

#[test]
fn a_stopping_private_proxy_dials_nothing_new() {
    let mut story = Story::new();
    story.hear(&request(1));
    let (dial, _) = story.obeyed();
    story.hear(&request(2));
    story.expect_remember();
    story.happens(Event::Stopping);
    story.happens(Event::Remembered { kid: KID });
    story.happens(dial_ended(dial, DialOutcome::Unreachable));
    story.passes(limits::DIAL_AGAIN[0]);
    story.expect_nothing();
    story.hear(&request(3));
    story.expect_rejection(Rejection::Stopping);
}

#[test]
fn after_a_timeout_the_next_one_is_later() {
    let mut story = Story::new();
    let mut fired = 0;
    for seq in 1..=20 {
        story.ring(&request(seq), Over::Tunnel { spare: false });
        let (dial, _) = story.obeyed();
        story.happens(dial_ended(dial, DialOutcome::Unreachable));
        story.passes(Duration::from_millis(u64::from(seq) * 37));
        while let Some(command) = story.dialer.poll_command() {
            let Command::Dial { dial, .. } = command else { panic!("{command:?}") };
            story.happens(dial_ended(dial, DialOutcome::Unreachable));
        }
    }
    while let Some(at) = story.dialer.poll_timeout() {
        story.passes(at.saturating_duration_since(story.now));
        fired += 1;
        while let Some(command) = story.dialer.poll_command() {
            let Command::Dial { dial, .. } = command else { panic!("{command:?}") };
            story.happens(dial_ended(dial, DialOutcome::Unreachable));
        }
    }
    assert!(0 < fired);
    assert_eq!(story.dialer.counters().given_up, 20);
}

#[test]
fn who_stays_through_a_reload_keeps_what_was_obeyed() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    story.dialer.resubscribe(vec![subscriber()]);
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
    story.happens(Event::Remembered { kid: KID });
    story.expect_dial();
}

#[test]
fn who_goes_in_a_reload_is_not_dialed_for_any_more() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    story.happens(Event::Remembered { kid: KID });
    let (dial, _) = story.expect_dial();
    story.happens(dial_ended(dial, DialOutcome::Unreachable));
    story.dialer.resubscribe(Vec::new());
    story.passes(limits::DIAL_AGAIN[0]);
    story.expect_nothing();
    story.hear(&request(2));
    story.expect_rejection(Rejection::UnknownKid);
}

#[test]
fn who_goes_and_comes_again_while_the_disk_writes_keeps_what_was_obeyed() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    // Both times the file that the role reads is the one from before.
    story.dialer.resubscribe(Vec::new());
    story.dialer.resubscribe(Vec::new());
    story.dialer.resubscribe(vec![subscriber()]);
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);

    // Nor is there a second write beside the one under way.
    story.hear(&request(2));
    story.expect_nothing();
    story.happens(Event::Remembered { kid: KID });
    let window = ReplayWindow::from_octets(&story.expect_remember()).unwrap();
    assert!(!window.check(request(1).seq) && !window.check(request(2).seq));
    story.happens(Event::Remembered { kid: KID });
    assert_eq!(*story.expect_dial().1.request(), request(2));
    story.expect_nothing();
}

#[test]
fn who_comes_again_after_the_disk_has_written_is_believed_to_the_disk() {
    let mut story = Story::new();
    story.hear(&request(1));
    let window = ReplayWindow::from_octets(&story.expect_remember()).unwrap();
    story.dialer.resubscribe(Vec::new());
    story.happens(Event::Remembered { kid: KID });
    story.dialer.resubscribe(vec![Subscriber { window, ..subscriber() }]);
    story.hear(&request(1));
    story.expect_rejection(Rejection::Replayed);
    story.hear(&request(2));
    story.obeyed();
}

#[test]
fn a_signal_of_a_later_epoch_turns_the_ratchet_and_an_old_one_is_still_obeyed_for_a_while() {
    let mut story = Story::new();
    let chain: Vec<SealingKey> =
        std::iter::successors(Some(sealing_key()), |key| Some(next_epoch_of(key)))
            .take(140)
            .collect();
    let hear = |story: &mut Story, epoch: usize, seq: u32| {
        let (signal, _) = seal(&request(seq), &chain[epoch], [seq as u8; 32]).unwrap();
        story.hear_octets(signal.octets());
    };
    hear(&mut story, 5, 1);
    let Some(Command::Adopt { kid: KID, ratchet }) = story.dialer.poll_command() else {
        panic!("not adopted");
    };
    assert_eq!((ratchet.epoch(), ratchet.psk()), (5, &chain[5].psk));
    assert_eq!(ratchet.previous(), [chain[4].psk.clone(), chain[3].psk.clone()]);
    story.obeyed();
    // What was under way when it turned.
    hear(&mut story, 3, 2);
    story.obeyed();
    // What is erased does not open; nor what is too far ahead.
    for (epoch, seq) in [(2, 3), (134, 4)] {
        hear(&mut story, epoch, seq);
        story.expect_rejection(Rejection::Malformed(Malformed::Sealed));
    }

    // A file that is read again before the turn was written does not turn back.
    story.dialer.resubscribe(vec![subscriber()]);
    hear(&mut story, 4, 5);
    story.obeyed();
}

fn next_epoch_of(key: &SealingKey) -> SealingKey {
    SealingKey { epoch: key.epoch.wrapping_add(1), psk: next_epoch(&key.psk), ..key.clone() }
}

#[test]
fn a_forged_epoch_turns_nothing() {
    let mut story = Story::new();
    let mut forged = sealed(&request(1)).0;
    forged[5] = 100;
    story.hear_octets(&forged);
    story.expect_rejection(Rejection::Malformed(Malformed::Sealed));
    story.hear(&request(1));
    story.obeyed();
}
