//! What is said in a tunnel before a session's bytes: hello, answer and frames.
//!
//! The format is normative in `docs/protocol.md`. Codecs and their two authentication codes only;
//! who is let in is decided by the switchboard, and who is believed by the dialer.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::access_request::{SessionKeys, Sid};
use crate::gate::{Identity, Level};
use crate::limits;
use crate::secret::Secret;
use crate::terminal::ServiceId;

/// The label of the TLS exporter that binds hello and answer to their tunnel (RFC 8446, 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-ringback-1";
/// Octets of a hello.
pub const HELLO_OCTETS: usize = 16 + 32 + 1;
/// Octets of an answer to a hello.
pub const ANSWER_OCTETS: usize = 1 + 32;

/// What the TLS exporter yields at both ends of one tunnel, with the session token as its context.
pub type Exporter = [u8; 32];

/// Names a session in the logs of both proxies; chosen when its client arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Where a client comes from, as the private proxy is told.
///
/// A v4 address is never held as a v6 one, so that equal addresses have equal octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(Option<SocketAddr>);

/// Who a session's client is, as the public proxy vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where it comes from.
    pub address: ClientAddress,
    /// What it had to show.
    pub level: Level,
    /// Who it has shown to be, if that was asked.
    pub identity: Option<Identity>,
}

/// What became of the connection to the service. Discriminants are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The service has accepted.
    Connected = 0,
    /// The terminal has refused the connection.
    Refused = 1,
    /// No way leads to the terminal.
    Unreachable = 2,
    /// The terminal has not answered in time.
    Silent = 3,
    /// The private proxy's table knows no such service.
    UnknownService = 4,
    /// No connection was asked for (a spare, a probe), or none is made before the client is known.
    NotTried = 5,
    /// The private proxy does not grant the service to this client.
    NotGranted = 6,
    /// The private proxy cannot bring up the tunnel that the service is to be reached by.
    NoTunnel = 7,
}

/// The first octets of a tunnel, private to public: which signal is obeyed, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The session token that the signal carried inside its seal.
    pub sid: Sid,
    /// [`confirm_private`] of the session's keys and this tunnel's exporter.
    pub mac: [u8; 32],
    /// What became of the connection to the service.
    pub outcome: Outcome,
    /// The connected service's octets may be carried as they are: they are encrypted end to end.
    pub bare: bool,
}

/// The public proxy's only reply to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The session was pending and is now this tunnel's.
    Accepted {
        /// [`confirm_public`] of the session's keys and this tunnel's exporter.
        mac: [u8; 32],
    },
    /// It is not, for whatever reason; the tunnel ends here.
    Gone,
}

/// A frame from the public proxy, after an accepting answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToPrivate {
    /// From here on the tunnel carries this session's octets, in frames, until both ways have ended.
    Bound {
        /// The session.
        session: SessionId,
        /// Below TLS; only ever in reply to a hello that offers it.
        bare: bool,
        /// Its client.
        caller: Caller,
    },
    /// A client has come: connect to the service and reply with [`ToPublic::Opened`].
    Open {
        /// The session.
        session: SessionId,
        /// The public proxy, too, takes the service's octets for encrypted end to end.
        bare: bool,
        /// Its client.
        caller: Caller,
        /// What to connect to, by the private proxy's own table.
        service: ServiceId,
    },
    /// Obey this sealed access request as from any bearer: a client waits.
    Ring(Vec<u8>),
    /// Obey it without connecting to its service: the tunnel is to stand by.
    Spare(Vec<u8>),
    /// This tunnel is kept without a client.
    Standby,
    /// Are you there?
    Ping,
    /// This tunnel is no longer wanted.
    Close,
}

/// A frame from the private proxy, after an accepting answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToPublic {
    /// Replies to [`ToPrivate::Open`]. After [`Outcome::Connected`] come the session's octets, in
    /// frames, until both ways have ended; after any other the tunnel stands by again.
    Opened {
        /// What became of the connection to the service.
        outcome: Outcome,
        /// The frames come below TLS; only ever if the open has said so too.
        bare: bool,
    },
    /// I am here.
    Pong,
    /// Of the session that has ended in both directions I have delivered every octet, and stand by again.
    Ready,
}

