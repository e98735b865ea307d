//! Keys that change under a running public proxy: routes to be proved, epochs to be turned.
//!
//! What is written is written by tasks, before it is used; the role only hears what came of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ringback_proto::access_request::{Kid, Purpose, SealingKey, TunnelType};
use ringback_proto::budget::Charge;
use ringback_proto::enrolment::Word;
use ringback_proto::gate::Source;
use ringback_proto::switchboard::{Call, Event, RingId};
use ringback_proto::terminal::ServiceId;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::enrolment::{blocking, reread};
use super::purse::Unpaid;
use super::trying;
use super::{Happening, Role};
use crate::clock;
use crate::config::{Directory, ListedTerminal};
use crate::control::Said;
use crate::keyring::{Keyring, keep_turned};
use crate::keys::{KeyFault, TerminalKeys};
use crate::limits::{PROVE_ASKED_SECONDS, RATCHETS_AT_ONCE, REPLACED_KEYS};

/// What the role remembers of keys beside its directory.
#[derive(Debug)]
pub(super) struct Changing {
    keyring: Option<Keyring>,
    every: Duration,
    /// Proofs under way, and who waits for them.
    proving: BTreeMap<Kid, Option<mpsc::Sender<Word>>>,
    /// Until when keys that were replaced still seal: clients may wait who were rung for with them.
    replaced: BTreeMap<Kid, Instant>,
    /// Keys that are being turned, and those that cannot be: that was told.
    turning: BTreeMap<Kid, Turning>,
}

/// One signal on the operator's own behalf.
pub(super) struct Signaled {
    pub(super) ring: RingId,
    pub(super) kid: Kid,
    /// The route's place.
    pub(super) place: usize,
    pub(super) ttl_seconds: u16,
    /// Who is told what becomes of it.
    pub(super) told: Option<mpsc::Sender<Said>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turning {
    UnderWay,
    Impossible,
}

impl Changing {
    pub(super) fn new(keyring: Option<Keyring>, every: Duration) -> Self {
        let (proving, replaced) = (BTreeMap::new(), BTreeMap::new());
        Self { keyring, every, proving, replaced, turning: BTreeMap::new() }
    }

    /// Whether a proof of the key id's route is under way.
    pub(super) fn is_proving(&self, kid: Kid) -> bool {
        self.proving.contains_key(&kid)
    }

    /// Every key id that signals may be sealed for: those of the directory, and for a while those that
    /// a terminal had before. Beside them those that are gone without a successor: revoked, or taken
    /// out of the directory.
    pub(super) fn by_kid(
        &mut self,
        before: &BTreeMap<Kid, Arc<ListedTerminal>>,
        directory: &Directory,
        now: Instant,
    ) -> (BTreeMap<Kid, Arc<ListedTerminal>>, Vec<Kid>) {
        let enrolled = directory.terminals().map(|it| (it.key.kid, it.clone()));
        let candidates = directory.candidates().iter().map(|(kid, it)| (*kid, it.clone()));
        let mut by_kid: BTreeMap<_, _> = enrolled.chain(candidates).collect();
        let mut gone = Vec::new();
        self.replaced.retain(|kid, _| !by_kid.contains_key(kid));
        let missing: Vec<_> = before.iter().filter(|(kid, _)| !by_kid.contains_key(kid)).collect();
        for (kid, terminal) in missing {
            // Keys that the operator has exchanged by hand are not wanted for a moment longer.
            let by_hand =
                self.keyring.as_ref().is_none_or(|it| it.file(*kid) != terminal.keys_file);
            let alone = directory.find(&terminal.name).is_none();
            if by_hand || alone || directory.is_revoked(*kid) {
                gone.push(*kid);
                continue;
            }
            self.replaced.entry(*kid).or_insert(now + REPLACED_KEYS);
            by_kid.insert(*kid, terminal.clone());
        }
        self.turning.retain(|kid, it| by_kid.contains_key(kid) && *it == Turning::UnderWay);
        (by_kid, gone)
    }
}

impl Role {
    /// Proves the routes that the operator has asked for.
    pub(super) fn prove_asked(&mut self, directory: &Directory) {
        let now = clock::unix_seconds();
        let asked = |it: &ListedTerminal| {
            it.asked.is_some_and(|at| now < at.saturating_add(PROVE_ASKED_SECONDS))
        };
        let asked = directory.candidates().iter().filter(|(_, it)| asked(it));
        let kids: Vec<Kid> = asked.map(|(kid, _)| *kid).collect();
        kids.into_iter().for_each(|kid| self.prove(kid, None));
    }

