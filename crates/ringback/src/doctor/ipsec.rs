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
pub(super) fn machine(config: &IpsecConfig, end: End) -> Vec<Found> {
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
        found.push(port());
    }
    found
}

/// Whether the daemon answers: the proxy's own if it runs, or one that is started for this look.
pub(super) async fn daemon(config: &IpsecConfig, end: End, runs: bool) -> Option<Found> {
    let own = matches!(config.charon, Charon::Own(_));
    Some(match examine(config, end, runs).await {
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

fn port() -> Found {
    match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, IKE_PORT)) {
        Ok(_) => row("ipsec", "udp 4500", Tone::Good, "free; see that firewalls let it through"),
        // Ours, if the proxy runs: whether it answers is looked at elsewhere.
        Err(fault) => row("ipsec", "udp 4500", Tone::Good, format!("taken by a daemon ({fault})")),
    }
}
