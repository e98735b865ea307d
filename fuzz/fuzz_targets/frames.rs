//! What is said in a tunnel: no octets make a decoder panic, and what it reads has one form, which is
//! written again to the octet. The frames of a session have heads of their own, read in a row.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::door::{Reply, Request};
use ringback_proto::frame::{ENDED_OCTETS, HEAD_OCTETS, decode_ended, ended, follow, head};
use ringback_proto::hello::{ANSWER_OCTETS, Answer, HELLO_OCTETS, Hello, ToPrivate, ToPublic};

fuzz_target!(|octets: &[u8]| {
    if let Some(hello) = octets.first_chunk::<HELLO_OCTETS>()
        && let Ok(read) = Hello::decode(hello)
    {
        assert_eq!(&read.encode(), hello);
    }
    if let Some(answer) = octets.first_chunk::<ANSWER_OCTETS>()
        && let Ok(read) = Answer::decode(answer)
    {
        assert_eq!(&read.encode(), answer);
    }
    if let Some(said) = octets.first_chunk::<ENDED_OCTETS>()
        && let Ok(carried) = decode_ended(said)
    {
        assert_eq!(&ended(carried), said);
    }
    in_a_row(octets, |rest| {
        let (frame, used) = ToPrivate::decode(rest).ok()??;
        Some((frame.encode().expect("what was read can be written"), used))
    });
    in_a_row(octets, |rest| {
        let (frame, used) = ToPublic::decode(rest).ok()??;
        Some((frame.encode(), used))
    });
    in_a_row(octets, |rest| {
        let (request, used) = Request::decode(rest).ok()??;
        Some((request.encode(), used))
    });
    in_a_row(octets, |rest| {
        let (reply, used) = Reply::decode(rest).ok()??;
        Some((reply.encode(), used))
    });
    a_session(octets);
});

/// Reads one after the other, as a tunnel is talked in.
fn in_a_row(octets: &[u8], again: impl Fn(&[u8]) -> Option<(Vec<u8>, usize)>) {
    let mut rest = octets;
    while let Some((written, used)) = again(rest) {
        assert!(0 < used && used <= rest.len());
        assert_eq!(written, &rest[..used]);
        rest = &rest[used..];
    }
}

/// Frames up to the direction's end; what is told of them is what they had.
fn a_session(octets: &[u8]) {
    let mut rest = octets;
    let mut carried = 0;
    while let Some((first, after)) = rest.split_first_chunk::<HEAD_OCTETS>() {
        let Ok(octets) = follow(*first) else { return };
        assert_eq!(head(octets), *first);
        if octets == 0 {
            assert_eq!(decode_ended(&ended(carried)), Ok(carried));
            return;
        }
        let Some(after) = after.get(octets..) else { return };
        carried += octets as u64;
        rest = after;
    }
}
