//! Messages as a modem in PDU mode has them: SMS-SUBMIT, SMS-DELIVER and SMS-STATUS-REPORT, with
//! the center's address before them (3GPP TS 23.040, 9.2.2; 27.005, 3.1).
//!
//! Whatever came is read within bounds or refused; what is emitted can be read back. It joins no
//! parts: a signal is one message.

use std::time::Duration;

use thiserror::Error;

pub use address::{Address, Kind};
pub use user_data::{Content, Unfit, UserData};

use crate::limits::MODEM_PDU_OCTETS;

mod address;
mod gsm7;
mod user_data;

/// A TPDU, and the center it comes or goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// None where the card's own is meant.
    pub center: Option<Address>,
    /// The message.
    pub tpdu: Tpdu,
}

/// A message between a phone and its center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tpdu {
    /// To the phone.
    Deliver(Deliver),
    /// From the phone.
    Submit(Submit),
    /// What became of a message that the phone sent.
    StatusReport(StatusReport),
}

/// A message to a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// TP-OA.
    pub source: Address,
    /// TP-PID.
    pub protocol: u8,
    /// TP-SCTS: when the center had it, as it stands on the wire.
    pub stamp: [u8; 7],
    /// What it says.
    pub user_data: UserData,
}

/// A message from a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// TP-MR; most modems set their own.
    pub reference: u8,
    /// TP-DA.
    pub destination: Address,
    /// TP-PID.
    pub protocol: u8,
    /// TP-VP, relative.
    pub validity: Option<Validity>,
    /// TP-SRR: a status report is wanted.
    pub report: bool,
    /// What it says.
    pub user_data: UserData,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// TP-MR: the reference that the message was submitted with.
    pub reference: u8,
    /// TP-RA: whom it was for.
    pub recipient: Address,
    /// TP-SCTS: when the center had it.
    pub stamp: [u8; 7],
    /// TP-DT: when it got its status.
    pub discharge: [u8; 7],
    /// TP-ST.
    pub status: u8,
}

/// What a status report says in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The phone has the message.
    Delivered,
    /// The center still tries, or does not know.
    Open,
    /// The center has given up.
    Undelivered,
}

/// A relative validity period, as an octet says it (3GPP TS 23.040, 9.2.3.12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity(pub u8);

/// Why octets are no message of ours.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// A type that phones neither send nor get.
    #[error("no such type of message")]
    Type,
    /// It ends before its fields do.
    #[error("it ends within {0}")]
    Truncated(&'static str),
    /// A field is longer than it may be.
    #[error("{0} is too long")]
    Long(&'static str),
    /// The header's elements do not fill it.
    #[error("its header is broken")]
    Header,
    /// Its content is compressed, which nobody does.
    #[error("its content is compressed")]
    Compressed,
    /// The line holds no octets.
    #[error("it is not written in hexadecimal digits")]
    Digits,
}

const TYPE: u8 = 0x03;
const DELIVER: u8 = 0x00;
const SUBMIT: u8 = 0x01;
const STATUS_REPORT: u8 = 0x02;
const HAS_HEADER: u8 = 0x40;
/// TP-MMS of a message to a phone: the center has no more for it.
const NO_MORE: u8 = 0x04;
const WANTS_REPORT: u8 = 0x20;
/// TP-VPF and its values; two bits.
const VALIDITY: u8 = 0x18;
const VALIDITY_RELATIVE: u8 = 0x10;

impl Pdu {
    /// Reads a line of a modem.
    pub fn from_line(line: &str) -> Result<Self, Malformed> {
        let line = line.as_bytes();
        if MODEM_PDU_OCTETS * 2 < line.len() {
            return Err(Malformed::Long("the PDU"));
        }
        let (pairs, []) = line.as_chunks::<2>() else { return Err(Malformed::Digits) };
        let digit = |it: u8| char::from(it).to_digit(16);
        let octet = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
        let octets: Option<Vec<u8>> = pairs.iter().map(octet).collect();
        Self::decode(&octets.ok_or(Malformed::Digits)?)
    }

    /// Reads octets. What stands behind the message is passed over.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(octets);
        let center = Address::decode_center(&mut reader)?;
        Ok(Self { center, tpdu: Tpdu::decode(reader.0)? })
    }

    /// The octets, and how many of them are the TPDU's, as `AT+CMGS` wants to know.
    pub fn encode(&self) -> Result<(Vec<u8>, usize), Unfit> {
        let mut out = Vec::new();
        match &self.center {
            Some(center) => center.encode_center(&mut out),
            None => out.push(0),
        }
        let before = out.len();
        self.tpdu.encode(&mut out)?;
        let length = out.len() - before;
        Ok((out, length))
    }
}

