//! One dial-back: to the terminal's service and to the public proxy at once, then the session.
//!
//! It dials only what the dialer verified, and connects only to what the private proxy's own table
//! says; no address from the wire is ever connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ringback_proto::access_request::{Kid, Protocol};
use ringback_proto::dialer::{Allowed, DialId, DialOutcome, Event, Over, Verified};
use ringback_proto::hello::{
    self, Answer, Caller, Hello, Outcome, SessionId, ToPrivate, ToPublic, confirm_private,
    confirm_public,
};
use ringback_proto::nat64::Prefix;
use ringback_proto::terminal::ServiceId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

#[cfg(feature = "quic")]
use super::by_quic;
use super::inner::{self, Wanted};
use super::inside::inside;
use super::{House, ring_heard};
use crate::config::{Nat64, PublicProxy, ServiceTarget};
use crate::ipsec::Fault;
use crate::keys::KeyFault;
use crate::limits::{
    ANSWER_PATIENCE, DIAL_PATIENCE, HELLO_PATIENCE, NAT64_PATIENCE, SAY_PATIENCE, SERVICE_PATIENCE,
    STANDBY_SILENCE,
};
use crate::splice::{How, Leg, Tally, splice};
use crate::telemetry::{self, step};
use crate::tunnel::{Asks, Framed, Talk};
use crate::{clock, proxy_v2, socket};

/// Obeys one verified access request, to the end of its session, or until its key is revoked: what is
/// dropped then is cut.
pub(super) async fn dial(house: &House, dial: DialId, verified: &Verified) {
    tokio::select! {
        biased;
        () = house.presence.gone(verified.kid()) => {
            debug!(kid = %verified.kid(), "cut: its key was revoked");
            // Not heard any more if the dial has ended before.
            let outcome = DialOutcome::Refused;
            let _ = house.events.send(Event::DialEnded { dial, outcome }).await;
        }
        () = obey(house, dial, verified) => {}
    }
}

async fn obey(house: &House, dial: DialId, verified: &Verified) {
    let signal = Some(verified.signal_id());
    // E and G start together: a dead terminal is told within G's own round trips.
    let wanted = verified.service();
    let both = async |address| {
        tokio::join!(
            async {
                let Some(service) = wanted else { return Err(Outcome::NotTried) };
                if house.tables().is_guarded(verified.kid(), service) {
                    return Err(Outcome::NotTried);
                }
                step("E", None, signal);
                let target = house.tables().service(verified.kid(), service);
                let target = target.ok_or(Outcome::UnknownService)?;
                let stream = connect(&target).await?;
                step("F", None, signal);
                Ok((stream, target))
            },
            async {
                step("G", None, signal);
                reach(house, verified, address).await
            }
        )
    };
    let exchanged = async {
        let address = match locate(house, verified.allowed()).await {
            Ok(address) => address,
            Err(outcome) => return (Err(Outcome::NotTried), Err(outcome)),
        };
        let (service, tunnel) = both(address).await;
        let answered = match tunnel {
            Ok((talk, lacking)) => {
                let bare = service.as_ref().is_ok_and(|(_, target)| target.bare);
                let failed = lacking.or(service.as_ref().err().copied());
                #[cfg(feature = "quic")]
                if let Some(found) = talk.tunnel().found() {
                    let asked = converse(verified, talk, failed, bare);
                    let failed = service.as_ref().err().copied();
                    let again = by_quic::again(house, verified, address, found, (failed, bare));
                    return (service, Box::pin(by_quic::either(asked, again)).await);
                }
                converse(verified, talk, failed, bare).await
            }
            Err(outcome) => Err(outcome),
        };
        (service, answered)
    };
    // In a box, so that a tunnel does not keep the room that bringing it up took.
    let (service, answered) = tokio::select! {
        exchanged = Box::pin(exchanged) => exchanged,
        () = house.stop.cancelled() => return,
    };
    let outcome = answered.as_ref().map_or_else(|outcome| *outcome, |_| DialOutcome::Served);
    debug!(kid = %verified.kid(), signal = %verified.signal_id(), ?outcome, "dialed back");
    let _ = house.events.send(Event::DialEnded { dial, outcome }).await;
    let Ok(talk) = answered else { return };
    prove(house, verified.kid()).await;
    if let Err(fault) = stand_by(house, verified, talk, service.ok()).await {
        debug!(%fault, "tunnel lost");
    }
}

