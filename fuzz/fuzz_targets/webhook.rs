//! What a provider posts and what it answers, or whoever says to be one: an SMS with a bounded number of
//! octets or none, and always a verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::access_request::find;
use ringback_proto::sms_api::answer::Answer;
use ringback_proto::sms_api::post::Fields;
use ringback_proto::sms_api::preset::Api;

const TYPES: [&str; 3] = ["application/x-www-form-urlencoded", "application/json", "text/plain"];

fuzz_target!(|octets: &[u8]| {
    let [kind, status, body @ ..] = octets else { return };
    let api = Api::ALL[usize::from(*kind) % Api::ALL.len()];
    let kind = TYPES[usize::from(*kind) / Api::ALL.len() % TYPES.len()];
    for fields in [Fields::of_body(kind, body), Fields::of_form(body)].into_iter().flatten() {
        let Ok(posted) = fields.sms(&api.names()) else { continue };
        assert!(posted.octets.len() <= body.len());
        let _ = find(&posted.octets);
    }
    let Some(manner) = api.manner() else { return };
    let status = 100 + 2 * u16::from(*status);
    let text = std::str::from_utf8(body).ok();
    let answer = Answer { status, retry_after: text, field: text, body };
    let _ = manner.test.judge(&answer);
});
