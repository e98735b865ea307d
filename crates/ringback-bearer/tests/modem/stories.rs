//! What becomes of messages between the bearer and a modem that behaves, or does not.

use std::path::PathBuf;
use std::time::Duration;

use ringback_bearer::{
    Bearer, Body, Delivery, Failure, Health, Message, Receiver, Transmitter, Verdict, modem,
};
use ringback_proto::modem::pin::Pin;
use ringback_proto::terminal::{CallNumber, Callee, MailAddress};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tpdu::{SMSAddress, SmsDeliver, UserDataHeader};

use crate::brain::{Fault, Traits};
use crate::simulator::Simulator;

const TEXT: &str = "RB*-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\
                    !\"#%&'()*+,-./:;<=>? RB*-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh";

#[tokio::test]
async fn text_and_octets_are_submitted_unchanged_and_their_arrival_is_told() {
    let simulator = Simulator::new(Traits::modern());
    let party = Party::start(&simulator);
    let octets: Vec<u8> = (0_u8..140).map(|it| it.wrapping_mul(7)).collect();
    for body in [text(TEXT), Body::Binary(octets)] {
        let expected = match &body {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Binary(octets) => octets.clone(),
        };
        let mut story = party.transmitter.ring(message(body));
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
        assert_eq!(soon(story.next()).await, Some(Delivery::Delivered));
        assert_eq!(soon(story.next()).await, None);
        let sent = simulator.with(|it| it.sent.pop()).unwrap();
        assert_eq!(sent.tp_user_data, expected);
        let destination = sent.tp_destination_address.unwrap();
        assert_eq!((destination.ton, destination.address.as_str()), (1, "15550100777"));
        assert_eq!(sent.tp_validity_period, Some(tpdu::ValidityPeriod::Relative(0)));
    }
    party.end().await;
}

#[tokio::test]
async fn messages_straight_from_the_network_are_heard_unchanged_and_acknowledged() {
    let simulator = Simulator::new(Traits::modern());
    let mut party = Party::ready(&simulator).await;
    for (deliver, expected) in deliveries() {
        simulator.with(|it| it.deliver(&deliver));
        assert_eq!(party.hear().await, expected);
    }
    // The network gives the next one only after the last one was acknowledged.
    simulator.until(|it| it.asked.iter().filter(|it| *it == "AT+CNMA").count() == 4).await;
    assert!(simulator.with(|it| it.stores["SM"].is_empty() && it.queue.is_empty()));
    party.end().await;
}

#[tokio::test]
async fn a_modem_without_acknowledgements_stores_messages_and_they_are_deleted() {
    let simulator = Simulator::new(Traits::storing());
    let mut party = Party::ready(&simulator).await;
    for (deliver, expected) in deliveries() {
        simulator.with(|it| it.deliver(&deliver));
        assert_eq!(party.hear().await, expected);
    }
    simulator.until(|it| it.stores["SM"].is_empty()).await;
    party.end().await;
}

#[tokio::test]
async fn a_full_store_is_drained_at_the_start_and_lets_the_network_go_on() {
    let simulator = Simulator::new(Traits { places: 3, ..Traits::storing() });
    simulator.with(|it| {
        it.store("SM", 1, &plain("first"));
        it.store("SM", 0, &part());
        it.store("SM", 1, &plain("second"));
        it.store("ME", 1, &plain("third"));
        it.deliver(&plain("fourth"));
    });
    let mut party = Party::start(&simulator);
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(String::from_utf8(party.hear().await).unwrap());
    }
    heard.sort();
    assert_eq!(heard, ["first", "fourth", "second", "third"]);
    simulator.until(|it| it.stores.values().all(|it| it.is_empty())).await;
    party.end().await;
}

#[tokio::test]
async fn a_message_that_comes_twice_is_heard_twice() {
    let simulator = Simulator::new(Traits::modern());
    let mut party = Party::ready(&simulator).await;
    simulator.with(|it| it.deliver(&plain("twice")));
    simulator.with(|it| it.deliver(&plain("twice")));
    assert_eq!(party.hear().await, b"twice");
    assert_eq!(party.hear().await, b"twice");
    party.end().await;
}

