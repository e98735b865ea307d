//! The GSM 7-bit default alphabet with its extension table (3GPP TS 23.038, 6.1.2 and 6.2.1).

/// The alphabet, by code. The escape stands where it belongs, for itself.
const ALPHABET: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', //
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\u{1b}', 'Æ', 'æ', 'ß', 'É', //
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/', //
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', //
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', //
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§', //
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', //
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// What a code means behind an escape.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

const ESCAPE: u8 = 0x1b;

/// The septets of a text, or `None` if the alphabet lacks one of its characters.
pub(super) fn encode(text: &str) -> Option<Vec<u8>> {
    let mut septets = Vec::with_capacity(text.len());
    for character in text.chars() {
        if let Some((code, _)) = EXTENSION.iter().find(|(_, it)| *it == character) {
            septets.extend([ESCAPE, *code]);
            continue;
        }
        let code = ALPHABET.iter().position(|it| *it == character)?;
        septets.push(u8::try_from(code).ok().filter(|it| *it != ESCAPE)?);
    }
    Some(septets)
}

/// The text of septets. What the extension table lacks is read by the alphabet, as the
/// specification asks; an escape of nothing is a space.
pub(super) fn decode(septets: &[u8]) -> String {
    let mut text = String::with_capacity(septets.len());
    let mut septets = septets.iter().map(|it| it & 0x7f);
    while let Some(septet) = septets.next() {
        if septet != ESCAPE {
            text.push(ALPHABET[usize::from(septet)]);
            continue;
        }
        let escaped = septets.next().unwrap_or(ESCAPE);
        let extension = EXTENSION.iter().find(|(code, _)| *code == escaped);
        text.push(match extension {
            Some((_, character)) => *character,
            None if escaped == ESCAPE => ' ',
            None => ALPHABET[usize::from(escaped)],
        });
    }
    text
}

/// Packs septets behind `header`, whose octets they follow at the next septet's boundary.
///
/// Gives the octets, and how many septets they are, those of the header included.
pub(super) fn pack(header: &[u8], septets: &[u8]) -> (Vec<u8>, usize) {
    let skipped = (header.len() * 8).div_ceil(7);
    let count = skipped + septets.len();
    let mut octets = vec![0; (count * 7).div_ceil(8)];
    octets[..header.len()].copy_from_slice(header);
    for (index, septet) in septets.iter().enumerate() {
        let bit = (skipped + index) * 7;
        let (octet, shift) = (bit / 8, bit % 8);
        octets[octet] |= septet << shift;
        if 1 < shift {
            octets[octet + 1] |= septet >> (8 - shift);
        }
    }
    (octets, count)
}

/// Unpacks the septets from number `skipped` to before number `count`; `octets` must hold them.
pub(super) fn unpack(octets: &[u8], skipped: usize, count: usize) -> Vec<u8> {
    let septet = |index: usize| {
        let (octet, shift) = (index * 7 / 8, index * 7 % 8);
        let next = octets.get(octet + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([octets[octet], next]);
        (pair >> shift) as u8 & 0x7f
    };
    (skipped..count).map(septet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_alphabet_comes_back() {
        let extension = EXTENSION.iter().map(|(_, it)| *it);
        let all: String =
            ALPHABET.into_iter().filter(|it| *it != '\u{1b}').chain(extension).collect();
        let septets = encode(&all).unwrap();
        assert_eq!(septets.len(), 127 + 2 * 10);
        assert_eq!(decode(&septets), all);
        assert_eq!((encode("ç"), encode("\u{1b}")), (None, None));
    }

    #[test]
    fn septets_come_back_behind_any_header() {
        let septets: Vec<u8> = (0..128).collect();
        for header in 0..20 {
            for length in 0..septets.len() {
                let (octets, count) = pack(&vec![0xff; header], &septets[..length]);
                let skipped = count - length;
                assert_eq!(unpack(&octets, skipped, count), septets[..length]);
                assert!(octets[..header].iter().all(|it| *it == 0xff));
            }
        }
        assert_eq!(
            pack(&[], &encode("hellohello").unwrap()).0,
            *b"\xe8\x32\x9b\xfd\x46\x97\xd9\xec\x37"
        );
    }

    #[test]
    fn an_escape_of_nothing_is_a_space_and_of_the_unknown_the_alphabets() {
        assert_eq!(decode(&[0x41, ESCAPE]), "A ");
        assert_eq!(decode(&[ESCAPE, ESCAPE, 0x41]), " A");
        assert_eq!(decode(&[ESCAPE, 0x41]), "A");
    }
}
