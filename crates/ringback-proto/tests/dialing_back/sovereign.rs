//! Whatever a signal says, even one sealed with the right keys: where it cannot send the private
//! proxy, with which tunnel, and how often.

use std::net::SocketAddr;
use std::time::Duration;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use ringback_proto::access_request::{
    AccessRequest, Malformed, OpeningKey, Protocol, Purpose, SealingKey, TunnelType, hpke_public,
    seal,
};
use ringback_proto::dialer::{
    Allowed, AllowedFleet, Command, DialOutcome, Event, Over, Rejection, Subscriber,
};
use ringback_proto::limits;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::ServiceId;
use sha2::Sha256;

use crate::KID;
use crate::story::*;

/// Every address there is, at one port.
fn whole_internet() -> Subscriber {
    let fleet = |text: &str| AllowedFleet { fleet: text.parse().unwrap(), public_proxy: 6 };
    Subscriber { fleets: vec![fleet("0.0.0.0/0:7443"), fleet("[::/0]:7443")], ..subscriber() }
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tls, Protocol::Ipsec, Protocol::Quic];

#[test]
fn a_fleet_is_dialed_in_its_network_at_its_port() {
    let mut story = Story::of(vec![whole_internet()]);
    for (seq, address) in (1..).zip(["203.0.113.9:7443", "[2001:db8::9]:7443"]) {
        let public_proxy: SocketAddr = address.parse().unwrap();
        story.hear(&AccessRequest { public_proxy, ..request(seq) });
        let (_, verified) = story.obeyed();
        let expected = Allowed { address: public_proxy, public_proxy: 6, listed: false };
        assert_eq!(*verified.allowed(), expected);
    }
    let public_proxy = "203.0.113.9:7444".parse().unwrap();
    story.hear(&AccessRequest { public_proxy, ..request(3) });
    story.expect_rejection(Rejection::ForeignProxy);
}

#[test]
fn not_even_the_whole_internet_has_an_address_of_the_inside() {
    let mut story = Story::of(vec![whole_internet()]);
    for address in [
        "127.0.0.1:7443",
        "[::1]:7443",
        "10.0.0.1:7443",
        "100.64.0.2:7443",
        "169.254.169.254:7443",
        "[fe80::1]:7443",
        "[ff02::1]:7443",
        "255.255.255.255:7443",
        "[fd00::1]:7443",
        "[64:ff9b::7f00:1]:7443",
    ] {
        let public_proxy = address.parse().unwrap();
        story.hear(&AccessRequest { public_proxy, ..request(1) });
        match story.dialer.poll_command() {
            Some(Command::Reject { rejection: Rejection::Forbidden(_), .. }) => {}
            other => panic!("{address}: {other:?}"),
        }
        story.expect_nothing();
    }
    assert_eq!(story.dialer.counters().forbidden, 10);
    story.hear(&request(1));
    story.obeyed();
}

#[test]
fn an_address_that_is_listed_by_itself_is_dialed_whatever_it_is() {
    let address = "127.0.0.1:7443".parse().unwrap();
    let listed = Allowed { address, public_proxy: 5, listed: true };
    let both = Subscriber { public_proxies: vec![listed.clone()], ..whole_internet() };
    let mut story = Story::of(vec![both]);
    story.hear(&AccessRequest { public_proxy: address, ..request(1) });
    assert_eq!(*story.obeyed().1.allowed(), listed);
}

#[test]
fn a_signal_and_the_table_can_each_narrow_the_tunnel_and_neither_can_widen_it() {
    let types = TunnelType::ALL.map(|(it, _)| it);
    for kept in types {
        for asked in types {
            for fleet in [false, true] {
                let subscriber = if fleet { whole_internet() } else { subscriber() };
                let services = [(ServiceId(1), kept)].into();
                let mut story = Story::of(vec![Subscriber { services, ..subscriber }]);
                let address = if fleet { "203.0.113.9:7443" } else { "192.0.2.10:443" };
                let public_proxy = address.parse().unwrap();
                story.hear(&AccessRequest { tunnel: asked, public_proxy, ..request(1) });
                let both = |it| kept.permits(it) && asked.permits(it);
                if !PROTOCOLS.into_iter().any(both) {
                    story.expect_rejection(Rejection::Tunnel);
                    continue;
                }
                let tunnel = story.obeyed().1.tunnel();
                for protocol in PROTOCOLS {
                    assert_eq!(tunnel.permits(protocol), both(protocol), "{kept} {asked}");
                }
            }
        }
    }
}

#[test]
fn what_reaches_no_service_is_dialed_for_by_tls_only() {
    for (tunnel, _) in TunnelType::ALL {
        let services = [(ServiceId(1), TunnelType::IpsecOrTls)].into();
        let mut story = Story::of(vec![Subscriber { services, ..subscriber() }]);
        story.hear(&AccessRequest { purpose: Purpose::Probe, tunnel, ..request(1) });
        if !tunnel.permits(Protocol::Tls) {
            story.expect_rejection(Rejection::Tunnel);
        } else {
            assert_eq!(story.obeyed().1.tunnel(), TunnelType::Tls);
        }
    }
}

