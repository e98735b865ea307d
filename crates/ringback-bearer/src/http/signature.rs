//! How a post shows that it is the provider's. Every comparison takes the same time.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;
use ringback_proto::sms_api::post::Fields;
use ringback_proto::sms_api::signature::{Writing, is_recent, of_hex, stamped_text, twilio_text};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How a post shows that it is the provider's.
pub enum Proof {
    /// Twilio's signature over the URL and the fields.
    Twilio {
        /// The account's token.
        key: hmac::Key,
        /// The URL as Twilio calls it.
        public_url: String,
    },
    /// HMAC-SHA256 over the body.
    Hmac {
        /// The shared secret.
        key: hmac::Key,
        /// The field of the head that has the signature.
        field: String,
        /// How it is written.
        writing: Writing,
        /// The field with a timestamp, signed before the body, and how old it may be in seconds.
        stamp: Option<(String, u64)>,
    },
    /// A secret, as the last part of the path.
    TokenInPath(Zeroizing<String>),
    /// A secret in a field of the head, perhaps behind `Bearer`.
    TokenInField {
        /// The secret.
        token: Zeroizing<String>,
        /// The field's name.
        field: String,
    },
}

impl Proof {
    /// Twilio's, by the account's token.
    pub fn twilio(token: &str, public_url: String) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
        Self::Twilio { key, public_url }
    }

    /// HMAC-SHA256 over the body, by a shared secret.
    pub fn hmac(
        secret: &str,
        field: String,
        writing: Writing,
        stamp: Option<(String, u64)>,
    ) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self::Hmac { key, field, writing, stamp }
    }

    /// Whether a secret says it all, so that a query may be believed.
    pub(super) fn is_token(&self) -> bool {
        match self {
            Self::TokenInPath(_) | Self::TokenInField { .. } => true,
            Self::Twilio { .. } | Self::Hmac { .. } => false,
        }
    }

    /// Whether this is the path, with the token in it if it belongs there.
    pub(super) fn fits_path(&self, expected: &str, path: &str) -> bool {
        match self {
            Self::Twilio { .. } | Self::Hmac { .. } | Self::TokenInField { .. } => expected == path,
            Self::TokenInPath(token) => {
                let rest = path.strip_prefix(expected.trim_end_matches('/'));
                let shown = rest.and_then(|it| it.strip_prefix('/')).unwrap_or_default();
                token.as_bytes().ct_eq(shown.as_bytes()).into()
            }
        }
    }

    /// Whether the head, without a body, shows a secret if it must.
    pub(super) fn fits_head(&self, head: &HeaderMap) -> bool {
        match self {
            Self::Twilio { .. } | Self::Hmac { .. } | Self::TokenInPath(_) => true,
            Self::TokenInField { token, field } => {
                let shown = only(head, field).unwrap_or_default();
                let shown = shown.strip_prefix(b"Bearer ").unwrap_or(shown);
                token.as_bytes().ct_eq(shown).into()
            }
        }
    }

    /// Whether the whole is signed as it must be.
    pub(super) fn fits_body(&self, head: &HeaderMap, body: &[u8]) -> bool {
        match self {
            Self::TokenInPath(_) | Self::TokenInField { .. } => true,
            Self::Twilio { key, public_url } => {
                let shown =
                    only(head, "x-twilio-signature").and_then(|it| STANDARD.decode(it).ok());
                let fields = Fields::of_form(body).ok();
                shown.zip(fields).is_some_and(|(shown, fields)| {
                    hmac::verify(key, &twilio_text(public_url, &fields), &shown).is_ok()
                })
            }
            Self::Hmac { key, field, writing, stamp } => {
                let shown = only(head, field).and_then(|it| match writing {
                    Writing::Hex => of_hex(it),
                    Writing::Base64 => STANDARD.decode(it).ok(),
                });
                let Some(shown) = shown else { return false };
                let Some((stamp, seconds)) = stamp else {
                    return hmac::verify(key, body, &shown).is_ok();
                };
                let stamp = only(head, stamp).unwrap_or_default();
                is_recent(stamp, unix_seconds(), *seconds)
                    && hmac::verify(key, &stamped_text(stamp, body), &shown).is_ok()
            }
        }
    }
}

/// A field that is there exactly once.
fn only<'a>(head: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut all = head.get_all(name).iter();
    let first = all.next()?;
    all.next().is_none().then(|| first.as_bytes())
}

