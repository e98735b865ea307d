//! The page: the latest reading, a chart, a form and a table. No script, nothing from elsewhere.
//!
//! Whatever a person has typed passes through [`escape`] on its way into the page.

use std::fmt::Write;

use crate::journal::Journal;
use crate::limits;
use crate::reading::{Entry, Level, Moment, Reading, TARGET};

const STYLE: &str = include_str!("page.css");

/// The chart's size and margins, in its own units.
const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 36.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// Writes the whole page; with what was entered and why it was not accepted, if so.
pub(crate) fn page(journal: &Journal, rejected: Option<(&Entry, &str)>) -> String {
    let skipped = journal.readings().len().saturating_sub(limits::READINGS_SHOWN);
    let shown: Vec<&Reading> = journal.readings().skip(skipped).collect();
    let (latest, chart, table) = (latest(&shown), chart(&shown), table(&shown));
    let form = form(rejected);
    let title = if rejected.is_some() { "Not entered – Glycemia" } else { "Glycemia" };
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>Glycemia</h1>
<p>Served by the patient’s own phone. The first readings are invented, for demonstration.</p>
</header>
<main>
<section aria-labelledby="latest">
<h2 id="latest">Latest reading</h2>
{latest}
{chart}
</section>
<section aria-labelledby="enter">
<h2 id="enter">Enter a reading</h2>
{form}
</section>
<section>
{table}
</section>
</main>
<footer>
<p>Times are UTC. Target range 3.9–10.0 mmol/L. For machines: <a href="/readings.json">readings.json</a>. Not a medical device.</p>
</footer>
</body>
</html>
"#
    )
}

fn latest(shown: &[&Reading]) -> String {
    let Some(last) = shown.last() else { return "<p>No reading yet.</p>".to_owned() };
    let (value, level, moment) = (last.value(), level(last.level()), moment(last.taken));
    let note = escape(&last.note);
    format!(
        "<p class=\"latest\"><strong>{value}</strong> <span>mmol/L</span> {level} \
         <span class=\"soft\">{moment}</span></p>\n<p class=\"soft\">{note}</p>"
    )
}

fn level(level: Level) -> String {
    let text = match level {
        Level::Below => "▼ below target",
        Level::Within => "● within target",
        Level::Above => "▲ above target",
    };
    format!("<span class=\"level {}\">{text}</span>", level.name())
}

fn moment(taken: u64) -> String {
    let moment = Moment::of(taken);
    let (stamp, date, time) = (moment.stamp(), moment.date(), moment.time());
    format!("<time datetime=\"{stamp}\">{date}, {time}</time>")
}

fn form(rejected: Option<(&Entry, &str)>) -> String {
    let (value, note) =
        rejected.map(|(entry, _)| (escape(&entry.value), escape(&entry.note))).unwrap_or_default();
    let complaint = rejected
        .map(|(_, complaint)| {
            let complaint = escape(complaint);
            format!("<p class=\"complaint\" id=\"complaint\" role=\"alert\">Not entered: {complaint}.</p>\n")
        })
        .unwrap_or_default();
    let described = match rejected {
        Some(_) => " aria-invalid=\"true\" aria-describedby=\"complaint\" autofocus",
        None => "",
    };
    let length = limits::NOTE_CHARACTERS;
    format!(
        r#"<form method="post" action="/readings">
{complaint}<label>Value in mmol/L
<input name="value" value="{value}" inputmode="decimal" required autocomplete="off" placeholder="5.6"{described}></label>
<label>Note, if any
<input name="note" value="{note}" maxlength="{length}" autocomplete="off"></label>
<button>Enter</button>
</form>"#
    )
}