#[tokio::test]
async fn a_missed_acknowledgement_costs_no_message() {
    let simulator = Simulator::new(Traits::modern());
    let mut party = Party::ready(&simulator).await;
    simulator.with(|it| {
        it.deliver(&plain("missed"));
        it.acknowledgement_missed();
    });
    assert_eq!(party.hear().await, b"missed");
    // The acknowledgement comes too late; the network sends it again once it is told to.
    assert_eq!(party.hear().await, b"missed");
    party.end().await;
}

#[tokio::test]
async fn a_pin_is_entered() {
    let simulator = Simulator::new(Traits { pin: Some("1234"), ..Traits::modern() });
    let party = Party::with(with_pin(&simulator, "1234"));
    assert_submitted(&party).await;
    party.end().await;
}

#[tokio::test]
async fn a_wrong_pin_costs_one_try_even_if_the_modem_is_plugged_in_again() {
    let mut simulator = Simulator::new(Traits { pin: Some("1234"), ..Traits::modern() });
    let party = Party::with(with_pin(&simulator, "4321"));
    simulator.until(|it| it.pin_tries == 2).await;
    simulator.unplug().await;
    simulator.plug_in();
    let ring = Message { valid_for: Duration::from_secs(4), ..message(text("RB")) };
    let mut story = party.transmitter.ring(ring);
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Expired)));
    assert_eq!(simulator.with(|it| it.pin_tries), 2);
    party.end().await;
}

#[tokio::test]
async fn an_unplugged_modem_is_found_again() {
    let mut simulator = Simulator::new(Traits::modern());
    let mut party = Party::ready(&simulator).await;
    simulator.unplug().await;
    let mut story = party.transmitter.ring(message(text("RB")));
    simulator.plug_in();
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    simulator.with(|it| it.deliver(&plain("again")));
    assert_eq!(party.hear().await, b"again");
    party.end().await;
}

#[tokio::test]
async fn a_modem_unplugged_before_it_has_the_message_is_given_it_when_it_is_back() {
    let mut simulator = Simulator::new(Traits::modern());
    let party = Party::ready(&simulator).await;
    simulator.with(|it| it.faults.push_back(Fault::NoPrompt));
    let mut story = party.transmitter.ring(message(text("RB")));
    soon(simulator.until(|it| it.asked.iter().any(|it| it.starts_with("AT+CMGS")))).await;
    simulator.unplug().await;
    simulator.plug_in();
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    assert_eq!(simulator.with(|it| it.sent.len()), 1);
    party.end().await;
}

#[tokio::test]
async fn a_modem_that_starts_anew_before_it_has_the_message_is_given_it_again_once() {
    let simulator = Simulator::new(Traits::modern());
    let party = Party::ready(&simulator).await;
    simulator.with(|it| it.faults.push_back(Fault::StartsAtPrompt));
    assert_submitted(&party).await;
    assert_eq!(simulator.with(|it| it.sent.len()), 1);
    party.end().await;
}

#[tokio::test]
async fn a_message_that_the_network_may_have_is_not_sent_again() {
    let simulator = Simulator::new(Traits::modern());
    let party = Party::ready(&simulator).await;
    simulator.with(|it| it.faults.push_back(Fault::StartsAfter));
    let mut story = party.transmitter.ring(message(text("RB")));
    assert_eq!(soon(story.next()).await, Some(Delivery::Unknown));
    assert_eq!(soon(story.next()).await, None);
    assert_submitted(&party).await;
    assert_eq!(simulator.with(|it| it.sent.len()), 2, "the unknown one and the next");
    party.end().await;
}

#[tokio::test]
async fn a_modem_that_was_reset_unseen_is_not_taken_for_one_that_was_not() {
    let traits = Traits { announces_start: false, text_mode: true, ..Traits::modern() };
    let simulator = Simulator::new(traits);
    let mut party = Party::ready(&simulator).await;
    simulator.with(|it| it.reset());
    assert_submitted(&party).await;
    simulator.with(|it| it.deliver(&plain("still here")));
    assert_eq!(party.hear().await, b"still here");
    party.end().await;
}

