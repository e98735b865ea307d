//! TLS to an operator's or a mail server: whom to trust, and the name that must be proven.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::ServerName;

/// How TLS is spoken to a server.
#[derive(Clone)]
pub struct Tls {
    /// Whom to trust.
    pub config: Arc<rustls::ClientConfig>,
    /// The name its certificate must hold.
    pub name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}
