//! The zone: which names exist under its origin and what is said of each.
//!
//! Checked once, when it is built, and complete ever after: the answering code only looks up. It
//! knows no wildcard, no alias and no delegation. An HTTPS record stands only where a service
//! speaks TLS, because browsers take one as a promise that plain HTTP is of no use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::rr::rdata::svcb::{Alpn, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{HTTPS, NS, SOA, SRV, SVCB};
use hickory_proto::rr::{Name, RData};

use super::draft::{Draft, Listing, Mistakes, Published};
use crate::limits;
use crate::terminal::TerminalName;

/// What is authoritatively known about the names at and below one origin.
#[derive(Debug)]
pub struct Zone {
    pub(super) origin: Name,
    /// The SOA of a negative answer; its TTL is the negative one (RFC 2308, 5).
    pub(super) soa: Record,
    /// Every name that exists. hickory's `Name` is ordered and compared without regard to case.
    pub(super) nodes: BTreeMap<Name, Node>,
}

/// One name. Without records it is an empty non-terminal: it exists, for names below it do (RFC 8020).
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) records: Vec<Record>,
    pub(super) terminal: Option<TerminalName>,
}

/// Data with its time to live; the owner is the node's name.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) ttl_seconds: u32,
    pub(super) data: RData,
}

impl Zone {
    /// Checks a draft and builds its zone, or tells all that is wrong with it.
    pub fn new(draft: Draft) -> Result<Self, Mistakes> {
        draft.check()?;

        let origin = name_of(&draft.origin);
        let soa = draft.soa.data();
        let negative = draft.soa.minimum_seconds.min(limits::ZONE_TTL_SECONDS);
        let mut zone = Self {
            origin: origin.clone(),
            soa: Record { ttl_seconds: negative, data: RData::SOA(soa.clone()) },
            nodes: BTreeMap::new(),
        };

        zone.add(&origin, None, limits::ZONE_TTL_SECONDS, RData::SOA(soa));
        for (server, addresses) in &draft.nameservers {
            let server = name_of(server);
            let data = RData::NS(NS(server.clone()));
            zone.add(&origin, None, limits::ZONE_TTL_SECONDS, data);
            if zone.origin.zone_of(&server) {
                zone.add_addresses(&server, None, limits::ZONE_TTL_SECONDS, addresses);
            }
        }
        for (terminal, listing) in &draft.terminals {
            zone.add_terminal(terminal, listing, draft.ttl_seconds);
        }
        Ok(zone)
    }

    fn add_terminal(&mut self, terminal: &TerminalName, listing: &Listing, ttl_seconds: u32) {
        let name = name_of(terminal);
        self.add_addresses(&name, Some(terminal), ttl_seconds, &listing.addresses);

        for (rank, service) in (0..).zip(&listing.services) {
            // Of several services under one label the first listed is preferred: clients take the
            // lowest priority (RFC 2782).
            let data = RData::SRV(SRV::new(rank, 0, service.port, name.clone()));
            let owner = below(&service.srv, terminal).expect("a checked label fits its terminal");
            self.add(&owner, Some(terminal), ttl_seconds, data);

            if service.speaks_https() && service.port != HTTPS_PORT {
                let owner = below(&port_label(service), terminal)
                    .expect("a checked port label fits its terminal");
                let data = https(service, name.clone());
                self.add(&owner, Some(terminal), ttl_seconds, data);
            }
        }
        if let Some(service) = listing.default_https() {
            self.add(&name, Some(terminal), ttl_seconds, https(service, Name::root()));
        }
    }

    fn add_addresses(
        &mut self,
        owner: &Name,
        terminal: Option<&TerminalName>,
        ttl_seconds: u32,
        addresses: &[IpAddr],
    ) {
        for address in addresses {
            self.add(owner, terminal, ttl_seconds, RData::from(*address));
        }
    }

    /// Adds a record and makes every name between its owner and the origin exist.
    fn add(
        &mut self,
        owner: &Name,
        terminal: Option<&TerminalName>,
        ttl_seconds: u32,
        data: RData,
    ) {
        let mut between = owner.base_name();
        while self.origin.zone_of(&between) && !self.nodes.contains_key(&between) {
            let next = between.base_name();
            self.nodes.insert(between, Node::default());
            between = next;
        }

        let node = self.nodes.entry(owner.clone()).or_default();
        node.terminal = node.terminal.take().or_else(|| terminal.cloned());
        let known = node.records.iter().any(|it| it.data == data);
        if !known {
            node.records.push(Record { ttl_seconds, data });
        }
    }
}

/// The port that the HTTPS record of a bare name speaks of (RFC 9460, 9.1).
pub(super) const HTTPS_PORT: u16 = 443;

/// An HTTPS record in ServiceMode; at the name itself the target is the root, which means the owner.
fn https(service: &Published, target: Name) -> RData {
    let mut parameters = Vec::new();
    if !service.alpn.is_empty() {
        let alpn = Alpn(service.alpn.clone());
        parameters.push((SvcParamKey::Alpn, SvcParamValue::Alpn(alpn)));
        // Without this a client may offer HTTP/1.1 as well (RFC 9460, 7.1.2).
        if !service.alpn.iter().any(|it| it == "http/1.1") {
            parameters.push((SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn));
        }
    }
    if service.port != HTTPS_PORT {
        parameters.push((SvcParamKey::Port, SvcParamValue::Port(service.port)));
    }
    RData::HTTPS(HTTPS(SVCB::new(1, target, parameters)))
}

/// Where the HTTPS record of a port other than 443 stands (RFC 9460, 9.1).
pub(super) fn port_label(service: &Published) -> String {
    format!("_{}._https", service.port)
}

/// A checked host name as hickory has it.
pub(super) fn name_of(name: &TerminalName) -> Name {
    Name::from_labels(name.as_str().split('.').map(str::as_bytes))
        .expect("a host name of at most 253 octets is a DNS name")
}

/// The name of a label (or labels) below a terminal's; none where the whole is too long.
pub(super) fn below(label: &str, terminal: &TerminalName) -> Option<Name> {
    let labels = label.split('.').chain(terminal.as_str().split('.'));
    Name::from_labels(labels.map(str::as_bytes)).ok()
}

impl super::draft::Soa {
    fn data(&self) -> SOA {
        let seconds = |value: u32| i32::try_from(value).expect("checked to be at most 2^31 - 1");
        SOA::new(
            name_of(&self.mname),
            self.mailbox().expect("a checked mail address is a mailbox name"),
            self.serial,
            seconds(self.refresh_seconds),
            seconds(self.retry_seconds),
            seconds(self.expire_seconds),
            self.minimum_seconds,
        )
    }
}
