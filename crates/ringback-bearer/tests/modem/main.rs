//! The modem bearer against a simulated modem on a pseudo-terminal, and that modem against a
//! foreign program.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod brain;
mod foreign;
#[allow(dead_code, reason = "who tests ModemManager uses the rest")]
mod simulator;
mod stories;
