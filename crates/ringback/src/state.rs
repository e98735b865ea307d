//! What a proxy must not forget across a crash: sequence numbers, and which signals were obeyed.
//!
//! Small files, replaced whole: written beside, synced, renamed, and the folder synced; or, where a
//! ring waits for it, written in place (`state/window.rs`). A reader never believes half of one.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ringback_proto::access_request::Kid;

use crate::limits::SEQUENCE_RESERVE;

pub(crate) mod window;

/// The unix time that sequence numbers are anchored to.
const SEQUENCE_EPOCH: u64 = 1_700_000_000;

/// Replaces a file whole and durably.
pub(crate) fn replace(file: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut new = File::create(&beside)?;
    new.write_all(octets)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    File::open(folder)?.sync_all()
}

/// Makes the state folder, readable by its owner only, and takes it for this process alone.
///
/// The folder is free again when the file that is returned is dropped.
pub(crate) fn open(folder: &Path) -> io::Result<File> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.try_lock().map_err(|fault| match fault {
        TryLockError::WouldBlock => {
            io::Error::other("another process uses this state: give each proxy a folder of its own")
        }
        TryLockError::Error(fault) => fault,
    })?;
    Ok(lock)
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
    fn a_damaged_file_is_told_and_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sequence"), "12x").unwrap();
        let fault = Sequences::open(folder.path(), NOW).unwrap_err();
        assert!(fault.to_string().contains("damaged"));
    }
}
