//! The binary and its library: the roles of Ringback, knitted together here and nowhere else.

pub mod budget;
pub mod buffer;
pub mod cli;
pub mod config;
pub mod keyring;
pub mod keys;
pub mod limits;
pub mod table;
pub mod telemetry;
pub mod users;

pub mod assertion;
pub mod gate;
pub mod ingress;
pub mod ipsec;
pub mod proxy_v2;
pub mod socket;
pub mod splice;
pub mod tunnel;

pub mod connect;
pub mod demo;
pub mod doctor;
pub mod enrol;
pub mod operator;
pub mod private;
pub mod public;
pub mod responder;
pub mod ring;

pub mod prompt;
pub mod reload;

mod clock;
mod control;
mod fading;
mod journal;
mod state;
mod workers;