#[tokio::test]
async fn digits_go_to_no_stranger_even_if_nothing_tells_of_a_reset() {
    let traits =
        Traits { announces_start: false, text_mode: true, echo: false, ..Traits::modern() };
    let simulator = Simulator::new(traits);
    let party = Party::ready(&simulator).await;
    simulator.with(|it| it.reset());
    assert_submitted(&party).await;
    let (sent, strays) = simulator.with(|it| (it.sent.len(), it.strays.clone()));
    assert_eq!((sent, strays.as_slice()), (1, [].as_slice()));
    party.end().await;
}

#[tokio::test]
async fn a_lost_prompt_and_a_congested_network_cost_time_and_no_message() {
    let simulator = Simulator::new(Traits::modern());
    let party = Party::ready(&simulator).await;
    let faults = [Fault::NoPrompt, Fault::Refused(42), Fault::News("+CREG: 5")];
    simulator.with(|it| it.faults.extend(faults));
    assert_submitted(&party).await;
    assert_eq!(simulator.with(|it| it.sent.len()), 1);
    party.end().await;
}

#[tokio::test]
async fn an_unassigned_number_fails_for_ever_and_congestion_for_a_while() {
    let simulator = Simulator::new(Traits::modern());
    let party = Party::ready(&simulator).await;
    let faults = [1, 42, 42, 42].map(Fault::Refused);
    simulator.with(|it| it.faults.extend(faults));
    for permanent in [true, false] {
        let mut story = party.transmitter.ring(message(text("RB")));
        let Some(Delivery::Failed(failure)) = soon(story.next()).await else {
            panic!("not failed")
        };
        assert_eq!(failure.is_permanent(), permanent, "{failure}");
        assert_eq!(failure.retry_after().is_some(), !permanent, "{failure}");
    }
    party.end().await;
}

#[tokio::test]
async fn what_waits_for_a_network_goes_when_there_is_one() {
    let simulator = Simulator::new(Traits::modern());
    simulator.with(|it| it.registered = false);
    let party = Party::ready(&simulator).await;
    let mut story = party.transmitter.ring(message(text("RB")));
    simulator.with(|it| {
        it.registered = true;
        it.say("+CREG: 1");
    });
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    party.end().await;
}

#[tokio::test]
async fn two_bearers_do_not_share_a_modem() {
    let simulator = Simulator::new(Traits::modern());
    let party = Party::ready(&simulator).await;
    let intruder = Party::start(&simulator);
    let ring = Message { valid_for: Duration::from_secs(2), ..message(text("RB")) };
    let mut story = intruder.transmitter.ring(ring);
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Expired)));
    assert_submitted(&party).await;
    assert_eq!(simulator.with(|it| it.sent.len()), 1);
    intruder.end().await;
    party.end().await;
}

#[tokio::test]
async fn what_no_sms_can_carry_is_refused_at_once() {
    let party = Party::with(modem::Config::new("/nonexistent/modem".into()));
    let mail = Callee::Mail(MailAddress::parse("car@fleet.example").unwrap());
    let rings = [
        Message { to: mail, ..message(text("RB")) },
        message(text("RB@")),
        message(text(&"R".repeat(161))),
        message(Body::Binary(vec![0; 141])),
    ];
    for ring in rings {
        let mut story = party.transmitter.ring(ring);
        let step = soon(story.next()).await;
        assert!(matches!(step, Some(Delivery::Failed(Failure::Unsendable(_)))), "{step:?}");
    }
    party.end().await;
}

#[tokio::test]
async fn what_is_no_modem_is_not_written_to() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let party = Party::with(modem::Config::new(file.clone()));
    let ring = Message { valid_for: Duration::from_secs(1), ..message(text("RB")) };
    let mut story = party.transmitter.ring(ring);
    assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Expired)));
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    party.end().await;
}

