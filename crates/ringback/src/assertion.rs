//! Who a client is, as the public proxy asserts it to a service: a signed token for one session.
//!
//! A JWT (RFC 7519) in `Ringback-Identity`, signed with Ed25519 (RFC 8037) by the public proxy's
//! identity, so that a service checks it with `public.pub` alone. Admits nobody: whoever is named
//! here has been admitted already.
//!
//! The same key proves the proxy in TLS. Neither signature can pass for the other: what TLS 1.3
//! signs begins with 64 spaces (RFC 8446, 4.4.3), what is signed here begins with `eyJ`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringback_proto::gate::{Identity, Level};
use ringback_proto::hello::SessionId;
use ringback_proto::terminal::TerminalName;
use serde_json::json;

use crate::keys::{hex, sha256};
use crate::{limits, tunnel};

/// What is asserted.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// Who the client is.
    pub user: &'a Identity,
    /// Whose services it may believe it.
    pub terminal: &'a TerminalName,
    /// The session it is for.
    pub session: SessionId,
    /// How the client has proved who it is.
    pub level: Level,
}

impl Assertion<'_> {
    /// Signs it, for a short while from now on. `None` only if the key cannot sign.
    pub fn sign(&self, identity: &tunnel::Identity, unix_seconds: u64) -> Option<String> {
        let issuer = hex(&sha256(&identity.public_key().0));
        let header = json!({ "alg": "EdDSA", "typ": "JWT" });
        let claims = json!({
            "iss": issuer,
            "sub": self.user.as_str(),
            "aud": self.terminal.to_string(),
            "iat": unix_seconds,
            "exp": unix_seconds + limits::ASSERTION_LIFE.as_secs(),
            "jti": self.session.to_string(),
            "lvl": self.level.name(),
        });
        let [header, claims] = [header, claims].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
        let said = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(identity.sign(said.as_bytes())?);
        Some(format!("{said}.{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_assertion_says_who_for_whom_and_how_long_and_is_signed() {
        let identity = tunnel::Identity::from_pem(&tunnel::Identity::generate().unwrap()).unwrap();
        let (user, terminal) =
            (Identity::parse("dr.lee").unwrap(), TerminalName::parse("car.example").unwrap());
        let session = SessionId(0x1234);
        let it = Assertion { user: &user, terminal: &terminal, session, level: Level::Http };
        let token = it.sign(&identity, 1_800_000_000).unwrap();

        let (said, signature) = token.rsplit_once('.').unwrap();
        assert!(said.starts_with("eyJ"));
        let key = UnparsedPublicKey::new(&ED25519, &identity.public_key().0[12..]);
        key.verify(said.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let part = |place: usize| -> Value {
            let text = said.split('.').nth(place).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({ "alg": "EdDSA", "typ": "JWT" }));
        let issuer = hex(&sha256(&identity.public_key().0));
        assert_eq!(
            part(1),
            json!({ "iss": issuer, "sub": "dr.lee", "aud": "car.example", "iat": 1_800_000_000,
                "exp": 1_800_000_060, "jti": "0000000000001234", "lvl": "http" })
        );
    }
}
