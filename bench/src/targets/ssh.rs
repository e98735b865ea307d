//! OpenSSH's remote forwarding, by a server of our own with keys of its own.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Places, make, write};
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// The cipher that OpenSSH prefers.
pub(super) fn default(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, &[])
}

/// AES-GCM, which processors help with.
pub(super) fn aes_gcm(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, &["-c", "aes128-gcm@openssh.com"])
}

fn raise(places: &Places, folder: &Path, more: &[&str]) -> Result<Vec<Process>> {
    for key in ["host", "user"] {
        make(folder, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])?;
    }
    std::fs::copy(folder.join("user.pub"), folder.join("allowed"))?;
    let at = folder.to_str().context("a temporary folder has a strange name")?;
    let config = format!(
        "Port 7022\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/allowed\n\
         PidFile none\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPasswordAuthentication no\n\
         MaxSessions 100\n"
    );
    write(folder, &[("sshd_config", &config)])?;
    // Where its unprivileged half is locked into; Debian makes it with the service.
    std::fs::create_dir_all("/run/sshd")?;
    let words = [&places.word("sshd")?, "-D", "-e", "-f", &format!("{at}/sshd_config")];
    let server = Process::start("server", folder, &words)?;
    super::wait_port(7022)?;
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let mut words: Vec<&str> = "ssh -N -F none -p 7022 -i user -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o ExitOnForwardFailure=yes -o BatchMode=yes"
        .split_whitespace()
        .collect();
    words.extend(more);
    let remotes: Vec<String> = BEFORE
        .iter()
        .zip(BEHIND)
        .map(|(before, behind)| format!("127.0.0.1:{before}:127.0.0.1:{behind}"))
        .collect();
    for remote in &remotes {
        words.extend(["-R", remote]);
    }
    let whom = format!("{user}@127.0.0.1");
    words.push(&whom);
    Ok(vec![server, Process::start("client", folder, &words)?])
}
