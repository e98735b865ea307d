//! A TCP socket as every connection of ours wants it: prompt, watched, and cut unless ended.
//!
//! Sets options only. There is no `TCP_USER_TIMEOUT` among them, on purpose: Linux applies it to a
//! reader that has merely stopped reading too (a pager, a paused player), and cuts what
//! back-pressure should hold. A path that dies under octets on their way is found by the splice's
//! idle limit.

use std::io;
use std::os::fd::AsFd;
use std::str::FromStr;

use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::TcpStream;

use crate::limits;

/// Sends small writes at once, and has the kernel find out when the other end is gone. What is
/// accepted from a listener that is tuned is tuned from the start.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(limits::KEEPALIVE_AFTER)
        .with_interval(limits::KEEPALIVE_AGAIN)
        .with_retries(limits::KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&keepalive)
}

/// How a tunnel finds its pace (`docs/decisions/0019-what-a-socket-is-told.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// As the system does for every connection.
    #[default]
    System,
    /// By the rate that the path has shown: a lost packet is no reason to slow down.
    Bbr,
    /// By losses, as most systems do.
    Cubic,
    /// By losses, as they once did.
    Reno,
}

/// No such way.
#[derive(Debug, Error)]
#[error("must be \"system\", \"bbr\", \"cubic\" or \"reno\"")]
pub struct NoCongestion;

impl Congestion {
    /// Tells the socket; what is accepted from a listener goes by the same. It stays as it was if the
    /// kernel has no such way, or does not let us choose it.
    pub fn apply<'a>(self, socket: impl Into<SockRef<'a>>) -> io::Result<()> {
        let name: &[u8] = match self {
            Self::System => return Ok(()),
            Self::Bbr => b"bbr",
            Self::Cubic => b"cubic",
            Self::Reno => b"reno",
        };
        socket.into().set_tcp_congestion(name)
    }
}

impl FromStr for Congestion {
    type Err = NoCongestion;

    fn from_str(text: &str) -> Result<Self, NoCongestion> {
        match text {
            "system" => Ok(Self::System),
            "bbr" => Ok(Self::Bbr),
            "cubic" => Ok(Self::Cubic),
            "reno" => Ok(Self::Reno),
            _ => Err(NoCongestion),
        }
    }
}

/// Has the runtime that this is called on, and no other, wake whoever waits for the socket.
pub fn move_here(stream: &mut TcpStream) -> io::Result<()> {
    let same = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    // The old one is only forgotten: an open connection is not closed by closing one of two.
    *stream = TcpStream::from_std(same)?;
    Ok(())
}

/// From now on the socket is reset when it is dropped, however that comes about.
pub fn arm(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// Takes [`arm`] back: when the socket is dropped, what is under way still arrives.
pub fn disarm(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(None)
}

/// Resets the connection: the other end sees an error, never an end.
pub fn reset(stream: TcpStream) {
    // Fails only on a socket that is broken already, whose other end sees no clean end either.
    let _ = arm(&stream);
}
