//! Key files: a proxy's identity, and the keys that a terminal's two proxies share.
//!
//! Made by `ringback key`, named in configurations, readable by their owner only. Nothing here
//! prints a secret.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use ringback_proto::access_request::{Kid, Ratchet, hpke_public};
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::PublicKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::clock;
use crate::tunnel::{BadKey, Identity};

mod terminal;

pub use terminal::{Enrolment, TerminalKeys};

/// Why a key file cannot be used or written.
#[derive(Debug, Error)]
pub enum KeyFault {
    /// The file system refused.
    #[error("cannot be read or written: {0}")]
    File(#[from] std::io::Error),
    /// It is there already.
    #[error("{} exists: choose another name, keys are never overwritten", .0.display())]
    Exists(PathBuf),
    /// Others could read it.
    #[error("is readable by others (mode {0:03o}): run chmod 600 on it")]
    Exposed(u32),
    /// Others could write into it.
    #[error("can be entered by others (mode {0:03o}): run chmod 700 on it")]
    Open(u32),
    /// Somebody has made it read-only.
    #[error("is read-only: run chmod 600 on it, its keys cannot be turned to the next epoch")]
    ReadOnly,
    /// It holds as much as it may.
    #[error("is full: {0} {1} at most")]
    Full(usize, &'static str),
    /// One file of a folder.
    #[error("{} {fault}", .file.display())]
    In {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        fault: Box<KeyFault>,
    },
    /// Somebody else has changed it.
    #[error("has changed meanwhile: {0}")]
    Changed(&'static str),
    /// It is not a key file of that kind.
    #[error("is no {0}; make one with `ringback key`")]
    Kind(&'static str),
    /// It is something else, and making another does not mend that.
    #[error("is no {0}")]
    Not(&'static str),
    /// It has no such thing in it.
    #[error("has no {0} in PEM")]
    Lacks(&'static str),
    /// It holds no identity.
    #[error(transparent)]
    Identity(#[from] BadKey),
    /// The system's source of randomness failed.
    #[error("cannot be made: the system gave no randomness")]
    Randomness,
}

/// Which suite seals a terminal's signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// A shared key only: the smallest signal, for the smallest devices.
    Psk,
    /// HPKE with a shared key: a stolen database opens no old signal.
    Hpke,
}

/// Random octets from the system.
pub fn random<const N: usize>() -> Result<[u8; N], KeyFault> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| KeyFault::Randomness)?;
    Ok(octets)
}

/// Seeds this thread's randomness now: the first draw takes a tenth of a second, which is better
/// spent before a role is ready than while a client waits.
pub fn warm_up() {
    // Without randomness the first key that is needed says so.
    let _ = random::<1>();
}

/// Writes `NAME.key` and `NAME.pub`; refuses to overwrite either.
pub fn make_identity(name: &Path) -> Result<Vec<PathBuf>, KeyFault> {
    let secret = Identity::generate()?;
    let identity = Identity::from_pem(&secret)?;
    let public = public_key_text(identity.public_key());
    let (key, public_key) = (with_suffix(name, "key"), with_suffix(name, "pub"));
    write_all_new(&[(key, 0o600, &secret), (public_key, 0o644, &public)])
}

/// A public key in PEM.
pub fn public_key_text(key: &PublicKey) -> String {
    pem::encode(&pem::Pem::new("PUBLIC KEY", key.0.to_vec()))
}

/// Writes `NAME.public.keys` and `NAME.private.keys`, one for each proxy of a terminal.
pub fn make_terminal(name: &Path, suite: Suite) -> Result<Vec<PathBuf>, KeyFault> {
    let kid = Kid(u32::from_be_bytes(random()?));
    let psk = Ratchet::new(0, Secret::new(random()?));
    let private = match suite {
        Suite::Psk => None,
        Suite::Hpke => Some(Secret::new(random()?)),
    };
    let since = clock::unix_seconds();
    let hpke_public = private.as_ref().map(hpke_public);
    let both =
        TerminalKeys { kid, psk, since, hpke_public: None, hpke_private: None, enrolment: None };
    let public = TerminalKeys { hpke_public, ..both.clone() }.text();
    let private = TerminalKeys { hpke_private: private, ..both }.text();
    let (for_public, for_private) =
        (with_suffix(name, "public.keys"), with_suffix(name, "private.keys"));
    write_all_new(&[(for_public, 0o600, &public), (for_private, 0o600, &private)])
}

/// Reads a proxy's own identity.
pub fn read_identity(file: &Path) -> Result<Identity, KeyFault> {
    Ok(Identity::from_pem(&read_secret(file)?)?)
}

/// Reads another proxy's public key.
pub fn read_public_key(file: &Path) -> Result<PublicKey, KeyFault> {
    parse_public_key(&fs::read_to_string(file)?)
}

/// Reads a public key in PEM.
pub fn parse_public_key(text: &str) -> Result<PublicKey, KeyFault> {
    let block = pem::parse(text).map_err(|_| KeyFault::Kind("public key"))?;
    PublicKey::parse(block.contents()).ok_or(KeyFault::Kind("Ed25519 public key"))
}

/// Reads the certificates of a file, in their order.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, KeyFault> {
    let text = fs::read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.ok().filter(|it| !it.is_empty()).ok_or(KeyFault::Lacks("certificate"))
}

/// Reads the key of a certificate.
pub fn read_certificate_key(file: &Path) -> Result<PrivateKeyDer<'static>, KeyFault> {
    let text = Zeroizing::new(read_secret(file)?);
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyFault::Lacks("private key"))
}

/// Reads a file of one secret line, such as a password.
pub fn read_password(file: &Path) -> Result<String, KeyFault> {
    Ok(read_secret(file)?.trim_end_matches(['\r', '\n']).to_owned())
}

pub(crate) fn read_secret(file: &Path) -> Result<String, KeyFault> {
    let mode = fs::metadata(file)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFault::Exposed(mode));
    }
    Ok(fs::read_to_string(file)?)
}

