//! What `ringback connect` and a public proxy say before a session's bytes: one request, replies.
//!
//! The format is normative in `docs/protocol.md`. Codecs only: who may reach what is asked elsewhere.

use std::str;
use std::time::Duration;

use crate::access_request::Signal;
use crate::hello::{FRAME_HEAD, Garbled, SessionId, split};
use crate::limits;
use crate::refusal::Refusal;
use crate::terminal::{CallNumber, Callee, MailAddress, ServiceId, TerminalName};

/// Octets of a request before the terminal's name.
pub const REQUEST_HEAD_OCTETS: usize = 1 + 2 + 1;
/// Stands for the only service there is.
const DEFAULT_SERVICE: u16 = 0xffff;
/// Octets of an errand before the address.
const ERRAND_HEAD: usize = 2 + 1 + 1;

/// What a client wants with a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To be joined with a service.
    Connect = 1,
    /// To have the terminal's ports opened for its address.
    Knock = 2,
    /// To be joined with a service, and to ring by itself: to a call number.
    RingNumber = 3,
    /// To be joined with a service, and to ring by itself: to a mail address.
    RingMail = 4,
}

/// The only thing that a client says before it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it wants.
    pub want: Want,
    /// Which service; none stands for the only one.
    pub service: Option<ServiceId>,
    /// Whose.
    pub name: TerminalName,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The terminal is being rung for this session.
    Ringing(SessionId),
    /// From the next octet on come the session's bytes, raw, both ways.
    Accepted,
    /// For so long the terminal's ports are open for the client's address. Nothing follows.
    Armed(Duration),
    /// The client is not served. Nothing follows.
    Refused(Told),
    /// The client is to send this signal, now; further ones may follow, each good by itself.
    Ring(Errand),
}

/// A signal that a client sends with a bearer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Whom it is for.
    pub to: Callee,
    /// How long it is worth sending and delivering, 1 to 3600 seconds.
    pub valid_for: Duration,
    /// What is sent; the client cannot read it.
    pub signal: Signal,
}

/// A refusal as it is told: its code is looked up by whoever hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Printable ASCII, at most [`limits::CODE_OCTETS`].
    pub code: String,
    /// After how long it makes sense to try again; nothing if somebody must mend something first.
    pub retry: Option<Duration>,
}

impl Request {
    /// Writes the request; none names the service that stands for "the only one".
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let service = self.service.map_or(DEFAULT_SERVICE, |it| it.0);
        let mut octets = vec![self.want as u8];
        octets.extend(service.to_be_bytes());
        octets.push(name.len() as u8);
        octets.extend(name);
        octets
    }

    /// Reads a request and says how many octets it took; `None` asks for more octets. A request
    /// that can come to nothing is told from its head alone.
    pub fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, Garbled> {
        let Some((&[want, high, low, length], rest)) =
            octets.split_first_chunk::<REQUEST_HEAD_OCTETS>()
        else {
            return Ok(None);
        };
        let want = match want {
            1 => Want::Connect,
            2 => Want::Knock,
            3 => Want::RingNumber,
            4 => Want::RingMail,
            other => return Err(Garbled::Kind(other)),
        };
        let length = usize::from(length);
        if !(1..=limits::NAME_OCTETS).contains(&length) {
            return Err(Garbled::Length { kind: want as u8, octets: length });
        }
        let Some(written) = rest.get(..length) else { return Ok(None) };
        let text = str::from_utf8(written).map_err(|_| Garbled::Name)?;
        let name = TerminalName::parse(text).map_err(|_| Garbled::Name)?;
        if name.as_str() != text {
            return Err(Garbled::Name);
        }
        let service = u16::from_be_bytes([high, low]);
        let service = (service != DEFAULT_SERVICE).then_some(ServiceId(service));
        Ok(Some((Self { want, service, name }, REQUEST_HEAD_OCTETS + length)))
    }
}

