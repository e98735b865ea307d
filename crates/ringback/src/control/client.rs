//! A command's end of the control socket: asks a running role one thing and hears what it says.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Failed, Question, Said, place};
use crate::limits::{CONTROL_ANSWER_OCTETS, CONTROL_PATIENCE};

/// A question that was asked.
#[derive(Debug)]
pub(crate) struct Asked(BufReader<UnixStream>);

impl Asked {
    /// Asks the role that uses a state folder.
    pub(crate) async fn new(state: &Path, question: &Question) -> Result<Self, Failed> {
        let connected = async {
            let (_folder, socket) = place(state)?;
            UnixStream::connect(&socket).await
        };
        let mut stream = connected.await.map_err(|fault| {
            let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
            if absent.contains(&fault.kind()) { not_running(state) } else { unheard(&fault) }
        })?;
        let asking = async {
            let mut line = serde_json::to_vec(question)?;
            line.push(b'\n');
            timeout(CONTROL_PATIENCE, stream.write_all(&line)).await?
        };
        asking.await.map_err(|fault| unheard(&fault))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The next thing that the role says.
    pub(crate) async fn next(&mut self) -> Result<Said, Failed> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(CONTROL_ANSWER_OCTETS).read_until(b'\n', &mut line).await;
        read.map_err(|fault| unheard(&fault))?;
        if line.is_empty() {
            return Err(unheard(&io::Error::other("it has hung up")));
        }
        serde_json::from_slice(&line).map_err(|fault| unheard(&fault.into()))
    }
}

fn not_running(state: &Path) -> Failed {
    let title = format!("No proxy runs with the state {}.", state.display());
    Failed::new("RB-NOT-RUNNING", title, "Start it, then try again.")
}

fn unheard(fault: &io::Error) -> Failed {
    let title = format!("The running proxy cannot be asked: {fault}.");
    let detail = "Run this as the user that it runs as, and with a ringback of its version.";
    Failed::new("RB-CONTROL", title, detail)
}
