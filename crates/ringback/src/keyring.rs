//! The keyring: a folder of the keys that enrolment has brought, and of those that were revoked.
//!
//! One file a key id, each replaced whole; changes are made under the folder's lock, since a role and
//! an operator's command may both make one. Nobody else can enter the folder, or it is refused.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ringback_proto::access_request::Kid;
use ringback_proto::terminal::TerminalName;

use crate::keys::{Enrolment, KeyFault, TerminalKeys, read_secret};
use crate::limits::{GENERATIONS, KEYRING_FILES, PROBES_PER_HOUR, RETIRE_SECONDS, REVOKED_KEYS};
use crate::state;

mod offers;

pub use offers::Offered;

/// A keyring's folder; it need not be there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring(PathBuf);

/// What is in it.
#[derive(Debug, Default)]
pub struct Contents {
    keys: Vec<TerminalKeys>,
    revoked: BTreeMap<Kid, Revoked>,
}

/// A key id that is never to be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Whose it was, if that was known.
    pub name: Option<TerminalName>,
    /// Since when, in unix seconds.
    pub at: u64,
}

/// The right to change a keyring, as long as it is held.
#[derive(Debug)]
pub struct Held<'a> {
    keyring: &'a Keyring,
    _lock: File,
}

const KEYS: &str = "keys";
const REVOKED: &str = "revoked";
const ERASED: &str = "erased";

impl Keyring {
    /// The keyring in that folder.
    pub fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where a key id's keys are.
    pub fn file(&self, kid: Kid) -> PathBuf {
        self.0.join(format!("{kid}.{KEYS}"))
    }

    /// Makes the folder, readable by its owner only, unless it is there.
    pub fn make(&self) -> Result<(), KeyFault> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        Ok(())
    }

    /// Everything in it; a folder that is not there is empty.
    pub fn read(&self) -> Result<Contents, KeyFault> {
        match fs::metadata(&self.0) {
            Ok(found) => {
                let mode = found.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(KeyFault::Open(mode));
                }
            }
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                return Ok(Contents::default());
            }
            Err(fault) => return Err(fault.into()),
        }
        let mut keys = Vec::new();
        for file in self.files(KEYS)? {
            let read = TerminalKeys::read(&file);
            keys.push(read.map_err(|fault| KeyFault::In { file, fault: Box::new(fault) })?);
        }
        keys.sort_by_key(|it| it.enrolment.as_ref().map(|it| (it.name.clone(), it.at)));
        Ok(Contents { keys, revoked: self.read_revoked()? })
    }

    /// Waits until nobody else changes it. Others hold it for as long as a few small files take.
    pub fn hold(&self) -> Result<Held<'_>, KeyFault> {
        self.make()?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(self.0.join("lock"))?;
        lock.lock()?;
        Ok(Held { keyring: self, _lock: lock })
    }

    fn files(&self, suffix: &str) -> Result<Vec<PathBuf>, KeyFault> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == suffix) {
                if KEYRING_FILES <= files.len() {
                    return Err(KeyFault::Full(KEYRING_FILES, "files of a kind"));
                }
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn read_revoked(&self) -> Result<BTreeMap<Kid, Revoked>, KeyFault> {
        let file = self.0.join(REVOKED);
        if !file.try_exists()? {
            return Ok(BTreeMap::new());
        }
        let fault = || KeyFault::Not("list of revoked keys");
        let text = read_secret(&file)?;
        let line = |line: &str| {
            let [kid, at, name] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let kid = Kid(u32::from_str_radix(kid, 16).ok()?);
            Some((kid, Revoked { name: TerminalName::parse(name).ok(), at: at.parse().ok()? }))
        };
        text.lines().map(|it| line(it).ok_or_else(fault)).collect()
    }
}

impl Contents {
    /// Everything in it, by terminal and age.
    pub fn keys(&self) -> &[TerminalKeys] {
        &self.keys
    }

    /// What was revoked.
    pub fn revoked(&self) -> &BTreeMap<Kid, Revoked> {
        &self.revoked
    }

    /// Whether the key id is never to be used again.
    pub fn is_revoked(&self, kid: Kid) -> bool {
        self.revoked.contains_key(&kid)
    }