/// Writes every file or none; an existing one is never overwritten.
fn write_all_new(files: &[(PathBuf, u32, &str)]) -> Result<Vec<PathBuf>, KeyFault> {
    if let Some((file, ..)) = files.iter().find(|(file, ..)| file.exists()) {
        return Err(KeyFault::Exists(file.clone()));
    }
    for (file, mode, text) in files {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    Ok(files.iter().map(|(file, ..)| file.clone()).collect())
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, octets).as_ref());
    hash
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Result<[u8; N], KeyFault> {
    let fault = || KeyFault::Kind("terminal key file: a key has the wrong length or letters");
    if text.len() != 2 * N || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(fault());
    }
    let mut octets = [0; N];
    for (place, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| fault())?;
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_files_of_a_terminal_fit_each_other() {
        let folder = tempfile::tempdir().unwrap();
        for (name, suite) in [("a", Suite::Psk), ("b", Suite::Hpke)] {
            let written = make_terminal(&folder.path().join(name), suite).unwrap();
            let (sealing, opening) = (sealing(&written[0]).unwrap(), opening(&written[1]).unwrap());
            assert_eq!((sealing.kid, &sealing.psk), (opening.kid, opening.psk.psk()));
            assert_eq!(sealing.hpke_public, opening.hpke_private.as_ref().map(hpke_public));
            assert_eq!(sealing.hpke_public.is_some(), suite == Suite::Hpke);
        }
    }

    fn sealing(file: &Path) -> Result<ringback_proto::access_request::SealingKey, KeyFault> {
        TerminalKeys::read(file)?.sealing()
    }

    fn opening(file: &Path) -> Result<ringback_proto::access_request::OpeningKey, KeyFault> {
        TerminalKeys::read(file)?.opening()
    }

    #[test]
    fn a_file_of_before_the_ratchet_is_read_as_epoch_zero() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.keys");
        let text = format!("kid = \"0badcafe\"\npsk = \"{}\"\n", "07".repeat(32));
        write_all_new(&[(file.clone(), 0o600, &text)]).unwrap();
        let keys = TerminalKeys::read(&file).unwrap();
        assert_eq!((keys.psk.epoch(), keys.since, keys.is_proved()), (0, 0, true));
    }

    #[test]
    fn a_turned_file_opens_what_is_sealed_with_it_and_a_read_only_one_is_let_be() {
        let folder = tempfile::tempdir().unwrap();
        let written = make_terminal(&folder.path().join("a"), Suite::Hpke).unwrap();
        let (mut public, private) =
            (TerminalKeys::read(&written[0]).unwrap(), opening(&written[1]).unwrap());
        public.turn(77);
        public.write(&written[0]).unwrap();
        let turned = TerminalKeys::read(&written[0]).unwrap();
        assert_eq!((turned.psk.epoch(), turned.since), (1, 77));
        assert!(turned.psk.previous().is_empty(), "the sealing end keeps no old key");
        assert_eq!(private.psk.psk_of(1).as_ref(), Some(turned.psk.psk()));
        let mode = fs::metadata(&written[0]).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);

        fs::set_permissions(&written[0], fs::Permissions::from_mode(0o400)).unwrap();
        assert!(matches!(public.write(&written[0]), Err(KeyFault::ReadOnly)));
    }

    #[test]
    fn a_key_file_in_the_wrong_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let written = make_terminal(&folder.path().join("a"), Suite::Hpke).unwrap();
        assert!(matches!(sealing(&written[1]), Err(KeyFault::Not(_))));
        assert!(matches!(opening(&written[0]), Err(KeyFault::Not(_))));
        assert!(matches!(read_identity(&written[0]), Err(KeyFault::Identity(_))));
    }

    #[test]
    fn an_identity_is_read_back_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let written = make_identity(&folder.path().join("proxy")).unwrap();
        let identity = read_identity(&written[0]).unwrap();
        assert_eq!(*identity.public_key(), read_public_key(&written[1]).unwrap());
        assert!(matches!(make_identity(&folder.path().join("proxy")), Err(KeyFault::Exists(_))));
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let written = make_identity(&folder.path().join("proxy")).unwrap();
        fs::set_permissions(&written[0], fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_identity(&written[0]), Err(KeyFault::Exposed(0o640))));
    }
}
