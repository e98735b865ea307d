//! The named providers against the examples of their documentation, written out.

use std::time::Duration;

use zeroize::Zeroizing;

use super::*;
use crate::sms_api::answer::{Answer, Outcome};
use crate::sms_api::template::Values;
use crate::sms_api::url::Url;

fn values(user: &str, password: &str, from: &str) -> Values {
    Values {
        to_digits: "15558675310".to_owned(),
        from: from.to_owned(),
        content: b"RB0-9*A z".to_vec(),
        udh: Vec::new(),
        validity: Duration::from_secs(60),
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
        message_id: String::new(),
    }
}

fn text(body: &Body, values: &Values) -> String {
    String::from_utf8(body.fill(values)).unwrap()
}

fn judged(api: Api, status: u16, body: &str) -> Outcome {
    let test = api.manner().unwrap().test;
    test.judge(&Answer { status, retry_after: Some("7"), field: None, body: body.as_bytes() })
}

#[test]
fn every_named_provider_has_a_manner_and_only_a_custom_one_has_not() {
    for api in Api::ALL {
        assert_eq!(api.manner().is_none(), api == Api::Custom, "{}", api.name());
        assert!(api.url().is_none_or(|it| Url::parse(it).is_ok_and(|it| it.secure)));
    }
}

#[test]
fn kannel_is_asked_as_its_user_s_guide_says() {
    let manner = Api::Kannel.manner().unwrap();
    let mut values = values("tester", "foo bar", "12345");
    assert_eq!(
        text(&manner.text, &values),
        "username=tester&password=foo%20bar&from=12345&to=%2B15558675310&validity=1&\
         text=RB0-9%2AA%20z"
    );
    values.content = vec![0x11, 0x00, 0xFF];
    values.udh = vec![0x06, 0x05, 0x04, 0x3E, 0x94, 0, 0];
    assert_eq!(
        text(&manner.binary.unwrap(), &values),
        "username=tester&password=foo%20bar&from=12345&to=%2B15558675310&validity=1&coding=1&\
         udh=%06%05%04%3E%94%00%00&text=%11%00%FF"
    );
    let taken = Outcome::Taken { message_id: String::new() };
    assert_eq!(judged(Api::Kannel, 202, "0: Accepted for delivery"), taken);
    assert_eq!(judged(Api::Kannel, 202, "3: Queued for later delivery"), taken);
    let refused = Outcome::Refused { reason: "status 403".into() };
    assert_eq!(judged(Api::Kannel, 403, "Authorization failed for sendsms"), refused);
    assert!(matches!(judged(Api::Kannel, 503, "Temporal failure"), Outcome::Later { .. }));
}

#[test]
fn twilio_is_asked_as_its_reference_says() {
    let manner = Api::Twilio.manner().unwrap();
    let values = values("ACXXXX", "token", "+15017122661");
    assert_eq!(
        text(&manner.text, &values),
        "To=%2B15558675310&From=%2B15017122661&ValidityPeriod=60&Body=RB0-9%2AA%20z"
    );
    let url = Url::parse(Api::Twilio.url().unwrap()).unwrap();
    assert_eq!(url.target(&values), "/2010-04-01/Accounts/ACXXXX/Messages.json");
    let created = r#"{"account_sid":"ACXXXX","error_code":null,"sid":"SM123","status":"queued"}"#;
    assert_eq!(judged(Api::Twilio, 201, created), Outcome::Taken { message_id: "SM123".into() });
    let number = r#"{"code":21211,"message":"Invalid 'To' Phone Number: +1555","status":400}"#;
    let refused = Outcome::Refused { reason: "status 400, code 21211".into() };
    assert_eq!(judged(Api::Twilio, 400, number), refused, "and no number in the reason");
    let many = r#"{"code":20429,"message":"Too Many Requests","status":429}"#;
    let retry_after = Some(Duration::from_secs(7));
    let later = Outcome::Later { reason: "status 429, code 20429".into(), retry_after };
    assert_eq!(judged(Api::Twilio, 429, many), later);
}

#[test]
fn vonage_is_asked_as_its_reference_says() {
    let manner = Api::Vonage.manner().unwrap();
    let mut values = values("abcd1234", "S3cr3t", "AcmeInc");
    assert_eq!(
        text(&manner.text, &values),
        "api_key=abcd1234&api_secret=S3cr3t&from=AcmeInc&to=15558675310&ttl=60000&\
         text=RB0-9%2AA%20z"
    );
    values.content = vec![0x11, 0x00, 0xFF];
    values.udh = vec![0x06, 0x05];
    assert_eq!(
        text(&manner.binary.unwrap(), &values),
        "api_key=abcd1234&api_secret=S3cr3t&from=AcmeInc&to=15558675310&ttl=60000&type=binary&\
         udh=0605&body=1100FF"
    );
    let message = |status: &str| {
        format!(
            r#"{{"message-count":"1","messages":[{{"to":"447700900000","message-id":"0A0","status":"{status}"}}]}}"#
        )
    };
    let judged = |body: &str| judged(Api::Vonage, 200, body);
    assert_eq!(judged(&message("0")), Outcome::Taken { message_id: "0A0".into() });
    assert!(matches!(judged(&message("1")), Outcome::Later { .. }), "throttled");
    let refused = Outcome::Refused { reason: "status 200, code 4".into() };
    assert_eq!(judged(&message("4")), refused, "invalid credentials");
    assert_eq!(judged("<html>"), Outcome::Unknown, "it may have taken it");
}

#[test]
fn emnify_is_asked_as_its_reference_says() {
    let manner = Api::Emnify.manner().unwrap();
    let expected = r#"{"payload":"RB0-9*A z","source_address":"12345"}"#;
    assert_eq!(text(&manner.text, &values("", "jwt", "12345")), expected);
    let location = Some("/api/v1/endpoint/166/sms/4711");
    let answer = Answer { status: 201, retry_after: None, field: location, body: b"" };
    assert_eq!(manner.test.judge(&answer), Outcome::Taken { message_id: "4711".into() });
    assert!(manner.binary.is_none());
}

#[test]
fn no_answer_can_break_the_judge() {
    let whole = br#"{"messages":[{"status":"0","message-id":"0A0"}],"sid":"SM1","code":7}"#;
    for api in Api::ALL {
        let Some(manner) = api.manner() else { continue };
        for end in 0..=whole.len() {
            for place in 0..end {
                let mut body = whole[..end].to_vec();
                body[place] = body[place].wrapping_add(u8::try_from(end).unwrap_or(1));
                for status in [0, 100, 200, 202, 302, 400, 429, 504, 599, 999] {
                    let retry_after = Some("99999999999999999999");
                    let answer = Answer { status, retry_after, field: Some("/"), body: &body };
                    let said = format!("{:?}", manner.test.judge(&answer));
                    assert!(said.len() < 256, "{said}");
                }
            }
        }
    }
}