/// Notes that a ring with new keys was answered: those that they replace are erased after a while.
async fn prove(house: &House, kid: Kid) {
    let first = house.tables().first_answer(kid);
    let Some(keyring) = house.keyring.clone().filter(|_| first) else { return };
    let now = clock::unix_seconds();
    let noted = move || keyring.hold()?.answered(kid, now);
    let noted = tokio::task::spawn_blocking(noted).await.map_err(|it| KeyFault::File(it.into()));
    match noted.flatten() {
        Ok(()) => info!(%kid, "a ring with new keys was answered"),
        Err(fault) => error!(%kid, %fault, "RB-KEYRING: a proof cannot be kept"),
    }
}

/// Steps G and H as far as the hello: a tunnel to the public proxy that the signal names. Where it may
/// be IPsec only and there is no way for that, a TLS tunnel that can carry this news and nothing else.
async fn reach(
    house: &House,
    verified: &Verified,
    address: SocketAddr,
) -> Result<(Talk, Option<Outcome>), DialOutcome> {
    let proxy = house.tables().public_proxy(verified.allowed()).ok_or(DialOutcome::Refused)?;
    let tunnel = verified.tunnel();
    if tunnel.permits(Protocol::Ipsec) {
        let dialed = match &house.ipsec {
            Some(ipsec) => {
                let holder = (verified.kid(), None);
                ipsec.dial(verified.keys(), (&proxy.public_key, address), holder).await
            }
            None => Err(Fault::Down),
        };
        match dialed {
            Ok(tunnel) => return Ok((Talk::new(tunnel.into()), None)),
            Err(fault) => {
                let is_full = matches!(fault, Fault::Full);
                let fault = format!("{:#}", anyhow::Error::from(fault));
                let instead = if tunnel.permits(Protocol::Tls) { "TLS instead" } else { "refused" };
                warn!(public_proxy = proxy.name, fault, instead, "RB-IPSEC: no IPsec tunnel");
                // The next signal may find room: others who wait at the public proxy need not hear of it.
                if is_full && !tunnel.permits(Protocol::Tls) {
                    return Err(DialOutcome::Unreachable);
                }
            }
        }
    }
    #[cfg(feature = "quic")]
    if tunnel.permits(Protocol::Quic)
        && let Some(talk) = by_quic::reach(house, &proxy, address, None).await?
    {
        return Ok((talk, None));
    }
    let lacking = (!tunnel.permits(Protocol::Tls)).then_some(Outcome::NoTunnel);
    Ok((reach_by_tls(house, &proxy, address).await?, lacking))
}

/// The same by TLS.
pub(super) async fn reach_by_tls(
    house: &House,
    proxy: &PublicProxy,
    address: SocketAddr,
) -> Result<Talk, DialOutcome> {
    let stream = match timeout(DIAL_PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(fault)) => {
            debug!(%address, %fault, "public proxy unreachable");
            return Err(DialOutcome::Unreachable);
        }
        Err(_) => return Err(DialOutcome::Unreachable),
    };
    if let Err(fault) = house.congestion.apply(&stream) {
        debug!(%fault, "the system does not let congestion be chosen");
    }
    match timeout(HELLO_PATIENCE, house.dialer.dial(stream, &proxy.public_key, Asks::DialBack))
        .await
    {
        Ok(Ok(tunnel)) => Ok(Talk::new(tunnel)),
        Ok(Err(fault)) if fault.is_permanent() => {
            warn!(public_proxy = proxy.name, %fault, "RB-PEER: not the public proxy configured");
            Err(DialOutcome::Refused)
        }
        Ok(Err(fault)) => {
            debug!(%address, %fault, "the handshake was cut");
            Err(DialOutcome::Unreachable)
        }
        Err(_) => Err(DialOutcome::Unreachable),
    }
}

/// Hello and answer: both ends have proved that they hold the signal, on this very tunnel.
pub(super) async fn converse(
    verified: &Verified,
    mut talk: Talk,
    failed: Option<Outcome>,
    bare: bool,
) -> Result<Talk, DialOutcome> {
    let keys = verified.keys();
    let exporter = talk.tunnel().exporter(&keys.sid);
    let outcome = failed.unwrap_or(Outcome::Connected);
    let bare = bare && outcome == Outcome::Connected && talk.tunnel().protocol() == Protocol::Tls;
    let hello = Hello { sid: keys.sid, mac: confirm_private(keys, &exporter), outcome, bare };
    let exchanged = timeout(ANSWER_PATIENCE, async {
        talk.say(&hello.encode()).await?;
        talk.exactly().await
    });
    let Ok(Ok(answer)) = exchanged.await else { return Err(DialOutcome::Unreachable) };
    match Answer::decode(&answer) {
        Ok(Answer::Accepted { mac }) if hello::equal(&confirm_public(keys, &exporter), &mac) => {
            Ok(talk)
        }
        Ok(Answer::Accepted { .. }) | Err(_) => Err(DialOutcome::Refused),
        Ok(Answer::Gone) => Err(DialOutcome::Gone),
    }
}

