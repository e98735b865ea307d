//! Transfer encodings (RFC 2045, 6): base64 and quoted-printable.
//!
//! Lenient, as gateways are careless: what belongs to no encoding is passed over or left as it is,
//! and a cut is an end like any other.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes base64, with padding and without line ends.
pub(super) fn to_base64(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for three in octets.chunks(3) {
        let padded = three.iter().chain([0; 2].iter()).take(3);
        let bits = padded.fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        let sextets = [18, 12, 6, 0].map(|shift| char::from(ALPHABET[bits >> shift & 0x3f]));
        text.extend(&sextets[..=three.len()]);
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}

/// Reads base64 until there are `limit` octets; padding may stand anywhere.
pub(super) fn from_base64(text: &[u8], limit: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for &character in text {
        if octets.len() == limit {
            break;
        }
        if character == b'=' {
            (bits, count) = (0, 0);
        }
        let Some(value) = value(character) else { continue };
        bits = bits << 6 | value;
        count += 6;
        if 8 <= count {
            count -= 8;
            octets.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    octets
}

/// Reads quoted-printable until there are `limit` octets; an `=` before anything else stays.
pub(super) fn from_quoted_printable(text: &[u8], limit: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while octets.len() < limit {
        rest = match rest {
            [] => break,
            [b'=', b'\r', b'\n', after @ ..] | [b'=', b'\n', after @ ..] => after,
            [b'=', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                octets.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                after
            }
            [octet, after @ ..] => {
                octets.push(*octet);
                after
            }
        };
    }
    octets
}

fn value(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

fn hex(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, 10.
    const VECTORS: [(&str, &str); 7] = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];

    #[test]
    fn base64_is_as_the_specification_has_it() {
        for (octets, text) in VECTORS {
            assert_eq!(to_base64(octets.as_bytes()), text);
            assert_eq!(from_base64(text.as_bytes(), 100), octets.as_bytes());
        }
    }

    #[test]
    fn base64_may_be_broken_padded_in_the_middle_and_cut() {
        assert_eq!(from_base64(b"Zm\r\n9v Zg==\r\nYmFy", 100), b"foofbar");
        assert_eq!(from_base64(b"Zm9vYmF", 100), b"fooba");
        assert_eq!(from_base64(b"Zm9vYmFy", 4), b"foob");
    }

    #[test]
    fn quoted_printable_may_be_broken_and_wrong_and_cut() {
        assert_eq!(from_quoted_printable(b"a=3D=\r\nb=\nc=2a=ZZ=4", 100), b"a=bc*=ZZ=4");
        assert_eq!(from_quoted_printable(b"abc=", 100), b"abc=");
        assert_eq!(from_quoted_printable(b"=41=42=43", 2), b"AB");
    }
}
