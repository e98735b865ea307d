//! The users file of a service: who may ring it by an HTTP credential, and how each proves it.
//!
//! One line a user and a kind of credential, made by `ringback key user`. A stolen file logs nobody
//! in by password or token; a line for Digest does (RFC 7616, 5.2), so the whole file is a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::password_hash::{CustomizedPasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringback_proto::gate::Identity;
use ringback_proto::secret::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::{self, KeyFault, hex, sha256, unhex};
use crate::limits;

/// Everybody of one users file.
pub struct Users {
    realm: Realm,
    passwords: BTreeMap<Identity, PasswordHash>,
    digests: BTreeMap<Identity, Secret<32>>,
    tokens: Vec<(Identity, Secret<32>)>,
    /// What a password is compared with whose user is not known: it costs as much, and never fits.
    decoy: Option<PasswordHash>,
    /// The same for Digest.
    decoy_digest: Secret<32>,
    /// Of the file's text: files that say the same have the same.
    print: Secret<32>,
}

/// What a login is for, as clients show it: 1 to 64 printable ASCII characters without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm(String);

/// Why a users file cannot be used.
#[derive(Debug, Error)]
pub enum BadUsers {
    /// It cannot be read, or others could read it.
    #[error(transparent)]
    File(#[from] KeyFault),
    /// A line is wrong.
    #[error("line {0}: {1}")]
    Line(usize, &'static str),
    /// Nobody is in it.
    #[error("has no users: add lines made by `ringback key user`")]
    Nobody,
}

/// A line for a user who shows a password (Basic, SOCKS5).
pub fn password_line(user: &Identity, password: &str) -> Result<Zeroizing<String>, KeyFault> {
    let hash = hash(password.as_bytes(), Params::default())?;
    Ok(Zeroizing::new(format!("{user}:{hash}")))
}

/// A line for a user who proves a password without showing it (Digest).
pub fn digest_line(user: &Identity, realm: &Realm, password: &str) -> Zeroizing<String> {
    let secret = digest_secret(user.as_str(), realm, password);
    Zeroizing::new(format!("{user}:digest:{realm}:{}", &*Zeroizing::new(hex(secret.expose()))))
}

/// A line for a program, and the token that it shows (Bearer): 256 random bits.
pub fn token_line(user: &Identity) -> Result<(Zeroizing<String>, Zeroizing<String>), KeyFault> {
    let octets = Zeroizing::new(keys::random::<32>()?);
    let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(octets.as_slice()));
    let hash = hex(fingerprint(token.as_bytes()).expose());
    Ok((Zeroizing::new(format!("{user}:bearer:{hash}")), token))
}

impl Users {
    /// Reads a users file that only its owner can read.
    pub fn read(file: &Path) -> Result<Self, BadUsers> {
        Self::parse(&Zeroizing::new(keys::read_secret(file)?))
    }

    /// Reads a users file's text. Mistakes are told by their line, which may hold a secret.
    pub fn parse(text: &str) -> Result<Self, BadUsers> {
        let mut reader = Reader::default();
        for (place, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if !line.is_empty() && !line.starts_with('#') {
                reader.line(line).map_err(|wrong| BadUsers::Line(place + 1, wrong))?;
            }
        }
        if reader.count == 0 {
            return Err(BadUsers::Nobody);
        }
        let Reader { realm, passwords, digests, tokens, .. } = reader;
        let decoy = passwords.values().next().map(decoy).transpose()?;
        let decoy_digest = Secret::new(keys::random()?);
        let realm = realm.unwrap_or_else(|| Realm("Ringback".to_owned()));
        let print = fingerprint(text.as_bytes());
        Ok(Self { realm, passwords, digests, tokens, decoy, decoy_digest, print })
    }

    /// How many users there are; one that has two ways to prove itself counts once.
    pub fn count(&self) -> usize {
        let names = self.passwords.keys().chain(self.digests.keys());
        names.chain(self.tokens.iter().map(|(it, _)| it)).collect::<BTreeSet<_>>().len()
    }

    /// What the logins are for.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Whether anybody shows a password.
    pub fn have_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// Whether anybody uses Digest.
    pub fn have_digests(&self) -> bool {
        !self.digests.is_empty()
    }

    /// Whether anybody shows a token.
    pub fn have_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// By this a file is known again that several services name.
    pub(crate) fn print(&self) -> [u8; 32] {
        *self.print.expose()
    }

