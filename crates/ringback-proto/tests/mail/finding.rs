//! A corpus of mail as different agents write and forward it.

use std::fs;
use std::path::Path;

use ringback_proto::access_request::{Signal, find};
use ringback_proto::mail::letter::Letter;
use ringback_proto::mail::text::{sender, text};
use ringback_proto::terminal::MailAddress;

/// The mails of the corpus whose names begin so, with line ends as on the wire.
pub(crate) fn corpus(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/corpus");
    let mut mails = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(prefix) {
            let mail = fs::read_to_string(&file).unwrap().replace('\n', "\r\n");
            mails.push((name, mail.into_bytes()));
        }
    }
    mails.sort();
    mails
}

fn armour() -> String {
    let (_, armour) = corpus("armour.txt").pop().unwrap();
    String::from_utf8(armour).unwrap().trim().to_owned()
}

fn found(mail: &[u8]) -> Option<Signal> {
    find(&text(mail)?)
}

#[test]
fn the_signal_is_found_in_what_mail_agents_make_of_it() {
    let signal = find(armour().as_bytes()).unwrap();
    let mails = corpus("found-");
    assert_eq!(mails.len(), 10);
    for (name, mail) in mails {
        assert_eq!(found(&mail).as_ref(), Some(&signal), "{name}");
        let bare = mail.into_iter().filter(|it| *it != b'\r').collect::<Vec<u8>>();
        assert_eq!(found(&bare).as_ref(), Some(&signal), "{name} with bare line ends");
    }
}

#[test]
fn html_attachments_and_what_is_too_deep_or_too_far_are_not_looked_at() {
    let mails = corpus("lost-");
    assert_eq!(mails.len(), 7);
    for (name, mail) in mails {
        assert_eq!(found(&mail), None, "{name}");
        assert!(mail.windows(armour().len()).any(|it| it == armour().as_bytes()), "{name} is void");
    }
}

#[test]
fn what_we_write_is_what_we_find() {
    let (from, to) = ("proxy@operator.example", "car-7@fleet.example");
    let (from, to) = (MailAddress::parse(from).unwrap(), MailAddress::parse(to).unwrap());
    let letter = Letter { from: &from, to: &to, id: u128::MAX, unix_seconds: 0 };
    let mail = letter.data(&armour()).unwrap();
    assert_eq!(found(mail.as_bytes()).unwrap().to_text(), armour());
    assert_eq!(sender(mail.as_bytes()), Some(from));
}

#[test]
fn a_sender_is_an_address_or_nobody() {
    let said = |from: &str| sender(format!("From: {from}\r\n\r\n").as_bytes());
    for from in
        ["a@b.example", "A <a@b.example>", "\"B, <x>\" <a@b.example>", " <a@b.example>\r\n x"]
    {
        assert_eq!(said(from).unwrap().as_str(), "a@b.example", "{from}");
    }
    for from in ["", "A", "<a@b.example", "a@b.example (A)", "<a\r\n b@c.example>", "a b@c"] {
        assert_eq!(said(from), None, "{from}");
    }
    assert_eq!(sender(b"\r\nFrom: a@b\r\n"), None, "a body is no header");
}