impl Tpdu {
    /// Reads octets without the center's address. What stands behind the message is passed over.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(octets);
        let first = reader.octet("the first octet")?;
        match first & TYPE {
            DELIVER => Ok(Self::Deliver(Deliver::decode(first, &mut reader)?)),
            SUBMIT => Ok(Self::Submit(Submit::decode(first, &mut reader)?)),
            STATUS_REPORT => Ok(Self::StatusReport(StatusReport::decode(&mut reader)?)),
            _ => Err(Malformed::Type),
        }
    }

    /// Appends the octets.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Deliver(deliver) => deliver.encode(out),
            Self::Submit(submit) => submit.encode(out),
            Self::StatusReport(report) => {
                report.encode(out);
                Ok(())
            }
        }
    }
}

impl Deliver {
    fn decode(first: u8, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let source = Address::decode(reader, "the originating address")?;
        let protocol = reader.octet("the protocol identifier")?;
        let data_coding = reader.octet("the data coding scheme")?;
        let stamp = reader.stamp("the time stamp")?;
        let user_data = UserData::decode(reader, data_coding, first & HAS_HEADER != 0)?;
        Ok(Self { source, protocol, stamp, user_data })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        out.push(DELIVER | NO_MORE | self.user_data.header_bit());
        self.source.encode(out);
        out.extend([self.protocol, self.user_data.data_coding()]);
        out.extend(self.stamp);
        self.user_data.encode(out)
    }
}

impl Submit {
    fn decode(first: u8, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let reference = reader.octet("the reference")?;
        let destination = Address::decode(reader, "the destination address")?;
        let protocol = reader.octet("the protocol identifier")?;
        let data_coding = reader.octet("the data coding scheme")?;
        let validity = match first & VALIDITY {
            0 => None,
            VALIDITY_RELATIVE => Some(Validity(reader.octet("the validity period")?)),
            // Absolute or enhanced: as nobody of ours writes them, they are not kept.
            _ => {
                reader.stamp("the validity period")?;
                None
            }
        };
        let user_data = UserData::decode(reader, data_coding, first & HAS_HEADER != 0)?;
        let report = first & WANTS_REPORT != 0;
        Ok(Self { reference, destination, protocol, validity, report, user_data })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let validity = if self.validity.is_some() { VALIDITY_RELATIVE } else { 0 };
        let report = if self.report { WANTS_REPORT } else { 0 };
        out.push(SUBMIT | validity | report | self.user_data.header_bit());
        out.push(self.reference);
        self.destination.encode(out);
        out.extend([self.protocol, self.user_data.data_coding()]);
        out.extend(self.validity.map(|it| it.0));
        self.user_data.encode(out)
    }
}

impl StatusReport {
    /// What it says in the end (3GPP TS 23.040, 9.2.3.15).
    pub fn outcome(&self) -> Outcome {
        match self.status {
            0x00 => Outcome::Delivered,
            // "Unable to confirm delivery", "replaced", and what is reserved.
            0x01..=0x1f => Outcome::Open,
            0x20..=0x3f => Outcome::Open,
            0x40..=0x7f => Outcome::Undelivered,
            0x80..=0xff => Outcome::Open,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            reference: reader.octet("the reference")?,
            recipient: Address::decode(reader, "the recipient's address")?,
            stamp: reader.stamp("the time stamp")?,
            discharge: reader.stamp("the discharge time")?,
            status: reader.octet("the status")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([STATUS_REPORT | NO_MORE, self.reference]);
        self.recipient.encode(out);
        out.extend(self.stamp);
        out.extend(self.discharge);
        out.push(self.status);
    }
}

impl Validity {
    /// The longest period that is not longer than `wanted`; five minutes is the shortest there is.
    pub fn within(wanted: Duration) -> Self {
        let longest = (0..=u8::MAX).rev().map(Self).find(|it| it.duration() <= wanted);
        longest.unwrap_or(Self(0))
    }

    /// How long that is.
    pub fn duration(self) -> Duration {
        const MINUTE: u64 = 60;
        const DAY: u64 = 24 * 60 * MINUTE;
        let octet = u64::from(self.0);
        Duration::from_secs(match self.0 {
            0..=143 => (octet + 1) * 5 * MINUTE,
            144..=167 => DAY / 2 + (octet - 143) * 30 * MINUTE,
            168..=196 => (octet - 166) * DAY,
            197..=255 => (octet - 192) * 7 * DAY,
        })
    }
}

impl UserData {
    fn header_bit(&self) -> u8 {
        if self.header.is_empty() { 0 } else { HAS_HEADER }
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn octets(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated(field))?;
        self.0 = rest;
        Ok(taken)
    }

    fn octet(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.octets(field, 1).map(|it| it[0])
    }

    fn stamp(&mut self, field: &'static str) -> Result<[u8; 7], Malformed> {
        let (stamp, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated(field))?;
        self.0 = rest;
        Ok(*stamp)
    }
}
