//! The body of a message that an operator delivers: whatever its coding says, it holds a signal, a
//! receipt or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::access_request::find;
use ringback_proto::smpp::pdu::Message;
use ringback_proto::smpp::{content, receipt};

fuzz_target!(|octets: &[u8]| {
    let [esm_class, data_coding, content @ ..] = octets else { return };
    let message = Message {
        esm_class: *esm_class,
        data_coding: *data_coding,
        content: content.to_vec(),
        ..Message::default()
    };
    if receipt::is_receipt(&message) {
        let _ = receipt::parse(&message);
    }
    let Ok(heard) = content::unwrap(&message) else { return };
    if let Some(signal) = find(&heard) {
        assert_eq!(find(signal.to_text().as_bytes()).as_ref(), Some(&signal));
        assert_eq!(find(signal.octets()).as_ref(), Some(&signal));
    }
});
