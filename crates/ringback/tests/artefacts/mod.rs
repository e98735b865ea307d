//! What a test's processes leave behind, kept to be searched for secrets: `cargo xtask secrets`.
//!
//! Keeps nothing unless `RINGBACK_ARTEFACTS` names a folder. Secret files are not kept; what is
//! secret in them is listed beside what is, so that the search knows what to look for.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

use std::fs;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// An installation's folder; whatever lies in it at the end is kept.
#[derive(Debug)]
pub struct Folder(TempDir);

/// A new folder of an installation.
pub fn folder() -> io::Result<Folder> {
    Ok(Folder(tempfile::Builder::new().prefix("ringback-test-").tempdir()?))
}

impl Deref for Folder {
    type Target = TempDir;
    fn deref(&self) -> &TempDir {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(kept) = std::env::var_os("RINGBACK_ARTEFACTS").map(PathBuf::from) else { return };
        let Some(name) = self.0.path().file_name() else { return };
        let mut secrets = Vec::new();
        let done = keep(self.0.path(), &kept.join(name), &mut secrets)
            .and_then(|()| fs::write(kept.join(name).join("canaries"), secrets.join("\n")));
        // A panic here would hide why the test has failed, if it has.
        if let Err(fault) = done {
            eprintln!("artefacts of {} were not kept: {fault}", self.0.path().display());
        }
    }
}

fn keep(from: &Path, to: &Path, secrets: &mut Vec<String>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            keep(&path, &to.join(entry.file_name()), secrets)?;
        } else if kind.is_file() && is_secret(&path)? {
            secrets.extend(secrets_of(&String::from_utf8_lossy(&fs::read(&path)?)));
        } else if kind.is_file() {
            fs::copy(&path, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Key files, passwords and tokens: by their suffix and by who may read them. The simulated
/// operator's accounts stand in its configuration, with their passwords.
fn is_secret(path: &Path) -> io::Result<bool> {
    if path.file_name().is_some_and(|it| it == "operator.toml") {
        return Ok(true);
    }
    let suffix = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let owned = fs::metadata(path)?.permissions().mode() & 0o077 == 0;
    Ok(owned && ["key", "keys", "password", "users", "token", "code", "offer"].contains(&suffix))
}

/// What stands behind ` = ` in a line that names something secret; of files without such lines, all.
const NAMES: [&str; 5] = ["psk", "previous", "hpke_private", "password", "key"];

/// The secret words of a secret file.
fn secrets_of(text: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    for line in text.lines().filter(|it| !it.starts_with(['#', '-', '['])) {
        match line.split_once(" = ") {
            Some((name, value)) if NAMES.contains(&name.trim()) => {
                secrets.extend(value.split('"').map(str::to_owned));
            }
            Some(_) => {}
            None => secrets.push(line.trim().to_owned()),
        }
    }
    secrets.retain(|it| 6 <= it.len());
    secrets
}

#[test]
fn of_a_key_file_only_the_secret_words_are_searched_for() {
    let text = "# Keys.\nkid = \"0badcafe\"\npsk = \"aabbcc\"\nhpke_public = \"ddeeff\"\n";
    assert_eq!(secrets_of(text), ["aabbcc"]);
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ==\n-----END PRIVATE KEY-----\n";
    assert_eq!(secrets_of(pem), ["MC4CAQAwBQ=="]);
}
