//! Submission servers whose answers are not those of a good day.

use std::time::Duration;

use ringback_bearer::limits::MAIL_AGAIN;
use ringback_bearer::mail::Security;
use ringback_bearer::{Delivery, Failure, Message};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::middleman::{Middleman, Script};
use crate::party::{Party, message, submission};

macro_rules! server {
    ($($first:expr),* $(,)?) => {
        &[
            $($first,)*
            ("EHLO", "250-mail.test\r\n250 AUTH PLAIN\r\n"),
            ("AUTH PLAIN", "235 ok\r\n"),
            ("MAIL", "250 ok\r\n"),
            ("RCPT", "250 ok\r\n"),
            ("DATA", "354 go on\r\n"),
        ]
    };
}

async fn play(script: Script) -> (Middleman, Party) {
    let tasks = TaskTracker::new();
    let server = Middleman::play("220 mail.test\r\n", script, true, &tasks).await;
    let party = Party::start(Some(submission(server.port, Security::Implicit)), None);
    (server, party)
}

/// Rings with a message that nobody will wait for long.
async fn assert_not_sent(party: &Party) {
    let hasty = Message { valid_for: Duration::from_secs(3), ..message("RB-1") };
    assert_eq!(party.ring(hasty).await, Delivery::Failed(Failure::Expired));
}

const ASKS_FOR_MORE: Script = server![("AUTH PLAIN", "334 \r\n")];
const DOES_NOT_WAIT_FOR_DATA: Script = server![("DATA", "250 ok\r\n")];
const GOES_BEFORE_DATA: Script = server![("DATA", "354 go on\r\n421 4.3.2 bye\r\n")];
const ANSWERS_TWICE: Script = server![("RCPT", "250 ok\r\n250 ok\r\n")];

#[tokio::test]
async fn an_answer_to_something_else_lets_nothing_more_out() {
    for (script, last, never) in [
        (ASKS_FOR_MORE, "AUTH PLAIN", "MAIL"),
        (DOES_NOT_WAIT_FOR_DATA, "DATA", "Message-ID"),
        (GOES_BEFORE_DATA, "DATA", "Message-ID"),
        (ANSWERS_TWICE, "RCPT", "DATA"),
    ] {
        let (server, party) = play(script).await;
        assert_not_sent(&party).await;
        assert!(0 < server.heard(last), "nobody came: the test is void");
        assert_eq!(server.heard(never), 0, "{never} after {last}");
        party.end().await;
    }
}

const REPEATS_ITSELF: Script = server![("RB-", "250 ok\r\n250 ok\r\n")];
const GOES_AFTERWARDS: Script = server![("RB-", "250 ok\r\n421 4.4.2 too long\r\n")];

#[tokio::test]
async fn what_a_server_still_had_to_say_is_no_answer_to_the_next_mail() {
    for script in [REPEATS_ITSELF, GOES_AFTERWARDS] {
        let (server, party) = play(script).await;
        let start = Instant::now();
        for _ in 0..2 {
            let step = party.ring(message("RB-1")).await;
            assert!(matches!(step, Delivery::Submitted { .. }), "{step:?}");
        }
        assert_eq!(server.heard("EHLO"), 2, "each over a connection of its own");
        assert!(start.elapsed() < MAIL_AGAIN, "it counted as a refusal");
        party.end().await;
    }
}

const REFUSES_TO_BEGIN: Script = server![
    ("EHLO", "250-mail.test\r\n250 AUTH LOGIN\r\n"),
    ("AUTH LOGIN", "535 5.7.8 not you\r\n"),
];

#[tokio::test]
async fn a_login_refused_at_its_first_line_is_not_tried_again_at_once() {
    let (server, party) = play(REFUSES_TO_BEGIN).await;
    assert_not_sent(&party).await;
    assert_eq!(server.heard("AUTH LOGIN"), 1);
    party.end().await;
}
