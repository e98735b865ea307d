//! A session's octets on their way through a tunnel: in frames, so that their end is one that was said.
//!
//! The format is normative in `docs/protocol.md`. Codecs only: a frame's octets never come in here.

use thiserror::Error;

use crate::limits::SESSION_FRAME_OCTETS;

/// Octets before a frame's own: their number.
pub const HEAD_OCTETS: usize = 4;
/// Octets of what is said, in the tunnel's TLS, after a direction that was not encrypted by it.
pub const ENDED_OCTETS: usize = 3 + 8;

/// The head of the frame that ends a direction.
pub const END: [u8; HEAD_OCTETS] = [0; HEAD_OCTETS];

const ENDED_HEAD: [u8; 3] = [0x08, 0, 8];

/// Why octets are no frame of a session. The tunnel is cut.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadFrame {
    /// Longer than any frame may be.
    #[error("a frame of {0} octets")]
    Long(u32),
    /// No word on a direction's end.
    #[error("not the end that was to be told")]
    NotEnded,
}

/// What a frame begins with; `octets` are at most [`SESSION_FRAME_OCTETS`], and 0 ends the direction.
pub fn head(octets: usize) -> [u8; HEAD_OCTETS] {
    debug_assert!(octets <= SESSION_FRAME_OCTETS, "a frame that nobody would take");
    (octets as u32).to_be_bytes()
}

/// How many octets follow; 0 is the end of the direction.
pub fn follow(head: [u8; HEAD_OCTETS]) -> Result<usize, BadFrame> {
    let octets = u32::from_be_bytes(head);
    if SESSION_FRAME_OCTETS < octets as usize {
        return Err(BadFrame::Long(octets));
    }
    Ok(octets as usize)
}

/// What is said of a direction that was not encrypted by the tunnel: how many octets it had.
pub fn ended(octets: u64) -> [u8; ENDED_OCTETS] {
    let mut said = [0; ENDED_OCTETS];
    said[..3].copy_from_slice(&ENDED_HEAD);
    said[3..].copy_from_slice(&octets.to_be_bytes());
    said
}

/// Reads what is said of such a direction.
pub fn decode_ended(said: &[u8; ENDED_OCTETS]) -> Result<u64, BadFrame> {
    let Some((&ENDED_HEAD, octets)) = said.split_first_chunk::<3>() else {
        return Err(BadFrame::NotEnded);
    };
    Ok(octets.iter().fold(0, |sum, it| sum << 8 | u64::from(*it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_up_to_the_limit() {
        for octets in [0, 1, 255, 256, 65_536, SESSION_FRAME_OCTETS] {
            assert_eq!(follow(head(octets)), Ok(octets));
        }
        let long = SESSION_FRAME_OCTETS as u32 + 1;
        assert_eq!(follow(long.to_be_bytes()), Err(BadFrame::Long(long)));
    }

    #[test]
    fn what_tls_says_is_never_a_head() {
        // A record where frames are expected cuts the tunnel: its kind is 20 to 23.
        for kind in 20..=23 {
            assert!(follow([kind, 3, 3, 0]).is_err());
        }
    }

    #[test]
    fn an_end_is_read_as_it_was_written_and_nothing_else_is_one() {
        for octets in [0, 7, u64::MAX] {
            assert_eq!(decode_ended(&ended(octets)), Ok(octets));
        }
        let mut said = ended(7);
        said[0] = 0x07;
        assert_eq!(decode_ended(&said), Err(BadFrame::NotEnded));
    }
}
