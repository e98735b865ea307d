//! What is written down of budgets, one line of words a record.
//!
//! Knows no file and no checksum: those are the shell's.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::access_request::Kid;
use crate::gate::Source;
use crate::switchboard::{Call, CallEnd};
use crate::terminal::TenantName;

use super::history::Entry;
use super::{Charge, Money};

/// One thing that changes budgets. Entered in order they lead to the same budgets again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// So far the time that counts is ahead of the clock from now on.
    Ahead {
        /// How far.
        seconds: u64,
    },
    /// A signal was paid for.
    Charged {
        /// When.
        at: u64,
        /// What for.
        charge: Charge,
    },
    /// A call has ended.
    Ended {
        /// When.
        at: u64,
        /// Which.
        call: u64,
        /// Whose terminal's.
        kid: Kid,
        /// Whose.
        tenant: TenantName,
        /// How.
        how: CallEnd,
    },
    /// The sum of one second, for which the single records are no longer kept.
    Count {
        /// Whose.
        whose: Whose,
        /// How much.
        entry: Entry,
    },
    /// A terminal was last called then.
    Called {
        /// For whom.
        tenant: TenantName,
        /// Which.
        kid: Kid,
        /// When.
        at: u64,
    },
    /// So many calls of a terminal were unanswered since its tenant's last answered one.
    Unanswered {
        /// For whom.
        tenant: TenantName,
        /// Whose.
        kid: Kid,
        /// How many.
        calls: u64,
    },
    /// So many calls of a tenant count as unanswered since the last answered one of any.
    Row {
        /// Whose.
        tenant: TenantName,
        /// How many.
        calls: u64,
    },
    /// A breaker is open.
    Opened {
        /// A tenant's, or everybody's.
        whose: Option<TenantName>,
        /// Until when.
        until: u64,
    },
    /// A breaker lets one call pass at a time.
    HalfOpened {
        /// A tenant's, or everybody's.
        whose: Option<TenantName>,
        /// Which.
        call: u64,
        /// When its place is free, whatever became of it.
        until: u64,
    },
}

/// What a sum belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A terminal.
    Terminal(Kid),
    /// A source of clients.
    Source(Source),
    /// A tenant.
    Tenant(TenantName),
    /// Nobody: the calls that have ended.
    Calls,
}

/// The line is no record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a record of budgets")]
pub struct Damaged;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead { seconds } => write!(f, "ahead {seconds}"),
            Self::Charged { at, charge } => {
                let Charge { kid, source, tenant, price, call } = charge;
                let (source, price) = (source.address(), price.micros());
                let Call { id, signal } = call;
                write!(f, "charged {at} {kid} {source} {tenant} {price} {id} {signal}")
            }
            Self::Ended { at, call, kid, tenant, how } => {
                write!(f, "ended {at} {call} {kid} {tenant} {}", word(*how))
            }
            Self::Count { whose, entry: Entry { at, rings, money } } => {
                match whose {
                    Whose::Terminal(kid) => write!(f, "terminal {kid}")?,
                    Whose::Source(source) => write!(f, "source {}", source.address())?,
                    Whose::Tenant(tenant) => write!(f, "tenant {tenant}")?,
                    Whose::Calls => f.write_str("calls all")?,
                }
                write!(f, " {at} {rings} {money}")
            }
            Self::Called { tenant, kid, at } => write!(f, "called {tenant} {kid} {at}"),
            Self::Unanswered { tenant, kid, calls } => {
                write!(f, "unanswered {tenant} {kid} {calls}")
            }
            Self::Row { tenant, calls } => write!(f, "row {tenant} {calls}"),
            Self::Opened { whose: Some(tenant), until } => write!(f, "opened {tenant} {until}"),
            Self::Opened { whose: None, until } => write!(f, "all-opened {until}"),
            Self::HalfOpened { whose: Some(tenant), call, until } => {
                write!(f, "half-opened {tenant} {call} {until}")
            }
            Self::HalfOpened { whose: None, call, until } => {
                write!(f, "all-half-opened {call} {until}")
            }
        }
    }
}

impl FromStr for Record {
    type Err = Damaged;
    fn from_str(text: &str) -> Result<Self, Damaged> {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["ahead", seconds] => Ok(Self::Ahead { seconds: read(seconds)? }),
            ["charged", at, kid, source, tenant, price, id, signal] => {
                let charge = Charge {
                    kid: read_kid(kid)?,
                    source: read_source(source)?,
                    tenant: read(tenant)?,
                    price: Money::from_micros(read(price)?),
                    call: Call { id: read(id)?, signal: read(signal)? },
                };
                Ok(Self::Charged { at: read(at)?, charge })
            }
            ["ended", at, call, kid, tenant, how] => Ok(Self::Ended {
                at: read(at)?,
                call: read(call)?,
                kid: read_kid(kid)?,
                tenant: read(tenant)?,
                how: CallEnd::ALL.into_iter().find(|it| word(*it) == how).ok_or(Damaged)?,
            }),
            [kind @ ("terminal" | "source" | "tenant" | "calls"), name, at, rings, money] => {
                let whose = match kind {
                    "terminal" => Whose::Terminal(read_kid(name)?),
                    "source" => Whose::Source(read_source(name)?),
                    "tenant" => Whose::Tenant(read(name)?),
                    _ => Whose::Calls,
                };
                let entry = Entry { at: read(at)?, rings: read(rings)?, money: read(money)? };
                Ok(Self::Count { whose, entry })
            }
            ["called", tenant, kid, at] => {
                Ok(Self::Called { tenant: read(tenant)?, kid: read_kid(kid)?, at: read(at)? })
            }
            ["unanswered", tenant, kid, calls] => {
                let (tenant, kid) = (read(tenant)?, read_kid(kid)?);
                Ok(Self::Unanswered { tenant, kid, calls: read(calls)? })
            }
            ["row", tenant, calls] => Ok(Self::Row { tenant: read(tenant)?, calls: read(calls)? }),
            ["opened", tenant, until] => {
                Ok(Self::Opened { whose: Some(read(tenant)?), until: read(until)? })
            }
            ["all-opened", until] => Ok(Self::Opened { whose: None, until: read(until)? }),
            ["half-opened", tenant, call, until] => {
                let whose = Some(read(tenant)?);
                Ok(Self::HalfOpened { whose, call: read(call)?, until: read(until)? })
            }
            ["all-half-opened", call, until] => {
                Ok(Self::HalfOpened { whose: None, call: read(call)?, until: read(until)? })
            }
            _ => Err(Damaged),
        }
    }
}

fn word(how: CallEnd) -> &'static str {
    match how {
        CallEnd::Answered => "answered",
        CallEnd::Unanswered => "unanswered",
        CallEnd::Abandoned => "abandoned",
    }
}

fn read<T: FromStr>(word: &str) -> Result<T, Damaged> {
    word.parse().map_err(|_| Damaged)
}

fn read_kid(word: &str) -> Result<Kid, Damaged> {
    u32::from_str_radix(word, 16).map(Kid).map_err(|_| Damaged)
}

fn read_source(word: &str) -> Result<Source, Damaged> {
    Ok(Source::of(read(word)?))
}
