//! The raw runs: one JSON object a line, kept beside every table that is made of them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::drive::Measured;
use crate::figure::Figure;

/// One line of a file of raw runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// Where and how the lines that follow were measured.
    Setting(Setting),
    /// One figure of one target.
    Sample(Box<Sample>),
    /// A visit to a target that has come to its end; what a later slice need not repeat.
    Visited(Visit),
}

/// The machine, the programs and the rules of a slice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Seconds since 1970.
    pub at: u64,
    /// Cores, kernel, memory, in words.
    pub machine: String,
    /// By target: what its program says of its version.
    pub versions: BTreeMap<String, String>,
    /// By target: why it was not measured.
    pub missing: BTreeMap<String, String>,
    /// How long each figure is measured.
    pub seconds: f64,
    /// Rounds wanted.
    pub rounds: usize,
}

/// One visit to one target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Visit {
    /// Rounds alternate among targets.
    pub round: usize,
    /// The place within the round.
    pub place: usize,
    /// The target's name.
    pub target: String,
}

/// One figure of one target, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// On which visit.
    pub visit: Visit,
    /// What.
    pub figure: Figure,
    /// Seconds since 1970.
    pub at: u64,
    /// The share of the machine that others had meanwhile.
    pub others: f64,
    /// Whether that was too much, also when it was tried again.
    pub noisy: bool,
    /// Processes by number.
    pub names: BTreeMap<u32, String>,
    /// What came of it.
    pub measured: Measured,
    /// Why nothing came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Adds a line.
pub(crate) fn append(file: &Path, line: &Line) -> Result<()> {
    let mut open = OpenOptions::new().create(true).append(true).open(file)?;
    let text = serde_json::to_string(line)? + "\n";
    open.write_all(text.as_bytes()).with_context(|| format!("write to {}", file.display()))
}

/// Reads all lines.
pub(crate) fn read(file: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let line = |it: &str| serde_json::from_str(it).with_context(|| it.to_owned());
    text.lines().map(line).collect()
}