impl Reply {
    /// Writes the frame.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Ringing(session) => (0x91, session.0.to_be_bytes().to_vec()),
            Self::Accepted => (0x92, Vec::new()),
            Self::Armed(wait) => (0x93, seconds(*wait).to_be_bytes().to_vec()),
            Self::Refused(told) => {
                let retry = told.retry.map_or(0, |it| seconds(it).max(1));
                (0x94, [&retry.to_be_bytes(), told.code.as_bytes()].concat())
            }
            Self::Ring(errand) => (0x95, errand.encode()),
        };
        let [high, low] = (body.len() as u16).to_be_bytes();
        [&[kind, high, low][..], &body].concat()
    }

    /// Reads the first frame of `octets` and says how many it took; `None` asks for more octets.
    pub fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, Garbled> {
        let Some((kind, body)) = split(octets, Self::fits)? else { return Ok(None) };
        let used = FRAME_HEAD + body.len();
        let number = |octets: &[u8]| octets.iter().fold(0, |all, it| all << 8 | u64::from(*it));
        let reply = match kind {
            0x91 => Self::Ringing(SessionId(number(body))),
            0x92 => Self::Accepted,
            0x93 => Self::Armed(Duration::from_secs(number(body))),
            0x94 => Self::Refused(Told::decode(number(&body[..4]), &body[4..])?),
            0x95 => Self::Ring(Errand::decode(body)?),
            other => return Err(Garbled::Kind(other)),
        };
        Ok(Some((reply, used)))
    }

    fn fits(kind: u8, octets: usize) -> Result<bool, Garbled> {
        match kind {
            0x91 => Ok(octets == 8),
            0x92 => Ok(octets == 0),
            0x93 => Ok(octets == 4),
            0x94 => Ok((4 + 1..=4 + limits::CODE_OCTETS).contains(&octets)),
            0x95 => Ok((ERRAND_HEAD..=limits::ERRAND_OCTETS).contains(&octets)),
            other => Err(Garbled::Kind(other)),
        }
    }
}

impl Errand {
    fn encode(&self) -> Vec<u8> {
        let (kind, address) = match &self.to {
            Callee::Number(number) => (1, format!("+{}", number.digits())),
            Callee::Mail(address) => (2, address.as_str().to_owned()),
        };
        let mut octets = (seconds(self.valid_for) as u16).to_be_bytes().to_vec();
        octets.extend([kind, address.len() as u8]);
        octets.extend(address.as_bytes());
        octets.extend(self.signal.octets());
        octets
    }

    fn decode(octets: &[u8]) -> Result<Self, Garbled> {
        let (&[high, low, kind, length], rest) =
            octets.split_first_chunk::<ERRAND_HEAD>().ok_or(Garbled::Errand)?;
        let valid_seconds = u16::from_be_bytes([high, low]);
        if !(1..=3600).contains(&valid_seconds) {
            return Err(Garbled::Errand);
        }
        let (address, signal) =
            rest.split_at_checked(usize::from(length)).ok_or(Garbled::Errand)?;
        let address = str::from_utf8(address).map_err(|_| Garbled::Errand)?;
        let to = match kind {
            1 => CallNumber::parse(address).ok().map(Callee::Number),
            2 => MailAddress::parse(address).ok().map(Callee::Mail),
            _ => None,
        };
        let signal = Signal::from_octets(signal).map_err(|_| Garbled::Errand)?;
        let valid_for = Duration::from_secs(valid_seconds.into());
        Ok(Self { to: to.ok_or(Garbled::Errand)?, valid_for, signal })
    }
}

impl Told {
    fn decode(retry: u64, code: &[u8]) -> Result<Self, Garbled> {
        let word = |it: &u8| it.is_ascii_uppercase() || *it == b'-';
        let code = Some(code).filter(|it| it.iter().all(word)).ok_or(Garbled::Code)?;
        let code = code.iter().map(|it| char::from(*it)).collect();
        let retry = (retry != 0).then(|| Duration::from_secs(retry));
        Ok(Self { code, retry })
    }

    /// The refusal, if it is one that we know.
    pub fn refusal(&self) -> Option<Refusal> {
        Refusal::by_code(&self.code, self.retry.unwrap_or_default())
    }
}

impl From<Refusal> for Told {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code().to_owned(), retry: refusal.retry_after() }
    }
}

/// Whole seconds, rounded up: who comes back at that time must not come too early.
fn seconds(wait: Duration) -> u32 {
    let whole = wait.as_secs().saturating_add(u64::from(0 < wait.subsec_nanos()));
    u32::try_from(whole).unwrap_or(u32::MAX)
}
