//! Enrolment at the public proxy: whoever knows an offer's code agrees on keys with us, once.
//!
//! A stranger like any other until it has proved that it knows a code: it holds a place in the lobby,
//! and its wrong guesses neither use the code up nor delay it. What it has proved is written to the
//! keyring in the order that `docs/protocol.md` gives, so that a crash leaves both or neither.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringback_proto::access_request::{Kid, Ratchet, Sid};
use ringback_proto::dns::source_prefix;
use ringback_proto::enrolment::{Offer, OfferId, REFUSED, Redeem, Word};
use ringback_proto::hello::{self, Exporter};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, error, info};

use super::lobby::Place;
use super::{Happening, House};
use crate::clock;
use crate::fading::Fading;
use crate::keyring::{Keyring, Offered};
use crate::keys::{self, Enrolment, KeyFault, TerminalKeys};
use crate::limits::{
    ENROLMENT_SOURCES, ENROLMENTS_PER_SOURCE, ENROLMENTS_WINDOW, HELLO_PATIENCE, KEEP_PATIENCE,
    PROOF_PATIENCE, PROOF_WORDS, PROVE_PATIENCE,
};
use crate::tunnel::{Talk, Tunnel};

/// Where codes are redeemed.
#[derive(Debug)]
pub(super) struct Desk {
    keyring: Option<Keyring>,
    announce: Vec<SocketAddr>,
    /// Offers that somebody is redeeming right now: nobody else can.
    busy: Mutex<BTreeSet<OfferId>>,
    tries: Mutex<Tries>,
}

/// How often each source network has begun an enrolment of late.
#[derive(Debug)]
struct Tries(Fading<IpAddr, u32>);

/// An offer that is being redeemed; it is free again when this is dropped.
struct Redeeming<'a> {
    desk: &'a Desk,
    offered: Offered,
    hpke_public: Option<[u8; 32]>,
    exporter: Exporter,
}

impl Desk {
    /// Serves the offers of a keyring; without one there are none.
    pub(super) fn new(keyring: Option<Keyring>, announce: Vec<SocketAddr>) -> Self {
        Self { keyring, announce, busy: Mutex::default(), tries: Mutex::default() }
    }

    /// The offer that is meant, if whoever redeems it knows its code, and nobody else is about to.
    async fn redeeming(
        &self,
        redeem: &Redeem,
        exporter: Exporter,
    ) -> Result<Option<Redeeming<'_>>, KeyFault> {
        let Some(keyring) = self.keyring.clone() else { return Ok(None) };
        let id = redeem.id;
        let found = blocking(move || keyring.offer(id, clock::unix_seconds())).await?;
        let Some(offered) = found else { return Ok(None) };
        let mac = offered.key.confirm_redeem(redeem.hpke_public.as_ref(), &exporter);
        if !hello::equal(&mac, &redeem.mac) {
            return Ok(None);
        }
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(None);
        }
        let hpke_public = redeem.hpke_public;
        Ok(Some(Redeeming { desk: self, offered, hpke_public, exporter }))
    }
}

impl Drop for Redeeming<'_> {
    fn drop(&mut self) {
        let mut busy = self.desk.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.offered.key.id);
    }
}

impl Default for Tries {
    fn default() -> Self {
        Self(Fading::new(ENROLMENTS_WINDOW, ENROLMENT_SOURCES))
    }
}

impl Tries {
    /// Whether a source network may try again.
    fn may(&mut self, from: IpAddr, now: Instant) -> bool {
        let source = source_prefix(from);
        let Some((_, count)) = self.0.find(&source, now) else {
            self.0.add(source, 1, now);
            return true;
        };
        *count = count.saturating_add(1);
        *count <= ENROLMENTS_PER_SOURCE
    }
}

/// Serves one connection that asks for enrolment to its end.
pub(super) async fn serve(house: Arc<House>, tunnel: Tunnel, from: SocketAddr, place: Place) {
    let mut talk = Talk::new(tunnel);
    let begun = tokio::select! {
        begun = timeout(HELLO_PATIENCE, begin(&house, &mut talk, from)) => begun,
        () = place.lost() => return debug!(%from, "no enrolment: its place was needed"),
        () = house.stop.cancelled() => return,
    };
    let redeeming = match begun {
        Ok(Ok(Some(redeeming))) => redeeming,
        Ok(Ok(None)) => {
            debug!(%from, "no enrolment: not a code of ours, or not now");
            let _ = talk.say(&REFUSED).await;
            return talk.close().await;
        }
        Ok(Err(fault)) => return debug!(%from, %fault, "no enrolment"),
        Err(_) => return debug!(%from, "no enrolment: nothing whole in time"),
    };
    drop(place);
    let kept = tokio::select! {
        kept = agree(&house, &mut talk, &redeeming) => kept,
        () = house.stop.cancelled() => return,
    };
    let kid = match kept {
        Ok(kid) => kid,
        Err(fault) => return debug!(%from, %fault, "an enrolment was broken off"),
    };
    drop(redeeming);
    info!(%kid, "a code was redeemed: its terminal is open to clients once its route is proved");
    let proved = tokio::select! {
        proved = prove(&house, &mut talk, kid) => proved,
        () = house.stop.cancelled() => return,
    };
    if let Err(fault) = proved {
        debug!(%kid, %fault, "nobody waits for the proof of the route");
    }
    talk.close().await;
}

