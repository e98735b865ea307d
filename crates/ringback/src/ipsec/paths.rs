//! Inner addresses and routes: given and taken by iproute2, as an operator would.
//!
//! What leads to an inner address beside the association that it belongs to leads nowhere: a packet to
//! it never leaves in clear.

use std::net::Ipv6Addr;
use std::process::Stdio;

use ringback_proto::ipsec::INNER_BITS;
use tokio::process::Command;
use tokio::time::timeout;

use super::Fault;
use crate::limits::IP_PATIENCE;

/// Behind every route that a daemon or an operator may set.
const LAST: &str = "4096";

/// Has packets into the network dropped that no association takes.
pub(super) async fn seal_off(network: Ipv6Addr) -> Result<(), Fault> {
    let network = format!("{network}/{INNER_BITS}");
    ip(&["-6", "route", "replace", "blackhole", &network, "metric", LAST]).await
}

/// Gives this machine an inner address.
pub(super) async fn add(address: Ipv6Addr) -> Result<(), Fault> {
    ip(&["-6", "address", "replace", &format!("{address}/128"), "dev", "lo", "nodad"]).await
}

/// Takes an inner address away.
pub(super) async fn remove(address: Ipv6Addr) -> Result<(), Fault> {
    ip(&["-6", "address", "del", &format!("{address}/128"), "dev", "lo"]).await
}

/// Takes every address of a network away: those that another run has left.
pub(super) async fn sweep(network: Ipv6Addr) -> Result<(), Fault> {
    ip(&["-6", "address", "flush", "dev", "lo", "to", &format!("{network}/{INNER_BITS}")]).await
}

async fn ip(words: &[&str]) -> Result<(), Fault> {
    let done = Command::new("ip")
        .args(words)
        .env("PATH", super::program::search_path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let fault = |said: String| Fault::Path { words: words.join(" "), said };
    let output = match timeout(IP_PATIENCE, done).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(fault(format!("{error}; install iproute2"))),
        Err(_) => return Err(fault("it does not end".to_owned())),
    };
    if output.status.success() {
        return Ok(());
    }
    Err(fault(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
