//! `kind = "smpp"`: an account with a message center.

use ringback_bearer::smpp::{self, Host};
use ringback_bearer::{Tls, limits};
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::text::{Address, Password, Text};

use super::super::section::{Section, is_host_and_port};
use super::{read_roots, server_name};
use crate::keys;

pub(super) fn read(section: &mut Section<'_>) -> Option<smpp::Config> {
    let addresses = read_addresses(section);
    let role = read_role(section);
    let system_id: Option<String> = section.required("system_id");
    let system_id = system_id.and_then(|it| {
        let fits = Text::new(&it);
        if fits.is_none() {
            section.wrong("system_id", "longer than the 15 characters of SMPP 3.4");
        }
        fits
    });
    let password = section.file("password_file", |file| {
        let password = keys::read_password(file).map_err(|fault| fault.to_string())?;
        if password.is_empty() {
            return Err("is empty: it holds the account's password".to_owned());
        }
        Password::new(&password).ok_or_else(|| "longer than 32 characters".to_owned())
    });
    let source: Option<String> = section.text("source");
    let source = Address::parse(&source.unwrap_or_default());
    if source.is_none() {
        section.wrong("source", "no address: a plus sign and digits, a short code, or a name");
    }
    let tls = if section.has("tls_roots") { section.file("tls_roots", read_roots) } else { None };
    let window = section.number("window", 1, 100, 10);
    let per_second = section.number("per_second", 1, 10_000, 30);
    let cancel = !section.has("cancel") || section.flag("cancel");

    let system_type = Text::new("")?;
    let bind = Bind { role: role?, system_id: system_id?, password: password?, system_type };
    let mut hosts = Vec::new();
    for address in addresses? {
        let tls = match &tls {
            Some(config) => {
                let name = server_name(section, "address", &address)?;
                Some(Tls { config: config.clone(), name })
            }
            None => None,
        };
        hosts.push(Host { address, tls });
    }
    let mut config = smpp::Config::new(hosts.first()?.address.clone(), bind, source?);
    config.hosts = hosts;
    config.account.window = usize::try_from(window).ok()?;
    config.account.per_second = u32::try_from(per_second).ok()?;
    config.cancel = cancel;
    Some(config)
}

/// One `host:port`, or a list of them.
fn read_addresses(section: &mut Section<'_>) -> Option<Vec<String>> {
    let addresses: Vec<String> = section.list("address");
    let problem = if addresses.is_empty() {
        "missing: host:port, or a list of them".to_owned()
    } else if limits::SMPP_HOSTS < addresses.len() {
        format!("more than {} hosts", limits::SMPP_HOSTS)
    } else if let Some(wrong) = addresses.iter().find(|it| !is_host_and_port(it)) {
        format!("{wrong:?}: must be host:port")
    } else {
        return Some(addresses);
    };
    section.wrong("address", problem);
    None
}

fn read_role(section: &mut Section<'_>) -> Option<Role> {
    let mode: Option<String> = section.text("mode");
    match mode.as_deref() {
        None | Some("transceiver") => Some(Role::Transceiver),
        Some("transmitter") => Some(Role::Transmitter),
        Some("receiver") => Some(Role::Receiver),
        Some(other) => {
            let text = format!("{other:?} is no mode: transceiver, transmitter or receiver");
            section.wrong("mode", text);
            None
        }
    }
}
