//! What the guide of bearers tells to write into a file is what the binary reads.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const GUIDE: &str = include_str!("../../../docs/bearers.md");
const SECRETS: [(&str, &str); 4] = [
    ("smpp.password", "secret"),
    ("sms.password", "secret"),
    ("mail.password", "secret"),
    ("sim.pin", "1234"),
];
const PUBLIC: &str = "[public]\nidentity = \"public.key\"\nstate = \"state\"\n\
     dial_back = \"192.0.2.1:7443\"\nhttp = \"192.0.2.1:80\"\n";
const PRIVATE: &str = "[private]\nidentity = \"private.key\"\nstate = \"state\"\n\
     [[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
     addresses = \"192.0.2.1:7443\"\n\
     [[terminal]]\nkeys = \"car7.private.keys\"\nnumber = \"+15550100777\"\n\
     mail = \"car7@operator.example\"\npublic_proxies = \"public\"\n\
     [[terminal.service]]\nid = 1\naddress = \"192.0.2.2:80\"\n";
const TERMINAL: &str = "[[terminal]]\nname = \"car7.fleet.example\"\nkeys = \"car7.public.keys\"\n\
     private_proxy = \"private.pub\"\nnumber = \"+15550100777\"\n\
     [[terminal.route]]\nbearer = \"sms\"\n[[terminal.service]]\nid = 1\nhttp = true\n";

#[test]
fn every_set_up_of_the_guide_has_no_mistakes() -> Result<()> {
    let folder = installation()?;
    let set_ups: Vec<&str> = GUIDE.split("```toml\n").skip(1).collect();
    assert_eq!(set_ups.len(), 7, "the ladder, and a set-up for each bearer");
    for set_up in set_ups {
        let (set_up, _) = set_up.split_once("```").context("a set-up without an end")?;
        let file = if set_up.starts_with("# private.toml") {
            format!("{PRIVATE}{set_up}")
        } else {
            let terminal = if set_up.contains("[[terminal]]") { "" } else { TERMINAL };
            format!("{PUBLIC}{set_up}{terminal}")
        };
        std::fs::write(folder.path().join("it.toml"), &file)?;
        let checked = ringback(folder.path(), "check --config it.toml")?;
        assert!(checked.status.success(), "{set_up}\n{}", said(&checked));

        let unknown = file.replacen("kind = ", "colour = 1\nkind = ", 1);
        std::fs::write(folder.path().join("it.toml"), unknown)?;
        let checked = ringback(folder.path(), "check --config it.toml")?;
        assert!(!checked.status.success(), "no key would be a mistake:\n{set_up}");
    }
    Ok(())
}

/// A folder with all that the set-ups name.
fn installation() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for words in ["identity --out public", "identity --out private", "terminal --out car7"] {
        let made = ringback(folder.path(), &format!("key {words}"))?;
        ensure!(made.status.success(), "{}", said(&made));
    }
    for (name, secret) in SECRETS {
        let file = folder.path().join(name);
        std::fs::write(&file, secret)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    }
    let names = vec!["mail.example".to_owned()];
    let root = rcgen::generate_simple_self_signed(names)?;
    let root = pem::Pem::new("CERTIFICATE", root.cert.der().to_vec());
    std::fs::write(folder.path().join("roots.pem"), pem::encode(&root))?;
    Ok(folder)
}

fn ringback(folder: &Path, words: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    Ok(command.args(words.split(' ')).current_dir(folder).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
