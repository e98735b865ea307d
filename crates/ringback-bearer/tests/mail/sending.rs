//! What becomes of mails that are sent.

use std::time::Duration;

use ringback_bearer::limits::{FAREWELL_PATIENCE, MAIL_AGAIN, MAIL_TRIES, MAILS_PER_CONNECTION};
use ringback_bearer::mail::Security;
use ringback_bearer::{Body, Delivery, Failure, Message};
use ringback_proto::terminal::{CallNumber, Callee};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::middleman::{Middleman, Script};
use crate::party::{Party, mailbox, mailbox_at, message, submission, to};
use crate::post::{Post, Wish};
use crate::soon;

#[tokio::test]
async fn a_text_arrives_unchanged_with_either_kind_of_tls() {
    let Some(post) = Post::open().await else { return };
    for (text, out, back) in [
        ("RBabc-*", (post.submission, Security::StartTls), (post.imap, Security::StartTls)),
        (".RB xyz", (post.submissions, Security::Implicit), (post.imaps, Security::Implicit)),
        (&"R".repeat(998), (post.submission, Security::StartTls), (post.imaps, Security::Implicit)),
    ] {
        let mailbox = mailbox_at(&post, back.0, back.1);
        let mut party = Party::start(Some(submission(out.0, out.1)), Some(mailbox));
        let step = party.ring(message(text)).await;
        assert!(matches!(step, Delivery::Submitted { .. }), "{step:?}");
        assert_eq!(party.hear().await, text);
        party.end().await;
    }
}

#[tokio::test]
async fn many_mails_at_once_share_a_few_connections_and_all_arrive() {
    let Some(post) = Post::open_with(Wish { capability: "", mechanism: "LOGIN" }).await else {
        return;
    };
    let submission = submission(post.submission, Security::StartTls);
    let mut party = Party::start(Some(submission), Some(mailbox(&post)));
    let mut expected: Vec<String> = (0..40).map(|it| format!("RB{it}")).collect();
    let stories: Vec<_> = expected.iter().map(|it| party.transmitter.ring(message(it))).collect();
    for mut story in stories {
        let step = soon(story.next()).await.unwrap();
        assert!(matches!(step, Delivery::Submitted { .. }), "{step:?}");
    }
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        heard.push(party.hear().await);
    }
    expected.sort();
    heard.sort();
    assert_eq!(heard, expected, "each once");
    party.end().await;
}

#[tokio::test]
async fn the_servers_code_says_whether_it_would_refuse_for_ever() {
    let Some(post) = Post::open().await else { return };
    let party = Party::start(Some(submission(post.submission, Security::StartTls)), None);
    let start = Instant::now();
    let never = party.transmitter.ring(to("nobody@mail.test", "RB"));
    let later = party.transmitter.ring(to("busy@mail.test", "RB"));
    for (mut story, status, for_ever, tries) in
        [(never, "550 5.1.1", true, 1), (later, "451 4.2.0", false, MAIL_TRIES)]
    {
        let step = soon(story.next()).await.unwrap();
        let Delivery::Failed(Failure::Refused { reason, permanent, .. }) = step else {
            panic!("{step:?}")
        };
        assert_eq!((reason.as_str(), permanent), (status, for_ever), "the code, and no address");
        let rests = MAIL_AGAIN * u32::try_from(tries - 1).unwrap();
        assert!(rests <= start.elapsed(), "it was not offered {tries} times");
    }
    party.end().await;
}

#[tokio::test]
async fn what_is_no_mail_is_refused_at_once() {
    let party = Party::start(Some(submission(9, Security::Implicit)), None);
    let number = Callee::Number(CallNumber::parse("+15550100777").unwrap());
    let binary = Body::Binary(vec![1, 2]);
    for message in [
        Message { to: number, ..message("RB") },
        Message { body: binary, ..message("RB") },
        message("two\r\nlines"),
        message(&"R".repeat(999)),
    ] {
        let step = party.ring(message).await;
        assert!(matches!(step, Delivery::Failed(Failure::Unsendable(_))), "{step:?}");
    }
    party.end().await;

    let listener = Party::start(None, None);
    let step = listener.ring(message("RB")).await;
    assert!(matches!(step, Delivery::Failed(Failure::Unsendable(_))), "{step:?}");
    listener.end().await;
}

