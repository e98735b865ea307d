//! A message out of any octets: what is read can be written, and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::modem::tpdu::Pdu;

fuzz_target!(|octets: &[u8]| {
    if let Ok(line) = std::str::from_utf8(octets) {
        let _ = Pdu::from_line(line);
    }
    let Ok(pdu) = Pdu::decode(octets) else { return };
    let Ok((written, length)) = pdu.encode() else { return };
    assert!(length < written.len());
    assert_eq!(Pdu::decode(&written), Ok(pdu));
});
