//! Every bound of the pure crate: what a specification sets, then what we set.
//!
//! When a limit is met somebody loses; each line says who.

use std::time::Duration;

use crate::dialer::Rate;

// What specifications set.

/// Octets of a binary SMS (3GPP TS 23.040, 9.2.3.24).
pub const SMS_OCTETS: usize = 140;
/// Characters of one GSM-7 text SMS (3GPP TS 23.038); a longer signal is refused at encoding.
pub const SMS_CHARACTERS: usize = 160;

// What we set.

/// Octets of a tunnel frame's body; a longer one ends the tunnel.
pub const FRAME_OCTETS: usize = 1024;
/// Octets of one frame of a session; a longer one cuts the tunnel.
pub const SESSION_FRAME_OCTETS: usize = 1024 * 1024;
/// Octets of a user's or a client's name; a longer one is refused where it is read.
pub const IDENTITY_OCTETS: usize = 64;
/// Clients that may wait for one terminal at once; the newest is refused as busy.
pub const WAITING_CLIENTS_PER_TERMINAL: usize = 64;
/// Signals that may be sent by one route for one ring, the first included; then it is only waited.
pub const SIGNALS_PER_RING: usize = 4;
/// When the further signals of a route leave, counted from the first: the earliest that nothing is
/// rung twice for its delay, the last early enough to be answered within a minute.
pub const SIGNAL_AGAIN: [Duration; SIGNALS_PER_RING - 1] =
    [Duration::from_secs(8), Duration::from_secs(20), Duration::from_secs(40)];
/// Times a bearer may fail to take the signals of one route for a while; then the next route is rung.
pub const FAILED_SIGNALS_PER_ROUTE: usize = 4;
/// How soon, at the soonest, a signal that a bearer could not take is offered to it again.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Rings that may await a dial-back in all; a new client is refused as busy, a new spare not rung.
pub const PENDING_RINGS: usize = 65_536;
/// Clients that may wait in all; the newest is refused as busy.
pub const WAITING_CLIENTS: usize = 16_384;
/// Tunnels of one terminal that may stand by; the newest is dismissed. Most of them have served:
/// room for as many clients as may wait, so that none of a steady stream needs a handshake.
pub const STANDBYS_PER_TERMINAL: usize = 64;
/// Tunnels of all terminals, unless the role has room for others; beyond them none is kept on standby.
pub const TUNNELS: usize = 16_384;
/// Spares that a terminal is rung for by what it was asked for of late; further clients of a rush
/// wait for a dial-back. A browser has six connections to a server, and asks for its icon.
pub const LEARNED_SPARES: usize = 8;
/// How long a terminal's peak of clients at once lasts, before one less is expected, and one standby
/// less is kept: a page that is looked at every few minutes finds its tunnels there.
pub const DEMAND_EBB: Duration = Duration::from_secs(120);
/// Further rings that one tunnel carries before its session; the clients beyond ring another way.
pub const RINGS_PER_TUNNEL: usize = 16;
/// Rings over tunnels of one terminal that await a dial-back at once; further clients are rung for when
/// one has come. Half of what its private proxy dials at once ([`DIALS_PER_KID`]), which drops the rest.
pub const TUNNEL_RINGS_AT_ONCE: usize = 32;
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
/// How long a message waits for a bind that is not there; then it has failed, and another bearer may
/// have its turn. After a refused bind none waits.
pub const SMPP_UNBOUND: Duration = Duration::from_secs(5);

// What a private proxy does for whoever rings it.