    /// Has a terminal rung to prove its route, unless that was tried too often or is under way.
    pub(super) fn prove(&mut self, kid: Kid, told: Option<mpsc::Sender<Word>>) {
        let candidate = self.house.directory().candidates().get(&kid).cloned();
        let (Some(terminal), Some(keyring)) = (candidate, self.changing.keyring.clone()) else {
            return tell(told.as_ref(), Word::Unringable);
        };
        if self.changing.proving.contains_key(&kid) {
            return tell(told.as_ref(), Word::TooOften);
        }
        self.changing.proving.insert(kid, told);
        let happenings = self.house.happenings.clone();
        self.house.tasks.spawn(async move {
            let now = clock::unix_seconds();
            let may = blocking(move || keyring.hold()?.probing(kid, now)).await;
            let happening = match may {
                Ok(true) => Happening::Told(Event::Prove { terminal: terminal.terminal.clone() }),
                Ok(false) => Happening::NotProved { kid, word: Word::TooOften },
                Err(fault) => {
                    error!(%kid, %fault, "RB-KEYRING: a proof cannot be noted");
                    Happening::NotProved { kid, word: Word::Unringable }
                }
            };
            let _ = happenings.send(happening).await;
        });
    }

    /// Seals a probe and sends it by the first route.
    pub(super) fn probe(&mut self, ring: RingId, kid: Kid, ttl_seconds: u16) {
        let signaled = Signaled { ring, kid, place: 0, ttl_seconds, told: None };
        match self.signal(signaled, Purpose::Probe, (ServiceId(0), TunnelType::Tls)) {
            Ok(()) => {
                info!(%kid, "a terminal is rung to prove its route");
                tell(self.changing.proving.get(&kid).and_then(Option::as_ref), Word::Rung);
            }
            Err(fault) => {
                let denied = match fault.downcast_ref() {
                    Some(Unpaid::Denied(denial)) => {
                        debug!(%kid, ?denial, "not rung");
                        true
                    }
                    Some(Unpaid::Unwritten(_)) | None => {
                        error!(%kid, fault = %format!("{fault:#}"), "RB-RING: cannot ring");
                        false
                    }
                };
                self.not_rung(kid, if denied { Word::TooOften } else { Word::Unringable });
                let event = Event::RingFailed { ring, permanent: true, retry_after: None };
                self.switchboard.handle_event(event, clock::now());
            }
        }
    }

    /// Charges, seals and sends one signal that no client has caused.
    pub(super) fn signal(
        &mut self,
        signaled: Signaled,
        purpose: Purpose,
        (service, through): (ServiceId, TunnelType),
    ) -> anyhow::Result<()> {
        let Signaled { ring, kid, place, ttl_seconds, told } = signaled;
        let terminal = self.by_kid.get(&kid).context("no such key in the directory")?.clone();
        let route = terminal.routes.get(place).context("no such route")?;
        let charge = Charge {
            kid,
            source: Source::of(Ipv4Addr::UNSPECIFIED.into()),
            tenant: terminal.terminal.tenant,
            price: route.price,
            call: Call::PROBE,
        };
        let paid = self.purse.pay(&charge)?;
        let wanted = (purpose, service, ttl_seconds);
        let (signal, keys) = self.seal(&terminal, &route.named, wanted, through)?;
        let ready = self.awaits((ring, false), through, (&keys, &*terminal), ttl_seconds);
        self.switchboard.handle_event(Event::Sealed { ring, keys }, clock::now());
        if let Some(told) = &told {
            trying::tell_rung(told, &terminal, (place, service), ttl_seconds);
        }
        self.transmit(route, &signal, (ring, ttl_seconds), &paid, ready, told)
    }

    /// Takes in what has come of a proof, unless it was given up before.
    pub(super) fn probed(&mut self, kid: Kid, answered: bool) {
        // Who was not even rung has heard why.
        let Some(told) = self.changing.proving.remove(&kid) else { return };
        let Some(keyring) = self.changing.keyring.clone().filter(|_| answered) else {
            warn!(%kid, "RB-UNPROVED: nobody has dialed back: see that the number or mail address is the terminal's");
            return tell(told.as_ref(), Word::NoAnswer);
        };
        let house = self.house.clone();
        self.house.tasks.spawn(async move {
            let now = clock::unix_seconds();
            match blocking(move || keyring.hold()?.proved(kid, now)).await {
                Ok(()) => {
                    reread(&house).await;
                    info!(%kid, "a terminal is enrolled: its route is proved");
                    tell(told.as_ref(), Word::Proved);
                }
                Err(fault) => {
                    error!(%kid, %fault, "RB-KEYRING: a proof cannot be kept");
                    tell(told.as_ref(), Word::NoAnswer);
                }
            }
        });
    }

