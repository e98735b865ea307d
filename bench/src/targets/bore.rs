//! bore: TCP only, a client a service, with a shared secret.

use std::path::Path;

use anyhow::Result;

use super::Places;
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// As it comes.
pub(super) fn tcp(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    let bore = places.word("bore")?;
    let server =
        [&bore, "server", "--secret", "bench", "--min-port", "8000", "--bind-addr", "127.0.0.1"];
    let mut processes = vec![Process::start("server", folder, &server)?];
    // A client that is refused ends at once, and does not try again.
    super::wait_port(7835)?;
    for (name, (before, behind)) in ["client-bulk", "client-echo", "client-http"]
        .into_iter()
        .zip(BEFORE.into_iter().zip(BEHIND))
    {
        let (before, behind) = (before.to_string(), behind.to_string());
        let words = [&bore, "local", &behind, "--local-host", "127.0.0.1", "--to", "127.0.0.1"];
        let more = ["--port", &before, "--secret", "bench"];
        processes.push(Process::start(name, folder, &[&words[..], &more[..]].concat())?);
    }
    Ok(processes)
}
