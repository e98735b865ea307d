//! Reloading: a hangup signal asks for the configuration file to be read again.
//!
//! A file with a mistake changes nothing: it is told, and the role goes on with what it has. What is
//! bound or authenticated by stays as it is until a restart, and that is told too.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, warn};

use crate::config::Config;

/// Where a role's configuration comes from, and who asks for it to be read again.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    hangup: Signal,
}

impl Reload {
    /// Listens for hangup signals from now on; without this a hangup would end the process.
    pub fn new(file: PathBuf) -> std::io::Result<Self> {
        Ok(Self { file, hangup: signal(SignalKind::hangup())? })
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
            match Config::load(&self.file) {
                Ok(config) => return config,
                // Their words may hold a number or a name: they are for whoever runs `ringback check`.
                Err(_) => error!("not reloaded: `ringback check` tells the file's mistakes"),
            }
        }
    }
}
