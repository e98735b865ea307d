//! The tables of a run, in Markdown.

use std::fmt::Write;

use super::{Metric, Runs, Spread, held};
use crate::figure::{Figure, Way};
use crate::plane::OTHERS;
use crate::targets::TARGETS;

const DIRECT: &str = "direct:tcp";

const BULK: [Figure; 4] = [
    Figure::Bulk(1, Way::Up),
    Figure::Bulk(1, Way::Down),
    Figure::Bulk(8, Way::Up),
    Figure::Bulk(8, Way::Down),
];

/// Everything that was measured.
pub(super) fn table(runs: &Runs) -> String {
    let mut text = String::new();
    setting(&mut text, runs);
    let all = |metric| BULK.map(|it| (it, metric));
    section(&mut text, runs, "Bulk, Gbit/s, and beside direct", &all(Metric::Gbit), true);
    section(
        &mut text,
        runs,
        "Bulk, CPU seconds of the tunnel per GB",
        &all(Metric::CpuPerGb),
        false,
    );
    section(
        &mut text,
        runs,
        "Bulk, CPU seconds of everything per GB",
        &all(Metric::AllCpuPerGb),
        false,
    );
    for (title, one) in [
        ("HTTP keep-alive, 1 client", Figure::Http(1)),
        ("HTTP keep-alive, 64 clients", Figure::Http(64)),
        ("New connections, 1 at a time", Figure::Visits(1)),
        ("New connections, 64 at once", Figure::Visits(64)),
        ("64 octets there and back", Figure::Ping),
    ] {
        let rate = [(one, Metric::Rate)];
        let more = [(one, Metric::P50), (one, Metric::P99), (one, Metric::CpuEach)];
        messages(&mut text, runs, title, &rate, &more);
    }
    idle(&mut text, runs);
    odd(&mut text, runs);
    text
}

/// What failed, and what was not heard of: never left out.
fn odd(text: &mut String, runs: &Runs) {
    let failed = runs.samples.iter().filter_map(|it| Some((it, it.failed.as_ref()?)));
    let failed = failed.map(|(it, why)| {
        format!("{} {}, round {}: failed: {why}", it.visit.target, it.figure, it.visit.round)
    });
    let unheard = runs.samples.iter().filter(|it| 0 < it.measured.unheard).map(|it| {
        let (target, figure) = (&it.visit.target, it.figure);
        format!("{target} {figure}, round {}: ends both ways at once", it.visit.round)
    });
    let wrong = runs.samples.iter().filter(|it| 0 < it.measured.errors).map(|it| {
        let (target, figure, errors) = (&it.visit.target, it.figure, it.measured.errors);
        format!("{target} {figure}, round {}: {errors} errors", it.visit.round)
    });
    let odd: Vec<String> = failed.chain(unheard).chain(wrong).collect();
    if odd.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n### What went wrong\n");
    for line in odd {
        let _ = writeln!(text, "- {line}");
    }
}

fn setting(text: &mut String, runs: &Runs) {
    let Some(last) = runs.settings.last() else { return };
    let samples = runs.samples.len();
    let mut others: Vec<f64> = runs.samples.iter().map(|it| it.others).collect();
    others.sort_by(f64::total_cmp);
    let at = |share: f64| others[(share * (others.len() - 1) as f64).round() as usize] * 100.0;
    let _ = writeln!(text, "{}.\n", last.machine);
    let _ = writeln!(
        text,
        "{samples} figures of {} s, up to {} rounds, targets alternating, direct again every 3 of them. \
         Others had {:.1} % of the cores (median; 95th percentile {:.1} %, worst {:.1} %; the limit is {:.0} %). \
         Values are medians, brackets lowest..highest.\n",
        last.seconds,
        runs.samples.iter().map(|it| it.visit.round).max().unwrap_or_default(),
        at(0.5),
        at(0.95),
        at(1.0),
        OTHERS * 100.0
    );
    let _ = writeln!(text, "| target | encrypted between its ends | version |\n|---|---|---|");
    for target in TARGETS.iter().filter(|it| runs.targets().contains(&it.name)) {
        let said = |it: &super::Setting| it.versions.get(target.name).cloned();
        let version = runs.settings.iter().rev().find_map(said).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {version} |", target.name, target.kind.words());
    }
    for (name, why) in &last.missing {
        if !runs.targets().contains(&name.as_str()) {
            let _ = writeln!(text, "| {name} | **missing** | {why} |");
        }
    }
}