/// Signals by bearers that are opened in vain, whoever they are for; while it is used up, the newest
/// of who has used up its reserve are not opened. An opening takes 70 µs of a server's core in suite 2: at most a seventh of one core.
pub const OPENED_IN_VAIN: Rate = Rate { tokens: 2_000, per: Duration::from_secs(1) };
/// The same of one key id, so that a flood of one leaves room for the others: its newest are dropped.
pub const OPENED_IN_VAIN_PER_KID: Rate = Rate { tokens: 1_000, per: Duration::from_secs(1) };
/// What of these each key id is opened whatever the others have used up; beyond it, it shares.
pub const OPENED_IN_VAIN_RESERVE: Rate = Rate { tokens: 5, per: Duration::from_secs(1) };
/// Signals over tunnels that are opened in vain, apart from those by bearers: only a public proxy that
/// we dialed sends them. The newest of who has used up its reserve are not opened.
pub const OPENED_IN_VAIN_BY_TUNNEL: Rate = Rate { tokens: 500, per: Duration::from_secs(1) };
/// The same of one key id; its newest are dropped.
pub const OPENED_IN_VAIN_BY_TUNNEL_PER_KID: Rate = Rate { tokens: 50, per: Duration::from_secs(1) };
/// Requests of one key id by bearers that earn a dial; the newest is dropped.
pub const DIALS_BY_BEARER: Rate = Rate { tokens: 12, per: Duration::from_secs(60) };
/// Requests of one key id over tunnels that earn a dial; the newest is dropped, and its client is rung
/// for by SMS. A dial costs a private proxy 1 ms of a core: a public proxy may have a fifth of one.
pub const DIALS_BY_TUNNEL: Rate = Rate { tokens: 12_000, per: Duration::from_secs(60) };

// Budgets and shares.

/// Sources whose calls are remembered; while all are busy, a new source counts as having spent all.
pub const BUDGET_SOURCES: usize = 65_536;
/// Unanswered calls in a row that count of one terminal towards the breaker; further ones do not.
pub const BREAKER_CALLS_PER_TERMINAL: u64 = 3;
/// Tenants that the unanswered calls in a row must at least be of to stop everybody.
pub const BREAKER_TENANTS: u64 = 3;
/// How long a call must have gone unanswered to count so although its clients have left: as long as
/// a terminal that is well takes to dial back, so that nobody makes one seem dead by hanging up.
pub const ABANDONED_COUNTS_AFTER: Duration = SIGNAL_AGAIN[1];
/// Signals of a tenant in a day, unless configured; the newest rings nobody.
pub const TENANT_RINGS_PER_DAY: u64 = 1_000;
/// How far the wall clock may run ahead of the time that has passed since the process began, in
/// seconds; what it jumps further is not believed, and frees no budget.
pub const CLOCK_SLACK_SECONDS: u64 = 60;
/// Calls of the last hour below which their answers prove nothing; then no alarm is raised.
pub const ALARM_CALLS: u64 = 10;
/// Characters of a tenant's name; a longer one is refused where it is read.
pub const TENANT_OCTETS: usize = 32;
/// Clients of one source that may wait in all, unless configured; the newest is refused as busy.
pub const WAITING_CLIENTS_PER_SOURCE: usize = 20;
/// Which part of all waiting clients and pending rings one of several tenants may hold; its newest
/// is refused as busy.
pub const TENANT_SHARE: usize = 4;

// The client's door.

/// Octets of a terminal's name (RFC 1035, 2.3.4); a request with a longer one is refused.
pub const NAME_OCTETS: usize = 253;
/// Octets of a refusal's code; a longer one is no reply.
pub const CODE_OCTETS: usize = 32;

// Enrolment and rotation.

/// Epochs of a shared key that are kept after the next has come; an older signal is dropped.
pub const PREVIOUS_EPOCHS: usize = 2;
/// Epochs that a shared key is turned forward for one signal; a later one is dropped, and the terminal
/// must be enrolled again.
pub const RATCHET_REACH: u8 = 128;
/// Services that an offer names; a terminal with more is enrolled with the first.
pub const OFFERED_SERVICES: usize = 64;
/// Addresses of a public proxy that an offer names; the others are left out.
pub const OFFERED_ADDRESSES: usize = 8;
/// Octets of an offer; a longer one ends the enrolment.
pub const OFFER_OCTETS: usize = 1024;

// Modems: what specifications set.

/// Octets of a PDU as a modem gives it, the center's address included (3GPP TS 23.040, 9.2.2: 164
/// and 12); a longer one is not read, so that a modem's noise is never taken for a message.
pub const MODEM_PDU_OCTETS: usize = 176;
/// Digits of an address in a TPDU (3GPP TS 23.040, 9.1.2.5); a longer one cannot be built.
pub const MODEM_ADDRESS_DIGITS: usize = 20;

// Modems: what we set.

