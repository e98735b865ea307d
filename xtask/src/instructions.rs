//! Instruction counts of the hot paths: a regression is seen without measuring time.
//!
//! Each path runs N and 2 N times under valgrind, and the difference is divided by N: what a start
//! and a set-up execute cancels out. `bench/instructions.toml` says what each path may take; another
//! compiler or a processor with other features executes other code, so it says for which they stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::tool::{cargo, tool};
use crate::{root, target};

/// How far a count may lie from the one agreed on, either way, in percent of that.
const TOLERANCE_PERCENT: u64 = 5;

/// What a count may differ by whatever its share: a few instructions of a path that has few.
const SLACK: u64 = 8;

/// Each path and how often it is repeated: enough that one more or less is below the tolerance.
const PATHS: [(&str, u64); 8] = [
    ("seal-psk", 400),
    ("seal-hpke", 20),
    ("open-psk", 400),
    ("open-hpke", 20),
    ("obey-psk", 200),
    ("session", 1_000),
    ("hello", 20_000),
    ("frame", 20_000),
];

/// What the count depends on beside our code.
const FEATURES: [&str; 3] = ["avx2", "bmi2", "adx"];

/// Counts every path, and compares with what was agreed on or takes the counts over.
pub(crate) fn instructions(bless: bool) -> Result<()> {
    let words = ["build", "--release", "--package", "ringback-bench", "--bin", "hot"];
    cargo(&words).run()?;
    let mut counts = BTreeMap::new();
    for (path, times) in PATHS {
        let [once, twice] = [executed(path, times)?, executed(path, times * 2)?];
        let count = twice.checked_sub(once).context("twice as often took less")?.div_ceil(times);
        eprintln!("xtask: {path} executes {count} instructions");
        counts.insert(path, count);
    }
    if bless {
        return write(&counts);
    }
    compare(&counts)
}

/// What valgrind counts for one run.
fn executed(path: &str, times: u64) -> Result<u64> {
    let hot = target().join("release/hot");
    let log = target().join("instructions.log");
    let said = format!("--log-file={}", log.display());
    let words = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", &said];
    let hot = hot.to_str().context("the path of target is no text")?;
    let run = tool("valgrind").args(&words).args(&[hot, path, &times.to_string()]);
    run.read().context("counting needs valgrind: cargo xtask peers")?;
    let said = fs::read_to_string(&log)?;
    let line = said.lines().find_map(|it| it.split_once("I   refs:"));
    let (_, count) = line.with_context(|| format!("valgrind told no count: {said}"))?;
    Ok(count.trim().replace(',', "").parse()?)
}

fn file() -> PathBuf {
    root().join("bench/instructions.toml")
}

/// The compiler and the processor's features, in one line.
fn setting() -> Result<String> {
    let rustc = tool("rustc").args(&["--version"]).read()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let flags = cpus.lines().find(|it| it.starts_with("flags")).unwrap_or_default();
    let has = |it: &&str| flags.split_whitespace().any(|flag| flag == *it);
    let features: Vec<&str> = FEATURES.into_iter().filter(has).collect();
    Ok(format!("{}; {}", rustc.trim(), features.join(" ")))
}

fn write(counts: &BTreeMap<&str, u64>) -> Result<()> {
    let mut text = format!(
        "# Instructions that one pass through each hot path executes: `cargo xtask instructions --bless`.\n\
         # A change that moves one by more than {} % says why in its message.\n\nsetting = \"{}\"\n\n",
        TOLERANCE_PERCENT,
        setting()?
    );
    for (path, count) in counts {
        text += &format!("{path} = {count}\n");
    }
    fs::write(file(), text)?;
    eprintln!("xtask: the counts are taken over into bench/instructions.toml");
    Ok(())
}

fn compare(counts: &BTreeMap<&str, u64>) -> Result<()> {
    let text = fs::read_to_string(file()).context("no counts yet: --bless makes them")?;
    let agreed: BTreeMap<&str, &str> = text
        .lines()
        .filter(|it| !it.starts_with('#'))
        .filter_map(|it| it.split_once(" = "))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let (setting, here) = (agreed.get("setting").copied().unwrap_or_default(), setting()?);
    if setting != here {
        eprintln!("xtask: counts were agreed on with {setting}; not compared with {here}");
        return Ok(());
    }
    let complaints = complaints(counts, &agreed)?;
    ensure!(
        complaints.is_empty(),
        "other counts than agreed on:\n  {}\n  if that is meant: cargo xtask instructions --bless",
        complaints.join("\n  ")
    );
    eprintln!("xtask: {} hot paths execute what was agreed on", counts.len());
    Ok(())
}

fn complaints(counts: &BTreeMap<&str, u64>, agreed: &BTreeMap<&str, &str>) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (path, count) in counts {
        let Some(before) = agreed.get(path) else {
            bail!("{path} has no count yet: cargo xtask instructions --bless")
        };
        let before: u64 = before.parse().with_context(|| format!("{path} = {before}"))?;
        let moved = *count as f64 / before as f64 - 1.0;
        let apart = count.abs_diff(before);
        if before * TOLERANCE_PERCENT < apart * 100 && SLACK < apart {
            complaints.push(format!("{path}: {count}, not {before} ({:+.1} %)", moved * 100.0));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_takes_more_or_less_than_agreed_is_told() {
        let agreed = BTreeMap::from([("one", "1000"), ("two", "1000"), ("three", "1000")]);
        let counts = BTreeMap::from([("one", 1_049), ("two", 1_051), ("three", 949)]);
        let told = complaints(&counts, &agreed).expect("all are known");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(complaints(&BTreeMap::from([("four", 1)]), &agreed).is_err());
        let (few, more) = (BTreeMap::from([("few", "37")]), BTreeMap::from([("few", 45)]));
        assert_eq!(complaints(&more, &few).expect("it is known"), Vec::<String>::new());
    }
}
