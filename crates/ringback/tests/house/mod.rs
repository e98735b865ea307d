//! Every role of the real binary on loopback, each a process of its own, and what they log.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

#[path = "../artefacts/mod.rs"]
mod artefacts;
#[path = "../ports/mod.rs"]
mod ports;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use artefacts::Folder;
pub use ports::free_addresses;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub const BINARY: &str = env!("CARGO_BIN_EXE_ringback");
/// What clients call the terminal.
pub const NAME: &str = "patient.localhost";
/// How long a process may take until it is as it should be.
const PATIENCE: Duration = Duration::from_secs(20);

/// The processes, in the order in which they are started.
pub const ROLES: [&str; 4] = ["readings", "operator", "private", "public"];

/// Every role on loopback, each a process of its own.
pub struct House {
    pub folder: Folder,
    pub http: SocketAddr,
    pub tls: SocketAddr,
    pub proxy: SocketAddr,
    pub raw: SocketAddr,
    pub dial_back: SocketAddr,
    pub dns: SocketAddr,
    pub operator: SocketAddr,
    /// Where the tests' own server may be, service 2.
    pub other: SocketAddr,
    /// How much the roles log.
    pub log: &'static str,
    /// What carries the signals.
    pub carried: Carried,
    /// What the terminal is rung by: its `number`, its `mail` or both, as both files say it.
    pub rung_by: String,
    /// The share of SMS that the operator loses.
    pub loss: f64,
    terminal: SocketAddr,
    roles: Vec<(&'static str, Child)>,
}

/// What carries the signals, as both proxies' files say it.
pub struct Carried {
    /// The public proxy's `[[bearer]]` tables.
    pub public: String,
    /// The private proxy's.
    pub private: String,
    /// The ways to ring the terminal: `[[terminal.route]]` tables.
    pub routes: String,
    /// Whether the simulated operator runs.
    pub operator: bool,
}

impl House {
    /// With one service, reached in every way.
    pub async fn open() -> Result<Self> {
        let mut house = Self::empty().await?;
        let raw = house.raw;
        let service = format!("id = 1\nport = 80\nhttp = true\ntls = true\nraw = \"{raw}\"\n");
        house.fill(&service).await?;
        Ok(house)
    }

    /// Has addresses and keys, and no process yet.
    pub async fn empty() -> Result<Self> {
        let folder = artefacts::folder()?;
        let [http, tls, proxy, raw, dial_back, dns, operator, terminal, other] = free_addresses()?;
        let roles = Vec::new();
        let carried = Carried {
            public: smpp(operator, "public"),
            private: smpp(operator, "private"),
            routes: "[[terminal.route]]\nbearer = \"sms\"\n".to_owned(),
            operator: true,
        };
        let house = Self {
            folder,
            http,
            tls,
            proxy,
            raw,
            dial_back,
            dns,
            operator,
            other,
            log: "debug",
            carried,
            rung_by: "number = \"+15550100777\"".to_owned(),
            loss: 0.0,
            terminal,
            roles,
        };
        for words in ["identity --out public", "identity --out private", "terminal --out patient"] {
            let mut command = Command::new(BINARY);
            command.arg("key").args(words.split(' ')).current_dir(house.folder.path());
            ensure!(command.output().await?.status.success(), "no {words}");
        }
        Ok(house)
    }

    /// Starts every role, with a `[[terminal.service]]` table of the public proxy.
    pub async fn fill(&mut self, service: &str) -> Result<()> {
        self.write_files(service)?;
        self.start_all().await
    }

    /// Starts every role, as the files have it.
    pub async fn start_all(&mut self) -> Result<()> {
        let terminal = self.terminal.to_string();
        self.start("readings", &["--listen", &terminal]).await?;
        if self.carried.operator {
            self.start("operator", &["--config", "operator.toml"]).await?;
        }
        self.start("private", &["--config", "private.toml"]).await?;
        self.start("public", &["--config", "public.toml"]).await
    }

