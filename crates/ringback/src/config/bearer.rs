//! The bearers of a configuration: what each is called and how it is reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringback_bearer::smpp;
use ringback_proto::budget::Money;
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::text::{Address, Password, Text};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::section::Section;
use crate::keys;

/// One bearer, ready to be started.
#[derive(Debug)]
pub enum BearerConfig {
    /// A bind to a message center.
    Smpp(smpp::Config),
}

/// Reads `[[bearer]]`, by name; whoever pays for signals is told what each costs.
pub(super) fn read_all(
    root: &mut Section<'_>,
    mut prices: Option<&mut BTreeMap<String, Money>>,
) -> BTreeMap<String, BearerConfig> {
    let mut bearers = BTreeMap::new();
    for mut section in root.sections("bearer") {
        let name: Option<String> = section.required("name");
        let kind: Option<String> = section.required("kind");
        let bearer = match kind.as_deref() {
            Some("smpp") => read_smpp(&mut section).map(BearerConfig::Smpp),
            Some(other) => {
                section.wrong("kind", format!("{other:?} is no kind of bearer; known: smpp"));
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

fn read_smpp(section: &mut Section<'_>) -> Option<smpp::Config> {
    let address = section.host_and_port("address");
    let system_id: Option<String> = section.required("system_id");
    let system_id = system_id.and_then(|it| {
        let fits = Text::new(&it);
        if fits.is_none() {
            section.wrong("system_id", "longer than the 15 characters of SMPP 3.4");
        }
        fits
    });
    let password = section.file("password_file", |file| {
        let password = keys::read_password(file).map_err(|fault| fault.to_string())?;
        if password.is_empty() {
            return Err("is empty: it holds the account's password".to_owned());
        }
        Password::new(&password).ok_or_else(|| "longer than 32 characters".to_owned())
    });
    let source: Option<String> = section.text("source");
    let source = Address::parse(&source.unwrap_or_default());
    if source.is_none() {
        section.wrong("source", "no address: a plus sign and digits, a short code, or a name");
    }
    let tls = if section.has("tls_roots") { section.file("tls_roots", read_roots) } else { None };
    let window = section.number("window", 1, 100, 10);
    let per_second = section.number("per_second", 1, 10_000, 30);

    let address = address?;
    let system_type = Text::new("")?;
    let bind =
        Bind { role: Role::Transceiver, system_id: system_id?, password: password?, system_type };
    let mut config = smpp::Config::new(address.clone(), bind, source?);
    config.account.window = usize::try_from(window).ok()?;
    config.account.per_second = u32::try_from(per_second).ok()?;
    if let Some(tls) = tls {
        let host = address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        let Ok(name) = ServerName::try_from(host) else {
            section.wrong("address", "TLS needs a host name or an address");
            return None;
        };
        config.tls = Some(smpp::Tls { config: tls, name });
    }
    Some(config)
}

fn read_roots(file: &std::path::Path) -> Result<Arc<rustls::ClientConfig>, String> {
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
