//! A subscriber's terminal, and how the operator hands it an address.
//!
//! Each terminal hangs on its own routed link with an address of its own, drawn at random, as in a
//! mobile core: no two subscribers share a network, and attaching again brings another address.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::{Gateway, Host, Plan};

/// The terminal's device toward the operator, named as on a phone.
const MODEM: &str = "rmnet0";

/// A mobile server terminal inside the operator's network.
#[derive(Debug)]
pub struct Terminal {
    /// The machine itself, on which the services run.
    pub host: Host,
    plan: Plan,
    address: IpAddr,
}

impl Terminal {
    /// Wires a host to the gateway and attaches it for the first time.
    pub(crate) async fn wire(host: Host, gateway: &Gateway, plan: Plan) -> Result<Self> {
        wire(gateway, host.name(), &host, MODEM).await?;
        let address = draw(plan);
        route(gateway, host.name(), &host, MODEM, address).await?;
        Ok(Self { host, plan, address })
    }

    /// Tells the address the operator has handed out.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Attaches again: the operator hands out another address and forgets the old one.
    pub async fn attach(&mut self, gateway: &Gateway) -> Result<IpAddr> {
        self.detach(gateway).await?;
        let old = self.address;
        while self.address == old {
            self.address = draw(self.plan);
        }
        route(gateway, self.host.name(), &self.host, MODEM, self.address).await?;
        Ok(self.address)
    }

    /// Leaves coverage: no address, no route, until it attaches again.
    pub async fn detach(&self, gateway: &Gateway) -> Result<()> {
        let family = if self.address.is_ipv4() { "-4" } else { "-6" };
        let old = host_route(self.address);
        gateway.host.run(&["ip", family, "route", "flush", &old]).await?;
        self.host.run(&["ip", family, "address", "flush", "dev", MODEM, "scope", "global"]).await?;
        self.host.run(&["ip", family, "route", "flush", "default"]).await.map(drop)
    }
}

/// Makes a link from the gateway (where it is called `name`) to an inside host's device.
pub(crate) async fn wire(gateway: &Gateway, name: &str, host: &Host, device: &str) -> Result<()> {
    let peer = host.pid();
    let lines = format!(
        "link add name {name} type veth peer name {device} netns {peer}
        address add 100.64.0.1/32 dev {name}
        address add fe80::1/64 dev {name}
        link set {name} up"
    );
    gateway.host.ip(&lines).await
}

/// Gives an inside host its address, and both ends their routes.
pub(crate) async fn route(
    gateway: &Gateway,
    name: &str,
    host: &Host,
    device: &str,
    address: IpAddr,
) -> Result<()> {
    let whole = host_route(address);
    let lines = match address {
        IpAddr::V4(_) => format!(
            "link set {device} up
            address add {whole} dev {device}
            route add 100.64.0.1 dev {device}
            route add default via 100.64.0.1 dev {device}"
        ),
        IpAddr::V6(_) => format!(
            "link set {device} up
            address add {whole} dev {device}
            route add ::/0 via fe80::1 dev {device}"
        ),
    };
    host.ip(&lines).await?;
    gateway.host.ip(&format!("route replace {whole} dev {name}")).await
}

fn host_route(address: IpAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{bits}")
}

/// Draws an address from the subscribers' pool. Each new `RandomState` hashes differently.
fn draw(plan: Plan) -> IpAddr {
    let number = RandomState::new().build_hasher().finish();
    let [a, b, c, d, ..] = number.to_be_bytes();
    match plan {
        Plan::Cgnat => Ipv4Addr::new(100, 65, a, b.clamp(1, 254)).into(),
        Plan::Ipv6Only => {
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            Ipv6Addr::new(0x2001, 0xdb8, 0x65, high, 0, 0, 0, low.max(1)).into()
        }
    }
}
