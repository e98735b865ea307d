//! One tunnel's story at the public proxy: handshake, hello, then what the switchboard orders.
//!
//! A stranger holds one of a bounded number of places until it has said a whole hello, and no
//! longer than [`HELLO_PATIENCE`]. Whoever has come for something else goes on elsewhere, with its
//! place. Whether its hello is true is the switchboard's to say.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringback_proto::access_request::{Sid, SignalId};
use ringback_proto::door::Request;
use ringback_proto::hello::{Hello, Outcome, ToPrivate, ToPublic};
use ringback_proto::limits::OPEN_PATIENCE;
use ringback_proto::switchboard::{ClientId, Event, Paired, TunnelId};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::lobby::Place;
use super::{Binding, Happening, House, Order, enrolment, keyed};
use crate::limits::{AWAIT_PATIENCE, HELLO_PATIENCE, ORDERS, PONG_PATIENCE, STANDBY_PING};
use crate::telemetry::step;
use crate::tunnel::{Asks, Framed, Talk, Tunnel};

/// Serves one connection to the dial-back port to its end.
pub(super) async fn serve(house: Arc<House>, stream: TcpStream, from: SocketAddr, place: Place) {
    let greeted = tokio::select! {
        greeted = timeout(HELLO_PATIENCE, greet(&house, stream)) => greeted,
        () = place.lost() => return debug!(%from, "no tunnel: its place was needed"),
        () = house.stop.cancelled() => return,
    };
    let greeting = match greeted {
        Ok(Ok(Greeted::DialBack(greeting))) => greeting,
        Ok(Ok(Greeted::Client(tunnel, request))) => {
            return keyed::serve(house, tunnel, request, from, place).await;
        }
        Ok(Ok(Greeted::Enrolment(tunnel))) => {
            return enrolment::serve(house, tunnel, from, place).await;
        }
        Ok(Err(fault)) => return debug!(%from, %fault, "no tunnel"),
        Err(_) => return debug!(%from, "no tunnel: no whole hello in time"),
    };
    // Told before the place is given up, so that whoever is let in is counted all the time.
    let Some(begun) = tell(&house, greeting).await else { return };
    drop(place);
    follow(&house, begun).await;
}

/// Serves one stream of a connection to its end. A stranger's has no place beside its connection's.
#[cfg(feature = "quic")]
pub(super) async fn serve_stream(
    house: Arc<House>,
    tunnel: Tunnel,
    from: SocketAddr,
    place: Option<Place>,
) {
    let lost = async {
        match &place {
            Some(place) => place.lost().await,
            None => std::future::pending().await,
        }
    };
    let greeted = tokio::select! {
        greeted = timeout(HELLO_PATIENCE, Greeting::hear(tunnel)) => greeted,
        () = lost => return debug!(%from, "no tunnel: its place was needed"),
        () = house.stop.cancelled() => return,
    };
    let greeting = match greeted {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(fault)) => return debug!(%from, %fault, "no tunnel"),
        Err(_) => return debug!(%from, "no tunnel: no whole hello in time"),
    };
    let Some(begun) = tell(&house, greeting).await else { return };
    drop(place);
    follow(&house, begun).await;
}

/// Serves a tunnel that has said a whole hello where no stranger comes to.
pub(super) async fn admit(house: Arc<House>, greeting: Greeting) {
    if let Some(begun) = tell(&house, greeting).await {
        follow(&house, begun).await;
    }
}

/// A tunnel that the switchboard knows of.
type Begun = (TunnelId, Talk, mpsc::Receiver<Order>, (Option<SignalId>, bool));

async fn tell(house: &House, greeting: Greeting) -> Option<Begun> {
    let Greeting { talk, hello, exporter } = greeting;
    let tunnel = TunnelId(house.ids.fetch_add(1, Ordering::Relaxed));
    let (signal, offers) = (hello.sid.signal_id(), hello.bare);
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (protocol, peer) = (talk.tunnel().protocol(), *talk.tunnel().peer());
    debug!(%signal, ?protocol, outcome = ?hello.outcome, "a dial-back has said hello");
    let event = Event::HelloHeard { tunnel, protocol, peer, hello, exporter };
    let happening = Happening::TunnelArrived { event, tunnel, orders };
    house.happenings.send(happening).await.ok()?;
    Some((tunnel, talk, ordered, (Some(signal), offers)))
}

