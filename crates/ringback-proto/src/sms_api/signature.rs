//! What a provider has signed when it posts. The key and the computation stay with the caller.

use super::post::Fields;
use super::template::from_hex;

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Hex digits, perhaps behind `sha256=`.
    Hex,
    /// Base64.
    Base64,
}

/// What Twilio signs: the public URL as it called it, then every field's name and value, sorted.
pub fn twilio_text(public_url: &str, fields: &Fields) -> Vec<u8> {
    let mut text = public_url.as_bytes().to_vec();
    let Fields::Form(fields) = fields else { return text };
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    // Twilio signs a name that comes twice with the same value only once.
    sorted.dedup();
    for (name, value) in sorted {
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    }
    text
}

/// What is signed with a timestamp: the timestamp, a full stop, the body.
pub fn stamped_text(timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    [timestamp, b".", body].concat()
}

/// Whether a timestamp in Unix seconds is at most this far from now, either way.
pub fn is_recent(timestamp: &[u8], unix_seconds: u64, tolerance_seconds: u64) -> bool {
    let stamp = std::str::from_utf8(timestamp).ok().and_then(|it| it.trim().parse::<u64>().ok());
    stamp.is_some_and(|it| it.abs_diff(unix_seconds) <= tolerance_seconds)
}

/// The octets of a signature in hex.
pub fn of_hex(text: &[u8]) -> Option<Vec<u8>> {
    from_hex(text.strip_prefix(b"sha256=").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation ("Validating requests").
    #[test]
    fn twilio_s_own_example_is_signed_over_the_sorted_fields() {
        let form = "CallSid=CA1234567890ABCDE&To=%2B18005551212&From=%2B14158675310&\
                    Digits=1234&Caller=%2B14158675310";
        let fields = Fields::of_form(form.as_bytes()).unwrap();
        let text = twilio_text("https://mycompany.com/myapp.php?foo=1&bar=2", &fields);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "https://mycompany.com/myapp.php?foo=1&bar=2CallSidCA1234567890ABCDE\
             Caller+14158675310Digits1234From+14158675310To+18005551212"
        );
    }

    #[test]
    fn a_timestamp_is_good_for_a_while_and_no_longer() {
        assert!(is_recent(b"1000", 1300, 300) && is_recent(b"1300", 1000, 300));
        for stamp in [&b"999"[..], b"1601", b"", b"-1300", b"1e3", b"99999999999999999999"] {
            assert!(!is_recent(stamp, 1300, 300), "{stamp:?}");
        }
    }

    #[test]
    fn a_signature_in_hex_may_name_its_kind() {
        assert_eq!(of_hex(b"sha256=00ff"), Some(vec![0, 255]));
        assert_eq!(of_hex(b"00FF"), Some(vec![0, 255]));
        assert_eq!(of_hex(b"sha1=00"), None);
    }
}