fn section(
    text: &mut String,
    runs: &Runs,
    title: &str,
    columns: &[(Figure, Metric)],
    beside_direct: bool,
) {
    let has = |target: &str| columns.iter().any(|it| runs.spread(target, it.0, it.1).is_some());
    if !runs.targets().iter().any(|it| has(it)) {
        return;
    }
    let _ = write!(text, "\n### {title}\n\n| target |");
    for (figure, _) in columns {
        let _ = write!(text, " {figure} |");
    }
    let _ = write!(text, "\n|---|{}\n", "--:|".repeat(columns.len()));
    for target in runs.targets() {
        let _ = write!(text, "| {target} |");
        for (figure, metric) in columns {
            let cell = runs.spread(target, *figure, *metric).map_or("-".to_owned(), cell);
            let ratio = runs.ratio(target, DIRECT, *figure, *metric).filter(|_| beside_direct);
            let ratio = ratio.map(|it| format!(" {}", percent(it))).unwrap_or_default();
            let _ = write!(text, " {cell}{ratio} |");
        }
        text.push('\n');
    }
}

fn messages(
    text: &mut String,
    runs: &Runs,
    title: &str,
    rate: &[(Figure, Metric)],
    more: &[(Figure, Metric)],
) {
    let (figure, metric) = rate[0];
    let there =
        |it: &&str| runs.samples.iter().any(|s| s.visit.target == **it && s.figure == figure);
    let targets: Vec<&str> = runs.targets().into_iter().filter(|it| there(it)).collect();
    if targets.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n### {title}\n\n| target | a second | beside direct | beside rathole:tcp | p50 µs | p99 µs | tunnel CPU µs each | errors |\n|---|--:|--:|--:|--:|--:|--:|--:|"
    );
    for target in targets {
        let value = runs.spread(target, figure, metric).map_or("failed".to_owned(), cell);
        let ratio = |other| {
            let ratio = runs.ratio(target, other, figure, metric);
            ratio.map_or("-".to_owned(), percent)
        };
        let of = |sample: &&super::Sample| sample.visit.target == target && sample.figure == figure;
        let errors: u64 = runs.samples.iter().filter(of).map(|it| it.measured.errors).sum();
        let _ =
            write!(text, "| {target} | {value} | {} | {} |", ratio(DIRECT), ratio("rathole:tcp"));
        for (figure, metric) in more {
            let cell = runs.spread(target, *figure, *metric).map_or("-".to_owned(), cell);
            let _ = write!(text, " {cell} |");
        }
        let _ = writeln!(text, " {errors} |");
    }
}

fn idle(text: &mut String, runs: &Runs) {
    if !runs.targets().iter().any(|it| runs.idle(it).is_some()) {
        return;
    }
    let _ = writeln!(
        text,
        "\n### Idle connections\n\n| target | held | octets each, by process | descriptors each, by process | lost |\n|---|--:|---|---|--:|"
    );
    for target in runs.targets() {
        let Some(sample) = runs.idle(target) else { continue };
        let each = held(sample);
        let octets = each.iter().map(|it| format!("{} {:.0}", it.0, it.1));
        let descriptors = each.iter().map(|it| format!("{} {:.2}", it.0, it.2));
        let [octets, descriptors] =
            [octets.collect::<Vec<_>>(), descriptors.collect()].map(|it| it.join(", "));
        let _ = writeln!(
            text,
            "| {target} | {} | {octets} | {descriptors} | {} |",
            sample.measured.done, sample.measured.errors
        );
    }
}

/// A number as people read it.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        it if it < 10.0 => format!("{value:.3}"),
        it if it < 1_000.0 => format!("{value:.1}"),
        _ => {
            let whole = format!("{value:.0}");
            let mut told = String::new();
            for (place, digit) in whole.chars().enumerate() {
                if 0 < place && (whole.len() - place).is_multiple_of(3) {
                    told.push(',');
                }
                told.push(digit);
            }
            told
        }
    }
}

fn cell(spread: Spread) -> String {
    if spread.low == spread.high {
        return number(spread.median);
    }
    format!("{} ({}..{})", number(spread.median), number(spread.low), number(spread.high))
}

fn percent(spread: Spread) -> String {
    let Spread { median, low, high } = spread;
    if low == high {
        return format!("{:.0} %", median * 100.0);
    }
    format!("{:.0} % ({:.0}..{:.0})", median * 100.0, low * 100.0, high * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(number(0.1234), "0.123");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(155_730.4), "155,730");
    }
}
