//! Who may reach a service: the level of security that it asks for, and all that the level needs.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ringback_proto::gate::{Identity, Level};
pub use ringback_proto::network::Network;
use ringback_proto::switchboard::PublicKey;

use super::clients;
use super::section::Section;
use crate::limits;
use crate::users::Users;

/// What a client must show before it may cause a ring for one service.
#[derive(Clone, Debug)]
pub struct Access {
    /// The level.
    pub level: Level,
    /// Networks that level `allow` admits.
    pub allow: Vec<Network>,
    /// Keys that `ringback connect` may show, and what their holders are called.
    pub clients: Vec<(Identity, PublicKey)>,
    /// Those of them that may ring the terminal by themselves, and so are told its number.
    pub may_ring: BTreeSet<Identity>,
    /// How long a log-in arms its source at level `knock`.
    pub knock: Duration,
    /// Whom levels `http` and `knock` know; there if it is asked for, and only then.
    pub users: Option<Arc<Users>>,
    /// What becomes of a request's credential.
    pub custody: Custody,
}

impl Access {
    /// Whether a log-in of this name may still arm its source.
    pub fn knocks(&self, identity: &Identity) -> bool {
        let has_password = |it: &Arc<Users>| it.has_password(identity);
        self.level == Level::Knock
            && (self.users.as_ref().is_some_and(has_password)
                || self.clients.iter().any(|(it, _)| it == identity))
    }
}

/// What becomes of a credential once its client is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// It was for the public proxy, and the service never sees it.
    Consume,
    /// It is the service's too, and is left in its request.
    Pass,
}

impl Access {
    /// Everybody may.
    pub fn open() -> Self {
        Self {
            level: Level::Open,
            allow: Vec::new(),
            clients: Vec::new(),
            may_ring: BTreeSet::new(),
            knock: Duration::ZERO,
            users: None,
            custody: Custody::Consume,
        }
    }

    /// Whether it asks the same of the same people.
    pub fn asks_like(&self, other: &Self) -> bool {
        let users = |it: &Self| it.users.as_ref().map(|it| it.print());
        self.level == other.level
            && users(self) == users(other)
            && self.clients == other.clients
            && self.allow == other.allow
    }
}

/// Knows the keys of [`read`] without reading any: who only answers DNS admits nobody, and has none
/// of the files.
pub(super) fn pass_over(section: &mut Section<'_>) -> Access {
    for key in ["level", "allow", "client", "users", "credential", "knock_minutes"] {
        section.has(key);
    }
    Access::open()
}

/// Reads `level` and what belongs to it from a `[[terminal.service]]` table.
pub(super) fn read(section: &mut Section<'_>) -> Access {
    let level = section.text("level").unwrap_or(Level::Open);
    let allow: Vec<Network> = section.list("allow");
    if (level == Level::Allow) == allow.is_empty() {
        section.wrong("allow", "give it with level = \"allow\", and only there");
    }
    let mut may_ring = BTreeSet::new();
    let clients = clients::read(section, Some(&mut may_ring));
    if level == Level::EndToEnd && section.lacks("client") {
        section
            .wrong("client", "missing: level \"end-to-end\" needs one [[terminal.service.client]]");
    }
    let (users, custody) = read_users(section, level, !clients.is_empty());
    let knock = read_knock(section, level);
    Access { level, allow, clients, may_ring, knock, users, custody }
}

/// What belongs to the levels that know users by name.
fn read_users(
    section: &mut Section<'_>,
    level: Level,
    keyed: bool,
) -> (Option<Arc<Users>>, Custody) {
    let (wanted, given) = (matches!(level, Level::Http | Level::Knock), section.has("users"));
    // Who has listed keys may want no passwords beside them.
    if wanted && !given && !keyed {
        let cure = "needs a file of lines made by `ringback key user`";
        section.wrong("users", format!("missing: level \"{level}\" {cure}"));
    }
    if !wanted && given {
        section.wrong("users", "give it with level = \"http\" or \"knock\", and only there");
    }
    let users = if given { section.file("users", Users::read) } else { None };
    let custody = section.text("credential");
    if level != Level::Http && custody.is_some() {
        section.wrong("credential", "give it with level = \"http\", and only there");
    }
    (users.map(Arc::new).filter(|_| wanted), custody.unwrap_or(Custody::Consume))
}

/// How long a log-in opens the service's port.
fn read_knock(section: &mut Section<'_>, level: Level) -> Duration {
    if level != Level::Knock && section.has("knock_minutes") {
        section.wrong("knock_minutes", "give it with level = \"knock\", and only there");
    }
    if level == Level::Knock && section.lacks("raw") {
        section.wrong("level", "a knock opens a port of the service's own: give `raw` too");
    }
    Duration::from_secs(60 * section.number("knock_minutes", 1, limits::KNOCK_MINUTES, 10))
}

impl FromStr for Custody {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "consume" => Ok(Self::Consume),
            "pass" => Ok(Self::Pass),
            _ => Err("must be \"consume\" or \"pass\""),
        }
    }
}

#[test]
fn who_knows_other_people_does_not_ask_like_before() {
    let knowing = |token: &str| {
        let users = Users::parse(&format!("lee:bearer:{}", token.repeat(64))).unwrap();
        Access { level: Level::Knock, users: Some(Arc::new(users)), ..Access::open() }
    };
    let before = knowing("0");
    assert!(before.asks_like(&knowing("0")));
    let open = Access { level: Level::Open, ..before.clone() };
    let clients = vec![(Identity::parse("ann").unwrap(), PublicKey([1; 44]))];
    let keyed = Access { clients, ..before.clone() };
    for after in [knowing("1"), open, keyed, Access { users: None, ..before.clone() }] {
        assert!(!before.asks_like(&after), "{after:?}");
    }
}
