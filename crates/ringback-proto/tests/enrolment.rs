//! Enrolment: the code as people write it, the frames as the protocol prints them, and which
//! addresses a public proxy may not send anybody to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use hmac::{Hmac, KeyInit, Mac};
use ringback_proto::access_request::Kid;
use ringback_proto::enrolment::{Code, Mistyped, Offer, OfferKey, REFUSED, Redeem, Word};
use ringback_proto::hello::Garbled;
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::{CallNumber, Callees, MailAddress, ServiceId, TerminalName};
use sha2::Sha256;

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
const EXPORTER: [u8; 32] = [0x55; 32];

#[test]
fn a_code_is_read_as_it_was_written_and_as_people_write_it() {
    let text = code().to_text();
    assert!(PROTOCOL.contains(text.as_str()), "{}", *text);
    assert_eq!(Code::parse(&text), Ok(code()));
    let sloppy = text.to_lowercase().replace('-', " \n").replace('0', "o").replace('1', "l");
    assert_eq!(Code::parse(&sloppy.replacen("rbel", "rbe1", 1)), Ok(code()));
    let v6 = Code { address: "[2001:db8::1]:7443".parse().unwrap(), ..code() };
    assert_eq!(Code::parse(&v6.to_text()), Ok(v6));
}

#[test]
fn every_single_wrong_letter_and_every_swap_is_told() {
    let text = code().to_text().replace('-', "");
    for at in 4..text.len() {
        for letter in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars() {
            let mut letters: Vec<char> = text.chars().collect();
            if std::mem::replace(&mut letters[at], letter) == letter {
                continue;
            }
            let wrong: String = letters.into_iter().collect();
            assert_eq!(Code::parse(&wrong), Err(Mistyped::Checksum), "{wrong}");
        }
        let mut letters: Vec<char> = text.chars().collect();
        if at + 1 < letters.len() && letters[at] != letters[at + 1] {
            letters.swap(at, at + 1);
            let wrong: String = letters.into_iter().collect();
            assert_eq!(Code::parse(&wrong), Err(Mistyped::Checksum), "{wrong}");
        }
    }
}

#[test]
fn what_is_no_code_says_why() {
    let text = code().to_text();
    assert_eq!(Code::parse(""), Err(Mistyped::Mark));
    assert_eq!(Code::parse("RBxyz"), Err(Mistyped::Mark));
    assert_eq!(Code::parse(&text[..text.len() - 1]), Err(Mistyped::Length(115)));
    assert_eq!(Code::parse(&format!("{}00", *text)), Err(Mistyped::Length(118)));
    assert_eq!(Code::parse(&text.replacen("-", "-é", 1)), Err(Mistyped::Letter('é')));
    assert_eq!(Code::parse(&format!("RBE1{}", "0".repeat(1_000_000))), Err(Mistyped::Length(232)));
    let nowhere = Code { address: "0.0.0.0:7443".parse().unwrap(), ..code() };
    assert_eq!(Code::parse(&nowhere.to_text()), Err(Mistyped::Content));
    let portless = Code { address: "192.0.2.1:0".parse().unwrap(), ..code() };
    assert_eq!(Code::parse(&portless.to_text()), Err(Mistyped::Content));
}

#[test]
fn a_code_does_not_print_its_secret() {
    let shown = format!("{:?}", code());
    assert!(!shown.contains("170") && !shown.contains("aa"), "{shown}");
}

#[test]
fn the_frames_are_the_published_ones_and_read_back() {
    let key = OfferKey::of(&code().secret);
    let hpke = Some([0x22; 32]);
    let mac = key.confirm_redeem(hpke.as_ref(), &EXPORTER);
    let redeem = Redeem { id: key.id, mac, hpke_public: hpke };
    assert_eq!(redeem.encode().to_vec(), golden("redeem"));
    assert_eq!(Redeem::decode(&redeem.encode()), Ok(redeem.clone()));
    let alone = Redeem { hpke_public: None, ..redeem };
    assert_eq!(Redeem::decode(&alone.encode()), Ok(alone));

    let octets = offer().encode(&key, &EXPORTER);
    assert_eq!(octets, golden("offer"));
    let read = Offer::decode(&octets, &key, &EXPORTER).unwrap().unwrap();
    assert_eq!(read, (Some(offer()), octets.len()));
    assert_eq!(Offer::decode(&REFUSED, &key, &EXPORTER), Ok(Some((None, 2))));
    let psk = key.psk(offer().kid, &EXPORTER);
    let hex: String = psk.expose().iter().map(|it| format!("{it:02x}")).collect();
    assert!(PROTOCOL.contains(&hex), "{hex}");
}

#[test]
fn an_offer_is_believed_only_whole_and_of_whoever_knows_the_code_on_this_tunnel() {
    let key = OfferKey::of(&code().secret);
    let octets = offer().encode(&key, &EXPORTER);
    for length in 0..octets.len() {
        assert_eq!(Offer::decode(&octets[..length], &key, &EXPORTER), Ok(None), "{length}");
    }
    for bit in 16..octets.len() * 8 {
        let mut flipped = octets.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Offer::decode(&flipped, &key, &EXPORTER), Err(Garbled::Answer), "bit {bit}");
    }
    let other = OfferKey::of(&Secret::new([9; 16]));
    assert_eq!(Offer::decode(&octets, &other, &EXPORTER), Err(Garbled::Answer));
    assert_eq!(Offer::decode(&octets, &key, &[0x56; 32]), Err(Garbled::Answer));
    assert!(Offer::decode(&[0xff, 0xff], &key, &EXPORTER).is_err());
    assert!(Offer::decode(&[0, 1, 0], &key, &EXPORTER).is_err());
}

