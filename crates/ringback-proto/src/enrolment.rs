//! How a terminal is enrolled: what is said between the two proxies while a one-time code is
//! redeemed, and what both derive from it.
//!
//! The format is normative in `docs/protocol.md`. The code's secret and the keys made with it are
//! never said; nothing here decides whether an offer still stands.

use std::net::SocketAddr;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::access_request::{Kid, expand};
use crate::hello::{Exporter, Garbled};
use crate::limits::{OFFER_OCTETS, OFFERED_ADDRESSES, OFFERED_SERVICES};
use crate::secret::Secret;
use crate::terminal::{CallNumber, Callees, MailAddress, ServiceId, TerminalName};

mod code;

pub use code::{Code, Mistyped};

/// Octets of a [`Redeem`].
pub const REDEEM_OCTETS: usize = 16 + 32 + 1 + 32;
/// What the public proxy says instead of an offer, whatever the reason.
pub const REFUSED: [u8; 2] = [0; 2];

/// Names an offer; says nothing about its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferId(pub [u8; 16]);

/// What the offering side keeps of a code: enough to know it again, not enough to write it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferKey {
    /// What it is asked for by.
    pub id: OfferId,
    /// What is proved with.
    pub key: Secret<32>,
}

/// Private → public: whoever says so knows the code, and how its signals are to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeem {
    /// Which offer.
    pub id: OfferId,
    /// [`OfferKey::confirm_redeem`] of this tunnel.
    pub mac: [u8; 32],
    /// The private proxy's X25519 key for suite 2; suite 1 without.
    pub hpke_public: Option<[u8; 32]>,
}

/// Public → private: what there is to answer for. Nothing counts until both have kept their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The key id that both will use.
    pub kid: Kid,
    /// What the terminal is rung by.
    pub callees: Callees,
    /// What DNS calls it.
    pub name: TerminalName,
    /// Its services: id, and the port that clients ask for.
    pub services: Vec<(ServiceId, u16)>,
    /// Where its signals will ask to be dialed back to.
    pub addresses: Vec<SocketAddr>,
}

/// One octet, when both have kept their keys or while the route is being proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The keys are on the disk: private → public, then public → private.
    Kept = 1,
    /// Private → public: ring the terminal now.
    Prove = 2,
    /// Public → private: it is being rung.
    Rung = 3,
    /// It has dialed back: the terminal is enrolled.
    Proved = 4,
    /// Nobody has dialed back in time.
    NoAnswer = 5,
    /// It may not be rung for this now: it was too often, or a budget or the breaker forbids it.
    TooOften = 6,
    /// The signal could not be sent.
    Unringable = 7,
}

impl Word {
    const ALL: [Self; 7] = [
        Self::Kept,
        Self::Prove,
        Self::Rung,
        Self::Proved,
        Self::NoAnswer,
        Self::TooOften,
        Self::Unringable,
    ];

    /// Reads a word.
    pub fn decode([octet]: [u8; 1]) -> Result<Self, Garbled> {
        Self::ALL.into_iter().find(|it| *it as u8 == octet).ok_or(Garbled::Kind(octet))
    }
}

impl OfferKey {
    /// What is kept of a code's secret.
    pub fn of(secret: &Secret<16>) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, secret.expose());
        let id = OfferId(*expand::<16>(&hkdf, &[b"rb1 offer id"]).expose());
        Self { id, key: expand(&hkdf, &[b"rb1 offer key"]) }
    }

    /// Proves that whoever redeems knows the code, on this very tunnel.
    pub fn confirm_redeem(&self, hpke_public: Option<&[u8; 32]>, exporter: &Exporter) -> [u8; 32] {
        self.confirm(b"r", exporter, &suite_and_key(hpke_public))
    }

    /// Proves that whoever offers has kept the code, on this very tunnel.
    fn confirm_offer(&self, body: &[u8], exporter: &Exporter) -> [u8; 32] {
        self.confirm(b"o", exporter, body)
    }

    /// The shared key of epoch 0.
    pub fn psk(&self, kid: Kid, exporter: &Exporter) -> Secret<32> {
        let hkdf = Hkdf::<Sha256>::new(Some(exporter), self.key.expose());
        expand(&hkdf, &[b"rb1 enrolment psk", &self.id.0, &kid.0.to_be_bytes()])
    }

    fn confirm(&self, role: &[u8; 1], exporter: &Exporter, said: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose())
            .expect("HMAC takes a key of any length");
        [role, &self.id.0[..], exporter, said].iter().for_each(|it| mac.update(it));
        mac.finalize().into_bytes().into()
    }
}