/// Has a tunnel whose session has ended wait for orders again.
///
/// Its far end may have octets of the session still to deliver, to a service that takes its time: until
/// it says that it is ready, no client is to wait for it. One that does not in time is ended in order, so
/// that what is under way arrives.
pub(super) fn resume(
    house: &Arc<House>,
    (client, tunnel): (ClientId, TunnelId),
    paired: Paired,
    mut talk: Talk,
) {
    let staff = house.clone();
    let standing = async move {
        let told = tokio::select! {
            told = timeout(PONG_PATIENCE, talk.frame(ToPublic::decode)) => told,
            () = staff.stop.cancelled() => Ok(Err(io::Error::other("stopped"))),
        };
        if !matches!(told, Ok(Ok(ToPublic::Ready))) {
            let event = Event::SpliceEnded { client, tunnel, back: None };
            let _ = staff.happenings.send(Happening::Told(event)).await;
            return talk.close().await;
        }
        let (orders, ordered) = mpsc::channel(ORDERS);
        let event = Event::SpliceEnded { client, tunnel, back: Some(paired) };
        // Without a role nobody orders anything any more, which ends the tunnel.
        let _ = staff.happenings.send(Happening::TunnelArrived { event, tunnel, orders }).await;
        debug!(tunnel = tunnel.0, "its session has ended, and it waits for orders");
        follow(&staff, (tunnel, talk, ordered, (None, false))).await;
    };
    house.tasks.spawn(standing);
}

/// Obeys orders, and tells if that ends the tunnel.
async fn follow(house: &House, (tunnel, talk, orders, (signal, offers)): Begun) {
    match obey(house, (tunnel, signal, offers), talk, orders).await {
        Ok(Left::HandedOver) => return,
        Ok(Left::Ended) => {}
        Err(fault) => debug!(%fault, "tunnel lost"),
    }
    let _ = house.happenings.send(Happening::Told(Event::TunnelLost { tunnel })).await;
}

/// How a tunnel left its task without a fault.
enum Left {
    /// It carries a session now, and whoever took it tells its end.
    HandedOver,
    /// It was ended as ordered.
    Ended,
}

/// Who has come, once it has said what it must say first.
enum Greeted {
    /// A private proxy, with its hello and what the exporter yields for it.
    DialBack(Greeting),
    /// A client, with its request.
    Client(Tunnel, Request),
    /// A private proxy that has a code to redeem.
    Enrolment(Tunnel),
}

/// A tunnel that has said its hello.
#[derive(Debug)]
pub(super) struct Greeting {
    talk: Talk,
    hello: Hello,
    /// What the exporter yields for it.
    exporter: [u8; 32],
}

impl Greeting {
    /// The session that it is a hello for.
    pub(super) fn sid(&self) -> Sid {
        self.hello.sid
    }

    /// Hears the hello; whether it is true is not looked at.
    pub(super) async fn hear(tunnel: Tunnel) -> io::Result<Self> {
        let mut talk = Talk::new(tunnel);
        let hello = Hello::decode(&talk.exactly().await?)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        let exporter = talk.tunnel().exporter(&hello.sid);
        Ok(Self { talk, hello, exporter })
    }
}

async fn greet(house: &House, stream: TcpStream) -> io::Result<Greeted> {
    let (asks, tunnel) = house.acceptor.accept(stream).await.map_err(io::Error::other)?;
    match asks {
        Asks::DialBack => Ok(Greeted::DialBack(Greeting::hear(tunnel).await?)),
        Asks::Client => {
            let mut talk = Talk::new(tunnel);
            let request = talk.frame(Request::decode).await?;
            match talk.into_parts() {
                (tunnel, heard) if heard.is_empty() => Ok(Greeted::Client(tunnel, request)),
                _ => Err(io::Error::other("a client that does not wait for a reply")),
            }
        }
        Asks::Enrolment => Ok(Greeted::Enrolment(tunnel)),
    }
}