const TAKES_AND_HANGS_UP: Script = &[
    ("EHLO", "250-mail.test\r\n250 AUTH PLAIN\r\n"),
    ("AUTH PLAIN", "235 ok\r\n"),
    ("MAIL", "250 ok\r\n"),
    ("RCPT", "250 ok\r\n"),
    ("DATA", "354 go on\r\n"),
    // The end of the mail: no answer, and the connection is closed.
    ("RB-unknown", ""),
];

#[tokio::test]
async fn a_mail_the_server_may_have_is_not_sent_again() {
    let tasks = TaskTracker::new();
    let server = Middleman::play("220 mail.test\r\n", TAKES_AND_HANGS_UP, true, &tasks).await;
    let party = Party::start(Some(submission(server.port, Security::Implicit)), None);
    assert_eq!(party.ring(message("RB-unknown")).await, Delivery::Unknown);
    assert_eq!(server.heard("RB-unknown"), 1);
    party.end().await;
}

const TAKES_AND_HEARS_NO_FAREWELL: Script = &[
    ("EHLO", "250-mail.test\r\n250 AUTH PLAIN\r\n"),
    ("AUTH PLAIN", "235 ok\r\n"),
    ("MAIL", "250 ok\r\n"),
    ("RCPT", "250 ok\r\n"),
    ("DATA", "354 go on\r\n"),
    ("RB-taken", "250 ok\r\n"),
];

#[tokio::test]
async fn a_mail_the_server_took_has_not_failed_however_long_the_farewell() {
    let tasks = TaskTracker::new();
    let script = TAKES_AND_HEARS_NO_FAREWELL;
    let server = Middleman::play("220 mail.test\r\n", script, true, &tasks).await;
    let party = Party::start(Some(submission(server.port, Security::Implicit)), None);
    let first = party.ring(message("RB-taken")).await;
    assert!(matches!(first, Delivery::Submitted { .. }), "{first:?}");
    // There may be two connections. The last mail of one stops being worth delivering while the
    // server is waited for that should answer the farewell.
    let valid_for = FAREWELL_PATIENCE * 9 / 10;
    for _ in 1..2 * MAILS_PER_CONNECTION {
        let step = party.ring(Message { valid_for, ..message("RB-taken") }).await;
        assert!(matches!(step, Delivery::Submitted { .. }), "{step:?}");
    }
    soon(async {
        while server.heard("QUIT") == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    party.end().await;
}

#[tokio::test]
async fn shutting_down_tells_every_story_an_end() {
    // Nothing answers there.
    let tasks = TaskTracker::new();
    let server = Middleman::play("", &[], false, &tasks).await;
    let party = Party::start(Some(submission(server.port, Security::Implicit)), None);
    let stories: Vec<_> = (0..70).map(|_| party.transmitter.ring(message("RB"))).collect();
    party.end().await;
    for mut story in stories {
        let step = soon(story.next()).await.unwrap();
        let ended = [Delivery::Failed(Failure::ShutDown), Delivery::Failed(Failure::Full)];
        assert!(ended.contains(&step), "{step:?}");
        assert_eq!(soon(story.next()).await, None);
    }
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again() {
    let Some(mut post) = Post::open().await else { return };
    let submission = submission(post.submission, Security::StartTls);
    let mut party = Party::start(Some(submission), Some(mailbox(&post)));
    assert!(matches!(party.ring(message("RB-1")).await, Delivery::Submitted { .. }));
    assert_eq!(party.hear().await, "RB-1");

    post.kill_exim();
    post.kill_dovecot();
    let mut story = party.transmitter.ring(message("RB-2"));
    let hasty = Message { valid_for: Duration::from_millis(200), ..message("RB-3") };
    assert_eq!(party.ring(hasty).await, Delivery::Failed(Failure::Expired));
    post.start_exim().await;
    post.start_dovecot().await;
    let step = soon(story.next()).await.unwrap();
    assert!(matches!(step, Delivery::Submitted { .. }), "{step:?}");
    assert_eq!(party.hear().await, "RB-2");
    party.end().await;
}
