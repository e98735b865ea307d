//! The operator's gateway: its NAT, its firewall, and the faults it can be told to have.
//!
//! It is strict, as real ones are: the NAT is symmetric (another port for every destination), what
//! belongs to no known flow is dropped in silence, and nothing may come in that was not asked for.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::Host;

/// The firewall and the NAT of both plans. `wan` faces the Internet, every other link inward.
///
/// ICMPv6 must reach the gateway itself: without neighbor discovery there is no IPv6 link at all.
/// Between the operator's own servers nothing depends on a flow being known.
const RULES: &str = r#"
table inet plmn {
    counter blocked { }
    chain fault { type filter hook forward priority filter - 10; policy accept; }
    chain forward { type filter hook forward priority filter; policy drop;
        iifname { "private", "smsc" } oifname { "private", "smsc" } accept
        ct state invalid drop
        ct state established,related accept
        iifname "wan" counter name blocked drop
        oifname { "wan", "nat64", "private", "smsc" } accept
        iifname { "nat64", "private", "smsc" } accept
    }
    chain input { type filter hook input priority filter; policy drop;
        iifname != "wan" accept
        ct state established,related accept
        meta l4proto { icmp, ipv6-icmp } accept
        counter name blocked drop
    }
    chain postrouting { type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" meta nfproto ipv4 masquerade random;
    }
}
"#;

/// The operator's edge: carrier-grade NAT and firewall.
#[derive(Debug)]
pub struct Gateway {
    /// The machine itself, for further rules and counters.
    pub host: Host,
}

impl Gateway {
    /// Turns a host into a strict gateway.
    pub(crate) async fn strict(host: Host) -> Result<Self> {
        host.nft(RULES).await?;
        // A loose tracker would adopt the middle of a flow it has forgotten; a strict one does not.
        host.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0).await?;
        host.sysctl("net.ipv4.ip_forward", 1).await?;
        host.sysctl("net.ipv6.conf.all.forwarding", 1).await?;
        Ok(Self { host })
    }

    /// Counts the packets from outside that the firewall has dropped.
    pub async fn blocked(&self) -> Result<u64> {
        let listing = self.host.run(&["nft", "list", "counter", "inet", "plmn", "blocked"]).await?;
        let mut words = listing.split_whitespace().skip_while(|&it| it != "packets");
        let packets = words.nth(1).context("nft lists no packets for the counter")?;
        packets.parse().with_context(|| format!("nft counts {packets:?} packets"))
    }

    /// Forgets every flow, as a gateway does that restarts or has been idle for too long.
    pub async fn forget_flows(&self) -> Result<()> {
        self.host.run(&["conntrack", "--flush"]).await.map(drop)
    }

    /// Forgets from now on every TCP flow that was idle for this long, in whole seconds.
    pub async fn forget_after(&self, idle: Duration) -> Result<()> {
        let key = "net.netfilter.nf_conntrack_tcp_timeout_established";
        self.host.sysctl(key, idle.as_secs()).await
    }

    /// Drops everything between inside and outside, both ways, without a word.
    pub async fn silent_drop(&self) -> Result<()> {
        self.fault("iifname \"wan\" drop\nadd rule inet plmn fault oifname \"wan\" drop").await
    }

    /// Resets TCP connections toward the inside; the outside hears nothing and keeps its half.
    pub async fn reset_inside(&self) -> Result<()> {
        self.fault("oifname \"wan\" meta l4proto tcp reject with tcp reset").await
    }

    /// Drops a port's UDP, both ways, as operators do that want no VPN in their networks.
    pub async fn block_udp(&self, port: u16) -> Result<()> {
        let back = format!("add rule inet plmn fault udp sport {port} drop");
        self.fault(&format!("udp dport {port} drop\n{back}")).await
    }

    /// Ends the fault that was caused last.
    pub async fn heal(&self) -> Result<()> {
        self.host.nft("flush chain inet plmn fault").await
    }

    async fn fault(&self, rule: &str) -> Result<()> {
        let rules = format!("flush chain inet plmn fault\nadd rule inet plmn fault {rule}");
        self.host.nft(&rules).await
    }
}