    /// What a user's password is compared with; for a stranger something that never fits. `None` if
    /// nobody shows a password.
    pub(crate) fn password(&self, user: &str) -> Option<(Option<Identity>, &PasswordHash)> {
        let decoy = self.decoy.as_ref()?;
        let found = Identity::parse(user).ok().and_then(|it| self.passwords.get_key_value(&it));
        Some(found.map_or((None, decoy), |(user, hash)| (Some(user.clone()), hash)))
    }

    /// What a user's Digest is made with; for a stranger something that never fits.
    pub(crate) fn digest(&self, user: &str) -> (Option<Identity>, &Secret<32>) {
        let found = Identity::parse(user).ok().and_then(|it| self.digests.get_key_value(&it));
        found.map_or((None, &self.decoy_digest), |(user, secret)| (Some(user.clone()), secret))
    }

    /// Whose token it is. Takes as long for every token.
    pub(crate) fn bearer(&self, token: &str) -> Option<Identity> {
        let shown = fingerprint(token.as_bytes());
        let mut found = None;
        for (user, known) in &self.tokens {
            if *known == shown {
                found = Some(user);
            }
        }
        found.cloned()
    }
}

/// Whether a password has this hash. Costs what the hash says: tens of milliseconds, and memory.
pub(crate) fn password_fits(password: &str, hash: &PasswordHash) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

fn hash(password: &[u8], params: Params) -> Result<PasswordHash, KeyFault> {
    let salt = keys::random::<16>()?;
    let hashed = Argon2::default().hash_password_customized(password, &salt, None, None, params);
    hashed.map_err(|_| KeyFault::Kind("password that can be hashed"))
}

/// A hash like this one of a password that nobody knows, not even we: it is made backwards.
fn decoy(like: &PasswordHash) -> Result<PasswordHash, KeyFault> {
    let random = keys::random::<{ Output::MAX_LENGTH }>()?;
    let octets = random.get(..like.hash.map_or(0, |it| it.len())).unwrap_or(&random);
    let (salt, hash) = (Salt::new(&keys::random::<16>()?).ok(), Output::new(octets).ok());
    Ok(PasswordHash { salt, hash, ..like.clone() })
}

/// H(user ":" realm ":" password), RFC 7616, 3.4.2.
fn digest_secret(user: &str, realm: &Realm, password: &str) -> Secret<32> {
    fingerprint(Zeroizing::new(format!("{user}:{realm}:{password}")).as_bytes())
}

fn fingerprint(octets: &[u8]) -> Secret<32> {
    Secret::new(sha256(octets))
}

#[derive(Default)]
struct Reader {
    count: usize,
    realm: Option<Realm>,
    passwords: BTreeMap<Identity, PasswordHash>,
    digests: BTreeMap<Identity, Secret<32>>,
    tokens: Vec<(Identity, Secret<32>)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        self.count += 1;
        if limits::USERS < self.count {
            return Err("too many users for one file: give services files of their own");
        }
        let (user, proof) = line.split_once(':').ok_or("no line made by `ringback key user`")?;
        let user: Identity =
            user.parse().map_err(|_| "no user's name: 1 to 64 printable ASCII characters")?;
        let twice = "this user has such a line already: keep one";
        if let Some(rest) = proof.strip_prefix("digest:") {
            let (realm, secret) = rest.rsplit_once(':').ok_or("must be digest:REALM:HASH")?;
            let realm: Realm = realm.parse().map_err(|_| "no realm: printable ASCII, no quotes")?;
            if self.realm.get_or_insert_with(|| realm.clone()) != &realm {
                return Err("has another realm than the lines above: a file has one");
            }
            let secret = Secret::new(unhex(secret).map_err(|_| "must end in 64 hex digits")?);
            return self.digests.insert(user, secret).map_or(Ok(()), |_| Err(twice));
        }
        if let Some(hash) = proof.strip_prefix("bearer:") {
            if self.tokens.iter().any(|(other, _)| *other == user) {
                return Err(twice);
            }
            let hash = Secret::new(unhex(hash).map_err(|_| "must end in 64 hex digits")?);
            self.tokens.push((user, hash));
            return Ok(());
        }
        let hash = read_hash(proof)?;
        self.passwords.insert(user, hash).map_or(Ok(()), |_| Err(twice))
    }
}

