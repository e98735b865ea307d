//! `ringback connect -L`: a local port, and a session for each connection to it.
//!
//! A session that does not begin or is cut resets its local connection, and is told of.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Fault;
use super::call::Agent;
use super::teller::Teller;
use crate::ingress::{self, Protocol};
use crate::limits::{ACCEPT_PAUSE, LOCAL_CONNECTIONS, LOCAL_IDLE};
use crate::socket;
use crate::splice::{How, Tally, splice};

/// Serves local connections until it is stopped; then those that run are cut.
pub(super) async fn serve(
    agent: Agent,
    listen: SocketAddr,
    teller: Teller,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let bound = TcpListener::bind(listen).await;
    let listener = bound.with_context(|| format!("RB-BIND: cannot listen on {listen}"))?;
    teller.listening(listener.local_addr()?);
    let (agent, teller) = (Arc::new(agent), Arc::new(teller));
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if sessions.len() < LOCAL_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let (agent, teller) = (agent.clone(), teller.clone());
                    sessions.spawn(async move {
                        if let Err(fault) = carry(&agent, &teller, stream).await {
                            teller.fault(&fault);
                        }
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = sessions.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    sessions.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// One local connection to its end.
async fn carry(agent: &Agent, teller: &Teller, mut stream: TcpStream) -> Result<(), Fault> {
    socket::arm(&stream).map_err(Fault::Local)?;
    let (mut line, accepted) = tokio::select! {
        called = agent.call(teller) => called?,
        () = ingress::left(&stream, Protocol::Raw) => return Ok(()),
    };
    teller.connected();
    let ended = splice(&mut stream, &mut line, LOCAL_IDLE, &Tally::default(), &accepted).await;
    match ended.how {
        How::Clean => {
            teller.ended(ended.to_terminal, ended.to_client);
            Ok(())
        }
        how @ (How::Cut(_) | How::Idle) => Err(Fault::Cut(io::Error::other(how.to_string()))),
    }
}
