//! `kind = "modem"`: a modem of our own, by AT commands.

use ringback_bearer::modem;
use ringback_proto::modem::pin::Pin;
use ringback_proto::modem::tpdu::{Address, Kind};

use super::super::section::Section;
use crate::keys;

pub(super) fn read(section: &mut Section<'_>) -> Option<modem::Config> {
    let device = section.path("device");
    let bits_per_second = section.number("bits_per_second", 300, 4_000_000, 115_200);
    let pin = if section.has("pin_file") {
        section.file("pin_file", |file| {
            let pin = keys::read_password(file).map_err(|fault| fault.to_string())?;
            Pin::new(&pin).ok_or_else(|| "no PIN: 4 to 8 digits".to_owned())
        })
    } else {
        None
    };
    let center: Option<String> = section.text("center");
    let center = center.and_then(|it| {
        let center = Address::parse(&it).filter(|it| it.kind() != Kind::Name);
        if center.is_none() {
            section.wrong("center", "no address of a message center: a plus sign and digits");
        }
        center
    });
    let reports = !section.has("reports") || section.flag("reports");

    let mut config = modem::Config::new(device?);
    config.bits_per_second = u32::try_from(bits_per_second).ok()?;
    config.dialog.pin = pin;
    config.dialog.center = center;
    config.dialog.reports = reports;
    Some(config)
}
