//! The private proxy's configuration file as redeeming a code leaves it: begun, or added to.
//!
//! Only ever adds at the end, and only what still reads as a configuration afterwards. What a person
//! has to fill in stands there as a comment. The public proxy never decides what is connected to: the
//! services that it names stand there as a comment too, unless a person has said where they listen.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ringback_proto::enrolment::Offer;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::ServiceId;

use crate::config::{Config, Places, Problem};
use crate::keyring::Keyring;
use crate::keys::{hex, public_key_text};
use crate::state;

const STARTER: &str = r#"# A private proxy: it hears rings, connects to the terminal, dials back. `ringback check` tells
# what is wrong in this file; `ringback private` runs with it.

[private]
identity = "private.key"       # who it is; made by `ringback enrol redeem`
state = "private-state"        # what it must not forget across a crash
keyring = "private-keyring"    # the keys that enrolment has brought; readable by nobody else

# What signals come by. Fill in what your operator has given you, and take the # away.
#
#[[bearer]]
#name = "sms"
#kind = "smpp"
#address = "192.0.2.1:2775"
#system_id = "private"
#password_file = "smpp.password"   # a file of one line, mode 0600
"#;

const UNDECIDED: &str = r#"#
# What the public proxy says that this terminal serves. A person must decide what may be reached from
# there, and where it listens: take the # away from that, and from nothing else. Give each the level
# that the public proxy has for it; "end-to-end" needs its clients' keys too. Without a level, the
# public proxy alone decides who comes.
"#;

/// What is to be written, and what to say of it.
#[derive(Debug)]
pub(super) struct Draft {
    file: PathBuf,
    text: String,
    mode: u32,
    /// What was added, for people; empty if the file has it all.
    pub added: Vec<String>,
    /// Whether the terminal's services are yet to be filled in by a person.
    pub unserved: bool,
}

/// Where a person has said that services listen, `host:port` each.
pub(super) type Decided = BTreeMap<ServiceId, String>;

