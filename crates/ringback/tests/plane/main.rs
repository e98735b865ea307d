//! The data plane over real sockets: tunnels, splices, and both cut in every way.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod bare;
mod chance;
mod cuts;
mod descriptors;
mod frames;
mod loopback;
mod splice;
mod tunnel;