fn table(shown: &[&Reading]) -> String {
    let mut rows = String::new();
    for reading in shown.iter().rev() {
        let (moment, value, note) = (moment(reading.taken), reading.value(), escape(&reading.note));
        let mark = match reading.level() {
            Level::Below => " <span class=\"below\">▼ low</span>",
            Level::Within => "",
            Level::Above => " <span class=\"above\">▲ high</span>",
        };
        let row = format!(
            "<tr><td>{moment}</td><td class=\"value\">{value}{mark}</td><td>{note}</td></tr>\n"
        );
        rows.push_str(&row);
    }
    format!(
        "<table>\n<caption>Readings, newest first</caption>\n<thead><tr><th scope=\"col\">Taken</th>\
         <th scope=\"col\">mmol/L</th><th scope=\"col\">Note</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    )
}

/// Draws the readings over time, above the band of the target range.
fn chart(shown: &[&Reading]) -> String {
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return String::new() };
    let scale = Scale::over(shown);
    let mut svg = format!(
        "<figure>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"chart\">\n\
         <title id=\"chart\">Glycemia from {} to {}, last {} mmol/L</title>\n",
        Moment::of(first.taken).date(),
        Moment::of(last.taken).date(),
        last.value()
    );

    let (ceiling, floor) = (scale.y(*TARGET.end()), scale.y(*TARGET.start()));
    let (inner, height) = (WIDTH - LEFT - RIGHT, floor - ceiling);
    let _ = writeln!(
        svg,
        "<rect class=\"band\" x=\"{LEFT}\" y=\"{ceiling:.1}\" width=\"{inner}\" height=\"{height:.1}\"/>"
    );
    scale.grid(&mut svg);

    let points: Vec<String> = shown
        .iter()
        .map(|it| format!("{:.1},{:.1}", scale.x(it.taken), scale.y(it.tenths)))
        .collect();
    let _ = writeln!(svg, "<polyline class=\"curve\" points=\"{}\"/>", points.join(" "));
    for reading in shown {
        let (x, y, level) =
            (scale.x(reading.taken), scale.y(reading.tenths), reading.level().name());
        let radius = if reading.taken == last.taken { 7 } else { 5 };
        let moment = Moment::of(reading.taken);
        let (date, time, value) = (moment.date(), moment.time(), reading.value());
        let _ = writeln!(
            svg,
            "<circle class=\"{level}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\">\
             <title>{date}, {time}: {value} mmol/L</title></circle>"
        );
    }
    svg.push_str(
        "</svg>\n<figcaption>mmol/L; the band is the target range.</figcaption>\n</figure>",
    );
    svg
}

/// Where moments and values lie in the chart.
struct Scale {
    from: u64,
    until: u64,
    top_tenths: u16,
}

impl Scale {
    fn over(shown: &[&Reading]) -> Self {
        let from = shown.iter().map(|it| it.taken).min().unwrap_or_default();
        let until = shown.iter().map(|it| it.taken).max().unwrap_or_default();
        let greatest = shown.iter().map(|it| it.tenths).max().unwrap_or_default();
        let top_tenths = greatest.saturating_add(10).next_multiple_of(20).max(140);
        Self { from, until: until.max(from + 1), top_tenths }
    }

    fn x(&self, taken: u64) -> f64 {
        let share = taken.saturating_sub(self.from) as f64 / (self.until - self.from) as f64;
        LEFT + 12.0 + share * (WIDTH - LEFT - RIGHT - 24.0)
    }

    fn y(&self, tenths: u16) -> f64 {
        let share = f64::from(tenths) / f64::from(self.top_tenths);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    /// Draws a line per step of the value and a tick per midnight.
    fn grid(&self, svg: &mut String) {
        let step = if self.top_tenths <= 160 { 40 } else { 100 };
        let end = WIDTH - RIGHT;
        for tenths in (0..=self.top_tenths).step_by(step) {
            let (y, label) = (self.y(tenths), tenths / 10);
            let (beside, below) = (LEFT - 8.0, y + 4.0);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/>\
                 <text x=\"{beside}\" y=\"{below:.1}\" text-anchor=\"end\">{label}</text>"
            );
        }

        const DAY: u64 = 86_400;
        let days = (self.until - self.from) / DAY;
        // At most about eight dates fit beside each other, and on a phone every other one.
        let every = usize::try_from(days / 8 + 1).unwrap_or(1);
        let midnights = (self.from / DAY + 1)..=(self.until / DAY);
        for (index, midnight) in midnights.step_by(every).enumerate() {
            let (x, base) = (self.x(midnight * DAY), HEIGHT - BOTTOM);
            let (date, label) = (Moment::of(midnight * DAY).date(), HEIGHT - 10.0);
            let class = if 3 < days && index % 2 == 1 { " class=\"sparse\"" } else { "" };
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{base}\"/>\
                 <text{class} x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">{date}</text>"
            );
        }
    }
}

/// Makes text harmless inside an element and inside a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_was_typed_stays_text() {
        let typed = "<script>alert('\"')</script>&amp;";
        let entry = Entry { value: typed.into(), note: typed.into() };
        let page = page(&Journal::invented(UNIX_EPOCH), Some((&entry, typed)));
        assert!(!page.contains("<script"));
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;&quot;&#39;)").count(), 3);
    }

    #[test]
    fn a_chart_of_one_reading_has_finite_coordinates() {
        let reading = Reading { taken: 0, tenths: 56, note: String::new() };
        let svg = chart(&[&reading]);
        assert!(svg.contains("<circle"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
