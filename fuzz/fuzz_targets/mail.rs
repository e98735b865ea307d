//! A mail as anybody may send one: it holds a text or none, and a signal or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::access_request::find;
use ringback_proto::limits::MAIL_BODY_OCTETS;
use ringback_proto::mail::text;

fuzz_target!(|octets: &[u8]| {
    let _ = text::sender(octets);
    let Some(said) = text::text(octets) else { return };
    assert!(said.len() <= 4 * MAIL_BODY_OCTETS.max(octets.len()));
    if let Some(signal) = find(&said) {
        assert_eq!(find(signal.to_text().as_bytes()), Some(signal));
    }
});
