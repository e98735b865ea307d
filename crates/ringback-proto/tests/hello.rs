//! The tunnel's wire: golden octets, the same as in the documentation, and what is not accepted.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use ringback_proto::access_request::{SessionKeys, Sid};
use ringback_proto::frame;
use ringback_proto::gate::{Identity, Level};
use ringback_proto::hello::{
    Answer, Caller, ClientAddress, Garbled, Hello, Outcome, SessionId, ToPrivate, ToPublic,
    confirm_private, confirm_public,
};
use ringback_proto::limits::FRAME_OCTETS;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::ServiceId;

#[test]
fn every_golden_frame_of_the_documentation_is_what_is_written() {
    let documented = golden_in(&documentation());
    let written: Vec<(String, String)> =
        golden().into_iter().map(|(name, octets)| (name.to_owned(), hex(&octets))).collect();
    assert_eq!(documented, written);
}

#[test]
fn a_hello_and_an_answer_are_read_as_they_were_written() {
    for outcome in OUTCOMES {
        for bare in [false, outcome == Outcome::Connected] {
            let hello = Hello { sid: keys().sid, mac: [9; 32], outcome, bare };
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }
    }
    for answer in [Answer::Gone, Answer::Accepted { mac: [7; 32] }] {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
}

#[test]
fn an_unknown_outcome_or_answer_is_refused() {
    let hello = Hello { sid: keys().sid, mac: [9; 32], outcome: Outcome::Refused, bare: false };
    let mut hello = hello.encode();
    hello[48] = 8;
    assert_eq!(Hello::decode(&hello), Err(Garbled::Outcome(8)));
    // Only what is connected is carried bare.
    hello[48] = 0x81;
    assert_eq!(Hello::decode(&hello), Err(Garbled::Outcome(0x81)));
    assert_eq!(ToPublic::decode(&[0x81, 0, 1, 0x86]), Err(Garbled::Outcome(0x86)));

    let mut answer = Answer::Gone.encode();
    answer[32] = 1;
    assert_eq!(Answer::decode(&answer), Err(Garbled::Answer), "gone says nothing else");
    answer[0] = 2;
    assert_eq!(Answer::decode(&answer), Err(Garbled::Answer));
}

#[test]
fn every_frame_is_read_as_it_was_written_however_it_is_cut() {
    for frame in frames_to_private() {
        let mut octets = frame.encode().unwrap();
        for cut in 0..octets.len() {
            assert_eq!(ToPrivate::decode(&octets[..cut]), Ok(None), "{frame:?} cut at {cut}");
        }
        let used = octets.len();
        octets.extend(b"the session's own");
        assert_eq!(ToPrivate::decode(&octets), Ok(Some((frame, used))));
    }
    for frame in OUTCOMES.map(opened).into_iter().chain([BARE, ToPublic::Pong, ToPublic::Ready]) {
        let mut octets = frame.encode();
        for cut in 0..octets.len() {
            assert_eq!(ToPublic::decode(&octets[..cut]), Ok(None), "{frame:?} cut at {cut}");
        }
        let used = octets.len();
        octets.extend(b"the session's own");
        assert_eq!(ToPublic::decode(&octets), Ok(Some((frame, used))));
    }
}

#[test]
fn a_wrong_kind_or_length_is_told_from_the_head_alone() {
    let length = |kind, octets| Err(Garbled::Length { kind, octets });
    assert_eq!(ToPrivate::decode(&[0x03, 0xff, 0xff]), length(0x03, 0xffff));
    assert_eq!(ToPrivate::decode(&[0x04, 0x04, 0x01]), length(0x04, FRAME_OCTETS + 1));
    assert_eq!(ToPrivate::decode(&[0x03, 0, 0]), length(0x03, 0));
    for (kind, least) in [(0x01, 8 + 1 + 21), (0x02, 8 + 1 + 2 + 21)] {
        for wrong in [0, least - 1, least + 65] {
            assert_eq!(ToPrivate::decode(&[kind, 0, wrong]), length(kind, wrong.into()));
        }
    }
    assert_eq!(ToPrivate::decode(&[0x06, 0, 1]), length(0x06, 1));
    assert_eq!(ToPublic::decode(&[0x81, 0, 2]), ToPublic::decode(&[0x81, 0, 2, 0, 0]));
    assert!(ToPublic::decode(&[0x81, 0, 2]).is_err());
    for kind in 0..=255 {
        let (down, up) = (ToPrivate::decode(&[kind, 0xff, 0xff]), ToPublic::decode(&[kind, 9, 9]));
        assert!(down.is_err() && up.is_err(), "{kind}");
    }
    assert_eq!(ToPrivate::decode(&[0x81, 0, 1, 0]), Err(Garbled::Kind(0x81)), "not this way");
    assert_eq!(ToPublic::decode(&[0x06, 0, 0]), Err(Garbled::Kind(0x06)), "not this way");
}

#[test]
fn a_signal_that_no_frame_carries_is_not_written() {
    assert!(ToPrivate::Ring(vec![1; FRAME_OCTETS]).encode().is_ok());
    assert!(ToPrivate::Ring(vec![1; FRAME_OCTETS + 1]).encode().is_err());
    assert!(ToPrivate::Spare(vec![]).encode().is_err());
}

#[test]
fn a_client_address_has_one_form() {
    let mapped: SocketAddr = "[::ffff:192.0.2.7]:4242".parse().unwrap();
    assert_eq!(ClientAddress::from(mapped), client());

    let bound = |address: &[u8]| bound(&[address, &[0, 0]].concat());
    let v4 = [&[4][..], &[0; 10], &[0xff, 0xff, 192, 0, 2, 7, 0x10, 0x92]].concat();
    assert!(bound(&v4).is_ok());
    let v4_as_v6 = [&[6][..], &v4[1..]].concat();
    assert_eq!(bound(&v4_as_v6), Err(Garbled::Address));
    let v6_as_v4 = [&[4][..], &[0x20; 18]].concat();
    assert_eq!(bound(&v6_as_v4), Err(Garbled::Address));
    let not_nothing = [&[0; 18][..], &[1]].concat();
    assert_eq!(bound(&not_nothing), Err(Garbled::Address));
    assert_eq!(bound(&[&[5][..], &v4[1..]].concat()), Err(Garbled::Address));
}

#[test]
fn a_session_is_sealed_or_bare_and_nothing_between() {
    let mut frame = frames_to_private()[1].encode().unwrap();
    frame[3 + 8] = 2;
    assert_eq!(ToPrivate::decode(&frame), Err(Garbled::Carriage(2)));
}

#[test]
fn a_level_and_an_identity_have_one_form() {
    let caller = |rest: &[u8]| bound(&[&[0; 19][..], rest].concat());
    assert!(caller(&[0, 0]).is_ok());
    assert!(caller(&[5, 3, b'l', b'e', b'e']).is_ok());
    for wrong in [
        &[6, 0][..],
        &[0, 1],
        &[0, 0, b'l'],
        &[0, 2, b'l'],
        &[0, 1, b' '],
        &[0, 1, b'\n'],
        &[0, 2, 0xc3, 0xa4],
        &[0, 2, 0xff, 0xff],
    ] {
        assert_eq!(caller(wrong), Err(Garbled::Caller), "{wrong:?}");
    }
}

#[test]
fn a_code_is_for_one_role_one_session_and_one_tunnel() {
    let (keys, exporter) = (keys(), [0x55; 32]);
    let (private, public) = (confirm_private(&keys, &exporter), confirm_public(&keys, &exporter));
    assert_ne!(private, public);
    assert_ne!(private, confirm_private(&keys, &[0x56; 32]));

    let mut other = keys.clone();
    other.sid = Sid([0xaa; 16]);
    assert_ne!(private, confirm_private(&other, &exporter));

    let mut same = keys.clone();
    same.confirm_public = keys.confirm_private.clone();
    assert_ne!(private, confirm_public(&same, &exporter), "even under one key");
}

#[test]
fn a_session_id_is_sixteen_digits_and_an_address_is_not_printed() {
    assert_eq!(SessionId(0xbeef).to_string(), "000000000000beef");
    assert!(!format!("{:?}", client()).contains("192"));
}

const OUTCOMES: [Outcome; 7] = [
    Outcome::Connected,
    Outcome::Refused,
    Outcome::Unreachable,
    Outcome::Silent,
    Outcome::UnknownService,
    Outcome::NotTried,
    Outcome::NotGranted,
];

fn keys() -> SessionKeys {
    SessionKeys {
        sid: Sid(std::array::from_fn(|it| it as u8)),
        psk: Secret::new([0x22; 32]),
        confirm_private: Secret::new([0x33; 32]),
        confirm_public: Secret::new([0x44; 32]),
    }
}

fn client() -> ClientAddress {
    ClientAddress::from("192.0.2.7:4242".parse::<SocketAddr>().expect("an address"))
}

/// Reads a bound frame of session 0.
fn bound(caller: &[u8]) -> Result<Option<(ToPrivate, usize)>, Garbled> {
    let length = u8::try_from(9 + caller.len()).expect("a short body");
    ToPrivate::decode(&[&[0x01, 0, length][..], &[0; 9], caller].concat())
}

const BARE: ToPublic = ToPublic::Opened { outcome: Outcome::Connected, bare: true };

fn opened(outcome: Outcome) -> ToPublic {
    ToPublic::Opened { outcome, bare: false }
}

fn frames_to_private() -> Vec<ToPrivate> {
    let session = SessionId(0x0123_4567_89ab_cdef);
    let v6: SocketAddr = "[2001:db8::7]:4242".parse().expect("an address");
    let identity = Some(Identity::parse("dr-lee").expect("a name"));
    let nobody = |address| Caller { address, level: Level::Open, identity: None };
    let lee = Caller { address: v6.into(), level: Level::EndToEnd, identity };
    vec![
        ToPrivate::Bound { session, bare: false, caller: nobody(client()) },
        ToPrivate::Bound { session, bare: true, caller: nobody(ClientAddress::UNKNOWN) },
        ToPrivate::Open { session, bare: false, service: ServiceId(0x0102), caller: lee },
        ToPrivate::Ring(vec![0x11, 0xab, 0xcd]),
        ToPrivate::Spare(vec![0x12, 0xab]),
        ToPrivate::Standby,
        ToPrivate::Ping,
        ToPrivate::Close,
    ]
}

/// Every frame of the documentation: keys as in [`keys`], the exporter all 0x55.
fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let (keys, exporter) = (keys(), [0x55; 32]);
    let mac = confirm_private(&keys, &exporter);
    let hello = Hello { sid: keys.sid, mac, outcome: Outcome::Connected, bare: false };
    let accepted = Answer::Accepted { mac: confirm_public(&keys, &exporter) };
    let names = ["bound-v4", "bound-unknown", "open", "ring", "spare", "standby", "ping", "close"];
    let mut golden = vec![
        ("hello", hello.encode().to_vec()),
        ("answer-accepted", accepted.encode().to_vec()),
        ("answer-gone", Answer::Gone.encode().to_vec()),
    ];
    let frames = frames_to_private().into_iter().map(|it| it.encode().expect("a frame"));
    golden.extend(names.into_iter().zip(frames));
    golden.push(("opened", opened(Outcome::Connected).encode()));
    golden.push(("opened-bare", BARE.encode()));
    golden.push(("pong", ToPublic::Pong.encode()));
    golden.push(("ready", ToPublic::Ready.encode()));
    golden.push(("session", [&frame::head(5)[..], b"hello"].concat()));
    golden.push(("session-end", frame::END.to_vec()));
    golden.push(("session-ended", frame::ended(5).to_vec()));
    golden
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut hex, it| {
        let _ = write!(hex, "{it:02x}");
        hex
    })
}

fn documentation() -> String {
    let protocol = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    std::fs::read_to_string(protocol).expect("the protocol is documented")
}

/// Reads the blocks fenced as "```tunnel NAME": hex, and comments after `#`.
fn golden_in(text: &str) -> Vec<(String, String)> {
    let mut golden = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```tunnel ") else { continue };
        let block = lines.by_ref().take_while(|it| *it != "```");
        let octets = block.filter_map(|it| it.split('#').next());
        let octets: String = octets.flat_map(str::chars).filter(|it| !it.is_whitespace()).collect();
        golden.push((name.to_owned(), octets));
    }
    golden
}
