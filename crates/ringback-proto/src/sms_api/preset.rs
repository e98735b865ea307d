//! The providers that are known by name: how each is asked, how it answers, what it posts.
//!
//! Written from their documentation; an account's own data is not here.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::answer::{Place, Says, Test};
use super::body::Body;
use super::post::Names;
use super::template::Misworded;

/// A provider, or one that the operator describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Kannel's `sendsms`, and its `sms-service` with a `get-url`.
    Kannel,
    /// Twilio's Messages resource.
    Twilio,
    /// Vonage's SMS API.
    Vonage,
    /// emnify's endpoint SMS.
    Emnify,
    /// Any other.
    Custom,
}

/// How an API is asked, but for where it is.
#[derive(Clone, Debug)]
pub struct Manner {
    /// By which method.
    pub method: Method,
    /// How the account is shown in the head.
    pub authorization: Authorization,
    /// What is said for a text.
    pub text: Body,
    /// What is said for octets; `None` if the API has texts only.
    pub binary: Option<Body>,
    /// How it says that it took a message.
    pub test: Test,
    /// The validity that it takes; what is outside becomes the nearest.
    pub validity: RangeInclusive<Duration>,
}

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The form is in the query.
    Get,
    /// The form is the body.
    Post,
    /// Nothing is said but the URL.
    Delete,
}

/// How an account is shown in a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Not there; perhaps by fields.
    None,
    /// User and password (RFC 7617).
    Basic,
    /// A token (RFC 6750).
    Bearer,
}

impl Api {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Kannel, Self::Twilio, Self::Vonage, Self::Emnify, Self::Custom];

    /// What configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kannel => "kannel",
            Self::Twilio => "twilio",
            Self::Vonage => "vonage",
            Self::Emnify => "emnify",
            Self::Custom => "custom",
        }
    }

    /// Where it is, if it is at one place for everybody.
    pub fn url(self) -> Option<&'static str> {
        match self {
            Self::Twilio => Some("https://api.twilio.com/2010-04-01/Accounts/{user}/Messages.json"),
            Self::Vonage => Some("https://rest.nexmo.com/sms/json"),
            Self::Kannel | Self::Emnify | Self::Custom => None,
        }
    }

    /// Where a message is taken back, behind the URL; `None` where it cannot be.
    pub fn cancel(self) -> Option<(Method, &'static str)> {
        match self {
            Self::Emnify => Some((Method::Delete, "/{message_id}")),
            Self::Kannel | Self::Twilio | Self::Vonage | Self::Custom => None,
        }
    }

    /// How it is asked; `None` if only its operator knows.
    pub fn manner(self) -> Option<Manner> {
        let manner = match self {
            Self::Kannel => kannel(),
            Self::Twilio => twilio(),
            Self::Vonage => vonage(),
            Self::Emnify => emnify(),
            Self::Custom => return None,
        };
        // Every template here is read by a test.
        manner.ok()
    }

    /// What the fields of its posts are called.
    pub fn names(self) -> Names {
        let names = |from: &str, to: &str, text: &str, hex: Option<&str>, id: &str| Names {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            text: Some(text.to_owned()),
            hex: hex.map(str::to_owned),
            id: Some(id.to_owned()),
        };
        match self {
            Self::Kannel | Self::Custom => names("from", "to", "text", Some("hex"), "id"),
            Self::Twilio => names("From", "To", "Body", None, "MessageSid"),
            Self::Vonage => names("msisdn", "to", "text", Some("data"), "messageId"),
            Self::Emnify => names("source_address", "dest_address", "payload", None, "id"),
        }
    }
}

fn seconds(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(least)..=Duration::from_secs(most)
}

/// Kannel 1.4 user's guide, "Using the HTTP interface to sendsms".
fn kannel() -> Result<Manner, Misworded> {
    let account = [("username", "{user}"), ("password", "{password}")];
    let address = [("from", "{from}"), ("to", "{to}"), ("validity", "{validity_minutes}")];
    let text = [&account[..], &address, &[("text", "{text}")]].concat();
    let octets = [("coding", "1"), ("udh", "{udh_octets}"), ("text", "{octets}")];
    Ok(Manner {
        method: Method::Get,
        authorization: Authorization::None,
        text: Body::form(&text)?,
        binary: Some(Body::form(&[&account[..], &address, &octets].concat())?),
        test: Test {
            status: 202..=202,
            says: None,
            message_id: Place::Nowhere,
            code: None,
            later: Vec::new(),
        },
        validity: seconds(60, 7 * 24 * 3600),
    })
}

/// Twilio's API reference, "Create a Message resource".
fn twilio() -> Result<Manner, Misworded> {
    let fields = [
        ("To", "{to}"),
        ("From", "{from}"),
        ("ValidityPeriod", "{validity_seconds}"),
        ("Body", "{text}"),
    ];
    Ok(Manner {
        method: Method::Post,
        authorization: Authorization::Basic,
        text: Body::form(&fields)?,
        binary: None,
        test: Test {
            status: 200..=201,
            says: None,
            message_id: Place::At("/sid".to_owned()),
            code: Some("/code".to_owned()),
            later: Vec::new(),
        },
        validity: seconds(1, 36_000),
    })
}

/// Vonage's SMS API reference; its answers are 200 whatever became of a message.
fn vonage() -> Result<Manner, Misworded> {
    let common = [
        ("api_key", "{user}"),
        ("api_secret", "{password}"),
        ("from", "{from}"),
        ("to", "{to_digits}"),
        ("ttl", "{validity_ms}"),
    ];
    let octets = [("type", "binary"), ("udh", "{udh}"), ("body", "{hex}")];
    Ok(Manner {
        method: Method::Post,
        authorization: Authorization::None,
        text: Body::form(&[&common[..], &[("text", "{text}")]].concat())?,
        binary: Some(Body::form(&[&common[..], &octets].concat())?),
        test: Test {
            status: 200..=200,
            says: Some(Says::At("/messages/0/status".to_owned(), "0".to_owned())),
            message_id: Place::At("/messages/0/message-id".to_owned()),
            code: Some("/messages/0/status".to_owned()),
            // Throttled, internal error, too many binds.
            later: ["1", "5", "10"].map(str::to_owned).to_vec(),
        },
        validity: seconds(20, 604_800),
    })
}

/// emnify's REST API, "Send SMS to an endpoint"; it addresses the SIM by the URL, not by a number.
fn emnify() -> Result<Manner, Misworded> {
    let text = r#"{"payload":"{text}","source_address":"{from}"}"#;
    Ok(Manner {
        method: Method::Post,
        authorization: Authorization::Bearer,
        text: Body::json(text).map_err(|_| Misworded::Open)?,
        // Its payload is text in UTF-8.
        binary: None,
        test: Test {
            status: 200..=201,
            says: None,
            message_id: Place::Field("location".to_owned()),
            code: Some("/error_code".to_owned()),
            later: Vec::new(),
        },
        validity: seconds(1, 7 * 24 * 3600),
    })
}

#[cfg(test)]
mod tests;
