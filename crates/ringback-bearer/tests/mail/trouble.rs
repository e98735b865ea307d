//! Servers that work up to a point: what is behind that point, and how often they are asked.

use std::time::Duration;

use ringback_bearer::limits::MAIL_PAUSE;
use ringback_bearer::mail::{Mailbox, Security};
use ringback_proto::mail::account::Account;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::middleman::{Middleman, Script};
use crate::party::{Party, mailbox_in, message, submission};
use crate::soon;

macro_rules! mailbox {
    ($($more:expr),* $(,)?) => {
        &[
            ("CAPABILITY", "* CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN\r\n{tag} OK\r\n"),
            ("AUTHENTICATE", "+ \r\n"),
            ("AGNhci03AGNhbmFyeS1vZi1tYWls", "t2 OK\r\n"),
            ("AGNhci04AGNhbmFyeS1vZi1tYWls", "t2 OK\r\n"),
            ("SELECT", "* 3 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n* OK [UIDNEXT 4]\r\n{tag} OK\r\n"),
            ("UID STORE", "{tag} OK\r\n"),
            $($more),*
        ]
    };
}

macro_rules! mail {
    ($uid:literal) => {
        concat!(
            "* 1 FETCH (UID ",
            $uid,
            " BODY[HEADER] {2}\r\n\r\n BODY[TEXT] {4}\r\nRB-",
            $uid,
            ")\r\n"
        )
    };
}

macro_rules! endless {
    ($uid:literal) => {
        concat!("* 1 FETCH (UID ", $uid, " BODY[TEXT] {99999}\r\n")
    };
}

const THREE: (&str, &str) = ("FETCH * (UID)", "* 3 FETCH (UID 3)\r\n{tag} OK\r\n");

/// The second mail is one that the server cannot read.
const REFUSES_ONE: Script = mailbox![
    THREE,
    ("UID FETCH 1:3 ", concat!(mail!("3"), "{tag} NO [SERVERBUG]\r\n")),
    ("UID FETCH 2:2 ", "{tag} NO [SERVERBUG]\r\n"),
    ("UID FETCH 1:1 ", concat!(mail!("1"), "{tag} OK\r\n")),
];
/// The server does not care how much was asked for.
const SENDS_TOO_MUCH: Script = mailbox![
    THREE,
    ("UID FETCH 1:3 ", concat!(mail!("3"), endless!("2"))),
    ("UID FETCH 2:2 ", endless!("2")),
    ("UID FETCH 1:1 ", concat!(mail!("1"), "{tag} OK\r\n")),
];

#[tokio::test]
async fn a_mail_that_cannot_be_fetched_hides_no_other() {
    for script in [REFUSES_ONE, SENDS_TOO_MUCH] {
        let (tasks, folder) = (TaskTracker::new(), TempDir::new().unwrap());
        let server = Middleman::play("* OK\r\n", script, true, &tasks).await;
        let mailbox = mailbox_in(folder.path(), server.port, Security::Implicit);
        let mut party = Party::start(None, Some(mailbox));
        assert_eq!([party.hear().await, party.hear().await], ["RB-3", "RB-1"], "each once");
        assert_eq!(server.heard("UID FETCH 1:3 "), 1, "it is not asked for all again");
        assert_eq!(server.heard("UID FETCH 2:2 "), 2, "it had another chance");
        party.end().await;
    }
}

const SAYS_NONSENSE_ONCE: Script = mailbox![
    THREE,
    ("UID FETCH 1:3 ", concat!(mail!("3"), "* 2 FETCH UID 2\r\n", mail!("1"), "{tag} OK\r\n")),
    ("UID FETCH 2:2 ", concat!(mail!("2"), "{tag} OK\r\n")),
];

#[tokio::test]
async fn a_mail_of_which_nonsense_was_said_is_asked_for_again() {
    let (tasks, folder) = (TaskTracker::new(), TempDir::new().unwrap());
    let server = Middleman::play("* OK\r\n", SAYS_NONSENSE_ONCE, true, &tasks).await;
    let mailbox = mailbox_in(folder.path(), server.port, Security::Implicit);
    let mut party = Party::start(None, Some(mailbox));
    let heard = [party.hear().await, party.hear().await, party.hear().await];
    assert_eq!(heard, ["RB-3", "RB-1", "RB-2"], "each once");
    assert_eq!(server.heard("SELECT"), 1, "over one connection");
    party.end().await;
}

const ALL: (&str, &str) =
    ("UID FETCH 1:3 ", concat!(mail!("3"), mail!("2"), mail!("1"), "{tag} OK\r\n"));
