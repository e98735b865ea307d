//! What a message holds once its wrapping is off: the user data header and UCS-2.
//!
//! Octets out, whatever the operator made of them on the way; it does not look for a signal.

use super::pdu::Message;

const USER_DATA_HEADER: u8 = 0x40;
const UCS2: u8 = 8;

/// The octets of a message, without a user data header; UCS-2 comes as UTF-8.
///
/// `None` if the header is longer than the message.
pub fn unwrap(message: &Message) -> Option<Vec<u8>> {
    let mut octets = message.content.as_slice();
    if message.esm_class & USER_DATA_HEADER != 0 {
        let (length, rest) = octets.split_first()?;
        octets = rest.get(usize::from(*length)..)?;
    }
    if message.data_coding != UCS2 {
        return Some(octets.to_vec());
    }
    let (units, _) = octets.as_chunks::<2>();
    let units = units.iter().map(|it| u16::from_be_bytes(*it));
    let text: String =
        char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Some(text.into_bytes())
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
        assert_eq!(unwrap(&message(0x40, 4, b"")), None);
        assert_eq!(unwrap(&message(0x40, 4, b"\x03ab")), None);
    }

    #[test]
    fn ucs2_comes_as_utf8_and_never_panics() {
        assert_eq!(unwrap(&message(0, 8, b"\0R\0B\x20\xac")).unwrap(), "RB€".as_bytes());
        assert_eq!(unwrap(&message(0, 8, b"\xd8\x00\0R\0")).unwrap(), "\u{fffd}R".as_bytes());
    }
}
