//! How each folder of a mailbox stands: one finding of them all.
//!
//! It names folders and what a server said; neither users nor mails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ringback_proto::mail::imap::Folder;

use crate::health::{Reporter, Verdict};

/// What the finding is called.
pub(super) const MAILBOX: &str = "mailbox";

/// The folders' standings; clones are the same.
#[derive(Clone)]
pub(super) struct Standings {
    reporter: Arc<Reporter>,
    folders: Arc<Mutex<BTreeMap<Folder, (Verdict, String)>>>,
}

impl Standings {
    /// Nothing is known yet of any of the folders.
    pub(super) fn new(reporter: Arc<Reporter>, folders: impl Iterator<Item = Folder>) -> Self {
        let unknown = || (Verdict::Pending, "not known yet".to_owned());
        let folders = folders.map(|it| (it, unknown())).collect();
        Self { reporter, folders: Arc::new(Mutex::new(folders)) }
    }

    /// Notes how a folder stands, and tells of all.
    pub(super) fn found(&self, folder: &Folder, verdict: Verdict, text: String) {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.insert(folder.clone(), (verdict, text));
        // While one is not known, whoever waits to know all still waits.
        let worst = [Verdict::Pending, Verdict::Bad, Verdict::Doubtful]
            .into_iter()
            .find(|worst| folders.values().any(|(verdict, _)| verdict == worst));
        let line = |(folder, (_, text)): (&Folder, &(Verdict, String))| {
            format!("{}: {text}", folder.as_str())
        };
        let lines: Vec<String> = folders.iter().map(line).collect();
        self.reporter.found(MAILBOX, worst.unwrap_or(Verdict::Good), lines.join("; "));
    }
}

#[test]
fn the_worst_folder_is_the_verdict_once_all_are_known() {
    let (reporter, health) = Reporter::new(&[MAILBOX]);
    let names = ["A", "B"].map(|it| Folder::parse(it).expect("a name"));
    let standings = Standings::new(Arc::new(reporter), names.iter().cloned());
    for first in [Verdict::Bad, Verdict::Good] {
        standings.found(&names[0], first, "well".to_owned());
        assert_eq!(health.findings()[0].verdict, Verdict::Pending);
    }
    standings.found(&names[1], Verdict::Doubtful, "so so".to_owned());
    let finding = &health.findings()[0];
    assert_eq!((finding.verdict, finding.text.as_str()), (Verdict::Doubtful, "A: well; B: so so"));
    standings.found(&names[0], Verdict::Bad, "gone".to_owned());
    assert_eq!(health.findings()[0].verdict, Verdict::Bad);
}
