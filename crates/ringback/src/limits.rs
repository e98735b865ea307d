//! Every bound of the shells: waits, queues and heads. When one is met, its line says who loses.

use std::time::Duration;

/// Octets a client may send before its terminal is named (HTTP head, ClientHello); then it is refused.
pub const HEAD_OCTETS: usize = 16 * 1024;
/// How long a client may take to name its terminal; then it is refused.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a private proxy may take from TCP to a whole hello; then its tunnel is closed.
pub const HELLO_PATIENCE: Duration = Duration::from_secs(15);
/// How far ahead sequence numbers are reserved on disk, in numbers and so in seconds; a crash skips
/// what was reserved.
pub const SEQUENCE_RESERVE: u32 = 300;
/// How often the reserve is looked after: often enough that no ring finds it used up by the clock.
pub const SEQUENCE_CHECK: Duration = Duration::from_secs(60);
/// Clients held or served at once by one public proxy; the newest is refused.
pub const CLIENTS: usize = 16_384;
/// Connections on the dial-back port that have not said a whole hello or request, or are being
/// refused; one of the network that has the most is closed.
pub const STRANGERS: usize = 1_024;
/// The same of one network (/24 or /56); the oldest of the address that has the most is closed.
pub const STRANGERS_PER_NETWORK: usize = 256;
/// Connections that the kernel keeps for a listener that is busy; it drops the newest.
pub const BACKLOG: i32 = 4_096;
/// Threads that carry sessions, in one process; a machine with more cores leaves them to others.
pub const WORKERS: usize = 64;
/// Events under way to a role's machine; whoever reports the next waits.
pub const EVENTS: usize = 1_024;
/// Orders under way to one tunnel; when they do not fit, the tunnel is closed.
pub const ORDERS: usize = 128;
/// How long a private proxy keeps silent about further signals that it does not obey.
pub const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
/// How long accepting pauses after the system refused, so that a full table does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection to a service may take; then the terminal counts as silent.
pub const SERVICE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a TCP connection to a public proxy may take; then the dial has failed.
pub const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// How long the network may take to tell its NAT64 prefix; then it counts as having none.
pub const NAT64_PATIENCE: Duration = Duration::from_secs(2);
/// How long the answer to a hello or to an open may take; then the tunnel is lost.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a few octets may take to be written; then whoever does not read them is cut off.
pub const SAY_PATIENCE: Duration = Duration::from_secs(5);
/// How often a tunnel on standby is pinged: below the idle limits seen at carriers' NATs.
pub const STANDBY_PING: Duration = Duration::from_secs(25);
/// How long a pong may take; then the tunnel is lost.
pub const PONG_PATIENCE: Duration = Duration::from_secs(10);
/// How long a tunnel may say nothing to its private proxy before it counts as lost: pings come
/// more often.
pub const STANDBY_SILENCE: Duration = Duration::from_secs(60);

/// Octets of a DNS query; a longer datagram is a format error, a longer message ends its connection.
pub const DNS_QUERY_OCTETS: usize = 4096;
/// DNS connections at once; the newest wait in the kernel's backlog.
pub const DNS_CONNECTIONS: usize = 256;
/// DNS connections at once from one source prefix; the newest is closed.
pub const DNS_CONNECTIONS_PER_PREFIX: usize = 32;
/// How long a DNS connection may be silent between two queries; then it is closed.
pub const DNS_IDLE: Duration = Duration::from_secs(10);
/// How long a DNS query may take from its first octet, and its answer to be taken; then the connection is closed.
pub const DNS_MESSAGE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the responder rests when it can neither receive nor accept, as when descriptors have run out.
pub const DNS_REST: Duration = Duration::from_millis(100);

// The simulated operator.

