//! The SMPP 3.4 PDUs we speak, to and from octets.
//!
//! Fields that no bearer of ours sets (priority, schedule, replacement, default message) are
//! written as zero and skipped when read, as are unknown TLVs. What is emitted can be read back.

use thiserror::Error;

use super::status::Status;
use super::text::{Address, Password, Text};

/// Octets of every PDU's header.
pub const HEADER_OCTETS: usize = 16;

const MESSAGE_PAYLOAD: u16 = 0x0424;
const RECEIPTED_MESSAGE_ID: u16 = 0x001e;
const MESSAGE_STATE: u16 = 0x0427;
/// Set in the command id of a response.
const RESPONSE: u32 = 0x8000_0000;
/// Octets that short_message can hold; a longer content goes into message_payload.
const SHORT_MESSAGE_OCTETS: usize = 254;

/// One protocol data unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// Pairs a response with its request.
    pub sequence: u32,
    /// Zero in requests.
    pub status: Status,
    /// What it says.
    pub body: Body,
}

/// What a PDU says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Refuses a PDU that was not understood.
    GenericNack,
    /// Opens a session.
    Bind(Bind),
    /// Answers a bind, naming the message center.
    BindResp(Role, Text<16>),
    /// Hands a message to the message center.
    SubmitSm(Message),
    /// Answers with the message's id.
    SubmitSmResp(Text<65>),
    /// Hands a message or a receipt to an ESME.
    DeliverSm(Message),
    /// Answers it.
    DeliverSmResp,
    /// Hands a message over in either direction; its content is in message_payload.
    DataSm(Message),
    /// Answers with the message's id.
    DataSmResp(Text<65>),
    /// Takes a message back that has not been delivered yet.
    CancelSm(Cancel),
    /// Answers it.
    CancelSmResp,
    /// Ends the session in good order.
    Unbind,
    /// Answers it.
    UnbindResp,
    /// Asks whether the other end is alive.
    EnquireLink,
    /// It is.
    EnquireLinkResp,
    /// Tells that a terminal is available; nothing answers it.
    AlertNotification,
}

/// What an ESME binds as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives only.
    Receiver,
    /// Transmits only.
    Transmitter,
    /// Both.
    Transceiver,
}

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// What the ESME binds as.
    pub role: Role,
    /// The account.
    pub system_id: Text<16>,
    /// The account's password.
    pub password: Password,
    /// What kind of system binds; a few operators ask for one.
    pub system_type: Text<13>,
}

/// Names a message that is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The message center's name for it.
    pub message_id: Text<65>,
    /// Who sent it.
    pub source: Address,
    /// Whom it was for.
    pub destination: Address,
}

/// A message or a delivery receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The operator's name for the service.
    pub service_type: Text<6>,
    /// Who sends it.
    pub source: Address,
    /// Whom it is for.
    pub destination: Address,
    /// 0x40: the content starts with a user data header; 0x04: a receipt.
    pub esm_class: u8,
    /// TP-PID.
    pub protocol_id: u8,
    /// How long it is worth delivering, relative or absolute; empty for the operator's default.
    pub validity_period: Text<17>,
    /// 1: a receipt is wanted.
    pub registered_delivery: u8,
    /// What the content is: 0 the default alphabet, 4 binary, 8 UCS-2.
    pub data_coding: u8,
    /// The octets, from short_message or message_payload, whichever held them.
    pub content: Vec<u8>,
    /// Which message a receipt is about.
    pub receipted_message_id: Option<Text<65>>,
    /// What became of it.
    pub message_state: Option<u8>,
}

