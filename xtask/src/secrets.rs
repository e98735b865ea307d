//! Searches whatever the tests have left behind for secrets: logs, states, configurations.
//!
//! A test's secrets are real ones, made for it by the product; each is looked for as it is written in
//! its file and as octets, hex and base64. A search that had nothing to look for, or nowhere to look,
//! is a failure too, and it must find one secret that was put there on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result, bail, ensure};

use crate::target;

/// The secret that every search must find.
const PLANTED: &str = "70616e74656420736563726574";

/// A shorter secret would be found in words that tell none, as `secret` is in `secret_file`.
const SECRET_OCTETS: usize = 8;

/// How all call numbers of the tests begin.
const CALL_NUMBER: &[u8] = b"15550100";

/// Where tests leave what they leave.
pub(crate) fn folder() -> PathBuf {
    target().join("artefacts")
}

/// Makes room for the artefacts of one run of all tests.
pub(crate) fn prepare() -> Result<()> {
    if folder().exists() {
        fs::remove_dir_all(folder())?;
    }
    Ok(fs::create_dir_all(folder())?)
}

/// Searches all that was left; an error names each file and never what was found in it.
pub(crate) fn search() -> Result<()> {
    let (mut files, mut secrets) = (Vec::new(), BTreeSet::new());
    gather(&folder(), &mut files, &mut secrets).context("run `cargo xtask test` first")?;
    ensure!(!files.is_empty() && !secrets.is_empty(), "nothing was kept to be searched");

    let plain = secrets.iter().filter(|it| it.len() < SECRET_OCTETS).count();
    ensure!(plain == 0, "{plain} of the tests' secrets are words too short to be searched for");

    let forms = AhoCorasick::new(secrets.iter().flat_map(|it| forms(it)))?;
    let planted = [b"log line with ".to_vec(), unhex(PLANTED).context("hex")?].concat();
    ensure!(leaks(&planted, &AhoCorasick::new(self::forms(PLANTED))?), "the search finds nothing");
    let mut leaking = Vec::new();
    for file in &files {
        let octets = fs::read(file)?;
        let log = file.extension().is_some_and(|it| it == "log");
        if leaks(&octets, &forms) || (log && names_somebody(&octets)) {
            leaking.push(file.display().to_string());
        }
    }
    if !leaking.is_empty() {
        bail!("secrets, or call numbers above DEBUG, stand in {}", leaking.join(", "));
    }
    eprintln!("xtask: none of {} secrets stands in any of {} files", secrets.len(), files.len());
    Ok(())
}

fn gather(at: &Path, files: &mut Vec<PathBuf>, secrets: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files, secrets)?;
        } else if path.file_name().is_some_and(|it| it == "canaries") {
            secrets.extend(fs::read_to_string(&path)?.lines().map(str::to_owned));
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// As written, and if it is hex or base64 of a key, as its octets and in the other writing.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec()];
    let octets = unhex(secret).or_else(|| unbase64(secret)).filter(|it| 12 <= it.len());
    if let Some(octets) = octets {
        // The last 32 octets of a private key in PKCS #8 are the key.
        let key = octets[octets.len().saturating_sub(32)..].to_vec();
        forms.push(key.iter().flat_map(|it| format!("{it:02x}").into_bytes()).collect());
        forms.push(key);
    }
    forms
}

fn leaks(text: &[u8], forms: &AhoCorasick) -> bool {
    forms.is_match(text)
}

/// Whether a line of a log above DEBUG has a call number of the tests in it. The simulated operator's
/// network is not ours to keep silent, but its log is.
fn names_somebody(log: &[u8]) -> bool {
    let above = |line: &[u8]| {
        [&b"\"INFO\""[..], b"\"WARN\"", b"\"ERROR\""]
            .iter()
            .any(|it| memchr::memmem::find(line, it).is_some())
    };
    let mut lines = log.split(|it| *it == b'\n').filter(|it| above(it));
    lines.any(|it| memchr::memmem::find(it, CALL_NUMBER).is_some())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|it| it.to_digit(16).and_then(|it| u8::try_from(it).ok())).collect();
    let digits = digits.filter(|it| it.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|it| it[0] << 4 | it[1]).collect())
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut octets, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        held = held << 6 | u32::try_from(ALPHABET.iter().position(|it| *it == letter)?).ok()?;
        bits += 6;
        if 8 <= bits {
            bits -= 8;
            octets.push((held >> bits & 0xff) as u8);
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_number_may_stand_in_debug_only() {
        assert!(names_somebody(b"\n{\"level\":\"INFO\",\"to\":\"+15550100777\"}\n"));
        assert!(!names_somebody(
            b"{\"level\":\"DEBUG\",\"to\":\"+15550100777\"}\n{\"level\":\"INFO\"}"
        ));
    }

    #[test]
    fn a_secret_is_found_in_every_writing() {
        let secret = "00112233445566778899aabbccddeeff";
        let octets = unhex(secret).unwrap();
        let all = |secret| AhoCorasick::new(forms(secret)).unwrap();
        assert!(leaks(secret.as_bytes(), &all(secret)) && leaks(&octets, &all(secret)));
        let pem = "ABEiM0RVZneImaq7zN3u/w==";
        assert_eq!(unbase64(pem).unwrap(), octets);
        assert!(leaks(secret.as_bytes(), &all(pem)) && leaks(&octets, &all(pem)));
        assert!(!leaks(b"nothing of it", &all(secret)));
    }
}