    /// Writes the configurations, with a `[[terminal.service]]` table of the public proxy.
    pub fn write_files(&self, service: &str) -> Result<()> {
        let Self { http, tls, proxy, dial_back, dns, operator, other, terminal, .. } = self;
        let Carried { public, private, routes, .. } = &self.carried;
        let Self { rung_by, loss, .. } = self;
        let files = [
            ("smpp.password", "canary-of-sms".to_owned()),
            (
                "operator.toml",
                format!(
                    "[operator]\nlisten = \"{operator}\"\nloss = {loss:?}\n\
                     delay = {{ kind = \"fixed\", seconds = 0.3 }}\n\
                     [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"canary-of-sms\"\n\
                     [[operator.accounts]]\nsystem_id = \"private\"\npassword = \"canary-of-sms\"\n\
                     prefixes = [\"1555\"]\n"
                ),
            ),
            (
                "public.toml",
                format!(
                    "[public]\nidentity = \"public.key\"\nstate = \"public-state\"\n\
                     dial_back = \"{dial_back}\"\nhttp = \"{http}\"\ntls = \"{tls}\"\n\
                     proxy = \"{proxy}\"\nlinger_seconds = 0\n\
                     [budget]\nterminal_per_5_minutes = 0\nsource_per_hour = 0\nrings_per_day = 0\n\
                     [responder]\nlisten = \"{dns}\"\nzone = \"localhost\"\n\
                     addresses = \"127.0.0.1\"\n{public}\
                     [[terminal]]\nname = \"{NAME}\"\nkeys = \"patient.public.keys\"\n\
                     {rung_by}\nprivate_proxy = \"private.pub\"\nspares = 0\n\
                     {routes}[[terminal.service]]\n{service}\n"
                ),
            ),
            (
                "private.toml",
                format!(
                    "[private]\nidentity = \"private.key\"\nstate = \"private-state\"\n{private}\
                     [[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
                     addresses = \"{dial_back}\"\n\
                     [[terminal]]\nkeys = \"patient.private.keys\"\n{rung_by}\n\
                     public_proxies = \"public\"\n\
                     [[terminal.service]]\nid = 1\naddress = \"{terminal}\"\n\
                     [[terminal.service]]\nid = 2\naddress = \"{other}\"\n"
                ),
            ),
        ];
        for (name, text) in files {
            std::fs::write(self.path(name), text)?;
        }
        let secret = std::fs::Permissions::from_mode(0o600);
        Ok(std::fs::set_permissions(self.path("smpp.password"), secret)?)
    }

    /// Ends a proxy without warning, and starts it again.
    pub async fn restart(&mut self, role: &'static str) -> Result<()> {
        self.end(role).await?;
        self.begin(role).await
    }

    /// Ends a role without warning.
    pub async fn end(&mut self, role: &'static str) -> Result<()> {
        let place = self.roles.iter().position(|it| it.0 == role).context("no such role")?;
        Ok(self.roles.remove(place).1.kill().await?)
    }

    /// Starts a role that has been ended.
    pub async fn begin(&mut self, role: &'static str) -> Result<()> {
        self.start(role, &["--config", &format!("{role}.toml")]).await
    }

    async fn start(&mut self, role: &'static str, words: &[&str]) -> Result<()> {
        let log = std::fs::File::create(self.path(&format!("{role}.log")))?;
        let mut command = Command::new(BINARY);
        command.args(["--log", "json", role]).args(words).current_dir(self.folder.path());
        command.env("RINGBACK_LOG", self.log).stdin(Stdio::null()).stdout(Stdio::null());
        self.roles.push((role, command.stderr(log).kill_on_drop(true).spawn()?));
        self.says(role, "ready", 1).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn count(&self, role: &str, message: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.path(&format!("{role}.log")))?;
        Ok(log.matches(&format!("\"message\":\"{message}\"")).count())
    }

    /// Waits until a role has said something so many times.
    pub async fn says(&self, role: &str, message: &str, times: usize) -> Result<()> {
        let waiting = async {
            while self.count(role, message)? < times {
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await.with_context(|| format!("{role} never said {message}"))?
    }

    pub fn sms(&self) -> Result<usize> {
        self.count("operator", "sms accepted")
    }

    /// The process id of a role.
    pub fn pid(&self, role: &str) -> Result<u32> {
        let found = self.roles.iter().find(|it| it.0 == role).context("no such role")?;
        found.1.id().context("it has ended")
    }

    /// An honest client is served, for one SMS.
    pub async fn assert_serves(&self) -> Result<()> {
        let rung = self.sms()?;
        self.visit().await?;
        assert_eq!(self.sms()?, rung + 1);
        Ok(())
    }

    /// An honest client is served.
    pub async fn visit(&self) -> Result<()> {
        let (dns, port) = (self.dns.to_string(), self.http.port().to_string());
        let words = ["visit", "--dns", &dns, "--port", &port, NAME];
        let visit = Command::new(BINARY).args(words).output().await?;
        ensure!(String::from_utf8_lossy(&visit.stdout).contains("\"status\":200"), "{visit:?}");
        Ok(())
    }

    /// How many descriptors each role has: as many as wanted, or as there are when time is up.
    pub async fn settled_descriptors(&self, wanted: &[usize]) -> Result<Vec<usize>> {
        let until = Instant::now() + PATIENCE;
        let mut last = Vec::new();
        loop {
            let counted = self.roles.iter().map(|(_, it)| {
                let pid = it.id().context("a role has ended")?;
                Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
            });
            let counted = counted.collect::<Result<Vec<_>>>()?;
            let settled = if wanted.is_empty() { counted == last } else { counted == wanted };
            if settled || until < Instant::now() {
                return Ok(counted);
            }
            last = counted;
            sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn assert_quiet_logs(&self) -> Result<()> {
        for (role, _) in &self.roles {
            let log = std::fs::read_to_string(self.path(&format!("{role}.log")))?;
            let loud = |it: &&str| it.contains("\"level\":\"ERROR\"") || it.contains("panicked");
            assert_eq!(log.lines().find(loud), None, "{role}");
        }
        Ok(())
    }
}

/// The table of an account with the simulated operator.
fn smpp(operator: SocketAddr, system_id: &str) -> String {
    format!(
        "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{operator}\"\n\
         system_id = \"{system_id}\"\npassword_file = \"smpp.password\"\n"
    )
}
