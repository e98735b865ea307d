//! A switchboard with as many terminals as wanted, and one client's story from arrival to end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringback_proto::access_request::{Kid, Protocol, SessionKeys, Sid, TunnelType};
use ringback_proto::gate::{Level, Shown, Source, admit};
use ringback_proto::hello::{Hello, Outcome, SessionId, confirm_private};
use ringback_proto::limits;
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::{
    BearerId, ClientId, Command, Event, Paired, Progress, PublicKey, RingId, Room, RoutePlan,
    Spares, Switchboard, Terminal, TunnelId,
};
use ringback_proto::terminal::{ServiceId, TenantName};

const EXPORTER: [u8; 32] = [0x55; 32];
const PRIVATE: PublicKey = PublicKey([1; 44]);

/// The switchboard, and who comes next.
#[derive(Debug)]
pub struct Board {
    switchboard: Switchboard,
    now: Instant,
    next: u64,
    terminals: u32,
}

impl Board {
    /// One with so many terminals that each has had a session, and keeps a tunnel on standby.
    pub fn of(terminals: u32) -> Self {
        #[allow(clippy::disallowed_methods, reason = "all other moments are counted from it")]
        let now = Instant::now();
        let mut switchboard = Switchboard::new();
        let room = Room::among(1, limits::WAITING_CLIENTS);
        switchboard.make_room(Room { tunnels: usize::MAX, ..room });
        let mut board = Self { switchboard, now, next: 0, terminals: 0 };
        for kid in 0..terminals {
            board.session(kid, Duration::MAX);
        }
        board.terminals = terminals;
        board
    }

    /// One session more of a terminal that nothing is known of yet: arrival, ring, hello, splice, end.
    ///
    /// # Panics
    ///
    /// If it is not served.
    pub fn rung(&mut self) {
        self.terminals += 1;
        self.session(self.terminals, Duration::ZERO);
    }

    /// Proof that a client and a tunnel belong together, as only a switchboard makes it.
    pub fn paired(&mut self) -> Paired {
        self.terminals += 1;
        self.session(self.terminals, Duration::ZERO)
    }

    fn session(&mut self, kid: u32, linger: Duration) -> Paired {
        self.next += 1;
        let (client, tunnel) = (ClientId(self.next), TunnelId(self.next));
        let spares = usize::from(!linger.is_zero());
        let arrived = Event::ClientArrived {
            client,
            session: SessionId(self.next),
            terminal: Arc::new(terminal(kid, linger, spares)),
            service: ServiceId(1),
            through: TunnelType::Tls,
            admitted: admit(Level::Open, Shown::Nothing, Source::of([192, 0, 2, 7].into()))
                .expect("open to all"),
            rings_itself: false,
        };
        self.happens(arrived);
        let mut paired = None;
        let mut spare = self.next + 1;
        while let Some(command) = self.switchboard.poll_command() {
            match command {
                Command::Ring { ring, session, .. } => {
                    let keys = keys(ring);
                    let mac = confirm_private(&keys, &EXPORTER);
                    self.happens(Event::Sealed { ring, keys: keys.clone() });
                    if session.is_some() {
                        let progress = Progress::Submitted;
                        self.happens(Event::RingProgressed { ring, progress });
                    }
                    let (tunnel, outcome) = match session {
                        Some(_) => (tunnel, Outcome::Connected),
                        None => (TunnelId(spare), Outcome::NotTried),
                    };
                    spare += u64::from(session.is_none());
                    let hello = Hello { sid: keys.sid, mac, outcome, bare: false };
                    self.happens(Event::HelloHeard {
                        tunnel,
                        peer: PRIVATE,
                        protocol: Protocol::Tls,
                        hello,
                        exporter: EXPORTER,
                    });
                }
                Command::Splice { client, tunnel, paired: proof, .. } => {
                    paired = Some(proof);
                    self.happens(Event::SpliceEnded { client, tunnel, back: None });
                }
                Command::Refuse { refusal, .. } => panic!("refused: {}", refusal.code()),
                Command::Probe { .. }
                | Command::Probed { .. }
                | Command::Try { .. }
                | Command::Tried { .. }
                | Command::Cancel { .. }
                | Command::Unawait { .. }
                | Command::Accept { .. }
                | Command::Dismiss { .. }
                | Command::Standby { .. }
                | Command::Open { .. }
                | Command::Close { .. }
                | Command::Cut { .. }
                | Command::Sank { .. }
                | Command::Rose { .. }
                | Command::CallEnded { .. } => {}
            }
        }
        self.next = spare;
        paired.expect("a client that is rung for is served")
    }

    fn happens(&mut self, event: Event) {
        self.switchboard.handle_event(event, self.now);
    }
}

fn terminal(kid: u32, linger: Duration, spares: usize) -> Terminal {
    Terminal {
        kid: Kid(kid),
        tenant: TenantName::default(),
        private_proxy: PRIVATE,
        routes: vec![RoutePlan { bearer: BearerId(0), patience: Duration::from_secs(30) }],
        answer_patience: Duration::from_secs(60),
        linger,
        spares: Spares::fixed(spares),
        waiting: limits::WAITING_CLIENTS_PER_TERMINAL,
    }
}

/// What a ring's signal would derive.
fn keys(ring: RingId) -> SessionKeys {
    let octets = |label: u8| {
        let mut octets = [label; 32];
        octets[..8].copy_from_slice(&ring.0.to_be_bytes());
        octets
    };
    let mut sid = [0x5d; 16];
    sid[..8].copy_from_slice(&ring.0.to_be_bytes());
    SessionKeys {
        sid: Sid(sid),
        psk: Secret::new(octets(1)),
        confirm_private: Secret::new(octets(2)),
        confirm_public: Secret::new(octets(3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_served_among_however_many_terminals() {
        let mut board = Board::of(1_000);
        (0..100).for_each(|_| board.rung());
    }
}
