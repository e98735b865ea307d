//! The responder's configuration: where it listens and what it answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringback_proto::dns::{Draft, Listing, Published, Soa, Zone};
use ringback_proto::terminal::{MailAddress, TerminalName};

use super::directory::{self, Names};
use super::section::Section;

/// What a responder runs by.
#[derive(Clone, Debug)]
pub struct ResponderConfig {
    /// UDP and TCP addresses.
    pub listen: Vec<SocketAddr>,
    /// What it answers.
    pub zone: Arc<Zone>,
}

/// Reads a file that has a `[responder]` and no `[public]`: the public proxy runs elsewhere.
///
/// The same `[[terminal]]` tables serve both files; the keys in them are not read here.
pub(super) fn read_alone(root: &mut Section<'_>) -> Option<ResponderConfig> {
    let names = directory::read_names(root);
    for key in ["public", "bearer"] {
        root.has(key);
    }
    read(root, &names, HTTPS)?
}

/// Reads `[responder]`, if there is one.
#[allow(clippy::option_option, reason = "absent and wrong are two things")]
pub(super) fn read(
    root: &mut Section<'_>,
    names: &Names,
    tls_port: u16,
) -> Option<Option<ResponderConfig>> {
    let mut section = root.section("responder")?;
    let config = read_section(&mut section, names, tls_port);
    section.finish();
    Some(config)
}

/// Where clients speak TLS unless the configuration says otherwise.
const HTTPS: u16 = 443;
/// Seconds after which a secondary asks again, tries again and gives up: terminals come and go.
const SECONDARY: (u32, u32, u32) = (300, 60, 86_400);

fn read_section(
    section: &mut Section<'_>,
    names: &Names,
    tls_port: u16,
) -> Option<ResponderConfig> {
    let listen: Vec<SocketAddr> = section.list("listen");
    if section.lacks("listen") {
        section.wrong("listen", "missing: give the addresses that queries come to");
    }
    if listen.iter().any(|it| it.ip().is_unspecified()) {
        let cure = "give each address: a wildcard may answer under another than was asked";
        section.wrong("listen", cure);
    }
    let origin: Option<TerminalName> = section.required("zone");
    let addresses: Vec<IpAddr> = section.list("addresses");
    if section.lacks("addresses") {
        section.wrong("addresses", "missing: give the public proxy's, as clients reach it");
    }
    let nameserver: Option<TerminalName> = section.text("nameserver");
    let ttl = section.number("ttl_seconds", 0, 86_400, 5);
    let tls_port = section.number("tls_port", 1, 65_535, tls_port.into());

    let origin = origin?;
    let under = |label: &str| TerminalName::parse(&format!("{label}.{origin}")).ok();
    let nameserver = nameserver.or_else(|| under("ns"))?;
    let ttl_seconds = u32::try_from(ttl).ok()?;
    let soa = Soa {
        mname: nameserver.clone(),
        rname: MailAddress::parse(&format!("hostmaster@{origin}")).ok()?,
        serial: 1,
        refresh_seconds: SECONDARY.0,
        retry_seconds: SECONDARY.1,
        expire_seconds: SECONDARY.2,
        minimum_seconds: ttl_seconds,
    };
    let tls_port = u16::try_from(tls_port).ok()?;
    let listing = |published: &Vec<Published>| Listing {
        addresses: addresses.clone(),
        services: published.iter().map(|it| at_port(it, tls_port)).collect(),
    };
    let terminals: BTreeMap<_, _> =
        names.iter().map(|(name, published)| (name.clone(), listing(published))).collect();
    let nameservers = vec![(nameserver, addresses.clone())];
    match Zone::new(Draft { origin, nameservers, soa, ttl_seconds, terminals }) {
        Ok(zone) => Some(ResponderConfig { listen, zone: Arc::new(zone) }),
        Err(mistakes) => {
            mistakes.0.iter().for_each(|it| section.wrong("zone", it.to_string()));
            None
        }
    }
}

/// A service that is named by SNI is reached at the port that all such services share.
fn at_port(published: &Published, tls_port: u16) -> Published {
    let port = if published.tls { tls_port } else { published.port };
    Published { port, ..published.clone() }
}
