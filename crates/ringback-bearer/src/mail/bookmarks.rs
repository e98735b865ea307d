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

use crate::limits::BOOKMARK_OCTETS;

/// Bookmarks by what a folder is known by; clones are the same.
#[derive(Clone)]
pub(super) struct Bookmarks {
    file: PathBuf,
    folders: Arc<Mutex<BTreeMap<String, Bookmark>>>,
}

impl Bookmarks {
    pub(super) async fn open(file: PathBuf) -> Self {
        let reading = file.clone();
        let text = tokio::task::spawn_blocking(move || read(&reading)).await;
        let folders = match text.map_err(io::Error::other).flatten() {
            Ok(text) => text.lines().filter_map(parse).collect(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(fault) => {
                warn!(%fault, file = %file.display(), "a mailbox's bookmarks cannot be read");
                BTreeMap::new()
            }
        };
        Self { file, folders: Arc::new(Mutex::new(folders)) }
    }

    pub(super) fn of(&self, key: &str) -> Option<Bookmark> {
        lock(&self.folders).get(key).cloned()
    }

    /// Keeps a bookmark. Where the disk fails mails are heard once more after a restart.
    pub(super) async fn keep(&self, key: &str, bookmark: &Bookmark) {
        lock(&self.folders).insert(key.to_owned(), bookmark.clone());
        let Self { file, folders } = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            // Whoever writes last writes the newest of all, since it is locked meanwhile.
            let folders = lock(&folders);
            let line = |(key, it): (&String, &Bookmark)| format!("{it} ={key}\n");
            let text: String = folders.iter().map(line).collect();
            replace(&file, text.as_bytes())
        });
        if let Err(fault) = writing.await.map_err(io::Error::other).flatten() {
            error!(%fault, "RB-MAIL: a mailbox's bookmarks cannot be kept");
        }
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
