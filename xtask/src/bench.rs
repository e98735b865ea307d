//! The benchmark of our own overhead: what a client waits beyond the operator's SMS.
//!
//! It prints no figure from a machine that was busy with something else; `bench/README.md` says how
//! that is judged, and what the figures mean.

mod plane;

pub(crate) use plane::{plane, sessions};

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::target;
use crate::tool::{cargo, tool};

/// Accesses in each place, the first of which warms up and is not counted.
const RUNS: usize = 15;

/// What the simulated operator takes for an SMS, in seconds. It is subtracted as its log tells it.
const SMS_SECONDS: &str = "0.3";

/// How much later what crosses the lab's cable arrives, in milliseconds each way.
const EACH_WAY_MS: &str = "25";

/// A round trip through that cable, in milliseconds.
const ROUND_TRIP_MS: f64 = 50.0;

/// How long the machine is watched while nothing of ours runs.
const WATCH: Duration = Duration::from_secs(2);

/// The share of its processors' time that a quiet machine spends on others.
const BUSY: f64 = 0.10;

/// How far apart the quartiles may lie, as a share of the median.
const SPREAD: f64 = 0.50;

/// What is told of each access: a name, and the step it is the time of; no step is the first octet.
const FIGURES: [(&str, &str); 4] = [
    ("private proxy dials (G)", "G"),
    ("let in (H)", "H"),
    ("joined, acknowledged (I)", "I"),
    (WHOLE, ""),
];

/// The figure that the others are parts of.
const WHOLE: &str = "first octet of the answer";

/// By figure: milliseconds of our own, a number an access, in ascending order.
type Figures = BTreeMap<&'static str, Vec<f64>>;

/// Measures both places and prints one table, or says why the figures cannot be trusted.
pub(crate) fn bench() -> Result<()> {
    cargo(&["build", "--release", "--package", "ringback"]).run()?;
    let (load_before, busy_before) = (load()?, busy()?);
    ensure!(busy_before <= BUSY, "too noisy to begin: others take {:.0} %", busy_before * 100.0);
    let loopback = measure("loopback", &[])?;
    let lab = measure("the lab", &["--lab", "--lab-delay", EACH_WAY_MS])?;
    let (load_after, busy_after) = (load()?, busy()?);
    ensure!(busy_after <= BUSY, "too noisy: others take {:.0} % now", busy_after * 100.0);

    println!("{}", machine()?);
    println!(
        "load {load_before} before, {load_after} after; others' share {:.0} % before, {:.0} % after; {} accesses each",
        busy_before * 100.0,
        busy_after * 100.0,
        RUNS - 1
    );
    println!("\n| where | after the connect, less the SMS | min | median | max |");
    println!("|---|---|--:|--:|--:|");
    print("loopback", "ms", &loopback, 1.0);
    print("lab, round trip 50 ms", "ms", &lab, 1.0);
    print("lab", "round trips", &lab, ROUND_TRIP_MS);
    Ok(())
}

/// Measures how fast the SMPP bearer and other clients submit to one foreign message center.
pub(crate) fn smpp() -> Result<()> {
    println!("{}", machine()?);
    let test = "how_many_submissions_in_a_second_beside_other_clients";
    let words = ["test", "--release", "--package", "ringback-bearer", "--test", "smpp_peers", "--"];
    cargo(&words).args(&["--ignored", "--nocapture", "--exact", test]).run()
}

/// Makes the accesses, one demo each, and judges them.
fn measure(place: &str, flags: &[&str]) -> Result<Figures> {
    let ringback = target().join("release/ringback");
    let mut figures = Figures::new();
    for run in 0..RUNS {
        let words = ["demo", "--once", "--json", "--sms-delay", SMS_SECONDS];
        let told = tool(&ringback).args(&words).args(flags).read()?;
        let access = access(&told).context("the demo tells no whole access")?;
        if run == 0 {
            continue;
        }
        for (figure, ms) in access {
            figures.entry(figure).or_default().push(ms);
        }
    }
    figures.values_mut().for_each(|it| it.sort_by(f64::total_cmp));
    judge(place, &figures)?;
    Ok(figures)
}

