//! A table for people: columns as wide as their words, colors on a terminal only.
//!
//! Knows nothing of what it shows, and cuts nothing off.

use std::fmt;
use std::io::IsTerminal;

/// How much a row matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look at it.
    Doubtful,
    /// Somebody must act.
    Bad,
}

/// Rows under their headings.
#[derive(Debug)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<(Tone, Vec<String>)>,
    color: bool,
}

impl Tone {
    /// What machines are told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Doubtful => "33",
            Self::Bad => "31",
        }
    }
}

impl Table {
    /// A table for standard output.
    pub fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new(), color: std::io::stdout().is_terminal() }
    }

    /// Adds a row; its last cell is colored by its tone.
    pub fn row(&mut self, tone: Tone, cells: Vec<String>) {
        self.rows.push((tone, cells));
    }

    /// A text in a tone's color.
    pub fn colored(&self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        format!("\x1b[{}m{text}\x1b[0m", tone.color())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            let cells = cells.map(|it| it.chars().count());
            cells.chain([self.heads[column].chars().count()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let last = widths.len().saturating_sub(1);
        let heads = self.heads.iter().map(|it| (*it).to_owned()).collect();
        for (place, (tone, cells)) in [(None, heads)]
            .into_iter()
            .chain(self.rows.iter().map(|(tone, cells)| (Some(*tone), cells.clone())))
            .enumerate()
        {
            if 0 < place {
                writeln!(f)?;
            }
            for (column, cell) in cells.iter().enumerate() {
                if column == last {
                    let cell = tone.map_or_else(|| cell.clone(), |it| self.colored(it, cell));
                    write!(f, "{cell}")?;
                    continue;
                }
                write!(f, "{cell:width$}  ", width = widths[column])?;
            }
        }
        Ok(())
    }
}

#[test]
fn columns_are_as_wide_as_their_widest_word() {
    let mut table = Table { heads: vec!["a", "long head", "c"], rows: Vec::new(), color: false };
    table.row(Tone::Good, vec!["wide cell".into(), "x".into(), "ok".into()]);
    table.row(Tone::Bad, vec!["y".into(), "z".into(), "no".into()]);
    assert_eq!(
        table.to_string(),
        "a          long head  c\nwide cell  x          ok\ny          z          no"
    );
}
