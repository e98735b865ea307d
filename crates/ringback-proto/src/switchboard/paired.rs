//! The one place where a tunnel is let in.
//!
//! Decides nothing about clients, and tells nobody why a hello was not good enough.

use crate::access_request::{Protocol, SessionKeys, TunnelType};
use crate::hello::{self, Exporter, Hello, Outcome};

use super::{PublicKey, TunnelId};

/// Proof that a tunnel's far end holds the terminal's key and has opened one pending signal.
///
/// Only a good hello makes one, there is no copy of it, and nothing is spliced without it.
#[derive(Debug, PartialEq, Eq)]
pub struct Paired(());

/// A hello, and what our own end knows of the tunnel that it came by.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) tunnel: TunnelId,
    pub(super) protocol: Protocol,
    pub(super) peer: PublicKey,
    pub(super) hello: Hello,
    pub(super) exporter: Exporter,
}

impl Heard {
    /// Whether it came over a tunnel that the signal permits. That there can be no such tunnel is
    /// heard over the other one, too: it brings no client anything but a refusal.
    pub(super) fn is_permitted(&self, through: TunnelType) -> bool {
        through.permits(self.protocol) || self.hello.outcome == Outcome::NoTunnel
    }
}

impl Paired {
    /// Checks the far end's key and its authentication code; the token alone is not enough.
    pub(super) fn check(
        keys: &SessionKeys,
        private_proxy: &PublicKey,
        heard: &Heard,
    ) -> Option<Self> {
        let mac = hello::confirm_private(keys, &heard.exporter);
        let ours = heard.peer == *private_proxy && hello::equal(&mac, &heard.hello.mac);
        ours.then_some(Self(()))
    }
}