    /// A terminal's keys, the oldest first, whatever has become of them.
    pub fn of(&self, name: &TerminalName) -> impl Iterator<Item = &TerminalKeys> + use<'_> {
        let name = name.clone();
        let named =
            move |it: &&TerminalKeys| it.enrolment.as_ref().is_some_and(|it| it.name == name);
        self.keys.iter().filter(named).filter(|it| !self.is_revoked(it.kid))
    }

    /// What a public proxy seals a terminal's signals with: the latest keys whose route was proved.
    pub fn in_use(&self, name: &TerminalName) -> Option<&TerminalKeys> {
        self.of(name).filter(|it| it.is_proved()).last()
    }

    /// What a terminal's route is yet to be proved with.
    pub fn candidate(&self, name: &TerminalName) -> Option<&TerminalKeys> {
        self.of(name).last().filter(|it| !it.is_proved())
    }

    fn enrolled(&self, kid: Kid) -> Result<(TerminalKeys, Enrolment), KeyFault> {
        let found = self.keys.iter().find(|it| it.kid == kid).cloned();
        let enrolment = found.as_ref().and_then(|it| it.enrolment.clone());
        found.zip(enrolment).ok_or(KeyFault::Changed("it has this key no more"))
    }
}

impl Held<'_> {
    /// Everything in it, as nobody else can change it now.
    pub fn contents(&self) -> Result<Contents, KeyFault> {
        self.keyring.read()
    }

    /// Keeps keys that were just agreed on, at the public proxy; older ones that were never proved
    /// are erased, and those in use stay in use.
    pub fn offered(&self, keys: TerminalKeys) -> Result<(), KeyFault> {
        let contents = self.contents()?;
        let (kid, name) = self.add(keys, &contents)?;
        let stale = |it: &&TerminalKeys| !it.is_proved() && it.kid != kid;
        contents.of(&name).filter(stale).try_for_each(|it| self.erase(it.kid))
    }

    /// Keeps keys that were just agreed on, at the private proxy. All others are kept too: which of
    /// them the public proxy has kept is known by its rings alone. Of many unproved the oldest loses.
    pub fn redeemed(&self, keys: TerminalKeys) -> Result<(), KeyFault> {
        let contents = self.contents()?;
        let (_, name) = self.add(keys, &contents)?;
        let unproved: Vec<Kid> =
            contents.of(&name).filter(|it| !it.is_proved()).map(|it| it.kid).collect();
        let over = (unproved.len() + 1).saturating_sub(GENERATIONS);
        unproved.into_iter().take(over).try_for_each(|kid| self.erase(kid))
    }

    /// Notes that a ring with these keys was answered. At the public proxy they are in use from now
    /// on, and what they replace is erased.
    pub fn proved(&self, kid: Kid, now: u64) -> Result<(), KeyFault> {
        let contents = self.contents()?;
        let (mut keys, enrolment) = contents.enrolled(kid)?;
        let older = |it: &&TerminalKeys| {
            it.kid != kid && it.enrolment.as_ref().is_some_and(|it| it.at < enrolment.at)
        };
        let older: Vec<Kid> = contents.of(&enrolment.name).filter(older).map(|it| it.kid).collect();
        keys.enrolment = Some(Enrolment { proved: Some(now), asked: None, ..enrolment.clone() });
        self.write(&keys)?;
        older.into_iter().try_for_each(|it| self.erase(it))
    }

    /// The same at the private proxy, where what they replace is erased after a while: a ring may
    /// still be under way.
    pub fn answered(&self, kid: Kid, now: u64) -> Result<(), KeyFault> {
        let contents = self.contents()?;
        let (mut keys, enrolment) = contents.enrolled(kid)?;
        keys.enrolment = Some(Enrolment { proved: Some(now), ..enrolment.clone() });
        self.write(&keys)?;
        for other in contents.of(&enrolment.name) {
            let Some(theirs) = other.enrolment.clone().filter(|it| it.at < enrolment.at) else {
                continue;
            };
            let retire = Some(theirs.retire.unwrap_or(now + RETIRE_SECONDS));
            let enrolment = Some(Enrolment { retire, ..theirs });
            self.write(&TerminalKeys { enrolment, ..other.clone() })?;
        }
        Ok(())
    }

    /// Erases what was to be kept for a while only; says whether there was any.
    pub fn retire(&self, now: u64) -> Result<bool, KeyFault> {
        let contents = self.contents()?;
        let over = |it: &&TerminalKeys| {
            it.enrolment.as_ref().and_then(|it| it.retire).is_some_and(|at| at <= now)
        };
        let over: Vec<Kid> = contents.keys.iter().filter(over).map(|it| it.kid).collect();
        over.iter().try_for_each(|kid| self.erase(*kid))?;
        Ok(!over.is_empty())
    }

    /// Notes that a terminal is about to be rung to prove its keys; refuses to if it was rung for
    /// that too often.
    pub fn probing(&self, kid: Kid, now: u64) -> Result<bool, KeyFault> {
        let (mut keys, mut enrolment) = self.contents()?.enrolled(kid)?;
        enrolment.asked = None;
        enrolment.probes.retain(|at| now < at.saturating_add(3600) && *at <= now);
        let may = enrolment.probes.len() < PROBES_PER_HOUR;
        if may {
            enrolment.probes.push(now);
        }
        keys.enrolment = Some(enrolment);
        self.write(&keys)?;
        Ok(may)
    }

    /// Takes the latest note of [`Self::probing`] back: no signal has left.
    pub fn not_probed(&self, kid: Kid) -> Result<(), KeyFault> {
        let (mut keys, mut enrolment) = self.contents()?.enrolled(kid)?;
        enrolment.probes.pop();
        keys.enrolment = Some(enrolment);
        self.write(&keys)
    }

    /// Asks the running public proxy to prove a terminal's route when it reads its files again.
    pub fn ask(&self, name: &TerminalName, now: u64) -> Result<Option<Kid>, KeyFault> {
        let Some(mut keys) = self.contents()?.candidate(name).cloned() else { return Ok(None) };
        if let Some(enrolment) = &mut keys.enrolment {
            enrolment.asked = Some(now);
        }
        self.write(&keys)?;
        Ok(Some(keys.kid))
    }

    /// Erases a terminal's keys for ever, and never takes these key ids again.
    pub fn revoke(
        &self,
        name: Option<&TerminalName>,
        kids: &[Kid],
        now: u64,
    ) -> Result<(), KeyFault> {
        let mut revoked = self.contents()?.revoked;
        for kid in kids {
            let entry = Revoked { name: name.cloned(), at: now };
            revoked.entry(*kid).or_insert(entry);
        }
        if REVOKED_KEYS < revoked.len() {
            return Err(KeyFault::Full(REVOKED_KEYS, "revoked key ids"));
        }
        let line = |(kid, it): (&Kid, &Revoked)| {
            let name = it.name.as_ref().map_or("-", TerminalName::as_str);
            format!("{kid} {} {name}\n", it.at)
        };
        let text: String = revoked.iter().map(line).collect();
        // The list first: after a crash in between, nothing that is on it is used.
        state::replace(&self.keyring.0.join(REVOKED), text.as_bytes())?;
        kids.iter().try_for_each(|kid| self.erase(*kid))
    }

    fn add(
        &self,
        mut keys: TerminalKeys,
        contents: &Contents,
    ) -> Result<(Kid, TerminalName), KeyFault> {
        if KEYRING_FILES <= contents.keys.len() {
            return Err(KeyFault::Full(KEYRING_FILES, "terminals' keys"));
        }
        let enrolment = keys.enrolment.as_mut();
        let enrolment = enrolment.ok_or(KeyFault::Not("keys of an enrolment"))?;
        let name = enrolment.name.clone();
        let last = contents.of(&name).filter_map(|it| it.enrolment.as_ref()).map(|it| it.at).max();
        // Two in one second, or a clock that went back, must not change their order.
        enrolment.at = enrolment.at.max(last.map_or(0, |it| it + 1));
        self.write(&keys)?;
        Ok((keys.kid, name))
    }

    fn write(&self, keys: &TerminalKeys) -> Result<(), KeyFault> {
        keys.write(&self.keyring.file(keys.kid))
    }

    /// Overwrites a file before it goes: a removed file's octets stay on the disk for a while. It is
    /// put aside first, so that what a crash leaves half erased is no key file any more.
    fn erase(&self, kid: Kid) -> Result<(), KeyFault> {
        let (path, aside) =
            (self.keyring.file(kid), self.keyring.0.join(format!("{kid}.{ERASED}")));
        match fs::rename(&path, &aside) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault.into()),
            Ok(()) | Err(_) => {}
        }
        for path in self.keyring.files(ERASED)? {
            let length = usize::try_from(fs::metadata(&path)?.len()).unwrap_or(0);
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.write_all(&vec![0; length])?;
            file.sync_all()?;
            fs::remove_file(&path)?;
        }
        File::open(&self.keyring.0)?.sync_all()?;
        Ok(())
    }
}

