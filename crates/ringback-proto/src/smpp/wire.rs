//! Octets in, PDUs out, and the keep-alive: what both ends of an SMPP session share.
//!
//! A frame is cut by its length alone, checked before anything is kept. A frame that makes no sense
//! is answered with one nack and skipped; only a wrong length ends the session, because then
//! nobody knows where the next PDU starts.

use std::time::{Duration, Instant};

use thiserror::Error;

use super::pdu::{Body, HEADER_OCTETS, Malformed, Pdu, header, is_response};
use super::status::Status;
use crate::limits::SMPP_PDU_OCTETS;

/// Why an SMPP session ended.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Lost {
    /// The peer speaks another protocol.
    #[error("the peer does not speak SMPP: it said {:?}; check address and port", text(.0))]
    Foreign([u8; 4]),
    /// A length that no PDU has.
    #[error("a PDU of {0} octets: 16 to {SMPP_PDU_OCTETS} are allowed")]
    Length(u32),
    /// Nothing was heard for too long.
    #[error("the peer has fallen silent")]
    Silent,
    /// The peer unbound.
    #[error("the peer unbound")]
    Unbound,
    /// The bind was refused.
    #[error("the bind was refused: {0}; check system id and password")]
    Refused(Status),
    /// It could not take messages, and another host of the account has its turn.
    #[error("the message center has trouble: another host has its turn")]
    Troubled,
    /// We ended it.
    #[error("shut down")]
    ShutDown,
    /// The connection could not be made or broke.
    #[error("the connection broke")]
    Broken,
}

/// Cuts octets into PDUs. Any octets may come in, in any pieces; nothing panics.
#[derive(Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
    /// How many octets at the front have been cut off already.
    cut: usize,
}

/// One frame, understood or not.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed {
    /// A PDU.
    Pdu(Pdu),
    /// Well framed, not understood.
    Faulty {
        /// The frame's sequence number.
        sequence: u32,
        /// Whether the frame is a response, which nobody answers.
        response: bool,
        /// What is wrong with it.
        cause: Malformed,
    },
}

/// One end's framing, sequence numbers and keep-alive.
#[derive(Debug)]
pub(super) struct Wire {
    frames: Frames,
    output: Vec<u8>,
    sequence: u32,
    idle: Duration,
    patience: Duration,
    heard_at: Instant,
    enquired: bool,
}

impl Frames {
    /// Takes octets in.
    pub fn extend(&mut self, octets: &[u8]) {
        self.octets.drain(..self.cut);
        self.cut = 0;
        self.octets.extend_from_slice(octets);
    }

    /// Cuts the next frame off; `None` while it is not complete.
    pub fn cut(&mut self) -> Result<Option<Framed>, Lost> {
        let rest = &self.octets[self.cut..];
        let Some(length) = rest.first_chunk::<4>().copied() else { return Ok(None) };
        let count = u32::from_be_bytes(length);
        let whole = usize::try_from(count).unwrap_or(usize::MAX);
        if !(HEADER_OCTETS..=SMPP_PDU_OCTETS).contains(&whole) {
            let foreign = length.iter().all(|it| it.is_ascii_graphic() || *it == b' ');
            return Err(if foreign { Lost::Foreign(length) } else { Lost::Length(count) });
        }
        let Some((frame, _)) = rest.split_at_checked(whole) else { return Ok(None) };
        let Some((head, body)) = frame.split_first_chunk() else { return Ok(None) };

        let framed = match Pdu::decode(head, body) {
            Ok(pdu) => Framed::Pdu(pdu),
            Err(cause) => {
                let [_, command, _, sequence] = header(head);
                Framed::Faulty { sequence, response: is_response(command), cause }
            }
        };
        self.cut += whole;
        Ok(Some(framed))
    }
}

impl Wire {
    pub(super) fn new(idle: Duration, patience: Duration, now: Instant) -> Self {
        let (frames, output) = (Frames::default(), Vec::new());
        Self { frames, output, sequence: 0, idle, patience, heard_at: now, enquired: false }
    }

    pub(super) fn extend(&mut self, octets: &[u8], now: Instant) {
        self.frames.extend(octets);
        self.heard_at = now;
        self.enquired = false;
    }

    /// The next PDU that means something; keep-alives and nonsense are dealt with here.
    pub(super) fn next(&mut self) -> Result<Option<Pdu>, Lost> {
        while let Some(framed) = self.frames.cut()? {
            match framed {
                Framed::Pdu(Pdu { sequence, body: Body::EnquireLink, .. }) => {
                    self.answer(sequence, Status::OK, Body::EnquireLinkResp);
                }
                Framed::Pdu(Pdu {
                    body: Body::EnquireLinkResp | Body::AlertNotification, ..
                }) => {}
                Framed::Pdu(pdu) => return Ok(Some(pdu)),
                // A response that makes no sense leaves its request to run out of time.
                Framed::Faulty { response: true, .. } => {}
                Framed::Faulty { sequence, response: false, cause } => {
                    let status = match cause {
                        Malformed::Command(_) => Status::INVALID_COMMAND,
                        Malformed::Truncated(_) | Malformed::Long(_) => {
                            Status::INVALID_COMMAND_LENGTH
                        }
                    };
                    self.answer(sequence, status, Body::GenericNack);
                }
            }
        }
        Ok(None)
    }

    pub(super) fn request(&mut self, body: Body) -> u32 {
        self.sequence = if self.sequence < 0x7fff_ffff { self.sequence + 1 } else { 1 };
        Pdu::request(self.sequence, body).encode(&mut self.output);
        self.sequence
    }

    pub(super) fn answer(&mut self, sequence: u32, status: Status, body: Body) {
        Pdu { sequence, status, body }.encode(&mut self.output);
    }

    pub(super) fn poll_output(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// Asks whether the other end is alive when it has been idle; gives it up if it does not say.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Lost> {
        if self.enquired && self.poll_timeout() <= now {
            return Err(Lost::Silent);
        }
        if !self.enquired && self.poll_timeout() <= now {
            self.request(Body::EnquireLink);
            // Counted from now: a shell that was late to call must not cost the peer its answer.
            self.heard_at = now;
            self.enquired = true;
        }
        Ok(())
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.heard_at + if self.enquired { self.patience } else { self.idle }
    }
}

fn text(octets: &[u8; 4]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_start_again_at_one() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let mut wire = Wire::new(Duration::from_secs(20), Duration::from_secs(10), Instant::now());
        assert_eq!(wire.request(Body::EnquireLink), 1);
        wire.sequence = 0x7fff_fffe;
        assert_eq!(wire.request(Body::EnquireLink), 0x7fff_ffff);
        assert_eq!(wire.request(Body::EnquireLink), 1);
    }
}