pub(super) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map(|it| it.as_secs()).unwrap_or_default()
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        let value = |it: &str| HeaderValue::from_str(it).unwrap();
        fields.iter().map(|(name, it)| (name.parse().unwrap(), value(it))).collect()
    }

    /// The example of Twilio's documentation. Computed apart from us by Python:
    /// `base64.b64encode(hmac.new(b"12345", ("https://mycompany.com/myapp.php?foo=1&bar=2"
    /// "CallSidCA1234567890ABCDECaller+14158675310Digits1234From+14158675310To+18005551212").encode(),
    /// "sha1").digest())`.
    #[test]
    fn twilio_s_own_example_is_believed_and_nothing_else() {
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let proof = Proof::twilio("12345", url.to_owned());
        let body = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&\
                     From=%2B14158675310&To=%2B18005551212";
        let good = head(&[("x-twilio-signature", "GvWf1cFY/Q7PnoempGyD5oXAezc=")]);
        assert!(proof.fits_body(&good, body));
        assert!(!proof.fits_body(&good, &[&body[..], b"&a=b"].concat()));
        assert!(!proof.fits_body(&head(&[]), body));
        assert!(!Proof::twilio("12346", url.to_owned()).fits_body(&good, body));
        assert!(
            !Proof::twilio("12345", "https://mycompany.com/".to_owned()).fits_body(&good, body)
        );
        let twice = [("x-twilio-signature", "GvWf1cFY/Q7PnoempGyD5oXAezc="); 2];
        let mut doubled = head(&twice[..1]);
        doubled.append("x-twilio-signature", HeaderValue::from_static("AAAA"));
        assert!(!proof.fits_body(&doubled, body), "two signatures are none");
    }

    /// RFC 4231, test case 2: key "Jefe", HMAC-SHA256.
    #[test]
    fn a_signed_body_is_believed_in_hex_and_in_base64() {
        let body = b"what do ya want for nothing?";
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let base64 = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";
        let proof = |writing| Proof::hmac("Jefe", "x-signature".to_owned(), writing, None);
        assert!(proof(Writing::Hex).fits_body(&head(&[("x-signature", hex)]), body));
        assert!(proof(Writing::Base64).fits_body(&head(&[("x-signature", base64)]), body));
        assert!(!proof(Writing::Hex).fits_body(&head(&[("x-signature", hex)]), b"what"));
        assert!(!proof(Writing::Hex).fits_body(&head(&[("x-signature", &hex[..62])]), body));
    }

    #[test]
    fn an_old_signature_is_not_believed() {
        let stamp = Some(("x-time".to_owned(), 300));
        let proof = Proof::hmac("key", "x-signature".to_owned(), Writing::Base64, stamp);
        let signed = |at: u64| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
            let tag = hmac::sign(&key, format!("{at}.body").as_bytes());
            head(&[("x-signature", &STANDARD.encode(tag)), ("x-time", &at.to_string())])
        };
        assert!(proof.fits_body(&signed(unix_seconds()), b"body"));
        assert!(!proof.fits_body(&signed(unix_seconds() - 400), b"body"));
        let mut moved = signed(unix_seconds() - 400);
        let now = HeaderValue::from_str(&unix_seconds().to_string()).unwrap();
        moved.insert("x-time", now);
        assert!(!proof.fits_body(&moved, b"body"), "the timestamp is signed too");
    }

    #[test]
    fn a_token_is_believed_only_where_it_belongs() {
        let proof = Proof::TokenInPath(Zeroizing::new("canary".to_owned()));
        assert!(proof.fits_path("/in", "/in/canary") && proof.fits_path("/in/", "/in/canary"));
        for path in
            ["/in", "/in/", "/in/canarx", "/in/canary/", "/incanary", "/canary", "/in/x/canary"]
        {
            assert!(!proof.fits_path("/in", path), "{path}");
        }
        let token = Zeroizing::new("canary".to_owned());
        let proof = Proof::TokenInField { token, field: "authorization".to_owned() };
        assert!(proof.fits_head(&head(&[("authorization", "Bearer canary")])));
        assert!(!proof.fits_head(&head(&[("authorization", "Bearer Canary")])));
        assert!(!proof.fits_head(&head(&[])));
    }
}
