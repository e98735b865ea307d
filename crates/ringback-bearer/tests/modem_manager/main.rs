//! The ModemManager bearer against the real daemon, on a bus and with a simulated modem of the
//! test's own.
//!
//! `cargo xtask peers` installs the daemon; without it these tests say that they were skipped, or
//! fail if `RINGBACK_PEERS=require`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../modem/brain.rs"]
#[allow(dead_code, reason = "the modem bearer's tests use the rest")]
mod brain;
mod daemon;
#[path = "../modem/simulator.rs"]
#[allow(dead_code, reason = "the modem bearer's tests use the rest")]
mod simulator;
mod stories;
