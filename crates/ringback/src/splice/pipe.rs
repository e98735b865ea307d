//! Pipes for the kernel to move octets through: lent while octets are in them, and bounded.
//!
//! The kernel gives an ordinary user a quota of pages for pipes, and past it small pipes or none,
//! without a word. A pipe that does not get its size is of no use: whoever asked goes on copying.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::limits::{KEPT_PIPES, PIPE_OCTETS, PIPES};

/// Pipes that there are, in the whole process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static KEPT: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// A pipe that is lent, and how many octets are in it.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

/// Both ends of a pipe; it counts as long as they are open.
#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
    size: usize,
}

impl Pipe {
    /// Lends a large pipe, if one may be had.
    pub(super) fn lend() -> Option<Self> {
        let ends = KEPT.with_borrow_mut(Vec::pop).or_else(Ends::open)?;
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// How many octets are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves at most so many octets from the socket, into a pipe that is empty: so there is room,
    /// and what blocks is the socket. 0 is its end.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "a pipe with octets in it may be full");
        let Some(ends) = &self.ends else { return Poll::Ready(Err(gone())) };
        let most = most.min(ends.size);
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let moved = socket.try_io(Interest::READABLE, || {
                Ok(splice(socket, None, &ends.into, None, most, FLAGS)?)
            });
            match moved {
                Ok(octets) => {
                    self.held = octets;
                    return Poll::Ready(Ok(octets));
                }
                Err(fault) if is_transient(&fault) => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    }

    /// Moves at most so many octets to the socket, out of a pipe that is not empty.
    pub fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(0 < self.held, "nothing to move");
        let Some(ends) = &self.ends else { return Poll::Ready(Err(gone())) };
        let most = most.min(self.held);
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let moved = socket.try_io(Interest::WRITABLE, || {
                Ok(splice(&ends.out, None, socket, None, most, FLAGS)?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(octets) => {
                    self.held -= octets;
                    return Poll::Ready(Ok(octets));
                }
                Err(fault) if is_transient(&fault) => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

fn is_transient(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn gone() -> io::Error {
    io::Error::other("a pipe that was given back")
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // What is in a pipe was a session's: nobody else may find it there.
        let Some(ends) = self.ends.take().filter(|_| self.held == 0) else { return };
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_PIPES {
                kept.push(ends);
            }
        });
    }
}

impl Ends {
    fn open() -> Option<Self> {
        if PIPES <= OPEN.fetch_add(1, Ordering::Relaxed) {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let Ok((out, into)) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC) else {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        // From here on, whatever drops it counts it off.
        let mut ends = Self { out, into, size: 0 };
        for wanted in PIPE_OCTETS {
            if fcntl_setpipe_size(&ends.into, wanted).is_ok() {
                break;
            }
        }
        ends.size = fcntl_getpipe_size(&ends.into).ok()?;
        PIPE_OCTETS.contains(&ends.size).then_some(ends)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_pipes_than_may_be_and_an_empty_one_is_used_again() {
        let mut pipes: Vec<Pipe> = std::iter::from_fn(Pipe::lend).take(PIPES + 1).collect();
        assert!((1..=PIPES).contains(&pipes.len()), "{}", pipes.len());
        assert!(Pipe::lend().is_none());
        let first = pipes.pop().unwrap();
        let size = first.ends.as_ref().unwrap().size;
        assert!(PIPE_OCTETS.contains(&size), "{size}");
        drop(first);
        let mut again = Pipe::lend().unwrap();
        // One with octets in it is not.
        again.held = 1;
        drop(again);
        assert_eq!(KEPT.with_borrow(Vec::len), 0);
        drop(pipes);
        assert_eq!(KEPT.with_borrow(Vec::len), KEPT_PIPES.min(PIPES - 1));
    }
}
