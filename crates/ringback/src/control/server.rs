//! A role's end of the control socket.
//!
//! Reads one short line of its owner's and nothing of anybody else's. What it cannot answer itself it
//! hands to the role, and passes on what comes of it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringback_bearer::Health;
use ringback_proto::refusal::Refusal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use super::{Failed, Found, Owner, Question, Said, place};
use crate::limits::{
    ACCEPT_PAUSE, CONTROL_CONNECTIONS, CONTROL_OCTETS, CONTROL_PATIENCE, PROOF_PATIENCE,
    TRIAL_STAGES,
};

/// What questions are answered from.
#[derive(Debug)]
pub(crate) struct Desk {
    /// How the role's bearers fare.
    pub(crate) healths: BTreeMap<String, Health>,
    /// Takes rings that are asked for, in a role that rings.
    pub(crate) wishes: Option<mpsc::Sender<Wish>>,
}

/// A ring that is asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    /// The terminal's name.
    pub(crate) terminal: String,
    /// The route's place from 1, or its bearer's name.
    pub(crate) route: Option<String>,
    /// The service's id.
    pub(crate) service: Option<u16>,
    /// Who asks: holding it is the right to ring.
    pub(crate) owner: Owner,
    /// Who is told the stages.
    pub(crate) told: mpsc::Sender<Said>,
}

/// Answers questions until `stop` is cancelled. The state folder must be this process's alone: a
/// socket that an earlier life has left is replaced. A role without a control socket does its work.
pub(crate) fn open(state: &Path, desk: Desk, tasks: &TaskTracker, stop: CancellationToken) {
    match bind(state) {
        Ok((listener, socket)) => {
            tasks.spawn(serve(listener, socket, Arc::new(desk), stop));
        }
        Err(fault) => error!(%fault, "RB-CONTROL: no control socket: the role cannot be asked"),
    }
}

/// The socket's file, and the folder by whose descriptor it is named.
type Socket = (File, PathBuf);

fn bind(state: &Path) -> io::Result<(UnixListener, Socket)> {
    let (folder, socket) = place(state)?;
    match fs::remove_file(&socket) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    Ok((listener, (folder, socket)))
}

async fn serve(
    listener: UnixListener,
    (_folder, socket): Socket,
    desk: Arc<Desk>,
    stop: CancellationToken,
) {
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if visits.len() < CONTROL_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let desk = desk.clone();
                    visits.spawn(async move {
                        if let Err(fault) = visit(stream, &desk).await {
                            debug!(%fault, "a control connection was cut");
                        }
                    });
                }
                Err(fault) => {
                    error!(%fault, "RB-CONTROL: the control socket takes no connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = visits.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    // The folder is still ours: the role ends after its tasks.
    let _ = fs::remove_file(socket);
    // Whoever waits for a ring hears from the role that it stops.
    while visits.join_next().await.is_some() {}
}

async fn visit(stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let Some(owner) = Owner::of(&stream)? else {
        let (_, mut writer) = stream.into_split();
        let detail = "Run this as the user that the proxy runs as.";
        let failed = Failed::new("RB-CONTROL", "The proxy runs as another user.", detail);
        return say(&mut writer, &failed.into()).await;
    };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut bounded = (&mut reader).take(CONTROL_OCTETS);
    timeout(CONTROL_PATIENCE, bounded.read_until(b'\n', &mut line)).await??;
    match serde_json::from_slice(&line) {
        Ok(Question::Health) => {
            let found = desk.healths.iter().flat_map(|(name, it)| Found::of(name, it));
            say(&mut writer, &Said::Health { findings: found.collect() }).await
        }
        Ok(Question::Ring { terminal, route, service }) => {
            let Some(wishes) = &desk.wishes else {
                let detail = "Ask the public proxy.";
                let failed = Failed::new("RB-CONTROL", "This role rings nobody.", detail);
                return say(&mut writer, &failed.into()).await;
            };
            let (told, stages) = mpsc::channel(TRIAL_STAGES);
            let _ = wishes.send(Wish { terminal, route, service, owner, told }).await;
            let told = tell(reader, &mut writer, stages);
            timeout(PROOF_PATIENCE, told).await?
        }
        Err(_) => {
            let detail = "Ask with a ringback of the same version.";
            let failed = Failed::new("RB-CONTROL", "That is no question.", detail);
            say(&mut writer, &failed.into()).await
        }
    }
}

/// Passes stages on until the last, or until whoever has asked hangs up.
async fn tell(
    mut reader: BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    mut stages: mpsc::Receiver<Said>,
) -> io::Result<()> {
    loop {
        let stage = tokio::select! {
            stage = stages.recv() => stage,
            _ = reader.read_u8() => return Ok(()),
        };
        let stage = stage.unwrap_or_else(|| Failed::from(Refusal::Stopping).into());
        say(writer, &stage).await?;
        if stage.is_last() {
            return Ok(());
        }
    }
}

async fn say(writer: &mut OwnedWriteHalf, said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    timeout(CONTROL_PATIENCE, writer.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_found_whatever_the_length_of_its_path_and_replaces_a_stale_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("x".repeat(200));
        fs::create_dir(&state).unwrap();
        for _ in 0..2 {
            // What is dropped here leaves its file behind, as a crash does.
            let (listener, _socket) = bind(&state).unwrap();
            let (_folder, socket) = place(&state).unwrap();
            let (client, accepted) = tokio::join!(UnixStream::connect(socket), listener.accept());
            client.unwrap();
            assert!(Owner::of(&accepted.unwrap().0).unwrap().is_some());
        }
    }
}
