//! The control socket: what a running role is asked by its own operator's commands.
//!
//! One JSON object a line each way, over a Unix socket in the role's state folder. Only the user that
//! the role runs as, and root, is listened to. Nothing of the role can be changed by it, and no secret
//! ever passes.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use ringback_bearer::{Health, Verdict};
use ringback_proto::refusal::Refusal;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::table::Tone;

pub(crate) mod client;
pub(crate) mod server;

/// What a role can be asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    /// How its bearers fare.
    Health,
    /// To ring a terminal once, by exactly one route.
    Ring {
        /// The terminal's name.
        terminal: String,
        /// The route's place from 1, or its bearer's name; the first if there is none.
        route: Option<String>,
        /// The service's id; the first if there is none.
        service: Option<u16>,
    },
}

/// What a role replies: one word on its bearers, or the stages of a ring.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Said {
    /// What its bearers have found.
    Health {
        /// All of it, bearer by bearer.
        findings: Vec<Found>,
    },
    /// A signal was charged, sealed and handed to its bearer.
    Rung {
        /// The bearer's name.
        route: String,
        /// The route's place in the ladder, from 1.
        place: usize,
        /// How many routes there are.
        of: usize,
        /// Which service is asked for.
        service: u16,
        /// What it costs.
        cost: String,
        /// How long a dial-back is waited for.
        patience_seconds: u64,
    },
    /// The operator has it.
    Submitted {
        /// The operator's name for it.
        message_id: String,
    },
    /// The operator may have it: no answer came.
    Unconfirmed,
    /// The operator says that it arrived.
    Delivered,
    /// The operator says that it did not arrive.
    Undelivered,
    /// The private proxy has dialed back.
    Answered {
        /// How long after the ring.
        seconds: f64,
    },
    /// The private proxy reaches the service: all is well.
    Reachable,
    /// The private proxy connects to the service only once it knows who calls: all is well so far.
    Guarded,
    /// It came to nothing.
    Failed(Failed),
}

/// Why something came to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// Its stable name.
    pub(crate) code: String,
    /// What happened.
    pub(crate) title: String,
    /// What to do.
    pub(crate) detail: String,
    /// After how many seconds it makes sense to try again.
    pub(crate) retry_after: Option<u64>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Whose it is: a bearer's name.
    pub(crate) of: String,
    /// What was looked at.
    pub(crate) what: String,
    /// How that is.
    pub(crate) tone: Tone,
    /// What was found.
    pub(crate) text: String,
}

/// Proof that who asks is the user that the role runs as, or root. Only the socket's own word makes one;
/// a ring that no client has caused needs it.
#[derive(Debug)]
pub(crate) struct Owner(());

impl Owner {
    fn of(stream: &UnixStream) -> io::Result<Option<Self>> {
        let peer = stream.peer_cred()?.uid();
        let ours = rustix::process::geteuid().as_raw();
        Ok((peer == ours || peer == 0).then_some(Self(())))
    }
}

impl Said {
    /// Whether nothing follows.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Health { .. } | Self::Reachable | Self::Guarded | Self::Failed(_) => true,
            Self::Rung { .. }
            | Self::Submitted { .. }
            | Self::Unconfirmed
            | Self::Delivered
            | Self::Undelivered
            | Self::Answered { .. } => false,
        }
    }
}

impl Failed {
    /// Something that only operators are told.
    pub(crate) fn new(code: &str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        let (title, detail) = (title.into(), detail.into());
        Self { code: code.to_owned(), title, detail, retry_after: None }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.code, self.title, self.detail)?;
        self.retry_after.map_or(Ok(()), |it| write!(f, " (again in {it} s)"))
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self {
            retry_after: refusal.retry_after().map(|it| it.as_secs()),
            ..Self::new(refusal.code(), refusal.sentence(), refusal.cure())
        }
    }
}

impl From<Failed> for Said {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Found {
    /// What a bearer has found so far; at least that it tells nothing.
    pub(crate) fn of(bearer: &str, health: &Health) -> Vec<Self> {
        let found = health.findings().into_iter().map(|it| Self {
            of: bearer.to_owned(),
            what: it.what.to_owned(),
            tone: match it.verdict {
                Verdict::Good => Tone::Good,
                Verdict::Pending | Verdict::Doubtful => Tone::Doubtful,
                Verdict::Bad => Tone::Bad,
            },
            text: it.text,
        });
        let found: Vec<Self> = found.collect();
        if !found.is_empty() {
            return found;
        }
        let (of, what) = (bearer.to_owned(), "bearer".to_owned());
        vec![Self { of, what, tone: Tone::Doubtful, text: "tells nothing of itself".to_owned() }]
    }
}

/// Where the socket of a state folder is. Its own path may be longer than a socket's may be (108
/// octets), so it is named by the folder's descriptor, which must stay open as long as the name is used.
fn place(state: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(state)?;
    let place = format!("/proc/self/fd/{}/control", folder.as_raw_fd());
    Ok((folder, place.into()))
}
