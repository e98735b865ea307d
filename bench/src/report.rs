//! What the raw runs say: medians with their spread, and ratios within one round.
//!
//! Absolute figures compare only within one run on one machine, so each has its ratio beside it. A
//! table is refused if one of its figures was measured while others had the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::figure::Figure;
use crate::plane::OTHERS;
use crate::raw::{self, Line, Sample, Setting};

mod beat;
mod plot;
mod table;

/// How far apart direct rates with all cores at work may lie, highest by lowest, before a run proves nothing.
/// Not round trips of one connection: those differ six times by whether both ends share a core.
const DIRECT_APART: f64 = 1.5;

/// What is asked of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    /// Gbit/s.
    Gbit,
    /// Work done in a second.
    Rate,
    /// Microseconds that half of it takes.
    P50,
    /// Microseconds that 99 of 100 take.
    P99,
    /// Seconds of processors for a GB, of the tunnel.
    CpuPerGb,
    /// The same of client, tunnel and server.
    AllCpuPerGb,
    /// Microseconds of processors for one piece of work, of the tunnel.
    CpuEach,
}

/// A median and what it lies between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// Half lie below.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// All samples of one file.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The settings of its slices.
    pub settings: Vec<Setting>,
    /// Its samples that are good.
    pub samples: Vec<Sample>,
}

/// Makes table and plot beside the raw runs, and prints the table.
pub(crate) fn make(file: &Path) -> Result<()> {
    let runs = Runs::read(file)?;
    runs.judge()?;
    let text = table::table(&runs) + &beat::table(&runs);
    fs::write(file.with_extension("md"), &text)?;
    fs::write(file.with_extension("svg"), plot::plot(&runs))?;
    println!("{text}");
    Ok(())
}

/// What each process holds for one idle connection: its name, octets, descriptors.
pub(crate) fn held(sample: &Sample) -> Vec<(String, f64, f64)> {
    let many = sample.measured.done.max(1) as f64;
    let each = sample.measured.held.iter().map(|held| {
        let name = sample.names.get(&held.pid).cloned().unwrap_or_else(|| "child".to_owned());
        let octets = held.resident.1.saturating_sub(held.resident.0) as f64 / many;
        let descriptors = held.descriptors.1.saturating_sub(held.descriptors.0) as f64 / many;
        (name, octets, descriptors)
    });
    // Of a program that forks, only who holds something is of interest.
    each.filter(|(name, octets, _)| name != "child" || 1.0 < *octets).collect()
}

impl Runs {
    fn read(file: &Path) -> Result<Self> {
        let mut runs = Self::default();
        for line in raw::read(file)? {
            match line {
                Line::Setting(setting) => runs.settings.push(setting),
                Line::Sample(sample) => runs.samples.push(*sample),
                Line::Visited(_) => {}
            }
        }
        // A visit that was cut short is made again; only its last figures count.
        let mut latest = BTreeMap::new();
        for sample in runs.samples {
            latest.insert((sample.visit.clone(), sample.figure), sample);
        }
        runs.samples = latest.into_values().collect();
        Ok(runs)
    }

    fn judge(&self) -> Result<()> {
        ensure!(!self.samples.is_empty(), "nothing was measured");
        let noisy: Vec<String> = self
            .samples
            .iter()
            .filter(|it| it.noisy)
            .map(|it| format!("{} {} ({:.0} %)", it.visit.target, it.figure, it.others * 100.0))
            .collect();
        ensure!(
            noisy.is_empty(),
            "too noisy: others had more than {:.0} % during {}",
            OTHERS * 100.0,
            noisy.join(", ")
        );
        if let Some(direct) = self.spread("direct:tcp", Figure::Http(64), Metric::Rate) {
            ensure!(
                direct.high <= direct.low * DIRECT_APART,
                "too noisy: direct requests came at {:.0} to {:.0} a second",
                direct.low,
                direct.high
            );
        }
        Ok(())
    }

    /// Targets that have a sample, in the order in which they came.
    pub(super) fn targets(&self) -> Vec<&str> {
        let order = crate::targets::TARGETS.iter().map(|it| it.name);
        order.filter(|name| self.samples.iter().any(|it| it.visit.target == *name)).collect()
    }

    /// All values, by round.
    fn values(&self, target: &str, figure: Figure, metric: Metric) -> Vec<(usize, f64)> {
        let of = self.samples.iter().filter(|it| it.visit.target == target && it.figure == figure);
        of.filter_map(|it| Some((it.visit.round, metric.of(it)?))).collect()
    }

    /// The values' median and spread.
    pub(super) fn spread(&self, target: &str, figure: Figure, metric: Metric) -> Option<Spread> {
        Spread::of(self.values(target, figure, metric).into_iter().map(|(_, it)| it).collect())
    }

    /// The same by another's in the same round.
    pub(super) fn ratio(
        &self,
        target: &str,
        other: &str,
        figure: Figure,
        metric: Metric,
    ) -> Option<Spread> {
        let others = self.values(other, figure, metric);
        let ratio = |(round, value): (usize, f64)| {
            let same = others.iter().filter(|it| it.0 == round).map(|it| it.1).collect();
            Spread::of(same).map(|it| value / it.median)
        };
        Spread::of(self.values(target, figure, metric).into_iter().filter_map(ratio).collect())
    }

    /// What is held for an idle connection, and of how many.
    pub(super) fn idle(&self, target: &str) -> Option<&Sample> {
        let idle = |it: &&Sample| matches!(it.figure, Figure::Idle(_)) && it.failed.is_none();
        self.samples.iter().filter(idle).find(|it| it.visit.target == target)
    }
}

impl Metric {
    fn of(self, sample: &Sample) -> Option<f64> {
        let it = &sample.measured;
        let gb = it.octets as f64 / 1e9;
        let done = it.done as f64;
        let value = match self {
            Self::Gbit => gb * 8.0 / it.seconds,
            Self::Rate => done / it.seconds,
            Self::P50 => it.p50_us,
            Self::P99 => it.p99_us,
            Self::CpuPerGb => it.tunnel_cpu / gb,
            Self::AllCpuPerGb => it.all_cpu / gb,
            Self::CpuEach => it.tunnel_cpu * 1e6 / done,
        };
        (sample.failed.is_none() && value.is_finite()).then_some(value)
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle_of_its_spread() {
        let spread = |it: &[f64]| Spread::of(it.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 9.0]), Some(Spread { median: 3.0, low: 1.0, high: 9.0 }));
        assert_eq!(spread(&[1.0, 2.0]), Some(Spread { median: 1.5, low: 1.0, high: 2.0 }));
        assert_eq!(spread(&[]), None);
    }
}
