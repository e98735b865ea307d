//! A zone as its operator describes it, and everything that can be wrong with the description.
//!
//! Nothing here is served: a [`Draft`] answers no query until [`super::Zone::new`] has checked it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use hickory_proto::rr::Name;
use thiserror::Error;

use super::zone::{HTTPS_PORT, below, name_of, port_label};
use crate::limits;
use crate::terminal::{MailAddress, TerminalName};

/// A zone before it is checked.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The name at the top of the zone.
    pub origin: TerminalName,
    /// The zone's nameservers; one whose name lies in the zone needs its addresses told here.
    pub nameservers: Vec<(TerminalName, Vec<IpAddr>)>,
    /// The start of authority.
    pub soa: Soa,
    /// Seconds a resolver may keep what is said of a terminal.
    pub ttl_seconds: u32,
    /// The terminals, by their whole names, all of them at or below the origin.
    pub terminals: BTreeMap<TerminalName, Listing>,
}

/// The start of authority (RFC 1035, 3.3.13).
#[derive(Clone, Debug)]
pub struct Soa {
    /// The primary nameserver.
    pub mname: TerminalName,
    /// The mailbox of whoever answers for the zone.
    pub rname: MailAddress,
    /// The version of the zone.
    pub serial: u32,
    /// Seconds after which a secondary asks for a newer version.
    pub refresh_seconds: u32,
    /// Seconds after which a secondary asks again when it got no answer.
    pub retry_seconds: u32,
    /// Seconds after which a secondary gives the zone up.
    pub expire_seconds: u32,
    /// Seconds a resolver may remember that something does not exist (RFC 2308).
    pub minimum_seconds: u32,
}

/// What is said of one terminal.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Where clients shall connect: the public proxy's addresses.
    pub addresses: Vec<IpAddr>,
    /// The services that clients may look up, the preferred one of a kind first.
    pub services: Vec<Published>,
}

/// One service of a terminal, as clients reach it at the public proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The SRV label, such as `_ssh._tcp`.
    pub srv: String,
    /// The port at the public proxy.
    pub port: u16,
    /// Whether clients speak TLS to this port.
    pub tls: bool,
    /// The protocols that TLS negotiates, such as `h2`.
    pub alpn: Vec<String>,
}

/// All that is wrong with a draft, told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

/// One thing that is wrong with a draft.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    /// The zone has no nameserver, or too many.
    #[error("the zone has {0} nameservers: name 1 to {max}", max = limits::NAMESERVERS)]
    Nameservers(usize),
    /// A nameserver in the zone has no address.
    #[error("the nameserver {0} lies in the zone: tell its addresses")]
    Glue(TerminalName),
    /// A nameserver's name is also a terminal's.
    #[error("{0} is a nameserver and a terminal: rename one of them")]
    Taken(TerminalName),
    /// A terminal lies outside the zone.
    #[error("the terminal {0} does not lie in the zone: rename it or move it to its own zone")]
    Outside(TerminalName),
    /// A terminal without an address, or a name with too many.
    #[error("{name} has {count} addresses: tell 1 to {max}", max = limits::ADDRESSES_PER_NAME)]
    Addresses {
        /// Whose addresses they are.
        name: TerminalName,
        /// How many there are.
        count: usize,
    },
    /// An address nobody can connect to.
    #[error("{name} has the address {address}, to which nobody can connect")]
    Unusable {
        /// Whose address it is.
        name: TerminalName,
        /// The address.
        address: IpAddr,
    },
    /// A terminal publishes too many services.
    #[error("{name} publishes {count} services: publish at most {max}", max = limits::SERVICES_PER_TERMINAL)]
    Services {
        /// Whose services they are.
        name: TerminalName,
        /// How many there are.
        count: usize,
    },
    /// A label that is no SRV label of TCP.
    #[error("{srv:?} of {name} is no SRV label: write it like _ssh._tcp")]
    Label {
        /// Whose service it is.
        name: TerminalName,
        /// The label.
        srv: String,
    },
    /// A label and a terminal's name that are too long together.
    #[error("{srv} below {name} is longer than 253 characters: shorten one of them")]
    TooLong {
        /// Whose service it is.
        name: TerminalName,
        /// The label.
        srv: String,
    },
    /// Port 0, or one port twice under one label.
    #[error("{srv} of {name} has port {port}: use 1 to 65535, each once under a label")]
    Port {
        /// Whose service it is.
        name: TerminalName,
        /// The label.
        srv: String,
        /// The port.
        port: u16,
    },
    /// Protocols that cannot be negotiated.
    #[error(
        "{srv} of {name} has protocols to negotiate: that needs TLS and names of 1 to 255 octets"
    )]
    Alpn {
        /// Whose service it is.
        name: TerminalName,
        /// The label.
        srv: String,
    },
    /// A time that DNS cannot carry.
    #[error("{field} is {seconds}: use at most 2147483647")]
    Seconds {
        /// Which time it is.
        field: &'static str,
        /// What it was.
        seconds: u32,
    },
    /// A mail address that cannot be written as a DNS name.
    #[error(
        "the zone's mail address needs a host name after the @ and at most 63 octets before it"
    )]
    Mailbox,
}

