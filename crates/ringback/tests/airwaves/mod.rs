//! The network between two simulated modems: what one has sent reaches the other, or does not.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;
use tpdu::{SMSAddress, SmsDeliver, SmsSubmit};

use crate::brain::Brain;
use crate::simulator::Simulator;

/// The number of the public proxy's modem.
const SENDER: &str = "15550100001";
/// How long a modem may take until it has done what is expected.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    Doubled,
    Lost,
}

/// Waits for a message, and lets its fate come over it.
pub async fn carry(from: &Simulator, to: &Simulator, fate: Fate) -> Result<SmsSubmit> {
    until(from, "send", |it| !it.sent.is_empty()).await?;
    let sent = from.with(|it| it.sent.remove(0));
    let arrivals = match fate {
        Fate::Arrives => 1,
        Fate::Doubled => 2,
        Fate::Lost => 0,
    };
    for _ in 0..arrivals {
        to.with(|it| it.deliver(&delivered(&sent)));
    }
    Ok(sent)
}

/// Waits until a modem is as wanted.
pub async fn until(
    modem: &Simulator,
    what: &str,
    wanted: impl FnMut(&mut Brain) -> bool,
) -> Result<()> {
    let waiting = timeout(PATIENCE, modem.until(wanted)).await;
    waiting.with_context(|| {
        format!("the modem did not {what}: {:?}", modem.with(|it| it.asked.clone()))
    })
}

/// The message as its recipient gets it.
fn delivered(sent: &SmsSubmit) -> SmsDeliver {
    let source = SMSAddress { ton: 1, npi: 1, address: SENDER.to_owned() };
    let deliver = SmsDeliver::builder(source).service_centre_timestamp("26112309040000");
    let deliver = deliver.dcs(sent.tp_dcs).udhi(sent.tp_udhi);
    if sent.tp_dcs == 0 {
        let text = String::from_utf8_lossy(&sent.tp_user_data).into_owned();
        return deliver.gsm7_text(&text).build().expect("what was sent can be delivered");
    }
    let data = sent.tp_user_data.clone();
    let length = u8::try_from(data.len()).expect("at most 140 octets");
    deliver.user_data(data).user_data_length(length).build().expect("it can be delivered")
}

/// A message from a stranger.
pub fn stray(text: &str) -> SmsDeliver {
    let source = SMSAddress { ton: 1, npi: 1, address: "447711223344".to_owned() };
    let deliver = SmsDeliver::builder(source).service_centre_timestamp("26112309040000");
    deliver.dcs(0).gsm7_text(text).build().expect("it is a text")
}
