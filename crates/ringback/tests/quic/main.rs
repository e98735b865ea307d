//! Tunnels over QUIC: two ends on loopback, the real binary on loopback, and a terminal in the lab
//! whose address changes. Only with the feature `quic`.

#![cfg(feature = "quic")]
#![allow(clippy::duplicate_mod, reason = "two installations keep what they leave in one way")]

#[path = "../plane/chance.rs"]
mod chance;
#[path = "../field/mod.rs"]
mod field;
#[path = "../house/mod.rs"]
mod house;

use std::time::Duration;

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

mod attackers;
mod many;
mod moving;
mod relay;
mod stories;
mod streams;