/// Connections it holds at once; the newest is refused.
pub const OPERATOR_CONNECTIONS: usize = 64;
/// Binds of one account; the newest is refused.
pub const OPERATOR_BINDS: usize = 8;
/// Messages under way; the newest is refused with a full queue.
pub const OPERATOR_UNDER_WAY: usize = 10_000;
/// Messages stored for an account that is not bound; the oldest is lost.
pub const OPERATOR_STORED: usize = 1_000;
/// Messages handed to one ESME and not yet acknowledged; the next ones wait.
pub const OPERATOR_DELIVERING: usize = 32;
/// Events of the sessions that wait for the exchange; a session that has one more waits.
pub const OPERATOR_EVENTS: usize = 256;
/// Words for one session: more than its unanswered submissions and deliveries. If they do not fit, it ends.
pub const OPERATOR_TOLD: usize = 128;
/// Octets an ESME may leave unread; then it is dropped.
pub const OPERATOR_UNWRITTEN_OCTETS: usize = 256 * 1024;
/// How long an ESME may take to bind; then it is dropped.
pub const OPERATOR_BIND_PATIENCE: Duration = Duration::from_secs(5);
/// How long an ESME may be idle before it is asked whether it is alive.
pub const OPERATOR_IDLE: Duration = Duration::from_secs(30);
/// How long an ESME may take to answer; then its messages are delivered again.
pub const OPERATOR_ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection's end may take; then it is cut.
pub const OPERATOR_FAREWELL: Duration = Duration::from_secs(2);
/// When a message is delivered again that an ESME could not take.
pub const OPERATOR_AGAIN: Duration = Duration::from_secs(1);
/// How long a message is kept at most; then it is lost.
pub const OPERATOR_VALIDITY: Duration = Duration::from_secs(48 * 3600);
/// The longest delay that can be configured.
pub const OPERATOR_DELAY: Duration = Duration::from_secs(3600);
/// Header fields of a request head that is read here; a request with more is refused.
pub const HEAD_FIELDS: usize = 128;
/// How long a refused client may take to hear it and hang up; then its connection is reset.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(3);
/// Octets of a refused client that are read and thrown away, so that it hears the refusal instead
/// of a reset; whoever sends more is reset.
pub const FAREWELL_OCTETS: u64 = 1024 * 1024;
/// Octets of the buffer between a session and a standard stream; whoever writes faster waits.
pub const STDIO_OCTETS: usize = 64 * 1024;
/// Octets of a large working buffer; whoever writes faster waits. Fewer cost more system calls, more
/// do not stay in the processor's cache.
pub const LARGE_OCTETS: usize = 256 * 1024;
/// Octets of a small one: a TLS record's.
pub const SMALL_OCTETS: usize = 16 * 1024;
/// Large working buffers that are lent at once; who comes next gets a small one.
pub const LARGE_BUFFERS: usize = 256;
/// Large working buffers that a thread keeps for whoever comes next; more are freed.
pub const KEPT_BUFFERS: usize = 4;
/// Free memory that the allocator keeps for records to come; more is the kernel's again.
pub const KEPT_FREE_OCTETS: usize = 8 * 1024 * 1024;
/// Octets of a session that TLS takes at once; the rest waits until these have left.
pub const SEALED_OCTETS: usize = LARGE_OCTETS;
/// A read of so many octets is a large one.
pub const LARGE_READ: usize = 16 * 1024;
/// So many large reads in a row, and the kernel moves the octets; so many small ones, and we copy.
pub const LARGE_READS: i16 = 3;
/// Sizes of a pipe, the best first; with any other it is not used.
pub const PIPE_OCTETS: [usize; 2] = [1024 * 1024, 256 * 1024];
/// Pipes that are open at once: half of what the kernel lets an ordinary user have at the best size.
/// Who comes next goes on copying.
pub const PIPES: usize = 32;
/// Pipes that a thread keeps for whoever comes next; more are closed.
pub const KEPT_PIPES: usize = 4;
/// How many large reads a session that got no pipe copies before it asks again.
pub const PIPE_AGAIN: i16 = 64;
/// Octets that one direction carries before others have their turn.
pub const TURN_OCTETS: u64 = 2 * 1024 * 1024;
/// How long a connection is silent before the kernel asks whether the other end is still there.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// How long the kernel waits before it asks again.
pub const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
/// How often the kernel asks in vain before the connection counts as cut.
pub const KEEPALIVE_TRIES: u32 = 3;
/// Octets read at once of a tunnel that is talked in; more than one frame may be among them.
pub const TALK_OCTETS: usize = 2_048;
/// How long threads may take to end after everything else has; then the process ends without them.
pub const LAST_THREADS: Duration = Duration::from_secs(1);
/// How long further signals count as the first one; a later one cuts what still runs.
pub const ONE_WISH: Duration = Duration::from_millis(300);