/// Why a well-framed PDU was not understood.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// A command we do not speak.
    #[error("no command {0:#010x} is spoken here")]
    Command(u32),
    /// The PDU ends before its fields do.
    #[error("it ends within {0}")]
    Truncated(&'static str),
    /// A text is longer than it may be.
    #[error("its {0} is too long")]
    Long(&'static str),
}

impl Pdu {
    /// A request, whose status is always zero.
    pub fn request(sequence: u32, body: Body) -> Self {
        Self { sequence, status: Status::OK, body }
    }

    /// Appends the octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        out.extend(self.body.command().to_be_bytes());
        out.extend(self.status.0.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        self.body.encode(self.status, out);
        let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Reads one whole frame, its length already checked against the octets.
    pub(super) fn decode(frame: &[u8; HEADER_OCTETS], body: &[u8]) -> Result<Self, Malformed> {
        let [_, command, status, sequence] = header(frame);
        let body = Body::decode(command, &mut Reader(body))?;
        Ok(Self { sequence, status: Status(status), body })
    }
}

/// The four words of a header: length, command, status, sequence.
pub(super) fn header(frame: &[u8; HEADER_OCTETS]) -> [u32; 4] {
    let (words, _) = frame.as_chunks::<4>();
    [0, 1, 2, 3].map(|index: usize| u32::from_be_bytes(words[index]))
}

/// Whether a command id is a response's, which nobody answers.
pub(super) fn is_response(command: u32) -> bool {
    command & RESPONSE != 0
}

impl Body {
    fn command(&self) -> u32 {
        match self {
            Self::GenericNack => RESPONSE,
            Self::Bind(bind) => bind.role.command(),
            Self::BindResp(role, _) => role.command() | RESPONSE,
            Self::SubmitSm(_) => 0x04,
            Self::SubmitSmResp(_) => 0x04 | RESPONSE,
            Self::DeliverSm(_) => 0x05,
            Self::DeliverSmResp => 0x05 | RESPONSE,
            Self::Unbind => 0x06,
            Self::UnbindResp => 0x06 | RESPONSE,
            Self::CancelSm(_) => 0x08,
            Self::CancelSmResp => 0x08 | RESPONSE,
            Self::EnquireLink => 0x15,
            Self::EnquireLinkResp => 0x15 | RESPONSE,
            Self::AlertNotification => 0x102,
            Self::DataSm(_) => 0x103,
            Self::DataSmResp(_) => 0x103 | RESPONSE,
        }
    }

    fn decode(command: u32, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const BIND_RESP_END: u32 = 0x09 | RESPONSE;
        Ok(match command {
            RESPONSE => Self::GenericNack,
            0x01 => Self::Bind(Bind::decode(Role::Receiver, reader)?),
            0x02 => Self::Bind(Bind::decode(Role::Transmitter, reader)?),
            0x09 => Self::Bind(Bind::decode(Role::Transceiver, reader)?),
            0x8000_0001 => Self::BindResp(Role::Receiver, reader.optional("system_id")?),
            0x8000_0002 => Self::BindResp(Role::Transmitter, reader.optional("system_id")?),
            BIND_RESP_END => Self::BindResp(Role::Transceiver, reader.optional("system_id")?),
            0x04 => Self::SubmitSm(Message::decode(reader)?),
            0x8000_0004 => Self::SubmitSmResp(reader.optional("message_id")?),
            0x05 => Self::DeliverSm(Message::decode(reader)?),
            0x8000_0005 => Self::DeliverSmResp,
            0x06 => Self::Unbind,
            0x8000_0006 => Self::UnbindResp,
            0x08 => Self::CancelSm(Cancel::decode(reader)?),
            0x8000_0008 => Self::CancelSmResp,
            0x15 => Self::EnquireLink,
            0x8000_0015 => Self::EnquireLinkResp,
            0x102 => Self::AlertNotification,
            0x103 => Self::DataSm(Message::decode_data(reader)?),
            0x8000_0103 => Self::DataSmResp(reader.optional("message_id")?),
            unknown => return Err(Malformed::Command(unknown)),
        })
    }

    fn encode(&self, status: Status, out: &mut Vec<u8>) {
        match self {
            Self::Bind(bind) => bind.encode(out),
            // The specification leaves the body out of a refusal.
            Self::BindResp(_, system_id) if status == Status::OK => system_id.encode(out),
            Self::SubmitSmResp(id) | Self::DataSmResp(id) if status == Status::OK => id.encode(out),
            Self::SubmitSm(message) | Self::DeliverSm(message) => message.encode(out),
            Self::DataSm(message) => message.encode_data(out),
            Self::CancelSm(cancel) => cancel.encode(out),
            // An unused message_id, mandatory all the same.
            Self::DeliverSmResp => out.push(0),
            Self::BindResp(..)
            | Self::SubmitSmResp(_)
            | Self::DataSmResp(_)
            | Self::GenericNack
            | Self::CancelSmResp
            | Self::Unbind
            | Self::UnbindResp
            | Self::EnquireLink
            | Self::EnquireLinkResp
            | Self::AlertNotification => {}
        }
    }
}

impl Role {
    /// Whether messages may be submitted in it.
    pub fn transmits(self) -> bool {
        match self {
            Self::Receiver => false,
            Self::Transmitter | Self::Transceiver => true,
        }
    }

    /// Whether messages are delivered to it.
    pub fn receives(self) -> bool {
        match self {
            Self::Transmitter => false,
            Self::Receiver | Self::Transceiver => true,
        }
    }

    fn command(self) -> u32 {
        match self {
            Self::Receiver => 0x01,
            Self::Transmitter => 0x02,
            Self::Transceiver => 0x09,
        }
    }
}

impl Bind {
    fn decode(role: Role, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let system_id = reader.text("system_id")?;
        let password = reader.text::<{ Password::OCTETS }>("password")?;
        let password = Password::new(password.as_str()).ok_or(Malformed::Long("password"))?;
        let system_type = reader.text("system_type")?;
        reader.octets("interface_version, addr_ton, addr_npi", 3)?;
        reader.text::<41>("address_range")?;
        Ok(Self { role, system_id, password, system_type })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.system_id.encode(out);
        self.password.encode(out);
        self.system_type.encode(out);
        // interface_version 3.4, addr_ton, addr_npi, and an empty address_range.
        out.extend([0x34, 0, 0, 0]);
    }
}

impl Cancel {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.text::<6>("service_type")?;
        Ok(Self {
            message_id: reader.text("message_id")?,
            source: reader.address("source_addr")?,
            destination: reader.address("destination_addr")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        Text::<6>::default().encode(out);
        self.message_id.encode(out);
        for address in [&self.source, &self.destination] {
            address.encode(out);
        }
    }
}

impl Message {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut message = Self {
            service_type: reader.text("service_type")?,
            source: reader.address("source_addr")?,
            destination: reader.address("destination_addr")?,
            esm_class: reader.octet("esm_class")?,
            protocol_id: reader.octet("protocol_id")?,
            ..Self::default()
        };
        reader.octet("priority_flag")?;
        reader.text::<17>("schedule_delivery_time")?;
        message.validity_period = reader.text("validity_period")?;
        message.registered_delivery = reader.octet("registered_delivery")?;
        reader.octet("replace_if_present_flag")?;
        message.data_coding = reader.octet("data_coding")?;
        reader.octet("sm_default_msg_id")?;
        let length = usize::from(reader.octet("sm_length")?);
        message.content = reader.octets("short_message", length)?.to_vec();
        message.decode_tlvs(reader)?;
        Ok(message)
    }

    fn decode_data(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut message = Self {
            service_type: reader.text("service_type")?,
            source: reader.address("source_addr")?,
            destination: reader.address("destination_addr")?,
            esm_class: reader.octet("esm_class")?,
            registered_delivery: reader.octet("registered_delivery")?,
            data_coding: reader.octet("data_coding")?,
            ..Self::default()
        };
        message.decode_tlvs(reader)?;
        Ok(message)
    }

    fn decode_tlvs(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.0.is_empty() {
            let tag = reader.word("a tag")?;
            let length = usize::from(reader.word("the length of a tag")?);
            let value = reader.octets("the value of a tag", length)?;
            match tag {
                MESSAGE_PAYLOAD if self.content.is_empty() => self.content = value.to_vec(),
                RECEIPTED_MESSAGE_ID => {
                    let id = value.split(|it| *it == 0).next().unwrap_or_default();
                    self.receipted_message_id = Text::from_latin1(id);
                }
                MESSAGE_STATE => self.message_state = value.first().copied(),
                _ => {}
            }
        }
        Ok(())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let short = self.content.len() <= SHORT_MESSAGE_OCTETS;
        self.encode_addresses(out);
        // priority_flag, schedule_delivery_time
        out.extend([self.esm_class, self.protocol_id, 0, 0]);
        self.validity_period.encode(out);
        // replace_if_present_flag, data_coding, sm_default_msg_id
        out.extend([self.registered_delivery, 0, self.data_coding, 0]);
        match u8::try_from(self.content.len()) {
            Ok(length) if short => {
                out.push(length);
                out.extend(&self.content);
            }
            Ok(_) | Err(_) => {
                out.push(0);
                encode_tlv(MESSAGE_PAYLOAD, &self.content, out);
            }
        }
        self.encode_receipt(out);
    }

    fn encode_data(&self, out: &mut Vec<u8>) {
        self.encode_addresses(out);
        out.extend([self.esm_class, self.registered_delivery, self.data_coding]);
        encode_tlv(MESSAGE_PAYLOAD, &self.content, out);
        self.encode_receipt(out);
    }

    fn encode_addresses(&self, out: &mut Vec<u8>) {
        self.service_type.encode(out);
        for address in [&self.source, &self.destination] {
            address.encode(out);
        }
    }

    fn encode_receipt(&self, out: &mut Vec<u8>) {
        if let Some(id) = &self.receipted_message_id {
            let mut value = Vec::new();
            id.encode(&mut value);
            encode_tlv(RECEIPTED_MESSAGE_ID, &value, out);
        }
        if let Some(state) = self.message_state {
            encode_tlv(MESSAGE_STATE, &[state], out);
        }
    }
}

fn encode_tlv(tag: u16, value: &[u8], out: &mut Vec<u8>) {
    // A value is bounded by SMPP_CONTENT_OCTETS long before it gets here.
    debug_assert!(value.len() <= usize::from(u16::MAX), "a TLV holds at most 65535 octets");
    out.extend(tag.to_be_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(value);
}

/// What is left of a PDU's body.
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

    fn word(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.octets(field, 2).map(|it| u16::from_be_bytes([it[0], it[1]]))
    }

    fn text<const N: usize>(&mut self, field: &'static str) -> Result<Text<N>, Malformed> {
        let end = self.0.iter().position(|it| *it == 0).ok_or(Malformed::Truncated(field))?;
        let text = self.octets(field, end)?;
        self.octet(field)?;
        Text::from_latin1(text).ok_or(Malformed::Long(field))
    }

    /// A text that responses leave out, most of all when they refuse.
    fn optional<const N: usize>(&mut self, field: &'static str) -> Result<Text<N>, Malformed> {
        if self.0.is_empty() {
            return Ok(Text::default());
        }
        self.text(field)
    }

    fn address(&mut self, field: &'static str) -> Result<Address, Malformed> {
        Ok(Address { ton: self.octet(field)?, npi: self.octet(field)?, digits: self.text(field)? })
    }
}
