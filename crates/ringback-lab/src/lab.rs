//! The lab: the Internet on one side, an operator's network on the other, the gateway in between.
//!
//! ```text
//!             the Internet, one bridge                    │      the operator's network
//!                 203.0.113.0/24                          │  every host on a routed link of its own
//!                2001:db8::/64                            │
//!                                                         │
//!   client .10 ──┐                                        │        ┌── private 100.64.0.2
//!   public .20 ──┤                       wan .1 ┌─────────┴─┐      │
//!   dns    .53 ──┼── inet (bridge) ─────────────│  gateway  │──────┼── terminal 100.65.R.R, random
//!   smsc   .40 ──┘                              └─────────┬─┘      │
//!     └───────────────────────────────────────────────────│────────┴── smsc 100.64.0.3
//! ```
//!
//! With [`Plan::Ipv6Only`] the inside has no IPv4 at all: private 2001:db8:64::2, smsc
//! 2001:db8:64::3, terminal 2001:db8:65:R::R, and IPv4 destinations under 2001:db8:64:ff9b::/96 (NAT64).
//!
//! The Internet has no route to the operator's private addresses, and the gateway drops what comes
//! unasked, whatever the address. The SMSC stands in both networks, and forwards nothing.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command as Tool, Stdio};
use std::time::Duration;
use std::{env, io};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::time::timeout;

use crate::cable::{self, Cable, Plugged};
use crate::host::{rootless, search_path};
use crate::{Gateway, Host, Terminal, addresses, limits, terminal};

/// Every outside host asks the same name server, and inside hosts do too where IPv4 reaches.
const RESOLVER: &str = "nameserver 203.0.113.53\n";

/// The same name server, for hosts that have only IPv6.
const RESOLVER_V6: &str = "nameserver 2001:db8::53\n";

/// What the lab runs, and the Debian package each comes from.
const TOOLS: [(&str, &str); 8] = [
    ("conntrack", "conntrack"),
    ("env", "coreutils"),
    ("find", "findutils"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];

/// The translator of an IPv6-only operator. It needs IPv4 addresses of its own to translate into;
/// they never leave the gateway, whose NAT hides them in turn. The prefix is the operator's own: the
/// well-known one (RFC 6052) may not carry addresses kept for documentation, such as the lab's.
const NAT64: &str = "
tun-device nat64
ipv4-addr 192.168.255.1
ipv6-addr 2001:db8:66::1
prefix 2001:db8:64:ff9b::/96
dynamic-pool 192.168.255.0/24
";

/// Which kind of operator the lab has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Private IPv4 addresses behind a carrier-grade NAT: the method's own case.
    Cgnat,
    /// IPv6 only, with NAT64 toward the IPv4 Internet and a firewall toward all of it.
    Ipv6Only,
}

/// A whole network. Dropping it ends every process in it and takes it away.
#[derive(Debug)]
pub struct Lab {
    /// The Internet's one switch.
    pub inet: Host,
    /// Where clients come from.
    pub client: Host,
    /// Where the public proxy runs.
    pub public: Host,
    /// Where the responder runs; every host's resolver asks it.
    pub dns: Host,
    /// The operator's message center, reachable from both networks.
    pub smsc: Host,
    /// The operator's NAT and firewall.
    pub gateway: Gateway,
    /// Where the private proxy runs.
    pub private: Host,
    /// The mobile server terminal.
    pub terminal: Terminal,
    plan: Plan,
    cable: Option<Plugged>,
}

impl Lab {
    /// Tells whether this machine can have a lab, and if not, what is missing.
    pub fn available(plan: Plan) -> Result<(), String> {
        let mut wanted = TOOLS.to_vec();
        if plan == Plan::Ipv6Only {
            wanted.push(("tayga", "tayga"));
        }
        let missing = missing(&wanted);
        if !missing.is_empty() {
            return Err(format!("install the Debian packages {}", missing.join(" ")));
        }

        let user: &[&str] = if rootless() { &["--user", "--map-root-user"] } else { &[] };
        let words = [user, &["--net", "--mount", "nft", "add", "table", "inet", "trial"]].concat();
        let trial = Tool::new("unshare")
            .args(words)
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .output();
        let trial = trial.map_err(|error| format!("cannot run unshare: {error}"))?;
        if !trial.status.success() {
            let complaint = String::from_utf8_lossy(&trial.stderr);
            return Err(format!("this system allows no namespaces: {}", complaint.trim()));
        }

        if plan == Plan::Ipv6Only {
            let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
            tun.map_err(|error| format!("NAT64 needs /dev/net/tun: {error}"))?;
        }
        Ok(())
    }

    /// Brings a lab up for a test; where there can be none, says so loudly and returns nothing.
    ///
    /// With `RINGBACK_LAB=require` in the environment a missing lab is a failure.
    pub async fn for_test(plan: Plan) -> Result<Option<Self>> {
        if let Err(reason) = Self::available(plan) {
            if env::var_os("RINGBACK_LAB").is_some_and(|it| it == "require") {
                return Err(anyhow!("the lab is required but unavailable: {reason}"));
            }
            // Written past the test runner, which swallows what a passing test prints.
            writeln!(io::stderr(), "skipped: a test that needs the lab; {reason}")?;
            return Ok(None);
        }
        Self::up(plan).await.map(Some)
    }

