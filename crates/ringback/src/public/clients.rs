//! One client's story at the public proxy: named, held, then joined to a tunnel or refused.
//!
//! Nothing is read beyond what names the terminal and shows who the client is. While the terminal is
//! rung the client is held by the kernel's back-pressure; no buffer of ours holds anything of it, but
//! for the head inside a TLS that ends here.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringback_proto::access_request::Protocol as TunnelProtocol;
use ringback_proto::door::Reply;
use ringback_proto::gate::{Admitted, Level};
use ringback_proto::hello::{Caller, SessionId};
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::{ClientId, Event, Paired, TunnelId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::doorway::{Door, Guest, Wish, let_in};
use super::lobby::Place;
use super::{Happening, Held, House, Verdict, tunnels};
use crate::assertion::Assertion;
use crate::config::Custody;
use crate::ingress::forwarded::{self, Telling};
use crate::ingress::{self, ClientStream, Protocol};
use crate::limits::{ANSWER_PATIENCE, HANDED_SIGNALS, SAY_PATIENCE};
use crate::splice::{How, Leg, Tally, splice};
use crate::telemetry::{self, step};
use crate::tunnel::{Framed, Talk};
use crate::{clock, keys};

/// Serves one client from its arrival to its end. Until it is let in it holds a place in the lobby
/// and no other, so that those who never say what they want take nothing from those who do.
pub(super) async fn serve(
    house: Arc<House>,
    stream: TcpStream,
    from: SocketAddr,
    door: Door,
    place: Place,
) {
    // In a box, so that a client that is held does not keep the room that letting it in took.
    let guest = tokio::select! {
        guest = Box::pin(let_in(&house, stream, from, door)) => guest,
        () = place.lost() => return debug!(%from, "no client: its place was needed"),
        () = house.stop.cancelled() => return,
    };
    drop(place);
    let Some(guest) = guest else { return };
    begin(house, from, guest).await;
}

/// Begins the session of a client that may ring.
pub(super) async fn begin(house: Arc<House>, from: SocketAddr, guest: Box<Guest>) {
    let Ok(session) = keys::random() else { return };
    let session = SessionId(u64::from_be_bytes(session));
    let (kid, service) = (guest.wish.terminal.key.kid, guest.wish.service.id);
    let span = info_span!("session", %session, %kid, %service);
    hold(house, from, guest, session).instrument(span).await;
}

/// What the service is to be told in the request's head; `None` if the head is none of our business.
fn telling(
    house: &House,
    wish: &Wish,
    from: SocketAddr,
    admitted: &Admitted,
    session: SessionId,
) -> Option<Telling> {
    let Wish { terminal, service, protocol, head } = wish;
    let by_credential = admitted.level() == Level::Http && service.http;
    if !service.forwarded && !by_credential {
        return None;
    }
    let identity = admitted.identity().and_then(|user| {
        let (terminal, level) = (&terminal.name, admitted.level());
        let assertion = Assertion { user, terminal, session, level };
        assertion.sign(&house.identity, clock::unix_seconds())
    });
    // What SOCKS and CONNECT have carried was ours and never part of this head.
    let ours = by_credential && *protocol == Protocol::Http;
    Some(Telling {
        client: service.forwarded.then_some(from),
        identity,
        consume: ours && service.access.custody == Custody::Consume,
        admitted: *head,
    })
}

async fn hold(house: Arc<House>, from: SocketAddr, guest: Box<Guest>, session: SessionId) {
    let Guest { mut stream, wish, admitted, rings_itself, seat: _seat } = *guest;
    step("C", Some(session), None);
    debug!(terminal = %wish.terminal.name, service = %wish.service.id, %from, "client arrived");
    if !say(&mut stream, &Reply::Ringing(session).encode()).await {
        return debug!("client left before it was held");
    }
    let client = ClientId(house.ids.fetch_add(1, Ordering::Relaxed));
    let caller = Caller {
        address: from.into(),
        level: admitted.level(),
        identity: admitted.identity().cloned(),
    };
    let event = Event::ClientArrived {
        client,
        session,
        terminal: wish.terminal.terminal.clone(),
        service: wish.service.id,
        through: wish.service.tunnel,
        admitted: admitted.clone(),
        rings_itself: rings_itself.is_some(),
    };
    let (verdicts, mut told) = mpsc::channel(1 + HANDED_SIGNALS);
    let cut = CancellationToken::new();
    let bare = wish.service.bare;
    let held = Held { id: client, caller, bare, rings: rings_itself, verdicts, cut: cut.clone() };
    let _ = house.happenings.send(Happening::ClientArrived { event, client: held }).await;
    let waited = tokio::select! {
        biased;
        () = cut.cancelled() => Waited::Refused(Refusal::Unknown),
        // In a box, so that its room is free once it is over.
        waited = Box::pin(fate(client, &mut told, (&mut stream, wish.protocol), &house.happenings)) => waited,
    };
    let event = match waited {
        Waited::Joined { tunnel, framed, paired } => {
            let telling = telling(&house, &wish, from, &admitted, session);
            // Over anything else there is nothing that a session could go past.
            let by_tls = framed.protocol() == TunnelProtocol::Tls;
            if wish.service.bare && by_tls && !framed.is_bare() {
                let terminal = &wish.terminal.key.kid;
                warn!(kid = %terminal, "RB-BARE: bare here and not at the private proxy: encrypted");
            }
            let protocol = wish.protocol;
            drop((wish, admitted, told));
            let back = tokio::select! {
                biased;
                // Its first step arms both legs: dropped halfway, they are reset.
                back = join(&house, stream, (protocol, telling), framed, &paired, session) => back,
                () = cut.cancelled() => {
                    info!("session cut: its terminal was revoked");
                    None
                }
            };
            if let Some(talk) = back {
                return tunnels::resume(&house, (client, tunnel), paired, talk);
            }
            Event::SpliceEnded { client, tunnel, back: None }
        }
        Waited::Refused(refusal) => {
            info!(code = refusal.code(), "client refused");
            return Box::pin(ingress::refuse(stream, wish.protocol, refusal)).await;
        }
        Waited::Left(event) => {
            info!("client left before an answer");
            event
        }
    };
    let _ = house.happenings.send(Happening::Told(event)).await;
}

/// Tells a client of ours how it goes; false if it does not hear it.
async fn say(stream: &mut ClientStream, octets: &[u8]) -> bool {
    let ClientStream::Keyed(tunnel) = stream else { return true };
    let said = async {
        tunnel.write_all(octets).await?;
        tunnel.flush().await
    };
    matches!(timeout(SAY_PATIENCE, said).await, Ok(Ok(())))
}

/// How a client's wait has ended.
#[derive(Debug)]
enum Waited {
    Joined { tunnel: TunnelId, framed: Framed, paired: Paired },
    Refused(Refusal),
    Left(Event),
}

/// Waits for a client's fate, and hands it the signals that it sends by itself.
async fn fate(
    client: ClientId,
    told: &mut mpsc::Receiver<Box<Verdict>>,
    (stream, protocol): (&mut ClientStream, Protocol),
    happenings: &mpsc::Sender<Happening>,
) -> Waited {
    loop {
        let left = ingress::left(stream.socket(), protocol);
        match wait(client, told, left, happenings).await {
            ControlFlow::Break(waited) => return waited,
            ControlFlow::Continue(signal) if say(stream, &signal).await => {}
            ControlFlow::Continue(_) => return Waited::Left(leave(client, told).await),
        }
    }
}

/// Waits until the client has a tunnel, however many are lost before they can be taken; or until
/// there is a signal for it.
async fn wait(
    client: ClientId,
    told: &mut mpsc::Receiver<Box<Verdict>>,
    left: impl Future<Output = ()>,
    happenings: &mpsc::Sender<Happening>,
) -> ControlFlow<Waited, Vec<u8>> {
    let mut left = pin!(left);
    loop {
        let verdict = tokio::select! {
            verdict = told.recv() => verdict,
            () = &mut left => return ControlFlow::Break(Waited::Left(leave(client, told).await)),
        };
        match verdict.map(|it| *it) {
            Some(Verdict::Joined { tunnel, taken, paired }) => {
                if let Ok(Ok(mut framed)) = timeout(ANSWER_PATIENCE, taken).await {
                    if let Err(fault) = framed.move_here() {
                        // Nothing of it is lost: it is woken by another thread, which costs some time.
                        warn!(%fault, "a tunnel stays with the worker that it came to");
                    }
                    return ControlFlow::Break(Waited::Joined { tunnel, framed, paired });
                }
                debug!("tunnel lost before it was joined");
                let event = Event::SpliceFailed { client, tunnel };
                let _ = happenings.send(Happening::Told(event)).await;
            }
            Some(Verdict::Refused(refusal)) => {
                return ControlFlow::Break(Waited::Refused(refusal));
            }
            Some(Verdict::Ring(signal)) => return ControlFlow::Continue(signal),
            None => return ControlFlow::Break(Waited::Refused(Refusal::Stopping)),
        }
    }
}

/// What a client's going means: it may have been joined in this very moment.
async fn leave(client: ClientId, told: &mut mpsc::Receiver<Box<Verdict>>) -> Event {
    told.close();
    while let Some(verdict) = told.recv().await {
        match *verdict {
            Verdict::Joined { tunnel, .. } => {
                return Event::SpliceEnded { client, tunnel, back: None };
            }
            Verdict::Refused(_) | Verdict::Ring(_) => {}
        }
    }
    Event::ClientLeft { client }
}

/// Step I, then the session's octets; returns the tunnel if both ways have come to their end.
async fn join(
    house: &House,
    mut stream: ClientStream,
    (protocol, telling): (Protocol, Option<Telling>),
    mut framed: Framed,
    paired: &Paired,
    session: SessionId,
) -> Option<Talk> {
    let begun = Box::pin(begin_session(&mut stream, (protocol, telling), &mut framed)).await;
    let tally = match begun {
        Ok(tally) => tally,
        Err(fault) => {
            info!(%fault, "session ended before it began");
            framed.reset();
            return None;
        }
    };
    step("I", Some(session), None);
    info!(bare = framed.is_bare(), "client spliced");
    let ended = splice(&mut stream, &mut framed, house.idle, &tally, paired).await;
    telemetry::ended(session, &ended);
    match ended.how {
        How::Clean => {
            // Closed first: the client need not wait for what becomes of the tunnel.
            drop(stream);
            framed.into_talk().await.ok()
        }
        How::Cut(_) | How::Idle => None,
    }
}

async fn begin_session(
    stream: &mut ClientStream,
    (protocol, telling): (Protocol, Option<Telling>),
    framed: &mut Framed,
) -> io::Result<Tally> {
    // From its acknowledgement on, a client must see a cut and never an end.
    stream.arm()?;
    framed.arm()?;
    timeout(SAY_PATIENCE, async {
        ingress::acknowledge(stream, protocol).await?;
        stream.flush().await
    })
    .await??;
    let Some(telling) = telling else { return Ok(Tally::default()) };
    // However the client came: a service that believes these fields must never read forged ones.
    let head = forwarded::take(stream, &telling).await.map_err(io::Error::other)?;
    timeout(SAY_PATIENCE, async {
        framed.write_all(&head).await?;
        framed.flush().await
    })
    .await??;
    Ok(Tally::starting(head.len(), 0))
}

#[cfg(test)]
mod staying;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringback_proto::access_request::{Kid, Protocol as Through, SessionKeys, Sid};
    use ringback_proto::gate::{Shown, Source, admit};
    use ringback_proto::hello::{Hello, Outcome, confirm_private};
    use ringback_proto::secret::Secret;
    use ringback_proto::switchboard::{
        BearerId, Command, PublicKey, RoutePlan, Spares, Switchboard, Terminal,
    };
    use ringback_proto::terminal::{ServiceId, TenantName};
    use tokio::sync::oneshot;

    use super::*;

    const CLIENT: ClientId = ClientId(1);
    const TUNNEL: TunnelId = TunnelId(2);

    #[tokio::test]
    async fn a_client_whose_tunnel_is_lost_before_it_is_joined_is_held_and_rung_for_again() {
        let mut board = Switchboard::new();
        let (verdicts, mut told) = mpsc::channel(1);
        let (happenings, mut happened) = mpsc::channel(8);
        let (taker, taken) = oneshot::channel();
        drop(taker);
        let paired = splice_commanded(&mut board);
        let verdict = Verdict::Joined { tunnel: TUNNEL, taken, paired };
        verdicts.send(Box::new(verdict)).await.expect("a client that waits");

        let role = async {
            let Some(Happening::Told(event)) = happened.recv().await else { panic!("no event") };
            board.handle_event(event, clock::now());
            assert!(matches!(board.poll_command(), Some(Command::Ring { .. })), "rung again");
            verdicts
                .send(Box::new(Verdict::Refused(Refusal::NoAnswer)))
                .await
                .expect("a client that waits");
        };
        let waits = wait(CLIENT, &mut told, std::future::pending(), &happenings);
        let (waited, ()) = tokio::join!(waits, role);
        let refused = matches!(waited, ControlFlow::Break(Waited::Refused(Refusal::NoAnswer)));
        assert!(refused, "{waited:?}");
    }

    #[tokio::test]
    async fn a_client_that_leaves_as_it_is_joined_ends_the_splice() {
        let mut board = Switchboard::new();
        let (verdicts, mut told) = mpsc::channel(1);
        let (_taker, taken) = oneshot::channel();
        let paired = splice_commanded(&mut board);
        let verdict = Verdict::Joined { tunnel: TUNNEL, taken, paired };
        verdicts.send(Box::new(verdict)).await.expect("a client that waits");
        board.handle_event(leave(CLIENT, &mut told).await, clock::now());
        assert_eq!(board.census().tunnels, 0);
    }

    /// Leads a switchboard to the point where client and tunnel are to be joined.
    pub(super) fn splice_commanded(board: &mut Switchboard) -> Paired {
        let now = clock::now();
        let peer = PublicKey([1; 44]);
        let terminal = Terminal {
            kid: Kid(7),
            tenant: TenantName::default(),
            private_proxy: peer,
            routes: vec![RoutePlan { bearer: BearerId(0), patience: Duration::from_secs(30) }],
            answer_patience: Duration::from_secs(60),
            linger: Duration::ZERO,
            spares: Spares::fixed(0),
            waiting: 1,
        };
        let event = Event::ClientArrived {
            client: CLIENT,
            session: SessionId(1),
            terminal: Arc::new(terminal),
            service: ServiceId(0),
            through: Default::default(),
            admitted: admit(Level::Open, Shown::Nothing, Source::of([192, 0, 2, 7].into()))
                .expect("open to all"),
            rings_itself: false,
        };
        board.handle_event(event, now);
        let Some(Command::Ring { ring, .. }) = board.poll_command() else { panic!("no ring") };
        let keys = SessionKeys {
            sid: Sid([3; 16]),
            psk: Secret::new([4; 32]),
            confirm_private: Secret::new([5; 32]),
            confirm_public: Secret::new([6; 32]),
        };
        let (exporter, sid) = ([7; 32], keys.sid);
        let mac = confirm_private(&keys, &exporter);
        board.handle_event(Event::Sealed { ring, keys }, now);
        let hello = Hello { sid, mac, outcome: Outcome::Connected, bare: false };
        board.handle_event(
            Event::HelloHeard { tunnel: TUNNEL, protocol: Through::Tls, peer, hello, exporter },
            now,
        );
        let commands = std::iter::from_fn(|| board.poll_command());
        let splice = commands.filter_map(|it| match it {
            Command::Splice { paired, .. } => Some(paired),
            Command::Unawait { .. }
            | Command::Ring { .. }
            | Command::Probe { .. }
            | Command::Probed { .. }
            | Command::Try { .. }
            | Command::Tried { .. }
            | Command::Cancel { .. }
            | Command::Accept { .. }
            | Command::Dismiss { .. }
            | Command::Standby { .. }
            | Command::Open { .. }
            | Command::Refuse { .. }
            | Command::Close { .. }
            | Command::Cut { .. }
            | Command::Sank { .. }
            | Command::Rose { .. }
            | Command::CallEnded { .. } => None,
        });
        splice.last().expect("a splice")
    }
}
