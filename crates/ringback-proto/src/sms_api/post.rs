//! What a provider posts when an SMS has come: fields of a form, of a query or of a JSON document.
//!
//! It proves nothing about who posted; see [`super::signature`].

use serde_json::Value;
use thiserror::Error;

use super::answer::scalar;
use super::template::from_hex;
use crate::limits::{SMS_API_ADDRESS_CHARACTERS, SMS_API_POST_FIELDS};

/// The fields of a post, in their order.
#[derive(Clone, PartialEq, Eq)]
pub enum Fields {
    /// Of a form or a query.
    Form(Vec<(Vec<u8>, Vec<u8>)>),
    /// Of a document.
    Json(Value),
}

/// What the fields are called; of a document, a name that begins with a slash is a pointer.
#[derive(Clone, Debug)]
pub struct Names {
    /// Who sent the SMS.
    pub from: Option<String>,
    /// Whom it was sent to.
    pub to: Option<String>,
    /// Its text, or its octets as they are.
    pub text: Option<String>,
    /// Its octets in hex; they are what counts where both are there.
    pub hex: Option<String>,
    /// The provider's name for it.
    pub id: Option<String>,
}

/// An SMS that was posted.
#[derive(Clone, PartialEq, Eq)]
pub struct Posted {
    /// Who says to have sent it.
    pub from: String,
    /// Whom it was sent to; empty where that is not told.
    pub to: String,
    /// What it says.
    pub octets: Vec<u8>,
    /// The provider's name for it.
    pub id: Option<Vec<u8>>,
}

/// Why a post holds no SMS.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// Neither a form nor a document.
    #[error("neither a form nor a JSON document")]
    Type,
    /// Too many fields.
    #[error("too many fields")]
    TooMany,
    /// A percent sign without its two digits.
    #[error("a percent sign without two hex digits")]
    Percent,
    /// Not JSON.
    #[error("not JSON")]
    Json,
    /// No field holds what the SMS says.
    #[error("no field holds what the SMS says")]
    Empty,
}

impl Fields {
    /// Reads a body by its `Content-Type`.
    pub fn of_body(content_type: &str, body: &[u8]) -> Result<Self, Malformed> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Self::of_form(body);
        }
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Malformed::Type);
        }
        let value: Value = serde_json::from_slice(body).map_err(|_| Malformed::Json)?;
        if value.is_object() { Ok(Self::Json(value)) } else { Err(Malformed::Json) }
    }

    /// Reads a form or a query.
    pub fn of_form(text: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Vec::new();
        for pair in text.split(|it| *it == b'&').filter(|it| !it.is_empty()) {
            if fields.len() == SMS_API_POST_FIELDS {
                return Err(Malformed::TooMany);
            }
            let equals = pair.iter().position(|it| *it == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            let value = value.strip_prefix(b"=").unwrap_or_default();
            fields.push((percent_decode(name)?, percent_decode(value)?));
        }
        Ok(Self::Form(fields))
    }

    /// The value of the first field of this name.
    fn value(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Form(fields) => {
                fields.iter().find(|it| it.0 == name.as_bytes()).map(|it| it.1.clone())
            }
            Self::Json(value) if name.starts_with('/') => scalar(value, name).map(Into::into),
            Self::Json(value) => {
                let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
                scalar(value, &pointer).map(Into::into)
            }
        }
    }

    /// The SMS in them.
    pub fn sms(&self, names: &Names) -> Result<Posted, Malformed> {
        let value = |name: &Option<String>| name.as_deref().and_then(|it| self.value(it));
        let address = |name| {
            let octets = value(name).unwrap_or_default();
            let text = String::from_utf8_lossy(&octets);
            text.chars().filter(|it| !it.is_control()).take(SMS_API_ADDRESS_CHARACTERS).collect()
        };
        let octets = match value(&names.hex) {
            Some(hex) if !hex.is_empty() => from_hex(&hex),
            Some(_) | None => value(&names.text),
        };
        let octets = octets.filter(|it| !it.is_empty()).ok_or(Malformed::Empty)?;
        let id = value(&names.id).filter(|it| !it.is_empty());
        Ok(Posted { from: address(&names.from), to: address(&names.to), octets, id })
    }
}

fn percent_decode(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'%' => {
                let digits = rest.get(..2).and_then(from_hex).ok_or(Malformed::Percent)?;
                octets.extend(digits);
                rest = &rest[2..];
            }
            b'+' => octets.push(b' '),
            other => octets.push(*other),
        }
    }
    Ok(octets)
}

