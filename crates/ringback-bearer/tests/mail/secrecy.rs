//! A server that repeats what it was told brings no password into the log.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use ringback_bearer::mail::Security;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::middleman::{Middleman, Script};
use crate::party::{Party, mailbox_in, message, submission};
use crate::soon;

/// Writes down whatever is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

const IMAP_ECHOES_PLAIN: Script = &[
    ("CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n{tag} OK\r\n"),
    ("AUTHENTICATE", "+ \r\n"),
    (
        "AGNhci03AGNhbmFyeS1vZi1tYWls",
        "t2 NO [AUTHENTICATIONFAILED] AGNhci03AGNhbmFyeS1vZi1tYWls is wrong\r\n",
    ),
];
const IMAP_ECHOES_LOGIN: Script = &[
    ("CAPABILITY", "* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
    ("LOGIN", "{tag} BAD LOGIN \"car-7\" \"canary-of-mail\"\r\n"),
];
const IMAP_ECHOES_IN_FAREWELL: Script = &[
    ("CAPABILITY", "* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
    ("LOGIN", "* BYE never again LOGIN \"car-7\" \"canary-of-mail\"\r\n"),
];
const SMTP_ECHOES: Script = &[
    ("EHLO", "250-mail.test\r\n250 AUTH PLAIN\r\n"),
    ("AUTH PLAIN", "535 5.7.8 AHByb3h5AGNhbmFyeS1vZi1tYWls is wrong\r\n"),
];

#[tokio::test]
async fn a_server_that_repeats_the_password_does_not_get_it_into_the_log() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let tasks = TaskTracker::new();
    for script in [IMAP_ECHOES_PLAIN, IMAP_ECHOES_LOGIN, IMAP_ECHOES_IN_FAREWELL] {
        let folder = TempDir::new().unwrap();
        let mut imap = Middleman::play("* OK\r\n", script, true, &tasks).await;
        let mailbox = mailbox_in(folder.path(), imap.port, Security::Implicit);
        let party = Party::start(None, Some(mailbox));
        soon(imap.gone.recv()).await;
        assert!(
            0 < imap.heard("canary-of-mail") + imap.heard("AGNhci03AGNhbmFyeS1vZi1tYWls"),
            "no password"
        );
        party.end().await;
    }
    let mut smtp = Middleman::play("220 mail.test\r\n", SMTP_ECHOES, true, &tasks).await;
    let party = Party::start(Some(submission(smtp.port, Security::Implicit)), None);
    let _story = party.transmitter.ring(message("RB"));
    soon(smtp.gone.recv()).await;
    assert!(0 < smtp.heard("AHByb3h5AGNhbmFyeS1vZi1tYWls"), "no password");
    party.end().await;

    let log = log.0.lock().unwrap();
    assert!(log.contains("refused") && log.contains("farewell"), "nothing was logged: {log}");
    for secret in ["canary-of-mail", "AGNhbmFyeS1v", "AGNhci03", "AHByb3h5"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
