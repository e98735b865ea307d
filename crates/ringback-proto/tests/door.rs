//! The client's door: golden octets, the same as in the documentation, and what is not accepted.

use std::path::Path;
use std::time::Duration;

use ringback_proto::door::{Reply, Request, Told, Want};
use ringback_proto::hello::{Garbled, SessionId};
use ringback_proto::limits::CODE_OCTETS;
use ringback_proto::refusal::Refusal;
use ringback_proto::terminal::{ServiceId, TerminalName};

#[test]
fn every_golden_frame_of_the_documentation_is_what_is_written() {
    let requests = [request(Want::Connect, Some(2)), request(Want::Knock, None)];
    let written: Vec<Vec<u8>> =
        requests.iter().map(Request::encode).chain(replies().iter().map(Reply::encode)).collect();
    assert_eq!(golden(), written);
}

#[test]
fn everything_is_read_as_it_was_written_however_it_is_cut() {
    for request in [request(Want::Connect, Some(0)), request(Want::Knock, None)] {
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
    assert_eq!(decode(&[3, 0, 0, 1]), Garbled::Kind(3));
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
    ]
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
