//! Delivery receipts: telemetry, never waited for.
//!
//! Operators write them in two ways, in TLVs and in text (SMPP 3.4, appendix B), and often both;
//! the TLVs win. A receipt that says neither which message nor what became of it is none.

use super::pdu::Message;
use super::text::Text;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way.
    Enroute,
    /// Arrived.
    Delivered,
    /// Its validity ran out.
    Expired,
    /// Deleted by the operator.
    Deleted,
    /// Cannot be delivered.
    Undeliverable,
    /// Accepted on the terminal's behalf.
    Accepted,
    /// Nobody knows.
    Unknown,
    /// Refused.
    Rejected,
}

/// What a delivery receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message it is about.
    pub message_id: Text<65>,
    /// What became of it.
    pub state: State,
}

const STATES: [(u8, &str, State); 8] = [
    (1, "ENROUTE", State::Enroute),
    (2, "DELIVRD", State::Delivered),
    (3, "EXPIRED", State::Expired),
    (4, "DELETED", State::Deleted),
    (5, "UNDELIV", State::Undeliverable),
    (6, "ACCEPTD", State::Accepted),
    (7, "UNKNOWN", State::Unknown),
    (8, "REJECTD", State::Rejected),
];

impl State {
    /// Its number in the TLV, and its word in the text.
    pub fn wire(self) -> (u8, &'static str) {
        let row = STATES.iter().find(|row| row.2 == self);
        row.map_or((7, "UNKNOWN"), |row| (row.0, row.1))
    }
}

/// Whether a delivered message is a receipt or another notice about a message of ours.
pub fn is_receipt(message: &Message) -> bool {
    message.esm_class & 0x3c != 0
}

/// Reads a receipt.
pub fn parse(message: &Message) -> Option<Receipt> {
    let text = String::from_utf8_lossy(&message.content);
    let message_id = match &message.receipted_message_id {
        Some(id) => id.clone(),
        None => Text::new(word_after(&text, "id:")?)?,
    };
    let row = match message.message_state {
        Some(state) => STATES.iter().find(|row| row.0 == state)?,
        None => {
            let word = word_after(&text, "stat:")?;
            STATES.iter().find(|row| row.1.eq_ignore_ascii_case(word))?
        }
    };
    Some(Receipt { message_id, state: row.2 })
}

/// Writes a receipt both ways into a message that goes back to the sender of `about`.
pub fn write(about: &Message, receipt: &Receipt) -> Message {
    let (number, word) = receipt.state.wire();
    let delivered = u8::from(receipt.state == State::Delivered);
    let id = receipt.message_id.as_str();
    // Dates are left out: a machine without a clock cannot know them, and nobody of ours asks.
    let text = format!("id:{id} sub:001 dlvrd:00{delivered} stat:{word} err:000 text:");
    Message {
        source: about.destination.clone(),
        destination: about.source.clone(),
        esm_class: 0x04,
        content: text.into_bytes(),
        receipted_message_id: Some(receipt.message_id.clone()),
        message_state: Some(number),
        ..Message::default()
    }
}

fn word_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(key))
        .filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_from_text_alone() {
        let text = "id:4f sub:001 dlvrd:001 submit date:2601010000 done date:2601010000 \
                    stat:DELIVRD err:000 text:stat:REJECTD";
        let message = Message { content: text.into(), esm_class: 4, ..Message::default() };
        let receipt = parse(&message).unwrap();
        assert_eq!((receipt.message_id.as_str(), receipt.state), ("4f", State::Delivered));
    }

    #[test]
    fn the_tags_of_a_receipt_win_over_its_text() {
        let message = Message {
            content: b"id:1 stat:DELIVRD".to_vec(),
            receipted_message_id: Text::new("2"),
            message_state: Some(5),
            ..Message::default()
        };
        let receipt = parse(&message).unwrap();
        assert_eq!((receipt.message_id.as_str(), receipt.state), ("2", State::Undeliverable));
    }

    #[test]
    fn every_receipt_we_write_we_can_read() {
        for (_, _, state) in STATES {
            let receipt = Receipt { message_id: Text::new("a1").unwrap(), state };
            let mut written = write(&Message::default(), &receipt);
            assert_eq!(parse(&written).as_ref(), Some(&receipt));
            (written.message_state, written.receipted_message_id) = (None, None);
            assert_eq!(parse(&written), Some(receipt));
        }
    }

    #[test]
    fn a_receipt_that_says_nothing_is_none() {
        for text in ["", "id:", "id:4 stat:", "stat:DELIVRD", "id:4 stat:LOST"] {
            let message = Message { content: text.into(), ..Message::default() };
            assert_eq!(parse(&message), None, "{text}");
        }
    }
}
