//! Why an access request was not obeyed, and how often.
//!
//! For the log at DEBUG and for counters: never told to whoever sent it.

use thiserror::Error;

use super::Forbidden;
use crate::access_request::Malformed;
use crate::freshness::Stale;

/// Why a private proxy would not obey what it heard, in the order of the checks.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// No signal, or one that does not open.
    #[error("not a well-formed access request: {0}")]
    Malformed(#[from] Malformed),
    /// No subscriber has this key id.
    #[error("of a key id that this private proxy does not know")]
    UnknownKid,
    /// Sealed with another suite than its key id's.
    #[error("sealed with another suite than its key's")]
    Suite,
    /// Too many have been opened in vain.
    #[error("more signals in a second than are opened in vain")]
    TooMany,
    /// The public proxy's address and port are not in our table.
    #[error("from a public proxy that may not ring here")]
    ForeignProxy,
    /// The service is not offered over such a tunnel.
    #[error("for a type of tunnel that its service is not offered over")]
    Tunnel,
    /// The address lies in a listed network, but is none that a public proxy can have.
    #[error("to dial {0}, which is not listed by itself")]
    Forbidden(Forbidden),
    /// For another terminal.
    #[error("for another terminal")]
    WrongCallee,
    /// For a service that is not in our table.
    #[error("for a service that this terminal does not have")]
    UnknownService,
    /// Not of now.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Its number has been used, or is too old to tell.
    #[error("already obeyed")]
    Replayed,
    /// The role stops.
    #[error("heard while stopping")]
    Stopping,
    /// Too many of the same key id are on their way.
    #[error("too many dials are on their way for its terminal")]
    Busy,
    /// Too many of the same key id have been dialed for.
    #[error("more dials in a minute than its terminal is given")]
    TooManyDials,
}

/// What the dialer has seen and done since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All that was heard, signal or not.
    pub heard: u64,
    /// Requests that earned a dial.
    pub obeyed: u64,
    /// Requests that were dropped because they were cancelled.
    pub cancelled: u64,
    /// Windows that never reached the disk.
    pub not_remembered: u64,
    /// Dials that were accepted.
    pub served: u64,
    /// Dials that came too late.
    pub gone: u64,
    /// Dials that met the wrong public proxy, or were not let in.
    pub refused: u64,
    /// Requests that nobody could be reached for in time.
    pub given_up: u64,
    /// Of no signal's length or version.
    pub shapeless: u64,
    /// Seals that did not open.
    pub sealed: u64,
    /// Seals that opened upon a field out of its range.
    pub fields: u64,
    /// Of an unknown key id.
    pub unknown_kid: u64,
    /// Of another suite than the key's.
    pub suite: u64,
    /// Not opened, since too many were in vain.
    pub too_many: u64,
    /// From public proxies that are not in the table.
    pub foreign_proxy: u64,
    /// To addresses that no public proxy can have.
    pub forbidden: u64,
    /// For a type of tunnel that is not in the table.
    pub tunnel: u64,
    /// For other terminals.
    pub wrong_callee: u64,
    /// For services that are not in the table.
    pub unknown_service: u64,
    /// Too old.
    pub expired: u64,
    /// From the future.
    pub not_yet: u64,
    /// Heard again.
    pub replayed: u64,
    /// Heard while stopping.
    pub stopping: u64,
    /// Over the bound of dials on their way.
    pub busy: u64,
    /// Over the bound of dials in a minute.
    pub too_many_dials: u64,
}

impl Counters {
    pub(super) fn count(&mut self, rejection: &Rejection) {
        let counter = match rejection {
            Rejection::Malformed(Malformed::Length | Malformed::Version) => &mut self.shapeless,
            Rejection::Malformed(Malformed::Sealed) => &mut self.sealed,
            Rejection::Malformed(Malformed::Field(_)) => &mut self.fields,
            Rejection::UnknownKid => &mut self.unknown_kid,
            Rejection::Suite => &mut self.suite,
            Rejection::TooMany => &mut self.too_many,
            Rejection::ForeignProxy => &mut self.foreign_proxy,
            Rejection::Forbidden(_) => &mut self.forbidden,
            Rejection::Tunnel => &mut self.tunnel,
            Rejection::WrongCallee => &mut self.wrong_callee,
            Rejection::UnknownService => &mut self.unknown_service,
            Rejection::Stale(Stale::Expired(_)) => &mut self.expired,
            Rejection::Stale(Stale::NotYet(_)) => &mut self.not_yet,
            Rejection::Replayed => &mut self.replayed,
            Rejection::Stopping => &mut self.stopping,
            Rejection::Busy => &mut self.busy,
            Rejection::TooManyDials => &mut self.too_many_dials,
        };
        *counter += 1;
    }
}
