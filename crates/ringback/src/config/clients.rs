//! The keys that clients of one service show, as both proxies' tables list them.

use std::collections::BTreeSet;

use ringback_proto::gate::Identity;
use ringback_proto::switchboard::PublicKey;

use super::section::Section;
use crate::keys;

/// Reads `[[terminal.service.client]]`: each name once, and each key once, so that a key has a name.
/// Whoever rings terminals is told which clients may ring them by themselves.
pub(super) fn read(
    section: &mut Section<'_>,
    mut may_ring: Option<&mut BTreeSet<Identity>>,
) -> Vec<(Identity, PublicKey)> {
    let mut clients: Vec<(Identity, PublicKey)> = Vec::new();
    for mut client in section.sections("client") {
        let name: Option<Identity> = client.required("name");
        let key = client.file("key", keys::read_public_key);
        if let (Some(name), Some(may_ring)) = (&name, &mut may_ring)
            && client.flag("may_ring")
        {
            may_ring.insert(name.clone());
        }
        if let (Some(name), Some(key)) = (name, key) {
            if clients.iter().any(|(other, _)| *other == name) {
                client.wrong("name", "another client of this service has this name");
            }
            if clients.iter().any(|(_, other)| *other == key) {
                client.wrong("key", "another client of this service has this key");
            }
            clients.push((name, key));
        }
        client.finish();
    }
    clients
}
