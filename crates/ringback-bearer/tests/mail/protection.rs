//! Nobody in between gets a password or a mail.

use std::time::Duration;

use ringback_bearer::mail::{Mailbox, Security, Server};
use ringback_bearer::{Delivery, Failure, Message};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_util::task::TaskTracker;

use crate::middleman::{Middleman, Script};
use crate::party::{Party, mailbox_at, message, server, submission, trust};
use crate::post::Post;
use crate::soon;

/// A message that nobody will wait for long.
fn hasty() -> Message {
    Message { valid_for: Duration::from_secs(2), ..message("RB-secret") }
}

async fn assert_not_sent(server: Server, why: &str) {
    let mut submission = submission(0, Security::Implicit);
    submission.server = server;
    let party = Party::start(Some(submission), None);
    assert_eq!(party.ring(hasty()).await, Delivery::Failed(Failure::Expired), "{why}");
    party.end().await;
}

#[tokio::test]
async fn a_stripped_starttls_gets_neither_password_nor_mail() {
    let Some(post) = Post::open().await else { return };
    let tasks = TaskTracker::new();
    let smtp = Middleman::strip(post.submission, &tasks).await;
    assert_not_sent(server(smtp.port, Security::StartTls), "STARTTLS was stripped").await;
    assert!(0 < smtp.heard("EHLO"), "nobody came: the test is void");
    assert_eq!(smtp.heard("AUTH") + smtp.heard("MAIL"), 0);

    let mut imap = Middleman::strip(post.imap, &tasks).await;
    let party = Party::start(None, Some(mailbox_at(&post, imap.port, Security::StartTls)));
    soon(imap.gone.recv()).await;
    assert!(0 < imap.heard("CAPABILITY"), "nobody came: the test is void");
    assert_eq!(imap.heard("AUTHENTICATE") + imap.heard("LOGIN") + imap.heard("SELECT"), 0);
    party.end().await;
}

#[tokio::test]
async fn a_certificate_nobody_trusts_or_of_another_name_is_refused() {
    let Some(post) = Post::open().await else { return };
    let certificate = CertificateDer::from_pem_file(post.path("cert.pem")).unwrap();
    let [stranger, namesake] = [trust(&[], "localhost"), trust(&[certificate], "mail.example")];
    for (tls, why) in [(stranger, "untrusted"), (namesake, "another's name")] {
        for (port, security) in
            [(post.submission, Security::StartTls), (post.submissions, Security::Implicit)]
        {
            let server = Server { tls: tls.clone(), ..server(port, security) };
            assert_not_sent(server, why).await;
        }
        // Between us and the real mailbox sits somebody who lets everything pass but counts calls.
        let tasks = TaskTracker::new();
        let mut counting = Middleman::strip(post.imaps, &tasks).await;
        let mut mailbox = mailbox_at(&post, counting.port, Security::Implicit);
        mailbox.server.tls = tls;
        post.deliver("", why, "Subject: RB\n\nRB-secret\n");
        let mut party = Party::start(None, Some(mailbox));
        for _ in 0..2 {
            soon(counting.gone.recv()).await;
        }
        tokio::select! {
            biased;
            heard = party.receiver.hear() => panic!("heard {heard:?} although {why}"),
            () = std::future::ready(()) => {}
        }
        party.end().await;
    }
}

/// Everything is promised, and something is said behind the answer that only TLS may say.
const SMUGGLES_SMTP: Script = &[
    ("EHLO", "250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"),
    ("STARTTLS", "220 go on\r\n250 AUTH PLAIN\r\n"),
];
const SMUGGLES_IMAP: Script = &[
    ("CAPABILITY", "* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK\r\n"),
    ("STARTTLS", "{tag} OK go on\r\n* 1 EXISTS\r\n"),
];

#[tokio::test]
async fn what_is_said_before_tls_is_not_taken_for_the_servers_word() {
    let Some(post) = Post::open().await else { return };
    let tasks = TaskTracker::new();
    let smtp = Middleman::play("220 mail.test\r\n", SMUGGLES_SMTP, false, &tasks).await;
    assert_not_sent(server(smtp.port, Security::StartTls), "smuggled").await;
    assert!(0 < smtp.heard("STARTTLS"), "nobody came: the test is void");
    // A ClientHello begins so: it was not even begun.
    assert_eq!(smtp.heard("\u{16}\u{3}"), 0);

    for (greeting, script) in [("* OK hello\r\n", SMUGGLES_IMAP), ("* PREAUTH hello\r\n", &[])] {
        let mut imap = Middleman::play(greeting, script, false, &tasks).await;
        let party = Party::start(None, Some(mailbox_at(&post, imap.port, Security::StartTls)));
        soon(imap.gone.recv()).await;
        assert_eq!(imap.heard("\u{16}\u{3}") + imap.heard("AUTH") + imap.heard("SELECT"), 0);
        party.end().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again_at_once() {
    let Some(post) = Post::open().await else { return };
    let wrong = ringback_proto::mail::account::Account::new("proxy", "wrong").unwrap();
    let mut submission = submission(post.submission, Security::StartTls);
    submission.account = Some(wrong.clone());
    let mailbox = Mailbox { account: wrong, ..mailbox_at(&post, post.imaps, Security::Implicit) };
    let party = Party::start(Some(submission), Some(mailbox));
    let patient = Message { valid_for: Duration::from_secs(5), ..message("RB") };
    assert_eq!(party.ring(patient).await, Delivery::Failed(Failure::Expired));
    party.end().await;
    let log = std::fs::read_to_string(post.path("exim-mainlog")).unwrap();
    assert_eq!(log.matches("535 Incorrect authentication data").count(), 1, "{log}");
}
