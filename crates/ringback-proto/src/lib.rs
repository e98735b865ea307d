//! The machines and codecs of Ringback.
//!
//! Pure: nothing here owns a socket, reads a clock or draws randomness. Time, chance and the
//! network are arguments; what must be done comes back as a command. The modules stand in reading
//! order: what is spoken of, what is rung, who decides, what answers, and the foreign formats.

pub mod limits;
pub mod network;
pub mod secret;
pub mod terminal;

pub mod access_request;
pub mod freshness;

pub mod budget;
pub mod dialer;
pub mod gate;
pub mod refusal;
pub mod switchboard;

pub mod door;
pub mod enrolment;
pub mod frame;
pub mod hello;
pub mod ipsec;

pub mod dns;
pub mod mail;
pub mod modem;
pub mod nat64;
pub mod smpp;
pub mod sms_api;
pub mod vici;
