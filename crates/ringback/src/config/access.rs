//! Who may reach a service: the level of security that it asks for, and all that the level needs.

use std::time::Duration;

use ringback_proto::gate::{Identity, Level};
pub use ringback_proto::network::Network;
use ringback_proto::switchboard::PublicKey;

use super::section::Section;
use crate::{keys, limits};

/// What a client must show before it may cause a ring for one service.
#[derive(Clone, Debug)]
pub struct Access {
    /// The level.
    pub level: Level,
    /// Networks that level `allow` admits.
    pub allow: Vec<Network>,
    /// Keys that `ringback connect` may show, and what their holders are called.
    pub clients: Vec<(Identity, PublicKey)>,
    /// How long a log-in arms its source at level `knock`.
    pub knock: Duration,
}

/// Reads `level` and what belongs to it from a `[[terminal.service]]` table.
pub(super) fn read(section: &mut Section<'_>) -> Access {
    let level = section.text("level").unwrap_or(Level::Open);
    let allow: Vec<Network> = section.list("allow");
    if (level == Level::Allow) == allow.is_empty() {
        section.wrong("allow", "give it with level = \"allow\", and only there");
    }
    let mut clients = Vec::new();
    for mut client in section.sections("client") {
        let name: Option<Identity> = client.required("name");
        let key = client.file("key", keys::read_public_key);
        if let (Some(name), Some(key)) = (name, key) {
            if clients.iter().any(|(other, _)| *other == name) {
                client.wrong("name", "another client of this service has this name");
            }
            clients.push((name, key));
        }
        client.finish();
    }
    if level == Level::EndToEnd && section.lacks("client") {
        section
            .wrong("client", "missing: level \"end-to-end\" needs one [[terminal.service.client]]");
    }
    if level != Level::Knock && section.has("knock_minutes") {
        section.wrong("knock_minutes", "give it with level = \"knock\", and only there");
    }
    if level == Level::Knock && section.lacks("raw") {
        section.wrong("level", "a knock opens a port of the service's own: give `raw` too");
    }
    let knock = 60 * section.number("knock_minutes", 1, limits::KNOCK_MINUTES, 10);
    Access { level, allow, clients, knock: Duration::from_secs(knock) }
}
