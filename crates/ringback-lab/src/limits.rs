//! The lab's limits: how long it waits for what it has started.

use std::time::Duration;

/// How long a host's namespaces may take to come up: a few milliseconds on an idle machine.
pub(crate) const HOST_UP: Duration = Duration::from_secs(10);

/// How long a single tool (`ip`, `nft`, `conntrack`) may take.
pub(crate) const TOOL: Duration = Duration::from_secs(10);

/// How long the namespaces may take to vanish after their pipe was closed.
pub(crate) const HOST_DOWN: Duration = Duration::from_secs(10);