/// Octets of a line from a modem; of a longer one nothing is read.
pub const MODEM_LINE_OCTETS: usize = 1024;
/// Messages a modem's machine keeps until it may submit them; a full one takes no more.
pub const MODEM_WAITING: usize = 64;
/// Messages handed out and not yet taken; the modem or the network keeps the next ones.
pub const MODEM_HANDED: usize = 32;
/// Things to do in a modem's store; what is beyond is found when the store is listed again.
pub const MODEM_CHORES: usize = 64;
/// How long the line is left alone before and after the modem's attention is sought: late answers
/// of whoever spoke to it before us are lost then.
pub const MODEM_SETTLE: Duration = Duration::from_millis(300);
/// How long a modem may take to listen, and how often it is asked to before the port is opened anew.
pub const MODEM_ATTENTION: (Duration, u8) = (Duration::from_secs(1), 10);
/// How long an ordinary answer may take; then the dialog starts over.
pub const MODEM_ANSWER: Duration = Duration::from_secs(10);
/// How long an answer about the card or the store may take; then the dialog starts over.
pub const MODEM_STORE_ANSWER: Duration = Duration::from_secs(30);
/// How long a modem may take to ask for a message; then the dialog starts over and it is tried again.
pub const MODEM_PROMPT: Duration = Duration::from_secs(5);
/// How long the network may take to accept a message; then its fate is unknown.
pub const MODEM_SUBMIT: Duration = Duration::from_secs(60);
/// How long to wait before a busy card is asked again, and how often before the port is opened anew.
pub const MODEM_BUSY: (Duration, u8) = (Duration::from_secs(1), 30);
/// Times a message is given to the modem; then it fails.
pub const MODEM_TRIES: u8 = 3;
/// How long a message rests that the network could not take, before it is given to the modem again.
pub const MODEM_AGAIN: Duration = Duration::from_secs(3);
/// How long to leave a number alone that the network could not serve, tries included.
pub const MODEM_NUMBER_REST: Duration = Duration::from_secs(45);
/// How often the store is listed, for what a modem did not announce; it also shows whether it lives.
pub const MODEM_LISTING: Duration = Duration::from_secs(60);
/// How often a modem without a network is asked whether it has found one.
pub const MODEM_REGISTRATION: Duration = Duration::from_secs(5);
/// The shortest and the longest rest before a port is opened again.
pub const MODEM_REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The rest when somebody must first see to the card.
pub const MODEM_CARD_REST: Duration = Duration::from_secs(60);
/// How often a dialog may start over that never goes on for a while; then the port is opened anew.
pub const MODEM_RESTARTS: u8 = 5;
/// Tries that a card must have left for us to enter its PIN: somebody else may know it better.
pub const MODEM_PIN_TRIES: u8 = 3;

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

// A client's own rings: what we set.

/// Octets of a signal that a client is to send, with the address that it goes to: the longest
/// address and the longest signal; a longer one ends the connection.
pub const ERRAND_OCTETS: usize = 4 + 254 + 374;

// The ladder.

/// How long a bearer may keep a signal without handing it to its operator; then the next route is rung,
/// and the bearer has failed the call.
pub const HELD_FOR: Duration = Duration::from_secs(15);
/// Calls in a row that a bearer or a route may fail; then it is rung last.
pub const SINKS_AFTER: usize = 3;
/// How long what has sunk is rung last, before one call begins with it again.
pub const SUNK_FOR: Duration = Duration::from_secs(300);
/// Bearers and routes whose failures are remembered; while all have failed lately, of a new one nothing
/// is noted, and it never sinks.
pub const STANDINGS: usize = 16_384;

// HTTP APIs for SMS: what we set.

/// Fields of one post by a provider; one with more is refused. Twilio sends some twenty.
pub const SMS_API_POST_FIELDS: usize = 64;
/// Characters of an address in a provider's post; what stands behind them is not seen.
pub const SMS_API_ADDRESS_CHARACTERS: usize = 32;
/// Characters of a provider's name for a message; what stands behind them is not seen.
pub const SMS_API_MESSAGE_ID_CHARACTERS: usize = 64;
/// Characters of a provider's error code; a longer one is not told: it might be a sentence or a number.
pub const SMS_API_CODE_CHARACTERS: usize = 6;
/// Posts that are remembered as taken; the oldest is forgotten.
pub const SMS_API_REMEMBERED_POSTS: usize = 1024;

// IPsec.

/// Octets of a VICI packet, as strongSwan bounds it; a longer one ends the connection.
pub const VICI_OCTETS: usize = 512 * 1024;
/// Sections within one another in a VICI message; a deeper one ends the connection. A list of SAs has four.
pub const VICI_DEPTH: usize = 8;
