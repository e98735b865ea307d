//! What is found in real mail, what is not, and that nobody's mail or server can do harm.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod chance;
mod finding;
mod hostile;
mod mailbox;
