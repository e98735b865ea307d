//! A simulated modem on a pseudo-terminal, which can be unplugged and plugged in again.

use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, OptionalActions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::brain::{Brain, Traits};

/// The modem. Dropping it unplugs it.
pub(crate) struct Simulator {
    brain: Arc<Mutex<Brain>>,
    /// Something is to be said.
    spoken: Arc<Notify>,
    /// How often it was spoken to: who waits for the brain to change waits for this.
    changes: watch::Sender<u64>,
    place: TempDir,
    plugged: JoinSet<()>,
}

impl Simulator {
    pub(crate) fn new(traits: Traits) -> Self {
        let mut simulator = Self {
            brain: Arc::new(Mutex::new(Brain::new(traits))),
            spoken: Arc::default(),
            changes: watch::channel(0).0,
            place: tempfile::tempdir().unwrap(),
            plugged: JoinSet::new(),
        };
        simulator.plug_in();
        simulator
    }

    /// The device, by a name that stays the same.
    pub(crate) fn device(&self) -> PathBuf {
        self.place.path().join("modem")
    }

    pub(crate) fn plug_in(&mut self) {
        let (port, keeper) = terminal(&self.device()).unwrap();
        let mut reader = pipe::Receiver::from_file_unchecked(port.try_clone().unwrap()).unwrap();
        let mut writer = pipe::Sender::from_file_unchecked(port).unwrap();
        let (brain, spoken) = (self.brain.clone(), self.spoken.clone());
        let changes = self.changes.clone();
        self.plugged.spawn(async move {
            let _keeper = keeper;
            let mut buffer = [0; 256];
            loop {
                let said = brain.lock().unwrap().output();
                writer.write_all(&said).await.unwrap();
                tokio::select! {
                    count = reader.read(&mut buffer) => {
                        brain.lock().unwrap().input(&buffer[..count.unwrap()]);
                    }
                    () = spoken.notified() => {}
                }
                changes.send_modify(|it| *it += 1);
            }
        });
    }

    pub(crate) async fn unplug(&mut self) {
        std::fs::remove_file(self.device()).unwrap();
        self.plugged.shutdown().await;
        let mut brain = self.brain();
        brain.reset();
        brain.output();
    }

    /// Does something to the brain; what it says then goes out.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Brain) -> T) -> T {
        let done = act(&mut self.brain());
        self.spoken.notify_one();
        done
    }

    /// Waits until the brain is as wanted.
    pub(crate) async fn until(&self, mut wanted: impl FnMut(&mut Brain) -> bool) {
        let mut changes = self.changes.subscribe();
        while !wanted(&mut self.brain()) {
            changes.changed().await.unwrap();
        }
    }

    fn brain(&self) -> MutexGuard<'_, Brain> {
        self.brain.lock().unwrap()
    }
}

/// A pseudo-terminal's two ends; the second keeps the first from seeing a client go.
fn terminal(link: &Path) -> io::Result<(File, File)> {
    let port = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    pty::grantpt(&port)?;
    pty::unlockpt(&port)?;
    let name = pty::ptsname(&port, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let client = rustix::fs::open(&name, flags, Mode::empty())?;
    let mut settings = termios::tcgetattr(&client)?;
    settings.make_raw();
    termios::tcsetattr(&client, OptionalActions::Now, &settings)?;
    rustix::io::ioctl_fionbio(&port, true)?;
    symlink(name.to_str().unwrap(), link)?;
    Ok((port.into(), client.into()))
}
