//! The connection to a message center: TCP, with TLS if so configured, one at a time.
//!
//! It holds what is not yet written, and stops reading while that is too much.

use std::future::pending;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::{Host, Tls};
use crate::limits;

type Stream = Box<dyn Duplex>;
type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection, one being made, or none.
#[derive(Default)]
pub(super) struct Connection {
    state: State,
    unwritten: Vec<u8>,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    Connecting(Connecting),
    Connected {
        reader: ReadHalf<Stream>,
        writer: WriteHalf<Stream>,
        buffer: Box<[u8]>,
        /// TLS keeps octets back until it is flushed.
        unflushed: bool,
    },
}

/// What happened to the connection.
pub(super) enum Happened {
    Connected,
    Read(Vec<u8>),
    Wrote,
    /// It could not be made, or is gone.
    Broke(io::Error),
}

impl Connection {
    pub(super) fn connect(&mut self, host: &Host) {
        let connecting = connect(host.address.clone(), host.tls.clone());
        self.unwritten.clear();
        self.state = State::Connecting(Box::pin(async move {
            timeout(limits::CONNECT_PATIENCE, connecting)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }));
    }

    pub(super) fn write(&mut self, octets: &[u8]) {
        self.unwritten.extend_from_slice(octets);
    }

    /// Closes the connection once what is left has been written; `tasks` waits for it.
    pub(super) fn close(&mut self, tasks: &TaskTracker) {
        let State::Connected { mut writer, .. } = std::mem::take(&mut self.state) else { return };
        let unwritten = std::mem::take(&mut self.unwritten);
        tasks.spawn(timeout(limits::FAREWELL_PATIENCE, async move {
            writer.write_all(&unwritten).await?;
            writer.shutdown().await
        }));
    }

    /// Waits for the next thing; for ever while there is no connection. Cancel safe.
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
            State::Connecting(connecting) => {
                let (reader, writer) = split(connecting.await?);
                let buffer = vec![0; 4096].into();
                self.state = State::Connected { reader, writer, buffer, unflushed: false };
                Ok(Happened::Connected)
            }
            State::Connected { reader, writer, buffer, unflushed } => {
                let clogged = limits::UNWRITTEN_OCTETS < self.unwritten.len();
                tokio::select! {
                    count = write(writer, &self.unwritten), if !self.unwritten.is_empty() || *unflushed => {
                        *unflushed = !self.unwritten.is_empty();
                        self.unwritten.drain(..count?);
                        Ok(Happened::Wrote)
                    }
                    count = reader.read(buffer), if !clogged => match count? {
                        0 => Err(io::ErrorKind::UnexpectedEof.into()),
                        count => Ok(Happened::Read(buffer[..count].to_vec())),
                    }
                }
            }
        }
    }
}

/// Writes something, or flushes if there is nothing to write. Cancel safe.
async fn write(writer: &mut WriteHalf<Stream>, octets: &[u8]) -> io::Result<usize> {
    if octets.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    writer.write(octets).await
}

async fn connect(address: String, tls: Option<Tls>) -> io::Result<Stream> {
    let stream = TcpStream::connect(&address).await?;
    // A window of small PDUs and Nagle's algorithm make each other wait for 40 ms.
    stream.set_nodelay(true)?;
    let Some(Tls { config, name }) = tls else { return Ok(Box::new(stream)) };
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}
