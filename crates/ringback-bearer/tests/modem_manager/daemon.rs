//! The real ModemManager on a bus of its own, with a simulated modem on a socket.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::zvariant::OwnedObjectPath;

use crate::brain::Traits;
use crate::simulator::Simulator;

const NAME: &str = "org.freedesktop.ModemManager1";
const ROOT: &str = "/org/freedesktop/ModemManager1";

/// The bus, the daemon and the modem. Dropping it ends them.
pub(crate) struct Daemon {
    pub(crate) modem: Simulator,
    place: TempDir,
    bus: Child,
    connection: Connection,
    manager: Option<Child>,
    /// How often the daemon was told of the modem.
    profiles: u32,
}

impl Daemon {
    /// Starts all of it, and waits until the daemon knows the modem; nothing if a program is missing.
    pub(crate) async fn start(traits: Traits) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let Some((bus, connection)) = start_bus(&place).await else { return missing("dbus") };
        let modem = Simulator::unplugged(traits);
        let mut daemon = Self { modem, place, bus, connection, manager: None, profiles: 0 };
        if !daemon.start_manager().await {
            return missing("modemmanager");
        }
        daemon.plug_in().await;
        Some(daemon)
    }

    /// Where the bus is.
    pub(crate) fn address(&self) -> String {
        address(&self.place)
    }

    /// The modem's port.
    pub(crate) fn socket(&self) -> String {
        let own = self.place.path().file_name().unwrap().to_str().unwrap();
        format!("abstract:ringback{own}")
    }

    /// Plugs the modem in, where the daemon is told of it, and waits until it knows it.
    pub(crate) async fn plug_in(&mut self) {
        self.modem.plug_in_at(&self.socket());
        self.announce().await;
    }

    /// Unplugs the modem. The daemon starts anew: without a kernel nobody tells it.
    pub(crate) async fn unplug(&mut self) {
        self.end_manager().await;
        self.modem.unplug().await;
        assert!(self.start_manager().await);
    }

    /// Somebody else disables the modem.
    pub(crate) async fn disable(&self) {
        let interface = "org.freedesktop.ModemManager1.Modem";
        let path = format!("{ROOT}/Modem/0");
        let done =
            self.connection.call_method(Some(NAME), path, Some(interface), "Enable", &(false,));
        done.await.unwrap();
    }

    /// Ends the daemon without warning.
    pub(crate) async fn end_manager(&mut self) {
        self.manager.take().unwrap().kill().await.unwrap();
    }

    pub(crate) async fn start_manager_again(&mut self) {
        assert!(self.start_manager().await);
        self.announce().await;
    }

    /// Ends the bus without warning, which the daemon does not survive, and starts both again.
    pub(crate) async fn restart_bus(&mut self) {
        self.bus.kill().await.unwrap();
        self.manager.take().unwrap().kill().await.unwrap();
        std::fs::remove_file(self.place.path().join("bus")).unwrap();
        (self.bus, self.connection) = start_bus(&self.place).await.unwrap();
        self.start_manager_again().await;
    }

    /// Somebody else tells everybody on the bus that the daemon ended.
    pub(crate) async fn pretend_an_end(&self) {
        let bus = DBusProxy::new(&self.connection).await.unwrap();
        let interface = "org.freedesktop.DBus";
        for name in bus.list_names().await.unwrap().iter().filter(|it| it.starts_with(':')) {
            let (path, body) = ("/org/freedesktop/DBus", (NAME, ":1.1", ""));
            let told = self.connection.emit_signal(
                Some(name.as_str()),
                path,
                interface,
                "NameOwnerChanged",
                &body,
            );
            told.await.unwrap();
        }
    }

    /// How many messages the daemon knows of the modem.
    pub(crate) async fn messages(&self) -> usize {
        let interface = "org.freedesktop.ModemManager1.Modem.Messaging";
        let path = format!("{ROOT}/Modem/0");
        let reply = self.connection.call_method(Some(NAME), path, Some(interface), "List", &());
        let paths: Vec<OwnedObjectPath> = reply.await.unwrap().body().deserialize().unwrap();
        paths.len()
    }

    /// Tells the daemon of the modem, as the kernel would.
    async fn announce(&mut self) {
        self.profiles += 1;
        let body = (format!("modem{}", self.profiles), "generic", vec![self.socket()]);
        let interface = "org.freedesktop.ModemManager1.Test";
        let told =
            self.connection.call_method(Some(NAME), ROOT, Some(interface), "SetProfile", &body);
        told.await.unwrap();
    }

    async fn start_manager(&mut self) -> bool {
        let mut command = Command::new("/usr/sbin/ModemManager");
        command.args(["--test-session", "--test-enable", "--test-no-udev", "--no-auto-scan"]);
        command.args(["--test-no-suspend-resume", "--test-no-qrtr"]);
        command.env("DBUS_SESSION_BUS_ADDRESS", self.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(manager) = command.kill_on_drop(true).spawn() else { return false };
        self.manager = Some(manager);
        let bus = DBusProxy::new(&self.connection).await.unwrap();
        let owned = async {
            while !bus.name_has_owner(NAME.try_into().unwrap()).await.unwrap() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), owned).await.expect("the daemon starts");
        true
    }
}

/// Starts a bus, and connects to it; nothing if it is missing.
async fn start_bus(place: &TempDir) -> Option<(Child, Connection)> {
    let address = address(place);
    let mut command = Command::new("dbus-daemon");
    command.args(["--session", "--nofork", "--print-address", "--address", &address]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut bus = command.kill_on_drop(true).spawn().ok()?;
    // It says where it is once it is there.
    let mut said = String::new();
    let stdout = bus.stdout.take().unwrap();
    assert!(0 < BufReader::new(stdout).read_line(&mut said).await.unwrap());
    let connecting = zbus::connection::Builder::address(address.as_str()).unwrap().build();
    Some((bus, connecting.await.unwrap()))
}

fn address(place: &TempDir) -> String {
    format!("unix:path={}", place.path().join("bus").display())
}

fn missing<T>(package: &str) -> Option<T> {
    let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
    assert!(!required, "{package} is missing: run `cargo xtask peers`");
    println!("skipped: {package} is missing: run `cargo xtask peers`");
    None
}
