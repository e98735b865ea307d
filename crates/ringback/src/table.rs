//! A table for people: columns as wide as their words, lines as wide as the terminal, colors there only.
//!
//! Knows nothing of what it shows, and cuts nothing off.

use std::fmt;
use std::io::IsTerminal;

use serde::{Deserialize, Serialize};

/// How much a row matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// How many characters a line has room for.
    columns: usize,
}

/// Characters that a last cell has room for at least; with less beside the others it stands below.
const LEAST: usize = 24;

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
        let color = std::io::stdout().is_terminal();
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        // A terminal that tells no size has the usual one; what is no terminal breaks no lines.
        let columns = size.map_or(usize::MAX, |it| match it.ws_col {
            0 => 80,
            columns => usize::from(columns).max(LEAST),
        });
        Self { heads: heads.to_vec(), rows: Vec::new(), color, columns }
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

impl Table {
    fn widths(&self) -> Vec<usize> {
        let width = |(column, head): (usize, &&str)| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            let cells = cells.map(|it| it.chars().count());
            cells.chain([head.chars().count()]).max().unwrap_or_default()
        };
        self.heads.iter().enumerate().map(width).collect()
    }

    /// Writes a row; a last cell that does not fit is broken between words, below itself.
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        (tone, cells): (Option<Tone>, &[String]),
        widths: &[usize],
    ) -> fmt::Result {
        let Some((last, first)) = cells.split_last() else { return Ok(()) };
        let padded = first.iter().zip(widths).map(|(cell, &width)| format!("{cell:width$}  "));
        let padded: String = padded.collect();
        let before: usize = widths.iter().take(first.len()).map(|it| it + 2).sum();
        let beside = self.columns.saturating_sub(before);
        let below = beside < LEAST && beside < widths.last().copied().unwrap_or_default();
        let (indent, room) = if below { (4, self.columns - 4) } else { (before, beside) };
        write!(f, "{}", if below { padded.trim_end() } else { &padded })?;
        for (place, line) in broken(last, room).into_iter().enumerate() {
            if below || 0 < place {
                write!(f, "\n{:indent$}", "")?;
            }
            write!(f, "{}", tone.map_or_else(|| line.clone(), |it| self.colored(it, &line)))?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let heads: Vec<String> = self.heads.iter().map(|it| (*it).to_owned()).collect();
        self.write(f, (None, &heads), &widths)?;
        for (tone, cells) in &self.rows {
            writeln!(f)?;
            self.write(f, (Some(*tone), cells), &widths)?;
        }
        Ok(())
    }
}

/// A text in lines of so many characters, broken between words; a longer word is left whole.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().filter(|it| !it.is_empty());
        match line {
            Some(line) if room < line.chars().count() + 1 + word.chars().count() => {
                lines.push(word.to_owned());
            }
            Some(line) => *line = format!("{line} {word}"),
            None => {
                lines.pop();
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: usize) -> Table {
        let heads = vec!["a", "long head", "c"];
        let mut table = Table { heads, rows: Vec::new(), color: false, columns };
        table.row(Tone::Good, vec!["wide cell".into(), "x".into(), "ok".into()]);
        table.row(Tone::Bad, vec!["y".into(), "z".into(), "no word of it is lost here".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let wanted = "a          long head  c\nwide cell  x          ok\n\
                      y          z          no word of it is lost here";
        assert_eq!(table(usize::MAX).to_string(), wanted);
    }

    #[test]
    fn a_last_cell_that_does_not_fit_is_broken_below_itself() {
        let wanted = "a          long head  c\nwide cell  x          ok\n\
                      y          z          no word of it is lost\n                      here";
        assert_eq!(table(22 + LEAST).to_string(), wanted);
    }

    #[test]
    fn a_last_cell_without_room_beside_the_others_stands_below_them() {
        let narrow = table(21 + LEAST).to_string();
        let end = "y          z\n    no word of it is lost here";
        assert!(narrow.ends_with(end), "{narrow}");
    }
}
