//! Where a file says that things are: what an operator's command must know of a configuration that
//! need not be right in every part yet.
//!
//! Reads a few keys and leaves the rest; nothing is run by it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::TerminalName;

use super::section::{Section, Source};
use super::{Mistakes, text_of};
use crate::keyring::Keyring;
use crate::keys;

/// Which proxy a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has a `[public]` table.
    Public,
    /// It has a `[private]` table.
    Private,
}

/// Where a proxy's files are.
#[derive(Debug)]
pub struct Places {
    /// Which proxy's.
    pub side: Side,
    /// Its identity's private key.
    pub identity: PathBuf,
    /// Its state folder.
    pub state: PathBuf,
    /// Its keyring, if it has one.
    pub keyring: Option<Keyring>,
    /// Its terminals.
    pub terminals: Vec<Place>,
    /// Whom it may dial, at the private proxy.
    pub public_proxies: Vec<ListedProxy>,
}

/// What a file says of a terminal's keys.
#[derive(Debug)]
pub struct Place {
    /// What the terminal is called, if it is.
    pub name: Option<TerminalName>,
    /// The file of its keys, unless the keyring has them.
    pub keys: Option<PathBuf>,
}

/// What a file says of a public proxy.
#[derive(Debug)]
pub struct ListedProxy {
    /// What it is called.
    pub name: String,
    /// Who it is.
    pub public_key: PublicKey,
    /// Where it may be dialed.
    pub addresses: Vec<SocketAddr>,
}

impl Places {
    /// Reads a file; tells the mistakes of what it looks at.
    pub fn read(file: &Path) -> Result<Self, Mistakes> {
        let mistakes = |problems| Mistakes { file: file.to_owned(), problems };
        let text = text_of(file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let source = Source::parse(&text, folder).map_err(mistakes)?;
        let places = read(&mut source.root());
        source.verdict(places).map_err(mistakes)
    }
}

fn read(root: &mut Section<'_>) -> Option<Places> {
    let (side, key) =
        if root.has("private") { (Side::Private, "private") } else { (Side::Public, "public") };
    let Some(mut base) = root.section(key) else {
        root.wrong(key, "missing: keys belong to a file with a [public] or [private] table");
        return None;
    };
    let (keyring, _) = base.keyring("keyring");
    let mut terminals = Vec::new();
    for mut section in root.sections("terminal") {
        let name = section.text("name");
        let keys = if section.has("keys") { section.path("keys") } else { None };
        terminals.push(Place { name, keys });
    }
    let mut public_proxies = Vec::new();
    for mut section in root.sections("public_proxy") {
        let name: Option<String> = section.required("name");
        let public_key = section.file("public_key", keys::read_public_key);
        let addresses = section.list("addresses");
        let listed = |(name, public_key)| ListedProxy { name, public_key, addresses };
        public_proxies.extend(name.zip(public_key).map(listed));
    }
    let (identity, state) = (base.path("identity"), base.path("state"));
    Some(Places { side, identity: identity?, state: state?, keyring, terminals, public_proxies })
}
