//! The file that remembers what has been heard of each folder: a line each.
//!
//! It is replaced whole: written beside, synced, renamed. If it is lost or damaged, mails that are
//! marked as read count as heard and the others are heard once more; nothing is lost.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringback_proto::mail::bookmark::Bookmark;
use tracing::{error, warn};

use crate::health::{Reporter, Verdict};
use crate::limits::BOOKMARK_OCTETS;

/// What the finding is called.
pub(super) const BOOKMARKS: &str = "bookmarks";

/// Bookmarks by what a folder is known by; clones are the same.
#[derive(Clone)]
pub(super) struct Bookmarks {
    file: PathBuf,
    reporter: Arc<Reporter>,
    folders: Arc<Mutex<BTreeMap<String, Bookmark>>>,
    /// Held by who writes the file, which may take long: never where others run.
    writing: Arc<Mutex<()>>,
}

impl Bookmarks {
    /// Reads the file, and writes it again at once: whether it can be kept is better known early.
    pub(super) async fn open(file: PathBuf, reporter: Arc<Reporter>) -> Self {
        let reading = file.clone();
        let text = tokio::task::spawn_blocking(move || read(&reading)).await;
        let (folders, readable) = match text.map_err(io::Error::other).flatten() {
            Ok(text) => (text.lines().filter_map(parse).collect(), true),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), true),
            Err(fault) => {
                warn!(%fault, file = %file.display(), "a mailbox's bookmarks cannot be read");
                reporter.found(BOOKMARKS, Verdict::Bad, format!("cannot be read: {fault}"));
                (BTreeMap::new(), false)
            }
        };
        let folders = Arc::new(Mutex::new(folders));
        let bookmarks = Self { file, reporter, folders, writing: Arc::default() };
        if readable {
            // Whoever reads the findings hears of a fault; nothing is to be marked yet.
            let _ = bookmarks.write().await;
        }
        bookmarks
    }

    pub(super) fn of(&self, key: &str) -> Option<Bookmark> {
        lock(&self.folders).get(key).cloned()
    }

    /// Keeps a bookmark. Until that succeeds a restart forgets it.
    pub(super) async fn keep(&self, key: &str, bookmark: &Bookmark) -> io::Result<()> {
        lock(&self.folders).insert(key.to_owned(), bookmark.clone());
        self.write().await
    }

    async fn write(&self) -> io::Result<()> {
        let Self { file, folders, writing, .. } = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            // Whoever writes last writes the newest of all.
            let _writing = lock(&writing);
            let line = |(key, it): (&String, &Bookmark)| format!("{it} ={key}\n");
            let text: String = lock(&folders).iter().map(line).collect();
            replace(&file, text.as_bytes())
        });
        let kept = kept.await.map_err(io::Error::other).flatten();
        match &kept {
            Ok(()) => self.reporter.found(BOOKMARKS, Verdict::Good, "kept"),
            Err(fault) => {
                error!(%fault, "RB-MAIL: a mailbox's bookmarks cannot be kept");
                let cure =
                    "make the state folder writable, or mails are heard again after a restart";
                let text = format!("cannot be kept: {fault}: {cure}");
                self.reporter.found(BOOKMARKS, Verdict::Bad, text);
            }
        }
        kept
    }
}

/// A name may be anything: it stands behind the first `=`.
fn parse(line: &str) -> Option<(String, Bookmark)> {
    let (bookmark, key) = line.split_once(" =")?;
    Some((key.to_owned(), Bookmark::parse(bookmark)?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole after every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(BOOKMARK_OCTETS + 1).read_to_string(&mut text)?;
    if BOOKMARK_OCTETS < text.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(text)
}

fn replace(file: &Path, octets: &[u8]) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    let mut new = options.create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(octets)?;
    new.sync_all()?;
    std::fs::rename(&beside, file)?;
    match file.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    async fn open(file: PathBuf) -> Bookmarks {
        let (reporter, _) = Reporter::new(&[BOOKMARKS]);
        Bookmarks::open(file, Arc::new(reporter)).await
    }

    #[tokio::test]
    async fn a_slow_disk_keeps_nobody_from_looking() {
        let folder = tempfile::TempDir::new().unwrap();
        let bookmarks = open(folder.path().join("bookmarks")).await;
        // From now on writing begins only when somebody reads.
        let beside = folder.path().join("bookmarks.new");
        assert!(Command::new("mkfifo").arg(&beside).status().unwrap().success());
        let (writer, bookmark) = (bookmarks.clone(), Bookmark::new(7, 40));
        let mut keeping = tokio::task::JoinSet::new();
        keeping.spawn(async move { writer.keep("a", &Bookmark::new(7, 40)).await });
        while bookmarks.writing.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bookmarks.of("a"), Some(bookmark), "while it is written");
        let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(beside));
        assert_eq!(text.await.unwrap().unwrap(), "7 40 40 1:40 =a\n");
        let kept = keeping.join_next().await.unwrap().unwrap();
        assert!(kept.is_err(), "what cannot be synced is not kept");
    }

    #[tokio::test]
    async fn of_a_file_that_is_too_long_nothing_is_believed() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("bookmarks");
        let line = "7 40 40 =a\n";
        let lines = usize::try_from(BOOKMARK_OCTETS).unwrap() / line.len();
        for (lines, believed) in [(lines, true), (lines + 1, false)] {
            std::fs::write(&file, line.repeat(lines)).unwrap();
            let bookmarks = open(file.clone()).await;
            assert_eq!(bookmarks.of("a").is_some(), believed, "{lines} lines");
        }
    }
}
