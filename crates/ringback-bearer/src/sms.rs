//! What one SMS can carry, whichever way it goes. It makes no parts.

use ringback_proto::limits::{SMS_CHARACTERS, SMS_OCTETS};
use ringback_proto::terminal::Callee;

use crate::{Body, Failure, Message};

/// The number that a message is for, with its plus sign, if one SMS can carry the message.
pub(crate) fn check(message: &Message) -> Result<String, Failure> {
    let Callee::Number(number) = &message.to else {
        return Err(Failure::Unsendable("SMS goes to call numbers only"));
    };
    match &message.body {
        Body::Text(text) if SMS_CHARACTERS < text.len() => {
            Err(Failure::Unsendable("a text has at most 160 characters"))
        }
        Body::Text(text) if !text.bytes().all(is_invariant) => {
            Err(Failure::Unsendable("operators would change some of its characters"))
        }
        Body::Binary(octets) if SMS_OCTETS < octets.len() => {
            Err(Failure::Unsendable("a message has at most 140 octets"))
        }
        Body::Text(_) | Body::Binary(_) => Ok(format!("+{}", number.digits())),
    }
}

/// Whether a character is the same in ASCII, Latin-1 and GSM-7, and costs one septet.
fn is_invariant(octet: u8) -> bool {
    octet == b' ' || octet.is_ascii_graphic() && !b"$@[\\]^_`{|}~".contains(&octet)
}
