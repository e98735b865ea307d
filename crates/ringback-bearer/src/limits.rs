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

// HTTP APIs for SMS.

/// Times a message is posted while the API refuses it for now; then it has failed.
pub const HTTP_TRIES: u32 = 4;
/// How long a message rests before it is posted again, if the API does not say.
pub const HTTP_AGAIN: Duration = Duration::from_secs(2);
/// The longest wait that an API may ask for before a message rests here; for more it has failed for now.
/// So all tries together are over before a bearer counts as down (`ringback_proto::limits::HELD_FOR`).
pub const HTTP_HELD: Duration = Duration::from_secs(4);
/// How long to leave an API alone that cannot be connected to: the first pause, and the longest.
pub const HTTP_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long an API may want to be left alone; if it wants more, this is told.
pub const HTTP_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How long an API may take for an answer unless configured; then nobody knows whether it has the
/// message. Shorter than a ladder waits for a bearer that holds a signal.
pub const HTTP_ANSWER: Duration = Duration::from_secs(10);
/// Octets of an API's answer; of a longer one nothing is believed but its status.
pub const HTTP_ANSWER_OCTETS: usize = 64 * 1024;
/// Fields of the head of a request or of an answer; one with more is not read.
pub const HTTP_FIELDS: usize = 64;
/// Octets of the head of a request or of an answer; a longer one ends the connection.
pub const HTTP_HEAD_OCTETS: usize = 16 * 1024;
/// Messages that may still be taken back; the newest is not if there are more.
pub const HTTP_RECALLABLE: usize = 256;
/// Octets of a post by a provider; a longer one is rejected.
pub const HTTP_POST_OCTETS: usize = 8 * 1024;
/// Connections to the webhook; the oldest gives way to the next, and a provider posts again.
pub const HTTP_CONNECTIONS: usize = 64;
/// Posts over one connection; the next has a new connection.
pub const HTTP_POSTS_PER_CONNECTION: u32 = 32;
/// How long TLS, a head or a post may take; then the connection is closed.
pub const HTTP_READ: Duration = Duration::from_secs(5);
/// How long a connection to the webhook may last; then it is closed, and the provider posts again.
pub const HTTP_CONNECTION: Duration = Duration::from_secs(60);
/// How long to wait before a port that somebody else holds is tried again.
pub const HTTP_LISTEN_AGAIN: Duration = Duration::from_secs(5);

// ModemManager; what it shares with a modem of our own is in `ringback_proto::limits`.

/// How long ModemManager may take for an ordinary answer; then the bus is connected anew.
pub const MANAGER_ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to enable a modem; then that is tried again later.
pub const MANAGER_ENABLE: Duration = Duration::from_secs(90);
/// How long it may take to send a message; then its fate is unknown.
pub const MANAGER_SUBMIT: Duration = Duration::from_secs(120);
/// How long a modem may look for a network before that is told.
pub const MANAGER_SEARCH: Duration = Duration::from_secs(20);
/// How long what was heard is left in the store: ModemManager 1.20 misses what comes while it deletes
/// (until it enables the modem again), and one message often comes close behind another.
pub const MANAGER_DELETES_AFTER: Duration = Duration::from_secs(2);
/// Octets of a message heard: those of one SMS in its longest form; a longer one is deleted.
pub const MANAGER_MESSAGE_OCTETS: usize = 640;

// SMPP.

/// Hosts of one account; a configuration with more is refused.
pub const SMPP_HOSTS: usize = 4;

// E-mail that fails.

/// Times a mail is fetched alone that cannot be fetched; then it is passed over.
pub const MAIL_ALONE_TRIES: usize = 2;
