//! The access request in the hands of strangers: whatever they change, cut or invent is refused,
//! and nothing that they send makes a reader fall over.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;

use ringback_proto::access_request::{
    AccessRequest, Kid, Malformed, OpeningKey, Purpose, Ratchet, SealingKey, Signal, TunnelType,
    Unsealable, find, hpke_public, kid_of, open, seal,
};
use ringback_proto::limits;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{CallNumber, Callee, MailAddress, ServiceId};

#[test]
fn every_flipped_bit_of_both_suites_is_refused() {
    for hpke in [false, true] {
        let (signal, key) = sealed(hpke);
        let mut refused = 0;
        for bit in 0..signal.octets().len() * 8 {
            let mut octets = signal.octets().to_vec();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&octets, &key).is_err(), "bit {bit}, hpke {hpke}");
            refused += 1;
        }
        assert_eq!(refused, if hpke { 880 } else { 752 });
    }
}

#[test]
fn every_other_length_is_refused_before_it_is_opened() {
    for hpke in [false, true] {
        let (signal, key) = sealed(hpke);
        let known = signal.octets().len();
        let mut octets = signal.octets().to_vec();
        octets.resize(known + 32, 0);
        for length in (0..octets.len()).filter(|it| *it != known) {
            // Eight octets more is a mail form's length, and fails at the seal.
            let expected = if length == known + 8 { Malformed::Sealed } else { Malformed::Length };
            assert_eq!(open(&octets[..length], &key), Err(expected), "{length}, hpke {hpke}");
        }
    }
}

#[test]
fn every_other_version_octet_is_refused_for_its_version() {
    for hpke in [false, true] {
        let (signal, key) = sealed(hpke);
        let own = signal.octets()[0];
        for first in (0..=255).filter(|it| *it != own) {
            let mut octets = signal.octets().to_vec();
            octets[0] = first;
            let expected = match first {
                0x11 | 0x12 => Malformed::Length,
                _ => Malformed::Version,
            };
            assert_eq!(open(&octets, &key), Err(expected), "{first:#x}");
        }
    }
}

#[test]
fn a_signal_opens_with_the_one_key_it_was_sealed_for() {
    let (psk, psk_key) = sealed(false);
    let (hpke, hpke_key) = sealed(true);
    assert_eq!(open(psk.octets(), &hpke_key), Err(Malformed::Version));
    assert_eq!(open(hpke.octets(), &psk_key), Err(Malformed::Version));

    for (signal, key) in [(psk, psk_key), (hpke, hpke_key)] {
        assert!(open(signal.octets(), &key).is_ok());
        let other = OpeningKey { psk: Ratchet::new(0, Secret::new([1; 32])), ..key.clone() };
        assert_eq!(open(signal.octets(), &other), Err(Malformed::Sealed));
        if key.hpke_private.is_some() {
            let other = OpeningKey { hpke_private: Some(Secret::new([1; 32])), ..key.clone() };
            assert_eq!(open(signal.octets(), &other), Err(Malformed::Sealed));
            let other = OpeningKey { kid: Kid(1), ..key };
            assert_eq!(open(signal.octets(), &other), Err(Malformed::Sealed));
        }
    }
}

#[test]
fn every_changed_character_is_refused() {
    for hpke in [false, true] {
        let (signal, key) = sealed(hpke);
        let text = signal.to_text();
        assert_eq!(text.len(), if hpke { 149 } else { 128 });
        for at in 0..text.len() {
            // All of them at the two ends, where the mark and the fill bits are; some in between.
            let edge = at < 12 || text.len() - 12 < at;
            let step = if edge { 1 } else { 29 };
            for other in (0..=255u8).step_by(step).filter(|it| *it != text.as_bytes()[at]) {
                let mut changed = text.clone().into_bytes();
                changed[at] = other;
                let opened = find(&changed).map(|it| open(it.octets(), &key));
                assert!(!matches!(opened, Some(Ok(_))), "character {at} as {other:#x}");
            }
        }
    }
}

