//! VICI: no octets make the decoder panic, and what it reads is written again alike in meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::vici::Packet;

fuzz_target!(|octets: &[u8]| {
    let Ok(Some((packet, used))) = Packet::decode(octets) else { return };
    assert!(used <= octets.len());
    let Ok(written) = packet.encode() else { return };
    assert_eq!(Packet::decode(&written), Ok(Some((packet, written.len()))));
});
