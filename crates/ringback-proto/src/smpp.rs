//! SMPP 3.4 without a socket: the PDUs, and the machines of both ends of a session.
//!
//! Boundary before meaning: [`wire`] cuts frames by their length alone, so that one bad PDU costs
//! one nack and not the session. [`link`] is our end, an ESME's; [`center`] is the message
//! centre's, for the simulated operator. Nothing here knows what a message says.

pub mod center;
pub mod content;
mod hosts;
pub mod link;
mod pace;
pub mod pdu;
pub mod receipt;
pub mod status;
pub mod text;
pub mod validity;
pub mod wire;