// Budgets.

/// Records that are appended to the journal of budgets before it is written anew, once nobody waits.
pub const JOURNAL_RECORDS: usize = 10_000;

// Clients that are not let in yet.

/// Clients whose request, handshake or log-in is not complete; one of the network that has the most
/// is closed.
pub const INCOMPLETE: usize = 2_000;
/// The same of one network (/24 or /56); the oldest of the address that has the most is closed.
pub const INCOMPLETE_PER_NETWORK: usize = 64;
/// The same where open files are scarce; with more it is a twentieth of them.
pub const FEW_INCOMPLETE: usize = 256;
/// Strangers where open files are scarce; with more it is a fortieth of them.
pub const FEW_STRANGERS: usize = 128;
/// Descriptors that no client and no stranger is given: for bearers, DNS, state and log.
pub const KEPT_FILES: usize = 512;
/// Clients that a limit on open files should leave room for; below, the operator is warned.
pub const FEW_CLIENTS: usize = 1_024;
/// How long a TLS handshake that ends here may take; then the client is closed.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a log-in on the knock page; a longer one is refused.
pub const LOG_IN_OCTETS: usize = 1_024;
/// Sources armed at once for one service; the one that knocked longest ago is forgotten.
pub const ARMED_PER_SERVICE: usize = 256;
/// The same of all services.
pub const ARMED: usize = 16_384;
/// The longest time that a source can be armed for, in minutes.
pub const KNOCK_MINUTES: u64 = 1_440;

// Credentials.

/// Lines of a users file; a longer file is a mistake.
pub const USERS: usize = 4_096;
/// Memory that one check of a password may take, in KiB; a line that asks for more is a mistake.
pub const ARGON2_KIB: u32 = 64 * 1024;
/// Passes over it; a line that asks for more is a mistake.
pub const ARGON2_PASSES: u32 = 8;
/// Lanes of it; a line that asks for more is a mistake.
pub const ARGON2_LANES: u32 = 4;
/// Passwords checked at once; the next wait for their turn.
pub const PASSWORDS_AT_ONCE: usize = 2;
/// Passwords that wait for their turn; the newest of the network with the most of them is refused.
pub const PASSWORDS_QUEUED: usize = 64;
/// The same of one source; its next is refused. Requests with the same password wait for one check.
pub const PASSWORDS_QUEUED_PER_SOURCE: usize = 2;
/// The same of one IPv4 network of 24 bits, or one IPv6 network of 56; its next is refused.
pub const PASSWORDS_QUEUED_PER_NETWORK: usize = 8;
/// How long a good credential is remembered, so that a page's many requests cost one check.
pub const GOOD_LIFE: Duration = Duration::from_secs(120);
/// Good credentials remembered; the oldest is forgotten, and checked when it comes again.
pub const GOOD_CREDENTIALS: usize = 4_096;
/// Wrong credentials of one source within the window; then it has to wait for the window's end.
pub const FAILURES: u32 = 10;
/// The same, whereupon not even a credential is good any more that was good a moment ago: or else
/// it could be guessed from its own source.
pub const FAILURES_OF_KNOWN: u32 = 100;
/// How long failures count, from the first one on.
pub const FAILURES_WINDOW: Duration = Duration::from_secs(300);
/// Sources whose failures are counted; the one that failed first is forgotten.
pub const FAILING_SOURCES: usize = 16_384;
/// How long a nonce of Digest is good; then the client gets a new one and its user notices nothing.
pub const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Used nonces whose counts are kept; of the oldest and all made before it no count is good any more.
pub const NONCES_USED: usize = 4_096;
/// How long a service may believe an asserted identity.
pub const ASSERTION_LIFE: Duration = Duration::from_secs(60);
/// Octets of a password that is typed or piped in; a longer one is refused.
pub const PASSWORD_OCTETS: u64 = 1_024;

