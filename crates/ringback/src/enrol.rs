//! The operator's side of keys: to offer a terminal, redeem a code, prove a route, revoke, look.
//!
//! Each is one short command beside a running role. A code and a key are secrets: neither is taken
//! from the command line, and no key is ever printed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use ringback_proto::enrolment::{Code, OfferKey};
use ringback_proto::secret::Secret;
use ringback_proto::terminal::TerminalName;

use crate::config::{Config, Mistakes, PublicConfig};
use crate::keyring::{Keyring, Offered};
use crate::reload::{self, Reread};
use crate::{clock, keys};

mod overview;
mod picture;
mod redeem;
mod revoke;
mod starter;

pub use overview::list;
pub use redeem::{Redemption, redeem};
pub use revoke::revoke;

use crate::limits::{OFFER_VALIDITY, RELOAD_LOOK, RELOAD_PATIENCE};

/// How an offer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// As one JSON object.
    pub json: bool,
    /// With a picture of the code, wherever it goes.
    pub qr: bool,
    /// Whether a person is likely to be looking.
    pub terminal: bool,
}

/// Makes a one-time code for a terminal of a public proxy's configuration, and shows it.
pub fn offer(
    file: &Path,
    name: &TerminalName,
    valid: Duration,
    shown: Shown,
) -> anyhow::Result<String> {
    if !shown.terminal && !shown.qr && !shown.json {
        bail!("the code is a secret and standard output is no terminal: add --json or --qr");
    }
    let config = public(file)?;
    let keyring = keyring_of(&config)?;
    if config.directory.enrollable(name).is_none() {
        bail!("RB-OFFER: {name} is no [[terminal]] of this file, or it has `keys` of its own");
    }
    let address = *config.announce.first().context("no address is announced")?;
    let secret = Secret::new(keys::random()?);
    let now = clock::unix_seconds();
    let until = now + valid.min(OFFER_VALIDITY).as_secs();
    let offered = Offered { key: OfferKey::of(&secret), name: name.clone(), until };
    let made = keyring.hold().and_then(|it| it.make_offer(&offered, now));
    made.with_context(|| format!("RB-KEYRING: {}", keyring.folder().display()))?;

    let code = Code { address, public_key: *config.identity.public_key(), secret }.to_text();
    if shown.json {
        let words = serde_json::json!({
            "terminal": name.as_str(),
            "code": code.as_str(),
            "valid_until": until,
        });
        return Ok(format!("{words}\n"));
    }
    let picture = picture::of(&code.replace('-', ""))?;
    let minutes = valid.min(OFFER_VALIDITY).as_secs().div_ceil(60);
    Ok(format!(
        "At the private proxy run\n\n  ringback enrol redeem --config private.toml\n\nand give it \
         this code, or a photo of it:\n\n{code}\n\n{picture}\nIt is good once, for {minutes} \
         minutes. Whoever has read it can redeem it: show it to nobody else.\n",
        code = *code
    ))
}

/// Has the running public proxy ring a terminal, and says whether it has dialed back.
pub async fn prove(file: &Path, name: &TerminalName) -> anyhow::Result<()> {
    let config = public(file)?;
    let keyring = keyring_of(&config)?;
    let asked_at = clock::unix_seconds();
    let asked = keyring.hold().and_then(|it| it.ask(name, asked_at));
    let Some(kid) = asked.context("RB-KEYRING")? else {
        if keyring.read()?.in_use(name).is_some() {
            println!("{name} is enrolled: its route was proved before");
            return Ok(());
        }
        bail!("RB-UNPROVED: {name} has no keys yet: run `ringback enrol offer {name}`");
    };
    match reload::ask(&config.state).await? {
        Reread::TakenOver => {}
        Reread::NotRunning => bail!("RB-UNPROVED: the public proxy does not run: start it"),
        Reread::Kept => bail!("RB-UNPROVED: the public proxy has kept its old configuration"),
        Reread::Silent => bail!("RB-UNPROVED: the public proxy does not answer"),
    }
    let candidate = config.directory.candidates().get(&kid);
    let patience = candidate.map_or(Duration::ZERO, |it| it.terminal.answer_patience);
    println!("ringing {name} …");
    let proved = async {
        loop {
            tokio::time::sleep(RELOAD_LOOK).await;
            let contents = keyring.read()?;
            let Some(found) = contents.keys().iter().find(|it| it.kid == kid) else {
                bail!("RB-UNPROVED: other keys have taken their place");
            };
            if found.is_proved() {
                return Ok(());
            }
            let enrolment = found.enrolment.as_ref();
            let refused = enrolment
                .is_some_and(|it| it.asked.is_none() && it.probes.iter().all(|at| *at < asked_at));
            if refused {
                bail!(
                    "RB-UNPROVED: it may not be rung now: too often (three times in an hour), or the \
                     public proxy's log tells why; try later"
                );
            }
        }
    };
    match tokio::time::timeout(patience + RELOAD_PATIENCE, proved).await {
        Ok(proved) => proved?,
        Err(_) => bail!(
            "RB-UNPROVED: nobody has dialed back: see that the private proxy runs, and the number"
        ),
    }
    println!("{name} has dialed back: it is enrolled");
    Ok(())
}

fn public(file: &Path) -> anyhow::Result<PublicConfig> {
    match Config::load(file)? {
        Config::Public(config) => Ok(*config),
        other @ (Config::Private(_) | Config::Responder(_) | Config::Operator(_)) => {
            Err(Mistakes::of_role(file, "public", &other).into())
        }
    }
}

fn keyring_of(config: &PublicConfig) -> anyhow::Result<Keyring> {
    config
        .keyring
        .clone()
        .context("RB-KEYRING: there is none: add keyring = \"keyring\" to [public]")
}

/// What a running role has made of a change to its keyring, for people.
fn effect(reread: Reread) -> &'static str {
    match reread {
        Reread::TakenOver => "in effect: the running proxy has taken it over",
        Reread::Kept => "not in effect: `ringback check` tells the configuration's mistakes",
        Reread::NotRunning => "in effect from the next start: no proxy runs with this state",
        Reread::Silent => "not known to be in effect: the running proxy does not answer",
    }
}
