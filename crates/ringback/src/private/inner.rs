//! A session that is encrypted end to end: nothing but what comes out of the inner TLS reaches the
//! service, and nothing is connected to before the client's own key was proved.

use std::io;

use ringback_proto::dialer::Verified;
use ringback_proto::hello::{Caller, Outcome, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use super::House;
use super::dial::{connect, introduction};
use crate::config::{EndToEnd, ServiceTarget};
use crate::limits::{FAREWELL_OCTETS, FAREWELL_PATIENCE, INNER_PATIENCE};
use crate::socket;
use crate::splice::{Leg, Tally, splice};
use crate::telemetry::{self, step};
use crate::tunnel::inner::{self, Inner};
use crate::tunnel::{Carrier, Talk};

/// What is served, and for which session. The caller has no identity but the one that is proved.
pub(super) struct Wanted<'a> {
    pub(super) target: &'a ServiceTarget,
    pub(super) end_to_end: &'a EndToEnd,
    pub(super) session: SessionId,
    pub(super) caller: Caller,
}

/// Serves one session over a tunnel that has been opened, to its end.
pub(super) async fn serve(
    house: &House,
    verified: &Verified,
    talk: Talk,
    wanted: Wanted<'_>,
) -> io::Result<()> {
    let carrier = Carrier::from(talk);
    // From here on the client must see a cut and never an end, unless the session comes to its own.
    socket::arm(carrier.socket())?;
    let session = wanted.session;
    let begun = tokio::select! {
        begun = timeout(INNER_PATIENCE, begin(house, carrier, &wanted)) => begun,
        () = house.stop.cancelled() => return Err(io::Error::other("stopped")),
    };
    let Some((inner, service)) = begun?? else { return Ok(()) };
    let ended = splice(inner, service, house.idle, &Tally::default(), verified).await;
    telemetry::ended(session, &ended);
    Ok(())
}

/// The inner handshake, steps E and F, and the word on them; nothing if that word was a refusal.
async fn begin(
    house: &House,
    carrier: Carrier,
    wanted: &Wanted<'_>,
) -> io::Result<Option<(Inner, TcpStream)>> {
    let EndToEnd { server_name, clients } = wanted.end_to_end;
    let accepted = inner::accept(carrier, &house.identity, server_name, clients).await;
    let (mut inner, identity) = match accepted {
        Ok(accepted) => accepted,
        Err((fault, carrier)) => {
            info!(session = %wanted.session, %fault, "client refused end to end");
            part(carrier).await;
            return Ok(None);
        }
    };
    debug!(session = %wanted.session, %identity, "client proved end to end");
    let caller = Caller { identity: Some(identity), ..wanted.caller.clone() };
    step("E", Some(wanted.session), None);
    match connect(wanted.target).await {
        Ok(mut service) => {
            step("F", Some(wanted.session), None);
            let first = introduction(wanted.target, wanted.session, &caller, &service)?;
            service.write_all(&first).await?;
            say(&mut inner, Outcome::Connected).await?;
            Ok(Some((inner, service)))
        }
        Err(outcome) => {
            say(&mut inner, outcome).await?;
            part(inner).await;
            Ok(None)
        }
    }
}

async fn say(inner: &mut Inner, outcome: Outcome) -> io::Result<()> {
    inner.write_all(&[outcome as u8]).await?;
    inner.flush().await
}

/// Lets the client hear the alert or the refusal that was said last, then ends.
async fn part(mut leg: impl Leg) {
    let parting = async {
        leg.flush().await?;
        leg.shutdown().await?;
        copy(&mut (&mut leg).take(FAREWELL_OCTETS), &mut sink()).await
    };
    if matches!(timeout(FAREWELL_PATIENCE, parting).await, Ok(Ok(_))) {
        let _ = socket::disarm(leg.socket());
    }
}
