//! Every bound of the pure crate: what a specification sets, then what we set.
//!
//! When a limit is met somebody loses; each line says who.

use std::time::Duration;

// What specifications set.

/// Octets of a binary SMS (3GPP TS 23.040, 9.2.3.24).
pub const SMS_OCTETS: usize = 140;
/// Characters of one GSM-7 text SMS (3GPP TS 23.038); a longer signal is refused at encoding.
pub const SMS_CHARACTERS: usize = 160;

// What we set.

/// Octets of a tunnel frame's body; a longer one ends the tunnel.
pub const FRAME_OCTETS: usize = 1024;
/// Octets of a user's or a client's name; a longer one is refused where it is read.
pub const IDENTITY_OCTETS: usize = 64;
/// Clients that may wait for one terminal at once; the newest is refused as busy.
pub const WAITING_CLIENTS_PER_TERMINAL: usize = 64;
/// Signals that may be sent for one ring, the first included.
pub const SIGNALS_PER_RING: usize = 3;
/// When the second and the third signal of a ring leave, counted from the first.
pub const SIGNAL_AGAIN: [Duration; SIGNALS_PER_RING - 1] =
    [Duration::from_secs(8), Duration::from_secs(20)];
/// Times a bearer may fail to take the signals of one route for a while; then the next route is rung.
pub const FAILED_SIGNALS_PER_ROUTE: usize = 4;
/// How soon, at the soonest, a signal that a bearer could not take is offered to it again.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Rings that may await a dial-back in all; a new client is refused as busy, a new spare not rung.
pub const PENDING_RINGS: usize = 65_536;
/// Clients that may wait in all; the newest is refused as busy.
pub const WAITING_CLIENTS: usize = 16_384;
/// Tunnels of one terminal that may stand by; the newest is dismissed.
pub const STANDBYS_PER_TERMINAL: usize = 16;
/// Further rings that one tunnel carries before its session; the clients beyond ring another way.
pub const RINGS_PER_TUNNEL: usize = 16;
/// How long a client waits for a dial-back that was rung over a tunnel before its routes are rung.
pub const TUNNEL_RING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a signal sent over a tunnel is worth obeying; a later dial-back is dismissed.
pub const TUNNEL_RING_TTL: Duration = Duration::from_secs(30);
/// How long a standby may take to connect to its service; then it counts as lost and is closed.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(8);
/// What stands for "for ever" where a patience leads beyond what an `Instant` can hold.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// How far two clocks may lie apart before a signal counts as stale or not yet valid, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 660;
/// Sequence numbers a replay window remembers; an older one counts as replayed.
pub const REPLAY_WINDOW: u32 = 1024;
/// Signals a private proxy tries to open for one key id in a minute; the newest is dropped.
pub const SIGNALS_PER_KID_PER_MINUTE: u32 = 30;

// DNS: what specifications set.

/// Octets of an answer over UDP to who names no larger size (RFC 1035, 4.2.1); a longer one is truncated.
pub const DNS_UDP_OCTETS: usize = 512;
/// Octets of an answer over TCP (RFC 1035, 4.2.2); a longer one is truncated.
pub const DNS_TCP_OCTETS: usize = 65_535;

// DNS: what we set.

