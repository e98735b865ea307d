//! `kind = "smpp"`: an account with a message center.

use ringback_bearer::{Tls, smpp};
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::text::{Address, Password, Text};

use super::super::section::Section;
use super::{read_roots, server_name};
use crate::keys;

pub(super) fn read(section: &mut Section<'_>) -> Option<smpp::Config> {
    let address = section.host_and_port("address");
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

    let address = address?;
    let system_type = Text::new("")?;
    let bind =
        Bind { role: Role::Transceiver, system_id: system_id?, password: password?, system_type };
    let mut config = smpp::Config::new(address.clone(), bind, source?);
    config.account.window = usize::try_from(window).ok()?;
    config.account.per_second = u32::try_from(per_second).ok()?;
    if let Some(tls) = tls {
        let name = server_name(section, "address", &address)?;
        config.tls = Some(Tls { config: tls, name });
    }
    Some(config)
}