/// Begins a file that is not there.
pub(super) fn begin(file: &Path) -> anyhow::Result<()> {
    if !file.try_exists()? {
        state::replace_as(file, STARTER.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Drafts the file with everything in it that the offer asks for.
pub(super) fn draft(
    file: &Path,
    places: &Places,
    keyring: &Keyring,
    public_key: &PublicKey,
    (offer, decided): (&Offer, &Decided),
) -> anyhow::Result<Draft> {
    if let Some(id) = decided.keys().find(|id| offer.services.iter().all(|it| it.0 != **id)) {
        bail!("--service {id}: {} has no such service at the public proxy", offer.name);
    }
    let file = fs::canonicalize(file)?;
    let before = fs::read_to_string(&file)?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    let (mut text, mut added, mut unserved) = (before.clone(), Vec::new(), false);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let listed = places.public_proxies.iter().find(|it| it.public_key == *public_key);
    let proxy = match listed {
        Some(listed) => {
            let lacking = offer.addresses.iter().filter(|it| !listed.addresses.contains(it));
            for address in lacking {
                added.push(format!(
                    "nothing for {address}: add it to the addresses of {:?} to obey its rings",
                    listed.name
                ));
            }
            listed.name.clone()
        }
        None => {
            let (name, table) = public_proxy(&file, keyring, public_key, offer)?;
            text.push_str(&table);
            added.push(format!("[[public_proxy]] {name}"));
            name
        }
    };
    match places.terminals.iter().find(|it| it.name.as_ref() == Some(&offer.name)) {
        Some(place) if place.keys.is_some() => {
            bail!("{} has `keys` of its own in {}: take that line out", offer.name, file.display());
        }
        Some(_) if decided.is_empty() => {}
        Some(_) => bail!(
            "--service: {} is in {} already: write its services there",
            offer.name,
            file.display()
        ),
        None => {
            text.push_str(&terminal(&proxy, offer, decided));
            unserved = decided.len() < offer.services.len();
            added.push(format!("[[terminal]] {}", offer.name));
        }
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    check(&before, &text, folder).context("the file would not be a configuration any more")?;
    Ok(Draft { file, text, mode, added, unserved })
}

impl Draft {
    /// Replaces the file, whole.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        state::replace_as(&self.file, self.text.as_bytes(), self.mode)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// A file that a person has still to fill in may have mistakes; what is added must make no other.
fn check(before: &str, after: &str, folder: &Path) -> anyhow::Result<()> {
    // A text that is no TOML has one mistake, which must not count as few.
    after.parse::<toml::Table>().map_err(|fault| anyhow::anyhow!("{}", fault.message()))?;
    let problems = |text| Config::parse(text, folder).err().unwrap_or_default();
    let (known, found): (_, Vec<Problem>) = (problems(before), problems(after));
    if found.len() <= known.len() {
        return Ok(());
    }
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    bail!("{}", told.join("; "))
}

/// The table of a public proxy that the file does not know yet; its key is written to the keyring.
fn public_proxy(
    file: &Path,
    keyring: &Keyring,
    public_key: &PublicKey,
    offer: &Offer,
) -> anyhow::Result<(String, String)> {
    let name = format!("public-{}", hex(&public_key.0[12..16]));
    let key_file = fs::canonicalize(keyring.folder())?.join(format!("{name}.pub"));
    let pem = public_key_text(public_key);
    state::replace(&key_file, pem.as_bytes())?;
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
    let key_file = key_file.strip_prefix(folder).unwrap_or(&key_file);
    let key_file = key_file.to_str().context("the keyring's folder has a strange name")?;
    let addresses: Vec<String> = offer.addresses.iter().map(|it| format!("\"{it}\"")).collect();
    let table = format!(
        "\n[[public_proxy]]\nname = \"{name}\"\npublic_key = {}\naddresses = [{}]\n",
        toml::Value::from(key_file),
        addresses.join(", ")
    );
    Ok((name, table))
}

fn terminal(proxy: &str, offer: &Offer, decided: &Decided) -> String {
    let mut table = format!("\n[[terminal]]\nname = \"{}\"\n", offer.name);
    if let Some(number) = offer.callees.number() {
        table.push_str(&format!("number = \"+{}\"\n", number.digits()));
    }
    if let Some(mail) = offer.callees.mail() {
        table.push_str(&format!("mail = {}\n", toml::Value::from(mail.as_str())));
    }
    table.push_str(&format!("public_proxies = {}\n", toml::Value::from(proxy)));
    if decided.len() < offer.services.len() {
        table.push_str(UNDECIDED);
    }
    for (id, port) in offer.services.iter().filter(|(id, _)| !decided.contains_key(id)) {
        table.push_str(&format!(
            "#\n#[[terminal.service]]\n#id = {id}\n#address = \"127.0.0.1:{port}\"\n#level = \"…\"\n"
        ));
    }
    for (id, address) in decided {
        let address = toml::Value::from(address.as_str());
        table.push_str(&format!("\n[[terminal.service]]\nid = {id}\naddress = {address}\n"));
        table.push_str("#level = \"…\"   # the level that the public proxy has for it\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use ringback_proto::access_request::Kid;
    use ringback_proto::terminal::{CallNumber, Callees, MailAddress, TerminalName};

    use super::*;
    use crate::keys;

    const WRITTEN: &str = "# mine\n[private]\nidentity = \"private.key\"\nstate = \"state\"\n\
        keyring = \"ring\"\n[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"192.0.2.1:2775\"\n\
        system_id = \"x\"\npassword_file = \"password\"\n[[public_proxy]]\nname = \"it\"\n\
        public_key = \"it.pub\"\naddresses = \"192.0.2.9:7443\"";

    #[test]
    fn a_file_is_added_to_at_its_end_and_says_what_a_person_must_see_to() {
        let folder = folder();
        let file = folder.path().join("private.toml");
        fs::write(&file, WRITTEN).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let draft = drafted(&file, &keys::read_public_key(&folder.path().join("it.pub")).unwrap());
        let draft = draft.unwrap();
        assert!(draft.unserved);
        assert!(
            draft.text.starts_with(WRITTEN)
                && !draft.text[WRITTEN.len()..].contains("public_proxy]]")
        );
        assert!(draft.text.contains("public_proxies = \"it\""), "{}", draft.text);
        let rung_by = "number = \"+15550100777\"\nmail = \"car@fleet.example\"\n";
        assert!(draft.text.contains(rung_by), "{}", draft.text);
        assert!(draft.added[0].contains("192.0.2.10:7443"), "{:?}", draft.added);
        draft.write().unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(Config::load(&file).is_ok());

        // Once more: there is nothing to add.
        let again = drafted(&file, &keys::read_public_key(&folder.path().join("it.pub")).unwrap());
        assert_eq!(again.unwrap().text, draft.text);
    }

    #[test]
    fn an_unknown_public_proxy_is_listed_by_its_key() {
        let folder = folder();
        let file = folder.path().join("private.toml");
        fs::write(&file, WRITTEN).unwrap();
        drafted(&file, &PublicKey::of_raw([0xab; 32])).unwrap().write().unwrap();
        let Ok(Config::Private(config)) = Config::load(&file) else { panic!("not whole") };
        let [_, added] = &config.public_proxies[..] else { panic!("{:?}", config.public_proxies) };
        assert_eq!(
            (&added.name[..], added.public_key),
            ("public-abababab", PublicKey::of_raw([0xab; 32]))
        );
        assert_eq!(added.addresses, ["192.0.2.10:7443".parse().unwrap()]);
    }

    #[test]
    fn no_service_is_reached_that_no_person_has_decided_on() {
        let folder = folder();
        let file = folder.path().join("private.toml");
        fs::write(&file, WRITTEN).unwrap();
        let services = |draft: &Draft| {
            let table: toml::Table = draft.text.parse().unwrap();
            table["terminal"][0].get("service").map(ToString::to_string)
        };
        let key = PublicKey::of_raw([1; 32]);
        let draft = drafted(&file, &key).unwrap();
        assert_eq!(services(&draft), None, "{}", draft.text);
        assert!(draft.text.contains("#[[terminal.service]]\n#id = 2\n"), "{}", draft.text);
        assert!(Config::parse(&draft.text, folder.path()).is_ok());

        let decide = |id| Decided::from([(ServiceId(id), "192.0.2.7:8080".to_owned())]);
        let draft = drafted_with(&file, &key, &decide(1)).unwrap();
        let active = services(&draft).unwrap();
        assert!(active.contains("192.0.2.7:8080") && !active.contains("127.0.0.1"), "{active}");
        assert!(draft.unserved && Config::parse(&draft.text, folder.path()).is_ok());
        let fault = drafted_with(&file, &key, &decide(3)).unwrap_err();
        assert!(fault.to_string().contains("no such service"), "{fault:#}");
    }

    #[test]
    fn a_file_that_would_break_is_left_alone() {
        let folder = folder();
        let file = folder.path().join("private.toml");
        let inline = WRITTEN.replace("# mine\n", "terminal = []\n");
        fs::write(&file, &inline).unwrap();
        let fault = drafted(&file, &PublicKey::of_raw([1; 32])).unwrap_err();
        assert!(format!("{fault:#}").contains("would not be a configuration"), "{fault:#}");
        assert_eq!(fs::read_to_string(&file).unwrap(), inline);

        let own =
            format!("{WRITTEN}\n[[terminal]]\nname = \"patient.example\"\nkeys = \"a.keys\"\n");
        fs::write(&file, own).unwrap();
        let fault = drafted(&file, &PublicKey::of_raw([1; 32])).unwrap_err();
        assert!(fault.to_string().contains("`keys` of its own"), "{fault:#}");
    }

    /// A folder with the key files that the text names.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["private", "it"] {
            keys::make_identity(&folder.path().join(name)).unwrap();
        }
        state::replace(&folder.path().join("password"), b"x").unwrap();
        folder
    }

    fn drafted(file: &Path, public_key: &PublicKey) -> anyhow::Result<Draft> {
        drafted_with(file, public_key, &Decided::new())
    }

    fn drafted_with(
        file: &Path,
        public_key: &PublicKey,
        decided: &Decided,
    ) -> anyhow::Result<Draft> {
        let places = Places::read(file)?;
        let keyring = places.keyring.clone().unwrap();
        keyring.make()?;
        let offer = Offer {
            kid: Kid(7),
            callees: Callees::new(
                CallNumber::parse("+15550100777").ok(),
                MailAddress::parse("car@fleet.example").ok(),
            )
            .unwrap(),
            name: TerminalName::parse("patient.example").unwrap(),
            services: vec![(ServiceId(1), 80), (ServiceId(2), 22)],
            addresses: vec!["192.0.2.10:7443".parse().unwrap()],
        };
        draft(file, &places, &keyring, public_key, (&offer, decided))
    }
}
