//! A flood of signals that nobody sealed: it earns nothing, costs a bounded part of the machine, and
//! keeps nobody out.

use std::time::Duration;

use ringback_proto::access_request::{Kid, Malformed, OpeningKey, SealingKey, hpke_public, seal};
use ringback_proto::dialer::{Command, DialOutcome, Over, Rejection, Subscriber};
use ringback_proto::limits;
use ringback_proto::secret::Secret;

use crate::story::*;
use crate::{KID, OTHER_KID};

/// What an operator's link carries at its busiest.
const A_SECOND: u32 = 1_000;
/// How many forgeries pass between two honest signals: more than a dial's share of the time.
const HONEST_EACH: u32 = 10_000;

#[test]
fn forgeries_earn_nothing_and_keep_no_honest_signal_out() {
    flood(30_000);
}

#[test]
#[ignore = "opens a million seals, which takes minutes without optimization"]
fn a_million_forgeries_earn_nothing_and_keep_no_honest_signal_out() {
    flood(1_000_000);
}

fn flood(forgeries: u32) {
    let private = Secret::new([5; 32]);
    let key = OpeningKey { hpke_private: Some(private.clone()), ..subscriber().key };
    let mut story = Story::of(vec![Subscriber { key, ..subscriber() }]);
    let key = SealingKey { hpke_public: Some(hpke_public(&private)), ..sealing_key() };
    let (recorded, _) = seal(&request(1), &key, [1; 32]).unwrap();
    story.hear_octets(recorded.octets());
    story.obeyed();

    let (mut chance, mut obeyed) = (Chance(6), 1);
    let begun = cpu();
    for number in 0..forgeries {
        story.hear_octets(&chance.forge(recorded.octets()));
        let told = story.dialer.poll_command();
        assert!(matches!(told, Some(Command::Reject { .. })), "{number}: {told:?}");
        story.expect_nothing();
        if number % HONEST_EACH == 0 {
            let request = request(2 + number / HONEST_EACH);
            story.hear_octets(seal(&request, &key, [2; 32]).unwrap().0.octets());
            let (dial, verified) = story.obeyed();
            assert_eq!(*verified.request(), request, "after {number} forgeries");
            story.happens(dial_ended(dial, DialOutcome::Served));
            obeyed += 1;
        }
        story.passes(Duration::from_secs(1) / A_SECOND);
    }
    let took = cpu() - begun;
    let counters = story.dialer.counters();
    eprintln!("{forgeries} forgeries took {took:?} of a core: {counters:?}");
    assert_eq!(counters.obeyed, obeyed);
    let dropped = counters.sealed + counters.shapeless + counters.unknown_kid + counters.suite;
    assert_eq!(dropped + counters.replayed, u64::from(forgeries));
    assert!(u64::from(forgeries) / 2 < counters.sealed, "most were worth opening");
}

#[test]
fn a_flood_beyond_what_the_machine_affords_is_not_opened() {
    let mut story = Story::new();
    let mut forged = sealed(&request(1)).0;
    forged[50] ^= 1;
    let affordable = limits::OPENED_IN_VAIN_PER_KID.tokens;
    for _ in 0..affordable {
        story.hear_octets(&forged);
        story.expect_rejection(Rejection::Malformed(Malformed::Sealed));
    }
    story.hear(&request(1));
    story.expect_rejection(Rejection::TooMany);

    // Another key id has its own share, and a thousandth of a second makes room for one more.
    story.hear_octets(&sealed_by(OTHER_KID, &request(1)).0);
    story.expect_remember();
    story.passes(limits::OPENED_IN_VAIN_PER_KID.per / affordable);
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn many_key_ids_together_are_opened_in_vain_no_oftener_than_the_machine_affords() {
    let kids = (0..4).map(|it| Kid(KID.0 ^ it << 8));
    let subscribers = kids.clone().map(|kid| {
        let key = OpeningKey { kid, ..subscriber().key };
        Subscriber { key, ..subscriber() }
    });
    let mut story = Story::of(subscribers.collect());
    for _ in 0..limits::OPENED_IN_VAIN_PER_KID.tokens {
        for kid in kids.clone() {
            let mut forged = sealed_by(kid, &request(1)).0;
            forged[50] ^= 1;
            story.hear_octets(&forged);
            story.dialer.poll_command();
        }
    }
    assert_eq!(story.dialer.counters().sealed, u64::from(limits::OPENED_IN_VAIN.tokens));
}

#[test]
fn a_sound_signal_that_is_heard_again_and_again_is_opened_no_oftener_either() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.obeyed();
    let most = limits::OPENED_IN_VAIN_PER_KID.tokens;
    for _ in 0..most {
        story.hear(&request(1));
        story.expect_rejection(Rejection::Replayed);
    }
    story.hear(&request(1));
    story.expect_rejection(Rejection::TooMany);
}

