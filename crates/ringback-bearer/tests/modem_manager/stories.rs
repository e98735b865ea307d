//! What becomes of messages between the bearer and ModemManager, whatever becomes of that.

use std::time::Duration;

use ringback_bearer::limits::MANAGER_DELETES_AFTER;
use ringback_bearer::modem_manager::{Config, Which};
use ringback_bearer::{
    Bearer, Body, Delivery, Failure, Finding, Health, Message, Receiver, Transmitter, Verdict,
};
use ringback_proto::terminal::{CallNumber, Callee};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tpdu::{SMSAddress, SmsDeliver};

use crate::brain::{Fault, Traits};
use crate::daemon::Daemon;

const TEXT: &str = "RB*-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\
                    !\"#%&'()*+,-./:;<=>? RB*-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh";

#[tokio::test]
async fn text_and_octets_are_submitted_unchanged_and_nothing_is_left() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    let party = Party::start(&daemon);
    let octets: Vec<u8> = (0_u8..140).map(|it| it.wrapping_mul(7)).collect();
    for (body, data_coding, expected) in
        [(text(TEXT), 0, TEXT.as_bytes()), (Body::Binary(octets.clone()), 4, octets.as_slice())]
    {
        party.assert_submits(body).await;
        let sent = daemon.modem.with(|it| it.sent.pop()).unwrap();
        assert_eq!((sent.tp_dcs, sent.tp_user_data.as_slice()), (data_coding, expected));
        let destination = sent.tp_destination_address.unwrap();
        assert_eq!((destination.ton, destination.address.as_str()), (1, "15550100777"));
        assert_eq!(sent.tp_validity_period, Some(tpdu::ValidityPeriod::Relative(0)));
    }
    soon(async {
        while 0 < daemon.messages().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    party.end().await;
}

#[tokio::test]
async fn messages_are_heard_unchanged_and_deleted() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    let octets: Vec<u8> = (0..=139).collect();
    let binary = deliver().dcs(4).user_data(octets.clone()).user_data_length(140).build().unwrap();
    // One was there before.
    daemon.modem.with(|it| it.store("SM", 0, &plain("before")));
    let mut party = Party::start(&daemon);
    assert_eq!(party.hear().await, b"before");
    daemon.modem.with(|it| it.deliver(&plain(TEXT)));
    assert_eq!(party.hear().await, TEXT.as_bytes());
    daemon.modem.with(|it| it.deliver(&binary));
    assert_eq!(party.hear().await, octets);
    soon(daemon.modem.until(|it| it.stores.values().all(|it| it.is_empty()))).await;
    party.end().await;
}

#[tokio::test]
async fn what_nobody_hears_is_left_in_the_store() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let bearer = Bearer::ModemManager(config(&daemon));
    // As the doctor does: it looks, and takes nothing.
    let (_, _, mut health) = bearer.start(&tasks, shutdown.clone());
    daemon.modem.with(|it| it.deliver(&plain("kept")));
    soon(health.settled()).await;
    let deleted = daemon.modem.until(|it| it.stores.values().all(|it| it.is_empty()));
    assert!(timeout(2 * MANAGER_DELETES_AFTER, deleted).await.is_err(), "deleted, and not heard");
    shutdown.cancel();
    tasks.close();
    soon(tasks.wait()).await;
    let mut party = Party::start(&daemon);
    assert_eq!(party.hear().await, b"kept");
    party.end().await;
}

#[tokio::test]
async fn full_stores_are_drained_at_the_start() {
    let traits = Traits { places: 3, ..Traits::modern() };
    let Some(daemon) = Daemon::start(traits).await else { return };
    daemon.modem.with(|it| {
        for store in ["SM", "ME"] {
            for text in ["first", "second", "third"] {
                it.store(store, 0, &plain(text));
            }
        }
    });
    let mut party = Party::start(&daemon);
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(String::from_utf8(party.hear().await).unwrap());
    }
    heard.sort();
    assert_eq!(heard, ["first", "first", "second", "second", "third", "third"]);
    soon(daemon.modem.until(|it| it.stores.values().all(|it| it.is_empty()))).await;
    party.end().await;
}

