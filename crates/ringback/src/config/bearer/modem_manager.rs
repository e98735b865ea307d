//! `kind = "modem-manager"`: a modem that ModemManager looks after, over D-Bus.

use ringback_bearer::modem_manager::{Config, Which};

use super::super::section::Section;

/// What a bus is called that every system has.
const SYSTEM: &str = "system";

pub(super) fn read(section: &mut Section<'_>) -> Option<Config> {
    let modem: Option<String> = section.text("modem");
    let modem = Which::parse(modem.as_deref().unwrap_or("any"));
    if modem.is_none() {
        let why = "no modem: \"any\", its index, its primary port, or its IMEI";
        section.wrong("modem", why);
    }
    let bus: Option<String> = section.text("bus");
    let bus = bus.filter(|it| it != SYSTEM);
    if bus.as_ref().is_some_and(|it| !Config::is_address(it)) {
        section.wrong("bus", "no bus: \"system\", or a D-Bus address such as unix:path=/run/bus");
        return None;
    }
    Some(Config { modem: modem?, bus })
}
