//! One table of a configuration file, read key by key; what is wrong is noted and reading goes on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::ServiceId;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keyring::{Contents, Keyring};
use crate::limits::WORKERS;
use crate::{keys, workers};

/// One mistake: where it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    line: usize,
    key: String,
    text: String,
}

/// A parsed file and the mistakes found in it so far.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    folder: &'a Path,
    table: Spanned<DeTable<'a>>,
    problems: RefCell<Vec<Problem>>,
}

/// One table; its keys are taken one after another, and what is left is unknown.
pub struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    path: String,
    line: usize,
    known: BTreeSet<&'static str>,
}

impl Problem {
    /// Notes a mistake; line 0 stands for the whole file.
    pub fn new(line: usize, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { line, key: key.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if 0 < self.line {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

impl<'a> Source<'a> {
    /// Parses the text; a file that is no TOML has one mistake only.
    pub(super) fn parse(text: &'a str, folder: &'a Path) -> Result<Self, Vec<Problem>> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { text, folder, table, problems: RefCell::default() }),
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(text, span.start));
                Err(vec![Problem::new(line, "", error.message().to_owned())])
            }
        }
    }

    /// The file's top table.
    pub(super) fn root(&'a self) -> Section<'a> {
        Section {
            source: self,
            table: self.table.get_ref(),
            path: String::new(),
            line: 0,
            known: BTreeSet::new(),
        }
    }

    /// What was read, if nothing was wrong.
    pub(super) fn verdict<T>(&self, value: Option<T>) -> Result<T, Vec<Problem>> {
        let mut problems = self.problems.borrow().clone();
        problems.sort();
        problems.dedup();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            Some(_) | None => Err(problems),
        }
    }
}