// `ringback connect`.

/// How long the inner handshake may take at either end, up to the word on the service; then the
/// session is cut.
pub const INNER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client waits to be accepted: longer than any public proxy holds it; then it gives up.
pub const ACCEPTANCE_PATIENCE: Duration = Duration::from_secs(660);
/// How long a TCP connection to one of the public proxy's addresses may take; then the next is tried.
pub const CLIENT_DIAL_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of a public proxy that a client tries; the last are not tried.
pub const CLIENT_DIALS: usize = 8;
/// How long a client waits in silence before it says what it is waiting for.
pub const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// How often it says so anew.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Local connections that `ringback connect -L` carries at once; the next wait in the kernel's backlog.
pub const LOCAL_CONNECTIONS: usize = 256;
/// How long a local connection may be idle; then its session is cut. The proxies' own limit is shorter.
pub const LOCAL_IDLE: Duration = Duration::from_secs(24 * 3600);

// Enrolment, rotation and revocation.

/// Offers that stand at once at one public proxy; the newest is refused.
pub const OFFERS: usize = 256;
/// How long an offer may stand at most.
pub const OFFER_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Files of one kind in a keyring; a keyring with more is refused.
pub const KEYRING_FILES: usize = 65_536;
/// Key ids on the list of those revoked; the newest is refused.
pub const REVOKED_KEYS: usize = 65_536;
/// Generations of one terminal's keys that a private proxy keeps unproved; the oldest is erased.
pub const GENERATIONS: usize = 4;
/// For how many seconds a private proxy still obeys keys that others have replaced; then they are erased.
pub const RETIRE_SECONDS: u64 = 30 * 24 * 3600;
/// How often a private proxy looks for keys to erase.
pub const RETIRE_CHECK: Duration = Duration::from_secs(3600);
/// Rings in an hour that prove one terminal's route; the newest is refused.
pub const PROBES_PER_HOUR: usize = 3;
/// For how many seconds a public proxy that does not run may be asked to prove a route; then not.
pub const PROVE_ASKED_SECONDS: u64 = 120;
/// How long the sealing end stays in one epoch of a shared key, unless configured.
pub const RATCHET_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a public proxy looks for keys to turn to their next epoch.
pub const RATCHET_CHECK: Duration = Duration::from_secs(60);
/// Keys turned to their next epoch at once; the others wait for the next look.
pub const RATCHETS_AT_ONCE: usize = 64;
/// For how long signals may still be sealed with keys that were replaced: as long as a client waits at most.
pub const REPLACED_KEYS: Duration = Duration::from_secs(600);
/// Enrolments that one source network may begin within the window; the newest is refused.
pub const ENROLMENTS_PER_SOURCE: u32 = 10;
/// How long enrolments count, from the first one on.
pub const ENROLMENTS_WINDOW: Duration = Duration::from_secs(60);
/// Source networks whose enrolments are counted; the one that began first is forgotten.
pub const ENROLMENT_SOURCES: usize = 1_024;
/// How long a private proxy may take to keep its keys; then its code can be redeemed again.
pub const KEEP_PATIENCE: Duration = Duration::from_secs(30);
/// How long whoever has redeemed a code may take to ask for the proof of its route; then it is not rung.
pub const PROVE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the proof of a route may take: a client's longest patience, and a little more.
pub const PROOF_PATIENCE: Duration = Duration::from_secs(630);
/// Words under way to whoever waits for the proof of a route; what does not fit is not told.
pub const PROOF_WORDS: usize = 4;
/// Octets of a code as it is read; what follows is not looked at.
pub const CODE_OCTETS: u64 = 4096;
/// How long a running role may take to read its configuration again; then the operator is told so.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(10);
/// How often whoever waits for that looks.
pub const RELOAD_LOOK: Duration = Duration::from_millis(50);

// The control socket, and what is asked by it.

