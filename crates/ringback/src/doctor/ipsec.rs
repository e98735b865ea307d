//! What IPsec needs of this machine: a program, a device, a capability, a port; and whether its daemon
//! answers.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

use ringback_proto::ipsec::{End, IKE_PORT};

use super::checks::row;
use crate::config::{Charon, Esp, IpsecConfig};
use crate::control::Found;
use crate::ipsec::{examine, find_program};
use crate::table::Tone;

/// The capability to set addresses and routes, as the kernel numbers it.
const CAP_NET_ADMIN: u32 = 12;

/// What can be seen without starting anything.
pub(super) fn machine(config: &IpsecConfig, end: End, runs: bool) -> Vec<Found> {
    let mut found = vec![capability(), inside()];
    let Charon::Own(own) = &config.charon else { return found };
    found.push(match find_program(own) {
        Ok(program) => row("ipsec", "charon", Tone::Good, program.display().to_string()),
        Err(fault) => row("ipsec", "charon", Tone::Bad, fault.to_string()),
    });
    if own.esp == Esp::User {
        found.push(tun());
    }
    if end == End::Public {
        found.push(port(runs));
    }
    found
}

/// Whether the daemon answers: the proxy's own if it runs, or one that is started for this look.
pub(super) async fn daemon(config: &IpsecConfig, end: End, runs: bool) -> Option<Found> {
    let own = matches!(config.charon, Charon::Own(_));
    // One that is started for this look leaves nothing behind, not even the proxy's folder.
    let (mut config, scratch) = (config.clone(), tempfile::tempdir());
    if let (false, Ok(scratch)) = (runs, &scratch) {
        config.state = scratch.path().to_owned();
    }
    Some(match examine(&config, end, runs).await {
        Ok(version) => row("ipsec", "vici", Tone::Good, version),
        Err(fault) => {
            let fault = format!("{:#}", anyhow::Error::from(fault));
            let cure = if own { "" } else { "; see that strongSwan runs with its vici plugin" };
            row("ipsec", "vici", Tone::Bad, format!("{fault}{cure}"))
        }
    })
}

fn capability() -> Found {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|it| it.strip_prefix("CapEff:"));
    let effective = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    if effective.is_some_and(|it| it >> CAP_NET_ADMIN & 1 == 1) {
        return row("ipsec", "capability", Tone::Good, "CAP_NET_ADMIN");
    }
    let cure = "no CAP_NET_ADMIN: run as root, or with AmbientCapabilities=CAP_NET_ADMIN";
    row("ipsec", "capability", Tone::Bad, cure)
}

fn inside() -> Found {
    match UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => row("ipsec", "inner addresses", Tone::Good, "this machine has IPv6 inside"),
        Err(fault) => {
            let cure = "set net.ipv6.conf.lo.disable_ipv6 to 0; no IPv6 network is needed";
            row("ipsec", "inner addresses", Tone::Bad, format!("{fault}: {cure}"))
        }
    }
}

fn tun() -> Found {
    match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => row("ipsec", "esp", Tone::Good, "in charon, by /dev/net/tun"),
        Err(fault) => {
            let cure =
                "load the module tun, give the container the device, or set esp = \"kernel\"";
            row("ipsec", "esp", Tone::Bad, format!("/dev/net/tun: {fault}: {cure}"))
        }
    }
}

/// Taken, it is our daemon's only while the proxy runs.
fn port(runs: bool) -> Found {
    let found = |tone, text: String| row("ipsec", "udp 4500", tone, text);
    match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, IKE_PORT)) {
        Ok(_) => found(Tone::Good, "free; see that firewalls let it through".to_owned()),
        Err(_) if runs => found(Tone::Good, "taken, while the proxy runs".to_owned()),
        Err(fault) => {
            let cure =
                "end what holds it (the system's own strongSwan?), or name its socket by vici";
            found(Tone::Bad, format!("{fault}: {cure}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_else_holds_is_bad_unless_the_proxy_runs() {
        // Somebody else may hold it already, which is as good.
        let _held = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, IKE_PORT));
        assert_eq!((port(true).tone, port(false).tone), (Tone::Good, Tone::Bad));
    }
}
