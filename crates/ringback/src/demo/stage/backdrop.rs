//! The demo's network with `--lab`: namespaces behind a real carrier-grade NAT and firewall.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use ringback_lab::{Lab, Plan, addresses};
use tokio::process::Command;

use crate::demo::parts::Site;

/// The readings server's port on the terminal.
const TERMINAL_PORT: u16 = 8080;

/// A lab in which the roles run where the method puts them.
#[derive(Debug)]
pub(crate) struct Backdrop {
    lab: Lab,
}

/// What came of reaching the terminal directly.
#[derive(Debug)]
pub(crate) struct Premise {
    /// The address that was tried.
    pub tried: String,
    /// What the client saw.
    pub outcome: String,
    /// What the operator's firewall has dropped.
    pub blocked: u64,
}

impl Backdrop {
    /// Brings the network up, or says what is missing for it.
    pub(crate) async fn up(delay: Option<u16>) -> anyhow::Result<Self> {
        Lab::available(Plan::Cgnat)
            .map_err(|missing| anyhow!("RB-LAB: no lab can be had here: {missing}"))?;
        let mut lab = Lab::up(Plan::Cgnat).await?;
        if let Some(milliseconds) = delay {
            lab.delay(Duration::from_millis(milliseconds.into())).await?;
        }
        Ok(Self { lab })
    }

    /// Where everything is in it.
    pub(crate) fn site(&self) -> Site {
        let public = IpAddr::V4(addresses::PUBLIC);
        Site {
            name: "patient.ring.example".into(),
            zone: "ring.example".into(),
            public_address: public,
            dial_back: SocketAddr::new(public, 7443),
            http: SocketAddr::new(public, 80),
            proxy: SocketAddr::new(public, 1080),
            dns: (addresses::DNS, 53).into(),
            operator: ([0, 0, 0, 0], 2775).into(),
            operator_outside: (addresses::SMSC_OUTSIDE, 2775).into(),
            operator_inside: (addresses::SMSC, 2775).into(),
            terminal: SocketAddr::from((self.lab.terminal.address(), TERMINAL_PORT)).to_string(),
        }
    }

    /// The binary, to be run where its role belongs.
    pub(crate) fn command(&self, role: &str, binary: &Path) -> anyhow::Result<Command> {
        let host = match role {
            "client" => &self.lab.client,
            "public" => &self.lab.public,
            "responder" => &self.lab.dns,
            "operator" => &self.lab.smsc,
            "private" => &self.lab.private,
            "readings" => &self.lab.terminal.host,
            other => bail!("the lab has no place for {other}"),
        };
        Ok(host.command(binary))
    }

    /// A command for another shell that is `curl` where clients are.
    pub(crate) fn curl(&self, url: &str) -> String {
        let mut command = self.lab.client.command("curl");
        command.arg(url);
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Tries to reach the terminal directly, from a client that even knows its address and a way.
    pub(crate) async fn premise(&self, binary: &Path, site: &Site) -> anyhow::Result<Premise> {
        let gateway = addresses::GATEWAY;
        self.lab.client.ip(&format!("route add 100.64.0.0/10 via {gateway}")).await?;
        let tried = site.terminal.clone();
        let output = self.lab.client.command(binary).args(["direct", &tried]).output().await?;
        let outcome = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Premise { tried, outcome, blocked: self.lab.gateway.blocked().await? })
    }
}
