//! What keys there are: whose, how old, how far; never what is in them.

use std::path::Path;

use anyhow::Context;
use ringback_proto::access_request::Kid;

use crate::clock;
use crate::config::Places;
use crate::keyring::Contents;
use crate::keys::TerminalKeys;

/// One key id.
struct Row {
    kid: Kid,
    name: String,
    epoch: Option<u32>,
    since: u64,
    standing: &'static str,
}

/// Lists the keys of a proxy's configuration and keyring.
pub fn list(file: &Path, json: bool) -> anyhow::Result<String> {
    let places = Places::read(file)?;
    let contents = match &places.keyring {
        Some(keyring) => keyring.read().context("RB-KEYRING")?,
        None => Contents::default(),
    };
    let mut rows: Vec<Row> = Vec::new();
    for place in &places.terminals {
        let Some(file) = &place.keys else { continue };
        let keys = TerminalKeys::read(file);
        let keys = keys.with_context(|| format!("RB-KEY: {}", file.display()))?;
        let name = place.name.as_ref().map_or("-", |it| it.as_str()).to_owned();
        rows.push(row(&keys, name, &contents));
    }
    for keys in contents.keys() {
        let name = keys.enrolment.as_ref().map_or("-", |it| it.name.as_str()).to_owned();
        rows.push(row(keys, name, &contents));
    }
    for (kid, revoked) in contents.revoked() {
        if rows.iter().all(|it| it.kid != *kid) {
            let name = revoked.name.as_ref().map_or("-", |it| it.as_str()).to_owned();
            rows.push(Row { kid: *kid, name, epoch: None, since: revoked.at, standing: "revoked" });
        }
    }
    Ok(if json { as_json(&rows) } else { as_table(&rows) })
}

fn row(keys: &TerminalKeys, name: String, contents: &Contents) -> Row {
    let retiring = keys.enrolment.as_ref().is_some_and(|it| it.retire.is_some());
    let standing = if contents.is_revoked(keys.kid) {
        "revoked"
    } else if retiring {
        "replaced"
    } else if keys.is_proved() {
        "in use"
    } else {
        "unproved"
    };
    Row { kid: keys.kid, name, epoch: Some(keys.psk.epoch()), since: keys.since, standing }
}

fn as_table(rows: &[Row]) -> String {
    let mut text =
        format!("{:<10}{:<10}{:>7}{:>12}  {}\n", "kid", "standing", "epoch", "age", "terminal");
    for row in rows {
        let epoch = row.epoch.map_or("-".to_owned(), |it| it.to_string());
        let age = age(row.since);
        let kid = row.kid.to_string();
        text.push_str(&format!("{kid:<10}{:<10}{epoch:>7}{age:>12}  {}\n", row.standing, row.name));
    }
    text
}

fn as_json(rows: &[Row]) -> String {
    let row = |it: &Row| {
        let words = serde_json::json!({
            "kid": it.kid.to_string(),
            "terminal": it.name,
            "epoch": it.epoch,
            "since": it.since,
            "standing": it.standing,
        });
        format!("{words}\n")
    };
    rows.iter().map(row).collect()
}

/// How long ago an epoch began, in the largest unit that fits.
fn age(since: u64) -> String {
    if since == 0 {
        return "unknown".into();
    }
    match clock::unix_seconds().saturating_sub(since) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
