//! frp: everything over one TLS connection as it comes, or a connection a stream.

use std::path::Path;

use anyhow::Result;

use super::{Places, write};
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// TLS and multiplexing: its defaults.
pub(super) fn default(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(places, folder, "", "")
}

/// Neither, and a pool: its fastest for bulk.
pub(super) fn nomux(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    let (server, client) = (
        "transport.tcpMux = false\ntransport.maxPoolCount = 5\n",
        "transport.tcpMux = false\ntransport.poolCount = 5\ntransport.tls.enable = false\n",
    );
    raise(places, folder, server, client)
}

/// TLS, a connection a stream, and a pool.
pub(super) fn nomux_tls(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    let (server, client) = (
        "transport.tcpMux = false\ntransport.maxPoolCount = 5\n",
        "transport.tcpMux = false\ntransport.poolCount = 5\n",
    );
    raise(places, folder, server, client)
}

fn raise(places: &Places, folder: &Path, server: &str, client: &str) -> Result<Vec<Process>> {
    let server =
        format!("bindAddr = \"127.0.0.1\"\nbindPort = 7700\nauth.token = \"bench\"\n{server}");
    let mut client =
        format!("serverAddr = \"127.0.0.1\"\nserverPort = 7700\nauth.token = \"bench\"\n{client}");
    for (before, behind) in BEFORE.iter().zip(BEHIND) {
        client += &format!(
            "\n[[proxies]]\nname = \"s{before}\"\ntype = \"tcp\"\nlocalIP = \"127.0.0.1\"\nlocalPort = {behind}\nremotePort = {before}\n"
        );
    }
    write(folder, &[("frps.toml", &server), ("frpc.toml", &client)])?;
    let server = Process::start("server", folder, &[&places.word("frps")?, "-c", "frps.toml"])?;
    super::wait_port(7700)?;
    let client = Process::start("client", folder, &[&places.word("frpc")?, "-c", "frpc.toml"])?;
    Ok(vec![server, client])
}
