//! A simulated modem on a pseudo-terminal or a socket, which can be unplugged and plugged in again.

use std::fs::File;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, OptionalActions};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixListener;
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
    /// On a pseudo-terminal.
    pub(crate) fn new(traits: Traits) -> Self {
        let mut simulator = Self::unplugged(traits);
        simulator.plug_in();
        simulator
    }

    pub(crate) fn unplugged(traits: Traits) -> Self {
        Self {
            brain: Arc::new(Mutex::new(Brain::new(traits))),
            spoken: Arc::default(),
            changes: watch::channel(0).0,
            place: tempfile::tempdir().unwrap(),
            plugged: JoinSet::new(),
        }
    }

    /// The device, by a name that stays the same.
    pub(crate) fn device(&self) -> PathBuf {
        self.place.path().join("modem")
    }

    pub(crate) fn plug_in(&mut self) {
        let (port, keeper) = terminal(&self.device()).unwrap();
        let reader = pipe::Receiver::from_file_unchecked(port.try_clone().unwrap()).unwrap();
        let writer = pipe::Sender::from_file_unchecked(port).unwrap();
        let talk = self.talk();
        self.plugged.spawn(async move {
            let _keeper = keeper;
            talk.over(reader, writer).await.unwrap();
        });
    }

    /// Listens on a socket of this abstract name instead, one client at a time.
    pub(crate) fn plug_in_at(&mut self, name: &str) {
        let address = net::SocketAddr::from_abstract_name(name).unwrap();
        let listener = net::UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let talk = self.talk();
        self.plugged.spawn(async move {
            loop {
                let (reader, writer) = listener.accept().await.unwrap().0.into_split();
                // Whoever hangs up may come again.
                let _ = talk.over(reader, writer).await;
            }
        });
    }

    fn talk(&self) -> Talk {
        let Self { brain, spoken, changes, .. } = self;
        Talk { brain: brain.clone(), spoken: spoken.clone(), changes: changes.clone() }
    }

    pub(crate) async fn unplug(&mut self) {
        let _ = std::fs::remove_file(self.device());
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

/// The brain's part of a conversation.
struct Talk {
    brain: Arc<Mutex<Brain>>,
    spoken: Arc<Notify>,
    changes: watch::Sender<u64>,
}

impl Talk {
    async fn over(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut buffer = [0; 256];
        loop {
            let said = self.brain.lock().unwrap().output();
            writer.write_all(&said).await?;
            tokio::select! {
                count = reader.read(&mut buffer) => match count? {
                    0 => return Ok(()),
                    count => self.brain.lock().unwrap().input(&buffer[..count]),
                },
                () = self.spoken.notified() => {}
            }
            self.changes.send_modify(|it| *it += 1);
        }
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
