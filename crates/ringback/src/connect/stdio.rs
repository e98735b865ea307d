//! A session on the standard streams, as `ssh` wants of its `ProxyCommand`.
//!
//! Each direction ends for itself: the end of input is told to the terminal while its answer still
//! comes, and the end of what comes closes our output. A cut is neither.

use std::fs::OpenOptions;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split, stdin, stdout};
use tokio_util::sync::CancellationToken;

use super::Fault;
use super::call::Agent;
use super::teller::Teller;
use crate::limits::STDIO_OCTETS;
use crate::splice::Leg;

/// Calls, and joins the standard streams with the session to its end.
pub(super) async fn serve(
    agent: &Agent,
    teller: &Teller,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let call = async {
        let (line, _accepted) = teller.watch(agent.call(teller)).await?;
        teller.connected();
        let (sent, received) = join(line, stdin(), stdout(), close_output).await?;
        teller.ended(sent, received);
        Ok(())
    };
    tokio::select! {
        ended = call => ended,
        () = stop.cancelled() => Err(Fault::Stopped),
    }
}

/// Copies both ways until both have ended; says how many octets were sent and received.
///
/// The line's socket is armed: whatever drops it before that cuts the session.
async fn join(
    line: impl Leg,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    close: impl FnOnce() -> io::Result<()>,
) -> Result<(u64, u64), Fault> {
    let (mut from, mut to) = split(line);
    let (mut input, mut output) = (input, output);
    let up = async {
        let mut buffer = vec![0; STDIO_OCTETS];
        let mut sent = 0;
        loop {
            let octets = input.read(&mut buffer).await.map_err(Fault::Local)?;
            if octets == 0 {
                break;
            }
            to.write_all(&buffer[..octets]).await.map_err(Fault::Cut)?;
            to.flush().await.map_err(Fault::Cut)?;
            sent += octets as u64;
        }
        to.shutdown().await.map_err(Fault::Cut)?;
        Ok::<u64, Fault>(sent)
    };
    let down = async {
        let mut buffer = vec![0; STDIO_OCTETS];
        let mut received = 0;
        loop {
            let octets = from.read(&mut buffer).await.map_err(Fault::Cut)?;
            if octets == 0 {
                break;
            }
            output.write_all(&buffer[..octets]).await.map_err(Fault::Local)?;
            output.flush().await.map_err(Fault::Local)?;
            received += octets as u64;
        }
        output.shutdown().await.map_err(Fault::Local)?;
        close().map_err(Fault::Local)?;
        Ok(received)
    };
    let tally = tokio::try_join!(up, down)?;
    // Fails only on a socket that is broken already; it has carried its end before that.
    let _ = from.unsplit(to).disarm();
    Ok(tally)
}

/// Lets whoever reads our output see its end, though input may go on.
fn close_output() -> io::Result<()> {
    let nothing = OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nothing)?)
}
