//! A connection to a mail server, and what can be wrong with it.
//!
//! A session logs in on [`Secured`] connections only: the type is the proof that TLS is spoken, and
//! [`secured`] its only maker.

use std::io;

use ringback_proto::mail::{imap, reply};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{error, warn};

use super::{Security, Server};
use crate::limits::{
    CONNECT_PATIENCE, MAIL_KEEPALIVE_AFTER, MAIL_KEEPALIVE_AGAIN, MAIL_KEEPALIVE_TRIES,
};

/// A connection that TLS protects, to a server that has proven its name.
pub(super) type Secured = TlsStream<TcpStream>;

/// A session of either protocol before TLS. It can be told to begin TLS and nothing else.
pub(super) trait Plain {
    async fn greeted(&mut self) -> Result<(), Fault>;
    async fn offers_tls(&mut self) -> Result<bool, Fault>;
    async fn begin_tls(&mut self) -> Result<(), Fault>;
    /// Whether something was said that nobody has read.
    fn has_unread(&self) -> bool;
    fn into_stream(self) -> TcpStream;
}

/// Octets in and out.
pub(super) struct Wire<S> {
    stream: S,
    chunk: Box<[u8]>,
}

/// Why a server cannot be used, or would not do something. It names nobody.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("no connection")]
    Connection(#[from] io::Error),
    #[error("no answer in time")]
    Silent,
    #[error("the server closes the connection")]
    Farewell,
    #[error("what the server says is no mail protocol")]
    Smtp(#[from] reply::Malformed),
    #[error("what the server says is no mail protocol")]
    Imap(#[from] imap::Malformed),
    #[error("the connection cannot be protected: {0}")]
    Unprotected(&'static str),
    #[error("the login was refused: {0}")]
    Login(String),
    #[error("the server refused it: {status}")]
    Refused { status: String, permanent: bool },
    #[error("the server's answers do not belong to what it was asked")]
    Astray,
    #[error("what the server says of a mail cannot be read")]
    Unreadable,
    #[error("the server does without something that is needed: {0}")]
    Lacking(&'static str),
    #[error("nobody listens any more")]
    Deaf,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, chunk: vec![0; 4096].into() }
    }

    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await?;
        // TLS keeps octets back until it is flushed.
        self.stream.flush().await
    }

    /// Reads some octets, at least one. Cancel safe.
    pub(super) async fn read(&mut self) -> io::Result<&[u8]> {
        match self.stream.read(&mut self.chunk).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(&self.chunk[..count]),
        }
    }

    /// Reads what has come already, if anything has.
    pub(super) async fn read_ready(&mut self) -> io::Result<Option<&[u8]>> {
        tokio::select! {
            biased;
            octets = self.read() => octets.map(Some),
            () = std::future::ready(()) => Ok(None),
        }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

impl Fault {
    /// Tells the operator, louder if somebody must act.
    pub(super) fn complain(&self) {
        let cause = std::error::Error::source(self);
        if self.is_lasting() {
            error!(fault = %self, cause, "RB-MAIL: a mail server cannot be used");
            return;
        }
        warn!(fault = %self, cause, "a mail server cannot be used now");
    }

    /// What it is and what to do about it, for whoever looks at a bearer.
    pub(super) fn advice(&self) -> String {
        let cure = match self {
            Self::Connection(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                return format!("{self}: {cause}: see `tls_roots` and the server's name");
            }
            Self::Connection(cause) => return format!("{self}: {cause}: it is tried again"),
            Self::Silent | Self::Farewell | Self::Astray | Self::Unreadable => "it is tried again",
            Self::Smtp(_) | Self::Imap(_) => "see the port, and whether TLS begins at once there",
            Self::Unprotected(_) => "see the port and when TLS begins there",
            Self::Login(_) => "see the user and the password",
            Self::Refused { .. } => "see the folder's name and what the account may do",
            Self::Lacking(_) => "ask for another server",
            Self::Deaf => "the bearer is ending",
        };
        format!("{self}: {cure}")
    }

    /// Whether somebody must act: trying again will not help.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Unprotected(_) | Self::Login(_) | Self::Lacking(_) => true,
            Self::Connection(cause) => cause.kind() == io::ErrorKind::InvalidData,
            Self::Silent
            | Self::Farewell
            | Self::Smtp(_)
            | Self::Imap(_)
            | Self::Astray
            | Self::Unreadable
            | Self::Deaf => false,
            Self::Refused { permanent, .. } => *permanent,
        }
    }

    /// What a refusal means while we log in.
    pub(super) fn of_login(self) -> Self {
        if let Self::Refused { status, .. } = self {
            return Self::Login(status);
        }
        self
    }

    /// Whether the connection can still be used.
    pub(super) fn is_survived(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unreadable)
    }

    /// Whether it was us the server did not like.
    pub(super) fn is_login(&self) -> bool {
        matches!(self, Self::Login(_))
    }
}

/// Connects and insists on TLS; there is no other way to a [`Secured`] connection.
pub(super) async fn secured<P: Plain>(
    server: &Server,
    plain: impl FnOnce(TcpStream) -> P,
) -> Result<Secured, Fault> {
    let stream = connect(server).await?;
    let stream = match server.security {
        Security::Implicit => stream,
        Security::StartTls => start_tls(plain(stream)).await?,
    };
    let connector = TlsConnector::from(server.tls.config.clone());
    let connecting = connector.connect(server.tls.name.clone(), stream);
    Ok(timeout(CONNECT_PATIENCE, connecting).await.map_err(|_| Fault::Silent)??)
}

/// Gives the connection back when the server expects TLS on it.
async fn start_tls(mut plain: impl Plain) -> Result<TcpStream, Fault> {
    plain.greeted().await?;
    if !plain.offers_tls().await? {
        return Err(Fault::Unprotected("the server does not offer STARTTLS"));
    }
    if plain.begin_tls().await.is_err() {
        return Err(Fault::Unprotected("the server does not want STARTTLS"));
    }
    // What somebody has put behind the answer would be taken for the server's own words.
    if plain.has_unread() {
        return Err(Fault::Unprotected("something was said between STARTTLS and TLS"));
    }
    Ok(plain.into_stream())
}

async fn connect(server: &Server) -> Result<TcpStream, Fault> {
    let connecting = TcpStream::connect(&server.address);
    let stream = timeout(CONNECT_PATIENCE, connecting).await.map_err(|_| Fault::Silent)??;
    // Commands are short and wait for answers: Nagle's algorithm would make both wait.
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(MAIL_KEEPALIVE_AFTER)
        .with_interval(MAIL_KEEPALIVE_AGAIN)
        .with_retries(MAIL_KEEPALIVE_TRIES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use tokio::net::TcpListener;

    use super::*;
    use crate::Tls;

    #[tokio::test]
    async fn a_server_that_died_in_silence_is_noticed_in_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = Tls { config: Arc::new(config), name };
        let address = listener.local_addr().unwrap().to_string();
        let stream = connect(&Server { address, security: Security::Implicit, tls }).await.unwrap();

        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let silence = socket.tcp_keepalive_time().unwrap()
            + socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert!(silence.as_secs() < 120, "{silence:?}");
    }
}