#[tokio::test]
async fn modem_manager_may_end_and_start_again() {
    let Some(mut daemon) = Daemon::start(Traits::modern()).await else { return };
    let mut party = Party::start(&daemon);
    party.assert_submits(text("before")).await;
    daemon.end_manager().await;
    let mut story = party.transmitter.ring(message(text("meanwhile")));
    daemon.start_manager_again().await;
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    daemon.modem.with(|it| it.deliver(&plain("after")));
    assert_eq!(party.hear().await, b"after");
    assert_eq!(daemon.modem.with(|it| it.sent.len()), 2);
    party.end().await;
}

#[tokio::test]
async fn the_bus_may_end_and_start_again() {
    let Some(mut daemon) = Daemon::start(Traits::modern()).await else { return };
    let mut party = Party::start(&daemon);
    party.assert_submits(text("before")).await;
    daemon.restart_bus().await;
    party.assert_submits(text("after")).await;
    daemon.modem.with(|it| it.deliver(&plain("after")));
    assert_eq!(party.hear().await, b"after");
    party.end().await;
}

#[tokio::test]
async fn the_modem_may_be_unplugged_and_plugged_in_again() {
    let Some(mut daemon) = Daemon::start(Traits::modern()).await else { return };
    let mut party = Party::start(&daemon);
    party.assert_submits(text("before")).await;
    daemon.unplug().await;
    party.finds("ModemManager has no such modem: see `mmcli -L`").await;
    let mut story = party.transmitter.ring(message(text("meanwhile")));
    daemon.plug_in().await;
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    daemon.modem.with(|it| it.deliver(&plain("after")));
    assert_eq!(party.hear().await, b"after");
    party.end().await;
}

#[tokio::test]
async fn a_modem_that_somebody_else_disables_is_enabled_again() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    let mut party = Party::start(&daemon);
    party.assert_submits(text("before")).await;
    daemon.disable().await;
    daemon.modem.with(|it| it.deliver(&plain("meanwhile")));
    assert_eq!(party.hear().await, b"meanwhile");
    party.assert_submits(text("after")).await;
    party.end().await;
}

#[tokio::test]
async fn an_unassigned_number_fails_for_ever_and_congestion_costs_time() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    let party = Party::start(&daemon);
    daemon.modem.with(|it| it.faults.extend([1, 42].map(Fault::Refused)));
    let mut story = party.transmitter.ring(message(text("RB")));
    let Some(Delivery::Failed(failure)) = soon(story.next()).await else { panic!("not failed") };
    assert!(failure.is_permanent(), "{failure}");
    party.assert_submits(text("RB")).await;
    assert_eq!(daemon.modem.with(|it| it.sent.len()), 1);
    party.end().await;
}

#[tokio::test]
async fn a_message_that_the_network_may_have_is_not_sent_again() {
    let Some(mut daemon) = Daemon::start(Traits::modern()).await else { return };
    let party = Party::start(&daemon);
    party.assert_submits(text("before")).await;
    // The network has it, and ModemManager ends before the modem has said so.
    daemon.modem.with(|it| it.faults.push_back(Fault::StartsAfter));
    let mut story = party.transmitter.ring(message(text("perhaps")));
    soon(daemon.modem.until(|it| it.sent.len() == 2)).await;
    daemon.end_manager().await;
    assert_eq!(soon(story.next()).await, Some(Delivery::Unknown));
    daemon.start_manager_again().await;
    party.assert_submits(text("after")).await;
    assert_eq!(daemon.modem.with(|it| it.sent.len()), 3);
    party.end().await;
}

