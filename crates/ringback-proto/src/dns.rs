//! The authoritative answer to a DNS query about terminals: a function of the query and the zone.
//!
//! Pure. It never recurses, never refers elsewhere and keeps nothing between two queries; what a
//! response answers back or what has no header is met with silence. Steps A and B of the method:
//! a client asks for a terminal's name and is told the public proxy's address and port.

mod draft;
mod throttle;
mod zone;

use hickory_proto::op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode};
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

pub use draft::{Draft, Listing, Mistake, Mistakes, Published, Soa};
pub use throttle::{Throttle, Verdict, source_prefix};
pub use zone::Zone;

use crate::limits;
use crate::terminal::TerminalName;

/// What carries a query and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Datagrams: a long answer is truncated.
    Udp,
    /// A stream: an answer has up to 65,535 octets.
    Tcp,
}

/// A query's answer, ready to send, and what it was about.
#[derive(Debug)]
pub struct Answer<'z> {
    octets: Vec<u8>,
    message: Message,
    terminal: Option<&'z TerminalName>,
}

/// A query as far as it could be read.
struct Asked {
    /// The head of the answer, with the query's id, opcode and copied flags.
    metadata: Metadata,
    body: Option<Body>,
}

/// The question and the EDNS of a query.
struct Body {
    question: Query,
    edns: Option<Edns>,
}

/// Answers a query out of the zone; silence for what is no query at all.
pub fn answer<'z>(query: &[u8], zone: &'z Zone, over: Over) -> Option<Answer<'z>> {
    let asked = Asked::read(query)?;
    let mut message = asked.reply();
    let mut terminal = None;
    match asked.question() {
        Ok(question) => terminal = resolve(question, zone, &mut message),
        Err(fault) => message.metadata.response_code = fault,
    }
    let octets = encode(&mut message, asked.room(over))?;
    Some(Answer { octets, message, terminal })
}

/// Answers a query with nothing but "ask again over TCP", never longer than the query; silence for
/// what cannot be read. A forged source address gains nothing by it, a real resolver follows it.
pub fn slip(query: &[u8]) -> Option<Vec<u8>> {
    let asked = Asked::read(query)?;
    asked.question().ok()?;
    let mut message = asked.reply();
    message.metadata.truncation = true;
    encode(&mut message, query.len())
}

