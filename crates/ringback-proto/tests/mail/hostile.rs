//! Cuts and mutations of good input, and input made to cost much.

use std::time::{Duration, Instant};

use ringback_proto::limits::{
    IMAP_RESPONSE_OCTETS, MAIL_BODY_OCTETS, MAIL_HEADER_OCTETS, MESSAGE_OCTETS,
};
use ringback_proto::mail::bookmark::Bookmark;
use ringback_proto::mail::imap::Responses;
use ringback_proto::mail::reply::Replies;
use ringback_proto::mail::text::{sender, text};

use crate::chance::Chance;
use crate::finding::corpus;
use crate::mailbox::SESSION;

const MIME_WORDS: [&[u8]; 10] = [
    b"\r\n",
    b"\r\n\r\n",
    b"--sep\r\n",
    b"--sep--",
    b"Content-Type: multipart/mixed; boundary=sep",
    b"Content-Transfer-Encoding: base64\r\n",
    b"boundary=\"",
    b"\\",
    b"=",
    b"From: <",
];
const IMAP_WORDS: [&[u8]; 10] = [
    b"\r\n",
    b"* ",
    b"{5}\r\n",
    b"{99999999999}\r\n",
    b"(",
    b")",
    b"\"",
    b"[",
    b"BODY[TEXT]<0> ",
    b"* 1 FETCH (",
];

fn read(mail: &[u8]) {
    let text = text(mail).unwrap_or_default();
    assert!(text.len() <= MESSAGE_OCTETS);
    let _ = sender(mail);
}

#[test]
fn a_mail_cut_anywhere_is_read_without_harm() {
    let mails = corpus("");
    assert!(17 < mails.len());
    // The long one is more of the same.
    for (_, mail) in mails.iter().filter(|(_, mail)| mail.len() < 4096) {
        (0..=mail.len()).for_each(|end| read(&mail[..end]));
        (0..=mail.len()).for_each(|begin| read(&mail[begin..]));
    }
}

#[test]
fn a_mail_changed_anyhow_is_read_without_harm() {
    let mails = corpus("");
    let mut chance = Chance(1);
    for _ in 0..40_000 {
        let (_, mail) = &mails[chance.below(mails.len())];
        read(&chance.mutate(mail, &MIME_WORDS));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it really takes is the claim")]
fn no_mail_of_the_size_that_is_fetched_takes_long() {
    let size = MAIL_HEADER_OCTETS + MAIL_BODY_OCTETS;
    let multipart = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let bombs = [
        "\r\n".repeat(size / 2),
        format!("{multipart}{}", "--a\r\n".repeat(size / 5)),
        format!("{multipart}{}", format!("--a\r\n{multipart}").repeat(size / 48)),
        format!("Content-Type: a{}", ";a=b".repeat(size / 4)),
        format!("Content-Type: multipart/a;{}", "a=\"\\".repeat(size / 4)),
        format!("Content-Type: text/plain\r\n{}", " a\r\n".repeat(size / 4)),
        format!("From: {}", "<".repeat(size)),
        format!("\r\n{}", "RB".repeat(size / 2)),
        format!("\r\n{}", ">".repeat(size)),
    ];
    for bomb in bombs {
        let start = Instant::now();
        read(bomb.as_bytes());
        assert!(start.elapsed() < Duration::from_secs(1), "{}", &bomb[..40]);
    }
}

#[test]
fn a_mailbox_that_says_anything_does_no_harm() {
    let mut chance = Chance(2);
    for _ in 0..40_000 {
        let session = chance.mutate(SESSION.as_bytes(), &IMAP_WORDS);
        let mut responses = Responses::default();
        let mut held = 0;
        'session: for chunk in session.chunks(1 + chance.below(300)) {
            responses.handle_input(chunk);
            held += chunk.len();
            loop {
                match responses.poll_response() {
                    Ok(Some(_)) => held = 0,
                    Ok(None) => break,
                    Err(_) => break 'session,
                }
            }
            assert!(held <= IMAP_RESPONSE_OCTETS);
        }
    }
}

#[test]
fn a_mail_server_that_says_anything_does_no_harm() {
    const TALK: &str = "220 mail.test ESMTP\r\n250-mail.test\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n\
        235 2.7.0 ok\r\n550 5.1.1 no\r\n354 go on\r\n";
    let mut chance = Chance(3);
    for _ in 0..20_000 {
        let mut replies = Replies::default();
        replies.handle_input(&chance.mutate(TALK.as_bytes(), &[b"\r\n", b"250-", b" ", b"9"]));
        while let Ok(Some(reply)) = replies.poll_reply() {
            assert!(reply.status().len() <= 15, "{}", reply.status());
            let _ = (reply.words(), reply.offers("STARTTLS"), reply.offers_login("PLAIN"));
        }
    }
}

#[test]
fn a_damaged_bookmark_is_refused_or_whole() {
    let mut chance = Chance(4);
    for _ in 0..20_000 {
        let text = chance.mutate(b"7 40 40 1:6 9:40", &[b" ", b":", b"4294967295", b"0"]);
        let Ok(text) = str::from_utf8(&text) else { continue };
        let Some(mut bookmark) = Bookmark::parse(text) else { continue };
        for _ in 0..3 {
            bookmark.arrived(u32::try_from(chance.below(1 << 31)).unwrap() * 2 + 1);
            let Some(batch) = bookmark.batch() else { continue };
            bookmark.handled(batch);
        }
        assert_eq!(Bookmark::parse(&bookmark.to_string()), Some(bookmark));
    }
}