/// Why octets are no hello, no answer or no frame of ours. The tunnel ends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Garbled {
    /// No such outcome.
    #[error("no such outcome: {0}")]
    Outcome(u8),
    /// No such answer, or one that is not in its only form.
    #[error("no such answer")]
    Answer,
    /// No such frame in this direction.
    #[error("no such frame: {0:#04x}")]
    Kind(u8),
    /// A body that is longer than any may be, or not of its kind's length.
    #[error("a frame of kind {kind:#04x} with a body of {octets} octets")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// The length it gives.
        octets: usize,
    },
    /// A client address that is not in its only form.
    #[error("not a client address")]
    Address,
    /// Neither sealed nor bare.
    #[error("no such carriage: {0}")]
    Carriage(u8),
    /// A level or an identity that there is not.
    #[error("not a client's level and identity")]
    Caller,
    /// A terminal's name that is none, or not in its only form.
    #[error("not a terminal's name")]
    Name,
    /// A refusal's code that is none.
    #[error("not a refusal's code")]
    Code,
    /// A signal to be sent, with its address, that is none.
    #[error("not a signal to be sent")]
    Errand,
}

/// Proves that whoever dials back has opened the signal, on this very tunnel.
pub fn confirm_private(keys: &SessionKeys, exporter: &Exporter) -> [u8; 32] {
    confirm(&keys.confirm_private, b"c", keys.sid, exporter)
}

/// Proves that whoever is dialed has sealed the signal, on this very tunnel.
pub fn confirm_public(keys: &SessionKeys, exporter: &Exporter) -> [u8; 32] {
    confirm(&keys.confirm_public, b"s", keys.sid, exporter)
}

/// Compares two authentication codes in constant time.
pub fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

fn confirm(key: &Secret<32>, role: &[u8; 1], sid: Sid, exporter: &Exporter) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    mac.update(role);
    mac.update(&sid.0);
    mac.update(exporter);
    mac.finalize().into_bytes().into()
}

impl Hello {
    /// Writes the hello.
    pub fn encode(&self) -> [u8; HELLO_OCTETS] {
        let mut octets = [0; HELLO_OCTETS];
        octets[..16].copy_from_slice(&self.sid.0);
        octets[16..48].copy_from_slice(&self.mac);
        octets[48] = self.outcome.encode(self.bare);
        octets
    }

    /// Reads a hello; whether it is true is not looked at.
    pub fn decode(octets: &[u8; HELLO_OCTETS]) -> Result<Self, Garbled> {
        let (mut sid, mut mac) = ([0; 16], [0; 32]);
        sid.copy_from_slice(&octets[..16]);
        mac.copy_from_slice(&octets[16..48]);
        let (outcome, bare) = Outcome::decode_offer(octets[48])?;
        Ok(Self { sid: Sid(sid), mac, outcome, bare })
    }
}

impl Answer {
    /// Writes the answer; both kinds have the same length.
    pub fn encode(&self) -> [u8; ANSWER_OCTETS] {
        let mut octets = [0; ANSWER_OCTETS];
        let Self::Accepted { mac } = self else { return octets };
        octets[0] = 1;
        octets[1..].copy_from_slice(mac);
        octets
    }

    /// Reads an answer; the code in it is for the caller to compare.
    pub fn decode(octets: &[u8; ANSWER_OCTETS]) -> Result<Self, Garbled> {
        let mut mac = [0; 32];
        mac.copy_from_slice(&octets[1..]);
        match octets[0] {
            0 if mac == [0; 32] => Ok(Self::Gone),
            1 => Ok(Self::Accepted { mac }),
            _ => Err(Garbled::Answer),
        }
    }
}

