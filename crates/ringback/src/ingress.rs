//! What a client asks for: its terminal's name in the first octets; refusals in its own protocol.
//!
//! HTTP heads and ClientHellos are looked at where they lie, in the kernel, and never consumed: see
//! `docs/decisions/0005-peek-not-read.md`. Of SOCKS and CONNECT exactly the request is consumed. Where
//! a service's TLS ends here, the head inside it is kept instead ([`ClientStream::Terminated`]).
//! Whether a name is known, and whether a client may ring it, is asked elsewhere.

mod certificate;
mod connect;
pub(crate) mod credential;
pub mod forwarded;
mod http;
pub mod knock;
mod lookahead;
mod peek;
mod refuse;
mod socks;
mod stream;
mod tls;
pub mod tls_end;

use std::io;

use ringback_proto::door::Reply;
use ringback_proto::terminal::TerminalName;
use thiserror::Error;
use tokio::io::{AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits;

pub use credential::{Credential, HeadPrint};
pub use http::ask as head;
pub use lookahead::Lookahead;
pub use refuse::{challenge, refuse, tell, turn_away};
pub use stream::ClientStream;
pub use tls_end::TlsEnd;

/// What a listener's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// HTTP/1: `Host` names the terminal.
    Http,
    /// TLS, passed through: the server name names the terminal.
    Tls,
    /// SOCKS5 and HTTP CONNECT, told apart by the first octet.
    Proxy,
}

/// What a client speaks, and so how it is replied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Anything, or not known yet.
    Raw,
    /// HTTP/1.
    Http,
    /// TLS.
    Tls,
    /// SOCKS5 (RFC 1928), its method agreed on.
    Socks5,
    /// CONNECT (RFC 9110, 9.3.6).
    Connect,
    /// That of `ringback connect` (`docs/protocol.md`).
    Keyed,
}

/// A complete request: which terminal, and how to reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The terminal.
    pub name: TerminalName,
    /// The port asked for, where the protocol has one to ask for (SOCKS, CONNECT).
    pub port: Option<u16>,
    /// How to reply.
    pub protocol: Protocol,
    /// What the client has shown with it.
    pub credential: Credential,
    /// Of the head that all this was read from, where it is still to be passed on.
    pub head: Option<HeadPrint>,
}

/// A client that named no terminal, for [`turn_away`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{cause}")]
pub struct Unnamed {
    /// How to reply.
    pub protocol: Protocol,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Cause {
    /// Nobody is left to reply to.
    #[error("the client has left")]
    Left,
    /// [`limits::HEAD_PATIENCE`] is over.
    #[error("the client did not name a terminal in time")]
    Slow,
    /// [`limits::HEAD_OCTETS`] or [`limits::HEAD_FIELDS`] is met.
    #[error("the client's request is too long")]
    Long,
    /// The client ended its stream in the middle of its request.
    #[error("the client stopped in the middle of its request")]
    Incomplete,
    /// Not this protocol.
    #[error("the client does not speak the listener's protocol")]
    Malformed,
    /// An HTTP version that is not read here.
    #[error("the client speaks an HTTP version that is not spoken here")]
    Version,
    /// HTTP/2 without having asked.
    #[error("the client speaks HTTP/2 without having asked")]
    Http2,
    /// No name, or an address in its place.
    #[error("the client gave no host name")]
    Nameless,
    /// SOCKS without the one method there is.
    #[error("the client wants to authenticate by SOCKS")]
    Method,
    /// Something else than a connection.
    #[error("the client wants something else of the proxy than a connection")]
    Command,
}

/// Waits for a complete request and says what it asks for.
///
/// What follows on the stream is what the terminal is to have: for HTTP and TLS from the first octet
/// on; for SOCKS and CONNECT from the octet after the request, and a hasty client sends it before
/// [`acknowledge`].
pub async fn name(stream: &mut TcpStream, listening: &Listening) -> Result<Asked, Unnamed> {
    let mut protocol = match listening {
        Listening::Proxy => Protocol::Raw,
        Listening::Http => Protocol::Http,
        Listening::Tls => Protocol::Tls,
    };
    let asked = timeout(limits::HEAD_PATIENCE, ask(stream, listening, &mut protocol)).await;
    asked.unwrap_or(Err(Cause::Slow)).map_err(|cause| Unnamed { protocol, cause })
}

/// Waits for a whole HTTP head, and says what it asks for; it stays on the stream.
pub async fn name_inside(stream: &mut ClientStream) -> Result<Asked, Unnamed> {
    let named = timeout(limits::HEAD_PATIENCE, stream.until(http::ask)).await;
    let protocol = Protocol::Http;
    named.unwrap_or(Err(Cause::Slow)).map_err(|cause| Unnamed { protocol, cause })
}

/// Tells a client that it is connected (step I), where its protocol has words for that.
pub async fn acknowledge(
    stream: &mut (impl AsyncWrite + Unpin),
    protocol: Protocol,
) -> io::Result<()> {
    match protocol {
        Protocol::Raw | Protocol::Http | Protocol::Tls => Ok(()),
        Protocol::Keyed => {
            stream.write_all(&Reply::Accepted.encode()).await?;
            stream.flush().await
        }
        Protocol::Socks5 => stream.write_all(&socks::reply(socks::SUCCEEDED)).await,
        Protocol::Connect => stream.write_all(connect::ESTABLISHED).await,
    }
}

/// Resolves when a client that is held has left, without consuming anything.
///
/// A reset means that in every protocol. The end of its stream means it too, but for raw TCP: there
/// nothing is known of what the client waits for. A browser or a `curl` that gives up sends no more
/// than that, and must not cause a further SMS; who half-closes after a request is refused nothing
/// by it that common Web servers would grant.
pub async fn left(stream: &TcpStream, protocol: Protocol) {
    let interest = match protocol {
        Protocol::Raw => Interest::ERROR,
        // Tokio wakes whoever waits for priority data at the end of the stream too, and there is no
        // such data. Waiting for readability would not do: what was peeked is readable all along.
        Protocol::Http | Protocol::Tls | Protocol::Socks5 | Protocol::Connect | Protocol::Keyed => {
            Interest::ERROR.add(Interest::PRIORITY)
        }
    };
    // An error means that the runtime ends, and everyone's stay with it.
    let _ = stream.ready(interest).await;
}

async fn ask(
    stream: &mut TcpStream,
    listening: &Listening,
    protocol: &mut Protocol,
) -> Result<Asked, Cause> {
    match listening {
        Listening::Http => peek::until(stream, http::ask).await,
        Listening::Tls => {
            let name = peek::until(stream, tls::name).await?;
            let (protocol, credential) = (Protocol::Tls, Credential::Nothing);
            Ok(Asked { name, port: None, protocol, credential, head: None })
        }
        Listening::Proxy => {
            let first = peek::until(stream, |octets| Ok(octets.first().copied())).await?;
            if first == socks::VERSION {
                return socks::ask(stream, protocol).await;
            }
            *protocol = Protocol::Connect;
            connect::ask(stream).await
        }
    }
}
