//! What a proxy must not forget across a crash: sequence numbers, and which signals were obeyed.
//!
//! Small files, replaced whole: written beside, synced, renamed, and the folder synced; or, where a
//! ring waits for it, written in place (`state/window.rs`). A reader never believes half of one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ringback_proto::access_request::Kid;

use crate::limits::SEQUENCE_RESERVE;

pub(crate) mod window;

/// The unix time that sequence numbers are anchored to.
const SEQUENCE_EPOCH: u64 = 1_700_000_000;

/// Replaces a file whole and durably.
pub(crate) fn replace(file: &Path, octets: &[u8]) -> io::Result<()> {
    replace_as(file, octets, 0o600)
}

/// The same, with who may read it.
pub(crate) fn replace_as(file: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that a crash has left behind may be anybody's by now.
    let _ = fs::remove_file(&beside);
    let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    new.write_all(octets)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    sync_folder(file)
}

/// Makes a file's name durable, of a file in the folder where we are too.
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let here = folder.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { folder })?.sync_all()
}

/// A state folder that is one process's alone, and what that process last said of itself in it.
#[derive(Debug)]
pub(crate) struct Tenancy(File);

/// Whose a state folder is: told by its lock file, to whoever wants that process to read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// The process.
    pub pid: i32,
    /// How often it has been asked to read its configuration again.
    pub reloads: u64,
    /// Whether it took over what it read last.
    pub taken_over: bool,
}

/// Makes the state folder, readable by its owner only, and takes it for this process alone.
///
/// The folder is free again when what is returned is dropped.
pub(crate) fn open(folder: &Path) -> io::Result<Tenancy> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let lock = lock_file(folder, true)?;
    lock.try_lock().map_err(|fault| match fault {
        TryLockError::WouldBlock => {
            io::Error::other("another process uses this state: give each proxy a folder of its own")
        }
        TryLockError::Error(fault) => fault,
    })?;
    let mut tenancy = Tenancy(lock);
    tenancy.say(0, true)?;
    Ok(tenancy)
}

/// Who uses the folder, if anybody does.
pub(crate) fn tenant(folder: &Path) -> io::Result<Option<Tenant>> {
    let mut lock = match lock_file(folder, false) {
        Ok(lock) => lock,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(fault),
    };
    match lock.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(fault)) => return Err(fault),
    }
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let tenant = |words: &[&str]| {
        let [pid, reloads, last, "end"] = words else { return None };
        let (pid, reloads) = (pid.parse().ok()?, reloads.parse().ok()?);
        Some(Tenant { pid, reloads, taken_over: *last == "taken-over" })
    };
    tenant(&words).map(Some).ok_or_else(|| io::Error::other("its lock is being written"))
}

fn lock_file(folder: &Path, create: bool) -> io::Result<File> {
    // Never truncated here: it may be another process's.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false).mode(0o600);
    options.open(folder.join("lock"))
}

impl Tenancy {
    /// Says that the configuration was read again, and what came of it.
    pub(crate) fn say(&mut self, reloads: u64, taken_over: bool) -> io::Result<()> {
        let last = if taken_over { "taken-over" } else { "kept" };
        let text = format!("{} {reloads} {last} end\n", std::process::id());
        self.0.rewind()?;
        self.0.set_len(0)?;
        self.0.write_all(text.as_bytes())
    }
}

/// The sequence numbers of a public proxy's signals, one run a key id.
///
/// A number is `max(last + 1, unix seconds − 1 700 000 000)`: anchored in time, so that a proxy whose
/// file was lost or restored from an old backup heals by itself once the clock has passed what was
/// given: after [`SEQUENCE_RESERVE`] seconds for each restart shortly before. One number on the disk
/// bounds those of all key ids: whatever is at most that may have been given before a crash, and is
/// not given again. It is kept a little ahead, so that a ring seldom waits for the disk.
#[derive(Debug)]
pub(crate) struct Sequences {
    file: PathBuf,
    /// The bound that an earlier process has left.
    floor: u32,
    reserved: u32,
    last: BTreeMap<Kid, u32>,
}

impl Sequences {
    /// Keeps its file in a folder that [`open`] has made.
    pub(crate) fn open(folder: &Path, unix_seconds: u64) -> io::Result<Self> {
        let file = folder.join("sequence");
        let floor = read_number(&file)?;
        let mut sequences = Self { file, floor, reserved: floor, last: BTreeMap::new() };
        if floor < anchor(unix_seconds).saturating_add(SEQUENCE_RESERVE) {
            sequences.reserve(floor.max(anchor(unix_seconds)))?;
        }
        Ok(sequences)
    }

