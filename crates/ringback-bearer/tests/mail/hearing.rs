//! What is heard of a mailbox: everything, once, the newest first.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use ringback_bearer::Delivery;
use ringback_bearer::mail::{Handled, Mailbox, Security};
use ringback_proto::limits::{MAIL_BACKLOG, MAIL_BATCH};
use ringback_proto::mail::imap::Folder;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::middleman::{Middleman, Script};
use crate::party::{Party, mailbox, mailbox_at, message, submission};
use crate::post::{Post, Wish};
use crate::soon;

fn mail(text: &str) -> String {
    format!("From: someone@example.com\nSubject: anything\n\n{text}\n")
}

fn folders(names: &[&str]) -> BTreeSet<Folder> {
    names.iter().map(|it| Folder::parse(it).unwrap()).collect()
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats() {
    let Some(post) = Post::open().await else { return };
    for round in 0..3 {
        let mut party = Party::start(None, Some(mailbox(&post)));
        if 0 < round {
            assert_eq!(party.hear().await, format!("RB-{round}-while-down"));
        }
        post.deliver("", &format!("{round}a"), &mail(&format!("RB-{round}-while-up")));
        assert_eq!(party.hear().await, format!("RB-{round}-while-up"));
        party.end().await;
        post.deliver("", &format!("{round}b"), &mail(&format!("RB-{}-while-down", round + 1)));
    }
}

#[tokio::test]
async fn a_lost_or_damaged_file_repeats_nothing_that_was_marked() {
    let Some(post) = Post::open().await else { return };
    for damage in [None, Some("7 40 x =INBOX\n"), Some("\u{0}")] {
        match damage {
            Some(text) => fs::write(post.path("bookmarks"), text).unwrap(),
            None => drop(fs::remove_file(post.path("bookmarks"))),
        }
        let name = format!("{}", damage.map_or(0, str::len));
        post.deliver("", &name, &mail(&name));
        let mut party = Party::start(None, Some(mailbox(&post)));
        assert_eq!(party.hear().await, name);
        soon(seen(&post, &name)).await;
        party.end().await;
    }
}

/// Waits until a mail is marked as read: Maildir says so in its file's name.
async fn seen(post: &Post, name: &str) {
    let is_seen = || {
        let mut files = fs::read_dir(post.path("mail/car-7/cur")).into_iter().flatten().flatten();
        files.any(|it| {
            let file = it.file_name().into_string().unwrap();
            file.split_once(":2,").is_some_and(|(it, flags)| it == name && flags.contains('S'))
        })
    };
    while !is_seen() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn when_the_numbers_become_void_nothing_is_lost_or_repeated() {
    let Some(mut post) = Post::open().await else { return };
    let mut party = Party::start(None, Some(mailbox(&post)));
    post.deliver("", "1", &mail("RB-1"));
    assert_eq!(party.hear().await, "RB-1");
    soon(seen(&post, "1")).await;

    // Under our feet: the connection breaks, and behind the next one everything is renumbered.
    let before = fs::read_to_string(post.path("bookmarks")).unwrap();
    post.kill_dovecot();
    post.forget_uids();
    post.deliver("", "2", &mail("RB-2"));
    post.start_dovecot().await;
    assert_eq!(party.hear().await, "RB-2");
    post.deliver("", "3", &mail("RB-3"));
    assert_eq!(party.hear().await, "RB-3");
    party.end().await;
    let after = fs::read_to_string(post.path("bookmarks")).unwrap();
    let validity = |text: &str| text.split(' ').next().unwrap().to_owned();
    assert_ne!(validity(&before), validity(&after), "the numbers were not void: the test is");
}

#[tokio::test]
async fn a_thousand_mails_of_junk_do_not_stand_before_a_signal() {
    const JUNK: usize = 1000;
    let Some(post) = Post::open().await else { return };
    let junk = mail(&"Buy now! ".repeat(2000));
    for number in 0..JUNK {
        // Maildir numbers by name: the signal is the newest.
        post.deliver("", &format!("{number:04}.junk"), &junk);
    }
    post.deliver("", "9999.signal", &mail("RB-signal"));
    let start = Instant::now();
    let mut party = Party::start(None, Some(mailbox(&post)));
    let mut heard = Vec::new();
    while heard.len() < JUNK + 1 {
        heard.push(party.hear().await);
        if heard.last().is_some_and(|it| it == "RB-signal") {
            println!("the signal: {:?}", start.elapsed());
        }
    }
    println!("all: {:?}", start.elapsed());
    let signal = heard.iter().position(|it| it == "RB-signal").unwrap();
    assert!(signal < MAIL_BATCH as usize, "it came as number {signal}");
    assert!(JUNK < MAIL_BACKLOG as usize);
    party.end().await;
}

#[tokio::test]
async fn several_folders_are_watched_and_a_missing_one_stops_no_other() {
    let Some(post) = Post::open().await else { return };
    post.deliver(".Junk", "1", &mail("RB-junk"));
    let folders = folders(&["Nowhere", "INBOX", "Junk"]);
    let mut party = Party::start(None, Some(Mailbox { folders, ..mailbox(&post) }));
    assert_eq!(party.hear().await, "RB-junk");
    post.deliver("", "1", &mail("RB-inbox"));
    assert_eq!(party.hear().await, "RB-inbox");
    post.deliver(".Junk", "2", &mail("RB-junk-again"));
    assert_eq!(party.hear().await, "RB-junk-again");
    party.end().await;
    let bookmarks = fs::read_to_string(post.path("bookmarks")).unwrap();
    for folder in ["INBOX", "Junk"] {
        assert!(bookmarks.contains(&format!(" =\"{folder}\" car-7@localhost\n")), "{bookmarks}");
    }
}

#[tokio::test]
async fn what_was_heard_is_deleted_if_so_wished() {
    let Some(post) = Post::open().await else { return };
    post.deliver("", "1", &mail("RB-1"));
    post.deliver("", "2", &mail("RB-2"));
    let handled = Handled::Delete;
    let mut party = Party::start(None, Some(Mailbox { handled, ..mailbox(&post) }));
    let mut heard = [party.hear().await, party.hear().await];
    heard.sort();
    assert_eq!(heard, ["RB-1", "RB-2"]);
    soon(async {
        while 0 < post.mails() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    party.end().await;
}

#[tokio::test]
async fn a_server_that_tells_nothing_by_itself_is_asked() {
    let capability = "IMAP4rev1 LITERAL+";
    let Some(post) = Post::open_with(Wish { capability, mechanism: "PLAIN" }).await else { return };
    let poll = Duration::from_millis(100);
    let mut party = Party::start(None, Some(Mailbox { poll, ..mailbox(&post) }));
    for name in ["1", "2"] {
        post.deliver("", name, &mail(name));
        assert_eq!(party.hear().await, name);
    }
    party.end().await;
}

/// The mailbox of somebody else whose flags change all the time, and that we may only read.
const RESTLESS: Script = &[
    ("CAPABILITY", "* CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN\r\n{tag} OK\r\n"),
    ("AUTHENTICATE", "+ \r\n"),
    // The user and the password, which have no tag.
    ("AGNhci03AGNhbmFyeS1vZi1tYWls", "t2 OK\r\n"),
    ("SELECT", "* 30 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n{tag} OK [READ-ONLY]\r\n"),
    ("FETCH * (UID)", "* 3 FETCH (UID 3 FLAGS ())\r\n* 30 FETCH (UID 20)\r\n{tag} OK\r\n"),
    (
        "UID FETCH 5:20 ",
        "{flags}* 7 FETCH (UID 7 BODY[HEADER] {2}\r\n\r\n BODY[TEXT] {4}\r\nRB-7)\r\n\
        * 4 FETCH (UID 4 BODY[HEADER] {2}\r\n\r\n BODY[TEXT] {4}\r\nRB-4)\r\n{tag} OK\r\n",
    ),
    (
        "UID FETCH 1:4 ",
        "* 4 FETCH (UID 4 BODY[HEADER] {2}\r\n\r\n BODY[TEXT] {4}\r\nRB-4)\r\n{tag} OK\r\n",
    ),
    ("UID STORE", "{tag} NO [NOPERM]\r\n"),
];

#[tokio::test]
async fn what_a_server_tells_unasked_hides_no_mail() {
    let Some(post) = Post::open().await else { return };
    let tasks = TaskTracker::new();
    let server = Middleman::play("* OK\r\n", RESTLESS, true, &tasks).await;
    let mailbox = mailbox_at(&post, server.port, Security::Implicit);
    let mut party = Party::start(None, Some(mailbox));
    assert_eq!([party.hear().await, party.hear().await], ["RB-7", "RB-4"], "each once");
    assert_eq!(server.heard("SELECT"), 1, "that it may not be marked costs no connection");
    party.end().await;
}

#[tokio::test]
async fn waiting_is_begun_anew_and_still_hears() {
    let Some(post) = Post::open().await else { return };
    let submission = submission(post.submission, Security::StartTls);
    // Many times anew while nothing comes.
    let idle = Duration::from_millis(20);
    let mut party = Party::start(Some(submission), Some(Mailbox { idle, ..mailbox(&post) }));
    for text in ["RB-1", "RB-2", "RB-3"] {
        assert!(matches!(party.ring(message(text)).await, Delivery::Submitted { .. }));
        assert_eq!(party.hear().await, text);
    }
    party.end().await;
}