/// Control connections at once; the next wait in the kernel's backlog.
pub const CONTROL_CONNECTIONS: usize = 8;
/// Octets of a question; a longer one is none.
pub const CONTROL_OCTETS: u64 = 1_024;
/// Octets of one line of an answer; a longer one is not believed.
pub const CONTROL_ANSWER_OCTETS: u64 = 256 * 1024;
/// How long a question may take to be asked, and a line of its answer to be taken; then the connection
/// is closed.
pub const CONTROL_PATIENCE: Duration = Duration::from_secs(5);
/// Rings that the role has been asked for and not looked at yet; whoever asks for the next waits.
pub const TRIALS_ASKED: usize = 4;
/// Stages of one trial that wait to be told; what does not fit is not told.
pub const TRIAL_STAGES: usize = 16;
/// Trials of routes in an hour, of all terminals; the newest is refused.
pub const TRIALS_PER_HOUR: usize = 30;
/// How long the doctor waits for what bearers find; what they do not know by then is told as such.
pub const DOCTOR_PATIENCE: Duration = Duration::from_secs(15);
/// How long bearers that the doctor has started may take to end; then they are cut.
pub const DOCTOR_FAREWELL: Duration = Duration::from_secs(2);

// Clients that ring by themselves.

/// Signals that wait for a client to take them; if it does not, it is refused.
pub const HANDED_SIGNALS: usize = 4;
/// Signals that a client sends by itself for one session, whatever the public proxy says; the next
/// ends it. Two ladders' worth: a tunnel may be lost before it is joined.
pub const OWN_SIGNALS: usize = 2 * ringback_proto::limits::SIGNALS_PER_RING;
/// How long a client's own bearer may take to end; then its process ends without it.
pub const OWN_BEARER_END: Duration = Duration::from_secs(5);

// IPsec.

/// Sessions that one proxy has at its daemon, those included that it awaits; the newest ring finds no
/// place. One of several tenants has a share of them, as of the switchboard.
pub const IPSEC_SESSIONS: usize = 256;
/// The same of one terminal.
pub const IPSEC_SESSIONS_PER_TERMINAL: usize = 32;
/// Connections inside one session's association that are heard at once; the oldest is closed.
pub const INNER_HELLOS: usize = 4;
/// Those that the kernel keeps until they are; it drops the newest.
pub const INNER_BACKLOG: i32 = 4;
/// How long the daemon may take to begin to listen; then it is ended and started again.
pub const CHARON_START: Duration = Duration::from_secs(5);
/// How often it is looked whether it does.
pub const CHARON_LOOK: Duration = Duration::from_millis(10);
/// How often it is looked whether UDP port 4500 has become free, until the same time is over.
pub const PORT_LOOK: Duration = Duration::from_millis(100);
/// How often the daemon is asked whether an association is still there when it does not say; then the
/// association's tunnel is cut.
pub const ASSOCIATION_LOOKS: usize = 3;
/// How long to wait before it is asked again.
pub const ASSOCIATION_LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How often it is looked what the daemon has of sessions that are over. What is found twice in a row goes.
pub const IPSEC_SWEEP: Duration = Duration::from_secs(10);
/// How much of that goes at once; the rest waits for the next look.
pub const IPSEC_SWEPT: usize = 64;
/// How long a daemon that has ended, or cannot be reached, is left alone before the next try.
pub const CHARON_PAUSE: Duration = Duration::from_secs(3);
/// How long the daemon may take to end; then it is left to its keeper.
pub const CHARON_FAREWELL: Duration = Duration::from_secs(3);
/// How soon a connection to the daemon is tried again that its kernel had no place for, within the same
/// patience.
pub const VICI_AGAIN: Duration = Duration::from_millis(5);
/// How long the daemon may take for what needs no network; then the session is refused.
pub const VICI_PATIENCE: Duration = Duration::from_secs(3);
/// How long all that a session needs at the daemon may take to be loaded, the wait for its turn included;
/// then the session is refused.
pub const IPSEC_LOAD_PATIENCE: Duration = Duration::from_secs(4);
/// How often the daemon is asked whether it still answers.
pub const CHARON_PULSE: Duration = Duration::from_secs(5);
/// How long it may take to; then it is ended, its sessions are cut, and it is started again.
pub const CHARON_PULSE_PATIENCE: Duration = Duration::from_secs(5);
/// Octets read at once from the daemon.
pub const VICI_READ_OCTETS: usize = 4 * 1024;
/// How long a tunnel keeps a ring back whose session is not awaited yet; then it is not said.
pub const AWAIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an address or a route may take to be set; then the session is refused.
pub const IP_PATIENCE: Duration = Duration::from_secs(3);
/// How long an association may take, its retransmissions included; then there is no way for it.
pub const IKE_PATIENCE: Duration = Duration::from_secs(5);
/// Pauses between the tries of one association that was refused at once; then it is refused.
pub const IKE_AGAIN: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(500)];
/// How long the connection inside may take; then the association is of no use.
pub const INNER_DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// Associations that are set up at once by one private proxy; the next wait for their turn, within the
/// same patience.
pub const IKE_AT_ONCE: usize = 16;
/// How long the far end of an association may be silent before it is asked whether it is there, in
/// seconds. What a NAT has forgotten is mended by the asking.
pub const IKE_SILENCE_SECONDS: u64 = 5;
/// How long an association may take to be ended in order; then it is ended by force.
pub const IKE_FAREWELL: Duration = Duration::from_secs(1);
/// Sessions after which the daemon's credentials are loaded anew: it never forgets a public key by itself.
pub const IPSEC_RENEWAL: usize = 128;
/// How much longer than its signal a session is awaited: as long as a dial that began in time may take.
pub const IPSEC_GRACE: Duration = Duration::from_secs(15);

