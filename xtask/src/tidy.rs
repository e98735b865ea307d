//! What the compiler does not check, so that a stranger finds the way: openings, lengths, the map.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// The most lines a source file may have, its tests included.
const LINES: usize = 600;

/// What stands for work put off. Spelled so that this file does not contain it.
const PUT_OFF: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Checks everything and reports all complaints together.
pub(crate) fn tidy() -> Result<()> {
    let files = files()?;
    let mut complaints = Vec::new();
    let mut sources = 0;
    for file in files.iter().filter(|it| !it.ends_with("Cargo.lock")) {
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        if file.ends_with(".rs") {
            sources += 1;
            complaints.extend(source(file, &text));
        }
        complaints.extend(put_off(file, &text));
    }
    ensure!(0 < sources, "no source file was found to check");

    let workspace = fs::read_to_string(root().join("Cargo.toml")).context("read Cargo.toml")?;
    let (members, uncommented) = members(&workspace)?;
    complaints.extend(uncommented);
    match fs::read_to_string(root().join("ARCHITECTURE.md")) {
        Ok(map) => complaints.extend(architecture(&map, &members, &files)),
        Err(error) => complaints.push(format!("ARCHITECTURE.md: {error}")),
    }

    if complaints.is_empty() {
        eprintln!("xtask: {sources} source files are tidy");
        return Ok(());
    }
    bail!("not tidy:\n  {}", complaints.join("\n  "))
}

/// Every file of the repository, those not yet committed included.
fn files() -> Result<Vec<String>> {
    let words = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(words).current_dir(root()).output().context("run git")?;
    ensure!(output.status.success(), "git cannot list the files");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn source(file: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//! ") {
        complaints.push(format!("{file}: does not open with //! and what it is"));
    }
    let lines = text.lines().count();
    if LINES < lines {
        complaints.push(format!("{file}: has {lines} lines, more than {LINES}"));
    }
    complaints
}

fn put_off(file: &str, text: &str) -> Vec<String> {
    let put_off = |line: &str| PUT_OFF.iter().any(|it| line.contains(it));
    text.lines()
        .enumerate()
        .filter(|(_, line)| put_off(line))
        .map(|(index, _)| format!("{file}:{}: work put off: do it or write an issue", index + 1))
        .collect()
}

/// The workspace's members, and complaints about those without a comment.
fn members(workspace: &str) -> Result<(Vec<String>, Vec<String>)> {
    let list = workspace.split_once("members = [").and_then(|(_, rest)| rest.split_once("\n]"));
    let (list, _) = list.context("Cargo.toml has no list of members, one a line")?;
    let (mut members, mut complaints) = (Vec::new(), Vec::new());
    for line in list.lines().filter(|it| it.contains('"')) {
        let member = line.split('"').nth(1).unwrap_or_default().to_owned();
        if !line.contains("# ") {
            complaints.push(format!("Cargo.toml: the member {member} has no comment"));
        }
        members.push(member);
    }
    ensure!(!members.is_empty(), "Cargo.toml lists no member");
    Ok((members, complaints))
}

/// The map names every crate, and nothing that is not there.
fn architecture(map: &str, members: &[String], files: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for member in members {
        let name = member.rsplit('/').next().unwrap_or(member);
        if !quoted(map).any(|it| it == name || it.trim_end_matches('/').ends_with(member)) {
            complaints.push(format!("ARCHITECTURE.md: does not name the crate {name}"));
        }
    }
    for path in quoted(map).filter(|it| is_path(it, files)) {
        let place = path.trim_end_matches('/');
        let exists = files.iter().any(|it| {
            let beside = it.strip_suffix(place).is_some_and(|rest| rest.ends_with('/'));
            it == place || it.starts_with(&format!("{place}/")) || beside
        });
        if !exists {
            complaints.push(format!("ARCHITECTURE.md: {path} does not exist"));
        }
    }
    complaints
}

/// What stands between backticks, in a line of its own or in a sentence.
fn quoted(map: &str) -> impl Iterator<Item = &str> {
    map.lines().flat_map(|it| it.split('`').skip(1).step_by(2))
}

/// Tells whether a quoted word is meant as a path: a source file, or below one of our folders.
fn is_path(word: &str, files: &[String]) -> bool {
    if word.contains(|it: char| it.is_whitespace() || "*{}<>…".contains(it)) {
        return false;
    }
    let Some((first, _)) = word.split_once('/') else { return word.ends_with(".rs") };
    word.ends_with(".rs") || files.iter().any(|it| it.split('/').next() == Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<String> {
        ["Cargo.toml", "crates/a/src/lib.rs", "xtask/src/main.rs"].map(str::to_owned).to_vec()
    }

    fn complaints(map: &str) -> Vec<String> {
        architecture(map, &["crates/a".to_owned(), "xtask".to_owned()], &files())
    }

    #[test]
    fn a_source_file_opens_by_saying_what_it_is() {
        assert!(source("a.rs", "//! A noun.\n").is_empty());
        assert_eq!(source("a.rs", "use std::fs;\n").len(), 1);
    }

    #[test]
    fn a_source_file_ends_at_six_hundred_lines() {
        assert!(source("a.rs", &"//! A\n".repeat(600)).is_empty());
        assert_eq!(source("a.rs", &"//! A\n".repeat(601)).len(), 1);
    }

    #[test]
    fn work_is_not_put_off() {
        assert_eq!(put_off("a.rs", &format!("//! A\n// {}: more", PUT_OFF[0])).len(), 1);
        assert!(put_off("a.rs", "//! A\n// No more to do.").is_empty());
    }

    #[test]
    fn every_member_has_a_comment() {
        let (members, complaints) =
            members("members = [\n    \"a\", # why\n    \"b\",\n]\n").expect("a list");
        assert_eq!(members, ["a", "b"]);
        assert_eq!(complaints.len(), 1);
    }

    #[test]
    fn the_map_names_every_crate_and_only_what_exists() {
        assert!(complaints("`crates/a/` and `xtask`, from `lib.rs` on: `a/b` is `x`").is_empty());
        assert_eq!(complaints("`crates/a` alone").len(), 1);
        assert_eq!(complaints("`crates/a`, `xtask`, `crates/b/src/lib.rs`").len(), 1);
        assert_eq!(complaints("`crates/a`, `xtask`, `gone.rs`").len(), 1);
    }
}
