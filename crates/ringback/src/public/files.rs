//! How many can be served at once, by the limit on open files.
//!
//! A client that is let in may need two descriptors, its own and its tunnel's; one that is not yet,
//! and a stranger at the dial-back port, one. Some are kept for everything else.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{debug, info, warn};

use crate::limits::{
    CLIENTS, FEW_CLIENTS, FEW_INCOMPLETE, FEW_STRANGERS, INCOMPLETE, KEPT_FILES, PIPES, STRANGERS,
};

/// How many of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Clients that are held or served.
    pub(super) clients: usize,
    /// Clients that are not let in yet.
    pub(super) incomplete: usize,
    /// Strangers at the dial-back port.
    pub(super) strangers: usize,
}

impl Files {
    /// Raises the limit on open files as far as the system allows, and divides what it gives.
    /// The role's own are what it listens with and its pipes.
    pub(super) fn divide(sockets: usize) -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(fault) = setrlimit(Resource::Nofile, limit) {
            debug!(%fault, "the limit on open files stays as it is");
        }
        let files = getrlimit(Resource::Nofile).current;
        let files = files.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
        let divided = Self::of(files, sockets + 2 * PIPES);
        let Self { clients, incomplete, .. } = divided;
        if clients < FEW_CLIENTS {
            let cure = "raise the hard limit on open files (ulimit -Hn, LimitNOFILE=)";
            warn!(files, clients, incomplete, cure, "RB-FILES: there is room for few clients");
        } else {
            info!(files, clients, incomplete, "room for clients");
        }
        divided
    }

    fn of(files: usize, own: usize) -> Self {
        let files = files.saturating_sub(own);
        let free = files.saturating_sub(KEPT_FILES).max(files / 2);
        // Of few files a good part, of many a small one: who is let in needs them longer.
        let incomplete = INCOMPLETE.min((free / 4).min(FEW_INCOMPLETE).max(free / 24)).max(1);
        let strangers = STRANGERS.min((free / 8).min(FEW_STRANGERS).max(free / 48)).max(1);
        let clients = CLIENTS.min(free.saturating_sub(incomplete + strangers) / 2).max(1);
        Self { clients, incomplete, strangers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_let_in_have_a_descriptor() {
        for files in [16, 64, 256, 1_024, 4_096, 20_000, 65_536, 1_048_576, usize::MAX] {
            let Files { clients, incomplete, strangers } = Files::of(files, 0);
            assert!(2 * clients + incomplete + strangers < files, "{files}");
            assert!(1 <= clients && 1 <= incomplete && 1 <= strangers, "{files}");
        }
        let most = Files { clients: CLIENTS, incomplete: INCOMPLETE, strangers: STRANGERS };
        assert_eq!(Files::of(65_536, 2_000), most);
        // Beside a hundred raw ports and all pipes.
        assert!(9_000 <= Files::of(20_000, 106 + 2 * PIPES).clients);
        assert!(2 * Files::of(20_000, 800).clients + 800 < 20_000 - KEPT_FILES);
        assert_eq!(Files::of(1_024, 0).incomplete, 128);
    }
}