impl<'a> Section<'a> {
    /// Whether the key is there; it counts as known from now on.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.take(key).is_some()
    }

    /// Whether there is nothing under the key, not even something wrong, which is told by itself.
    pub fn lacks(&mut self, key: &'static str) -> bool {
        let empty =
            |it: &Spanned<DeValue<'_>>| matches!(it.get_ref(), DeValue::Array(it) if it.is_empty());
        self.take(key).is_none_or(empty)
    }

    /// The line the section begins on.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Notes a mistake about a key of this section.
    pub fn wrong(&self, key: &str, text: impl Into<String>) {
        let line = self.table.get(key).map_or(self.line, |value| self.line_at(value));
        self.note(line, self.name(key), text.into());
    }

    /// A value that may be missing, parsed from its text.
    pub fn text<T: FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let value = self.take(key)?;
        self.parsed(key, value)
    }

    /// A value that must be there, parsed from its text.
    pub fn required<T: FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        self.require(key)?;
        self.text(key)
    }

    /// `host:port` that must be given; the host is looked up when it is connected to.
    pub fn host_and_port(&mut self, key: &'static str) -> Option<String> {
        let text: String = self.required(key)?;
        if !is_host_and_port(&text) {
            self.wrong(key, format!("{text:?}: must be host:port"));
            return None;
        }
        Some(text)
    }

    /// A list of values, empty if missing; a single value counts as a list of one.
    pub fn list<T: FromStr>(&mut self, key: &'static str) -> Vec<T>
    where
        T::Err: fmt::Display,
    {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            return self.parsed(key, value).into_iter().collect();
        };
        values.iter().filter_map(|value| self.parsed(key, value)).collect()
    }

    /// A truth value, false if missing.
    pub fn flag(&mut self, key: &'static str) -> bool {
        let Some(value) = self.take(key) else { return false };
        let DeValue::Boolean(flag) = value.get_ref() else {
            self.note(self.line_at(value), self.name(key), "must be true or false".into());
            return false;
        };
        *flag
    }

    /// A whole number within bounds, or the default if missing.
    pub fn number(&mut self, key: &'static str, least: u64, most: u64, default: u64) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        match number {
            Some(number) if least <= number && number <= most => number,
            Some(_) | None => {
                let text = format!("must be a whole number from {least} to {most}");
                self.note(self.line_at(value), self.name(key), text);
                default
            }
        }
    }

    /// A duration in whole seconds within bounds, or the default if missing.
    pub fn seconds(&mut self, key: &'static str, least: u64, most: u64, default: u64) -> Duration {
        Duration::from_secs(self.number(key, least, most, default))
    }

    /// How many threads carry sessions.
    pub fn workers(&mut self) -> usize {
        let (most, usual) = (WORKERS as u64, workers::usual());
        usize::try_from(self.number("workers", 1, most, usual as u64)).unwrap_or(usual)
    }

    /// A service's id, 0 if missing. On the wire the highest number stands for the only service.
    pub fn service_id(&mut self, key: &'static str) -> ServiceId {
        let id = self.number(key, 0, u64::from(u16::MAX) - 1, 0);
        ServiceId(u16::try_from(id).unwrap_or_default())
    }

    /// A path, relative to the file's folder, that must be given.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.required(key)?;
        Some(self.source.folder.join(path))
    }

    /// The file that a key must name, read by `read`.
    pub fn file<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Option<T> {
        let path = self.path(key)?;
        match read(&path) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(key, format!("{}: {error}", path.display()));
                None
            }
        }
    }

    /// The keyring that a key may name, and what is in it.
    pub fn keyring(&mut self, key: &'static str) -> (Option<Keyring>, Contents) {
        if !self.has(key) {
            return (None, Contents::default());
        }
        let Some(keyring) = self.path(key).map(Keyring::at) else {
            return (None, Contents::default());
        };
        let contents = keyring.read().unwrap_or_else(|fault| {
            self.wrong(key, format!("{}: {fault}", keyring.folder().display()));
            Contents::default()
        });
        (Some(keyring), contents)
    }

    /// A table that may be missing.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.take(key)?;
        let section = self.enter(value, self.name(key));
        if section.is_none() {
            self.note(self.line_at(value), self.name(key), "must be a table".into());
        }
        section
    }

    /// The tables of an array of tables, none if missing.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let entered: Option<Vec<_>> = match value.get_ref() {
            DeValue::Array(values) => (values.iter().enumerate())
                .map(|(place, it)| self.enter(it, format!("{}[{place}]", self.name(key))))
                .collect(),
            DeValue::Table(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        };
        entered.unwrap_or_else(|| {
            let text = format!("must be a list of tables: write [[{}]]", self.name(key));
            self.note(self.line_at(value), self.name(key), text);
            Vec::new()
        })
    }

    /// The tables under a key by the names that the file gives them, none if missing.
    pub fn named_sections(&mut self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.note(self.line_at(value), self.name(key), "must be a table".into());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, value) in table.iter() {
            let path = format!("{}.{}", self.name(key), name.get_ref());
            match self.enter(value, path.clone()) {
                Some(section) => sections.push((name.get_ref().to_string(), section)),
                None => self.note(self.line_at(value), path, "must be a table".into()),
            }
        }
        sections
    }

    /// A public key: in PEM itself, or the file that holds it.
    pub fn public_key(&mut self, key: &'static str) -> Option<PublicKey> {
        let text: String = self.required(key)?;
        if !text.contains("-----BEGIN") {
            return self.file(key, keys::read_public_key);
        }
        keys::parse_public_key(&text).map_err(|fault| self.wrong(key, fault.to_string())).ok()
    }

    /// A table read by serde, for a configuration that another module owns.
    pub fn deserialized<T: serde::de::DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.note(self.line_at(value), self.name(key), "must be a table".into());
            return None;
        };
        let spanned = Spanned::new(value.span(), table.clone());
        match T::deserialize(toml::de::Deserializer::from(spanned)) {
            Ok(value) => Some(value),
            Err(error) => {
                let line = error
                    .span()
                    .map_or(self.line_at(value), |span| line_of(self.source.text, span.start));
                self.note(line, self.name(key), error.message().to_owned());
                None
            }
        }
    }

    /// Notes every key that nobody asked for, with the nearest one that exists.
    pub fn finish(self) {
        for (key, value) in self.table.iter() {
            let key: &str = key.get_ref();
            if self.known.contains(key) {
                continue;
            }
            let nearest = self.known.iter().map(|known| (distance(known, key), known)).min();
            let hint = match nearest {
                Some((steps, known)) if steps <= 1 + key.len() / 3 => {
                    format!("; did you mean {known}?")
                }
                Some(_) | None => format!(
                    "; known here: {}",
                    self.known.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            self.note(self.line_at(value), self.name(key), format!("unknown key{hint}"));
        }
    }

    fn require(&mut self, key: &'static str) -> Option<()> {
        if self.take(key).is_some() {
            return Some(());
        }
        self.note(self.line, self.name(key), "missing".into());
        None
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.table.get(key)
    }

    fn parsed<T: FromStr>(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let DeValue::String(text) = value.get_ref() else {
            self.note(self.line_at(value), self.name(key), "must be a text in quotes".into());
            return None;
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(self.line_at(value), self.name(key), format!("{text:?}: {error}"));
                None
            }
        }
    }

    fn enter(&self, value: &'a Spanned<DeValue<'a>>, path: String) -> Option<Section<'a>> {
        let DeValue::Table(table) = value.get_ref() else { return None };
        let line = self.line_at(value);
        Some(Section { source: self.source, table, path, line, known: BTreeSet::new() })
    }

    fn note(&self, line: usize, key: String, text: String) {
        self.source.problems.borrow_mut().push(Problem { line, key, text });
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn line_at(&self, value: &Spanned<DeValue<'_>>) -> usize {
        line_of(self.source.text, value.span().start)
    }
}

/// Whether a text is `host:port`.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|octet| *octet == b'\n').count()
}

/// Levenshtein's distance: how many letters must change to make one key of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
        let source = Source::parse(text, Path::new(".")).unwrap();
        let mut root = source.root();
        read(&mut root);
        root.finish();
        source.verdict(None::<()>).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line() {
        let text = "count = 99\nlisten = \"here\"\nflag = 1\nlistne = 2\n";
        let found = problems(text, |root| {
            root.number("count", 1, 10, 1);
            root.list::<std::net::SocketAddr>("listen");
            root.flag("flag");
            root.required::<String>("name");
        });
        assert_eq!(
            found,
            [
                "name: missing",
                "line 1: count: must be a whole number from 1 to 10",
                "line 2: listen: \"here\": invalid socket address syntax",
                "line 3: flag: must be true or false",
                "line 4: listne: unknown key; did you mean listen?",
            ]
        );
    }

    #[test]
    fn a_key_far_from_all_others_lists_them() {
        let found = problems("zebra = 1", |root| {
            root.flag("flag");
        });
        assert_eq!(found, ["line 1: zebra: unknown key; known here: flag"]);
    }

    #[test]
    fn a_file_that_is_no_toml_says_where() {
        let error = Source::parse("a = 1\nb = = 2", Path::new(".")).unwrap_err();
        assert_eq!(error[0].line, 2);
    }
}
