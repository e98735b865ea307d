//! The plot of a run: a panel a figure, a bar a target, a whisker from its lowest to its highest.

use std::fmt::Write;

use super::table::number;
use super::{Metric, Runs};
use crate::figure::{Figure, Way};
use crate::targets::{Kind, TARGETS, Target};

const COLUMNS: usize = 3;
const PANEL: f64 = 400.0;
const NAMES: f64 = 110.0;
const VALUES: f64 = 62.0;
const BAR: f64 = 16.0;
const HEAD: f64 = 44.0;
const LEGEND: f64 = 40.0;

/// What is drawn, with its title; whether more is better.
const PANELS: [(&str, Figure, Metric, bool); 9] = [
    ("Bulk, 1 stream up, Gbit/s", Figure::Bulk(1, Way::Up), Metric::Gbit, true),
    ("Bulk, 8 streams down, Gbit/s", Figure::Bulk(8, Way::Down), Metric::Gbit, true),
    ("HTTP, 64 clients, requests/s", Figure::Http(64), Metric::Rate, true),
    ("Bulk, 1 stream up, tunnel CPU s/GB", Figure::Bulk(1, Way::Up), Metric::CpuPerGb, false),
    ("Bulk, 8 streams down, tunnel CPU s/GB", Figure::Bulk(8, Way::Down), Metric::CpuPerGb, false),
    ("64 octets there and back, tunnel CPU µs", Figure::Ping, Metric::CpuEach, false),
    ("New connections, 1 at a time, /s", Figure::Visits(1), Metric::Rate, true),
    ("New connections, 64 at once, /s", Figure::Visits(64), Metric::Rate, true),
    ("New connections, 1 at a time, p50 µs", Figure::Visits(1), Metric::P50, false),
];

/// The whole picture.
pub(super) fn plot(runs: &Runs) -> String {
    let names = runs.targets();
    let targets: Vec<&Target> = TARGETS.iter().filter(|it| names.contains(&it.name)).collect();
    let height = HEAD + BAR * targets.len() as f64 + 16.0;
    let rows = PANELS.len().div_ceil(COLUMNS) as f64;
    let (width, all) = (PANEL * COLUMNS as f64 + 20.0, LEGEND + height * rows + 10.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{all}\" \
         viewBox=\"0 0 {width} {all}\" font-family=\"DejaVu Sans, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg);
    for (place, panel) in PANELS.iter().enumerate() {
        let (column, row) = (place % COLUMNS, place / COLUMNS);
        let corner = (10.0 + PANEL * column as f64, LEGEND + height * row as f64);
        draw(&mut svg, runs, &targets, *panel, corner);
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    let kinds = [
        ("#c2185b", "ringback"),
        ("#607d8b", "no tunnel"),
        ("#1976d2", "tunnel, plain"),
        ("#00897b", "tunnel, encrypted"),
        ("#bdbdbd", "one hop, no tunnel"),
    ];
    for (place, (color, words)) in kinds.iter().enumerate() {
        let x = 20.0 + 150.0 * place as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"14\" width=\"12\" height=\"12\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"24\">{words}</text>",
            x + 18.0
        );
    }
}

fn draw(
    svg: &mut String,
    runs: &Runs,
    targets: &[&Target],
    (title, figure, metric, more): (&str, Figure, Metric, bool),
    (x, y): (f64, f64),
) {
    let better = if more { "more is better" } else { "less is better" };
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">{title}</text>\
         <text x=\"{x}\" y=\"{}\" fill=\"#757575\" font-size=\"9\">{better}</text>",
        y + 16.0,
        y + 29.0
    );
    let spread = |it: &Target| runs.spread(it.name, figure, metric);
    let most = targets.iter().filter_map(|it| Some(spread(it)?.high)).fold(0.0, f64::max);
    let room = PANEL - NAMES - VALUES - 16.0;
    for (place, target) in targets.iter().enumerate() {
        let top = y + HEAD + BAR * place as f64;
        let (left, middle) = (x + NAMES, top + BAR / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\">{}</text>",
            left - 6.0,
            middle + 3.5,
            target.name
        );
        let Some(spread) = spread(target).filter(|_| 0.0 < most) else {
            let _ = writeln!(
                svg,
                "<text x=\"{left}\" y=\"{}\" fill=\"#9e9e9e\">–</text>",
                middle + 3.5
            );
            continue;
        };
        let [low, median, high] =
            [spread.low, spread.median, spread.high].map(|it| left + it / most * room);
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
             <path d=\"M{low:.1} {middle}H{high:.1}\" stroke=\"#212121\" stroke-width=\"1.2\"/>\
             <path d=\"M{low:.1} {}v6M{high:.1} {}v6\" stroke=\"#212121\" stroke-width=\"1.2\"/>\
             <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{}</text>",
            top + 2.5,
            (median - left).max(0.5),
            BAR - 5.0,
            color(target),
            middle - 3.0,
            middle - 3.0,
            high + 5.0,
            middle + 3.5,
            number(spread.median)
        );
    }
}

fn color(target: &Target) -> &'static str {
    if target.name.starts_with("ringback") {
        return "#c2185b";
    }
    match target.kind {
        Kind::Direct => "#607d8b",
        Kind::Plain => "#1976d2",
        Kind::Encrypted => "#00897b",
        Kind::OneHop => "#bdbdbd",
    }
}
