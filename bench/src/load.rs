//! What one public proxy must bear: many sessions at once, many rings a second, many sessions in turn.
//!
//! Each kind prints what it has done and lost, and fails if it has lost anything. The roles are the
//! release binary with files that a user could have written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::clock;
use crate::cores::{self, Cores};
use crate::process::{self, Process};

mod fleet;
mod held;
mod lookup;
mod rung;
mod standing;

use fleet::Fleet;

/// How long one session may take in all; then it is lost.
const SESSION_PATIENCE: Duration = Duration::from_secs(30);

/// How a public proxy is loaded.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Which way; all of them one after the other if none is named.
    #[arg(value_enum)]
    kinds: Vec<Kind>,
    /// Terminals in the directory [default: 100 held, 6000 rung, 250 standing].
    #[arg(long)]
    terminals: Option<usize>,
    /// Sessions [default: 9000 held, 100000 standing].
    #[arg(long)]
    sessions: Option<usize>,
    /// Sessions a second, rung.
    #[arg(long, default_value_t = 500)]
    rate: usize,
    /// For so long, rung.
    #[arg(long, default_value_t = 60)]
    seconds: usize,
    /// Where a line is added for each.
    #[arg(long)]
    into: PathBuf,
    /// Our own binary.
    #[arg(long)]
    ringback: PathBuf,
}

/// A way to load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Sessions that are all open at once, by a proxy with 20,000 descriptors.
    Held,
    /// Whole sessions, each with its look-up, its ring by SMS, its dial-back and its bytes.
    Rung,
    /// Sessions one after the other over tunnels that stand by; what stays behind of each.
    Standing,
}

impl Load {
    /// Loads, and says what came of it.
    pub(crate) fn run(self) -> Result<()> {
        cores::prepare_network()?;
        let _cores = Cores::take()?;
        let ringback = self.ringback.canonicalize()?;
        let kinds = match self.kinds[..] {
            [] => vec![Kind::Held, Kind::Rung, Kind::Standing],
            ref some => some.to_vec(),
        };
        for kind in kinds {
            self.one(kind, &ringback)?;
        }
        Ok(())
    }

    fn one(&self, kind: Kind, ringback: &Path) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let own = std::env::current_exe()?.to_string_lossy().into_owned();
        let server = Process::start("serve", folder.path(), &[&own, "serve"])?;
        let terminals = self.terminals.unwrap_or(match kind {
            Kind::Held => 100,
            Kind::Rung => 6_000,
            Kind::Standing => 250,
        });
        eprintln!("bench: making {terminals} terminals");
        let fleet = Fleet {
            terminals,
            linger: if kind == Kind::Rung { 0 } else { 86_400 },
            files: if kind == Kind::Held { held::FILES } else { 0 },
        };
        let roles = fleet.raise(ringback, folder.path())?;
        eprintln!("bench: the roles are ready");
        let (begun, before) = (clock::now(), cpu(&roles));
        let told = match kind {
            Kind::Held => held::run(&roles, terminals, self.sessions.unwrap_or(9_000))?,
            Kind::Rung => rung::run(terminals, self.rate, self.seconds)?,
            Kind::Standing => standing::run(&roles, terminals, self.sessions.unwrap_or(100_000))?,
        };
        let after = cpu(&roles);
        let cpu: BTreeMap<_, _> =
            after.into_iter().map(|(it, now)| (it, now - before[it])).collect();
        let seconds = begun.elapsed().as_secs_f64();
        let line = json!({
            "load": format!("{kind:?}").to_lowercase(), "at": clock::unix_seconds(),
            "machine": process::machine()?, "terminals": terminals, "seconds": seconds,
            "cpu_seconds": cpu, "told": told.figures,
        });
        println!("{line}");
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.into)?;
        writeln!(file, "{line}")?;
        drop(server);
        if 0 < told.lost {
            eprintln!("{}", fleet::complaints(folder.path()));
        }
        ensure!(told.lost == 0, "{} sessions were lost", told.lost);
        Ok(())
    }
}

/// What one kind of load tells.
struct Told {
    figures: serde_json::Value,
    lost: u64,
}

fn cpu(roles: &[Process]) -> BTreeMap<&'static str, f64> {
    roles.iter().map(|it| (it.name, process::cpu_seconds(&[it.pid()]))).collect()
}

/// By process: descriptors and resident octets.
fn holds(roles: &[Process]) -> BTreeMap<&'static str, (usize, u64)> {
    let holds = |pid| (process::descriptors(pid), process::resident(pid));
    roles.iter().map(|it| (it.name, holds(it.pid()))).collect()
}