/// Obeys orders until the tunnel is handed over or ends.
async fn obey(
    house: &House,
    (tunnel, signal, offers): (TunnelId, Option<SignalId>, bool),
    mut talk: Talk,
    mut orders: mpsc::Receiver<Order>,
) -> io::Result<Left> {
    let mut ping_at = Instant::now() + STANDBY_PING;
    loop {
        let order = tokio::select! {
            biased;
            order = orders.recv() => order,
            // Nothing is asked here, so nothing may be said; an end shows that the tunnel is gone.
            said = talk.frame(ToPublic::decode) => {
                let said = said?;
                return Err(io::Error::other(format!("unasked for: {said:?}")));
            }
            () = tokio::time::sleep_until(ping_at) => {
                timeout(PONG_PATIENCE, ping(&mut talk)).await??;
                ping_at = Instant::now() + STANDBY_PING;
                continue;
            }
        };
        match order {
            Some(Order::Accept(octets)) => {
                talk.tunnel().welcome();
                talk.say(&octets).await?;
                step("H", None, signal);
            }
            Some(Order::Say(octets)) => talk.say(&octets).await?,
            Some(Order::SayWhen(ready, octets)) => {
                if let Ok(Ok(())) = timeout(AWAIT_PATIENCE, ready).await {
                    talk.say(&octets).await?;
                }
            }
            Some(Order::Open(octets, asked)) => {
                talk.say(&octets).await?;
                let (outcome, bare) = timeout(OPEN_PATIENCE, opened(&mut talk)).await??;
                if bare && !asked {
                    return Err(io::Error::other("bare, unasked"));
                }
                let event = Event::Opened { tunnel, outcome };
                // Without a role nobody orders anything any more, which ends the tunnel.
                let _ = house.happenings.send(Happening::Told(event)).await;
                ping_at = Instant::now() + STANDBY_PING;
                if outcome == Outcome::Connected {
                    return hand_over(Framed::new(talk, bare)?, orders).await;
                }
            }
            Some(Order::Join(binding, taker)) => {
                let Some(Binding { session, caller, bare }) = binding else {
                    return Err(io::Error::other("joined without being opened or bound"));
                };
                let bare = bare && offers;
                let bound = ToPrivate::Bound { session, bare, caller }.encode();
                talk.say(&bound.map_err(io::Error::other)?).await?;
                return give(Framed::new(talk, bare)?, taker);
            }
            Some(Order::End(octets)) => {
                talk.say(&octets).await?;
                return Ok(end(talk).await);
            }
            None => return Ok(end(talk).await),
        }
    }
}

/// After an opened service every octet is the session's: nothing is read until somebody takes it.
/// The private proxy splices already, so a tunnel that nobody takes was cut, not ended in order.
async fn hand_over(framed: Framed, mut orders: mpsc::Receiver<Order>) -> io::Result<Left> {
    match orders.recv().await {
        Some(Order::Join(None, taker)) => give(framed, taker),
        Some(
            Order::Accept(_)
            | Order::Say(_)
            | Order::SayWhen(..)
            | Order::Open(..)
            | Order::Join(..)
            | Order::End(_),
        )
        | None => {
            framed.reset();
            Ok(Left::Ended)
        }
    }
}

fn give(framed: Framed, taker: oneshot::Sender<Framed>) -> io::Result<Left> {
    // A client that left in this very moment takes nothing: its session was cut, not completed.
    let Err(framed) = taker.send(framed) else { return Ok(Left::HandedOver) };
    framed.reset();
    Ok(Left::Ended)
}

async fn end(talk: Talk) -> Left {
    talk.close().await;
    Left::Ended
}

async fn opened(talk: &mut Talk) -> io::Result<(Outcome, bool)> {
    loop {
        match talk.frame(ToPublic::decode).await? {
            ToPublic::Opened { outcome, bare } => return Ok((outcome, bare)),
            ToPublic::Pong => {}
            ToPublic::Ready => return Err(io::Error::other("ready without a session")),
        }
    }
}

async fn ping(talk: &mut Talk) -> io::Result<()> {
    let ping = ToPrivate::Ping.encode().map_err(io::Error::other)?;
    talk.say(&ping).await?;
    match talk.frame(ToPublic::decode).await? {
        ToPublic::Pong => Ok(()),
        ToPublic::Opened { .. } | ToPublic::Ready => Err(io::Error::other("said unasked")),
    }
}
