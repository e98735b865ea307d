//! What the bearer finds of itself, for whoever looks.

use std::time::Duration;

use ringback_bearer::mail::{Config, Mailbox, Security};
use ringback_bearer::{Bearer, Finding, Message, Verdict};
use ringback_proto::mail::account::Account;
use ringback_proto::mail::imap::Folder;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::party::{Party, mailbox, message, submission};
use crate::post::{Post, Wish};
use crate::soon;

#[tokio::test]
async fn all_is_well_before_any_mail_is_sent() {
    let Some(post) = Post::open().await else { return };
    let submission = submission(post.submission, Security::StartTls);
    let mut party = Party::start(Some(submission), Some(mailbox(&post)));
    soon(party.health.settled()).await;
    let found: Vec<_> = party.health.findings().into_iter().map(|it| (it.what, it.text)).collect();
    let expected = [
        ("submission", "logged in, over TLS"),
        ("mailbox", "INBOX: waited for, with IDLE"),
        ("bookmarks", "kept"),
    ];
    assert_eq!(found, expected.map(|(what, text)| (what, text.to_owned())));
    party.end().await;
}

#[tokio::test]
async fn a_mailbox_is_looked_at_even_if_nobody_hears_and_no_mail_is_touched() {
    let Some(post) = Post::open().await else { return };
    post.deliver("", "kept", "From: a@b.example\n\nRB-kept\n");
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let bearer = Bearer::Mail(Config { submission: None, mailbox: Some(mailbox(&post)) });
    // As the doctor does: it looks, and takes nothing.
    let (_transmitter, _, mut health) = bearer.start(&tasks, shutdown.clone());
    soon(health.settled()).await;
    assert!(health.findings().iter().all(|it| it.verdict == Verdict::Good), "{health:?}");
    shutdown.cancel();
    tasks.close();
    soon(tasks.wait()).await;
    let mut party = Party::start(None, Some(mailbox(&post)));
    assert_eq!(party.hear().await, "RB-kept");
    party.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_of_each_part_without_a_secret() {
    let Some(post) = Post::open_with(Wish { capability: "IMAP4rev1", mechanism: "PLAIN" }).await
    else {
        return;
    };
    let wrong = || Account::new("car-7", "canary-of-nobody");
    let mut submission = submission(post.submission, Security::StartTls);
    submission.account = wrong();
    let bookmarks = post.path("nowhere/bookmarks");
    let mut inbox = Mailbox { bookmarks, ..mailbox(&post) };
    inbox.folders.extend(Folder::parse("Nowhere"));
    let mut party = Party::start(Some(submission), Some(inbox));
    soon(party.health.settled()).await;
    let findings = party.health.findings();
    let expected = [
        ("submission", "the login was refused: 535: see the user and the password"),
        (
            "mailbox",
            "INBOX: asked every 15 s: its server does not offer IDLE; Nowhere: the server refused it",
        ),
        ("bookmarks", "cannot be kept: No such file"),
    ];
    for (finding, (what, text)) in findings.iter().zip(expected) {
        assert_eq!((finding.what, finding.verdict), (what, Verdict::Bad));
        assert!(finding.text.starts_with(text), "{finding:?}");
        assert!(!finding.text.contains("canary-of-nobody"), "{finding:?}");
    }
    party.end().await;

    let account = wrong().unwrap();
    let mut party = Party::start(None, Some(Mailbox { account, ..mailbox(&post) }));
    soon(party.health.settled()).await;
    assert!(party.health.findings()[0].text.contains("see the user and the password"));
    party.end().await;
    let mut party = Party::start(None, Some(mailbox(&post)));
    soon(party.health.settled()).await;
    assert_eq!(party.health.findings()[0].verdict, Verdict::Doubtful, "it is only asked");
    party.end().await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_without_a_mail() {
    let Some(mut post) = Post::open().await else { return };
    let submission = submission(post.submissions, Security::Implicit);
    let party = Party::start(Some(submission), Some(mailbox(&post)));
    soon(finds(&party, &[Verdict::Good; 3])).await;
    party.ring(message("RB-1")).await;

    post.kill_exim();
    post.kill_dovecot();
    let hasty = Message { valid_for: Duration::from_millis(200), ..message("RB-2") };
    party.ring(hasty).await;
    soon(finds(&party, &[Verdict::Bad, Verdict::Bad, Verdict::Good])).await;
    post.start_exim().await;
    post.start_dovecot().await;
    soon(finds(&party, &[Verdict::Good; 3])).await;
    party.end().await;
}

async fn finds(party: &Party, wanted: &[Verdict]) {
    let verdicts = |all: Vec<Finding>| all.into_iter().map(|it| it.verdict).collect::<Vec<_>>();
    while verdicts(party.health.findings()) != wanted {
        sleep(Duration::from_millis(5)).await;
    }
}