#[test]
fn a_signal_cannot_choose_another_suite_than_its_keys() {
    let private = Secret::new([5; 32]);
    let (opens, seals) = (Some(private.clone()), Some(hpke_public(&private)));
    for kept in [None, opens] {
        for offered in [None, seals] {
            let key = OpeningKey { hpke_private: kept.clone(), ..subscriber().key };
            let mut story = Story::of(vec![Subscriber { key, ..subscriber() }]);
            let key = SealingKey { hpke_public: offered, ..sealing_key() };
            let sealed = seal(&request(1), &key, [1; 32]).unwrap().0.octets().to_vec();
            story.hear_octets(&sealed);
            if offered.is_some() == kept.is_some() {
                story.obeyed();
            } else {
                story.expect_rejection(Rejection::Suite);
            }

            // Every other version and suite, and the header of the one stripped to the other's.
            for first in (0..=255).filter(|it| *it != sealed[0]) {
                let mut altered = sealed.clone();
                altered[0] = first;
                story.hear_octets(&altered);
                let told = story.dialer.poll_command();
                assert!(matches!(told, Some(Command::Reject { .. })), "{first}: {told:?}");
                story.expect_nothing();
            }
        }
    }
}

#[test]
fn there_is_no_tunnel_type_but_the_four_that_encrypt() {
    let (good, _) = sealed(&request(1));
    for octet in 0..=255 {
        let mut story = Story::new();
        story.hear_octets(&with_tunnel(&good, octet));
        match octet {
            1 | 5 => drop(story.obeyed()),
            3 | 4 => story.expect_rejection(Rejection::Tunnel),
            _ => story.expect_rejection(Rejection::Malformed(Malformed::Field("tunnel type"))),
        }
    }
}

/// The same signal with another octet for the tunnel's type, sealed with the right key: what
/// `seal` cannot be made to write. Suite 1 as docs/protocol.md has it.
fn with_tunnel(signal: &[u8], octet: u8) -> Vec<u8> {
    let (header, salt) = (&signal[..6], &signal[6..22]);
    let hkdf = Hkdf::<Sha256>::new(Some(salt), sealing_key().psk.expose());
    let mut key = [0; 32];
    hkdf.expand_multi_info(&[b"rb1 aead", header], &mut key).unwrap();
    let cipher = ChaCha20Poly1305::new(&key.into());
    let opened = Payload { msg: &signal[22..], aad: header };
    let mut payload = cipher.decrypt(&[0; 12].into(), opened).unwrap();
    payload[1] = octet;
    let sealed = cipher.encrypt(&[0; 12].into(), Payload { msg: &payload, aad: header }).unwrap();
    [header, salt, &sealed].concat()
}

#[test]
fn sound_signals_by_bearers_earn_so_many_dials_a_minute_and_no_more() {
    let mut story = Story::new();
    let most = limits::DIALS_BY_BEARER.tokens;
    for seq in 1..=most {
        story.hear(&request(seq));
        let (dial, _) = story.obeyed();
        story.happens(dial_ended(dial, DialOutcome::Gone));
    }
    story.hear(&request(most + 1));
    story.expect_rejection(Rejection::TooManyDials);
    assert_eq!(story.dialer.counters().too_many_dials, 1);

    // Tunnels have a bound of their own, and time fills both.
    story.ring(&request(most + 2), Over::Tunnel { spare: false });
    story.obeyed();
    story.passes(limits::DIALS_BY_BEARER.per / most - Duration::from_millis(1));
    story.hear(&request(most + 1));
    story.expect_rejection(Rejection::TooManyDials);
    story.passes(Duration::from_millis(1));
    story.hear(&request(most + 1));
    story.obeyed();
}

#[test]
fn sound_signals_over_tunnels_earn_so_many_dials_a_minute_and_no_more() {
    let mut story = Story::new();
    let most = limits::DIALS_BY_TUNNEL.tokens;
    for seq in 1..=most {
        story.ring(&request(seq), Over::Tunnel { spare: seq % 2 == 0 });
        let (dial, _) = story.obeyed();
        story.happens(dial_ended(dial, DialOutcome::Served));
    }
    story.ring(&request(most + 1), Over::Tunnel { spare: false });
    story.expect_rejection(Rejection::TooManyDials);
    story.hear(&request(most + 1));
    story.obeyed();
}

#[test]
fn one_signal_costs_so_many_connections_and_no_more() {
    let mut story = Story::new();
    story.hear(&request(1));
    story.expect_remember();
    story.happens(Event::Remembered { kid: KID });
    let mut dials = 0;
    for _ in 0..60 {
        while let Some(command) = story.dialer.poll_command() {
            let Command::Dial { dial, .. } = command else { panic!("{command:?}") };
            dials += 1;
            story.happens(dial_ended(dial, DialOutcome::Unreachable));
        }
        story.passes(Duration::from_secs(1));
    }
    assert_eq!(dials, limits::DIALS_PER_SIGNAL);
}
