//! The words of an `Authorization` field: Basic (RFC 7617), Digest (RFC 7616), Bearer (RFC 6750).
//!
//! Strict: what two readers could understand in two ways is understood in none. Judges nothing.

use std::collections::BTreeMap;
use std::fmt;

use ringback_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::ingress::credential::basic;
use crate::keys::{hex, sha256, unhex};

/// A credential, by its scheme.
pub(super) enum Authorization {
    Basic { user: String, password: Zeroizing<String> },
    Digest(Digest),
    Bearer(Zeroizing<String>),
}

/// What a client answers to a Digest challenge: SHA-256, `qop=auth`, and nothing older.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) user: String,
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) target: String,
    pub(super) count: u32,
    count_text: String,
    client_nonce: String,
    response: Secret<32>,
}

/// Parameters of a Digest answer; more are too many.
const PARAMETERS: usize = 16;

impl Authorization {
    /// Reads a field's value; `None` if it is none of the three, or not in exactly one way.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.split_once(' ')?;
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            return basic(rest).map(|(user, password)| Self::Basic { user, password });
        }
        if scheme.eq_ignore_ascii_case("digest") {
            return Digest::parse(rest).map(Self::Digest);
        }
        let token = |it: u8| it.is_ascii_alphanumeric() || b"-._~+/=".contains(&it);
        let bearer = scheme.eq_ignore_ascii_case("bearer") && rest.bytes().all(token);
        (bearer && !rest.is_empty()).then(|| Self::Bearer(Zeroizing::new(rest.to_owned())))
    }
}

impl Digest {
    fn parse(text: &str) -> Option<Self> {
        let mut said = parameters(text)?;
        let is = |value: Option<String>, wanted: &str| {
            value.is_some_and(|it| it.eq_ignore_ascii_case(wanted))
        };
        let hashed_name =
            said.remove("userhash").is_some_and(|it| !it.eq_ignore_ascii_case("false"));
        let modern = is(said.remove("algorithm"), "SHA-256") && is(said.remove("qop"), "auth");
        if hashed_name || !modern || said.contains_key("username*") {
            return None;
        }
        let count_text = said.remove("nc").filter(|it| it.len() == 8)?;
        Some(Self {
            user: said.remove("username")?,
            realm: said.remove("realm")?,
            nonce: said.remove("nonce")?,
            target: said.remove("uri")?,
            count: u32::from_be_bytes(unhex(&count_text).ok()?),
            count_text,
            client_nonce: said.remove("cnonce").filter(|it| !it.is_empty())?,
            response: Secret::new(unhex(&said.remove("response")?).ok()?),
        })
    }

    /// Whether whoever made the answer knows the secret, H(A1) (RFC 7616, 3.4.1).
    pub(super) fn is_made_with(&self, secret: &Secret<32>, method: &str) -> bool {
        let request = sha256(format!("{method}:{}", self.target).as_bytes());
        let secret = Zeroizing::new(hex(secret.expose()));
        let Self { nonce, count_text, client_nonce, .. } = self;
        let said =
            format!("{}:{nonce}:{count_text}:{client_nonce}:auth:{}", *secret, hex(&request));
        Secret::new(sha256(Zeroizing::new(said).as_bytes())) == self.response
    }
}

/// Reads `name=value` or `name="value"`, with commas between them (RFC 9110, 11.2). One that comes
/// twice makes all of it void.
fn parameters(text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.trim_start_matches(BLANK).split_once('=')?;
        let (value, after) = value(after)?;
        let named = !name.is_empty() && name.bytes().all(is_token);
        if !named || found.insert(name.to_ascii_lowercase(), value).is_some() {
            return None;
        }
        let after = after.trim_start_matches(BLANK);
        if after.is_empty() {
            return Some(found);
        }
        rest = after.strip_prefix(',').filter(|_| found.len() < PARAMETERS)?;
    }
}

/// The value at the start of a text, without quotes, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|it: char| !it.is_ascii() || !is_token(it as u8)).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return (!token.is_empty()).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next().map(|(_, it)| it)?),
            control if control.is_control() => return None,
            other => value.push(other),
        }
    }
    None
}

const BLANK: [char; 2] = [' ', '\t'];

fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// Shows the scheme only.
impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Digest(_) => "Digest(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616, 3.9.1, the SHA-256 example.
    const EXAMPLE: &str = "Digest username=\"Mufasa\",\n\
        realm=\"http-auth@example.org\",\n\
        uri=\"/dir/index.html\",\n\
        algorithm=SHA-256,\n\
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\",\n\
        nc=00000001,\n\
        cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\",\n\
        qop=auth,\n\
        response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\",\n\
        opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

    fn example() -> String {
        EXAMPLE.replace('\n', " ")
    }

    #[test]
    fn the_specifications_basic_example_is_read() {
        // RFC 7617, 2 and 2.1.
        for (field, name, word) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
            ("basic  dGVzdDoxMjPCow==", "test", "123£"),
            ("BASIC YTo6", "a", ":"),
        ] {
            let Some(Authorization::Basic { user, password }) = Authorization::parse(field) else {
                panic!("{field}");
            };
            assert_eq!((&user[..], &password[..]), (name, word));
        }
    }

    #[test]
    fn the_specifications_digest_example_fits_its_password_and_no_other_request() {
        let Some(Authorization::Digest(it)) = Authorization::parse(&example()) else { panic!() };
        assert_eq!((&it.user[..], &it.target[..], it.count), ("Mufasa", "/dir/index.html", 1));
        let secret = |password| {
            let said = format!("Mufasa:http-auth@example.org:{password}");
            Secret::new(sha256(said.as_bytes()))
        };
        assert!(it.is_made_with(&secret("Circle of Life"), "GET"));
        assert!(!it.is_made_with(&secret("Circle of Life"), "POST"));
        assert!(!it.is_made_with(&secret("circle of life"), "GET"));
    }

    #[test]
    fn a_digest_that_says_less_or_more_or_twice_is_none() {
        let example = example();
        for (part, instead) in [
            ("SHA-256", "MD5"),
            ("SHA-256", "SHA-256-sess"),
            ("algorithm=SHA-256,", ""),
            ("qop=auth", "qop=auth-int"),
            ("qop=auth,", ""),
            ("nc=00000001", "nc=1"),
            ("nc=00000001", "nc=0000000g"),
            ("response=\"7", "response=\""),
            ("uri=", "uri=\"/other\", uri="),
            ("username=\"Mufasa\"", "username*=UTF-8''Mufasa"),
            ("username=\"Mufasa\"", "username=\"Mufasa\", userhash=true"),
            ("username=\"Mufasa\"", "username=\"Mufasa"),
            ("username=\"Mufasa\",", ",username=\"Mufasa\","),
            ("username=\"Mufasa\"", "username = \"Mufasa\""),
        ] {
            let changed = example.replacen(part, instead, 1);
            assert_ne!(changed, example, "{part}");
            assert!(Authorization::parse(&changed).is_none(), "{changed}");
        }
        let more = format!("{example}, userhash=false, x=\"a\\\"b\"");
        assert!(Authorization::parse(&more).is_some());
        let many = (0..PARAMETERS).map(|it| format!(", x{it}=1")).collect::<String>();
        assert!(Authorization::parse(&format!("{example}{many}")).is_none());
    }

    #[test]
    fn what_is_no_credential_is_none() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Basic YQ==",
            "Basic YTpi=",
            "Basic YTpi YTpi",
            "Basic YToKYg==",
            "Basic YTr/",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Digest",
            "Digest ",
            "Negotiate YTpi",
            "YTpi",
            "Basic,Basic YTpi",
            "Basic\tYTpi",
        ] {
            assert!(Authorization::parse(value).is_none(), "{value}");
        }
        assert!(matches!(Authorization::parse("bearer a.b~c=="), Some(Authorization::Bearer(_))));
    }

    #[test]
    fn no_mutation_of_a_field_panics_or_still_fits() {
        let example = example();
        let secret = Secret::new(sha256(b"Mufasa:http-auth@example.org:Circle of Life"));
        let mut number: u32 = 7;
        let mut next = |end: usize| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 8) as usize % end
        };
        let telling = b"\"\\=, \tAa0\x7f\xc3\x00";
        let mut fitting = 0;
        for _ in 0..20_000 {
            let mut octets = example.clone().into_bytes();
            for _ in 0..=next(3) {
                let at = next(octets.len());
                match next(3) {
                    0 => octets[at] = telling[next(telling.len())],
                    1 => drop(octets.remove(at)),
                    _ => octets.insert(at, telling[next(telling.len())]),
                }
            }
            let text = String::from_utf8_lossy(&octets);
            let Some(Authorization::Digest(it)) = Authorization::parse(&text) else { continue };
            if it.is_made_with(&secret, "GET") {
                fitting += 1;
                let unchanged = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
                assert_eq!(
                    (&it.nonce[..], &it.target[..], it.count),
                    (unchanged, "/dir/index.html", 1)
                );
            }
        }
        assert!(0 < fitting, "changes outside what is covered do no harm");
    }
}
