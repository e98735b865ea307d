//! A TCP socket as every connection of ours wants it: prompt, watched, and cut unless ended.
//!
//! Sets options only. There is no `TCP_USER_TIMEOUT` among them, on purpose: Linux applies it to a
//! reader that has merely stopped reading too (a pager, a paused player), and cuts what
//! back-pressure should hold. A path that dies under octets on their way is found by the splice's
//! idle limit.

use std::io;
use std::os::fd::AsFd;

use socket2::{SockRef, TcpKeepalive};
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