const HOLDS_THREE: Script = mailbox![THREE, ALL];
/// Among what was asked for it tells of a mail that its folder cannot have.
const NAMES_THE_HIGHEST: Script = mailbox![
    ("FETCH * (UID)", "* 1 FETCH (UID 4294967295)\r\n* 3 FETCH (UID 3)\r\n{tag} OK\r\n"),
    ALL,
];

async fn assert_hears_all(mailbox: Mailbox, why: &str) {
    let mut party = Party::start(None, Some(mailbox));
    for text in ["RB-3", "RB-2", "RB-1"] {
        let heard = timeout(Duration::from_secs(20), party.receiver.hear()).await.expect(why);
        assert_eq!(String::from_utf8(heard.unwrap().octets).unwrap().trim(), text, "{why}");
    }
    party.end().await;
}

#[tokio::test]
async fn a_number_the_folder_does_not_have_hides_no_mail() {
    let (tasks, folder) = (TaskTracker::new(), TempDir::new().unwrap());
    let server = Middleman::play("* OK\r\n", NAMES_THE_HIGHEST, true, &tasks).await;
    assert_hears_all(mailbox_in(folder.path(), server.port, Security::Implicit), "nonsense").await;
}

#[tokio::test]
async fn a_bookmark_of_another_folder_or_of_a_time_undone_hides_no_mail() {
    let (tasks, folder) = (TaskTracker::new(), TempDir::new().unwrap());
    let server = Middleman::play("* OK\r\n", HOLDS_THREE, true, &tasks).await;
    let mailbox = || mailbox_in(folder.path(), server.port, Security::Implicit);
    assert_hears_all(mailbox(), "the first time").await;
    let account = Account::new("car-8", "canary-of-mail").unwrap();
    assert_hears_all(Mailbox { account, ..mailbox() }, "another account").await;

    // Nine mails were heard before the mailbox was restored from a copy.
    let bookmarks = folder.path().join("bookmarks");
    let text = std::fs::read_to_string(&bookmarks).unwrap();
    assert!(text.contains("1 3 3 ="), "{text}");
    std::fs::write(&bookmarks, text.replace("1 3 3 =", "1 9 3 =")).unwrap();
    assert_hears_all(mailbox(), "a mailbox that was restored").await;
}

#[tokio::test]
async fn what_cannot_be_remembered_is_not_marked() {
    let (tasks, folder) = (TaskTracker::new(), TempDir::new().unwrap());
    let server = Middleman::play("* OK\r\n", HOLDS_THREE, true, &tasks).await;
    let nowhere = folder.path().join("nowhere");
    let mailbox = mailbox_in(&nowhere, server.port, Security::Implicit);
    let mut party = Party::start(None, Some(mailbox));
    let heard = [party.hear().await, party.hear().await, party.hear().await];
    assert_eq!(heard, ["RB-3", "RB-2", "RB-1"]);
    // Waiting for more comes after marking.
    soon(async {
        while server.heard("IDLE") == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(server.heard("STORE"), 0);
    party.end().await;
}

/// Logs in, and hangs up when mails are asked for.
const FALLS_AT_FETCH: Script = mailbox![THREE, ("UID FETCH", "")];
const FALLS_AT_MAIL: Script =
    &[("EHLO", "250-mail.test\r\n250 AUTH PLAIN\r\n"), ("AUTH PLAIN", "235 ok\r\n"), ("MAIL", "")];

#[tokio::test]
async fn a_server_that_only_logs_in_is_left_alone_ever_longer() {
    let (tasks, folder) = (TaskTracker::new(), TempDir::new().unwrap());
    let imap = Middleman::play("* OK\r\n", FALLS_AT_FETCH, true, &tasks).await;
    let mailbox = mailbox_in(folder.path(), imap.port, Security::Implicit);
    let party = Party::start(None, Some(mailbox));
    assert_left_alone(imap, 4).await;
    party.end().await;

    let smtp = Middleman::play("220 mail.test\r\n", FALLS_AT_MAIL, true, &tasks).await;
    let party = Party::start(Some(submission(smtp.port, Security::Implicit)), None);
    let _story = party.transmitter.ring(message("RB"));
    // That a kept connection is lost tells nothing of the server.
    assert_left_alone(smtp, 5).await;
    party.end().await;
}

/// Three pauses, each twice the one before, and each up to a quarter shorter by chance.
async fn assert_left_alone(mut server: Middleman, calls: usize) {
    let start = Instant::now();
    for _ in 0..calls {
        soon(server.gone.recv()).await;
    }
    assert!(MAIL_PAUSE.0 * 7 * 3 / 4 <= start.elapsed(), "{:?}", start.elapsed());
}
