//! A service whose TLS ends at the public proxy: its certificate and key, and whose clients'
//! certificates count.

use ringback_proto::gate::{Identity, Level};

use super::section::Section;
use crate::ingress::TlsEnd;
use crate::ingress::tls_end::{Asks, Shows};
use crate::keys;

/// Reads `certificate` and what belongs to it from a `[[terminal.service]]` table.
pub(super) fn read(
    section: &mut Section<'_>,
    level: Level,
    (tls, http): (bool, bool),
) -> Option<TlsEnd> {
    let roots = section.has("client_roots");
    let roots = if roots { section.file("client_roots", keys::read_certificates) } else { None };
    let allowed: Vec<Identity> = section.list("clients_allowed");
    if (level == Level::Mtls) == section.lacks("client_roots") {
        section.wrong("client_roots", "give it with level = \"mtls\", and only there");
    }
    if !section.lacks("clients_allowed") && section.lacks("client_roots") {
        section.wrong("clients_allowed", "names of certificates: give `client_roots` too");
    }
    if section.lacks("certificate") {
        if !section.lacks("certificate_key") {
            section.wrong("certificate_key", "belongs to a certificate: give `certificate` too");
        }
        if level == Level::Mtls {
            section.wrong("certificate", "missing: level \"mtls\" needs TLS that ends here");
        }
        return None;
    }
    if !tls {
        section.wrong("certificate", "only TLS reached by SNI can end here: set `tls` too");
    }
    let chain = section.file("certificate", keys::read_certificates);
    let key = section.file("certificate_key", keys::read_certificate_key);
    let asks = roots.map(|roots| Asks { roots, allowed });
    match TlsEnd::new(Shows { chain: chain?, key: key? }, asks, http) {
        Ok(end) => Some(end),
        Err(fault) => {
            section.wrong("certificate", format!("cannot be used: {fault}"));
            None
        }
    }
}

/// Leaves them all to whoever ends TLS: a responder has no use for keys.
pub(super) fn leave(section: &mut Section<'_>, _: Level, _: (bool, bool)) -> Option<TlsEnd> {
    for key in ["certificate", "certificate_key", "client_roots", "clients_allowed"] {
        section.has(key);
    }
    None
}
