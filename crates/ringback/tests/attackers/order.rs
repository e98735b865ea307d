//! What an attacker's process is told to do, and what it tells of it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The variable that makes this test binary an attacker.
const ORDER: &str = "RINGBACK_ATTACK";

/// What to do.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    /// Dial the public proxy back, one after another, with what has been stolen.
    Dial(Vec<Dial>),
    /// Pose as the public proxy.
    Pose(Pose),
    /// Be the operator's gateway: tell every SMS, deliver none.
    Overhear,
    /// Send SMS to the private proxy.
    Post(Post),
}

/// A dial-back by somebody who is not the private proxy, or not any more.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Dial {
    /// The file of a TLS identity; without it, a new one.
    pub(crate) identity: Option<String>,
    /// The session token.
    pub(crate) sid: [u8; 16],
    /// The confirmation key.
    pub(crate) key: [u8; 32],
    /// The protocol that is asked for.
    pub(crate) protocol: Option<String>,
    /// An older TLS.
    pub(crate) tls12: bool,
    /// How much of the hello is said.
    pub(crate) octets: usize,
}

/// A public proxy that is none.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pose {
    /// The file of the public proxy's identity, if it was stolen.
    pub(crate) identity: Option<String>,
    /// The file of the private proxy's, to pass the hello on to the real public proxy.
    pub(crate) relay_as: Option<String>,
}

/// SMS, by the file that has their signals as lines of hex.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Post {
    /// The file.
    pub(crate) file: String,
    /// To which number.
    pub(crate) to: String,
    /// How many in a second.
    pub(crate) per_second: u32,
}

impl Order {
    /// What this process is to do, if it is an attacker.
    pub(crate) fn of_this_process() -> Result<Option<Self>> {
        let Ok(text) = std::env::var(ORDER) else { return Ok(None) };
        serde_json::from_str(&text).context("no order")
    }

    /// The words that make `env` run this binary as an attacker.
    pub(crate) fn words(&self) -> Result<Vec<String>> {
        let binary = std::env::current_exe()?;
        let binary = binary.to_str().context("a strange folder")?.to_owned();
        let order = format!("{ORDER}={}", serde_json::to_string(self)?);
        let words = ["--exact", "attacker", "--nocapture"].map(str::to_owned);
        Ok([order, binary].into_iter().chain(words).collect())
    }
}

/// Tells the test something, on the one stream that the test runner leaves alone.
pub(crate) fn tell(what: &str, octets: &[u8]) {
    eprintln!("attacker {what} {}", hex(octets));
}

/// What was told under that name, in order.
pub(crate) fn told(words: &str, what: &str) -> Vec<Vec<u8>> {
    let begin = format!("attacker {what} ");
    words.lines().filter_map(|it| it.strip_prefix(&begin)).map(unhex).collect()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}
