//! Offers of the keyring: one-time codes that somebody may still redeem.
//!
//! Of a code only what proves it is kept, never what could be written down and handed on. Asking for
//! one that is not there costs a look into the folder and no more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringback_proto::enrolment::{OfferId, OfferKey};
use ringback_proto::secret::Secret;
use ringback_proto::terminal::TerminalName;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Held, Keyring};
use crate::keys::{KeyFault, hex, read_secret, unhex};
use crate::limits::OFFERS;
use crate::state;

const OFFER: &str = "offer";

/// An offer that stands.
#[derive(Clone, Debug)]
pub struct Offered {
    /// What proves its code.
    pub key: OfferKey,
    /// Which terminal it is for.
    pub name: TerminalName,
    /// Until when it stands, in unix seconds.
    pub until: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    key: Zeroizing<String>,
    until: u64,
}

impl Keyring {
    /// The offer of that id, if it stands: not over, and not redeemed before.
    pub fn offer(&self, id: OfferId, now: u64) -> Result<Option<Offered>, KeyFault> {
        let Some(offer) = self.read_offer(&self.offer_file(id), id)? else { return Ok(None) };
        let redeemed = self
            .read()?
            .keys()
            .iter()
            .any(|it| it.enrolment.as_ref().is_some_and(|it| it.offer == id));
        Ok(Some(offer).filter(|it| now < it.until && !redeemed))
    }

    fn read_offer(&self, file: &Path, id: OfferId) -> Result<Option<Offered>, KeyFault> {
        let text = match read_secret(file) {
            Ok(text) => Zeroizing::new(text),
            Err(KeyFault::File(fault)) if fault.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let written: Written = toml::from_str(&text).map_err(|_| KeyFault::Not("offer"))?;
        let name = TerminalName::parse(&written.name).map_err(|_| KeyFault::Not("offer"))?;
        let key = OfferKey { id, key: Secret::new(unhex(&written.key)?) };
        Ok(Some(Offered { key, name, until: written.until }))
    }

    fn offer_file(&self, id: OfferId) -> PathBuf {
        self.0.join(format!("{}.{OFFER}", hex(&id.0)))
    }
}

impl Held<'_> {
    /// Makes an offer; another one for the same terminal ends with it, and so does what is over.
    pub fn make_offer(&self, offer: &Offered, now: u64) -> Result<(), KeyFault> {
        let mut standing = 0;
        for file in self.keyring.files(OFFER)? {
            let other = self.keyring.read_offer(&file, offer.key.id);
            let stands =
                other.ok().flatten().is_some_and(|it| now < it.until && it.name != offer.name);
            if stands {
                standing += 1;
            } else {
                fs::remove_file(&file)?;
            }
        }
        if OFFERS <= standing {
            return Err(KeyFault::Full(OFFERS, "offers at once"));
        }
        let key = Zeroizing::new(hex(offer.key.key.expose()));
        let written = Written { name: offer.name.as_str().to_owned(), key, until: offer.until };
        let text = Zeroizing::new(toml::to_string(&written).expect("an offer can be written"));
        Ok(state::replace(&self.keyring.offer_file(offer.key.id), text.as_bytes())?)
    }

    /// Ends an offer; that it was redeemed stands beside the keys by now.
    pub fn end_offer(&self, id: OfferId) -> Result<(), KeyFault> {
        match fs::remove_file(self.keyring.offer_file(id)) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends whatever is offered for a terminal.
    pub fn end_offers_for(&self, name: &TerminalName) -> Result<(), KeyFault> {
        for file in self.keyring.files(OFFER)? {
            let offer = self.keyring.read_offer(&file, OfferId([0; 16]));
            if offer.ok().flatten().is_none_or(|it| it.name == *name) {
                fs::remove_file(&file)?;
            }
        }
        Ok(())
    }
}