/// Keeps a turned ratchet in whichever file its keys are in; what it replaces is gone.
pub(crate) fn keep_turned(
    file: &Path,
    keyring: Option<&Keyring>,
    turn: impl FnOnce(&mut TerminalKeys) -> bool,
) -> Result<Option<TerminalKeys>, KeyFault> {
    // A file outside the keyring is the roles' alone, and each role has its own.
    let ours = keyring.filter(|it| file.parent() == Some(it.folder()));
    let _held = ours.map(Keyring::hold).transpose()?;
    let mut keys = TerminalKeys::read(file)?;
    if !turn(&mut keys) {
        return Ok(None);
    }
    keys.write(file)?;
    Ok(Some(keys))
}

#[cfg(test)]
mod tests {
    use ringback_proto::access_request::Ratchet;
    use ringback_proto::enrolment::{OfferId, OfferKey};
    use ringback_proto::secret::Secret;
    use ringback_proto::switchboard::PublicKey;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn old_keys_stay_in_use_until_the_new_are_proved_and_are_erased_then() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        for kid in 1..=3 {
            held.offered(keys(kid, true)).unwrap();
        }
        // Three codes in one second: the last counts, and keys that were never proved are gone.
        assert_eq!(state(&ring), (None, Some(3), vec![3]));
        held.proved(Kid(3), NOW).unwrap();
        held.offered(keys(4, true)).unwrap();
        assert_eq!(state(&ring), (Some(3), Some(4), vec![3, 4]));
        held.proved(Kid(4), NOW).unwrap();
        assert_eq!(state(&ring), (Some(4), None, vec![4]));
        assert!(held.proved(Kid(3), NOW).is_err(), "erased keys are proved");
    }

    #[test]
    fn a_private_proxy_keeps_what_may_be_in_use_and_forgets_the_oldest_of_the_rest() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        held.redeemed(keys(1, false)).unwrap();
        held.answered(Kid(1), NOW).unwrap();
        for kid in 2..10 {
            held.redeemed(keys(kid, false)).unwrap();
        }
        assert_eq!(state(&ring).2, [1, 6, 7, 8, 9]);
        held.answered(Kid(8), NOW).unwrap();
        assert!(!held.retire(NOW + RETIRE_SECONDS - 1).unwrap());
        assert!(held.retire(NOW + RETIRE_SECONDS).unwrap());
        assert_eq!(state(&ring).2, [8, 9]);
    }

    #[test]
    fn a_crash_while_erasing_leaves_no_half_key_behind() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        held.offered(keys(1, true)).unwrap();
        fs::write(ring.folder().join("00000007.erased"), [0; 90]).unwrap();
        assert_eq!(state(&ring).2, [1]);
        held.revoke(None, &[Kid(1)], NOW).unwrap();
        assert!(ring.files(ERASED).unwrap().is_empty() && ring.files(KEYS).unwrap().is_empty());
    }

    #[test]
    fn what_is_revoked_is_never_taken_again_and_stays_on_the_list() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        held.offered(keys(1, true)).unwrap();
        held.proved(Kid(1), NOW).unwrap();
        held.revoke(Some(&name()), &[Kid(1), Kid(9)], NOW).unwrap();
        held.revoke(None, &[Kid(1)], NOW + 5).unwrap();
        held.write(&keys(1, true)).unwrap();
        let contents = ring.read().unwrap();
        assert!(contents.in_use(&name()).is_none() && contents.candidate(&name()).is_none());
        let listed = Revoked { name: Some(name()), at: NOW };
        assert_eq!(
            contents.revoked(),
            &BTreeMap::from([(Kid(1), listed.clone()), (Kid(9), listed)])
        );
    }

    #[test]
    fn an_offer_stands_until_it_is_over_redeemed_or_replaced() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        let offer = |secret| Offered {
            key: OfferKey::of(&Secret::new([secret; 16])),
            name: name(),
            until: NOW + 60,
        };
        let stands = |it: &Offered, now| ring.offer(it.key.id, now).unwrap().is_some();
        held.make_offer(&offer(1), NOW).unwrap();
        assert!(stands(&offer(1), NOW + 59) && !stands(&offer(1), NOW + 60));
        assert_eq!(ring.offer(offer(1).key.id, NOW).unwrap().unwrap().key, offer(1).key);
        held.make_offer(&offer(2), NOW).unwrap();
        assert!(!stands(&offer(1), NOW) && stands(&offer(2), NOW));
        // Redeemed, even if its file is still there.
        let mut redeemed = keys(1, true);
        redeemed.enrolment.as_mut().unwrap().offer = offer(2).key.id;
        held.offered(redeemed).unwrap();
        assert!(!stands(&offer(2), NOW));
    }

    #[test]
    fn offers_are_no_more_than_there_may_be() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        let offer = |number: usize, until| Offered {
            key: OfferKey::of(&Secret::new([number as u8; 16])),
            name: TerminalName::parse(&format!("t{number}.example")).unwrap(),
            until,
        };
        for number in 0..OFFERS_HERE {
            held.make_offer(&offer(number, NOW + 60), NOW).unwrap();
        }
        let many = held.make_offer(&offer(OFFERS_HERE, NOW + 60), NOW);
        assert!(many.is_err() == (OFFERS_HERE == crate::limits::OFFERS), "{many:?}");
        // What is over makes room.
        held.make_offer(&offer(OFFERS_HERE, NOW + 99), NOW + 60).unwrap();
        assert_eq!(ring.files("offer").unwrap().len(), 1);
    }

    /// As many as there are different secrets above.
    const OFFERS_HERE: usize = 256;

    #[test]
    fn probes_are_counted_over_an_hour_whatever_the_clock_does() {
        let (_folder, ring) = keyring();
        let held = ring.hold().unwrap();
        held.offered(keys(1, true)).unwrap();
        let may = |now| held.probing(Kid(1), now).unwrap();
        assert_eq!([may(NOW), may(NOW), may(NOW + 1), may(NOW + 2)], [true, true, true, false]);
        assert!(!may(NOW + 3599) && may(NOW + 3600));
    }

    fn keyring() -> (tempfile::TempDir, Keyring) {
        let folder = tempfile::tempdir().unwrap();
        let ring = Keyring::at(folder.path().join("keyring"));
        (folder, ring)
    }

    fn name() -> TerminalName {
        TerminalName::parse("patient.example").unwrap()
    }

    /// Which keys are in use, which are to be proved, and all that there are.
    fn state(ring: &Keyring) -> (Option<u32>, Option<u32>, Vec<u32>) {
        let contents = ring.read().unwrap();
        let kid = |it: &TerminalKeys| it.kid.0;
        let all = contents.keys().iter().map(kid).collect();
        (contents.in_use(&name()).map(kid), contents.candidate(&name()).map(kid), all)
    }

    fn keys(kid: u32, public: bool) -> TerminalKeys {
        TerminalKeys {
            kid: Kid(kid),
            psk: Ratchet::new(0, Secret::new([3; 32])),
            since: NOW,
            hpke_public: None,
            hpke_private: None,
            enrolment: Some(Enrolment {
                name: name(),
                offer: OfferId([kid as u8; 16]),
                at: NOW,
                private_proxy: public.then(|| PublicKey::of_raw([1; 32])),
                proved: None,
                probes: Vec::new(),
                asked: None,
                retire: None,
            }),
        }
    }
}
