//! `tunnel`, of a service at either proxy: what it may be reached over.

use ringback_proto::access_request::{Protocol, TunnelType};

use super::section::Section;

/// Reads it; TLS, if nothing is said.
pub(super) fn read(section: &mut Section<'_>) -> TunnelType {
    let tunnel: TunnelType = section.text("tunnel").unwrap_or_default();
    if tunnel.permits(Protocol::Quic) && !cfg!(feature = "quic") {
        section.wrong("tunnel", NOT_BUILT);
    }
    tunnel
}

const NOT_BUILT: &str =
    "this ringback was built without QUIC: build it with `--features quic`, or take \"tls\"";
