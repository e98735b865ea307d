//! Joins a client and a tunnel, or a tunnel and a terminal, and copies both ways.
//!
//! Carries each direction's end for itself, and never lets a cut stream look complete: from the
//! first octet to the last both legs are set to be reset when dropped, so that an error, the
//! idle limit, an aborted task or a killed process is seen as a reset by both ends. Only when both
//! directions have ended cleanly is that taken back. Looks at no octet and decides about nobody.
//! While nothing moves it holds neither a buffer nor a pipe.

mod pipe;
mod pump;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ringback_proto::dialer::Verified;
use ringback_proto::switchboard::Paired;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::socket;
use pump::{Broken, Pump};

pub use pipe::Pipe;

/// One end of a splice: a stream whose read says "end" only if the other end has said so.
pub trait Leg: AsyncRead + AsyncWrite + Unpin + Send {
    /// From now on it is cut when it is dropped, however that comes about.
    fn arm(&self) -> io::Result<()>;

    /// Takes [`Self::arm`] back: when it is dropped, what is under way still arrives.
    fn disarm(&self) -> io::Result<()>;

    /// Whether the kernel may move what comes: nothing has to be done to it, and nothing of it was
    /// read ahead.
    fn pours(&self) -> bool {
        false
    }

    /// Whether the kernel may move what goes.
    fn drains(&self) -> bool {
        false
    }

    /// Has the kernel move octets into an empty pipe; 0 if it can move no more, which is not yet an
    /// end. Asked only of what [`Self::pours`].
    fn poll_pour(&mut self, _: &mut Context<'_>, _: &mut Pipe) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    /// Has the kernel move octets out of a pipe, at least one. Asked only of what [`Self::drains`].
    fn poll_drain(&mut self, _: &mut Context<'_>, _: &mut Pipe) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
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
/// the proof that these two belong together is the right to splice. Unless both directions have
/// come to their end, the legs are reset when they are dropped, and are of no use any more.
pub async fn splice(
    client: &mut impl Leg,
    terminal: &mut impl Leg,
    idle: Duration,
    tally: &Tally,
    _proof: &impl Proof,
) -> Ended {
    let how = match arm_legs(client, terminal) {
        Ok(()) => copy(client, terminal, idle, tally).await,
        Err(side) => How::Cut(side),
    };
    if how == How::Clean {
        // Fails only on a socket that is broken already; it has carried its end before that.
        let _ = client.disarm();
        let _ = terminal.disarm();
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
    fn arm(&self) -> io::Result<()> {
        socket::arm(self)
    }

    fn disarm(&self) -> io::Result<()> {
        socket::disarm(self)
    }

    fn pours(&self) -> bool {
        true
    }

    fn drains(&self) -> bool {
        true
    }

    fn poll_pour(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        pipe.poll_fill(cx, self, usize::MAX)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        pipe.poll_empty(cx, self, usize::MAX)
    }
}

fn arm_legs(client: &impl Leg, terminal: &impl Leg) -> Result<(), Side> {
    client.arm().map_err(|_| Side::Client)?;
    terminal.arm().map_err(|_| Side::Terminal)
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
