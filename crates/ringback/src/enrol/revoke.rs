//! Revoking a terminal: its keys are erased, their ids are never taken again, and a running proxy
//! cuts what they carry.

use std::path::Path;

use anyhow::{Context, bail};
use ringback_proto::access_request::Kid;
use ringback_proto::terminal::TerminalName;

use super::effect;
use crate::clock;
use crate::config::Places;
use crate::keyring::{Contents, Keyring};
use crate::keys::TerminalKeys;
use crate::reload::{self, Reread};

/// Revokes a terminal by its name, or one key id, and waits until that is in effect.
pub async fn revoke(file: &Path, whom: &str, json: bool) -> anyhow::Result<()> {
    let places = Places::read(file)?;
    let keyring = places.keyring.clone();
    let keyring = keyring
        .context("RB-KEYRING: add keyring = \"…\", a folder: what is revoked is listed there")?;
    let held = keyring.hold().context("RB-KEYRING")?;
    let contents = held.contents().context("RB-KEYRING")?;
    let name = TerminalName::parse(whom).ok();
    let kids = kids(&places, &keyring, &contents, whom, name.as_ref())?;
    let now = clock::unix_seconds();
    held.revoke(name.as_ref(), &kids, now)
        .context("RB-KEYRING: not all is erased; run it again")?;
    if let Some(name) = &name {
        held.end_offers_for(name).context("RB-KEYRING")?;
    }
    drop(held);

    let reread = reload::ask(&places.state).await?;
    let ids: Vec<String> = kids.iter().map(ToString::to_string).collect();
    if json {
        let in_effect = matches!(reread, Reread::TakenOver | Reread::NotRunning);
        println!("{}", serde_json::json!({ "revoked": ids, "in_effect": in_effect }));
    } else {
        println!("revoked {whom} (kid {}); {}", ids.join(", "), effect(reread));
    }
    match reread {
        Reread::TakenOver | Reread::NotRunning => Ok(()),
        Reread::Kept | Reread::Silent => {
            bail!("RB-REVOKED: restart the proxy to cut what it carries")
        }
    }
}

/// Every key id that is meant: of the keyring, and of files that the configuration names.
fn kids(
    places: &Places,
    keyring: &Keyring,
    contents: &Contents,
    whom: &str,
    name: Option<&TerminalName>,
) -> anyhow::Result<Vec<Kid>> {
    let wanted = (whom.len() == 8).then(|| u32::from_str_radix(whom, 16).ok()).flatten().map(Kid);
    let mut kids: Vec<Kid> = Vec::new();
    for keys in contents.keys() {
        let named = keys.enrolment.as_ref().is_some_and(|it| Some(&it.name) == name);
        if named || Some(keys.kid) == wanted {
            kids.push(keys.kid);
        }
    }
    let named = places.terminals.iter().filter_map(|it| it.keys.as_ref().map(|keys| (it, keys)));
    for (place, file) in named {
        let meant = place.name.is_some() && place.name.as_ref() == name;
        let keys = match TerminalKeys::read(file) {
            Ok(keys) => keys,
            Err(fault) if meant => bail!("RB-KEY: {}: {fault}", file.display()),
            Err(_) => continue,
        };
        if meant || Some(keys.kid) == wanted {
            kids.push(keys.kid);
        }
    }
    if kids.is_empty() {
        bail!(
            "RB-REVOKED: {whom} has no keys here, or none any more; `ringback key list` tells what there \
             is in {}",
            keyring.folder().display()
        );
    }
    Ok(kids)
}
