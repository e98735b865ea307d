//! One generation of a terminal's keys, as one proxy's file holds it.
//!
//! Read and written whole. Everything that may be left out is of a file that `ringback key` has not
//! made: the ratchet's place, and where enrolment has got to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ringback_proto::access_request::{Kid, OpeningKey, Ratchet, SealingKey, next_epoch};
use ringback_proto::enrolment::OfferId;
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::TerminalName;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyFault, hex, read_secret, unhex};
use crate::state;

/// The keys of one key id at one of its two proxies.
#[derive(Clone, Debug)]
pub struct TerminalKeys {
    /// Names them.
    pub kid: Kid,
    /// What both proxies share.
    pub psk: Ratchet,
    /// When its epoch began, in unix seconds; zero if nobody has noted it.
    pub since: u64,
    /// The private proxy's X25519 key, at the public proxy.
    pub hpke_public: Option<[u8; 32]>,
    /// The same, at the private proxy itself.
    pub hpke_private: Option<Secret<32>>,
    /// How they came here, if not by hand.
    pub enrolment: Option<Enrolment>,
}

/// How keys came to a keyring, and how far their enrolment has got.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// Whose they are.
    pub name: TerminalName,
    /// The offer that was redeemed for them: it is over.
    pub offer: OfferId,
    /// When, in unix seconds; no two of one terminal at the same.
    pub at: u64,
    /// Who dials back, at the public proxy.
    pub private_proxy: Option<PublicKey>,
    /// Since when a ring with them was answered, in unix seconds.
    pub proved: Option<u64>,
    /// When it was last rung to prove them, at the public proxy.
    pub probes: Vec<u64>,
    /// When the operator has last asked for that.
    pub asked: Option<u64>,
    /// When they are erased, at the private proxy: others have taken their place.
    pub retire: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kid: String,
    psk: Zeroizing<String>,
    #[serde(default)]
    epoch: u32,
    #[serde(default)]
    since: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    previous: Vec<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hpke_public: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hpke_private: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolment: Option<WrittenEnrolment>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEnrolment {
    name: String,
    offer: String,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    probes: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retire: Option<u64>,
}

impl TerminalKeys {
    /// Reads a file that nobody else can read.
    pub fn read(file: &Path) -> Result<Self, KeyFault> {
        let text = Zeroizing::new(read_secret(file)?);
        let written: Written =
            toml::from_str(&text).map_err(|_| KeyFault::Kind("terminal key file"))?;
        let unhex_secret = |it: &Zeroizing<String>| unhex(it).map(Secret::new);
        let previous = written.previous.iter().map(unhex_secret).collect::<Result<_, _>>()?;
        Ok(Self {
            kid: Kid(u32::from_be_bytes(unhex(&written.kid)?)),
            psk: Ratchet::restored(written.epoch, unhex_secret(&written.psk)?, previous),
            since: written.since,
            hpke_public: written.hpke_public.map(|it| unhex(&it)).transpose()?,
            hpke_private: written.hpke_private.as_ref().map(unhex_secret).transpose()?,
            enrolment: written.enrolment.map(WrittenEnrolment::read).transpose()?,
        })
    }

    /// Replaces a file whole and durably; one that was made read-only stays as it is.
    pub fn write(&self, file: &Path) -> Result<(), KeyFault> {
        if fs::metadata(file).is_ok_and(|it| it.permissions().mode() & 0o200 == 0) {
            return Err(KeyFault::ReadOnly);
        }
        Ok(state::replace(file, self.text().as_bytes())?)
    }

    /// The file's text.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let side = if self.hpke_private.is_some() { "private" } else { "public" };
        let side = match &self.enrolment {
            Some(it) if it.private_proxy.is_none() => "private",
            Some(_) | None => side,
        };
        let secret = |it: &Secret<32>| Zeroizing::new(hex(it.expose()));
        let written = Written {
            kid: self.kid.to_string(),
            psk: secret(self.psk.psk()),
            epoch: self.psk.epoch(),
            since: self.since,
            previous: self.psk.previous().iter().map(secret).collect(),
            hpke_public: self.hpke_public.map(|it| hex(&it)),
            hpke_private: self.hpke_private.as_ref().map(secret),
            enrolment: self.enrolment.as_ref().map(WrittenEnrolment::of),
        };
        let text = Zeroizing::new(toml::to_string(&written).expect("keys can be written as TOML"));
        Zeroizing::new(format!("# Keys of one terminal, for its {side} proxy. Secret.\n{}", *text))
    }

    /// As the public proxy needs them.
    pub fn sealing(&self) -> Result<SealingKey, KeyFault> {
        if self.hpke_private.is_some() {
            return Err(KeyFault::Not(
                "key file of a public proxy but a private one's: give each side its own",
            ));
        }
        let [.., epoch] = self.psk.epoch().to_be_bytes();
        let (psk, hpke_public) = (self.psk.psk().clone(), self.hpke_public);
        Ok(SealingKey { kid: self.kid, epoch, psk, hpke_public })
    }

    /// As the private proxy needs them.
    pub fn opening(&self) -> Result<OpeningKey, KeyFault> {
        if self.hpke_public.is_some() {
            return Err(KeyFault::Not(
                "key file of a private proxy but a public one's: give each side its own",
            ));
        }
        let (psk, hpke_private) = (self.psk.clone(), self.hpke_private.clone());
        Ok(OpeningKey { kid: self.kid, psk, hpke_private })
    }

    /// Turns to the next epoch at the sealing end, which keeps no old key.
    pub fn turn(&mut self, unix_seconds: u64) {
        let epoch = self.psk.epoch().wrapping_add(1);
        self.psk = Ratchet::new(epoch, next_epoch(self.psk.psk()));
        self.since = unix_seconds;
    }

    /// Since when a ring with them was answered; by hand is as good as proved.
    pub fn is_proved(&self) -> bool {
        self.enrolment.as_ref().is_none_or(|it| it.proved.is_some())
    }
}

impl WrittenEnrolment {
    fn of(enrolment: &Enrolment) -> Self {
        let raw = |it: &PublicKey| hex(&it.0[12..]);
        Self {
            name: enrolment.name.as_str().to_owned(),
            offer: hex(&enrolment.offer.0),
            at: enrolment.at,
            private_proxy: enrolment.private_proxy.as_ref().map(raw),
            proved: enrolment.proved,
            probes: enrolment.probes.clone(),
            asked: enrolment.asked,
            retire: enrolment.retire,
        }
    }

    fn read(self) -> Result<Enrolment, KeyFault> {
        let name = TerminalName::parse(&self.name);
        let key = self.private_proxy.map(|it| unhex(&it)).transpose()?;
        Ok(Enrolment {
            name: name.map_err(|_| KeyFault::Kind("terminal key file"))?,
            offer: OfferId(unhex(&self.offer)?),
            at: self.at,
            private_proxy: key.map(PublicKey::of_raw),
            proved: self.proved,
            probes: self.probes,
            asked: self.asked,
            retire: self.retire,
        })
    }
}
