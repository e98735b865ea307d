//! One client's story at the public proxy: named, held, then joined to a tunnel or refused.
//!
//! Nothing is read beyond what names the terminal. While the terminal is rung the client is held by
//! the kernel's back-pressure; no buffer of ours holds anything of it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringback_proto::gate::{Admitted, Level, Shown, Source, admit};
use ringback_proto::hello::{ClientAddress, SessionId};
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::{ClientId, Event, Paired, TunnelId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument, debug, info, info_span};

use super::{Happening, Held, House, Verdict};
use crate::config::{ListedService, ListedTerminal};
use crate::ingress::{self, Asked, ClientStream, Listening, Protocol, forwarded};
use crate::limits::{ANSWER_PATIENCE, SAY_PATIENCE};
use crate::splice::{Leg, Tally, splice};
use crate::telemetry::{self, step};
use crate::tunnel::Talk;
use crate::{keys, socket};

/// How clients of one listener say whom they want.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// By their first octets.
    Named(Listening),
    /// By the port itself, as the directory has it.
    Raw(SocketAddr),
}

/// What a client wants, and how to speak to it.
struct Wish {
    terminal: Arc<ListedTerminal>,
    service: ListedService,
    protocol: Protocol,
}

/// Serves one client from its arrival to its end.
pub(super) async fn serve(house: Arc<House>, mut stream: TcpStream, from: SocketAddr, door: Door) {
    let wish = match door {
        Door::Raw(port) => match house.directory().behind(port) {
            Some((terminal, service)) => Wish { terminal, service, protocol: Protocol::Raw },
            // The port is open, so its terminal is listed: it has no keys yet.
            None => return refuse(stream, Protocol::Raw, Refusal::NotEnrolled).await,
        },
        Door::Named(listening) => {
            let named = tokio::select! {
                named = ingress::name(&mut stream, &listening) => named,
                () = house.stop.cancelled() => return,
            };
            match named {
                Ok(asked) => match wish(&house, &asked) {
                    Ok(wish) => wish,
                    Err(refusal) => return refuse(stream, asked.protocol, refusal).await,
                },
                Err(unnamed) => {
                    debug!(%from, %unnamed, "client named no terminal");
                    return ingress::turn_away(stream, unnamed).await;
                }
            }
        }
    };
    let admitted = match weigh(&wish, from) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(stream, wish.protocol, refusal).await,
    };
    begin(house, ClientStream::Plain(stream), from, wish, admitted).await;
}

/// Begins the session of a client that may ring.
async fn begin(
    house: Arc<House>,
    stream: ClientStream,
    from: SocketAddr,
    wish: Wish,
    admitted: Admitted,
) {
    let Ok(session) = keys::random() else { return };
    let session = SessionId(u64::from_be_bytes(session));
    let (kid, service) = (wish.terminal.key.kid, wish.service.id);
    let span = info_span!("session", %session, %kid, %service);
    hold(house, stream, from, wish, admitted, session).instrument(span).await;
}

/// Who is asked for; an unknown name never reaches the switchboard, and so never rings.
fn wish(house: &House, asked: &Asked) -> Result<Wish, Refusal> {
    let directory = house.directory();
    let terminal =
        directory.find(&asked.name).ok_or_else(|| directory.missing(&asked.name))?.clone();
    let protocol = asked.protocol;
    let fits = |service: &&ListedService| match protocol {
        Protocol::Raw | Protocol::Keyed => false,
        Protocol::Http => service.http,
        Protocol::Tls => service.tls,
        Protocol::Socks5 | Protocol::Connect => Some(service.port) == asked.port,
    };
    let service = terminal.services.iter().find(fits).ok_or(Refusal::NoService)?.clone();
    Ok(Wish { terminal, service, protocol })
}

async fn refuse(stream: TcpStream, protocol: Protocol, refusal: Refusal) {
    ingress::refuse(ClientStream::Plain(stream), protocol, refusal).await;
}

/// What the client has shown, weighed by the ring gate: without it nobody is rung.
fn weigh(wish: &Wish, from: SocketAddr) -> Result<Admitted, Refusal> {
    let access = &wish.service.access;
    let allowed = access.allow.iter().any(|it| it.contains(from.ip()));
    let shown = if allowed { Shown::Network } else { Shown::Nothing };
    admit(access.level, shown, Source::of(from.ip())).ok_or(match access.level {
        Level::Open | Level::Allow => Refusal::NotAllowed,
        Level::Knock => Refusal::NotArmed,
        Level::Http | Level::Mtls => Refusal::Unauthorized,
        Level::EndToEnd => Refusal::EndToEndOnly,
    })
}

