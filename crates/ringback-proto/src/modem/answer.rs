//! What a modem's line means: the end of an answer, a part of one, or news nobody asked for.
//!
//! Vendors add lines as they please: whatever is not known is [`Answer::Other`], and does no harm.

use super::code::Code;

/// A line of a modem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `OK`: what was asked is done.
    Ok,
    /// It is not.
    Error(Code),
    /// `+CMGS`: the network has the message, by this reference.
    Submitted(Option<u8>),
    /// A message follows on the next line, of so many octets without the center's address.
    Header(Header, Option<u16>),
    /// `+CMTI`, `+CDSI`: a message or a report has been stored.
    Stored(Slot),
    /// `+CPIN`: what the card wants.
    Card(Card),
    /// `+CPINR`: how often the PIN may still be tried.
    Tries(u8),
    /// `+CSCA`: whether the center's number is known.
    Center(bool),
    /// `+CREG`, `+CEREG`: whether there is a network, where the line is clear about it.
    Registered(bool),
    /// `+CSQ`: how strong the network's signal is, in the steps of the specification.
    Signal(u8),
    /// `+CPMS`: places taken and places there are, of the store that messages come into.
    Places(u16, u16),
    /// The store has no room.
    Full,
    /// The modem has just started: it has forgotten what it was told.
    Started,
    /// Anything else.
    Other,
}

/// What announces a message, which stands on the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `+CMT`, `+CDS`: straight from the network.
    Direct,
    /// `+CMGL`: of the store that is being listed; whether it came from the network.
    Listed(u16, bool),
    /// `+CMGR`: of the slot that is being read; whether it came from the network.
    Read(bool),
}

/// What the card wants before it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// Nothing.
    Ready,
    /// Its PIN.
    Pin,
    /// Something that we do not have: its PUK, or the phone's own code.
    Locked,
}

/// One of a modem's stores, by its two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Store([u8; 2]);

/// A place in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The store; none where the modem has only one to speak of.
    pub store: Option<Store>,
    /// The number of the place.
    pub index: u16,
}

/// What modems say when they have started or are about to end, by a whole line.
const STARTED: [&str; 11] = [
    "RDY",
    "START",
    "SYSSTART",
    "^SYSSTART",
    "+SYSSTART",
    "+STARTUP",
    "SMS READY",
    "SMS DONE",
    "+QIND: SMS DONE",
    "^SHUTDOWN",
    "NORMAL POWER DOWN",
];

/// What modems say when a store is full, by how the line starts.
const FULL: [&str; 4] = ["^SMMEMFULL", "+QIND: \"SMSFULL\"", "+SMS FULL", "+CIEV: \"SMSFULL\""];

impl Answer {
    /// Reads a line.
    pub fn read(line: &str) -> Self {
        match line {
            "OK" => return Self::Ok,
            "ERROR" | "NO CARRIER" | "COMMAND NOT SUPPORT" | "TOO MANY PARAMETERS" => {
                return Self::Error(Code::Unnamed);
            }
            _ => {}
        }
        let upper = line.to_ascii_uppercase();
        if STARTED.contains(&upper.as_str()) {
            return Self::Started;
        }
        if FULL.iter().any(|it| upper.starts_with(it)) {
            return Self::Full;
        }
        let Some((name, values)) = line.split_once(':') else { return Self::Other };
        Self::named(name, values.trim())
    }

