//! Joins a client and a tunnel, or a tunnel and a terminal, and copies both ways.
//!
//! Carries each direction's end for itself, and never lets a cut stream look complete: from the
//! first octet to the last both sockets are set to be reset when dropped, so that an error, the
//! idle limit, an aborted task or a killed process is seen as a reset by both ends. Only when both
//! directions have ended cleanly is that taken back. Looks at no octet and decides about nobody.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ringback_proto::dialer::Verified;
use ringback_proto::switchboard::Paired;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::{limits, socket};

/// One end of a splice: a stream over one TCP socket, whose read says "end" only if the other end
/// has said so.
pub trait Leg: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket below.
    fn socket(&self) -> &TcpStream;
}

/// The right to splice: only a check that has been passed leaves one behind.
pub trait Proof {}

/// At the public proxy: the tunnel proved that it was rung for this client's session.
impl Proof for Paired {}

/// At the private proxy: the access request was sealed for us, fresh, new, and within our tables.
impl Proof for Verified {}

/// The octets carried so far; may be read at any time.
#[derive(Debug, Default)]
pub struct Tally {
    to_terminal: AtomicU64,
    to_client: AtomicU64,
}

/// What became of a splice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Octets carried towards the terminal.
    pub to_terminal: u64,
    /// Octets carried towards the client.
    pub to_client: u64,
    /// How it came about.
    pub how: How,
}

/// How a splice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both directions came to their end.
    Clean,
    /// The leg on this side broke; the other was reset.
    Cut(Side),
    /// Nothing moved for the idle limit; both legs were reset.
    Idle,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Cut(Side::Client) => "cut by the client's side",
            Self::Cut(Side::Terminal) => "cut by the terminal's side",
            Self::Idle => "idle",
        })
    }
}

/// The two sides of a splice, as seen from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the client is.
    Client,
    /// Where the terminal is.
    Terminal,
}

/// Copies until both directions have ended, one leg breaks, or nothing moves for `idle`. Holding
/// the proof that these two belong together is the right to splice; dropping the future
/// resets both legs.
pub async fn splice(
    mut client: impl Leg,
    mut terminal: impl Leg,
    idle: Duration,
    tally: &Tally,
    _proof: &impl Proof,
) -> Ended {
    let how = match ready_legs(&client, &terminal) {
        Ok(()) => copy(&mut client, &mut terminal, idle, tally).await,
        Err(side) => How::Cut(side),
    };
    if how == How::Clean {
        // Fails only on a socket that is broken already; it has carried its end before that.
        let _ = socket::disarm(client.socket());
        let _ = socket::disarm(terminal.socket());
    }
    Ended { to_terminal: tally.to_terminal(), to_client: tally.to_client(), how }
}

impl Tally {
    /// Begins with the octets that were carried before the splice.
    pub fn starting(to_terminal: usize, to_client: usize) -> Self {
        let count = |octets| AtomicU64::new(u64::try_from(octets).unwrap_or(u64::MAX));
        Self { to_terminal: count(to_terminal), to_client: count(to_client) }
    }

    /// Octets carried towards the terminal.
    pub fn to_terminal(&self) -> u64 {
        self.to_terminal.load(Ordering::Relaxed)
    }

    /// Octets carried towards the client.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}

impl Leg for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

fn ready_legs(client: &impl Leg, terminal: &impl Leg) -> Result<(), Side> {
    let ready = |socket| socket::tune(socket).and_then(|()| socket::arm(socket));
    ready(client.socket()).map_err(|_| Side::Client)?;
    ready(terminal.socket()).map_err(|_| Side::Terminal)
}

async fn copy(
    client: &mut impl Leg,
    terminal: &mut impl Leg,
    idle: Duration,
    tally: &Tally,
) -> How {
    let (mut up, mut down) = (Pump::new(), Pump::new());
    let mut alarm = pin!(sleep(idle));
    let mut moved = (0, Instant::now());
    poll_fn(|cx| {
        let up = up.poll(cx, client, terminal, &tally.to_terminal);
        let down = down.poll(cx, terminal, client, &tally.to_client);
        match (up, down) {
            // An error counts at once, whatever the other direction still waits for.
            (Poll::Ready(Err(Broken::Source)), _) | (_, Poll::Ready(Err(Broken::Sink))) => {
                return Poll::Ready(How::Cut(Side::Client));
            }
            (Poll::Ready(Err(Broken::Sink)), _) | (_, Poll::Ready(Err(Broken::Source))) => {
                return Poll::Ready(How::Cut(Side::Terminal));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(How::Clean),
            (Poll::Pending, _) | (_, Poll::Pending) => {}
        }

        let carried = tally.to_terminal() + tally.to_client();
        if moved.0 != carried {
            moved = (carried, Instant::now());
        }
        // The alarm is set anew when it rings, not each time something moves: that is rarer.
        while alarm.as_mut().poll(cx).is_ready() {
            if moved.1 + idle <= Instant::now() {
                return Poll::Ready(How::Idle);
            }
            alarm.as_mut().reset(moved.1 + idle);
        }
        Poll::Pending
    })
    .await
}

/// One direction: reads, writes, and carries the end.
struct Pump {
    buffer: Box<[u8]>,
    written: usize,
    read: usize,
    unflushed: bool,
    stage: Stage,
}

enum Stage {
    Open,
    Ending,
    Ended,
}

/// Which end of a direction failed.
enum Broken {
    Source,
    Sink,
}

impl Pump {
    fn new() -> Self {
        let buffer = vec![0; limits::SPLICE_OCTETS].into_boxed_slice();
        Self { buffer, written: 0, read: 0, unflushed: false, stage: Stage::Open }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        carried: &AtomicU64,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while self.written < self.read {
                let rest = &self.buffer[self.written..self.read];
                match ready!(Pin::new(&mut *sink).poll_write(cx, rest)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Sink)),
                    Ok(octets) => {
                        self.written += octets;
                        self.unflushed = true;
                        carried.fetch_add(octets as u64, Ordering::Relaxed);
                    }
                }
            }
            match self.stage {
                Stage::Open => {
                    let Poll::Ready(read) = self.poll_read(cx, source) else {
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

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
    ) -> Poll<Result<(), Broken>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(source).poll_read(cx, &mut buffer)).map_err(|_| Broken::Source)?;
        (self.written, self.read) = (0, buffer.filled().len());
        if self.read == 0 {
            self.stage = Stage::Ending;
        }
        Poll::Ready(Ok(()))
    }
}