async fn hold(
    house: Arc<House>,
    stream: ClientStream,
    from: SocketAddr,
    wish: Wish,
    admitted: Admitted,
    session: SessionId,
) {
    step("C", Some(session), None);
    debug!(terminal = %wish.terminal.name, service = %wish.service.id, %from, "client arrived");
    let client = ClientId(house.ids.fetch_add(1, Ordering::Relaxed));
    let event = Event::ClientArrived {
        client,
        session,
        terminal: wish.terminal.terminal.clone(),
        service: wish.service.id,
        admitted,
    };
    let (verdicts, told) = mpsc::channel(1);
    let held = Held { id: client, address: ClientAddress::from(from), verdicts };
    let _ = house.happenings.send(Happening::ClientArrived { event, client: held }).await;
    let left = ingress::left(stream.socket(), wish.protocol);
    let event = match wait(client, told, left, &house.happenings).await {
        Waited::Joined { tunnel, talk, paired } => {
            join(&house, stream, from, &wish, talk, &paired, session).await;
            Event::SpliceEnded { client, tunnel }
        }
        Waited::Refused(refusal) => {
            info!(code = refusal.code(), "client refused");
            return ingress::refuse(stream, wish.protocol, refusal).await;
        }
        Waited::Left(event) => {
            info!("client left before an answer");
            event
        }
    };
    let _ = house.happenings.send(Happening::Told(event)).await;
}

/// How a client's wait has ended.
#[derive(Debug)]
enum Waited {
    Joined { tunnel: TunnelId, talk: Talk, paired: Paired },
    Refused(Refusal),
    Left(Event),
}

/// Waits until the client has a tunnel, however many are lost before they can be taken.
async fn wait(
    client: ClientId,
    mut told: mpsc::Receiver<Verdict>,
    left: impl Future<Output = ()>,
    happenings: &mpsc::Sender<Happening>,
) -> Waited {
    let mut left = pin!(left);
    loop {
        let verdict = tokio::select! {
            verdict = told.recv() => verdict,
            () = &mut left => return Waited::Left(leave(client, told).await),
        };
        match verdict {
            Some(Verdict::Joined { tunnel, taken, paired }) => {
                if let Ok(Ok(talk)) = timeout(ANSWER_PATIENCE, taken).await {
                    return Waited::Joined { tunnel, talk, paired };
                }
                debug!("tunnel lost before it was joined");
                let event = Event::SpliceFailed { client, tunnel };
                let _ = happenings.send(Happening::Told(event)).await;
            }
            Some(Verdict::Refused(refusal)) => return Waited::Refused(refusal),
            None => return Waited::Refused(Refusal::Stopping),
        }
    }
}

/// What a client's going means: it may have been joined in this very moment.
async fn leave(client: ClientId, mut told: mpsc::Receiver<Verdict>) -> Event {
    told.close();
    match told.recv().await {
        Some(Verdict::Joined { tunnel, .. }) => Event::SpliceEnded { client, tunnel },
        Some(Verdict::Refused(_)) | None => Event::ClientLeft { client },
    }
}

