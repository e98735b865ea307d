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
use ringback_proto::mail::imap::Folder;
use tracing::{error, warn};

use crate::health::{Reporter, Verdict};
use crate::limits::BOOKMARK_OCTETS;

/// What the finding is called.
pub(super) const BOOKMARKS: &str = "bookmarks";

/// Bookmarks by folder; clones are the same.
#[derive(Clone)]
pub(super) struct Bookmarks {
    file: PathBuf,
    reporter: Arc<Reporter>,
    folders: Arc<Mutex<BTreeMap<Folder, Bookmark>>>,
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
        let bookmarks = Self { file, reporter, folders: Arc::new(Mutex::new(folders)) };
        if readable {
            bookmarks.write().await;
        }
        bookmarks
    }

    pub(super) fn of(&self, folder: &Folder) -> Option<Bookmark> {
        lock(&self.folders).get(folder).cloned()
    }

    /// Keeps a bookmark. Where the disk fails mails are heard once more after a restart.
    pub(super) async fn keep(&self, folder: &Folder, bookmark: &Bookmark) {
        lock(&self.folders).insert(folder.clone(), bookmark.clone());
        self.write().await;
    }

    async fn write(&self) {
        let Self { file, reporter, folders } = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            // Whoever writes last writes the newest of all, since it is locked meanwhile.
            let folders = lock(&folders);
            let line = |(folder, it): (&Folder, &Bookmark)| format!("{it} ={}\n", folder.as_str());
            let text: String = folders.iter().map(line).collect();
            replace(&file, text.as_bytes())
        });
        match writing.await.map_err(io::Error::other).flatten() {
            Ok(()) => reporter.found(BOOKMARKS, Verdict::Good, "kept"),
            Err(fault) => {
                error!(%fault, "RB-MAIL: a mailbox's bookmarks cannot be kept");
                let cure =
                    "make the state folder writable, or mails are heard again after a restart";
                reporter.found(BOOKMARKS, Verdict::Bad, format!("cannot be kept: {fault}: {cure}"));
            }
        }
    }
}

/// A folder's name may be anything: it stands behind the first `=`.
fn parse(line: &str) -> Option<(Folder, Bookmark)> {
    let (bookmark, folder) = line.split_once(" =")?;
    Some((Folder::parse(folder)?, Bookmark::parse(bookmark)?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole after every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(BOOKMARK_OCTETS).read_to_string(&mut text)?;
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
