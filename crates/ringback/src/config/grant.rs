//! Whom a private proxy lets reach a service, whatever a public proxy has let through.

use ringback_proto::gate::{Identity, Level};
use ringback_proto::hello::Caller;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::{ServiceId, TerminalName};

use super::clients;
use super::section::Section;

/// What a session must bring with it before it may use one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The least level that is accepted.
    pub level: Level,
    /// Who alone is let in; empty stands for anybody of that level.
    pub identities: Vec<Identity>,
    /// What level `end-to-end` needs.
    pub end_to_end: Option<EndToEnd>,
}

/// How a service is reached end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndToEnd {
    /// What the client calls terminal and service in the inner handshake.
    pub server_name: String,
    /// Keys that are let in, and what their holders are called.
    pub clients: Vec<(Identity, PublicKey)>,
}

/// The server name of the inner handshake, for one service of one terminal.
pub fn server_name(terminal: &TerminalName, service: ServiceId) -> String {
    format!("s{}.{terminal}", service.0)
}

/// Reads `level` and what belongs to it from a private proxy's `[[terminal.service]]` table.
pub(super) fn read(
    section: &mut Section<'_>,
    terminal: Option<&TerminalName>,
    service: ServiceId,
) -> Grant {
    let level = section.text("level").unwrap_or(Level::Open);
    let identities: Vec<Identity> = section.list("identities");
    if !identities.is_empty() && level == Level::EndToEnd {
        section.wrong("identities", "with level \"end-to-end\" its clients are all who is let in");
    }
    let lists = !section.lacks("client");
    let clients = clients::read(section, None);
    if lists != (level == Level::EndToEnd) {
        section.wrong(
            "client",
            "give [[terminal.service.client]] with level = \"end-to-end\", and only there",
        );
    }
    if level != Level::EndToEnd {
        return Grant { level, identities, end_to_end: None };
    }
    let name = terminal.map(|it| server_name(it, service)).unwrap_or_default();
    if name.is_empty() {
        section.wrong("level", "\"end-to-end\" needs the terminal's `name`: clients ask for it");
    } else if TerminalName::parse(&name).is_err() {
        section.wrong("level", "the terminal's name is too long for \"end-to-end\"");
    }
    Grant { level, identities, end_to_end: Some(EndToEnd { server_name: name, clients }) }
}

impl Grant {
    /// Whether nobody may even be connected to the service before it is known who calls.
    pub fn is_guarded(&self) -> bool {
        self.level != Level::Open || !self.identities.is_empty()
    }

    /// Whether the caller may use the service, as far as the public proxy can vouch for it.
    pub fn admits(&self, caller: &Caller) -> bool {
        let known = |it: &Identity| caller.identity.as_ref() == Some(it);
        let named = self.identities.is_empty() || self.identities.iter().any(known);
        self.level <= caller.level && named
    }
}

#[cfg(test)]
mod tests {
    use ringback_proto::hello::ClientAddress;

    use super::*;

    #[test]
    fn a_grant_admits_its_level_and_better_and_nobody_it_does_not_name() {
        let identity = |it: &str| Identity::parse(it).unwrap();
        let caller = |level, name: Option<&str>| Caller {
            address: ClientAddress::UNKNOWN,
            level,
            identity: name.map(identity),
        };
        for least in Level::ALL {
            let anybody = Grant { level: least, identities: vec![], end_to_end: None };
            let only = Grant { identities: vec![identity("dr-lee")], ..anybody.clone() };
            assert_eq!(anybody.is_guarded(), least != Level::Open);
            assert!(only.is_guarded());
            for level in Level::ALL {
                let granted = least <= level;
                assert_eq!(anybody.admits(&caller(level, None)), granted, "{level} for {least}");
                assert_eq!(only.admits(&caller(level, Some("dr-lee"))), granted);
                assert!(!only.admits(&caller(level, Some("dr-who"))));
                assert!(!only.admits(&caller(level, None)));
            }
        }
    }
}