/// Step I, then the session's bytes.
async fn join(
    house: &House,
    mut stream: ClientStream,
    from: SocketAddr,
    wish: &Wish,
    talk: Talk,
    paired: &Paired,
    session: SessionId,
) {
    let (mut tunnel, heard) = talk.into_parts();
    let begun = async {
        // From its acknowledgement on, a client must see a cut and never an end.
        socket::arm(stream.socket())?;
        timeout(SAY_PATIENCE, async {
            ingress::acknowledge(&mut stream, wish.protocol).await?;
            stream.write_all(&heard).await
        })
        .await??;
        if !wish.service.forwarded {
            return Ok(Tally::starting(0, heard.len()));
        }
        // However the client came: a service that believes these fields must never read forged ones.
        let ClientStream::Plain(plain) = &mut stream else {
            return Ok(Tally::starting(0, heard.len()));
        };
        let head = forwarded::take(plain, from).await.map_err(io::Error::other)?;
        timeout(SAY_PATIENCE, async {
            tunnel.write_all(&head).await?;
            tunnel.flush().await
        })
        .await??;
        io::Result::Ok(Tally::starting(head.len(), heard.len()))
    };
    let begun = begun.await;
    let tally = match begun {
        Ok(tally) => tally,
        Err(fault) => {
            info!(%fault, "session ended before it began");
            return tunnel.reset();
        }
    };
    step("I", Some(session), None);
    info!("client spliced");
    let ended = splice(stream, tunnel, house.idle, &tally, paired).await;
    telemetry::ended(session, &ended);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringback_proto::access_request::{Kid, SessionKeys, Sid};
    use ringback_proto::hello::{Hello, Outcome, confirm_private};
    use ringback_proto::secret::Secret;
    use ringback_proto::switchboard::{Command, PublicKey, RoutePlan, Switchboard, Terminal};
    use ringback_proto::terminal::ServiceId;
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock;

    const CLIENT: ClientId = ClientId(1);
    const TUNNEL: TunnelId = TunnelId(2);

    #[tokio::test]
    async fn a_client_whose_tunnel_is_lost_before_it_is_joined_is_held_and_rung_for_again() {
        let mut board = Switchboard::new();
        let (verdicts, told) = mpsc::channel(1);
        let (happenings, mut happened) = mpsc::channel(8);
        let (taker, taken) = oneshot::channel();
        drop(taker);
        let paired = splice_commanded(&mut board);
        let verdict = Verdict::Joined { tunnel: TUNNEL, taken, paired };
        verdicts.send(verdict).await.expect("a client that waits");

        let role = async {
            let Some(Happening::Told(event)) = happened.recv().await else { panic!("no event") };
            board.handle_event(event, clock::now());
            assert!(matches!(board.poll_command(), Some(Command::Ring { .. })), "rung again");
            verdicts.send(Verdict::Refused(Refusal::NoAnswer)).await.expect("a client that waits");
        };
        let waits = wait(CLIENT, told, std::future::pending(), &happenings);
        let (waited, ()) = tokio::join!(waits, role);
        assert!(matches!(waited, Waited::Refused(Refusal::NoAnswer)), "{waited:?}");
    }

    #[tokio::test]
    async fn a_client_that_leaves_as_it_is_joined_ends_the_splice() {
        let mut board = Switchboard::new();
        let (verdicts, told) = mpsc::channel(1);
        let (_taker, taken) = oneshot::channel();
        let paired = splice_commanded(&mut board);
        let verdict = Verdict::Joined { tunnel: TUNNEL, taken, paired };
        verdicts.send(verdict).await.expect("a client that waits");
        board.handle_event(leave(CLIENT, told).await, clock::now());
        assert_eq!(board.census().tunnels, 0);
    }

    /// Leads a switchboard to the point where client and tunnel are to be joined.
    fn splice_commanded(board: &mut Switchboard) -> Paired {
        let now = clock::now();
        let peer = PublicKey([1; 44]);
        let terminal = Terminal {
            kid: Kid(7),
            private_proxy: peer,
            routes: vec![RoutePlan { patience: Duration::from_secs(30) }],
            answer_patience: Duration::from_secs(60),
            linger: Duration::ZERO,
            spares: 0,
        };
        let event = Event::ClientArrived {
            client: CLIENT,
            session: SessionId(1),
            terminal: Arc::new(terminal),
            service: ServiceId(0),
            admitted: admit(Level::Open, Shown::Nothing, Source::of([192, 0, 2, 7].into()))
                .expect("open to all"),
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
        let hello = Hello { sid, mac, outcome: Outcome::Connected };
        board.handle_event(Event::HelloHeard { tunnel: TUNNEL, peer, hello, exporter }, now);
        let commands = std::iter::from_fn(|| board.poll_command());
        let splice = commands.filter_map(|it| match it {
            Command::Splice { paired, .. } => Some(paired),
            Command::Ring { .. }
            | Command::Probe { .. }
            | Command::Probed { .. }
            | Command::Cancel { .. }
            | Command::Accept { .. }
            | Command::Dismiss { .. }
            | Command::Standby { .. }
            | Command::Open { .. }
            | Command::Refuse { .. }
            | Command::Close { .. } => None,
        });
        splice.last().expect("a splice")
    }
}