/// The figures of one access, from what the demo has told of it.
fn access(told: &str) -> Option<Vec<(&'static str, f64)>> {
    let lines: Vec<Value> = told.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let end = lines.iter().find(|it| it["succeeded"] == true)?;
    let sms_ms = end["operator_ms"].as_f64()?;
    let own = |(figure, step): (&'static str, &str)| {
        if step.is_empty() {
            return Some((figure, end["own_overhead_ms"].as_f64()?));
        }
        let line = lines.iter().find(|it| it["label"] == "#1" && it["step"] == step)?;
        Some((figure, line["seconds"].as_f64()? * 1000.0 - sms_ms))
    };
    FIGURES.into_iter().map(own).collect()
}

/// Refuses accesses that something else has had a hand in: their whole wait lies too far apart.
fn judge(place: &str, figures: &Figures) -> Result<()> {
    let sorted = figures.get(WHOLE).context("nothing was measured")?;
    let (low, median, high) = (at(sorted, 0.25), at(sorted, 0.5), at(sorted, 0.75));
    if SPREAD * median < high - low {
        bail!("too noisy: half of {place}'s accesses lie between {low:.2} and {high:.2} ms");
    }
    Ok(())
}

fn print(place: &str, unit: &str, figures: &Figures, unit_ms: f64) {
    for (figure, _) in FIGURES {
        let Some(sorted) = figures.get(figure) else { continue };
        let [min, median, max] = [0.0, 0.5, 1.0].map(|it| at(sorted, it) / unit_ms);
        println!("| {place} | {figure}, {unit} | {min:.2} | {median:.2} | {max:.2} |");
    }
}

/// The number that this share of the others lies below. There is at least one.
fn at(sorted: &[f64], share: f64) -> f64 {
    let place = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted[place]
}

/// The share of all processors' time that is not idle now, stolen time included.
fn busy() -> Result<f64> {
    let before = ticks()?;
    std::thread::sleep(WATCH);
    let after = ticks()?;
    let (all, idle) = (after.0 - before.0, after.1 - before.1);
    ensure!(0.0 < all, "/proc/stat stands still");
    Ok(1.0 - idle / all)
}

/// All ticks of all processors, and those that were idle or waited for a disk.
fn ticks() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let [_, _, _, idle, iowait, ..] = ticks[..] else { bail!("/proc/stat is not Linux's") };
    Ok((ticks.iter().take(8).sum(), idle + iowait))
}

fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|it| it.strip_prefix("model name")).unwrap_or("unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let rustc = tool("rustc").args(&["--version"]).read()?;
    Ok(format!("{cores} cores ({model}), Linux {}, {}", kernel.trim(), rustc.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_sms_is_not_ours() {
        let steps = ["G", "H", "I"]
            .map(|step| format!(r##"{{"label":"#1","step":"{step}","seconds":0.31}}"##));
        let end = r#"{"succeeded":true,"operator_ms":300.0,"own_overhead_ms":11.0}"#;
        let told = format!("{}\n{end}", steps.join("\n"));
        let access = access(&told).expect("a whole access");
        assert_eq!(access.len(), FIGURES.len());
        assert!(access.iter().all(|(_, ms)| (9.9..=11.0).contains(ms)), "{access:?}");
    }

    #[test]
    fn figures_that_lie_far_apart_are_refused() {
        let figures = |ms: [f64; 5]| Figures::from([(WHOLE, ms.to_vec())]);
        assert!(judge("here", &figures([1.0, 1.0, 1.0, 1.0, 9.0])).is_ok());
        assert!(judge("here", &figures([1.0, 1.0, 1.0, 9.0, 9.0])).is_err());
    }
}
