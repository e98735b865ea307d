//! Reloading: a hangup signal asks for the configuration file to be read again.
//!
//! A file with a mistake changes nothing: it is told, and the role goes on with what it has. What is
//! bound or authenticated by stays as it is until a restart, and that is told too. Whoever has asked
//! reads in the state folder's lock file what came of it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, warn};

use crate::config::Config;
use crate::limits::{RELOAD_LOOK, RELOAD_PATIENCE};
use crate::state::{self, Tenancy};

/// Where a role's configuration comes from, and who asks for it to be read again.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    hangup: Signal,
    tenancy: Option<Tenancy>,
    count: u64,
}

/// What a running role has made of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// It was taken over.
    TakenOver,
    /// It has a mistake, and the one before stays.
    Kept,
    /// No role runs with it.
    NotRunning,
    /// The role has not said anything in time.
    Silent,
}

impl Reload {
    /// Listens for hangup signals from now on; without this a hangup would end the process.
    pub fn new(file: PathBuf) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { file, hangup, tenancy: None, count: 0 })
    }

    /// From now on tells in the state folder what came of each reload.
    pub(crate) fn report_in(&mut self, tenancy: Tenancy) {
        self.tenancy = Some(tenancy);
    }

    /// Tells whoever has asked that the last configuration was taken over, or was not.
    pub(crate) fn report(&mut self, taken_over: bool) {
        self.count += 1;
        let Some(tenancy) = &mut self.tenancy else { return };
        if let Err(fault) = tenancy.say(self.count, taken_over) {
            error!(%fault, "RB-STATE: cannot tell what came of the reload");
        }
    }

    /// Tells everybody who asks that this role has nothing to read again.
    pub async fn decline(mut self) {
        while self.hangup.recv().await.is_some() {
            warn!("not reloaded: this role reads its configuration once");
        }
    }

    /// The next configuration without a mistake that somebody has asked for. Cancel safe.
    pub async fn next(&mut self) -> Config {
        loop {
            if self.hangup.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            match self.now() {
                Some(config) => return config,
                None => self.report(false),
            }
        }
    }

    /// The configuration as it is now, if it has no mistake.
    pub(crate) fn now(&self) -> Option<Config> {
        // Their words may hold a number or a name: they are for whoever runs `ringback check`.
        let told = |_| error!("not reloaded: `ringback check` tells the file's mistakes");
        Config::load(&self.file).map_err(told).ok()
    }
}

/// Has the role that uses a state folder read its configuration again, and waits for what it says.
pub async fn ask(state: &Path) -> io::Result<Reread> {
    let Some(before) = state::tenant(state)? else { return Ok(Reread::NotRunning) };
    let pid = Pid::from_raw(before.pid).ok_or(io::ErrorKind::InvalidData)?;
    kill_process(pid, rustix::process::Signal::HUP)?;
    let answered = async {
        loop {
            tokio::time::sleep(RELOAD_LOOK).await;
            // Its lock may be being written at this moment.
            match state::tenant(state) {
                Ok(Some(now)) if before.reloads < now.reloads => {
                    return if now.taken_over { Reread::TakenOver } else { Reread::Kept };
                }
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return Reread::NotRunning,
            }
        }
    };
    Ok(tokio::time::timeout(RELOAD_PATIENCE, answered).await.unwrap_or(Reread::Silent))
}
