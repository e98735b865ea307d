//! The bearers of a configuration: what each is called and how it is reached.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ringback_bearer::Bearer;
use ringback_proto::budget::Money;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::section::Section;

mod http;
mod mail;
mod modem;
mod modem_manager;
mod smpp;

/// Reads `[[bearer]]`, by name; whoever pays for signals is told what each costs. What a bearer must
/// not forget across a restart is kept in the folder `state`.
pub(super) fn read_all(
    root: &mut Section<'_>,
    mut prices: Option<&mut BTreeMap<String, Money>>,
    state: &Path,
) -> BTreeMap<String, Bearer> {
    let mut bearers = BTreeMap::new();
    for mut section in root.sections("bearer") {
        let name: Option<String> = section.required("name");
        if name.as_deref().is_some_and(|it| !is_plain(it)) {
            section.wrong(
                "name",
                "must be 1 to 64 letters, digits, hyphens, dots and underscores, no dot first",
            );
        }
        let kind: Option<String> = section.required("kind");
        let bearer = match kind.as_deref() {
            Some("smpp") => smpp::read(&mut section).map(Bearer::Smpp),
            Some("http") => http::read(&mut section).map(Bearer::Http),
            Some("modem") => modem::read(&mut section).map(Bearer::Modem),
            Some("modem-manager") => modem_manager::read(&mut section).map(Bearer::ModemManager),
            Some("mail") => mail::read(&mut section, name.as_deref(), state).map(Bearer::Mail),
            Some(other) => {
                let known = "smpp, http, modem, modem-manager, mail";
                section.wrong("kind", format!("{other:?} is no kind of bearer; known: {known}"));
                None
            }
            None => None,
        };
        if let (Some(name), Some(prices)) = (&name, &mut prices) {
            prices.insert(name.clone(), section.text("price").unwrap_or_default());
        }
        if let (Some(name), Some(bearer)) = (name, bearer)
            && bearers.insert(name, bearer).is_some()
        {
            section.wrong("name", "another bearer has this name");
        }
        section.finish();
    }
    bearers
}

/// Whether a bearer's name can be a file's too.
fn is_plain(name: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// The name that the server's certificate must hold, of its `host:port`.
fn server_name(
    section: &Section<'_>,
    key: &'static str,
    address: &str,
) -> Option<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).ok();
    if name.is_none() {
        section.wrong(key, "TLS needs a host name or an address");
    }
    name
}

fn read_roots(file: &Path) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
