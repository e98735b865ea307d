//! Sending by ModemManager, one message at a time: it is created, sent and deleted.
//!
//! A message that the network may have is never sent again.

use std::collections::BTreeMap;
use std::time::Duration;

use ringback_proto::modem::code::{Code, Remedy};
use ringback_proto::modem::tpdu::Validity;
use tokio::time::Instant;
use tracing::debug;
use zbus::zvariant::{OwnedObjectPath, Value};

use super::bus::{self, Bus, Fault};
use super::queue::{Queue, Turn};
use super::{Lost, Never};
use crate::limits::{MANAGER_ANSWER, MANAGER_SUBMIT};
use crate::{Body, Delivery, Failure};

/// A message under way.
pub(super) struct Sending {
    turn: Turn,
    /// The network may have it.
    given: bool,
}

impl Sending {
    /// What it was sent by is lost.
    pub(super) fn lost(self, queue: &mut Queue) {
        if self.given {
            return self.turn.order.tell(Delivery::Unknown);
        }
        queue.put_back(self.turn);
    }
}

/// Sends what the queue holds. What is under way stays in `sending` for whoever breaks it off.
pub(super) async fn send(
    bus: &Bus,
    modem: &OwnedObjectPath,
    queue: &mut Queue,
    sending: &mut Option<Sending>,
) -> Result<Never, Lost> {
    loop {
        let turn = queue.next().await;
        let under_way = sending.insert(Sending { turn, given: false });
        let (sms, sent) = tokio::select! {
            done = submit(bus, modem, under_way) => done?,
            never = queue.tend() => match never {},
        };
        if let (Some(sent), Some(Sending { turn, .. })) = (sent, sending.take()) {
            settle(turn, sent, &sms, queue);
        }
        *sending = None;
        let deleted: Result<(), Fault> =
            bus.call(MANAGER_ANSWER, modem, bus::MESSAGING, "Delete", &(&sms,)).await;
        if let Err(fault @ (Fault::Silent(_) | Fault::Broken(_))) = deleted {
            return Err(fault.into());
        }
    }
}

/// The message as ModemManager knows it, and how sending it went, if it was still wanted.
async fn submit(
    bus: &Bus,
    modem: &OwnedObjectPath,
    sending: &mut Sending,
) -> Result<(OwnedObjectPath, Option<Result<(), Fault>>), Fault> {
    let Sending { turn, given } = sending;
    let message = properties(turn);
    let sms: OwnedObjectPath =
        bus.call(MANAGER_ANSWER, modem, bus::MESSAGING, "Create", &(message,)).await?;
    if !turn.is_wanted(Instant::now()) {
        return Ok((sms, None));
    }
    *given = true;
    let sent = bus.call(MANAGER_SUBMIT, &sms, bus::SMS, "Send", &()).await;
    Ok((sms, Some(sent)))
}

fn properties(turn: &Turn) -> BTreeMap<&'static str, Value<'_>> {
    const RELATIVE: u32 = 1;
    let message = &turn.order.message;
    let minutes = Validity::within(message.valid_for).duration().as_secs() / 60;
    let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
    let content = match &message.body {
        Body::Text(text) => ("text", Value::from(text.as_str())),
        Body::Binary(octets) => ("data", Value::from(octets.clone())),
    };
    let validity = Value::from((RELATIVE, Value::from(minutes)));
    let number = Value::from(turn.number.as_str());
    [("number", number), content, ("validity", validity)].into()
}

/// Tells how it went, or lets the message be sent again.
fn settle(mut turn: Turn, sent: Result<(), Fault>, sms: &OwnedObjectPath, queue: &mut Queue) {
    let fault = match sent {
        Ok(()) => {
            let message_id = bus::number(sms).map_or_else(String::new, |it| it.to_string());
            debug!(message_id, "submitted");
            return turn.order.tell(Delivery::Submitted { message_id });
        }
        Err(fault) => fault,
    };
    debug!(%fault, "not submitted");
    let (remedy, retry_after) = match &fault {
        Fault::Refused { name, text } => read(name, text),
        Fault::Silent(_) | Fault::Broken(_) => (Remedy::Unknown, None),
    };
    match remedy {
        Remedy::Unknown => turn.order.tell(Delivery::Unknown),
        Remedy::Again | Remedy::Settings if turn.may_try_again() => queue.put_back(turn),
        Remedy::Absent => turn.order.tell(Delivery::Failed(Failure::Unreachable)),
        Remedy::Again | Remedy::Settings | Remedy::Elsewhere | Remedy::Never => {
            let permanent = remedy == Remedy::Never;
            let reason = fault.to_string();
            let failure = Failure::Refused { reason, permanent, retry_after };
            turn.order.tell(Delivery::Failed(failure));
        }
    }
}

/// What to do about an error, and how long to leave the number alone.
fn read(name: &str, text: &str) -> (Remedy, Option<Duration>) {
    let kind = name.strip_prefix("org.freedesktop.ModemManager1.Error.").unwrap_or(name);
    // What the network says is not among ModemManager's own errors: it passes the number on.
    let number = text.rsplit_once("message error: ").and_then(|(_, it)| it.parse().ok());
    if let ("Message.Unknown", Some(number)) = (kind, number) {
        let code = Code::Message(number);
        return (code.remedy(), code.retry_after());
    }
    let again = (Remedy::Again, Code::Equipment(30).retry_after());
    match kind {
        // The modem or ModemManager fell silent, or the network did.
        "Core.Aborted"
        | "Core.Cancelled"
        | "Core.Timeout"
        | "Message.NetworkTimeout"
        | "MobileEquipment.NetworkTimeout"
        | "org.freedesktop.DBus.Error.NoReply" => (Remedy::Unknown, None),
        _ if kind.starts_with("Serial.") => (Remedy::Unknown, None),
        "Core.InvalidArgs" | "Core.Unsupported" | "Message.InvalidPduParameter" => {
            (Remedy::Never, None)
        }
        _ => again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_network_says_is_found_in_what_modem_manager_says() {
        let errors = [
            ("Message.Unknown", "Unknown message error: 1", Remedy::Never),
            ("Message.Unknown", "Unknown message error: 42", Remedy::Again),
            ("Message.Unknown", "Unknown message error: 27", Remedy::Absent),
            ("Message.NetworkTimeout", "Network timeout", Remedy::Unknown),
            ("Serial.ResponseTimeout", "Serial command timed out", Remedy::Unknown),
            ("Core.Failed", "who knows", Remedy::Again),
            ("Core.InvalidArgs", "no such text", Remedy::Never),
        ];
        for (kind, text, remedy) in errors {
            let name = format!("org.freedesktop.ModemManager1.Error.{kind}");
            assert_eq!(read(&name, text).0, remedy, "{kind}: {text}");
        }
    }
}
