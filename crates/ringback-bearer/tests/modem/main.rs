//! The modem bearer against a simulated modem on a pseudo-terminal, and that modem against a
//! foreign program.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod brain;
mod foreign;
mod simulator;
mod stories;
