//! The client's door: golden octets, the same as in the documentation, and what is not accepted.

use std::path::Path;
use std::time::Duration;

use ringback_proto::access_request::Signal;
use ringback_proto::door::{Errand, Reply, Request, Told, Want};
use ringback_proto::hello::{Garbled, SessionId};
use ringback_proto::limits::{CODE_OCTETS, ERRAND_OCTETS};
use ringback_proto::refusal::Refusal;
use ringback_proto::terminal::{CallNumber, Callee, MailAddress, ServiceId, TerminalName};

#[test]
fn every_golden_frame_of_the_documentation_is_what_is_written() {
    let requests = [
        request(Want::Connect, Some(2)),
        request(Want::Knock, None),
        request(Want::RingNumber, Some(2)),
    ];
    let written: Vec<Vec<u8>> =
        requests.iter().map(Request::encode).chain(replies().iter().map(Reply::encode)).collect();
    assert_eq!(golden(), written);
}

#[test]
fn everything_is_read_as_it_was_written_however_it_is_cut() {
    for want in [Want::Connect, Want::Knock, Want::RingNumber, Want::RingMail] {
        let request = request(want, Some(0));
        let octets = request.encode();
        for cut in 0..octets.len() {
            assert_eq!(Request::decode(&octets[..cut]), Ok(None), "{request:?} cut at {cut}");
        }
        let used = octets.len();
        let octets = [&octets[..], b"more"].concat();
        assert_eq!(Request::decode(&octets), Ok(Some((request, used))));
    }
    for reply in replies() {
        let octets = reply.encode();
        for cut in 0..octets.len() {
            assert_eq!(Reply::decode(&octets[..cut]), Ok(None), "{reply:?} cut at {cut}");
        }
        let used = octets.len();
        let octets = [&octets[..], b"the session's own"].concat();
        assert_eq!(Reply::decode(&octets), Ok(Some((reply, used))));
    }
}

#[test]
fn a_request_has_one_form_and_is_told_from_its_head() {
    let decode = |octets: &[u8]| Request::decode(octets).unwrap_err();
    assert_eq!(decode(&[0, 0, 0, 1]), Garbled::Kind(0));
    assert_eq!(decode(&[5, 0, 0, 1]), Garbled::Kind(5));
    assert_eq!(decode(&[1, 0, 0, 0]), Garbled::Length { kind: 1, octets: 0 });
    assert_eq!(decode(&[1, 0, 0, 254]), Garbled::Length { kind: 1, octets: 254 });
    for name in [&b"A.b"[..], b"a.b.", b"a b", b"\xff\xff", b"10.0.0.1"] {
        let head = [1, 0, 0, u8::try_from(name.len()).unwrap()];
        assert_eq!(decode(&[&head[..], name].concat()), Garbled::Name, "{name:?}");
    }
}

#[test]
fn a_reply_has_one_form() {
    let refused = |code: &[u8]| {
        let length = u8::try_from(4 + code.len()).unwrap();
        Reply::decode(&[&[0x94, 0, length, 0, 0, 0, 0][..], code].concat())
    };
    assert!(refused(b"RB-BUSY").is_ok());
    assert_eq!(refused(b"RB-\x1b[2J"), Err(Garbled::Code), "it is shown on a terminal");
    assert!(refused(b"").is_err() && refused(&[b'A'; CODE_OCTETS + 1]).is_err());
    for kind in 0..=255 {
        assert!(Reply::decode(&[kind, 0xff, 0xff]).is_err(), "{kind}");
    }
}

#[test]
fn the_longest_mail_address_and_the_longest_signal_fit_and_nothing_longer() {
    let address = format!("{}@fleet.example", "a".repeat(254 - 14));
    let to = Callee::Mail(MailAddress::parse(&address).unwrap());
    let longest = Signal::from_octets(&signal(0x12, 374)).unwrap();
    let reply = Reply::Ring(Errand { signal: longest, ..errand(to) });
    let octets = reply.encode();
    assert_eq!(octets.len(), 3 + ERRAND_OCTETS);
    assert_eq!(Reply::decode(&octets), Ok(Some((reply, octets.len()))));
    let more = u16::try_from(ERRAND_OCTETS + 1).unwrap().to_be_bytes();
    let refused = Reply::decode(&[0x95, more[0], more[1]]).unwrap_err();
    assert_eq!(refused, Garbled::Length { kind: 0x95, octets: ERRAND_OCTETS + 1 });
}

