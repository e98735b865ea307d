//! The server's limits. When one is met the newest client waits, and the oldest reading is lost.

use std::time::Duration;

/// How many clients are served at once; more wait in the kernel's queue.
pub(crate) const CONNECTIONS: usize = 64;

/// How many octets a request's head may have.
pub(crate) const HEAD_OCTETS: usize = 16 * 1024;

/// How many octets a request's body may have: a reading is far smaller.
pub(crate) const BODY_OCTETS: usize = 4 * 1024;

/// How long a client may take to send a request's head, and then its body.
pub(crate) const REQUEST: Duration = Duration::from_secs(15);

/// How long requests under way may take once the server was told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many readings are kept.
pub(crate) const READINGS: usize = 200;

/// How many readings the page shows: three or four days of them.
pub(crate) const READINGS_SHOWN: usize = 24;

/// How many characters a note may have.
pub(crate) const NOTE_CHARACTERS: usize = 80;
