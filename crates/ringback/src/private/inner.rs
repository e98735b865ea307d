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
use crate::splice::{How, Leg, Tally, splice};
use crate::telemetry::{self, step};
use crate::tunnel::inner::{self, Inner};
use crate::tunnel::{Framed, Talk};

/// What is served, and for which session. The caller has no identity but the one that is proved.
pub(super) struct Wanted<'a> {
    pub(super) target: &'a ServiceTarget,
    pub(super) end_to_end: &'a EndToEnd,
    pub(super) session: SessionId,
    pub(super) caller: Caller,
}

/// What has begun: a session, or one that was refused and has come to its end by that.
enum Begun {
    Session(Inner<Framed>, TcpStream),
    Refused(Framed),
}

/// Serves one session over a tunnel that has been opened, to its end; returns the tunnel if that was
/// one in order.
pub(super) async fn serve(
    house: &House,
    verified: &Verified,
    framed: Framed,
    wanted: Wanted<'_>,
) -> io::Result<Talk> {
    // From here on the client must see a cut and never an end, unless the session comes to its own.
    framed.arm()?;
    let session = wanted.session;
    let begun = tokio::select! {
        begun = timeout(INNER_PATIENCE, Box::pin(begin(house, framed, &wanted))) => begun,
        () = house.stop.cancelled() => return Err(io::Error::other("stopped")),
    };
    let (mut inner, mut service) = match begun?? {
        Begun::Session(inner, service) => (inner, service),
        Begun::Refused(framed) => return framed.into_talk().await,
    };
    let ended = splice(&mut inner, &mut service, house.idle, &Tally::default(), verified).await;
    telemetry::ended(session, &ended);
    match ended.how {
        How::Clean => inner.into_carrier().into_talk().await,
        how @ (How::Cut(_) | How::Idle) => Err(io::Error::other(how.to_string())),
    }
}

/// The inner handshake, steps E and F, and the word on them.
async fn begin(house: &House, framed: Framed, wanted: &Wanted<'_>) -> io::Result<Begun> {
    let EndToEnd { server_name, clients } = wanted.end_to_end;
    let accepted = inner::accept(framed, &house.identity, server_name, clients).await;
    let (mut inner, identity) = match accepted {
        Ok(accepted) => accepted,
        Err((fault, mut framed)) => {
            info!(session = %wanted.session, %fault, "client refused end to end");
            part(&mut framed).await?;
            return Ok(Begun::Refused(framed));
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
            Ok(Begun::Session(inner, service))
        }
        Err(outcome) => {
            say(&mut inner, outcome).await?;
            part(&mut inner).await?;
            Ok(Begun::Refused(inner.into_carrier()))
        }
    }
}

async fn say(inner: &mut Inner<Framed>, outcome: Outcome) -> io::Result<()> {
    inner.write_all(&[outcome as u8]).await?;
    inner.flush().await
}

/// Lets the client hear the alert or the refusal that was said last, and hears it out.
async fn part(leg: &mut impl Leg) -> io::Result<()> {
    let parting = async {
        leg.flush().await?;
        leg.shutdown().await?;
        copy(&mut leg.take(FAREWELL_OCTETS), &mut sink()).await
    };
    timeout(FAREWELL_PATIENCE, parting).await??;
    leg.disarm()
}