#[tokio::test]
async fn a_modem_tells_how_it_fares() {
    let mut simulator = Simulator::new(Traits::modern());
    simulator.with(|it| it.store("SM", 1, &plain("before")));
    let mut party = Party::start(&simulator);
    soon(party.health.settled()).await;
    let found = party.health.findings();
    assert!(found.iter().all(|it| it.verdict == Verdict::Good), "{found:?}");
    let texts: Vec<&str> = found.iter().map(|it| it.text.as_str()).collect();
    assert!(texts.contains(&"-73 dBm, good"), "{texts:?}");
    assert!(texts.contains(&"1 of 20 places were taken at the start"), "{texts:?}");

    simulator.with(|it| {
        it.registered = false;
        it.say("+CREG: 2");
    });
    party.finds("none: see to antenna").await;
    simulator.unplug().await;
    party.finds("No such file").await;
    let found = party.health.findings();
    let known = found.iter().filter(|it| it.text != "not known now").count();
    assert_eq!(known, 1, "only that there is no port: {found:?}");
    party.end().await;
}

#[tokio::test]
async fn a_card_that_wants_a_pin_is_told() {
    let simulator = Simulator::new(Traits { pin: Some("1234"), ..Traits::modern() });
    let mut party = Party::start(&simulator);
    party.finds("the card wants a PIN: configure it").await;
    let found = party.health.findings();
    assert_eq!((found[0].what, found[0].verdict), ("port", Verdict::Good));
    party.end().await;
}

async fn assert_submitted(party: &Party) {
    let mut story = party.transmitter.ring(message(text("RB")));
    let step = soon(story.next()).await;
    assert!(matches!(step, Some(Delivery::Submitted { .. })), "{step:?}");
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
    fn start(simulator: &Simulator) -> Self {
        Self::with(config(simulator))
    }

    /// Starts, and waits until the modem has been set up and its stores have been listed.
    async fn ready(simulator: &Simulator) -> Self {
        let party = Self::start(simulator);
        let listings = |asked: &[String]| asked.iter().filter(|it| *it == "AT+CMGL=4").count();
        soon(simulator.until(|it| listings(&it.asked) == 2)).await;
        simulator.with(|it| it.asked.clear());
        party
    }

    fn with(config: modem::Config) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let bearer = Bearer::Modem(config);
        let (transmitter, receiver, health) = bearer.start(&tasks, shutdown.clone());
        Self { transmitter, receiver, health, tasks, shutdown }
    }

    async fn hear(&mut self) -> Vec<u8> {
        soon(self.receiver.hear()).await.expect("the bearer ended").octets
    }

    /// Waits for a bad finding.
    async fn finds(&mut self, text: &str) {
        let health = &self.health;
        let found =
            |it: &ringback_bearer::Finding| it.verdict == Verdict::Bad && it.text.starts_with(text);
        soon(async {
            while !health.findings().iter().any(found) {
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

fn config(simulator: &Simulator) -> modem::Config {
    let device: PathBuf = simulator.device();
    modem::Config::new(device)
}

fn with_pin(simulator: &Simulator, pin: &str) -> modem::Config {
    let mut config = config(simulator);
    config.dialog.pin = Pin::new(pin);
    config
}

/// Messages as networks deliver them, and what they say.
fn deliveries() -> Vec<(SmsDeliver, Vec<u8>)> {
    let ports = UserDataHeader {
        user_data_header_length: 6,
        user_data_header_value: vec![5, 4, 0x1f, 0x90, 0x1f, 0x90],
    };
    let octets: Vec<u8> = (0..=132).collect();
    let ported = [&[6, 5, 4, 0x1f, 0x90, 0x1f, 0x90], octets.as_slice()].concat();
    vec![
        (plain(TEXT), TEXT.into()),
        (
            deliver().udhi(true).gsm7_text_with_header(&ports, "RB*-").build().unwrap(),
            b"RB*-".into(),
        ),
        (
            deliver().udhi(true).dcs(0xf5).user_data(ported).user_data_length(140).build().unwrap(),
            octets,
        ),
        (deliver().dcs(0x08).ucs2_text("RB ç€").build().unwrap(), "RB ç€".into()),
    ]
}

pub(crate) fn plain(text: &str) -> SmsDeliver {
    deliver().gsm7_text(text).build().unwrap()
}

fn part() -> SmsDeliver {
    let data = b"\x05\x00\x03\x2a\x02\x01RB".to_vec();
    deliver().udhi(true).dcs(4).user_data(data).user_data_length(8).build().unwrap()
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

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("within thirty seconds")
}