/// A hash whose cost is one that we are ready to pay for a stranger's guess.
fn read_hash(text: &str) -> Result<PasswordHash, &'static str> {
    let wrong = "must be $argon2id$…, digest:… or bearer:…";
    let hash = PasswordHash::new(text).map_err(|_| wrong)?;
    let params = Params::try_from(&hash).map_err(|_| wrong)?;
    let whole = hash.salt.is_some() && hash.hash.is_some();
    if hash.algorithm.as_str() != "argon2id" || !whole {
        return Err(wrong);
    }
    let affordable = params.m_cost() <= limits::ARGON2_KIB
        && params.t_cost() <= limits::ARGON2_PASSES
        && params.p_cost() <= limits::ARGON2_LANES;
    affordable.then_some(hash).ok_or("costs too much to check: make it by `ringback key user`")
}

impl FromStr for Realm {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |it: u8| (it.is_ascii_graphic() || it == b' ') && !b"\"\\:".contains(&it);
        if text.is_empty() || 64 < text.len() || !text.bytes().all(good) {
            return Err("no realm: 1 to 64 printable ASCII characters, no quotes, no colon");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows how many there are of each kind, and nobody.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.passwords.len(), self.digests.len(), self.tokens.len());
        f.debug_tuple("Users").field(&counts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_made_is_read_and_knows_its_user_and_no_other() {
        let lee = Identity::parse("lee").unwrap();
        let realm: Realm = "the clinic".parse().unwrap();
        let (by_token, token) = token_line(&lee).unwrap();
        let lines = [
            password_line(&lee, "open:sesame").unwrap(),
            digest_line(&lee, &realm, "open:sesame"),
            by_token,
        ];
        let text = format!("# people\n\n{}\r\n", lines.map(|it| it.to_string()).join("\n"));
        let users = Users::parse(&text).unwrap();
        let (found, hash) = users.password("lee").unwrap();
        assert_eq!(found, Some(lee.clone()));
        assert!(password_fits("open:sesame", hash) && !password_fits("open", hash));
        let (found, secret) = users.digest("lee");
        assert_eq!(
            (found, secret),
            (Some(lee.clone()), &digest_secret("lee", &realm, "open:sesame"))
        );
        assert_eq!((users.bearer(&token), users.bearer("x")), (Some(lee), None));
        assert_eq!(users.realm().to_string(), "the clinic");
    }

    #[test]
    fn a_stranger_costs_what_a_user_costs_and_never_fits() {
        let lee = Identity::parse("lee").unwrap();
        let cheap = hash(b"pw", Params::new(64, 3, 1, None).unwrap()).unwrap();
        let users = Users::parse(&format!("lee:{cheap}\n")).unwrap();
        let (found, decoy) = users.password("eve").unwrap();
        let cost = |it: &PasswordHash| {
            let params = Params::try_from(it).unwrap();
            (params.m_cost(), params.t_cost(), params.p_cost(), it.hash.unwrap().len())
        };
        assert_eq!((found, cost(decoy)), (None, cost(users.password("lee").unwrap().1)));
        assert!(!password_fits("pw", decoy));
        assert_eq!(users.password("lee").unwrap().0, Some(lee));
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_never_by_its_words() {
        let hash = "0".repeat(64);
        for wrong in [
            "lee".to_owned(),
            "lee:secret".to_owned(),
            "le e:secret".to_owned(),
            format!("lee:digest:realm:{}secret", &hash[6..]),
            format!("lee:bearer:{hash}secret"),
            format!("eve:digest:a:{hash}\nlee:digest:b:{hash}"),
            format!("lee:bearer:{hash}\nlee:bearer:{hash}"),
            "lee:$argon2i$v=19$m=64,t=1,p=1$c2VjcmV0c2VjcmV0$MTIzNDU2Nzg5MDEyMzQ1Ng".to_owned(),
            "lee:$argon2id$v=19$m=9999999,t=1,p=1$c2VjcmV0c2VjcmV0$MTIzNDU2Nzg5MDEyMzQ1Ng"
                .to_owned(),
            "lee:$argon2id$v=19$m=64,t=1,p=1".to_owned(),
        ] {
            let last = wrong.lines().count();
            let told = Users::parse(&wrong).unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("line {last}: ")) && !told.contains("secret"),
                "{told}"
            );
        }
        assert!(matches!(Users::parse("# nobody\n"), Err(BadUsers::Nobody)));
    }

    #[test]
    fn nobody_is_shown() {
        let users = Users::parse(&format!("lee:bearer:{}", "0".repeat(64))).unwrap();
        assert_eq!(format!("{users:?}"), "Users((0, 0, 1))");
    }
}
