//! One direction of a splice: reads, writes, and carries the end.
//!
//! It copies while little comes at a time. Where both legs are plain and much comes, it has the kernel
//! move the octets, until less comes again. It holds a buffer or a pipe only while there are octets in it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::Leg;
use super::pipe::Pipe;
use crate::buffer::Buffer;
use crate::limits::{LARGE_READ, LARGE_READS, PIPE_AGAIN, TURN_OCTETS};

/// One direction.
pub(super) struct Pump {
    /// Octets that were read and not written.
    load: Option<Load>,
    unflushed: bool,
    stage: Stage,
    gait: Gait,
}

struct Load {
    buffer: Buffer,
    written: usize,
    read: usize,
}

enum Stage {
    Open,
    Ending,
    Ended,
}

/// How octets are carried.
enum Gait {
    /// By us; so many large reads in a row, less those that a pipe is not asked for yet.
    Copy { large: i16 },
    /// By the kernel, through a pipe if there is something in it; so many small moves in a row.
    Pour { pipe: Option<Pipe>, small: u8 },
}

/// Which end of a direction failed.
pub(super) enum Broken {
    Source,
    Sink,
}

impl Pump {
    pub(super) fn new() -> Self {
        Self { load: None, unflushed: false, stage: Stage::Open, gait: Gait::Copy { large: 0 } }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        carried: &AtomicU64,
    ) -> Poll<Result<(), Broken>> {
        // The other direction, and other sessions, want their turn too.
        let turn = carried.load(Ordering::Relaxed) + TURN_OCTETS;
        loop {
            if turn <= carried.load(Ordering::Relaxed) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Gait::Pour { .. } = self.gait {
                ready!(self.poll_pour(cx, source, sink, carried))?;
                continue;
            }
            ready!(self.poll_unload(cx, sink, carried))?;
            if self.goes_over(source, sink) {
                self.gait = Gait::Pour { pipe: None, small: 0 };
                self.unflushed = false;
                continue;
            }
            match self.stage {
                Stage::Open => {
                    let Poll::Ready(read) = self.poll_load(cx, source) else {
                        // Nothing more to come for now: what a tunnel has gathered must leave.
                        if self.unflushed {
                            let flushed = ready!(Pin::new(&mut *sink).poll_flush(cx));
                            flushed.map_err(|_| Broken::Sink)?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    };
                    read?;
                }
                Stage::Ending => {
                    let ended = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    ended.map_err(|_| Broken::Sink)?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes what was read, and gives the buffer back.
    fn poll_unload(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Leg,
        carried: &AtomicU64,
    ) -> Poll<Result<(), Broken>> {
        let Some(load) = &mut self.load else { return Poll::Ready(Ok(())) };
        while load.written < load.read {
            let rest = &load.buffer[load.written..load.read];
            match ready!(Pin::new(&mut *sink).poll_write(cx, rest)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Sink)),
                Ok(octets) => {
                    load.written += octets;
                    self.unflushed = true;
                    carried.fetch_add(octets as u64, Ordering::Relaxed);
                }
            }
        }
        self.load = None;
        Poll::Ready(Ok(()))
    }

    /// Whether the kernel can do the rest, and it is worth it.
    fn goes_over(&self, source: &impl Leg, sink: &impl Leg) -> bool {
        let Gait::Copy { large } = self.gait else { return false };
        let open = matches!(self.stage, Stage::Open);
        LARGE_READS <= large && open && source.pours() && sink.drains()
    }

    /// Has the kernel move octets. When it can go no further, or little comes, copying goes on.
    fn poll_pour(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        carried: &AtomicU64,
    ) -> Poll<Result<(), Broken>> {
        let Gait::Pour { pipe, small } = &mut self.gait else { return Poll::Ready(Ok(())) };
        if let Some(full) = pipe.as_mut().filter(|it| 0 < it.held()) {
            let moved = ready!(sink.poll_drain(cx, full)).map_err(|_| Broken::Sink)?;
            carried.fetch_add(moved as u64, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        if LARGE_READS <= i16::from(*small) {
            self.gait = Gait::Copy { large: 0 };
            return Poll::Ready(Ok(()));
        }
        let Some(mut empty) = pipe.take().or_else(Pipe::lend) else {
            self.gait = Gait::Copy { large: -PIPE_AGAIN };
            return Poll::Ready(Ok(()));
        };
        // While it waits for the source, somebody else may have the pipe.
        match ready!(source.poll_pour(cx, &mut empty)).map_err(|_| Broken::Source)? {
            0 => self.gait = Gait::Copy { large: 0 },
            moved => {
                *small = if moved < LARGE_READ { *small + 1 } else { 0 };
                *pipe = Some(empty);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what there is.
    fn poll_load(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
    ) -> Poll<Result<(), Broken>> {
        let mut buffer = Buffer::lend();
        let mut room = ReadBuf::new(&mut buffer);
        ready!(Pin::new(source).poll_read(cx, &mut room)).map_err(|_| Broken::Source)?;
        let read = room.filled().len();
        if read == 0 {
            self.stage = Stage::Ending;
            return Poll::Ready(Ok(()));
        }
        if let Gait::Copy { large } = &mut self.gait {
            *large = if read < LARGE_READ { (*large).min(0) } else { large.saturating_add(1) };
        }
        self.load = Some(Load { buffer, written: 0, read });
        Poll::Ready(Ok(()))
    }
}
