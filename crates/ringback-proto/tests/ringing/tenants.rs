//! Ten thousand clients of two tenants at once: what one does is nothing to the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringback_proto::access_request::{Kid, Protocol, TunnelType};
use ringback_proto::budget::{Budgets, Charge, Money, Rules, TenantRules};
use ringback_proto::gate::{Level, Shown, Source, admit};
use ringback_proto::hello::{Hello, Outcome, SessionId, confirm_private};
use ringback_proto::refusal::{Budget, Refusal};
use ringback_proto::switchboard::{
    ClientId, Command, Event, PublicKey, RingId, Room, Terminal, TunnelId,
};
use ringback_proto::terminal::{ServiceId, TenantName};

use crate::story::{EXPORTER, Story, keys, story};

const CLIENTS: u64 = 10_000;
const TERMINALS: u32 = 200;
/// The first tenant's signals a day; the second has no limit.
const FEW: u64 = 10;

#[test]
fn ten_thousand_clients_of_two_tenants_and_levels_never_meet_and_only_one_tenant_is_out_of_rings() {
    let mut town = Town::new();
    (0..CLIENTS).for_each(|client| town.arrives(client));
    // Every terminal that was rung dials back, and whoever is left is let through by its tunnel.
    while let Some((ring, kid)) = town.rung.pop() {
        town.dials(ring, kid);
    }
    let of = |tenant: u32| move |it: &u64| town_of(*it).0.0 % 2 == tenant;
    let (poor, rich) = (of(0), of(1));
    assert_eq!(town.signals[&tenant(0)], FEW);
    assert!(town.refused.iter().all(poor), "only the clients of who has spent all are refused");
    assert_eq!(town.served.iter().filter(|it| rich(it)).count() as u64, CLIENTS / 2);
    assert_eq!((town.served.len() + town.refused.len()) as u64, CLIENTS);
}

/// A client's terminal and level: all four kinds arrive mixed.
fn town_of(client: u64) -> (Kid, Level) {
    let kid = Kid((client * 7 % u64::from(TERMINALS)) as u32);
    (kid, if client / 3 % 2 < 1 { Level::Open } else { Level::Allow })
}

fn tenant(kid: u32) -> TenantName {
    TenantName::parse(["poor", "rich"][kid as usize % 2]).expect("a good name")
}

fn peer(kid: Kid) -> PublicKey {
    PublicKey([kid.0 as u8; 44])
}

struct Town {
    story: Story,
    budgets: Budgets,
    rung: Vec<(RingId, Kid)>,
    lines: BTreeMap<RingId, (Kid, Level)>,
    tunnels: BTreeMap<TunnelId, (Kid, Level)>,
    answers: Option<RingId>,
    signals: BTreeMap<TenantName, u64>,
    served: Vec<u64>,
    refused: Vec<u64>,
}

impl Town {
    fn new() -> Self {
        let mut story = story(1);
        story.board.make_room(Room::among(1, usize::MAX));
        let few = TenantRules { rings_per_day: FEW, money_per_day: Money::default() };
        let rules = Rules { tenants: BTreeMap::from([(tenant(0), few)]), ..Rules::none() };
        Self {
            story,
            budgets: Budgets::new(rules),
            rung: Vec::new(),
            lines: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            answers: None,
            signals: BTreeMap::new(),
            served: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn arrives(&mut self, client: u64) {
        let (kid, level) = town_of(client);
        let terminal = Terminal {
            kid,
            tenant: tenant(kid.0),
            private_proxy: peer(kid),
            ..self.story.terminal.clone()
        };
        let source = Source::of([10, 0, (client >> 8) as u8, client as u8].into());
        self.tell(Event::ClientArrived {
            client: ClientId(client),
            session: SessionId(client),
            terminal: Arc::new(terminal),
            service: ServiceId(0),
            through: TunnelType::Tls,
            admitted: admit(level, Shown::Network, source).expect("enough"),
            rings_itself: false,
        });
    }

    fn dials(&mut self, ring: RingId, kid: Kid) {
        let keys = keys(ring);
        let mac = confirm_private(&keys, &EXPORTER);
        let hello = Hello { sid: keys.sid, mac, outcome: Outcome::Connected, bare: false };
        self.answers = Some(ring);
        let (tunnel, peer) = (TunnelId(ring.0), peer(kid));
        self.tell(Event::HelloHeard {
            tunnel,
            protocol: Protocol::Tls,
            peer,
            hello,
            exporter: EXPORTER,
        });
    }

    fn tell(&mut self, event: Event) {
        self.story.board.handle_event(event, self.story.now);
        while let Some(command) = self.story.board.poll_command() {
            self.obeys(command);
        }
    }

    fn obeys(&mut self, command: Command) {
        let now = self.story.now;
        match command {
            Command::Ring { ring, kid, session, admitted, call, .. } => {
                let whom = town_of(session.expect("rung for somebody").0);
                assert_eq!(whom, (kid, admitted.level()), "rung on behalf of another");
                if let Some(call) = call {
                    let (source, tenant) = (admitted.source(), tenant(kid.0));
                    let charge = Charge { kid, source, tenant, price: Money::default(), call };
                    match self.budgets.ask(&charge, 1_800_000_000) {
                        Ok(record) => self.budgets.enter(&record),
                        Err(denial) => {
                            assert_eq!(denial.budget, Budget::Tenant);
                            let (budget, wait) = (denial.budget, denial.wait);
                            let event = Event::RingDenied { ring, budget, wait };
                            return self.story.board.handle_event(event, now);
                        }
                    }
                    *self.signals.entry(tenant).or_default() += 1;
                }
                self.lines.insert(ring, whom);
                self.rung.push((ring, kid));
                self.story.board.handle_event(Event::Sealed { ring, keys: keys(ring) }, now);
            }
            Command::Accept { tunnel, .. } => {
                let ring = self.answers.take().expect("a hello");
                self.tunnels.insert(tunnel, self.lines[&ring]);
            }
            Command::Splice { client, tunnel, .. } => {
                assert_eq!(
                    town_of(client.0),
                    self.tunnels[&tunnel],
                    "joined with another's tunnel"
                );
                self.served.push(client.0);
            }
            Command::Refuse { client, refusal } => {
                assert!(matches!(refusal, Refusal::Overspent(Budget::Tenant, _)), "{refusal}");
                self.refused.push(client.0);
            }
            Command::Cancel { .. } | Command::CallEnded { .. } | Command::Dismiss { .. } => {}
            other @ (Command::Standby { .. }
            | Command::Open { .. }
            | Command::Close { .. }
            | Command::Cut { .. }
            | Command::Probe { .. }
            | Command::Sank { .. }
            | Command::Rose { .. }
            | Command::Probed { .. }
            | Command::Unawait { .. }
            | Command::Try { .. }
            | Command::Tried { .. }) => panic!("{other:?}"),
        }
    }
}