#[test]
fn fill_bits_that_are_not_zero_are_not_found() {
    for hpke in [false, true] {
        let mut text = sealed(hpke).0.to_text().into_bytes();
        let last = text.len() - 1;
        text[last] += 1;
        assert_eq!(find(&text), None);
    }
}

#[test]
fn a_text_form_is_found_among_what_gateways_add() {
    let mails = ["a@b.cd", "car@fleet.example"].map(mail);
    for signal in [sealed(false).0, sealed(true).0].into_iter().chain(mails) {
        let text = signal.to_text();
        let wrapped: Vec<&str> =
            text.as_bytes().chunks(76).map(|it| std::str::from_utf8(it).unwrap()).collect();
        for message in [
            text.clone(),
            format!("{text}\r\n"),
            format!("RBE RBEE RB {text}"),
            format!("FROM HERBERT: {text} Sent with FreeSMS, reply STOP to end"),
            format!("HERBERT SAYS {text}.\r\n--\r\nThis was sent to you by mistake or on purpose"),
            format!("Subject: x\r\n\r\n{}\r\n", wrapped.join("\r\n")),
            format!("\u{e9}{text}\u{e9}"),
        ] {
            assert_eq!(find(message.as_bytes()).as_ref(), Some(&signal), "{message}");
        }
    }
}

#[test]
fn a_text_form_in_shreds_or_glued_to_other_text_is_found() {
    for signal in [sealed(false).0, sealed(true).0] {
        let text = signal.to_text();
        let shreds: String = text.chars().flat_map(|it| [it, '\r', '\n', ' ']).collect();
        for message in
            [shreds, format!("HERBERT{text}"), format!("{text}Sent"), format!("x{text}Sent")]
        {
            assert_eq!(find(message.as_bytes()).as_ref(), Some(&signal), "{message}");
        }
    }
}

#[test]
fn a_binary_form_is_found_alone_and_whole_only() {
    let (signal, _) = sealed(true);
    assert_eq!(find(signal.octets()).as_ref(), Some(&signal));
    assert_eq!(find(&[signal.octets(), &[0]].concat()), None);
    assert_eq!(find(&signal.octets()[1..]), None);
}

#[test]
fn what_stands_behind_the_searched_part_of_a_message_is_not_seen() {
    let text = sealed(true).0.to_text();
    let before = |room: usize| format!("{}{text}", ".".repeat(limits::MESSAGE_OCTETS - room));
    assert!(find(before(text.len()).as_bytes()).is_some());
    assert_eq!(find(before(text.len() - 1).as_bytes()), None);
}

#[test]
fn a_request_that_the_other_end_would_refuse_is_not_sealed() {
    let (key, _) = keys(false);
    let refused = |change: fn(&mut AccessRequest), field| {
        let mut request = request();
        change(&mut request);
        let result = seal(&request, &key, [3; 32]).map(|_| ());
        assert_eq!(result, Err(Unsealable::Field(field)));
    };
    refused(|it| it.ttl_seconds = 0, "time to live");
    refused(|it| it.ttl_seconds = 3601, "time to live");
    refused(|it| it.public_proxy.set_port(0), "port");
    for address in ["0.0.0.0", "[::]", "[::192.0.2.1]", "[::ffff:192.0.2.1]", "[fe80::1%7]"] {
        let public_proxy = format!("{address}:443").parse().unwrap();
        let request = AccessRequest { public_proxy, ..request() };
        let result = seal(&request, &key, [3; 32]).map(|_| ());
        assert_eq!(result, Err(Unsealable::Field("address")), "{address}");
    }
}

#[test]
fn a_public_key_of_low_order_seals_nothing() {
    let key = SealingKey { hpke_public: Some([0; 32]), ..keys(true).0 };
    assert_eq!(seal(&request(), &key, [3; 32]).map(|_| ()), Err(Unsealable::Key));
}

