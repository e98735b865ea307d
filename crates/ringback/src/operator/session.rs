//! One connection to the simulated operator: the shell of [`Center`].
//!
//! It closes on a peer that does not read, and on one that the operator has no room for.

use std::future::pending;
use std::io;

use ringback_proto::smpp::center::{Center, Command, Event, Patience};
use ringback_proto::smpp::text::Text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::exchange::{self, ConnectionId};
use crate::limits::{
    OPERATOR_ANSWER_PATIENCE, OPERATOR_BIND_PATIENCE, OPERATOR_FAREWELL, OPERATOR_IDLE,
    OPERATOR_UNWRITTEN_OCTETS,
};

pub(super) struct Session {
    pub(super) id: ConnectionId,
    pub(super) stream: TcpStream,
    pub(super) said: mpsc::Sender<exchange::Event>,
    pub(super) told: mpsc::Receiver<Event>,
    pub(super) shutdown: CancellationToken,
}

impl Session {
    pub(super) async fn run(self) {
        let (id, said) = (self.id, self.said.clone());
        if let Err(cause) = self.converse().await {
            debug!(error = %cause, "an ESME's connection broke");
        }
        // The exchange outlives its sessions; if it does not, nobody needs to know.
        let _ = said.send(exchange::Event::Gone(id)).await;
    }

    async fn converse(self) -> io::Result<()> {
        let Self { id, stream, said, mut told, shutdown } = self;
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.into_split();
        let patience = Patience {
            bind: OPERATOR_BIND_PATIENCE,
            idle: OPERATOR_IDLE,
            answer: OPERATOR_ANSWER_PATIENCE,
        };
        let name = Text::new("ringback-sim").unwrap_or_default();
        let mut center = Center::new(name, patience, Instant::now().into_std());
        let (mut unwritten, mut buffer) = (Vec::new(), [0; 4096]);
        let mut stopping = false;
        loop {
            unwritten.extend(center.poll_output().unwrap_or_default());
            while let Some(command) = center.poll_command() {
                if let Command::Disconnect(reason) = command {
                    debug!(%reason, "an ESME's session is over");
                    return farewell(reader, writer, unwritten).await;
                }
                // Waits for the exchange, and so keeps a hasty ESME waiting.
                if said.send(exchange::Event::Said(id, command)).await.is_err() {
                    return Ok(());
                }
            }
            if OPERATOR_UNWRITTEN_OCTETS < unwritten.len() {
                return Err(io::Error::other("the ESME does not read"));
            }
            let due = center.poll_timeout();
            let due = async {
                match due {
                    Some(at) => sleep_until(Instant::from_std(at)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = due => center.handle_timeout(Instant::now().into_std()),
                count = reader.read(&mut buffer) => match count? {
                    0 => return Ok(()),
                    count => center.handle_input(&buffer[..count], Instant::now().into_std()),
                },
                count = writer.write(&unwritten), if !unwritten.is_empty() => {
                    unwritten.drain(..count?);
                }
                event = told.recv() => match event {
                    Some(event) => center.handle_event(event, Instant::now().into_std()),
                    None => return Ok(()),
                },
                () = shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    center.handle_event(Event::ShutDown, Instant::now().into_std());
                }
            }
        }
    }
}

/// Writes the last words, and reads until the peer has closed, so that it can read them.
async fn farewell(
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
    unwritten: Vec<u8>,
) -> io::Result<()> {
    let last = async {
        writer.write_all(&unwritten).await?;
        writer.shutdown().await?;
        let mut ignored = [0; 4096];
        while reader.read(&mut ignored).await? != 0 {}
        Ok(())
    };
    timeout(OPERATOR_FAREWELL, last).await.unwrap_or(Ok(()))
}