async fn begin<'a>(
    house: &'a House,
    talk: &mut Talk,
    from: SocketAddr,
) -> io::Result<Option<Redeeming<'a>>> {
    let desk = &house.desk;
    let redeem = Redeem::decode(&talk.exactly().await?).map_err(io::Error::other)?;
    let may = {
        let mut tries = desk.tries.lock().unwrap_or_else(PoisonError::into_inner);
        tries.may(from.ip(), clock::now())
    };
    if !may {
        return Ok(None);
    }
    let exporter = talk.tunnel().exporter(&Sid(redeem.id.0));
    let redeeming = desk.redeeming(&redeem, exporter).await;
    redeeming
        .inspect_err(|fault| error!(%fault, "RB-KEYRING: no offer can be looked up"))
        .map_err(io::Error::other)
}

/// Offers, waits until the other end has kept its keys, and keeps ours: from then on they count.
async fn agree(house: &House, talk: &mut Talk, redeeming: &Redeeming<'_>) -> io::Result<Kid> {
    let Offered { key, name, .. } = &redeeming.offered;
    let directory = house.directory();
    let Some(listed) = directory.enrollable(name).cloned() else {
        talk.say(&REFUSED).await?;
        return Err(io::Error::other("its terminal is not in the configuration any more"));
    };
    let kid = Kid(u32::from_be_bytes(keys::random().map_err(io::Error::other)?));
    let offer = Offer {
        kid,
        callees: listed.callees,
        name: name.clone(),
        services: listed.services,
        addresses: house.desk.announce.clone(),
    };
    talk.say(&offer.encode(key, &redeeming.exporter)).await?;
    hear(talk, KEEP_PATIENCE, Word::Kept).await?;

    let now = clock::unix_seconds();
    let terminal_keys = TerminalKeys {
        kid,
        psk: Ratchet::new(0, key.psk(kid, &redeeming.exporter)),
        since: now,
        hpke_public: redeeming.hpke_public,
        hpke_private: None,
        enrolment: Some(Enrolment {
            name: name.clone(),
            offer: key.id,
            at: now,
            private_proxy: Some(*talk.tunnel().peer()),
            proved: None,
            probes: Vec::new(),
            asked: None,
            retire: None,
        }),
    };
    let id = key.id;
    let keyring = house.desk.keyring.clone().ok_or_else(|| io::Error::other("no keyring"))?;
    let kept = blocking(move || keep(&keyring, terminal_keys, id)).await;
    kept.inspect_err(|fault| error!(%fault, "RB-KEYRING: new keys cannot be kept"))
        .map_err(io::Error::other)?;
    reread(house).await;
    talk.say(&[Word::Kept as u8]).await?;
    Ok(kid)
}

fn keep(keyring: &Keyring, keys: TerminalKeys, id: OfferId) -> Result<(), KeyFault> {
    let held = keyring.hold()?;
    let kid = keys.kid;
    let contents = held.contents()?;
    if contents.is_revoked(kid) || contents.keys().iter().any(|it| it.kid == kid) {
        return Err(KeyFault::Changed("the key id was given to others: redeem the code again"));
    }
    // It may have been withdrawn while the other end kept its keys.
    if keyring.offer(id, clock::unix_seconds())?.is_none() {
        return Err(KeyFault::Changed("the offer was withdrawn, or is over"));
    }
    held.offered(keys)?;
    held.end_offer(id)
}

/// Waits to be asked, has the terminal rung, and passes on what comes of it.
async fn prove(house: &House, talk: &mut Talk, kid: Kid) -> io::Result<()> {
    hear(talk, PROVE_PATIENCE, Word::Prove).await?;
    let (told, mut words) = mpsc::channel(PROOF_WORDS);
    let asked = Happening::Prove { kid, told: Some(told) };
    house.happenings.send(asked).await.map_err(io::Error::other)?;
    timeout(PROOF_PATIENCE, async {
        while let Some(word) = words.recv().await {
            talk.say(&[word as u8]).await?;
        }
        Ok(())
    })
    .await?
}

async fn hear(talk: &mut Talk, patience: Duration, wanted: Word) -> io::Result<()> {
    let said = timeout(patience, talk.exactly::<1>()).await??;
    match Word::decode(said) {
        Ok(word) if word == wanted => Ok(()),
        Ok(_) | Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Has the role take its files over again, and waits until it has.
pub(super) async fn reread(house: &House) {
    let (done, taken) = oneshot::channel();
    if house.happenings.send(Happening::Reread(done)).await.is_ok() {
        let _ = taken.await;
    }
}

/// Does what waits for the disk where waiting harms nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyFault> + Send + 'static,
) -> Result<T, KeyFault> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_guesses_is_turned_away_and_others_are_not() {
        let (mut tries, now) = (Tries::default(), clock::now());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 1]));
        let may = (0..50).filter(|_| tries.may(one, now)).count();
        assert_eq!(may, ENROLMENTS_PER_SOURCE as usize);
        assert!(tries.may(other, now));
        assert!(tries.may(one, now + ENROLMENTS_WINDOW));
    }
}
