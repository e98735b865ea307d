//! The binary and its library: the roles of Ringback, knitted together here and nowhere else.

pub mod cli;
pub mod config;
pub mod keyring;
pub mod keys;
pub mod limits;
pub mod telemetry;

pub mod ingress;
pub mod proxy_v2;
pub mod socket;
pub mod splice;
pub mod tunnel;

pub mod demo;
pub mod enrol;
pub mod operator;
pub mod private;
pub mod public;
pub mod responder;

pub mod reload;

mod clock;
mod state;