    /// The next number for a key id at a unix time.
    pub(crate) fn next(&mut self, kid: Kid, unix_seconds: u64) -> io::Result<u32> {
        let last = self.last.get(&kid).copied().unwrap_or(self.floor);
        let Some(after) = last.checked_add(1) else {
            return Err(io::Error::other("this key's sequence numbers are used up: make new keys"));
        };
        let seq = after.max(anchor(unix_seconds));
        if self.reserved < seq {
            self.reserve(seq)?;
        }
        self.last.insert(kid, seq);
        Ok(seq)
    }

    /// Keeps the bound ahead of the clock; to be called when nobody waits.
    pub(crate) fn keep_ahead(&mut self, unix_seconds: u64) -> io::Result<()> {
        let anchor = anchor(unix_seconds);
        if self.reserved < anchor.saturating_add(SEQUENCE_RESERVE / 2) {
            self.reserve(anchor)?;
        }
        Ok(())
    }

    fn reserve(&mut self, beyond: u32) -> io::Result<()> {
        let reserved = beyond.saturating_add(SEQUENCE_RESERVE);
        replace(&self.file, reserved.to_string().as_bytes())?;
        self.reserved = reserved;
        Ok(())
    }
}

fn anchor(unix_seconds: u64) -> u32 {
    u32::try_from(unix_seconds.saturating_sub(SEQUENCE_EPOCH)).unwrap_or(u32::MAX)
}

fn read_number(file: &Path) -> io::Result<u32> {
    match fs::read_to_string(file) {
        Ok(text) => text.parse().map_err(|_| {
            io::Error::other(format!("{} is damaged: remove it, its number heals", file.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = SEQUENCE_EPOCH + 1_000;

    #[test]
    fn a_file_in_the_folder_where_we_are_has_that_folder() {
        sync_folder(Path::new("a-name-alone")).unwrap();
        assert!(sync_folder(Path::new("/nowhere/at-all")).is_err());
    }

    #[test]
    fn numbers_grow_even_when_the_clock_stands_or_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut sequences = Sequences::open(folder.path(), NOW).unwrap();
        let seen = [NOW, NOW, NOW - 500, NOW + 10].map(|at| sequences.next(Kid(7), at).unwrap());
        assert_eq!(seen, [1_000, 1_001, 1_002, 1_010]);
    }

    #[test]
    fn a_restart_never_gives_a_number_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut sequences = Sequences::open(folder.path(), NOW).unwrap();
            let rings = 0..2 * SEQUENCE_RESERVE;
            seen.extend(rings.map(|_| sequences.next(Kid(7), NOW).unwrap()));
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn restarts_without_a_ring_do_not_run_ahead_of_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..100 {
            Sequences::open(folder.path(), NOW).unwrap();
        }
        let mut sequences = Sequences::open(folder.path(), NOW).unwrap();
        assert!(sequences.next(Kid(7), NOW).unwrap() <= 1_000 + 2 * SEQUENCE_RESERVE + 1);
    }

    #[test]
    fn a_ring_finds_its_number_reserved() {
        let folder = tempfile::tempdir().unwrap();
        let mut sequences = Sequences::open(folder.path(), NOW).unwrap();
        sequences.keep_ahead(NOW + u64::from(SEQUENCE_RESERVE)).unwrap();
        fs::remove_file(&sequences.file).unwrap();
        sequences.next(Kid(7), NOW + u64::from(SEQUENCE_RESERVE)).unwrap();
        assert!(!sequences.file.exists(), "the ring has written");
    }

    #[test]
    fn a_folder_tells_whose_it_is_and_is_nobodys_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(tenant(folder.path()).unwrap(), None);
        let mut tenancy = open(folder.path()).unwrap();
        tenancy.say(3, false).unwrap();
        // Another that tries and fails leaves no trace.
        assert!(open(folder.path()).is_err());
        let pid = std::process::id().cast_signed();
        let told = Tenant { pid, reloads: 3, taken_over: false };
        assert_eq!(tenant(folder.path()).unwrap(), Some(told));
        drop(tenancy);
        assert_eq!(tenant(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_told_and_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sequence"), "12x").unwrap();
        let fault = Sequences::open(folder.path(), NOW).unwrap_err();
        assert!(fault.to_string().contains("damaged"));
    }
}
