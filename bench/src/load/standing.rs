//! Sessions one after the other over tunnels that stand by: what stays behind of each is told.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{SESSION_PATIENCE, Told, fleet, holds};
use crate::figure::PING_OCTETS;
use crate::process::Process;

/// Sessions at once.
const AT_ONCE: usize = 64;
/// How many between two looks.
const STEP: usize = 10_000;
/// How long everything is left alone before a look.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(2);

/// So many sessions in all.
pub(super) fn run(roles: &[Process], terminals: usize, sessions: usize) -> Result<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut lost, mut steps) = (0, Vec::new());
        // The first of each terminal rings by SMS; from then on its tunnels stand by.
        lost += some(terminals, 0, terminals).await?;
        let mut done = 0;
        while done < sessions {
            let many = STEP.min(sessions - done);
            lost += some(terminals, done, many).await?;
            done += many;
            tokio::time::sleep(SETTLE).await;
            let holds = holds(roles);
            eprintln!("bench: {done} sessions, {lost} lost; descriptors and octets: {holds:?}");
            steps.push(json!({ "sessions": done, "lost": lost, "holds": holds }));
        }
        Ok(Told { figures: json!({ "sessions": done, "lost": lost, "steps": steps }), lost })
    })
}

async fn some(terminals: usize, first: usize, many: usize) -> Result<u64> {
    let (mut lost, mut next) = (0, 0);
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE && next < many {
            let port = fleet::raw_port((first + next) % terminals);
            running.spawn(async move { begin(port).await.is_some() });
            next += 1;
        }
        let Some(done) = running.join_next().await else { return Ok(lost) };
        lost += u64::from(!done?);
    }
}

/// Connects and says something; hands the connection back if it was answered.
pub(super) async fn begin(port: u16) -> Option<TcpStream> {
    let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let mut stream = tokio::time::timeout(SESSION_PATIENCE, connect).await.ok()?.ok()?;
    stream.set_nodelay(true).ok()?;
    echo(&mut stream).await.then_some(stream)
}

/// Says something and hears it.
pub(super) async fn echo(stream: &mut TcpStream) -> bool {
    let echo = async {
        stream.write_all(&[7; PING_OCTETS]).await?;
        stream.read_exact(&mut [0; PING_OCTETS]).await
    };
    matches!(tokio::time::timeout(SESSION_PATIENCE, echo).await, Ok(Ok(_)))
}
