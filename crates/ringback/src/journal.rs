//! The journal of budgets: what was spent, one checked line a record, so that a crash frees nothing.
//!
//! A record is written before its signal leaves, which survives the process being killed; the disk
//! is waited for elsewhere, which a machine that loses power may cost the last second. What was
//! written only in part is not believed, and never glued to what follows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringback_proto::budget::Record;
use tokio::sync::watch;
use tracing::error;

use crate::keys::{hex, sha256};
use crate::limits::JOURNAL_RECORDS;

/// The journal's name in the state folder.
pub(crate) const FILE: &str = "budget.journal";

/// What a journal holds.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The records that are whole, in order.
    pub records: Vec<Record>,
    /// Lines in the midst that are not what was written.
    pub damaged: usize,
    /// Whether the last record was cut short, as a crash does.
    pub torn: bool,
}

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    /// Octets that are whole records.
    length: u64,
    /// Whether something may stand behind them.
    torn: bool,
    /// Records since it was last written anew.
    records: usize,
    written: watch::Sender<Arc<File>>,
}

/// Reads a journal, which another process may be writing; a missing one is empty.
pub(crate) fn read(path: &Path) -> io::Result<Replay> {
    let octets = match fs::read(path) {
        Ok(octets) => octets,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Replay::default()),
        Err(fault) => return Err(fault),
    };
    let mut replay = Replay::default();
    let mut lines = octets.split_inclusive(|it| *it == b'\n').peekable();
    while let Some(line) = lines.next() {
        match check(line) {
            Some(record) => replay.records.push(record),
            None if lines.peek().is_none() => replay.torn = true,
            None => replay.damaged += 1,
        }
    }
    Ok(replay)
}

impl Journal {
    /// Begins anew with these records, which stand for all that was read.
    pub(crate) fn begin(
        path: PathBuf,
        records: &[Record],
    ) -> io::Result<(Self, watch::Receiver<Arc<File>>)> {
        let (file, length) = rewrite(&path, records)?;
        crate::state::sync_folder(&path)?;
        let file = Arc::new(file);
        let (written, to_sync) = watch::channel(file.clone());
        let journal = Self { path, file, length, torn: false, records: 0, written };
        Ok((journal, to_sync))
    }

    /// Writes one record. After an error nothing of it counts.
    pub(crate) fn append(&mut self, record: &Record) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        let line = line(record);
        self.torn = true;
        (&*self.file).write_all(line.as_bytes())?;
        self.torn = false;
        self.length += u64::try_from(line.len()).unwrap_or_default();
        self.records += 1;
        self.written.send_replace(self.file.clone());
        Ok(())
    }

    /// Whether it is long enough to be written anew.
    pub(crate) fn is_long(&self) -> bool {
        JOURNAL_RECORDS <= self.records
    }

    /// Writes it anew with these records only; after an error it goes on as it was.
    pub(crate) fn compact(&mut self, records: &[Record]) -> io::Result<()> {
        let (file, length) = rewrite(&self.path, records)?;
        self.file = Arc::new(file);
        (self.length, self.torn, self.records) = (length, false, 0);
        crate::state::sync_folder(&self.path)
    }
}

/// Waits for the disk after records were written, for several at once if it is slow.
pub(crate) async fn sync(mut written: watch::Receiver<Arc<File>>) {
    while written.changed().await.is_ok() {
        let file = written.borrow_and_update().clone();
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        if let Ok(Err(fault)) = synced {
            error!(%fault, "RB-STATE: what was spent may be lost with the machine");
        }
    }
}

/// Replaces the file whole, and keeps it open: what is appended goes to the new one.
fn rewrite(path: &Path, records: &[Record]) -> io::Result<(File, u64)> {
    let beside = path.with_extension("journal.new");
    if let Err(fault) = fs::remove_file(&beside)
        && fault.kind() != io::ErrorKind::NotFound
    {
        return Err(fault);
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
    let text: String = records.iter().map(line).collect();
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok((file, u64::try_from(text.len()).unwrap_or_default()))
}

fn line(record: &Record) -> String {
    let words = record.to_string();
    format!("{} {words}\n", checksum(words.as_bytes()))
}

fn check(line: &[u8]) -> Option<Record> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, words) = line.split_once(' ')?;
    if sum != checksum(words.as_bytes()) {
        return None;
    }
    words.parse().ok()
}

/// Guards against accidents, not against whoever may write the state folder.
fn checksum(words: &[u8]) -> String {
    hex(&sha256(words)[..8])
}

#[cfg(test)]
impl Journal {
    /// From now on its disk is full; what is handed back is its file.
    pub(crate) fn fills_up(&mut self) -> Arc<File> {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        std::mem::replace(&mut self.file, Arc::new(full))
    }

    pub(crate) fn has_room_again(&mut self, file: Arc<File>) {
        self.file = file;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: u64) -> Vec<Record> {
        (0..count).map(|seconds| Record::Ahead { seconds }).collect()
    }

    #[test]
    fn a_torn_tail_is_told_and_what_stands_before_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (mut journal, _synced) = Journal::begin(path.clone(), &records(2)).unwrap();
        journal.append(&Record::Ahead { seconds: 2 }).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 1..20 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let replay = read(&path).unwrap();
            assert_eq!((replay.records, replay.torn, replay.damaged), (records(2), true, 0));
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        Journal::begin(path.clone(), &records(3)).unwrap();
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() / 3 - 1 {
            let mut octets = whole.clone();
            octets[place] ^= 1;
            fs::write(&path, octets).unwrap();
            let replay = read(&path).unwrap();
            assert_eq!((&replay.records[..], replay.damaged), (&records(3)[1..], 1), "{place}");
        }
    }

    #[test]
    fn what_was_written_in_part_is_not_glued_to_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (mut journal, _synced) = Journal::begin(path.clone(), &records(1)).unwrap();
        (&*journal.file).write_all(b"half a rec").unwrap();
        journal.torn = true;
        journal.append(&Record::Ahead { seconds: 1 }).unwrap();
        let replay = read(&path).unwrap();
        assert_eq!((replay.records, replay.torn, replay.damaged), (records(2), false, 0));
    }

    #[test]
    fn a_journal_that_was_written_anew_is_the_one_that_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (mut journal, _synced) = Journal::begin(path.clone(), &records(9)).unwrap();
        journal.compact(&records(1)).unwrap();
        journal.append(&Record::Ahead { seconds: 1 }).unwrap();
        assert_eq!(read(&path).unwrap().records, records(2));
    }
}
