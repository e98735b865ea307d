//! The benchmark of the data plane: hands the `bench` crate a network and the programs to measure.
//!
//! Everything is built before anything is measured. `bench/README.md` says what the figures mean.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::peers;
use crate::tool::{cargo, tool};
use crate::{root, target};

/// Which congestion controls may be chosen in a namespace; only the machine itself can say so.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
/// The one that every figure is measured with.
const PINNED: &str = "cubic";

/// Asks for a binary that knows QUIC.
const QUIC: &str = "--quic";

/// Measures all targets side by side, in a network namespace of its own.
pub(crate) fn plane(words: &[&str]) -> Result<()> {
    let into = root().join("bench/results").join("plane.jsonl");
    run("plane", words, &into)
}

/// Loads one public proxy with as many sessions as it must bear.
pub(crate) fn sessions(words: &[&str]) -> Result<()> {
    let into = root().join("bench/results").join("load.jsonl");
    run("load", words, &into)
}

/// Micro-benchmarks and nothing else need no namespace: `cargo bench --package ringback-bench`.
fn run(what: &str, words: &[&str], into: &Path) -> Result<()> {
    let mut packages = vec!["--package", "ringback", "--package", "ringback-bench"];
    let mut words = words.to_vec();
    if what == "plane" && words.contains(&QUIC) {
        words.retain(|it| *it != QUIC);
        packages.extend(["--features", "ringback/quic"]);
    }
    cargo(&["build", "--release", "--quiet"]).args(&packages).run()?;
    let _allowed = Allowed::pinned()?;
    let ringback = target().join("release/ringback");
    let bench = target().join("release/ringback-bench");
    let (peers, into) = (peers::folder(), into.to_owned());
    let [ringback, bench, peers, into] = [&ringback, &bench, &peers, &into].map(|it| it.to_str());
    let strange = || "a path here is no text";
    let bench = bench.with_context(strange)?;
    let ringback = ringback.with_context(strange)?;
    let mut line = vec!["--net", bench, what, "--ringback", ringback];
    if what == "plane" {
        line.extend(["--peers", peers.with_context(strange)?]);
    }
    if !words.contains(&"--into") {
        line.extend(["--into", into.with_context(strange)?]);
    }
    line.extend(words);
    tool("unshare").args(&line).run()
}

/// The machine's list of congestion controls, with ours among them; as before when dropped.
struct Allowed(Option<String>);

impl Allowed {
    fn pinned() -> Result<Self> {
        let before = fs::read_to_string(ALLOWED).context("which congestion controls there are")?;
        if before.split_whitespace().any(|it| it == PINNED) {
            return Ok(Self(None));
        }
        let with = format!("{} {PINNED}", before.trim());
        fs::write(ALLOWED, with).with_context(|| format!("allow {PINNED} in namespaces"))?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(ALLOWED, before.trim());
        }
    }
}
