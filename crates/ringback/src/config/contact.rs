//! A contact: what a client must know of one terminal, and nothing that is secret.
//!
//! Printed by `ringback contact` on the public side, kept by `ringback connect`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use ringback_proto::gate::Level;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::{ServiceId, TerminalName};

use super::section::{Section, Source, is_host_and_port};
use super::{Directory, ListedService, ListedTerminal, Mistakes, PublicConfig, text_of};
use crate::keys;

/// One terminal, as a client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The terminal.
    pub name: TerminalName,
    /// Where its public proxy is, `host:port` each.
    pub addresses: Vec<String>,
    /// Proves that it is the one.
    pub public_key: PublicKey,
    /// Proves that the terminal's own side is the one; end-to-end services need it.
    pub terminal_key: Option<PublicKey>,
    /// Its services, by the client's own names for them.
    pub services: BTreeMap<String, ContactService>,
}

/// One service of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactService {
    /// What both proxies call it.
    pub id: ServiceId,
    /// Whether it is reached through an inner TLS, and never without.
    pub end_to_end: bool,
}

impl Contact {
    /// Reads and checks a contact file and the key files it names, relative to its own folder.
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        let text = text_of(file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let problems = |problems| Mistakes { file: file.to_owned(), problems };
        let source = Source::parse(&text, folder).map_err(problems)?;
        let mut root = source.root();
        let contact = read(&mut root);
        root.finish();
        source.verdict(contact).map_err(problems)
    }

    /// The contact of one terminal of a public proxy; without `addresses`, private proxies' are given.
    pub fn of(config: &PublicConfig, name: &TerminalName, addresses: &[String]) -> Option<Self> {
        let directory: &Directory = &config.directory;
        let terminal: &ListedTerminal = directory.find(name)?;
        let announced = config.announce.iter().map(ToString::to_string);
        let addresses = if addresses.is_empty() { announced.collect() } else { addresses.to_vec() };
        let services = terminal.services.iter().map(|it| {
            let end_to_end = it.access.level == Level::EndToEnd;
            (common_name(it), ContactService { id: it.id, end_to_end })
        });
        Some(Self {
            name: name.clone(),
            addresses,
            public_key: *config.identity.public_key(),
            terminal_key: Some(terminal.terminal.private_proxy),
            services: services.collect(),
        })
    }

    /// The file, as it is read again.
    pub fn to_text(&self) -> String {
        let quoted: Vec<String> = self.addresses.iter().map(|it| format!("{it:?}")).collect();
        let mut text = format!("name = \"{}\"\n", self.name);
        if let Some(key) = &self.terminal_key {
            let _ = write!(text, "terminal_key = \"\"\"\n{}\"\"\"\n", pem(key));
        }
        let _ = write!(
            text,
            "\n[public_proxy]\naddresses = [{}]\npublic_key = \"\"\"\n{}\"\"\"\n\n[services]\n",
            quoted.join(", "),
            pem(&self.public_key)
        );
        for (name, ContactService { id, end_to_end }) in &self.services {
            let _ = writeln!(text, "{name} = {{ id = {id}, end_to_end = {end_to_end} }}");
        }
        text
    }
}

fn read(root: &mut Section<'_>) -> Option<Contact> {
    let name: Option<TerminalName> = root.required("name");
    let has_terminal_key = !root.lacks("terminal_key");
    let terminal_key = if has_terminal_key { root.public_key("terminal_key") } else { None };
    let mut services = BTreeMap::new();
    for (name, mut section) in root.named_sections("services") {
        let id = section.service_id("id");
        let end_to_end = section.flag("end_to_end");
        if end_to_end && !has_terminal_key {
            section.wrong("end_to_end", "needs the contact's terminal_key");
        }
        services.insert(name, ContactService { id, end_to_end });
        section.finish();
    }
    let Some(mut proxy) = root.section("public_proxy") else {
        root.wrong("public_proxy", "missing: say where the terminal's public proxy is");
        return None;
    };
    let addresses: Vec<String> = proxy.list("addresses");
    if addresses.is_empty() || !addresses.iter().all(|it| is_host_and_port(it)) {
        proxy.wrong("addresses", "must be one host:port or a list of them");
    }
    let public_key = proxy.public_key("public_key");
    proxy.finish();
    Some(Contact { name: name?, addresses, public_key: public_key?, terminal_key, services })
}

/// What people call a service on its port.
fn common_name(service: &ListedService) -> String {
    match service.port {
        22 => "ssh".to_owned(),
        80 => "http".to_owned(),
        443 => "https".to_owned(),
        port => format!("port-{port}"),
    }
}

/// With the line ends that TOML's texts of several lines are written with.
fn pem(key: &PublicKey) -> String {
    keys::public_key_text(key).replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::Identity;

    #[test]
    fn a_contact_is_read_as_it_was_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("car7.toml");
        let contact = contact();
        std::fs::write(&file, contact.to_text()).unwrap();
        assert_eq!(Contact::load(&file).unwrap(), contact);
    }

    #[test]
    fn a_contact_that_would_not_pin_the_terminal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("car7.toml");
        let text = Contact { terminal_key: None, ..contact() }.to_text();
        std::fs::write(&file, text.replace("gate.example:7443", "gate.example")).unwrap();
        let mistakes = Contact::load(&file).unwrap_err().to_string();
        assert!(mistakes.contains("services.ssh.end_to_end: needs"), "{mistakes}");
        assert!(mistakes.contains("must be one host:port"), "{mistakes}");
    }

    fn contact() -> Contact {
        let key = || *Identity::from_pem(&Identity::generate().unwrap()).unwrap().public_key();
        let service = |id, end_to_end| ContactService { id: ServiceId(id), end_to_end };
        Contact {
            name: TerminalName::parse("car7.fleet.example").unwrap(),
            addresses: vec!["gate.example:7443".into(), "[2001:db8::20]:7443".into()],
            public_key: key(),
            terminal_key: Some(key()),
            services: [("ssh".into(), service(2, true)), ("http".into(), service(0, false))].into(),
        }
    }
}
