//! The port that a modem is on: a terminal device in raw mode, locked while it is open.
//!
//! A device may be slow to open and to close, and may be gone at any time: neither may hold up
//! anything else.

use std::fs::File;
use std::future::pending;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::termios::{self, ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::Config;
use crate::limits;

/// A port, one being opened, or none.
#[derive(Default)]
pub(super) struct Port {
    state: State,
    unwritten: Vec<u8>,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    Opening(JoinHandle<io::Result<File>>),
    Open(AsyncFd<File>),
}

/// What happened to the port.
pub(super) enum Happened {
    Opened,
    Read(Vec<u8>),
    Wrote,
    /// It could not be opened, or is gone.
    Broke(io::Error),
}

impl Port {
    pub(super) fn open(&mut self, config: &Config, tasks: &TaskTracker) {
        let (device, bits) = (config.device.clone(), config.bits_per_second);
        self.unwritten.clear();
        self.state = State::Opening(tasks.spawn_blocking(move || open(&device, bits)));
    }

    pub(super) fn write(&mut self, octets: &[u8]) {
        self.unwritten.extend_from_slice(octets);
    }

    /// Closes the port once what is left has gone, if it goes at once; `tasks` waits for it.
    pub(super) fn close(&mut self, tasks: &TaskTracker) {
        let unwritten = std::mem::take(&mut self.unwritten);
        let State::Open(port) = std::mem::take(&mut self.state) else { return };
        let mut file = port.into_inner();
        tasks.spawn_blocking(move || {
            // The modem may be gone; then nobody misses the octets.
            let _ = file.write(&unwritten);
            drop(file);
        });
    }

    /// Waits for the next thing; for ever while there is no port. Cancel safe.
    pub(super) async fn happen(&mut self) -> Happened {
        match self.next().await {
            Ok(happened) => happened,
            Err(cause) => {
                self.state = State::None;
                self.unwritten.clear();
                Happened::Broke(cause)
            }
        }
    }

    async fn next(&mut self) -> io::Result<Happened> {
        match &mut self.state {
            State::None => pending().await,
            State::Opening(opening) => {
                self.state = State::Open(AsyncFd::register(opening.await??)?);
                Ok(Happened::Opened)
            }
            State::Open(port) => {
                let clogged = limits::UNWRITTEN_TO_MODEM < self.unwritten.len();
                tokio::select! {
                    count = write(port, &self.unwritten), if !self.unwritten.is_empty() => {
                        self.unwritten.drain(..count?);
                        Ok(Happened::Wrote)
                    }
                    octets = read(port), if !clogged => Ok(Happened::Read(octets?)),
                }
            }
        }
    }
}

/// Reads something. Cancel safe.
async fn read(port: &AsyncFd<File>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 1024];
    loop {
        let mut ready = port.readable().await?;
        match ready.try_io(|it| it.get_ref().read(&mut buffer)) {
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(count)) => return Ok(buffer[..count].to_vec()),
            Ok(Err(cause)) => return Err(cause),
            Err(_not_ready) => {}
        }
    }
}

/// Writes something. Cancel safe.
async fn write(port: &AsyncFd<File>, octets: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = port.writable().await?;
        match ready.try_io(|it| it.get_ref().write(octets)) {
            Ok(written) => return written,
            Err(_not_ready) => {}
        }
    }
}

fn open(device: &Path, bits_per_second: u32) -> io::Result<File> {
    // Without NONBLOCK a serial line would wait for a carrier that a modem need not give.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port: OwnedFd = rustix::fs::open(device, flags, Mode::empty())?;
    if !termios::isatty(&port) {
        return Err(io::Error::other("it is no serial device"));
    }
    rustix::fs::flock(&port, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::other("another program has it open"))?;

    let mut settings = termios::tcgetattr(&port)?;
    settings.make_raw();
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    settings.set_speed(bits_per_second)?;
    termios::tcsetattr(&port, OptionalActions::Now, &settings)?;
    termios::tcflush(&port, QueueSelector::IOFlush)?;
    Ok(port.into())
}
