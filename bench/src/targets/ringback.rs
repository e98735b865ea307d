//! Ringback itself: operator, private and public proxy as real processes with real keys.
//!
//! The first client rings by SMS through the simulated operator; from then on tunnels stand by, as
//! they do for whoever comes back within the linger time. Logs are as a user gets them, in a file.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Places, make, write};
use crate::clock;
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// What the simulated operator is called: it is no part of the tunnel.
pub(crate) const OPERATOR: &str = "operator";

/// How long a role may take until it says that it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(15);

/// Over TLS tunnels, as configured by default.
pub(super) fn tls(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, "")
}

/// Services whose tunnels fall to a bare splice after the hello.
pub(super) fn bare(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, BARE)
}

/// Streams of QUIC.
pub(super) fn quic(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, QUIC)
}

const BARE: &str = "bare = true\n";
const QUIC: &str = "tunnel = \"quic\"\n";

/// What `ringback check` says against that key, if it does.
pub(super) fn refuses_bare(places: &Places) -> Option<String> {
    refuses(places, BARE, "`ringback check` refuses the key `bare`")
}

/// The same of a binary that was built without QUIC.
pub(super) fn refuses_quic(places: &Places) -> Option<String> {
    refuses(places, QUIC, "built without the feature `quic`: `cargo xtask bench plane --quic`")
}

fn refuses(places: &Places, each: &str, why: &str) -> Option<String> {
    let check = || -> Result<Option<String>> {
        let folder = tempfile::tempdir()?;
        prepare(places, folder.path(), each)?;
        for role in ["public", "private"] {
            let file = folder.path().join(format!("{role}.toml"));
            let mut check = Command::new(&places.ringback);
            let said = check.arg("check").arg("--config").arg(file).output()?;
            if !said.status.success() {
                return Ok(Some(why.to_owned()));
            }
        }
        Ok(None)
    };
    check().unwrap_or_else(|error| Some(format!("{error:#}")))
}

fn raise(places: &Places, folder: &Path, each: &str) -> Result<Vec<Process>> {
    prepare(places, folder, each)?;
    let mut roles = Vec::new();
    for role in [OPERATOR, "private", "public"] {
        let file = folder.join(format!("{role}.toml"));
        let words = [&places.word("ringback")?, "--log", "json", role, "--config"];
        let file = file.to_str().context("a temporary folder has a strange name")?;
        let mut process = Process::start(role, folder, &[&words[..], &[file]].concat())?;
        wait_ready(&mut process, folder)?;
        roles.push(process);
    }
    Ok(roles)
}

/// Waits until a role's log says so.
pub(crate) fn wait_ready(process: &mut Process, folder: &Path) -> Result<()> {
    let log = folder.join(format!("{}.log", process.name));
    let end = clock::now() + READY_PATIENCE;
    while clock::now() < end {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.contains("\"message\":\"ready\"") {
            return Ok(());
        }
        process.check().with_context(|| said)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{} does not get ready", process.name)
}

fn prepare(places: &Places, folder: &Path, each: &str) -> Result<()> {
    let ringback = places.word("ringback")?;
    make_keys(&ringback, folder, &[])?;
    make_keys(&ringback, folder, &["phone"])?;
    write(
        folder,
        &[
            ("operator.toml", OPERATOR_FILE),
            ("public.toml", &public(each)),
            ("private.toml", &private(each)),
        ],
    )?;
    Ok(())
}

/// Makes the keys of these terminals; or, of none, those of both proxies and the operator's password.
pub(crate) fn make_keys(ringback: &str, folder: &Path, terminals: &[&str]) -> Result<()> {
    for name in terminals {
        make(folder, &[ringback, "key", "terminal", "--out", name])?;
    }
    if !terminals.is_empty() {
        return Ok(());
    }
    for name in ["public", "private"] {
        make(folder, &[ringback, "key", "identity", "--out", name])?;
    }
    use std::os::unix::fs::PermissionsExt;
    let password = folder.join("smpp.password");
    std::fs::write(&password, "bench")?;
    std::fs::set_permissions(password, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// An operator whose messages take no time.
pub(crate) const OPERATOR_FILE: &str = r#"[operator]
listen = "127.0.0.1:2775"
delay = { kind = "fixed", seconds = 0.0 }

[[operator.accounts]]
system_id = "public"
password = "bench"

[[operator.accounts]]
system_id = "private"
password = "bench"
prefixes = ["1555"]
"#;

fn public(each: &str) -> String {
    let mut file = r#"[public]
identity = "public.key"
state = "public-state"
dial_back = "127.0.0.1:7443"
linger_seconds = 86400

[budget]
terminal_per_5_minutes = 0
terminal_per_hour = 0
terminal_per_day = 0
source_per_hour = 0
rings_per_day = 0
breaker_unanswered = 0
waiting_per_source = 16384

[[bearer]]
name = "sms"
kind = "smpp"
address = "127.0.0.1:2775"
system_id = "public"
password_file = "smpp.password"
source = "15550100"

[[terminal]]
name = "bench.localhost"
keys = "phone.public.keys"
number = "+15550100777"
private_proxy = "private.pub"
waiting = 4096

[[terminal.route]]
bearer = "sms"
"#
    .to_owned();
    for (place, port) in BEFORE.iter().enumerate() {
        file += &format!(
            "\n[[terminal.service]]\nid = {}\nport = {port}\nraw = \"127.0.0.1:{port}\"\n{each}",
            place + 1
        );
    }
    file
}

fn private(each: &str) -> String {
    let mut file = r#"[private]
identity = "private.key"
state = "private-state"

[[bearer]]
name = "sms"
kind = "smpp"
address = "127.0.0.1:2775"
system_id = "private"
password_file = "smpp.password"

[[public_proxy]]
name = "public"
public_key = "public.pub"
addresses = "127.0.0.1:7443"

[[terminal]]
keys = "phone.private.keys"
number = "+15550100777"
public_proxies = "public"
"#
    .to_owned();
    for (place, port) in BEHIND.iter().enumerate() {
        file += &format!(
            "\n[[terminal.service]]\nid = {}\naddress = \"127.0.0.1:{port}\"\n{each}",
            place + 1
        );
    }
    file
}
