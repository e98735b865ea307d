//! Both proxies of an enrolment, the operator between them and a server, each a process on loopback.

#[path = "../artefacts/mod.rs"]
mod artefacts;
#[path = "../ports/mod.rs"]
mod ports;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use artefacts::Folder;
use ports::free_addresses;
use ringback_proto::enrolment::Code;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ringback");
pub(crate) const NAME: &str = "patient.localhost";
const NUMBER: &str = "+15550100777";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An installation whose terminal is listed and not enrolled.
pub(crate) struct House {
    folder: Folder,
    pub(crate) http: SocketAddr,
    pub(crate) dial_back: SocketAddr,
    operator: SocketAddr,
    pub(crate) terminal: SocketAddr,
    roles: Vec<(&'static str, Child)>,
}

impl House {
    /// The public proxy runs; the private one does not exist yet.
    pub(crate) async fn open(public: &str) -> Result<Self> {
        let folder = artefacts::folder()?;
        let [http, dial_back, operator, terminal] = free_addresses()?;
        let mut house = Self { folder, http, dial_back, operator, terminal, roles: Vec::new() };
        for side in ["public", "private"] {
            std::fs::create_dir(house.path(side))?;
            house.write_secret(&format!("{side}/smpp.password"), "canary-of-sms")?;
        }
        house.said(house.run(&["key", "identity", "--out", "public/public"], "").await?)?;
        house.write_operator()?;
        house.write_public(public)?;
        let terminal = terminal.to_string();
        house.start("readings", &["--listen", &terminal]).await?;
        house.start("operator", &["--config", "operator.toml"]).await?;
        house.start("public", &["--config", "public/public.toml"]).await?;
        Ok(house)
    }

    /// The same, with a terminal that is enrolled and a private proxy that runs.
    pub(crate) async fn enrolled(public: &str) -> Result<Self> {
        let mut house = Self::open(public).await?;
        let code = house.offer().await?;
        house.said(house.redeem(&code).await?)?;
        house.complete()?;
        house.start("private", &["--config", "private/private.toml"]).await?;
        house.said(house.prove().await?)?;
        Ok(house)
    }

    fn write_operator(&self) -> Result<()> {
        let text = format!(
            "[operator]\nlisten = \"{}\"\ndelay = {{ kind = \"fixed\", seconds = 0.1 }}\n\
             [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"canary-of-sms\"\n\
             [[operator.accounts]]\nsystem_id = \"private\"\npassword = \"canary-of-sms\"\n\
             prefixes = [\"1555\"]\n",
            self.operator
        );
        Ok(std::fs::write(self.path("operator.toml"), text)?)
    }

    fn write_public(&self, more: &str) -> Result<()> {
        let Self { http, dial_back, .. } = self;
        let text = format!(
            "[public]\nidentity = \"public.key\"\nstate = \"state\"\nkeyring = \"keyring\"\n\
             dial_back = \"{dial_back}\"\nhttp = \"{http}\"\nlinger_seconds = 0\n\
             answer_seconds = 10\n{more}\
             [budget]\nterminal_per_5_minutes = 0\nterminal_per_hour = 0\nsource_per_hour = 0\n{}\
             [[terminal]]\nname = \"{NAME}\"\nnumber = \"{NUMBER}\"\nspares = 0\n\
             [[terminal.route]]\nbearer = \"sms\"\n\
             [[terminal.service]]\nid = 1\nport = 80\nhttp = true\n",
            self.bearer("public")
        );
        Ok(std::fs::write(self.path("public/public.toml"), text)?)
    }

    fn bearer(&self, system_id: &str) -> String {
        format!(
            "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{}\"\n\
             system_id = \"{system_id}\"\npassword_file = \"smpp.password\"\n",
            self.operator
        )
    }

    /// Does what the starter file asks a person to do.
    pub(crate) fn complete(&self) -> Result<()> {
        self.decide()?;
        self.connect_bearer()
    }

    /// Has the private proxy hear signals, and no more.
    pub(crate) fn connect_bearer(&self) -> Result<()> {
        self.edit("private", |text| text + &self.bearer("private"))
    }

    /// Has the private proxy reach the service that the public one has named.
    pub(crate) fn decide(&self) -> Result<()> {
        let offered = "#[[terminal.service]]\n#id = 1\n#address = \"127.0.0.1:80\"\n";
        let address = format!("address = \"{}\"", self.terminal);
        self.edit("private", |text| {
            assert!(text.contains(offered), "{text}");
            text.replace(offered, &format!("[[terminal.service]]\nid = 1\n{address}\n"))
        })
    }

    /// Changes a side's configuration.
    pub(crate) fn edit(&self, side: &str, change: impl FnOnce(String) -> String) -> Result<()> {
        let file = self.path(&format!("{side}/{side}.toml"));
        let text = change(std::fs::read_to_string(&file)?);
        Ok(std::fs::write(file, text)?)
    }

    /// Where a side's keyring is: neither's is the other's, even in one folder.
    pub(crate) fn keyring(side: &str) -> String {
        format!("{side}/{}", if side == "private" { "private-keyring" } else { "keyring" })
    }

    /// Makes a code.
    pub(crate) async fn offer(&self) -> Result<String> {
        let words = ["enrol", "offer", NAME, "--config", "public/public.toml", "--json"];
        let made: Value = serde_json::from_str(&self.said(self.run(&words, "").await?)?)?;
        Ok(made["code"].as_str().context("no code")?.to_owned())
    }

    /// Redeems one.
    pub(crate) async fn redeem(&self, code: &str) -> Result<Output> {
        self.run(&REDEEM, code).await
    }