#[test]
fn more_than_an_offer_can_hold_is_left_out_and_the_largest_fits() {
    let key = OfferKey::of(&code().secret);
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    let much = Offer {
        name: TerminalName::parse(&long).unwrap(),
        callees: Callees::new(
            Some(CallNumber::parse("+123456789012345").unwrap()),
            Some(MailAddress::parse(&format!("{}@b", "a".repeat(252))).unwrap()),
        )
        .unwrap(),
        services: (0..300).map(|id| (ServiceId(id), 80 + id)).collect(),
        addresses: vec!["[2001:db8::1]:443".parse().unwrap(); 20],
        ..offer()
    };
    let octets = much.encode(&key, &EXPORTER);
    let (read, _) = Offer::decode(&octets, &key, &EXPORTER).unwrap().unwrap();
    let read = read.unwrap();
    assert_eq!((read.services.len(), read.addresses.len()), (64, 8));
    assert_eq!((read.name, read.callees), (much.name, much.callees));
}

#[test]
fn a_terminal_of_either_address_alone_can_be_offered_and_one_of_neither_cannot() {
    let key = OfferKey::of(&code().secret);
    let (number, mail) = (offer().callees.number().cloned(), offer().callees.mail().cloned());
    for callees in [Callees::new(number, None), Callees::new(None, mail)] {
        let offered = Offer { callees: callees.unwrap(), ..offer() };
        let octets = offered.encode(&key, &EXPORTER);
        let (read, _) = Offer::decode(&octets, &key, &EXPORTER).unwrap().unwrap();
        assert_eq!(read, Some(offered));
    }
    // A body with neither, as only whoever knows the code can say it.
    let name = b"a.b";
    let body = [&[0, 0, 0, 1, 0, 0, 3, 0, 1], &name[..], &[1; 18]].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.key.expose()).unwrap();
    [b"o", &key.id.0[..], &EXPORTER, &body].iter().for_each(|it| mac.update(it));
    let said = [&[0, 32 + body.len() as u8], &mac.finalize().into_bytes()[..], &body].concat();
    assert_eq!(Offer::decode(&said, &key, &EXPORTER), Err(Garbled::Answer));
    let numbered = [&[0, 0, 0, 1, 1, 0, 3, 0, 1], &b"7"[..], name, &[1; 18]].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.key.expose()).unwrap();
    [b"o", &key.id.0[..], &EXPORTER, &numbered].iter().for_each(|it| mac.update(it));
    let said = [&[0, 32 + numbered.len() as u8], &mac.finalize().into_bytes()[..], &numbered];
    assert!(Offer::decode(&said.concat(), &key, &EXPORTER).is_ok(), "the test says it well");
}

#[test]
fn a_word_is_one_octet_and_no_other_octet_is_one() {
    let words = (0..=255).filter_map(|it| Word::decode([it]).ok()).map(|it| it as u8);
    assert_eq!(words.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_secret_its_proofs_and_the_key_made_with_it_all_differ_by_tunnel_code_and_key_id() {
    let (one, other) = (OfferKey::of(&Secret::new([1; 16])), OfferKey::of(&Secret::new([2; 16])));
    assert_ne!(one.id, other.id);
    assert_ne!(one.psk(Kid(1), &EXPORTER), other.psk(Kid(1), &EXPORTER));
    assert_ne!(one.psk(Kid(1), &EXPORTER), one.psk(Kid(2), &EXPORTER));
    assert_ne!(one.psk(Kid(1), &EXPORTER), one.psk(Kid(1), &[0x56; 32]));
    assert_ne!(one.confirm_redeem(None, &EXPORTER), one.confirm_redeem(None, &[0x56; 32]));
    assert_ne!(one.confirm_redeem(None, &EXPORTER), one.confirm_redeem(Some(&[0; 32]), &EXPORTER));
}

#[test]
fn an_independent_script_makes_what_the_protocol_prints() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors.py");
    let ran = std::process::Command::new("python3").args([script, "enrolment"]).output();
    let Some(made) = ran.ok().filter(|it| it.status.success()) else {
        let required = std::env::var("RINGBACK_PEERS").is_ok_and(|it| it == "require");
        assert!(!required, "python3 with cryptography is required");
        return eprintln!("skipped: no python3 with the package cryptography");
    };
    let made = String::from_utf8(made.stdout).unwrap();
    assert_eq!(made.lines().count(), 9);
    made.lines().for_each(|it| assert!(PROTOCOL.contains(it), "{it}"));
}

fn code() -> Code {
    let secret = Secret::new(std::array::from_fn(|at| 0xa0 + at as u8));
    Code {
        address: "192.0.2.10:7443".parse().unwrap(),
        public_key: PublicKey::of_raw([0x11; 32]),
        secret,
    }
}

fn offer() -> Offer {
    Offer {
        kid: Kid(0x0bad_cafe),
        callees: Callees::new(
            Some(CallNumber::parse("+15550100777").unwrap()),
            Some(MailAddress::parse("car@fleet.example").unwrap()),
        )
        .unwrap(),
        name: TerminalName::parse("patient.ring.example").unwrap(),
        services: vec![(ServiceId(1), 80), (ServiceId(2), 22)],
        addresses: vec!["192.0.2.10:7443".parse().unwrap()],
    }
}

/// A frame as `docs/protocol.md` prints it.
fn golden(name: &str) -> Vec<u8> {
    let fence = format!("```enrolment {name}\n");
    let (_, frame) = PROTOCOL.split_once(&fence).unwrap_or_else(|| panic!("{name} is not printed"));
    let (frame, _) = frame.split_once("```").unwrap();
    let digits: String =
        frame.lines().map(|line| line.split('#').next().unwrap().replace(' ', "")).collect();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}
