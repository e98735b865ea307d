//! Every bound of the bearers. When one is met, its line says who loses.

use std::time::Duration;

/// Messages a transmitter takes that its bearer has not looked at yet; the newest is refused.
pub const ORDERS: usize = 64;
/// Messages heard that nobody has taken yet; the operator keeps the next ones.
pub const HEARD: usize = 64;
/// Steps of one message's story; nothing is ever lost of it.
pub const PROGRESS: usize = 4;
/// Messages whose receipt is awaited; the oldest is no longer told of its own.
pub const RECEIPTS: usize = 1024;
/// How long a connection may take, TLS included; then it is tried again later.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last octets may take before a connection is closed; then they are lost.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
/// Octets to an operator that does not read; nothing more is read from it until they have gone.
pub const UNWRITTEN_OCTETS: usize = 64 * 1024;

// Modems.

/// Octets to a modem that does not read; nothing more is read from it until they have gone.
pub const UNWRITTEN_TO_MODEM: usize = 4096;

// E-mail.

/// Mails that are being submitted; the next ones stay in the queue.
pub const MAILS_UNDER_WAY: usize = 64;
/// Connections to a submission server; a mail waits until one is free.
pub const MAIL_CONNECTIONS: usize = 4;
/// Mails over one connection to a submission server: some put the eleventh aside until they look
/// through their queue (Exim's `smtp_accept_queue_per_connection`); the next has a new connection.
pub const MAILS_PER_CONNECTION: usize = 10;
/// How long an unused connection to a submission server is kept; then it is closed.
pub const MAIL_KEPT: Duration = Duration::from_secs(30);
/// Times a mail is offered while the server refuses it for now; then it has failed.
pub const MAIL_TRIES: usize = 3;
/// How long a mail rests before it is offered again.
pub const MAIL_AGAIN: Duration = Duration::from_secs(5);
/// How long a submission server may take for an answer; then its connection is closed.
pub const MAIL_ANSWER: Duration = Duration::from_secs(30);
/// How long to leave a mail server alone that cannot be used: the first pause, and the longest.
pub const MAIL_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a mailbox may take for a command; then its connection is closed.
pub const MAILBOX_ANSWER: Duration = Duration::from_secs(60);
/// How long a mailbox is waited for at most before it is asked again: servers hang up on who is
/// silent for half an hour (RFC 2177).
pub const MAILBOX_IDLE: Duration = Duration::from_secs(28 * 60);
/// Octets of the file that keeps a mailbox's bookmarks; of a longer one nothing is believed.
pub const BOOKMARK_OCTETS: u64 = 1024 * 1024;
/// How long a mail server may be silent before it is asked whether it is still there; also what keeps
/// a NAT on the way from forgetting a mailbox that is waited for.
pub const MAIL_KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// How long after each question without an answer the next one follows.
pub const MAIL_KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
/// Questions without an answer; then the connection is lost.
pub const MAIL_KEEPALIVE_TRIES: u32 = 3;

// E-mail that fails.

/// Times a mail is fetched alone that cannot be fetched; then it is passed over.
pub const MAIL_ALONE_TRIES: usize = 2;