#[test]
fn three_key_ids_whose_signals_are_forged_keep_no_honest_one_out_by_bearers() {
    rogues(Over::Bearer);
}

#[test]
fn a_public_proxy_that_floods_its_tunnels_keeps_no_honest_signal_out() {
    rogues(Over::Tunnel { spare: false });
}

#[test]
fn a_public_proxy_that_floods_its_tunnels_keeps_no_signal_of_those_terminals_out_by_bearers() {
    let mut story = Story::new();
    let mut forged = sealed(&request(1)).0;
    forged[50] ^= 1;
    for _ in 0..2 * limits::OPENED_IN_VAIN_PER_KID.tokens {
        story.hear_octets_over(&forged, Over::Tunnel { spare: false });
        while story.dialer.poll_command().is_some() {}
    }
    story.hear(&request(1));
    story.obeyed();
    let most = u64::from(limits::OPENED_IN_VAIN_BY_TUNNEL_PER_KID.tokens);
    assert_eq!(story.dialer.counters().sealed, most);
}

fn rogues(over: Over) {
    let kids = (1..4).map(|it| Kid(KID.0 ^ it << 8));
    let rogue = kids.clone().map(|kid| {
        let key = OpeningKey { kid, ..subscriber().key };
        Subscriber { key, ..subscriber() }
    });
    let mut story = Story::of(rogue.chain([subscriber()]).collect());
    let forged = kids.map(|kid| {
        let mut forged = sealed_by(kid, &request(1)).0;
        forged[50] ^= 1;
        forged
    });
    let forged: Vec<_> = forged.collect();
    // 4,000 a second of each rogue; an honest one comes every 200 ms for two seconds after the first.
    let (mut kept_out, mut honest) = (0, 0);
    for step in 0..12_000_u32 {
        for signal in &forged {
            story.hear_octets_over(signal, over);
            while story.dialer.poll_command().is_some() {}
        }
        if 4_000 <= step && step % 800 == 0 {
            honest += 1;
            story.ring(&request(100 + honest), over);
            match story.dialer.poll_command() {
                Some(Command::Reject { rejection: Rejection::TooMany, .. }) => kept_out += 1,
                _ => while story.dialer.poll_command().is_some() {},
            }
        }
        story.passes(Duration::from_secs(1) / 4_000);
    }
    assert_eq!(kept_out, 0, "of {honest} honest signals");
}

/// What this thread has had of a core.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// SplitMix64: small, seeded, good enough for garbage.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ it >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ it >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ it >> 31
    }

    /// Of a signal's length: random behind a known key id, or one that was recorded and then spoiled.
    fn forge(&mut self, recorded: &[u8]) -> Vec<u8> {
        let mut forged = recorded.to_vec();
        let kind = self.next() % 8;
        match kind {
            0..4 => forged[5..].fill_with(|| self.next() as u8),
            4..7 => {
                for _ in 0..=self.next() % 3 {
                    let at = self.next() as usize % forged.len();
                    forged[at] ^= 1 << (self.next() % 8);
                }
            }
            _ => forged.fill_with(|| self.next() as u8),
        }
        forged
    }
}
