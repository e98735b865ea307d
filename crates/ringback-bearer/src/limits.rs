//! Every bound of the bearers. When one is met, its line says who loses.

use std::time::Duration;

/// Messages a transmitter takes that its bearer has not looked at yet; the newest is refused.
pub const ORDERS: usize = 64;
/// Messages heard that nobody has taken yet; the operator keeps the next ones.
pub const HEARD: usize = 64;
/// Steps of one message's story; nothing is ever lost of it.
pub const PROGRESS: usize = 4;
/// Messages whose receipt is awaited; the oldest is no longer told of its own.
pub const RECEIPTS: usize = 1024;
/// How long a connection may take, TLS included; then it is tried again later.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last octets may take before a connection is closed; then they are lost.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
/// Octets to an operator that does not read; nothing more is read from it until they have gone.
pub const UNWRITTEN_OCTETS: usize = 64 * 1024;

// Modems.

/// Octets to a modem that does not read; nothing more is read from it until they have gone.
pub const UNWRITTEN_TO_MODEM: usize = 4096;