impl Redeem {
    /// Writes it.
    pub fn encode(&self) -> [u8; REDEEM_OCTETS] {
        let mut octets = [0; REDEEM_OCTETS];
        octets[..16].copy_from_slice(&self.id.0);
        octets[16..48].copy_from_slice(&self.mac);
        octets[48..].copy_from_slice(&suite_and_key(self.hpke_public.as_ref()));
        octets
    }

    /// Reads it; whether it is true is not looked at.
    pub fn decode(octets: &[u8; REDEEM_OCTETS]) -> Result<Self, Garbled> {
        let (mut id, mut mac, mut key) = ([0; 16], [0; 32], [0; 32]);
        id.copy_from_slice(&octets[..16]);
        mac.copy_from_slice(&octets[16..48]);
        key.copy_from_slice(&octets[49..]);
        let hpke_public = match octets[48] {
            1 if key == [0; 32] => None,
            2 => Some(key),
            other => return Err(Garbled::Kind(other)),
        };
        Ok(Self { id: OfferId(id), mac, hpke_public })
    }
}

impl Offer {
    /// Writes it; what there is too much of is left out.
    pub fn encode(&self, key: &OfferKey, exporter: &Exporter) -> Vec<u8> {
        let mut body = self.kid.0.to_be_bytes().to_vec();
        let number = self.callees.number().map_or("", CallNumber::digits);
        let mail = self.callees.mail().map_or("", MailAddress::as_str);
        let name = self.name.as_str();
        let services = &self.services[..self.services.len().min(OFFERED_SERVICES)];
        let addresses = &self.addresses[..self.addresses.len().min(OFFERED_ADDRESSES)];
        body.extend([number.len() as u8, mail.len() as u8, name.len() as u8]);
        body.extend([services.len() as u8, addresses.len() as u8]);
        body.extend(number.bytes().chain(mail.bytes()).chain(name.bytes()));
        for (id, port) in services {
            body.extend(id.0.to_be_bytes());
            body.extend(port.to_be_bytes());
        }
        addresses.iter().for_each(|it| body.extend(code::address_octets(*it)));
        let octets = body.len() + 32;
        let mac = key.confirm_offer(&body, exporter);
        [&(octets as u16).to_be_bytes()[..], &mac, &body].concat()
    }

    /// Reads an offer from the front of what was heard, `None` inside it if it is a refusal. Its code
    /// is compared before anything else of it is believed.
    pub fn decode(
        octets: &[u8],
        key: &OfferKey,
        exporter: &Exporter,
    ) -> Result<Option<(Option<Self>, usize)>, Garbled> {
        let Some((length, rest)) = octets.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 {
            return Ok(Some((None, 2)));
        }
        if OFFER_OCTETS < length {
            return Err(Garbled::Length { kind: 0, octets: length });
        }
        let Some(said) = rest.get(..length) else { return Ok(None) };
        let (mac, body) = said.split_first_chunk::<32>().ok_or(Garbled::Answer)?;
        if !crate::hello::equal(mac, &key.confirm_offer(body, exporter)) {
            return Err(Garbled::Answer);
        }
        let offer = Self::read(body).ok_or(Garbled::Answer)?;
        Ok(Some((Some(offer), 2 + length)))
    }

    fn read(body: &[u8]) -> Option<Self> {
        let rest = &mut &*body;
        let kid = Kid(u32::from_be_bytes(take(rest)?));
        let [number, mail, name, services, addresses] = take::<5>(rest)?.map(usize::from);
        if OFFERED_SERVICES < services || OFFERED_ADDRESSES < addresses || addresses == 0 {
            return None;
        }
        let (number, mail) = (text(rest, number)?, text(rest, mail)?);
        let number = (!number.is_empty()).then(|| CallNumber::parse(&format!("+{number}")));
        let mail = (!mail.is_empty()).then(|| MailAddress::parse(mail));
        let callees = Callees::new(number.transpose().ok()?, mail.transpose().ok()?)?;
        let name = TerminalName::parse(text(rest, name)?).ok()?;
        let service = |rest: &mut &[u8]| {
            let id = ServiceId(u16::from_be_bytes(take(rest)?));
            Some((id, u16::from_be_bytes(take(rest)?)))
        };
        let services = (0..services).map(|_| service(rest)).collect::<Option<_>>()?;
        let addresses =
            (0..addresses).map(|_| code::read_address(&take(rest)?)).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { kid, callees, name, services, addresses })
    }
}

fn suite_and_key(hpke_public: Option<&[u8; 32]>) -> [u8; 33] {
    let mut octets = [0; 33];
    octets[0] = if hpke_public.is_some() { 2 } else { 1 };
    octets[1..].copy_from_slice(hpke_public.unwrap_or(&[0; 32]));
    octets
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn text<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a str> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(taken).ok()
}