#[test]
fn what_is_sealed_is_what_is_opened() {
    let numbers = ["+1", "+15550100777", "+123456789012345"];
    let longest = format!("{}@b", "a".repeat(252));
    let addresses = ["a@b.cd", "a@b.cde", "car@fleet.example", &longest];
    let numbers = numbers.map(|it| Callee::Number(CallNumber::parse(it).unwrap()));
    let addresses = addresses.map(|it| Callee::Mail(MailAddress::parse(it).unwrap()));
    let proxies = ["192.0.2.1:1", "[2001:db8::1]:65535", "[::1]:443", "127.0.0.1:443"];
    for callee in numbers.into_iter().chain(addresses) {
        for (at, public_proxy) in proxies.map(|it| it.parse().unwrap()).into_iter().enumerate() {
            let purpose = [Purpose::Access, Purpose::Cancel, Purpose::Probe][at % 3];
            let tunnel = [TunnelType::Tls, TunnelType::Ipsec, TunnelType::Quic][at % 3];
            let callee = callee.clone();
            let request = AccessRequest { purpose, tunnel, public_proxy, callee, ..request() };
            let (sealing, opening) = keys(at == 0);
            let (signal, keys) = seal(&request, &sealing, [at as u8; 32]).unwrap();
            assert_eq!(open(signal.octets(), &opening), Ok((request, keys)));
            assert!(signal.octets().len() <= 512);
            assert_eq!(Signal::from_octets(signal.octets()).as_ref(), Ok(&signal));
            assert_eq!(find(signal.to_text().as_bytes()), Some(signal));
        }
    }
}

#[test]
fn fields_out_of_their_range_are_refused_under_a_good_seal() {
    let mail = Some("car@fleet.example");
    let hostile: [(Option<&str>, usize, u8, &str); 24] = [
        (None, 0, 0, "message type"),
        (None, 0, 4, "message type"),
        (None, 1, 0, "tunnel type"),
        (None, 1, 2, "tunnel type"),
        (None, 1, 6, "tunnel type"),
        (None, 10, 0xff, "time to live"),
        (None, 11, 0, "time to live"),
        (None, 15, 0, "port"),
        // 192.0.2.1 as ::fffe:… is a v6 address like any other; as ::… it is none.
        (None, 26, 0xfe, ""),
        (None, 32, 0x0f, "call number"),
        (None, 32, 0xff, "call number"),
        (None, 32, 0xb0, "call number"),
        (None, 33, 0xa5, "call number"),
        (None, 32, 0xa1, "form"),
        (None, 32, 0xc1, "call number"),
        (None, 39, 0xf0, "form"),
        (mail, 0, 9, "message type"),
        (mail, 32, 0x11, "form"),
        (mail, 56, 0, "mail address"),
        (mail, 57, 0, "mail address"),
        (mail, 57, 255, "mail address"),
        (mail, 57, 16, "form"),
        (mail, 58, b' ', "mail address"),
        (mail, 127, 1, "form"),
    ];
    for (mail, at, octet, field) in hostile {
        let callee = mail.map(|it| Callee::Mail(MailAddress::parse(it).unwrap()));
        let mut request = request();
        request.public_proxy.set_port(1);
        request.callee = callee.unwrap_or(request.callee);
        let (signal, key) = resealed(&request, at, octet);
        let opened = open(&signal, &key).map(|_| ());
        let expected = if field.is_empty() { Ok(()) } else { Err(Malformed::Field(field)) };
        assert_eq!(opened, expected, "octet {at} = {octet:#x}");
    }
}

#[test]
fn nothing_that_strangers_invent_is_opened_or_makes_a_reader_fall_over() {
    let mut chance = Chance(7);
    let (psk, key) = sealed(false);
    let seeds = [psk, sealed(true).0, mail("car@fleet.example")];
    let texts = seeds.each_ref().map(Signal::to_text);
    let mut found = 0;
    for round in 0..200_000 {
        let seed = chance.below(seeds.len());
        let mut octets = match chance.below(4) {
            0 => (0..chance.below(150)).map(|_| chance.octet()).collect(),
            1 => seeds[seed].octets().to_vec(),
            _ => texts[seed].clone().into_bytes(),
        };
        for _ in 0..chance.below(4) {
            chance.mutate(&mut octets);
        }
        let candidate = find(&octets);
        found += usize::from(candidate.is_some());
        let _ = kid_of(&octets);
        // Seals are flipped bit by bit above: here, one in four will do.
        let Some(candidate) = candidate.filter(|_| round % 4 == 0) else { continue };
        let opened = open(candidate.octets(), &key);
        assert!(opened.is_err() || seeds.contains(&candidate), "round {round}");
    }
    assert!(20_000 < found, "{found}");
}

