//! What a client is told when it cannot be joined with its terminal: a code, a sentence, a cure.
//!
//! The texts stand in `docs/errors.md` too, and a test keeps both equal. How a refusal looks in
//! SOCKS, HTTP or TLS is for the ingress to say.

use std::fmt;
use std::time::Duration;

use crate::hello::Outcome;

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The request did not name a terminal in time, or in the room it has.
    Incomplete,
    /// No terminal has the name.
    Unknown,
    /// A limit on waiting clients or pending rings is met.
    Busy,
    /// Nobody dialed back within the client's patience.
    NoAnswer,
    /// The terminal refused the connection.
    TerminalRefused,
    /// The private proxy has no way to the terminal.
    TerminalUnreachable,
    /// The terminal did not answer the private proxy in time.
    TerminalSilent,
    /// The private proxy's table knows no such service.
    NoService,
    /// No route took the signal.
    Unringable,
    /// The public proxy is shutting down.
    Stopping,
    /// The client's network is not among those that the service allows.
    NotAllowed,
    /// The service asks for a credential, and none or a wrong one was shown.
    Unauthorized,
    /// Too many wrong credentials came from the client's address.
    LockedOut(Duration),
    /// Nobody has opened the service's port for the client's address.
    NotArmed,
    /// The service is reached end to end only.
    EndToEndOnly,
    /// The private proxy does not grant the service to this client.
    NotGranted,
    /// The tunnel that the service is to be reached by cannot be brought up.
    NoTunnel,
    /// The terminal's keys have not been exchanged yet.
    NotEnrolled,
    /// The client may not ring the terminal by itself, or not by such a bearer.
    NoOwnRing,
    /// A budget is used up, for so long.
    Overspent(Budget, Duration),
}

/// Which budget a ring would overdraw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// Rings of one terminal.
    Terminal,
    /// Rings caused from one source.
    Client,
    /// Rings of one tenant.
    Tenant,
    /// Money of one tenant.
    Money,
    /// Rings of everybody, while nobody answers.
    Breaker,
}

impl Refusal {
    /// Every refusal, in the order of the documentation.
    pub const ALL: [Self; 24] = [
        Self::Incomplete,
        Self::Unknown,
        Self::Busy,
        Self::NoAnswer,
        Self::TerminalRefused,
        Self::TerminalUnreachable,
        Self::TerminalSilent,
        Self::NoService,
        Self::Unringable,
        Self::Stopping,
        Self::NotAllowed,
        Self::Unauthorized,
        Self::LockedOut(Duration::ZERO),
        Self::NotArmed,
        Self::EndToEndOnly,
        Self::NotGranted,
        Self::NoTunnel,
        Self::NotEnrolled,
        Self::NoOwnRing,
        Self::Overspent(Budget::Terminal, Duration::ZERO),
        Self::Overspent(Budget::Client, Duration::ZERO),
        Self::Overspent(Budget::Tenant, Duration::ZERO),
        Self::Overspent(Budget::Money, Duration::ZERO),
        Self::Overspent(Budget::Breaker, Duration::ZERO),
    ];

