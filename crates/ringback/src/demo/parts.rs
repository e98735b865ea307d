//! The configurations of the demo's roles: what a user would write for the same installation.

use std::net::{IpAddr, SocketAddr};

/// Where everything of the demo is.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The terminal's name.
    pub name: String,
    /// The zone that the responder answers for.
    pub zone: String,
    /// The public proxy as clients and private proxies reach it.
    pub public_address: IpAddr,
    /// Where private proxies dial back to.
    pub dial_back: SocketAddr,
    /// Where HTTP clients come.
    pub http: SocketAddr,
    /// Where SOCKS5 and CONNECT clients come.
    pub proxy: SocketAddr,
    /// Where DNS is answered.
    pub dns: SocketAddr,
    /// Where the operator's message center listens.
    pub operator: SocketAddr,
    /// The same, as the Internet reaches it.
    pub operator_outside: SocketAddr,
    /// The same, as the operator's own network reaches it.
    pub operator_inside: SocketAddr,
    /// The mobile server, `host:port`.
    pub terminal: String,
}

/// What the files are made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// Where everything is.
    pub site: &'a Site,
    /// How long an SMS takes.
    pub sms_delay: f64,
}

impl Parts<'_> {
    /// Every file that is not a key: name and text.
    pub(super) fn files(&self) -> [(&'static str, String); 5] {
        [
            ("smpp.password", "demo".into()),
            ("operator.toml", self.operator()),
            ("public.toml", self.public()),
            ("private.toml", self.private()),
            ("responder.toml", self.responder()),
        ]
    }

    fn operator(&self) -> String {
        let (listen, delay) = (self.site.operator, self.sms_delay);
        format!(
            r#"[operator]
listen = "{listen}"
delay = {{ kind = "fixed", seconds = {delay:?} }}

[[operator.accounts]]
system_id = "public"
password = "demo"

[[operator.accounts]]
system_id = "private"
password = "demo"
prefixes = ["1555"]
"#
        )
    }

    fn public(&self) -> String {
        let Site { name, dial_back, http, proxy, operator_outside, .. } = self.site;
        format!(
            r#"[public]
identity = "public.key"
state = "public-state"
dial_back = "{dial_back}"
http = "{http}"
proxy = "{proxy}"

[budget]
terminal_per_5_minutes = 0
terminal_per_hour = 0
terminal_per_day = 0
source_per_hour = 0
rings_per_day = 0
waiting_per_source = 1000

[[bearer]]
name = "sms"
kind = "smpp"
address = "{operator_outside}"
system_id = "public"
password_file = "smpp.password"
source = "15550100"

[[terminal]]
name = "{name}"
keys = "patient.public.keys"
number = "+15550100777"
private_proxy = "private.pub"

[[terminal.route]]
bearer = "sms"

[[terminal.service]]
id = 1
port = 80
http = true
"#
        )
    }

    fn responder(&self) -> String {
        let Site { name, zone, public_address, dns, .. } = self.site;
        format!(
            r#"[responder]
listen = "{dns}"
zone = "{zone}"
addresses = "{public_address}"

[[terminal]]
name = "{name}"

[[terminal.service]]
id = 1
http = true
"#
        )
    }

    fn private(&self) -> String {
        let Site { dial_back, operator_inside, terminal, .. } = self.site;
        format!(
            r#"[private]
identity = "private.key"
state = "private-state"

[[bearer]]
name = "sms"
kind = "smpp"
address = "{operator_inside}"
system_id = "private"
password_file = "smpp.password"

[[public_proxy]]
name = "public"
public_key = "public.pub"
addresses = "{dial_back}"

[[terminal]]
keys = "patient.private.keys"
number = "+15550100777"
public_proxies = "public"

[[terminal.service]]
id = 1
address = "{terminal}"
"#
        )
    }
}
