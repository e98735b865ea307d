//! `[[bearer]]` tables of modems as users write them, and every way to get one wrong.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use ringback::config::Config;
use tempfile::TempDir;

#[test]
fn a_modem_needs_its_device_and_one_of_modem_manager_nothing() -> Result<()> {
    let fixture = Fixture::new()?;
    for right in [
        "kind = \"modem\"\ndevice = \"/dev/serial/by-id/modem\"",
        "kind = \"modem\"\ndevice = \"/dev/ttyUSB2\"\nbits_per_second = 9600\nreports = false\n\
         center = \"+447785016005\"\npin_file = \"pin\"",
        "kind = \"modem-manager\"",
        "kind = \"modem-manager\"\nmodem = \"any\"\nbus = \"system\"",
        "kind = \"modem-manager\"\nmodem = \"3\"\nbus = \"unix:path=/run/bus\"",
        "kind = \"modem-manager\"\nmodem = \"/dev/ttyUSB2\"",
        "kind = \"modem-manager\"\nmodem = \"490154203237518\"",
    ] {
        assert_eq!(fixture.told(right), "", "{right}");
    }
    Ok(())
}

#[test]
fn every_mistake_of_a_modem_is_told_at_once() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.write_pin("123456789", 0o600)?;
    let told = fixture.told(
        "kind = \"modem\"\nbits_per_second = 50\ncenter = \"Operator\"\npin_file = \"pin\"\n\
         speed = 9600",
    );
    for mistake in [
        "bearer[0].device: missing",
        "bearer[0].bits_per_second: ",
        "bearer[0].center: no address of a message center: a plus sign and digits",
        "bearer[0].pin_file: ",
        "bearer[0].speed: ",
    ] {
        assert!(told.contains(mistake), "no {mistake:?} in {told}");
    }
    let told = fixture.told("kind = \"modem-manager\"\nmodem = \"a modem\"\nbus = \"session\"");
    for mistake in ["bearer[0].modem: no modem: ", "bearer[0].bus: no bus: "] {
        assert!(told.contains(mistake), "no {mistake:?} in {told}");
    }
    Ok(())
}

#[test]
fn a_pin_that_is_none_or_that_others_may_read_is_refused_and_never_told() -> Result<()> {
    let fixture = Fixture::new()?;
    let table = "kind = \"modem\"\ndevice = \"/dev/ttyUSB2\"\npin_file = \"pin\"";
    for (pin, mode, mistake) in [
        ("58a31", 0o600, "no PIN: 4 to 8 digits"),
        ("583174519", 0o600, "no PIN: 4 to 8 digits"),
        ("58317", 0o644, "mode 644"),
    ] {
        fixture.write_pin(pin, mode)?;
        let told = fixture.told(table);
        assert!(told.contains("bearer[0].pin_file: ") && told.contains(mistake), "{told}");
        assert!(!told.contains(pin), "the PIN is told: {told}");
    }
    fixture.write_pin("58317\n", 0o600)?;
    assert_eq!(fixture.told(table), "");
    Ok(())
}

/// A place for files.
struct Fixture {
    place: TempDir,
}

impl Fixture {
    /// With a PIN as it should be.
    fn new() -> Result<Self> {
        let fixture = Self { place: tempfile::tempdir()? };
        fixture.write_pin("1234", 0o600)?;
        Ok(fixture)
    }

    fn write_pin(&self, pin: &str, mode: u32) -> Result<()> {
        let file = self.place.path().join("pin");
        std::fs::write(&file, pin)?;
        Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode))?)
    }

    /// The mistakes that are told of a bearer with these keys; the rest of the file is missing.
    fn told(&self, table: &str) -> String {
        let text = format!("[private]\n[[bearer]]\nname = \"sms\"\n{table}\n");
        let problems = Config::parse(&text, self.place.path()).err().unwrap_or_default();
        assert!(!problems.is_empty(), "the rest is missing");
        let problems = problems.iter().map(ToString::to_string);
        problems.filter(|it| it.contains("bearer[0]")).map(|it| it + "\n").collect()
    }
}