    /// Gives a proof up whose signal has not left: it does not count as one.
    fn not_rung(&mut self, kid: Kid, word: Word) {
        self.not_proved(kid, word);
        let Some(keyring) = self.changing.keyring.clone() else { return };
        self.house.tasks.spawn(async move {
            if let Err(fault) = blocking(move || keyring.hold()?.not_probed(kid)).await {
                warn!(%kid, %fault, "RB-KEYRING: a proof that was not made counts as one");
            }
        });
    }

    /// Gives a proof up before anybody was rung.
    pub(super) fn not_proved(&mut self, kid: Kid, word: Word) {
        info!(%kid, why = ?word, "RB-UNPROVED: a terminal was not rung to prove its route");
        tell(self.changing.proving.remove(&kid).flatten().as_ref(), word);
    }

    /// Forgets what was replaced long enough ago, and turns what has been in one epoch for long
    /// enough, a few at once.
    pub(super) fn ratchet(&mut self) {
        let Self { changing, by_kid, .. } = self;
        changing.replaced.retain(|kid, until| {
            let stays = clock::now() < *until;
            if !stays {
                by_kid.remove(kid);
            }
            stays
        });
        let now = clock::unix_seconds();
        let every = self.changing.every.as_secs();
        let due = |it: &ListedTerminal| it.since.saturating_add(every) <= now;
        let changing = &self.changing;
        let idle =
            |kid: &Kid| !changing.turning.contains_key(kid) && !changing.replaced.contains_key(kid);
        let due = self.by_kid.iter().filter(|(kid, it)| idle(kid) && due(it));
        let due: Vec<_> = due.take(RATCHETS_AT_ONCE).map(|(_, it)| it.clone()).collect();
        for terminal in due {
            let (kid, file) = (terminal.key.kid, terminal.keys_file.clone());
            self.changing.turning.insert(kid, Turning::UnderWay);
            let (keyring, happenings) =
                (self.changing.keyring.clone(), self.house.happenings.clone());
            self.house.tasks.spawn(async move {
                let turned = blocking(move || turn(&file, keyring.as_ref(), kid, every)).await;
                let _ = happenings.send(Happening::Turned { kid, turned }).await;
            });
        }
    }

    /// Seals with a turned key from now on: it is on the disk.
    pub(super) fn turned(&mut self, kid: Kid, turned: Result<(SealingKey, u64), KeyFault>) {
        let (key, since) = match turned {
            Ok(turned) => turned,
            Err(fault) => {
                self.changing.turning.insert(kid, Turning::Impossible);
                return warn!(%kid, %fault, "RB-RATCHET: a key stays in its epoch");
            }
        };
        self.changing.turning.remove(&kid);
        if let Some(terminal) = self.by_kid.get_mut(&kid) {
            debug!(%kid, epoch = key.epoch, "turned to the next epoch");
            *terminal = Arc::new(ListedTerminal { key, since, ..ListedTerminal::clone(terminal) });
        }
    }
}

/// Turns a key in its file. One that nobody has noted the age of begins its epoch now.
fn turn(
    file: &Path,
    keyring: Option<&Keyring>,
    kid: Kid,
    every: u64,
) -> Result<(SealingKey, u64), KeyFault> {
    let now = clock::unix_seconds();
    let kept = keep_turned(file, keyring, |keys| {
        if keys.kid != kid {
            return false;
        }
        match keys.since {
            0 => keys.since = now,
            since if since.saturating_add(every) <= now => keys.turn(now),
            _ => return false,
        }
        true
    })?;
    let keys = match kept {
        Some(keys) => keys,
        // Somebody else has turned it, or has put another key there: the next reload takes it over.
        None => TerminalKeys::read(file)?,
    };
    if keys.kid != kid {
        return Err(KeyFault::Changed("it holds the keys of another key id"));
    }
    Ok((keys.sealing()?, keys.since))
}

fn tell(told: Option<&mpsc::Sender<Word>>, word: Word) {
    // Whoever does not listen any more need not hear.
    let _ = told.map(|it| it.try_send(word));
}