// QUIC.

/// How long a connection may take; then there is no way for it.
pub const QUIC_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take on a connection that was there before; then it is asked for on another.
pub const QUIC_ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// Connections of a private proxy to one public proxy's address and key; when all their tunnels are taken,
/// the newest ring is not answered before one has ended.
pub const QUIC_CONNECTIONS: usize = 8;
/// How long a dial waits for a tunnel on a connection that has none left; then it makes another one.
pub const QUIC_STREAM_PATIENCE: Duration = Duration::from_secs(1);
/// How long the far end of a connection may be silent; then all its tunnels are cut.
pub const QUIC_SILENCE: Duration = Duration::from_secs(60);
/// How long a connection with tunnels is silent before its private proxy says that it is there: NATs
/// forget UDP after half a minute.
pub const QUIC_KEEPALIVE: Duration = Duration::from_secs(15);
/// How often a private proxy with a connection looks whether its own address is another one.
pub const QUIC_ADDRESS_CHECK: Duration = Duration::from_secs(1);
/// How long a public proxy keeps a connection without tunnels, in case that the next one is under way;
/// it takes a stranger's place meanwhile.
pub const QUIC_LINGER: Duration = Duration::from_secs(3);
/// Tunnels of one connection; the next one is opened on another.
pub const QUIC_STREAMS: u32 = 256;
/// The same until the first hello was accepted.
pub const QUIC_FIRST_STREAMS: u32 = 4;
/// Tunnels that a connection may have had in all until then; no further one is heard, and the connection
/// is closed when its time for a hello is over.
pub const QUIC_STRANGE_STREAMS: usize = 16;
/// Octets on their way in one direction of a connection; whoever sends waits. As many as all its tunnels
/// may have unread, or else a few that nobody reads would hold up the others.
pub const QUIC_WINDOW: u32 = QUIC_STREAMS * QUIC_STREAM_WINDOW;
/// The same of what a stranger sends.
pub const QUIC_FIRST_WINDOW: u32 = 16 * 1024;
/// The same of one tunnel.
pub const QUIC_STREAM_WINDOW: u32 = 512 * 1024;
/// Octets of a UDP socket's buffers that the system is asked for; what comes beyond them is lost, and
/// sent again.
pub const QUIC_SOCKET_OCTETS: usize = 2 * 1024 * 1024;
/// Handshakes that nobody has looked at yet; the next is refused.
pub const QUIC_INCOMING: usize = 256;
/// Octets that one of them may send before.
pub const QUIC_INCOMING_OCTETS: u64 = 16 * 1024;
/// Strangers up to whom an address is believed without a proof, which costs a round trip.
pub const QUIC_BELIEVED: usize = 4;