    pub(crate) async fn prove(&self) -> Result<Output> {
        self.run(&["enrol", "prove", NAME, "--config", "public/public.toml"], "").await
    }

    pub(crate) async fn revoke(&self, side: &str) -> Result<String> {
        let file = format!("{side}/{side}.toml");
        self.said(self.run(&["revoke", NAME, "--config", &file], "").await?)
    }

    /// The rows of `key list`.
    pub(crate) async fn keys(&self, side: &str) -> Result<Vec<Value>> {
        let file = format!("{side}/{side}.toml");
        let listed =
            self.said(self.run(&["key", "list", "--config", &file, "--json"], "").await?)?;
        listed.lines().map(|it| Ok(serde_json::from_str(it)?)).collect()
    }

    /// Runs a command to its end, with something on its standard input.
    pub(crate) async fn run(&self, words: &[&str], said: &str) -> Result<Output> {
        let mut child = self.begin(words)?;
        let mut stdin = child.stdin.take().context("no input")?;
        stdin.write_all(said.as_bytes()).await?;
        drop(stdin);
        Ok(timeout(2 * PATIENCE, child.wait_with_output()).await??)
    }

    /// Starts a command.
    pub(crate) fn begin(&self, words: &[&str]) -> Result<Child> {
        let mut command = Command::new(BINARY);
        command.args(words).current_dir(self.folder.path()).kill_on_drop(true);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// What a command has printed, if it succeeded.
    pub(crate) fn said(&self, output: Output) -> Result<String> {
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What it has complained of, if it failed.
    pub(crate) fn failed(&self, output: Output) -> Result<String> {
        ensure!(!output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stderr)?)
    }

    pub(crate) async fn start(&mut self, role: &'static str, words: &[&str]) -> Result<()> {
        let log = self.path(&format!("{role}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let before = self.count(role, "\"message\":\"ready\"")?;
        let mut command = Command::new(BINARY);
        command.args(["--log", "json", role]).args(words).current_dir(self.folder.path());
        command.env("RINGBACK_LOG", "trace").stdin(Stdio::null()).stdout(Stdio::null());
        self.roles.push((role, command.stderr(log).kill_on_drop(true).spawn()?));
        self.says(role, "\"message\":\"ready\"", before + 1).await
    }

    /// Ends a role without warning.
    pub(crate) async fn kill(&mut self, role: &str) -> Result<()> {
        let place = self.roles.iter().position(|it| it.0 == role).context("not running")?;
        let (_, mut child) = self.roles.remove(place);
        child.kill().await?;
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write_secret(&self, name: &str, text: &str) -> Result<()> {
        std::fs::write(self.path(name), text)?;
        self.set_mode(name, 0o600)
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) -> Result<()> {
        let mode = std::fs::Permissions::from_mode(mode);
        Ok(std::fs::set_permissions(self.path(name), mode)?)
    }

    /// The files of a keyring with this suffix.
    pub(crate) fn ring(&self, side: &str, suffix: &str) -> Result<Vec<PathBuf>> {
        let folder = self.path(&Self::keyring(side));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == suffix) {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// All that a role has logged.
    pub(crate) fn log(&self, role: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.path(&format!("{role}.log"))).unwrap_or_default())
    }

    pub(crate) fn count(&self, role: &str, words: &str) -> Result<usize> {
        Ok(self.log(role)?.matches(words).count())
    }

    /// Waits until a role has said something so many times.
    pub(crate) async fn says(&self, role: &str, words: &str, times: usize) -> Result<()> {
        let waiting = async {
            while self.count(role, words)? < times {
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        let waited = timeout(PATIENCE, waiting).await;
        waited.with_context(|| {
            format!("{role} never said {words}: {}", self.log(role).unwrap_or_default())
        })?
    }

    pub(crate) fn sms(&self) -> Result<usize> {
        self.count("operator", "\"message\":\"sms accepted\"")
    }

    /// The whole answer to one request.
    pub(crate) async fn get(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.http).await?;
        let head = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub(crate) async fn assert_served(&self) -> Result<()> {
        let answer = self.get().await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }

    pub(crate) async fn assert_not_enrolled(&self) -> Result<()> {
        let rung = self.sms()?;
        let answer = self.get().await?;
        ensure!(answer.contains("RB-NOT-ENROLLED"), "{answer}");
        assert_eq!(self.sms()?, rung, "an unenrolled terminal was rung");
        Ok(())
    }

    /// A session that goes on until somebody ends it.
    pub(crate) async fn held(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.http).await?;
        let head = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut first = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut first)).await??;
        ensure!(first == *b"HTTP/1.1 200", "{first:?}");
        Ok(stream)
    }
}

pub(crate) const REDEEM: [&str; 6] =
    ["enrol", "redeem", "--config", "private/private.toml", "--allow-address", "127.0.0.1"];

/// How a session has ended: `true` if it was reset.
pub(crate) async fn is_reset(mut stream: TcpStream) -> Result<bool> {
    let mut rest = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut rest)).await {
        Ok(Ok(_)) => Ok(false),
        Ok(Err(fault)) if fault.kind() == std::io::ErrorKind::ConnectionReset => Ok(true),
        Ok(Err(fault)) => Err(fault.into()),
        Err(_) => bail!("a revoked session goes on"),
    }
}

/// Everything that must never be seen of a code.
pub(crate) fn secrets_of(code: &str) -> Result<Vec<String>> {
    let parsed = Code::parse(code)?;
    let hex: String = parsed.secret.expose().iter().map(|it| format!("{it:02x}")).collect();
    let debug = format!("{:?}", parsed.secret.expose());
    Ok(vec![code.to_owned(), code.replace('-', ""), hex, debug])
}