    /// The refusal's stable name, for programs and for `grep`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Incomplete => "RB-INCOMPLETE",
            Self::Unknown => "RB-UNKNOWN",
            Self::Busy => "RB-BUSY",
            Self::NoAnswer => "RB-NO-ANSWER",
            Self::TerminalRefused => "RB-TERMINAL-REFUSED",
            Self::TerminalUnreachable => "RB-TERMINAL-UNREACHABLE",
            Self::TerminalSilent => "RB-TERMINAL-SILENT",
            Self::NoService => "RB-NO-SERVICE",
            Self::Unringable => "RB-UNRINGABLE",
            Self::Stopping => "RB-STOPPING",
            Self::NotAllowed => "RB-NOT-ALLOWED",
            Self::Unauthorized => "RB-UNAUTHORIZED",
            Self::LockedOut(_) => "RB-LOCKED-OUT",
            Self::NotArmed => "RB-NOT-ARMED",
            Self::EndToEndOnly => "RB-END-TO-END",
            Self::NotGranted => "RB-NOT-GRANTED",
            Self::NoTunnel => "RB-NO-TUNNEL",
            Self::NotEnrolled => "RB-NOT-ENROLLED",
            Self::NoOwnRing => "RB-NO-OWN-RING",
            Self::Overspent(Budget::Terminal, _) => "RB-BUDGET-TERMINAL",
            Self::Overspent(Budget::Client, _) => "RB-BUDGET-CLIENT",
            Self::Overspent(Budget::Tenant, _) => "RB-BUDGET-TENANT",
            Self::Overspent(Budget::Money, _) => "RB-BUDGET-MONEY",
            Self::Overspent(Budget::Breaker, _) => "RB-BREAKER",
        }
    }

    /// What happened, in one sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Incomplete => "The request did not say which terminal it is for.",
            Self::Unknown => "No terminal has this name.",
            Self::Busy => "Too many clients are waiting.",
            Self::NoAnswer => "The terminal was rung and did not answer in time.",
            Self::TerminalRefused => "The terminal answered, but its service refused.",
            Self::TerminalUnreachable => {
                "The private proxy answered, but cannot reach the terminal."
            }
            Self::TerminalSilent => "The private proxy answered, but the terminal did not.",
            Self::NoService => "The terminal has no such service, or not by this way.",
            Self::Unringable => "The terminal could not be rung: no route took the signal.",
            Self::Stopping => "The public proxy is shutting down.",
            Self::NotAllowed => "The service is not open to your network.",
            Self::Unauthorized => "The service wants to know who you are.",
            Self::LockedOut(_) => "Too many wrong credentials came from your address.",
            Self::NotArmed => "The port is closed to your address until somebody logs in from it.",
            Self::EndToEndOnly => "The service is reached end to end only.",
            Self::NotGranted => "The terminal's side does not grant you the service.",
            Self::NoTunnel => "The tunnel that the service asks for cannot be brought up.",
            Self::NotEnrolled => "The terminal has not been enrolled yet.",
            Self::NoOwnRing => "You may not ring the terminal yourself, or not by such a bearer.",
            Self::Overspent(Budget::Terminal, _) => "The terminal was rung too often.",
            Self::Overspent(Budget::Client, _) => "Your address has caused too many rings.",
            Self::Overspent(Budget::Tenant, _) => "The terminal's owner has no rings left.",
            Self::Overspent(Budget::Money, _) => {
                "The terminal's owner has no money left for rings."
            }
            Self::Overspent(Budget::Breaker, _) => {
                "Nobody has answered for a while, so nobody is rung."
            }
        }
    }

    /// What the client, or whoever helps it, can do.
    pub fn cure(self) -> &'static str {
        match self {
            Self::Incomplete => "Send a host name (SNI, Host, SOCKS or CONNECT) right away.",
            Self::Unknown => {
                "Check the name; the operator of the public proxy lists its terminals."
            }
            Self::Busy => "Try again in a few seconds.",
            Self::NoAnswer => {
                "Try again; if it persists, see that the terminal is on and in reach."
            }
            Self::TerminalRefused => "See that the service runs on the terminal, then try again.",
            Self::TerminalUnreachable => "See that the terminal is on its network, then try again.",
            Self::TerminalSilent => "See that the terminal is on and not asleep, then try again.",
            Self::NoService => {
                "Ask for another port or protocol, or add the service to both proxies' tables."
            }
            Self::Unringable => "Ask the operator of the public proxy to check the routes.",
            Self::Stopping => "Try again in a minute.",
            Self::NotAllowed => "Come from an allowed network, or ask the operator to add yours.",
            Self::Unauthorized => {
                "Show a credential, or a key, that the operator of the public proxy has listed."
            }
            Self::LockedOut(_) => "Wait until the time told is over, then log in rightly.",
            Self::NotArmed => {
                "Log in on the terminal's knock page, or run `ringback connect --knock`."
            }
            Self::EndToEndOnly => "Use `ringback connect` with a key that the terminal knows.",
            Self::NotGranted => "Ask whoever runs the private proxy to grant it.",
            Self::NoTunnel => {
                "Ask the operators of both proxies to run `ringback doctor`: IPsec, or UDP on the way, may be down."
            }
            Self::NotEnrolled => "Run `ringback enrol` at both proxies.",
            Self::NoOwnRing => {
                "Leave `--ring-with` out, or ask the operator of the public proxy for `may_ring`."
            }
            Self::Overspent(Budget::Terminal | Budget::Client | Budget::Tenant, _) => {
                "Wait until the time told is over; a running connection costs no ring."
            }
            Self::Overspent(Budget::Money, _) => {
                "Wait until the time told is over, or ask the owner for a larger budget."
            }
            Self::Overspent(Budget::Breaker, _) => {
                "Wait; the operator of the public proxy has been told."
            }
        }
    }

    /// After how long it makes sense to try again; `None` if somebody must mend something first.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Incomplete
            | Self::Unknown
            | Self::NoService
            | Self::NotAllowed
            | Self::Unauthorized
            | Self::NotArmed
            | Self::EndToEndOnly
            | Self::NotGranted
            | Self::NotEnrolled
            | Self::NoOwnRing => None,
            Self::LockedOut(wait) | Self::Overspent(_, wait) => Some(wait),
            Self::Busy => Some(Duration::from_secs(5)),
            Self::NoAnswer
            | Self::TerminalRefused
            | Self::TerminalUnreachable
            | Self::TerminalSilent
            | Self::NoTunnel => Some(Duration::from_secs(30)),
            Self::Unringable | Self::Stopping => Some(Duration::from_secs(60)),
        }
    }

    /// The refusal that a code and a time to wait stand for, as a client of ours is told them.
    pub fn by_code(code: &str, wait: Duration) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|it| it.code() == code)?;
        Some(match found {
            Self::LockedOut(_) => Self::LockedOut(wait),
            Self::Overspent(budget, _) => Self::Overspent(budget, wait),
            Self::Incomplete
            | Self::Unknown
            | Self::Busy
            | Self::NoAnswer
            | Self::TerminalRefused
            | Self::TerminalUnreachable
            | Self::TerminalSilent
            | Self::NoService
            | Self::Unringable
            | Self::Stopping
            | Self::NotAllowed
            | Self::Unauthorized
            | Self::NotArmed
            | Self::EndToEndOnly
            | Self::NotGranted
            | Self::NoTunnel
            | Self::NotEnrolled
            | Self::NoOwnRing => found,
        })
    }

    /// What a client is told of an outcome; `None` if nothing is wrong with it.
    pub fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Connected | Outcome::NotTried => None,
            Outcome::Refused => Some(Self::TerminalRefused),
            Outcome::Unreachable => Some(Self::TerminalUnreachable),
            Outcome::Silent => Some(Self::TerminalSilent),
            Outcome::UnknownService => Some(Self::NoService),
            Outcome::NotGranted => Some(Self::NotGranted),
            Outcome::NoTunnel => Some(Self::NoTunnel),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code(), self.sentence(), self.cure())
    }
}