impl Answer<'_> {
    /// The message, without a length before it.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The message itself, for whoever needs nothing else.
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    /// The name that was asked for, in the query's case.
    pub fn name(&self) -> Option<&Name> {
        self.message.queries.first().map(Query::name)
    }

    /// The type that was asked for.
    pub fn kind(&self) -> Option<RecordType> {
        self.message.queries.first().map(Query::query_type)
    }

    /// What became of the query.
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// Whether the answer did not fit and must be asked for again over TCP.
    pub fn truncated(&self) -> bool {
        self.message.metadata.truncation
    }

    /// The terminal that a client wants to reach: set when its name, or one below it, was asked
    /// for addresses or services.
    pub fn terminal(&self) -> Option<&TerminalName> {
        let wanted = [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::HTTPS];
        self.terminal.filter(|_| self.kind().is_some_and(|it| wanted.contains(&it)))
    }

    /// The parameters that were told, in the manner of a zone file.
    pub fn parameters(&self) -> String {
        let told = self.message.answers.iter().map(|it| it.data.to_string());
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Asked {
    fn read(query: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(query);
        let header = Header::read(&mut decoder).ok()?;
        if header.metadata.message_type == MessageType::Response {
            return None;
        }
        let metadata = Metadata::response_from_request(&header.metadata);
        Some(Self { metadata, body: Body::read(&mut decoder, header.counts, metadata.op_code) })
    }

    /// What is to be looked up, or why nothing is.
    fn question(&self) -> Result<&Query, ResponseCode> {
        if self.metadata.op_code != OpCode::Query {
            return Err(ResponseCode::NotImp);
        }
        let body = self.body.as_ref().ok_or(ResponseCode::FormErr)?;
        if body.edns.as_ref().is_some_and(|it| 0 < it.version()) {
            return Err(ResponseCode::BADVERS);
        }
        Ok(&body.question)
    }

    /// The answer without its content: the question echoed to the letter, EDNS only for EDNS.
    fn reply(&self) -> Message {
        let mut message = Message::response(self.metadata.id, self.metadata.op_code);
        message.metadata = self.metadata;
        let Some(body) = &self.body else { return message };
        message.add_query(body.question.clone());
        if let Some(asked) = &body.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(limits::DNS_EDNS_OCTETS);
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        message
    }

    /// Octets that the answer may have.
    fn room(&self, over: Over) -> usize {
        let edns = self.body.as_ref().and_then(|it| it.edns.as_ref());
        match over {
            Over::Tcp => limits::DNS_TCP_OCTETS,
            Over::Udp => edns.map_or(limits::DNS_UDP_OCTETS, |it| {
                // hickory has raised what is below 512 already (RFC 6891, 6.2.3).
                usize::from(it.max_payload().min(limits::DNS_EDNS_OCTETS))
            }),
        }
    }
}

impl Body {
    /// Reads exactly one question and whatever follows it. The counts are looked at before hickory
    /// sees them, which would set aside room for as many questions as a header claims.
    fn read(decoder: &mut BinDecoder<'_>, counts: HeaderCounts, op_code: OpCode) -> Option<Self> {
        if counts.queries != 1 {
            return None;
        }
        let question = Query::read(decoder).ok()?;
        for count in [counts.answers, counts.authorities] {
            Message::read_records(decoder, usize::from(count), false, op_code).ok()?;
        }
        let count = usize::from(counts.additionals);
        let (_, edns, _) = Message::read_records(decoder, count, true, op_code).ok()?;
        Some(Self { question, edns })
    }
}

/// Looks a question up and writes down what the zone says; returns whose name it is.
fn resolve<'z>(question: &Query, zone: &'z Zone, reply: &mut Message) -> Option<&'z TerminalName> {
    let (name, kind) = (question.name(), question.query_type());
    let transfer = matches!(kind, RecordType::AXFR | RecordType::IXFR);
    if question.query_class() != DNSClass::IN || transfer || !zone.origin.zone_of(name) {
        reply.metadata.response_code = ResponseCode::Refused;
        return None;
    }

    reply.metadata.authoritative = true;
    let soa = || record(&zone.origin, &zone.soa);
    let Some(node) = zone.nodes.get(name) else {
        reply.metadata.response_code = ResponseCode::NXDomain;
        reply.add_authority(soa());
        return None;
    };

    let minimal = [minimal_any()];
    let records = if kind == RecordType::ANY && !node.records.is_empty() {
        &minimal[..]
    } else {
        &node.records[..]
    };
    let wanted = |it: &&zone::Record| kind == RecordType::ANY || it.data.record_type() == kind;
    reply.add_answers(records.iter().filter(wanted).map(|it| record(name, it)));
    if reply.answers.is_empty() {
        reply.add_authority(soa());
    }

    let mut targets: Vec<Name> = Vec::new();
    for target in reply.answers.iter().filter_map(target) {
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    for target in &targets {
        let records = zone.nodes.get(target).into_iter().flat_map(|it| &it.records);
        let addresses = records.filter(|it| matches!(it.data, RData::A(_) | RData::AAAA(_)));
        reply.add_additionals(addresses.map(|it| record(target, it)));
    }
    node.terminal.as_ref()
}

/// The name whose addresses whoever gets this record asks for next.
fn target(record: &Record) -> Option<&Name> {
    if let RData::NS(it) = &record.data {
        return Some(&it.0);
    }
    if let RData::SRV(it) = &record.data {
        return Some(&it.target);
    }
    let RData::HTTPS(it) = &record.data else { return None };
    Some(if it.target_name.is_root() { &record.name } else { &it.target_name })
}

/// The answer to a question for everything: not everything (RFC 8482, 4.2).
fn minimal_any() -> zone::Record {
    let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
    zone::Record { ttl_seconds: limits::ZONE_TTL_SECONDS, data }
}

fn record(owner: &Name, record: &zone::Record) -> Record {
    Record::from_rdata(owner.clone(), record.ttl_seconds, record.data.clone())
}

/// Encodes an answer that fits: at need without the additional records, which nobody must have,
/// and else truncated, with the question and EDNS only (RFC 2181, 9).
fn encode(message: &mut Message, room: usize) -> Option<Vec<u8>> {
    let whole = message.to_vec().ok()?;
    if whole.len() <= room {
        return Some(whole);
    }
    message.additionals.clear();
    let needed = message.to_vec().ok()?;
    if needed.len() <= room {
        return Some(needed);
    }
    message.answers.clear();
    message.authorities.clear();
    message.metadata.truncation = true;
    message.to_vec().ok().filter(|it| it.len() <= room)
}