#[tokio::test]
async fn what_is_taken_back_or_too_late_is_never_sent() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    let mut other = config(&daemon);
    other.modem = Which::Port("ttyUSB7".to_owned());
    let mut nowhere = Party::with(other);
    nowhere.finds("ModemManager has no such modem").await;
    drop(nowhere.transmitter.ring(message(text("taken back"))));
    let late = Message { valid_for: Duration::from_secs(1), ..message(text("too late")) };
    let mut story = nowhere.transmitter.ring(late);
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Expired)));
    let mut story = nowhere.transmitter.ring(message(text("at the end")));
    let unsendable = nowhere.transmitter.ring(message(text("RB@"))).next().await;
    assert!(matches!(unsendable, Some(Delivery::Failed(Failure::Unsendable(_)))), "{unsendable:?}");
    nowhere.end().await;
    assert_eq!(story.next().await, Some(Delivery::Failed(Failure::ShutDown)));
    assert_eq!(daemon.modem.with(|it| it.sent.len()), 0);
}

#[tokio::test]
async fn a_modem_is_found_by_whatever_is_known_of_it_and_tells_how_it_fares() {
    let Some(daemon) = Daemon::start(Traits::modern()).await else { return };
    for known in ["any", "0", "490154203237518", &daemon.socket()] {
        let modem = Which::parse(known).unwrap();
        let mut party = Party::with(Config { modem, ..config(&daemon) });
        soon(party.health.settled()).await;
        let found = party.health.findings();
        let good = |it: &Finding| it.verdict == Verdict::Good;
        assert!(found.iter().all(good), "{known}: {found:?}");
        assert!(found.iter().any(|it| it.text == "64 percent"), "{found:?}");
        party.end().await;
    }
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_told() {
    let place = tempfile::tempdir().unwrap();
    let bus = format!("unix:path={}", place.path().join("bus").display());
    let mut party = Party::with(Config { modem: Which::Any, bus: Some(bus) });
    party.finds("no connection to the bus: ").await;
    party.end().await;
}

/// One bearer, started.
struct Party {
    transmitter: Transmitter,
    receiver: Receiver,
    health: Health,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Party {
    fn start(daemon: &Daemon) -> Self {
        Self::with(config(daemon))
    }

    fn with(config: Config) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let bearer = Bearer::ModemManager(config);
        let (transmitter, receiver, health) = bearer.start(&tasks, shutdown.clone());
        Self { transmitter, receiver, health, tasks, shutdown }
    }

    async fn assert_submits(&self, body: Body) {
        let mut story = self.transmitter.ring(message(body));
        let step = soon(story.next()).await;
        assert!(matches!(step, Some(Delivery::Submitted { .. })), "{step:?}");
        assert_eq!(soon(story.next()).await, None);
    }

    async fn hear(&mut self) -> Vec<u8> {
        let heard = soon(self.receiver.hear()).await.expect("the bearer ended");
        assert_eq!(heard.from, "+447711223344");
        heard.octets
    }

    /// Waits for a bad finding.
    async fn finds(&mut self, text: &str) {
        let is_found = |it: &Finding| it.verdict == Verdict::Bad && it.text.starts_with(text);
        soon(async {
            while !self.health.findings().iter().any(is_found) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.tasks.close();
        soon(self.tasks.wait()).await;
    }
}

fn config(daemon: &Daemon) -> Config {
    Config { modem: Which::Any, bus: Some(daemon.address()) }
}

fn plain(text: &str) -> SmsDeliver {
    deliver().gsm7_text(text).build().unwrap()
}

fn deliver() -> tpdu::SmsDeliverBuilder {
    let source = SMSAddress { ton: 1, npi: 1, address: "447711223344".to_owned() };
    SmsDeliver::builder(source).service_centre_timestamp("26112309040000").dcs(0)
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

fn message(body: Body) -> Message {
    let to = Callee::Number(CallNumber::parse("+15550100777").unwrap());
    Message { to, body, valid_for: Duration::from_secs(60) }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("within a minute")
}