/// Octets of an answer over UDP to whoever names a larger size: what no path fragments (DNS flag day 2020).
pub const DNS_EDNS_OCTETS: u16 = 1232;
/// Nameservers of a zone; a zone with more is refused.
pub const NAMESERVERS: usize = 13;
/// Addresses of a terminal or a nameserver; a zone with more for one name is refused.
pub const ADDRESSES_PER_NAME: usize = 16;
/// Services published for one terminal; a zone with more for one terminal is refused.
pub const SERVICES_PER_TERMINAL: usize = 64;
/// Seconds a resolver may keep the SOA, the nameservers and their addresses.
pub const ZONE_TTL_SECONDS: u32 = 3600;
/// Queries over UDP answered in a second for one source prefix; the newest is slipped or dropped.
pub const DNS_QUERIES_PER_PREFIX_PER_SECOND: u32 = 200;
/// Queries over UDP answered at once for one source prefix that was quiet; the newest is slipped or dropped.
pub const DNS_QUERY_BURST: u32 = 400;
/// Source prefixes the throttle remembers; while all are busy, the newest counts as over its rate.
pub const DNS_PREFIXES: usize = 16_384;
/// Octets of a message that are searched for a signal; what stands behind them is not seen.
pub const MESSAGE_OCTETS: usize = 8192;
/// Access requests of one key id that may be on their way at once; the newest is dropped.
pub const DIALS_PER_KID: usize = 64;
/// Dials that one access request may cost, the first included.
pub const DIALS_PER_SIGNAL: usize = 3;
/// How long a private proxy waits before the second and the third dial.
pub const DIAL_AGAIN: [Duration; DIALS_PER_SIGNAL - 1] =
    [Duration::from_secs(1), Duration::from_secs(3)];
/// Octets of an SMPP PDU; a longer one ends the connection, since framing is lost with it.
pub const SMPP_PDU_OCTETS: usize = 4096;
/// Octets of a message carried by SMPP, in whichever field; a longer one is refused.
pub const SMPP_CONTENT_OCTETS: usize = 2048;
/// Messages that either end of an SMPP session holds before it has answered them; the newest is put
/// off with a temporary error, so that the other end keeps it.
pub const SMPP_UNANSWERED: usize = 64;
/// Messages an SMPP link keeps until it may submit them; a full one takes no more.
pub const SMPP_WAITING: usize = 256;
/// How long an unbind may take on shutdown; then the connection is closed without an answer.
pub const SMPP_UNBIND: Duration = Duration::from_secs(2);
/// Times a message is submitted again after a temporary failure of the message center.
pub const SMPP_RETRIES: u8 = 2;
/// How long to leave a message center alone that throttles: the first pause, and the longest.
pub const SMPP_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long to leave a number alone whose message queue is full.
pub const SMPP_QUEUE_FULL: Duration = Duration::from_secs(45);

// E-mail: what specifications set.

/// Octets of a line of a mail (RFC 5322, 2.1.1); a longer text is not sent.
pub const MAIL_LINE_OCTETS: usize = 998;
/// Octets of the boundary between a mail's parts (RFC 2046, 5.1.1); a mail with a longer one has no text.
pub const MAIL_BOUNDARY_OCTETS: usize = 70;

// E-mail: what we set.

/// Octets of a mail's body that are fetched; what stands behind them is not seen.
pub const MAIL_BODY_OCTETS: usize = 16 * 1024;
/// Octets of the few header fields that are fetched; what stands behind them is not seen.
pub const MAIL_HEADER_OCTETS: usize = 4096;
/// Multiparts within one another that are opened; the text of a deeper one is not seen.
pub const MAIL_NESTING: usize = 2;
/// Parts of a mail that are looked at, on all levels together; the text behind them is not seen.
pub const MAIL_PARTS: usize = 4;
/// Octets of a mail account's user, of its password and of a folder's name; a longer one is refused.
pub const MAIL_NAME_OCTETS: usize = 255;
/// Mails of a folder that may be new at once; the oldest are passed over.
pub const MAIL_BACKLOG: u32 = 1024;
/// Mails fetched by one command, the newest first; the older ones wait for the next.
pub const MAIL_BATCH: u32 = 16;
/// Octets of a server's answer to one SMTP command; a longer one ends the connection.
pub const SMTP_REPLY_OCTETS: usize = 16 * 1024;
/// Octets of one IMAP response, its literals included; a longer one ends the connection.
pub const IMAP_RESPONSE_OCTETS: usize = MAIL_HEADER_OCTETS + MAIL_BODY_OCTETS + 4096;