/// Obeys frames, and carries one session after the other, until the tunnel ends.
async fn stand_by(
    house: &House,
    verified: &Verified,
    mut talk: Talk,
    mut service: Option<(TcpStream, ServiceTarget)>,
) -> io::Result<()> {
    loop {
        let frame = tokio::select! {
            frame = timeout(STANDBY_SILENCE, talk.frame(ToPrivate::decode)) => frame??,
            () = house.stop.cancelled() => {
                // A tunnel whose service is connected may be bound in this very moment: its client
                // must see a cut, and not an end.
                if service.is_some() {
                    return Err(io::Error::other("stopped before a session began"));
                }
                break;
            }
        };
        // Whoever was taken off the table may have a tunnel that stands by.
        if !house.tables().believes(verified.kid(), talk.tunnel().peer()) {
            return Err(io::Error::other("its public proxy is not listed any more"));
        }
        match frame {
            ToPrivate::Bound { session, bare, caller } => {
                // Connected when anybody was welcome; the tables may have been reloaded since.
                let protocol = talk.tunnel().protocol();
                let permitted = verified.tunnel().permits(protocol);
                let welcome = |(_, target): &(TcpStream, ServiceTarget)| {
                    permitted && welcomes(house, verified, protocol) && (target.bare || !bare)
                };
                let Some((stream, target)) = service.take().filter(welcome) else {
                    return Err(io::Error::other("bound without a connected, unguarded service"));
                };
                let framed = Framed::new(talk, bare)?;
                let joined = (framed, (stream, target));
                talk = ready(Box::pin(serve(house, verified, joined, session, &caller)).await?)
                    .await?;
            }
            ToPrivate::Open { session, bare, caller, service } => {
                let protocol = talk.tunnel().protocol();
                let target = match granted(house, verified, (service, protocol), &caller) {
                    Ok(target) => target,
                    Err(outcome) => {
                        say_opened(&mut talk, outcome, false).await?;
                        continue;
                    }
                };
                // Our own table decides; without it, what was asked for is sealed all the same.
                // But for TLS there is nothing that a session could go past.
                let bare = bare && target.bare && protocol == Protocol::Tls;
                if let Some(end_to_end) = &target.grant.end_to_end {
                    say_opened(&mut talk, Outcome::Connected, bare).await?;
                    let caller = Caller { identity: None, ..caller };
                    let wanted = Wanted { target: &target, end_to_end, session, caller };
                    let framed = Framed::new(talk, bare)?;
                    talk = ready(Box::pin(inner::serve(house, verified, framed, wanted)).await?)
                        .await?;
                    continue;
                }
                step("E", Some(session), None);
                let stream = match connect(&target).await {
                    Ok(stream) => stream,
                    Err(outcome) => {
                        say_opened(&mut talk, outcome, false).await?;
                        continue;
                    }
                };
                step("F", Some(session), None);
                say_opened(&mut talk, Outcome::Connected, bare).await?;
                let joined = (Framed::new(talk, bare)?, (stream, target));
                talk = ready(Box::pin(serve(house, verified, joined, session, &caller)).await?)
                    .await?;
            }
            ToPrivate::Ring(signal) => overheard(house, signal, false).await,
            ToPrivate::Spare(signal) => overheard(house, signal, true).await,
            ToPrivate::Standby => service = None,
            ToPrivate::Ping => talk.say(&ToPublic::Pong.encode()).await?,
            ToPrivate::Close => break,
        }
    }
    talk.close().await;
    Ok(())
}

async fn say_opened(talk: &mut Talk, outcome: Outcome, bare: bool) -> io::Result<()> {
    talk.say(&ToPublic::Opened { outcome, bare }.encode()).await
}

/// Says after a session that the tunnel may be given to the next client: nobody is to wait for a service that
/// takes its time with the last octets of this one.
async fn ready(mut talk: Talk) -> io::Result<Talk> {
    talk.say(&ToPublic::Ready.encode()).await?;
    Ok(talk)
}

async fn overheard(house: &House, signal: Vec<u8>, spare: bool) {
    let _ = house.events.send(ring_heard(signal, Over::Tunnel { spare })).await;
}

/// Joins the tunnel and the service until both are done; returns the tunnel if they have ended in order.
async fn serve(
    house: &House,
    verified: &Verified,
    (mut framed, (mut service, target)): (Framed, (TcpStream, ServiceTarget)),
    session: SessionId,
    caller: &Caller,
) -> io::Result<Talk> {
    // What drops the tunnel from here on is a cut.
    framed.arm()?;
    let first = introduction(&target, session, caller, &service)?;
    if !first.is_empty() {
        timeout(SAY_PATIENCE, service.write_all(&first)).await??;
    }
    drop((target, first));
    let ended = splice(&mut framed, &mut service, house.idle, &Tally::default(), verified).await;
    telemetry::ended(session, &ended);
    match ended.how {
        How::Clean => framed.into_talk().await,
        how @ (How::Cut(_) | How::Idle) => Err(io::Error::other(how.to_string())),
    }
}

