//! What mail servers answer, in any pieces, and a file of bookmarks that somebody has edited.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback_proto::mail::bookmark::Bookmark;
use ringback_proto::mail::imap::Responses;
use ringback_proto::mail::reply::Replies;

fuzz_target!(|octets: &[u8]| {
    let Some((size, octets)) = octets.split_first() else { return };
    let pieces = || octets.chunks(usize::from(*size) + 1);
    let mut responses = Responses::default();
    for piece in pieces() {
        responses.handle_input(piece);
        while let Ok(Some(_)) = responses.poll_response() {}
    }
    let mut replies = Replies::default();
    for piece in pieces() {
        replies.handle_input(piece);
        while let Ok(Some(reply)) = replies.poll_reply() {
            let _ = (reply.class(), reply.offers("STARTTLS"), reply.words(), reply.status());
        }
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Some(mut bookmark) = Bookmark::parse(text) {
        while let Some(batch) = bookmark.batch() {
            bookmark.handled(batch);
        }
    }
});