    fn named(name: &str, values: &str) -> Self {
        let field = |index| field(values, index);
        let length = values.rsplit(',').next().and_then(|it| it.trim().parse().ok());
        match name {
            "+CMS ERROR" => Self::Error(values.parse().map_or(Code::Unnamed, Code::Message)),
            "+CME ERROR" => Self::Error(values.parse().map_or(Code::Unnamed, Code::Equipment)),
            "+CMGS" => Self::Submitted(field(0).and_then(|it| it.parse().ok())),
            "+CMT" | "+CDS" => Self::Header(Header::Direct, length),
            "+CMGL" => match (number(values, 0), number(values, 1)) {
                (Some(index), status) => {
                    Self::Header(Header::Listed(index, is_received(status)), length)
                }
                (None, _) => Self::Other,
            },
            "+CMGR" => Self::Header(Header::Read(is_received(number(values, 0))), length),
            "+CMTI" | "+CDSI" => match (Store::parse(field(0)), number(values, 1)) {
                (Some(store), Some(index)) => Self::Stored(Slot { store: Some(store), index }),
                _ => Self::Other,
            },
            "+CPIN" => Self::Card(match values.trim_matches('"') {
                "READY" => Card::Ready,
                "SIM PIN" => Card::Pin,
                _ => Card::Locked,
            }),
            "+CPINR" => match (field(0), number(values, 1)) {
                (Some("SIM PIN"), Some(tries)) => {
                    Self::Tries(u8::try_from(tries).unwrap_or(u8::MAX))
                }
                _ => Self::Other,
            },
            "+CSCA" => Self::Center(field(0).is_some_and(|it| !it.is_empty())),
            "+CREG" | "+CEREG" => registered(values),
            "+CSQ" => field(0).and_then(|it| it.parse().ok()).map_or(Self::Other, Self::Signal),
            "+CPMS" => match (number(values, 4), number(values, 5)) {
                (Some(taken), Some(all)) => Self::Places(taken, all),
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

impl Store {
    /// The card's.
    pub const CARD: Self = Self(*b"SM");
    /// The equipment's own.
    pub const EQUIPMENT: Self = Self(*b"ME");

    /// The two letters, as they are written between quotation marks.
    pub fn letters(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("SM")
    }

    fn parse(field: Option<&str>) -> Option<Self> {
        let letters: [u8; 2] = field?.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }
}

/// Statuses 0 and 1 are messages that have come, read or not; 2 and 3 are the owner's own.
fn is_received(status: Option<u16>) -> bool {
    status.is_none_or(|it| it < 2)
}

/// A status alone is news; behind the setting it is an answer. Words and strings are locations.
fn registered(values: &str) -> Answer {
    let second = number(values, 1);
    let status = if values.contains(',') && second.is_some() { second } else { number(values, 0) };
    match status {
        // Home, roaming; for messages only; the same with fewer services.
        Some(1 | 5 | 6 | 7 | 9 | 10) => Answer::Registered(true),
        Some(0 | 2 | 3) => Answer::Registered(false),
        // Unknown, emergency only, or nothing that makes sense: trying is the better test.
        Some(_) | None => Answer::Other,
    }
}

/// A field of a comma-separated list, without its quotation marks.
fn field(values: &str, index: usize) -> Option<&str> {
    values.split(',').nth(index).map(|it| it.trim().trim_matches('"'))
}

fn number(values: &str, index: usize) -> Option<u16> {
    values.split(',').nth(index)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_modems_are_understood() {
        let stored =
            |letters: [u8; 2], index| Answer::Stored(Slot { store: Some(Store(letters)), index });
        let lines = [
            ("OK", Answer::Ok),
            ("ERROR", Answer::Error(Code::Unnamed)),
            ("+CMS ERROR: 38", Answer::Error(Code::Message(38))),
            ("+CMS ERROR:500", Answer::Error(Code::Message(500))),
            ("+CMS ERROR: SIM busy", Answer::Error(Code::Unnamed)),
            ("+CME ERROR: 14", Answer::Error(Code::Equipment(14))),
            ("COMMAND NOT SUPPORT", Answer::Error(Code::Unnamed)),
            ("+CMGS: 255", Answer::Submitted(Some(255))),
            ("+CMGS: 7,\"26/11/23\"", Answer::Submitted(Some(7))),
            ("+CMGS: 256", Answer::Submitted(None)),
            ("+CMT: ,28", Answer::Header(Header::Direct, Some(28))),
            ("+CMT: \"\",28", Answer::Header(Header::Direct, Some(28))),
            ("+CDS: 26", Answer::Header(Header::Direct, Some(26))),
            ("+CMGL: 3,0,,28", Answer::Header(Header::Listed(3, true), Some(28))),
            ("+CMGL: 4,2,\"\",28", Answer::Header(Header::Listed(4, false), Some(28))),
            ("+CMGR: 1,,28", Answer::Header(Header::Read(true), Some(28))),
            ("+CMTI: \"SM\",12", stored(*b"SM", 12)),
            ("+CMTI:\"ME\", 0", stored(*b"ME", 0)),
            ("+CDSI: \"SR\",1", stored(*b"SR", 1)),
            ("+CMTI: \"S\r\",1", Answer::Other),
            ("+CMTI: \"SM\",70000", Answer::Other),
            ("+CPIN: READY", Answer::Card(Card::Ready)),
            ("+CPIN: SIM PIN", Answer::Card(Card::Pin)),
            ("+CPIN: SIM PUK", Answer::Card(Card::Locked)),
            ("+CPINR: SIM PIN,3,3", Answer::Tries(3)),
            ("+CPINR: \"SIM PIN\",1", Answer::Tries(1)),
            ("+CSCA: \"+358447983500\",145", Answer::Center(true)),
            ("+CSCA: \"\",129", Answer::Center(false)),
            ("+CREG: 1,5", Answer::Registered(true)),
            ("+CREG: 2,1,\"00C3\",\"0012\"", Answer::Registered(true)),
            ("+CREG: 5", Answer::Registered(true)),
            ("+CREG: 1,\"00C3\",\"0012\"", Answer::Registered(true)),
            ("+CEREG: 0,2", Answer::Registered(false)),
            ("+CREG: 0,4", Answer::Other),
            ("+CSQ: 20,99", Answer::Signal(20)),
            ("+CSQ: 300,99", Answer::Other),
            ("+CPMS: 1,20,1,20,3,50", Answer::Places(3, 50)),
            ("+CPMS: 1,20", Answer::Other),
            ("^SMMEMFULL: \"SM\"", Answer::Full),
            ("+QIND: \"smsfull\",\"ME\"", Answer::Full),
            ("RDY", Answer::Started),
            ("^SYSSTART", Answer::Started),
            ("SMS Ready", Answer::Started),
            ("^BOOT:23417456,0,0,0,20", Answer::Other),
            ("^RSSI:18", Answer::Other),
            ("", Answer::Other),
        ];
        for (line, answer) in lines {
            assert_eq!(Answer::read(line), answer, "{line}");
        }
    }
}
