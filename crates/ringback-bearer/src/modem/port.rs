//! The port that a modem is on: a terminal device in raw mode, locked while it is open.
//!
//! A device may be slow to open and to close, and may be gone at any time: neither may hold up
//! anything else.

use std::fs::File;
use std::future::pending;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::termios::{self, ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
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
    /// A terminal, which is read and written as a pipe is.
    Open {
        reader: pipe::Receiver,
        writer: pipe::Sender,
    },
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
        let State::Open { reader, writer } = std::mem::take(&mut self.state) else { return };
        tasks.spawn_blocking(move || {
            // The modem may be gone; then nobody misses the octets.
            let _ = writer.try_write(&unwritten);
            drop((reader, writer));
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
                let port = opening.await??;
                let reader = pipe::Receiver::from_file_unchecked(port.try_clone()?)?;
                let writer = pipe::Sender::from_file_unchecked(port)?;
                self.state = State::Open { reader, writer };
                Ok(Happened::Opened)
            }
            State::Open { reader, writer } => {
                let clogged = limits::UNWRITTEN_TO_MODEM < self.unwritten.len();
                let mut buffer = [0; 1024];
                tokio::select! {
                    count = writer.write(&self.unwritten), if !self.unwritten.is_empty() => {
                        self.unwritten.drain(..count?);
                        Ok(Happened::Wrote)
                    }
                    count = reader.read(&mut buffer), if !clogged => match count? {
                        0 => Err(io::ErrorKind::UnexpectedEof.into()),
                        count => Ok(Happened::Read(buffer[..count].to_vec())),
                    }
                }
            }
        }
    }
}

fn open(device: &Path, bits_per_second: u32) -> io::Result<File> {
    // Without NONBLOCK a serial line would wait for a carrier that a modem need not give.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::fs::open(device, flags, Mode::empty())?;
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