/// What a service that asks for it is told of its client, before the first octet.
pub(super) fn introduction(
    target: &ServiceTarget,
    session: SessionId,
    caller: &Caller,
    service: &TcpStream,
) -> io::Result<Vec<u8>> {
    if !target.proxy_protocol {
        return Ok(Vec::new());
    }
    Ok(proxy_v2::header(session, caller, service.peer_addr()?))
}

/// Whether anybody may use the service that the signal named, over such a tunnel, by the table as it is
/// now.
fn welcomes(house: &House, verified: &Verified, protocol: Protocol) -> bool {
    let target = verified.service().and_then(|it| house.tables().service(verified.kid(), it));
    target.is_some_and(|it| !it.grant.is_guarded() && it.tunnel.permits(protocol))
}

/// The service that a client has come for, if the private proxy itself grants it.
fn granted(
    house: &House,
    verified: &Verified,
    (service, protocol): (ServiceId, Protocol),
    caller: &Caller,
) -> Result<ServiceTarget, Outcome> {
    let target = house.tables().service(verified.kid(), service).ok_or(Outcome::UnknownService)?;
    if !target.tunnel.permits(protocol) {
        debug!(kid = %verified.kid(), %service, ?protocol, "not granted over such a tunnel");
        return Err(Outcome::NoTunnel);
    }
    if !target.grant.admits(caller) {
        debug!(kid = %verified.kid(), %service, level = %caller.level, "not granted");
        return Err(Outcome::NotGranted);
    }
    Ok(target)
}

/// Steps E and F.
pub(super) async fn connect(target: &ServiceTarget) -> Result<TcpStream, Outcome> {
    match timeout(SERVICE_PATIENCE, TcpStream::connect(&target.address)).await {
        Ok(Ok(stream)) => {
            // Until its session has come to its end, whatever drops it must look like a cut.
            let ready = socket::tune(&stream).and_then(|()| socket::arm(&stream));
            ready.map_err(|_| Outcome::Unreachable)?;
            Ok(stream)
        }
        Ok(Err(fault)) if fault.kind() == io::ErrorKind::ConnectionRefused => Err(Outcome::Refused),
        Ok(Err(_)) => Err(Outcome::Unreachable),
        Err(_) => Err(Outcome::Silent),
    }
}

/// The address to dial: an IPv4 one lies behind the NAT64 prefix in an IPv6-only network. A network
/// of public proxies does not entitle to what lies inside: that is refused before the first packet.
async fn locate(house: &House, allowed: &Allowed) -> Result<SocketAddr, DialOutcome> {
    let named = allowed.address;
    if named.is_ipv6() && allowed.listed {
        return Ok(named);
    }
    let translator = translator(house).await;
    let address = match (named.ip(), translator) {
        (IpAddr::V4(v4), Some(prefix)) => (prefix.embed(v4), named.port()).into(),
        (IpAddr::V4(_), None) | (IpAddr::V6(_), _) => named,
    };
    if allowed.listed {
        return Ok(address);
    }
    match inside(named.ip(), address.ip(), translator) {
        Ok(None) => Ok(address),
        Ok(Some(kind)) => {
            warn!(%named, ?kind, "RB-INSIDE: a signal asked to dial inside and was not obeyed");
            Err(DialOutcome::Refused)
        }
        Err(fault) => {
            debug!(%named, %fault, "cannot tell whether the address is our own");
            Err(DialOutcome::Unreachable)
        }
    }
}

/// The prefix that the network reaches IPv4 by, if it has one.
async fn translator(house: &House) -> Option<Prefix> {
    match house.nat64 {
        Nat64::Off => None,
        Nat64::Prefix(prefix) => Some(prefix),
        // Asked once: a network that has told its prefix is not asked again at every dial.
        Nat64::Discover => house.discovered.get_or_try_init(discover).await.ok().copied(),
    }
}

/// Asks the network for its prefix (RFC 7050); a network without one is dialed as it is.
async fn discover() -> Result<Prefix, ()> {
    let asked = tokio::net::lookup_host(("ipv4only.arpa", 0));
    let found = timeout(NAT64_PATIENCE, asked).await.map_err(drop)?.map_err(drop)?;
    let v6 = |it: SocketAddr| match it.ip() {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    };
    Prefix::discover(&found.filter_map(v6).collect::<Vec<_>>()).ok_or(())
}
