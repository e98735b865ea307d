//! HTTP APIs for SMS without a socket: the request that sends one, what its answer means, and the
//! posts by which a provider brings one.
//!
//! It knows no provider's account and no connection. Every reader here takes any octets, bounded by
//! whoever reads them from the network, and never fails worse than by finding nothing.
//!
//! [`preset`] holds the providers that are known by name, [`template`], [`body`] and [`url`] make a
//! request, [`answer`] judges what comes back, [`post`] reads what a provider brings, [`signature`]
//! says what a provider has signed, [`replay`] remembers what was brought.

pub mod answer;
pub mod body;
pub mod post;
pub mod preset;
pub mod replay;
pub mod signature;
pub mod template;
pub mod url;
