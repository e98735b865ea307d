//! What a message holds once its wrapping is off: the user data header and UCS-2.
//!
//! Octets out, whatever the operator made of them on the way; it does not look for a signal. It puts
//! no parts together: what we send is never sent in parts.

use super::pdu::Message;

const USER_DATA_HEADER: u8 = 0x40;
const UCS2: u8 = 8;

/// Information elements of a header that say which part of a message it is: with a reference of one
/// octet, or of two.
const CONCATENATED: [u8; 2] = [0x00, 0x08];

/// Why a message is of no use to anybody here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its header is longer than it is.
    Malformed,
    /// It is one part of a longer message, and nothing of ours is.
    Part,
}

/// The octets of a message, without a user data header; UCS-2 comes as UTF-8.
pub fn unwrap(message: &Message) -> Result<Vec<u8>, Unusable> {
    let mut octets = message.content.as_slice();
    if message.esm_class & USER_DATA_HEADER != 0 {
        let (length, rest) = octets.split_first().ok_or(Unusable::Malformed)?;
        let header = rest.split_at_checked(usize::from(*length)).ok_or(Unusable::Malformed)?;
        if is_part(header.0) {
            return Err(Unusable::Part);
        }
        octets = header.1;
    }
    if message.data_coding != UCS2 {
        return Ok(octets.to_vec());
    }
    let (units, _) = octets.as_chunks::<2>();
    let units = units.iter().map(|it| u16::from_be_bytes(*it));
    let text: String =
        char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Ok(text.into_bytes())
}

/// Whether a header says that there are other parts. Some operators number an only part too.
fn is_part(mut header: &[u8]) -> bool {
    while let [element, length, rest @ ..] = header {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { return false };
        if CONCATENATED.contains(element) && !matches!(value, [.., 1, 1]) {
            return true;
        }
        header = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(esm_class: u8, data_coding: u8, content: &[u8]) -> Message {
        Message { esm_class, data_coding, content: content.to_vec(), ..Message::default() }
    }

    #[test]
    fn octets_come_out_as_they_went_in_whatever_the_data_coding() {
        for data_coding in [0, 1, 2, 3, 4, 0xf4, 0xf5, 0xf6, 0xf7] {
            assert_eq!(unwrap(&message(0, data_coding, b"RB\xff")).unwrap(), b"RB\xff");
        }
    }

    #[test]
    fn a_user_data_header_is_taken_off() {
        let ported = b"\x06\x05\x04\x1f\x90\x1f\x90RB";
        assert_eq!(unwrap(&message(0x40, 4, ported)).unwrap(), b"RB");
        assert_eq!(unwrap(&message(0x00, 4, ported)).unwrap(), ported);
    }

    #[test]
    fn a_header_longer_than_its_message_is_no_message() {
        assert_eq!(unwrap(&message(0x40, 4, b"")), Err(Unusable::Malformed));
        assert_eq!(unwrap(&message(0x40, 4, b"\x03ab")), Err(Unusable::Malformed));
    }

    #[test]
    fn a_part_of_a_longer_message_is_of_no_use_and_an_only_part_is() {
        for part in [&b"\x05\x00\x03\x07\x02\x01RB"[..], b"\x06\x08\x04\x07\x07\x03\x02RB"] {
            assert_eq!(unwrap(&message(0x40, 4, part)), Err(Unusable::Part));
        }
        let ported = b"\x0b\x05\x04\x1f\x90\x1f\x90\x00\x03\x07\x02\x02RB";
        assert_eq!(unwrap(&message(0x40, 4, ported)), Err(Unusable::Part));
        assert_eq!(unwrap(&message(0x40, 4, b"\x05\x00\x03\x07\x01\x01RB")).unwrap(), b"RB");
        // A header that makes no sense within is taken off all the same.
        assert_eq!(unwrap(&message(0x40, 4, b"\x03\x05\x09\x1fRB")).unwrap(), b"RB");
    }

    #[test]
    fn ucs2_comes_as_utf8_and_never_panics() {
        assert_eq!(unwrap(&message(0, 8, b"\0R\0B\x20\xac")).unwrap(), "RB€".as_bytes());
        assert_eq!(unwrap(&message(0, 8, b"\xd8\x00\0R\0")).unwrap(), "\u{fffd}R".as_bytes());
    }
}