#[test]
fn a_signal_to_be_sent_has_one_form() {
    let ring = |head: &[u8], address: &[u8], signal: &[u8]| {
        let body = [head, &[address.len() as u8], address, signal].concat();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        Reply::decode(&[&[0x95][..], &length, &body].concat())
    };
    let (number, good) = (b"+15550100777", signal(0x11, 94));
    assert!(ring(&[0, 60, 1], number, &good).is_ok());
    let wrong = [
        ring(&[0, 0, 1], number, &good),
        ring(&[0x0e, 0x11, 1], number, &good),
        ring(&[0, 60, 0], number, &good),
        ring(&[0, 60, 2], number, &good),
        ring(&[0, 60, 1], b"15550100777", &good),
        ring(&[0, 60, 1], b"+1;rm", &good),
        ring(&[0, 60, 2], b"a@b\r\nBcc: c@d", &good),
        ring(&[0, 60, 1], b"\xff\xff", &good),
        ring(&[0, 60, 1], number, &good[1..]),
        ring(&[0, 60, 1], number, b"any other text that a client would send"),
        ring(&[0, 60, 1], number, b""),
        Reply::decode(&[0x95, 0, 4, 0, 60, 1, 200]),
    ];
    for (which, it) in wrong.into_iter().enumerate() {
        assert_eq!(it, Err(Garbled::Errand), "{which}");
    }
}

#[test]
fn every_refusal_is_heard_as_it_was_told() {
    let wait = Duration::from_secs(90);
    for refusal in Refusal::ALL {
        let refusal = Refusal::by_code(refusal.code(), wait).unwrap();
        let Ok(Some((Reply::Refused(told), _))) =
            Reply::decode(&Reply::Refused(refusal.into()).encode())
        else {
            panic!("{refusal:?} is not read");
        };
        assert_eq!((told.refusal(), told.retry), (Some(refusal), refusal.retry_after()));
    }
    let unknown = Told { code: "RB-LATER".into(), retry: None };
    assert_eq!(unknown.refusal(), None);
}

fn request(want: Want, service: Option<u16>) -> Request {
    let name = TerminalName::parse("car7.fleet.example").expect("a name");
    Request { want, service: service.map(ServiceId), name }
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Ringing(SessionId(0x0123_4567_89ab_cdef)),
        Reply::Accepted,
        Reply::Armed(Duration::from_secs(600)),
        Reply::Refused(Refusal::Busy.into()),
        Reply::Ring(errand(Callee::Number(CallNumber::parse("+15550100777").expect("a number")))),
    ]
}

fn errand(to: Callee) -> Errand {
    let signal = Signal::from_octets(&signal(0x11, 94)).expect("of a signal's form");
    Errand { to, valid_for: Duration::from_secs(60), signal }
}

/// Of a signal's form, and sealed by nobody.
fn signal(version: u8, octets: usize) -> Vec<u8> {
    let head = [version, 1, 2, 3, 4, 0].into_iter().chain(0..16);
    head.chain(std::iter::repeat(0x5e)).take(octets).collect()
}

/// Reads the blocks fenced as "```door NAME": hex, and comments after `#`.
fn golden() -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let text = std::fs::read_to_string(path).expect("the protocol is documented");
    let mut golden = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("```door ") {
            continue;
        }
        let block = lines.by_ref().take_while(|it| *it != "```");
        let digits: String = block.filter_map(|it| it.split('#').next()).collect();
        let digits: Vec<u8> = digits.bytes().filter(|it| !it.is_ascii_whitespace()).collect();
        let octet = |it: &[u8]| {
            let digits = str::from_utf8(it).expect("digits");
            u8::from_str_radix(digits, 16).expect("hexadecimal digits")
        };
        golden.push(digits.chunks(2).map(octet).collect());
    }
    golden
}
