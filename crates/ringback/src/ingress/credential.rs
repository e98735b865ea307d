//! What a client shows with its request so that it may ring: kept as it was said, judged nowhere here.
//!
//! It comes out of the very head that names the terminal, read once: what is routed by and what is
//! authorized by can never be two different things.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a client has shown with its request.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    #[default]
    Nothing,
    /// More than one, so that nobody can say which one counts, or one that is no text.
    Odd,
    /// The one `Authorization` or `Proxy-Authorization` of a request (RFC 9110, 11.6 and 11.7).
    Field {
        /// What it says.
        value: Zeroizing<String>,
        /// The request's method, which Digest covers.
        method: String,
        /// The request's target, which Digest covers.
        target: String,
    },
    /// A name and a password (RFC 1929).
    Login {
        /// Whose.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
}

/// A head's SHA-256: by it the head that was weighed is known again when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadPrint(pub(super) [u8; 32]);

/// The name and the password of a Basic credential, as they stand behind its scheme (RFC 7617, 2).
///
/// Strict: what two readers could understand in two ways is understood in none.
pub(crate) fn basic(token: &str) -> Option<(String, Zeroizing<String>)> {
    let octets = Zeroizing::new(STANDARD.decode(token.trim_matches(' ')).ok()?);
    let text = std::str::from_utf8(&octets).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Zeroizing::new(password.to_owned())))
}

/// Shows the kind only.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Odd => "Odd",
            Self::Field { .. } => "Field(…)",
            Self::Login { .. } => "Login(…)",
        })
    }
}