impl ToPrivate {
    /// Writes the frame; refuses a signal that no frame can carry.
    pub fn encode(&self) -> Result<Vec<u8>, Garbled> {
        match self {
            Self::Bound { session, bare, caller } => {
                let session = session.0.to_be_bytes();
                frame(0x01, &[&session, &[u8::from(*bare)], &caller.encode()])
            }
            Self::Open { session, bare, caller, service } => {
                let (session, bare) = (session.0.to_be_bytes(), [u8::from(*bare)]);
                frame(0x02, &[&session, &bare, &service.0.to_be_bytes(), &caller.encode()])
            }
            Self::Ring(signal) => frame(0x03, &[signal]),
            Self::Spare(signal) => frame(0x04, &[signal]),
            Self::Standby => frame(0x05, &[]),
            Self::Ping => frame(0x06, &[]),
            Self::Close => frame(0x07, &[]),
        }
    }

    /// Reads the first frame of `octets` and says how many it took; `None` asks for more octets.
    pub fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, Garbled> {
        let Some((kind, body)) = split(octets, Self::fits)? else { return Ok(None) };
        let used = FRAME_HEAD + body.len();
        let session = || SessionId(body[..8].iter().fold(0, |id, it| id << 8 | u64::from(*it)));
        let bare = || match body[8] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Garbled::Carriage(other)),
        };
        let frame = match kind {
            0x01 => Self::Bound {
                session: session(),
                bare: bare()?,
                caller: Caller::decode(&body[9..])?,
            },
            0x02 => Self::Open {
                session: session(),
                bare: bare()?,
                service: ServiceId(u16::from_be_bytes([body[9], body[10]])),
                caller: Caller::decode(&body[11..])?,
            },
            0x03 => Self::Ring(body.to_vec()),
            0x04 => Self::Spare(body.to_vec()),
            0x05 => Self::Standby,
            0x06 => Self::Ping,
            0x07 => Self::Close,
            other => return Err(Garbled::Kind(other)),
        };
        Ok(Some((frame, used)))
    }

    fn fits(kind: u8, octets: usize) -> Result<bool, Garbled> {
        match kind {
            0x01 => Ok(Caller::OCTETS.contains(&octets.saturating_sub(8 + 1))),
            0x02 => Ok(Caller::OCTETS.contains(&octets.saturating_sub(8 + 1 + 2))),
            0x03 | 0x04 => Ok((1..=limits::FRAME_OCTETS).contains(&octets)),
            0x05..=0x07 => Ok(octets == 0),
            other => Err(Garbled::Kind(other)),
        }
    }
}

impl ToPublic {
    /// Writes the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Opened { outcome, bare } => vec![0x81, 0, 1, outcome.encode(*bare)],
            Self::Pong => vec![0x86, 0, 0],
            Self::Ready => vec![0x87, 0, 0],
        }
    }

    /// Reads the first frame of `octets` and says how many it took; `None` asks for more octets.
    pub fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, Garbled> {
        let Some((kind, body)) = split(octets, Self::fits)? else { return Ok(None) };
        let used = FRAME_HEAD + body.len();
        let frame = match kind {
            0x81 => {
                let (outcome, bare) = Outcome::decode_offer(body[0])?;
                Self::Opened { outcome, bare }
            }
            0x86 => Self::Pong,
            0x87 => Self::Ready,
            other => return Err(Garbled::Kind(other)),
        };
        Ok(Some((frame, used)))
    }

    fn fits(kind: u8, octets: usize) -> Result<bool, Garbled> {
        match kind {
            0x81 => Ok(octets == 1),
            0x86 | 0x87 => Ok(octets == 0),
            other => Err(Garbled::Kind(other)),
        }
    }
}

/// Octets before a frame's body: its kind and the body's length.
pub(crate) const FRAME_HEAD: usize = 1 + 2;

fn frame(kind: u8, parts: &[&[u8]]) -> Result<Vec<u8>, Garbled> {
    let octets = parts.iter().map(|it| it.len()).sum();
    if !ToPrivate::fits(kind, octets)? {
        return Err(Garbled::Length { kind, octets });
    }
    let mut frame = vec![kind];
    frame.extend((octets as u16).to_be_bytes());
    parts.iter().for_each(|it| frame.extend(*it));
    Ok(frame)
}

/// Cuts the first frame in its kind and its body. A bad kind or length is told from the head
/// alone: nobody waits, or makes room, for a body that no frame may have.
pub(crate) fn split(
    octets: &[u8],
    fits: fn(u8, usize) -> Result<bool, Garbled>,
) -> Result<Option<(u8, &[u8])>, Garbled> {
    let Some((&[kind, high, low], rest)) = octets.split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !fits(kind, length)? {
        return Err(Garbled::Length { kind, octets: length });
    }
    Ok(rest.get(..length).map(|body| (kind, body)))
}

