//! What an API's answer means: taken, refused for now, refused for good, or nobody knows.
//!
//! It repeats nothing of an answer but the message's id and a short code: what a provider writes may
//! hold a number or an account.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::limits::{SMS_API_CODE_CHARACTERS, SMS_API_MESSAGE_ID_CHARACTERS};

/// How an API says that it took a message.
#[derive(Clone, Debug)]
pub struct Test {
    /// The statuses of an answer that may say so.
    pub status: RangeInclusive<u16>,
    /// What such an answer must say besides.
    pub says: Option<Says>,
    /// Where it has the message's id.
    pub message_id: Place,
    /// Where a JSON answer has a provider's own code; it is told to the operator.
    pub code: Option<String>,
    /// The provider's own codes that mean: later.
    pub later: Vec<String>,
}

/// What an answer must say.
#[derive(Clone, Debug)]
pub enum Says {
    /// A JSON document has this value at this pointer (RFC 6901).
    At(String, String),
    /// A text begins so.
    Beginning(String),
    /// Its octets contain this.
    Containing(String),
}

/// Where an answer has a message's id.
#[derive(Clone, Debug)]
pub enum Place {
    /// Nowhere.
    Nowhere,
    /// At a pointer of a JSON document (RFC 6901).
    At(String),
    /// In a field of the head; of a path, its last part.
    Field(String),
    /// Behind this in a text, to the end of the word.
    Behind(String),
}

/// An answer, as far as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// The `Retry-After` field.
    pub retry_after: Option<&'a str>,
    /// The field of [`Place::Field`].
    pub field: Option<&'a str>,
    /// Its body.
    pub body: &'a [u8],
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has it.
    Taken {
        /// Its name for it; empty where it tells none.
        message_id: String,
    },
    /// The provider does not want it now, and does not have it.
    Later {
        /// Status and code.
        reason: String,
        /// How long to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The provider never will take it.
    Refused {
        /// Status and code.
        reason: String,
    },
    /// The provider may have it.
    Unknown,
}

impl Test {
    /// Judges an answer to a message that was posted.
    pub fn judge(&self, answer: &Answer<'_>) -> Outcome {
        let json: Option<Value> = serde_json::from_slice(answer.body).ok();
        let code = self.code.as_deref().and_then(|it| scalar(json.as_ref()?, it));
        let reason = reason(answer.status, code.as_deref());
        if self.status.contains(&answer.status) {
            let said = self.says.as_ref().is_none_or(|it| it.is_said(answer.body, json.as_ref()));
            if said {
                return Outcome::Taken { message_id: self.message_id(answer, json.as_ref()) };
            }
            let Some(code) = code else {
                // It came, and we do not understand it: sending again might ring twice.
                return if self.code.is_some() {
                    Outcome::Unknown
                } else {
                    Outcome::Refused { reason }
                };
            };
            if self.later.contains(&code) {
                return Outcome::Later { reason, retry_after: retry_after(answer) };
            }
            return Outcome::Refused { reason };
        }
        match answer.status {
            // A gateway on the way gave up waiting: what stands behind it may have taken it.
            504 => Outcome::Unknown,
            408 | 425 | 429 | 500..=599 => {
                Outcome::Later { reason, retry_after: retry_after(answer) }
            }
            _ => Outcome::Refused { reason },
        }
    }

    fn message_id(&self, answer: &Answer<'_>, json: Option<&Value>) -> String {
        let found = match &self.message_id {
            Place::Nowhere => None,
            Place::At(pointer) => json.and_then(|it| scalar(it, pointer)),
            Place::Field(_) => {
                answer.field.map(|it| it.rsplit('/').next().unwrap_or_default().to_owned())
            }
            Place::Behind(mark) => {
                let text = String::from_utf8_lossy(answer.body);
                let behind = text.split_once(mark.as_str()).map(|(_, it)| it.trim_start());
                behind.and_then(|it| it.split_whitespace().next()).map(str::to_owned)
            }
        };
        let graphic = |it: &char| it.is_ascii_graphic();
        let id = found.unwrap_or_default();
        id.chars().filter(graphic).take(SMS_API_MESSAGE_ID_CHARACTERS).collect()
    }
}

impl Says {
    fn is_said(&self, body: &[u8], json: Option<&Value>) -> bool {
        match self {
            Self::At(pointer, value) => {
                json.and_then(|it| scalar(it, pointer)).as_ref() == Some(value)
            }
            Self::Beginning(text) => body.starts_with(text.as_bytes()),
            Self::Containing(text) => {
                text.is_empty() || body.windows(text.len()).any(|it| it == text.as_bytes())
            }
        }
    }
}

/// The text or number at a pointer.
pub(super) fn scalar(json: &Value, pointer: &str) -> Option<String> {
    match json.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn reason(status: u16, code: Option<&str>) -> String {
    // Letters of a code, not of a sentence, and not digits enough for a call number.
    let short = |it: &&str| {
        it.len() <= SMS_API_CODE_CHARACTERS && it.bytes().all(|it| it.is_ascii_alphanumeric())
    };
    match code.filter(short) {
        Some(code) => format!("status {status}, code {code}"),
        None => format!("status {status}"),
    }
}

fn retry_after(answer: &Answer<'_>) -> Option<Duration> {
    // A date would need a clock that both sides share; then the usual pause is taken.
    answer.retry_after?.trim().parse::<u32>().ok().map(|it| Duration::from_secs(it.into()))
}
