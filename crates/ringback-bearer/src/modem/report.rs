//! What the modem's condition means to whoever runs it.

use std::io;

use ringback_proto::modem::at::{Condition, Lost};

use crate::health::{Reporter, Verdict};

const PORT: &str = "port";
const CARD: &str = "card";
const NETWORK: &str = "network";
const SIGNAL: &str = "signal";
const CENTER: &str = "center";
const NOTICES: &str = "notices";
const STORE: &str = "store";

/// All that is looked at, in that order.
pub(super) const LOOKS_AT: [&str; 7] = [PORT, CARD, NETWORK, SIGNAL, CENTER, NOTICES, STORE];

const NOT_TOLD: &str = "the modem does not tell";

/// Below this a signal is worth a second look.
const WEAK_DBM: i16 = -102;

/// The modem is set up: what it has not told by now it does not tell.
pub(super) fn ready(condition: &Condition, reporter: &Reporter) {
    reporter.found(PORT, Verdict::Good, "the modem answers");
    reporter.found(CARD, Verdict::Good, "it works");
    if condition.signal.is_none() {
        reporter.found(SIGNAL, Verdict::Doubtful, NOT_TOLD);
    }
    if condition.store.is_none() {
        reporter.found(STORE, Verdict::Doubtful, NOT_TOLD);
    }
}

pub(super) fn condition(condition: &Condition, reporter: &Reporter) {
    let Condition { registered, signal, center, notices, store } = condition;
    match registered {
        Some(true) => reporter.found(NETWORK, Verdict::Good, "registered"),
        Some(false) => {
            reporter.found(NETWORK, Verdict::Bad, "none: see to antenna and subscription");
        }
        None => {}
    }
    if let Some(signal) = signal {
        match (signal.dbm(), signal.word()) {
            (Some(dbm), Some(word)) => {
                let verdict = if dbm < WEAK_DBM { Verdict::Doubtful } else { Verdict::Good };
                reporter.found(SIGNAL, verdict, format!("{dbm} dBm, {word}"));
            }
            _ => reporter.found(SIGNAL, Verdict::Doubtful, NOT_TOLD),
        }
    }
    match center {
        Some(true) => reporter.found(CENTER, Verdict::Good, "known"),
        Some(false) => {
            let text = "not known: nothing can be sent until `center` is set";
            reporter.found(CENTER, Verdict::Bad, text);
        }
        None => {}
    }
    match notices {
        Some(true) => reporter.found(NOTICES, Verdict::Good, "messages are announced"),
        Some(false) => {
            let text = "messages are not announced: they are heard up to a minute late";
            reporter.found(NOTICES, Verdict::Doubtful, text);
        }
        None => {}
    }
    if let Some((taken, all)) = store {
        let verdict = if taken < all { Verdict::Good } else { Verdict::Doubtful };
        reporter.found(STORE, verdict, format!("{taken} of {all} places were taken at the start"));
    }
}

/// The modem was given up, for this reason.
pub(super) fn lost(lost: Lost, reporter: &Reporter) {
    let what = match lost {
        Lost::NoCard | Lost::PinWanted | Lost::PinRefused | Lost::Locked => {
            reporter.found(PORT, Verdict::Good, "the modem answers");
            CARD
        }
        Lost::Silent | Lost::Refused(_) | Lost::ShutDown => PORT,
    };
    reporter.found(what, Verdict::Bad, lost.to_string());
    forget(what, reporter);
}

/// There is no port, or no more.
pub(super) fn no_port(cause: &io::Error, reporter: &Reporter) {
    let text = format!("{cause}: see to the cable, to `device` and to who may open it");
    reporter.found(PORT, Verdict::Bad, text);
    forget(PORT, reporter);
}

/// What comes after `what` is not known without it.
fn forget(what: &str, reporter: &Reporter) {
    for row in LOOKS_AT.iter().skip_while(|it| **it != what).skip(1) {
        reporter.found(row, Verdict::Doubtful, "not known now");
    }
}

#[tokio::test]
async fn a_modem_that_tells_little_of_itself_is_known_all_the_same() {
    let (reporter, mut health) = Reporter::new(&LOOKS_AT);
    let said = Condition {
        registered: Some(true),
        center: Some(true),
        notices: Some(true),
        ..Condition::default()
    };
    condition(&said, &reporter);
    ready(&said, &reporter);
    health.settled().await;
    let doubtful = health.findings().into_iter().filter(|it| it.verdict == Verdict::Doubtful);
    assert_eq!(doubtful.map(|it| it.what).collect::<Vec<_>>(), [SIGNAL, STORE]);
}