impl std::fmt::Debug for Posted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Posted({} octets)", self.octets.len())
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fields(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sms_api::preset::Api;

    fn posted(api: Api, kind: &str, body: &str) -> Result<Posted, Malformed> {
        Fields::of_body(kind, body.as_bytes()).and_then(|it| it.sms(&api.names()))
    }

    const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

    #[test]
    fn each_provider_s_post_is_read_by_its_own_names() {
        let twilio =
            "ToCountry=US&MessageSid=SM8d1&From=%2B14017122661&To=%2B15558675310&Body=RB*+-";
        let vonage = r#"{"msisdn":"447700900001","to":"447700900000","messageId":"0A0","text":"RB* -","type":"text"}"#;
        let emnify = r#"{"id":123,"source_address":432311234,"dest_address":12345678,"payload":"RB* -","submit_date":{}}"#;
        for (api, kind, body, from, to, id) in [
            (Api::Twilio, FORM, twilio, "+14017122661", "+15558675310", "SM8d1"),
            (Api::Vonage, "application/json", vonage, "447700900001", "447700900000", "0A0"),
            (Api::Emnify, "application/json", emnify, "432311234", "12345678", "123"),
        ] {
            let it = posted(api, kind, body).unwrap();
            assert_eq!((it.from.as_str(), it.to.as_str()), (from, to), "{api:?}");
            assert_eq!((&it.octets[..], it.id.as_deref()), (&b"RB* -"[..], Some(id.as_bytes())));
        }
        let kannel = b"from=%2B1555&to=5550100&text=%11%00%FF&id=f5c0";
        let it = Fields::of_form(kannel).unwrap().sms(&Api::Kannel.names()).unwrap();
        assert_eq!((&it.octets[..], it.from.as_str()), (&[0x11, 0, 255][..], "+1555"));
    }

    #[test]
    fn vonage_s_binary_messages_come_in_hex() {
        let it = posted(Api::Vonage, FORM, "msisdn=44&to=45&messageId=1&data=1100ff&udh=0605");
        assert_eq!(it.unwrap().octets, [0x11, 0, 255]);
        assert_eq!(posted(Api::Vonage, FORM, "msisdn=44&data=110"), Err(Malformed::Empty));
    }

    #[test]
    fn a_post_that_holds_no_sms_says_why() {
        let many = "a=b&".repeat(SMS_API_POST_FIELDS + 1);
        for (kind, body, fault) in [
            ("text/plain", "Body=a", Malformed::Type),
            (FORM, "Body=%4", Malformed::Percent),
            (FORM, "Body=%é0", Malformed::Percent),
            (FORM, "Body=", Malformed::Empty),
            (FORM, "body=a", Malformed::Empty),
            (FORM, &many, Malformed::TooMany),
            ("application/json", "[1]", Malformed::Json),
            ("application/json", "{\"Body\":{}}", Malformed::Empty),
            ("application/json", &"[".repeat(8000), Malformed::Json),
        ] {
            assert_eq!(posted(Api::Twilio, kind, body), Err(fault), "{body:.20}");
        }
    }

    #[test]
    fn no_octets_can_break_the_reader() {
        let base = b"from=%2B1555&to=5550100&text=%11%00%FF&id=f5c0".to_vec();
        let json = br#"{"id":123,"from":"1","a":{"b":[1,"\u00e9"]},"text":"RB","to":2.5}"#.to_vec();
        let mut seed: u32 = 7;
        for round in 0..20_000_usize {
            let mut octets = if round % 2 == 0 { base.clone() } else { json.clone() };
            for _ in 0..=round % 4 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let place = usize::try_from(seed >> 8).unwrap() % octets.len();
                octets[place] = seed.to_be_bytes()[3] ^ seed.to_be_bytes()[0];
            }
            octets.truncate(octets.len() - round % 5);
            for kind in [FORM, "application/json"] {
                let Ok(fields) = Fields::of_body(kind, &octets) else { continue };
                for api in Api::ALL {
                    let Ok(it) = fields.sms(&api.names()) else { continue };
                    assert!(!it.octets.is_empty() && it.octets.len() <= octets.len() * 3);
                    assert!(it.from.chars().count() <= SMS_API_ADDRESS_CHARACTERS);
                }
            }
        }
    }
}
