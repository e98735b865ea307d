//! A cellular modem without a serial port: its messages, its answers, and the dialog with it.
//!
//! [`tpdu`] reads and writes messages as 3GPP TS 23.040 has them, [`answer`] reads a modem's lines,
//! [`at`] is the machine that conducts the dialog (3GPP TS 27.005 and 27.007, PDU mode). Nothing
//! here knows what a message says.

pub mod answer;
pub mod at;
pub mod code;
pub mod lines;
pub mod pin;
pub mod tpdu;
