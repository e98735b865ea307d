//! Tunnels inside WebSockets: wstunnel and chisel, in reverse.

use std::path::Path;

use anyhow::Result;

use super::{Places, rathole};
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// wstunnel without TLS.
pub(super) fn ws(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, "ws://127.0.0.1:7800", &[])
}

/// wstunnel with TLS: what its manual shows first.
pub(super) fn wss(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    rathole::certify(folder)?;
    let certificate = ["--tls-certificate", "own.pem", "--tls-private-key", "own.key"];
    raise(places, folder, "wss://127.0.0.1:7800", &certificate)
}

fn raise(places: &Places, folder: &Path, at: &str, more: &[&str]) -> Result<Vec<Process>> {
    let wstunnel = places.word("wstunnel")?;
    let words = [&[&wstunnel, "server", at], more].concat();
    let server = Process::start("server", folder, &words)?;
    super::wait_port(7800)?;
    let remotes: Vec<String> = BEFORE
        .iter()
        .zip(BEHIND)
        .map(|(before, behind)| format!("tcp://127.0.0.1:{before}:127.0.0.1:{behind}"))
        .collect();
    let mut words = vec![wstunnel.as_str(), "client"];
    for remote in &remotes {
        words.extend(["-R", remote]);
    }
    words.push(at);
    Ok(vec![server, Process::start("client", folder, &words)?])
}

/// chisel: SSH inside a WebSocket.
pub(super) fn chisel(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    let chisel = places.word("chisel")?;
    let words = [&chisel, "server", "--reverse", "--host", "127.0.0.1", "--port", "7900"];
    let server = Process::start("server", folder, &words)?;
    super::wait_port(7900)?;
    let remotes: Vec<String> = BEFORE
        .iter()
        .zip(BEHIND)
        .map(|(before, behind)| format!("R:127.0.0.1:{before}:127.0.0.1:{behind}"))
        .collect();
    let mut words = vec![chisel.as_str(), "client", "http://127.0.0.1:7900"];
    words.extend(remotes.iter().map(String::as_str));
    Ok(vec![server, Process::start("client", folder, &words)?])
}