impl Outcome {
    /// Set beside [`Self::Connected`] where the session's octets may be carried below TLS.
    const BARE: u8 = 0x80;

    fn encode(self, bare: bool) -> u8 {
        self as u8 | if bare { Self::BARE } else { 0 }
    }

    /// Reads an outcome and whether the service's octets may be carried below TLS.
    fn decode_offer(octet: u8) -> Result<(Self, bool), Garbled> {
        if octet == Self::Connected.encode(true) {
            return Ok((Self::Connected, true));
        }
        Ok((Self::decode(octet)?, false))
    }

    /// Reads an outcome.
    pub fn decode(octet: u8) -> Result<Self, Garbled> {
        match octet {
            0 => Ok(Self::Connected),
            1 => Ok(Self::Refused),
            2 => Ok(Self::Unreachable),
            3 => Ok(Self::Silent),
            4 => Ok(Self::UnknownService),
            5 => Ok(Self::NotTried),
            6 => Ok(Self::NotGranted),
            7 => Ok(Self::NoTunnel),
            other => Err(Garbled::Outcome(other)),
        }
    }
}

impl Caller {
    /// What it takes in a frame: address, level, the identity's length, the identity.
    const OCTETS: RangeInclusive<usize> = 19 + 1 + 1..=19 + 1 + 1 + limits::IDENTITY_OCTETS;

    fn encode(&self) -> Vec<u8> {
        let identity = self.identity.as_ref().map_or("", Identity::as_str);
        let mut octets = self.address.encode().to_vec();
        octets.extend([self.level as u8, identity.len() as u8]);
        octets.extend(identity.as_bytes());
        octets
    }

    fn decode(octets: &[u8]) -> Result<Self, Garbled> {
        let address = ClientAddress::decode(&octets[..19])?;
        let level = Level::ALL.into_iter().find(|it| *it as u8 == octets[19]);
        let level = level.ok_or(Garbled::Caller)?;
        let (length, identity) = (usize::from(octets[20]), &octets[21..]);
        if length != identity.len() {
            return Err(Garbled::Caller);
        }
        let identity = match str::from_utf8(identity).map_err(|_| Garbled::Caller)? {
            "" => None,
            name => Some(Identity::parse(name).map_err(|_| Garbled::Caller)?),
        };
        Ok(Self { address, level, identity })
    }
}

impl ClientAddress {
    /// Stands for a client whose address is not known or not told.
    pub const UNKNOWN: Self = Self(None);

    /// The address, if it is known.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0
    }

    fn encode(&self) -> [u8; 19] {
        let mut octets = [0; 19];
        let Some(address) = self.0 else { return octets };
        let (family, ip) = match address.ip() {
            IpAddr::V4(ip) => (4, ip.to_ipv6_mapped()),
            IpAddr::V6(ip) => (6, ip),
        };
        octets[0] = family;
        octets[1..17].copy_from_slice(&ip.octets());
        octets[17..].copy_from_slice(&address.port().to_be_bytes());
        octets
    }

    fn decode(octets: &[u8]) -> Result<Self, Garbled> {
        let mut ip = [0; 16];
        ip.copy_from_slice(&octets[1..17]);
        let ip = Ipv6Addr::from(ip);
        let port = u16::from_be_bytes([octets[17], octets[18]]);
        match (octets[0], ip.to_ipv4_mapped()) {
            (0, _) if octets.iter().all(|it| *it == 0) => Ok(Self::UNKNOWN),
            (4, Some(ip)) => Ok(Self(Some((ip, port).into()))),
            (6, None) => Ok(Self(Some((ip, port).into()))),
            _ => Err(Garbled::Address),
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self(Some((address.ip().to_canonical(), address.port()).into()))
    }
}

/// Shows the family only: whose address it is, is personal data.
impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "unknown",
            Some(SocketAddr::V4(_)) => "v4…",
            Some(SocketAddr::V6(_)) => "v6…",
        })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
