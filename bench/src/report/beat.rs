//! The figures to beat: what other tunnels reach, what is aimed at, and what is reached.

use std::fmt::Write;

use super::table::number;
use super::{Metric, Runs, Spread, held};
use crate::figure::{Figure, Way};

const TLS: &str = "ringback:tls";
const BARE: &str = "ringback:bare";
const DIRECT: &str = "direct:tcp";
const RATHOLE: &str = "rathole:tcp";
const RATHOLE_TLS: &str = "rathole:tls";

/// One row: what, the aim in words, what we have, and on which side of the aim it must lie.
struct Row {
    what: &'static str,
    goal: &'static str,
    ours: Option<Spread>,
    aim: Aim,
}

#[derive(Clone, Copy)]
enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

/// The table.
pub(super) fn table(runs: &Runs) -> String {
    let mut text = String::from(
        "\n### Figures to beat\n\nPlain is ringback:bare, encrypted is ringback:tls. Ratios are of the same round.\n\n\
         | figure | goal | ours (lowest..highest) | reached |\n|---|---|--:|---|\n",
    );
    for Row { what, goal, ours, aim } in rows(runs) {
        let Some(ours) = ours else {
            let _ = writeln!(text, "| {what} | {goal} | not measured | - |");
            continue;
        };
        let reached = match aim {
            Aim::AtMost(most) => ours.median <= most,
            Aim::AtLeast(least) => least <= ours.median,
        };
        let [median, low, high] = [ours.median, ours.low, ours.high].map(number);
        let reached = if reached { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {what} | {goal} | {median} ({low}..{high}) | {reached} |");
    }
    let _ = writeln!(
        text,
        "| idle terminal, octets on its link a day | 0 | by construction: with `linger_seconds = 0` no connection stands | - |"
    );
    text
}

fn rows(runs: &Runs) -> Vec<Row> {
    use Aim::{AtLeast, AtMost};
    let mut rows = bulk(runs);
    let row = |what, goal, ours, aim| Row { what, goal, ours, aim };
    let rate = |ours, other, figure| runs.ratio(ours, other, figure, Metric::Rate);
    let p50 = |ours, other, figure| runs.ratio(ours, other, figure, Metric::P50);
    let p99 = |ours, other, figure| runs.ratio(ours, other, figure, Metric::P99);
    let (http, one, many) = (Figure::Http(64), Figure::Visits(1), Figure::Visits(64));
    let ping = |ours| runs.spread(ours, Figure::Ping, Metric::CpuEach);
    rows.extend([
        row("HTTP c64 plain, by rathole tcp", "≥ 1.15", rate(BARE, RATHOLE, http), AtLeast(1.15)),
        row("… its p99, by rathole's", "≤ 1", p99(BARE, RATHOLE, http), AtMost(1.0)),
        row(
            "HTTP c64 encrypted, by rathole tls",
            "≥ 1.15",
            rate(TLS, RATHOLE_TLS, http),
            AtLeast(1.15),
        ),
        row(
            "new connections plain, 1, by rathole tcp",
            "≥ 1.25",
            rate(BARE, RATHOLE, one),
            AtLeast(1.25),
        ),
        row(
            "new connections plain, 64, by rathole tcp",
            "≥ 1.15",
            rate(BARE, RATHOLE, many),
            AtLeast(1.15),
        ),
        row("… p50 of 1, by rathole's", "≤ 0.75", p50(BARE, RATHOLE, one), AtMost(0.75)),
        row(
            "new connections encrypted, 1, by rathole tls",
            "≥ 3",
            rate(TLS, RATHOLE_TLS, one),
            AtLeast(3.0),
        ),
        row(
            "new connections encrypted, 64, by rathole tls",
            "≥ 5.5",
            rate(TLS, RATHOLE_TLS, many),
            AtLeast(5.5),
        ),
        row("64 octets there and back plain, tunnel CPU µs", "≤ 80", ping(BARE), AtMost(80.0)),
        row("64 octets there and back encrypted, tunnel CPU µs", "≤ 92", ping(TLS), AtMost(92.0)),
        row(
            "idle session plain, octets, the larger process",
            "≤ 3,000",
            octets(runs, BARE),
            AtMost(3_000.0),
        ),
        row(
            "idle session encrypted, octets, the larger process",
            "≤ 14,000",
            octets(runs, TLS),
            AtMost(14_000.0),
        ),
        row("descriptors per idle session, plain", "2", descriptors(runs, BARE), AtMost(2.01)),
        row("descriptors per idle session, encrypted", "2", descriptors(runs, TLS), AtMost(2.01)),
    ]);
    rows
}

fn bulk(runs: &Runs) -> Vec<Row> {
    let both = |ours, streams| {
        let ways = [Way::Up, Way::Down].map(|way| Figure::Bulk(streams, way));
        let spreads = ways.map(|it| runs.spread(ours, it, Metric::CpuPerGb));
        worse(spreads[0]?, spreads[1]?)
    };
    let beside = |streams| {
        let ways = [Way::Up, Way::Down].map(|way| Figure::Bulk(streams, way));
        let spreads = ways.map(|it| runs.ratio(BARE, DIRECT, it, Metric::Gbit));
        let [one, two] = [spreads[0]?, spreads[1]?];
        Some(if one.median <= two.median { one } else { two })
    };
    let row = |what, goal, ours, aim| Row { what, goal, ours, aim };
    vec![
        row(
            "bulk plain, tunnel CPU s/GB, 1 stream, the worse way",
            "≤ 0.22",
            both(BARE, 1),
            Aim::AtMost(0.22),
        ),
        row(
            "bulk plain, tunnel CPU s/GB, 8 streams, the worse way",
            "≤ 0.22",
            both(BARE, 8),
            Aim::AtMost(0.22),
        ),
        row(
            "bulk plain beside direct, 1 stream, the worse way",
            "≥ 0.6",
            beside(1),
            Aim::AtLeast(0.6),
        ),
        row(
            "bulk plain beside direct, 8 streams, the worse way",
            "≥ 0.6",
            beside(8),
            Aim::AtLeast(0.6),
        ),
        row(
            "bulk encrypted, tunnel CPU s/GB, 1 stream, the worse way",
            "≤ 0.58",
            both(TLS, 1),
            Aim::AtMost(0.58),
        ),
        row(
            "bulk encrypted, tunnel CPU s/GB, 8 streams, the worse way",
            "≤ 0.58",
            both(TLS, 8),
            Aim::AtMost(0.58),
        ),
    ]
}

fn worse(one: Spread, two: Spread) -> Option<Spread> {
    Some(if one.median < two.median { two } else { one })
}

fn octets(runs: &Runs, target: &str) -> Option<Spread> {
    largest(held(runs.idle(target)?).into_iter().map(|it| it.1).collect())
}

fn descriptors(runs: &Runs, target: &str) -> Option<Spread> {
    largest(held(runs.idle(target)?).into_iter().map(|it| it.2).collect())
}

fn largest(values: Vec<f64>) -> Option<Spread> {
    let most = values.into_iter().max_by(f64::total_cmp)?;
    Some(Spread { median: most, low: most, high: most })
}