impl Draft {
    pub(super) fn check(&self) -> Result<(), Mistakes> {
        let mut mistakes = Vec::new();
        self.check_authority(&mut mistakes);
        for (name, listing) in &self.terminals {
            if !self.holds(name) {
                mistakes.push(Mistake::Outside(name.clone()));
            }
            check_addresses(name, &listing.addresses, &mut mistakes);
            check_services(name, &listing.services, &mut mistakes);
        }
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }

    fn check_authority(&self, mistakes: &mut Vec<Mistake>) {
        if self.nameservers.is_empty() || limits::NAMESERVERS < self.nameservers.len() {
            mistakes.push(Mistake::Nameservers(self.nameservers.len()));
        }
        for (server, addresses) in &self.nameservers {
            if self.terminals.contains_key(server) {
                mistakes.push(Mistake::Taken(server.clone()));
            }
            if self.holds(server) && addresses.is_empty() {
                mistakes.push(Mistake::Glue(server.clone()));
                continue;
            }
            if !addresses.is_empty() {
                check_addresses(server, addresses, mistakes);
            }
        }

        let times = [
            ("ttl_seconds", self.ttl_seconds),
            ("refresh_seconds", self.soa.refresh_seconds),
            ("retry_seconds", self.soa.retry_seconds),
            ("expire_seconds", self.soa.expire_seconds),
            ("minimum_seconds", self.soa.minimum_seconds),
        ];
        for (field, seconds) in times {
            if i32::try_from(seconds).is_err() {
                mistakes.push(Mistake::Seconds { field, seconds });
            }
        }
        if self.soa.mailbox().is_none() {
            mistakes.push(Mistake::Mailbox);
        }
    }

    fn holds(&self, name: &TerminalName) -> bool {
        name_of(&self.origin).zone_of(&name_of(name))
    }
}

fn check_addresses(name: &TerminalName, addresses: &[IpAddr], mistakes: &mut Vec<Mistake>) {
    if addresses.is_empty() || limits::ADDRESSES_PER_NAME < addresses.len() {
        mistakes.push(Mistake::Addresses { name: name.clone(), count: addresses.len() });
    }
    for address in addresses.iter().filter(|it| it.is_unspecified() || it.is_multicast()) {
        mistakes.push(Mistake::Unusable { name: name.clone(), address: *address });
    }
}

fn check_services(name: &TerminalName, services: &[Published], mistakes: &mut Vec<Mistake>) {
    if limits::SERVICES_PER_TERMINAL < services.len() {
        mistakes.push(Mistake::Services { name: name.clone(), count: services.len() });
    }
    let mut taken = BTreeSet::new();
    for service in services {
        let (name, srv) = (name.clone(), service.srv.clone());
        if !is_srv_label(&service.srv) {
            mistakes.push(Mistake::Label { name, srv });
            continue;
        }
        let by_port = service.speaks_https() && below(&port_label(service), &name).is_none();
        if by_port || below(&srv, &name).is_none() {
            mistakes.push(Mistake::TooLong { name: name.clone(), srv: srv.clone() });
        }
        let negotiable = service.alpn.iter().all(|it| (1..=255).contains(&it.len()));
        if !negotiable || (!service.tls && !service.alpn.is_empty()) {
            mistakes.push(Mistake::Alpn { name: name.clone(), srv: srv.clone() });
        }
        let fresh = taken.insert((srv.to_ascii_lowercase(), service.port));
        if service.port == 0 || !fresh {
            mistakes.push(Mistake::Port { name, srv, port: service.port });
        }
    }
}

/// `_service._tcp` with a service name of RFC 6335, 5.1; a terminal serves nothing but TCP.
fn is_srv_label(text: &str) -> bool {
    let Some((service, "_tcp")) = text.split_once('.') else { return false };
    let Some(service) = service.strip_prefix('_') else { return false };
    (1..=15).contains(&service.len())
        && service.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
        && !service.starts_with('-')
        && !service.ends_with('-')
}

impl Soa {
    /// The mail address as a DNS name: the local part is one label, whatever dots it has.
    pub(super) fn mailbox(&self) -> Option<Name> {
        let (local, domain) = self.rname.as_str().split_once('@')?;
        let domain = TerminalName::parse(domain).ok()?;
        let labels = [local].into_iter().chain(domain.as_str().split('.'));
        Name::from_labels(labels.map(str::as_bytes)).ok()
    }
}

impl Listing {
    /// The service behind `https://` and the bare name: the one on port 443, or else the first that
    /// speaks HTTPS, unless port 80 serves plain HTTP, from which browsers would be upgraded away.
    pub(super) fn default_https(&self) -> Option<&Published> {
        let usual = self.services.iter().find(|it| it.speaks_https() && it.port == HTTPS_PORT);
        if usual.is_some() || self.services.iter().any(|it| !it.tls && it.port == 80) {
            return usual;
        }
        self.services.iter().find(|it| it.speaks_https())
    }
}

impl Published {
    /// Whether this is HTTP within TLS: told by its label, or by what TLS negotiates.
    pub(super) fn speaks_https(&self) -> bool {
        let web = self.srv.eq_ignore_ascii_case("_https._tcp");
        self.tls && (web || self.alpn.iter().any(|it| it == "h2" || it == "http/1.1"))
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}{mistake}")?;
        }
        Ok(())
    }
}