#[test]
fn a_message_full_of_marks_is_searched_in_bounded_time() {
    // Counts as a hang only if it takes minutes: the work is bounded by the limit, squared.
    for word in ["RB", "RBE", "RBER ", "RBEgA", "RBEg RBER"] {
        let message = word.repeat(limits::MESSAGE_OCTETS);
        let _ = find(message.as_bytes());
    }
}

#[test]
fn nothing_of_a_signal_is_printed_but_its_length_and_its_key_id() {
    let (signal, _) = sealed(true);
    assert_eq!(format!("{signal:?}"), "Signal(110 octets, kid 0badcafe)");
}

fn sealed(hpke: bool) -> (Signal, OpeningKey) {
    let (sealing, opening) = keys(hpke);
    (seal(&request(), &sealing, [3; 32]).unwrap().0, opening)
}

fn mail(address: &str) -> Signal {
    let callee = Callee::Mail(MailAddress::parse(address).unwrap());
    seal(&AccessRequest { callee, ..request() }, &keys(false).0, [3; 32]).unwrap().0
}

fn keys(hpke: bool) -> (SealingKey, OpeningKey) {
    let (kid, psk) = (Kid(0x0bad_cafe), Secret::new([9; 32]));
    let hpke_private = hpke.then(|| Secret::new([5; 32]));
    let hpke_public = hpke_private.as_ref().map(hpke_public);
    (
        SealingKey { kid, epoch: 0, psk: psk.clone(), hpke_public },
        OpeningKey { kid, psk: Ratchet::new(0, psk), hpke_private },
    )
}

fn request() -> AccessRequest {
    AccessRequest {
        purpose: Purpose::Access,
        tunnel: TunnelType::Tls,
        seq: 64_000_000,
        issued: 1_764_000_000,
        ttl_seconds: 60,
        service: ServiceId(1),
        public_proxy: SocketAddr::from(([192, 0, 2, 1], 443)),
        callee: Callee::Number(CallNumber::parse("+15550100777").unwrap()),
        key: Secret::new([4; 16]),
    }
}

/// Seals a payload with one octet changed, as only a rogue holder of the key could.
///
/// A stream cipher needs no more for it than the keystream, but the tag wants the key: this is
/// suite 1 once more, without the checks.
fn resealed(request: &AccessRequest, at: usize, octet: u8) -> (Vec<u8>, OpeningKey) {
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    use chacha20poly1305::{ChaCha20Poly1305, Key};

    let (sealing, opening) = keys(false);
    let (signal, _) = seal(request, &sealing, [3; 32]).unwrap();
    let (header, rest) = signal.octets().split_at(6);
    let (salt, sealed) = rest.split_at(16);
    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), sealing.psk.expose())
        .expand_multi_info(&[b"rb1 aead", header], &mut key)
        .unwrap();
    let cipher = ChaCha20Poly1305::new(&Key::from(key));
    let nonce = [0; 12].into();
    let mut payload = cipher.decrypt(&nonce, Payload { msg: sealed, aad: header }).unwrap();
    payload[at] = octet;
    let sealed = cipher.encrypt(&nonce, Payload { msg: &payload, aad: header }).unwrap();
    ([header, salt, &sealed].concat(), opening)
}

/// SplitMix64: small, seeded, good enough to wander about.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ it >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ it >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ it >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn octet(&mut self) -> u8 {
        self.next() as u8
    }

    fn mutate(&mut self, octets: &mut Vec<u8>) {
        let at = self.below(octets.len() + 1);
        match self.below(5) {
            0 => octets.truncate(at),
            1 => octets.insert(at, self.octet()),
            2 => octets.extend_from_within(at..),
            3 => octets.insert(at, b" \r\nRBEg"[self.below(7)]),
            _ if at < octets.len() => octets[at] = self.octet(),
            _ => octets.push(0),
        }
        octets.truncate(600);
    }
}