    /// Brings up the whole network.
    pub async fn up(plan: Plan) -> Result<Self> {
        let inside = match plan {
            Plan::Cgnat => RESOLVER,
            Plan::Ipv6Only => RESOLVER_V6,
        };
        let inet = Host::first("inet", RESOLVER).await?;
        let (client, public, dns, smsc, gateway, private, terminal) = tokio::try_join!(
            inet.beside("client", RESOLVER),
            inet.beside("public", RESOLVER),
            inet.beside("dns", RESOLVER),
            inet.beside("smsc", RESOLVER),
            inet.beside("gateway", RESOLVER),
            inet.beside("private", inside),
            inet.beside("terminal", inside),
        )?;

        inet.ip("link add inet type bridge mcast_snooping 0\nlink set inet up").await?;
        join(&inet, &client, "eth0", 10).await?;
        join(&inet, &public, "eth0", 20).await?;
        join(&inet, &smsc, "eth0", 40).await?;
        join(&inet, &dns, "eth0", 53).await?;
        join(&inet, &gateway, "wan", 1).await?;

        let gateway = Gateway::strict(gateway).await?;
        let (private_address, smsc_address) = match plan {
            Plan::Cgnat => (addresses::PRIVATE.into(), addresses::SMSC.into()),
            Plan::Ipv6Only => (addresses::PRIVATE_V6.into(), addresses::SMSC_V6.into()),
        };
        for (host, device, address) in
            [(&private, "eth0", private_address), (&smsc, "core", smsc_address)]
        {
            terminal::wire(&gateway, host.name(), host, device).await?;
            terminal::route(&gateway, host.name(), host, device, address).await?;
        }
        let terminal = Terminal::wire(terminal, &gateway, plan).await?;

        if plan == Plan::Ipv6Only {
            translate(&gateway.host).await?;
            // Those addresses are global: the Internet knows the way, and the firewall stops it.
            for host in [&client, &public, &dns] {
                host.ip("route add 2001:db8:64::/46 via 2001:db8::1").await?;
            }
        }
        Ok(Self { inet, client, public, dns, smsc, gateway, private, terminal, plan, cable: None })
    }

    /// Adds a subscriber of the same operator, isolated from the others.
    pub async fn subscribe(&self, name: &'static str) -> Result<Terminal> {
        let resolver = match self.plan {
            Plan::Cgnat => RESOLVER,
            Plan::Ipv6Only => RESOLVER_V6,
        };
        let host = self.inet.beside(name, resolver).await?;
        Terminal::wire(host, &self.gateway, self.plan).await
    }

    /// Puts the Internet farther away: what passes the gateway's `wan` is late by this, each way.
    pub async fn delay(&mut self, each_way: Duration) -> Result<()> {
        self.plug(Cable { delay: each_way, ..Cable::default() }).await
    }

    /// Puts a cable between the gateway's `wan` and the Internet.
    pub async fn plug(&mut self, cable: Cable) -> Result<()> {
        ensure!(self.cable.is_none(), "the lab has its cable already");
        let missing = missing(&cable::TOOLS);
        ensure!(missing.is_empty(), "install the Debian packages {}", missing.join(" "));
        self.cable = Some(Plugged::between(&self.inet, &self.gateway.host, cable).await?);
        Ok(())
    }

    /// Takes the network away and waits until it is gone. Dropping it does the same without waiting.
    pub async fn down(self) -> Result<()> {
        let Self { inet, client, public, dns, smsc, gateway, private, terminal, plan: _, cable } =
            self;
        let hosts = [terminal.host, private, gateway.host, smsc, dns, public, client, inet];
        let cable = cable.map(|it| it.host);
        // All are told to end before any is waited for.
        let holders: Vec<_> = hosts.into_iter().chain(cable).map(Host::close).collect();
        for mut holder in holders {
            timeout(limits::HOST_DOWN, holder.wait()).await.context("a host did not go down")??;
        }
        Ok(())
    }
}

/// The packages whose tools are not to be found on this machine.
fn missing(wanted: &[(&str, &'static str)]) -> Vec<&'static str> {
    let path = search_path();
    let found = |tool: &str| env::split_paths(&path).any(|it| it.join(tool).is_file());
    let missing = wanted.iter().filter(|(tool, _)| !found(tool));
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// Plugs a host into the Internet's bridge.
async fn join(inet: &Host, host: &Host, device: &str, number: u8) -> Result<()> {
    let (name, peer) = (host.name(), host.pid());
    inet.ip(&format!(
        "link add name {name} type veth peer name {device} netns {peer}
        link set {name} master inet up"
    ))
    .await?;
    host.ip(&format!(
        "address add 203.0.113.{number}/24 dev {device}
        address add 2001:db8::{number}/64 dev {device}
        link set {device} up"
    ))
    .await
}

/// Starts the NAT64 translator in the gateway and routes its prefix.
async fn translate(gateway: &Host) -> Result<()> {
    // It goes to the background once its device is open; it ends with the host.
    gateway.feed(&["tayga", "--config", "/dev/stdin"], NAT64).await?;
    gateway
        .ip("link set nat64 up
            address add 192.168.255.2/32 dev nat64
            address add 2001:db8:66::2/128 dev nat64
            route add 192.168.255.0/24 dev nat64
            route add 2001:db8:66::1/128 dev nat64
            route add 2001:db8:64:ff9b::/96 dev nat64")
        .await
}
