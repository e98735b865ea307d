//! Two terminals of two tenants, an operator and both proxies on loopback, each role a process.
//!
//! The terminals' one server is part of the test: it answers at once, or begins and never ends.

#[path = "../artefacts/mod.rs"]
mod artefacts;
#[path = "../ports/mod.rs"]
mod ports;

use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use artefacts::Folder;
use ports::free_addresses;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const BINARY: &str = env!("CARGO_BIN_EXE_ringback");
/// The terminals' names; they belong to tenants `one` and `two`, if there are such.
pub(crate) const NAMES: [&str; 2] = ["first.localhost", "second.localhost"];
/// How long a process may take until it is as it should be.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that runs, and ends when it is dropped.
pub(crate) struct House {
    folder: Folder,
    http: SocketAddr,
    roles: Vec<(&'static str, Child)>,
    _server: JoinSet<()>,
}

/// What a client was told.
#[derive(Debug)]
pub(crate) struct Told(String);

/// A client in the midst of an answer.
pub(crate) struct Begun(TcpStream);

impl Told {
    pub(crate) fn is_served(&self) -> Result<()> {
        ensure!(self.0.starts_with("HTTP/1.1 200") && self.0.ends_with("served"), "{}", self.0);
        Ok(())
    }

    pub(crate) fn is_refused_with(&self, code: &str) -> Result<()> {
        ensure!(!self.0.starts_with("HTTP/1.1 200") && self.0.contains(code), "{}", self.0);
        Ok(())
    }

    pub(crate) fn retry_after(&self) -> Result<u64> {
        let line = self.0.lines().find_map(|it| it.strip_prefix("Retry-After: "));
        Ok(line.with_context(|| format!("no Retry-After: {}", self.0))?.parse()?)
    }
}

impl Begun {
    /// Reads until the end, or until it is cut.
    pub(crate) async fn end(mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await?;
        Ok(rest)
    }
}

impl House {
    /// Starts everything with these budgets.
    pub(crate) async fn open(budget: &str) -> Result<Self> {
        let folder = artefacts::folder()?;
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let terminal = server.local_addr()?;
        let [http, dial_back, operator] = free_addresses()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(server));
        let mut house = Self { folder, http, roles: Vec::new(), _server: tasks };
        house.make_keys().await?;
        house.write_files(budget, terminal, dial_back, operator)?;
        for role in ["operator", "private", "public"] {
            house.start(role, 1).await?;
        }
        Ok(house)
    }

    /// One request for a terminal and all that is told in answer.
    pub(crate) fn asks(
        &self,
        name: &'static str,
    ) -> impl Future<Output = Result<Told>> + Send + 'static {
        let http = self.http;
        async move {
            let mut stream = TcpStream::connect(http).await?;
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut told = String::new();
            stream.read_to_string(&mut told).await?;
            Ok(Told(told))
        }
    }

    /// A request whose answer has begun and does not end.
    pub(crate) async fn begins(&self, name: &str) -> Result<Begun> {
        let mut stream = TcpStream::connect(self.http).await?;
        let request = format!("GET /slow HTTP/1.1\r\nHost: {name}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut begin = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut begin)).await??;
        ensure!(&begin == b"HTTP/1.1 200", "{begin:?}");
        Ok(Begun(stream))
    }

    /// Kills the public proxy without a word of warning, and starts it again.
    pub(crate) async fn kill_the_public_proxy(&mut self) -> Result<()> {
        let (_, mut public) = self.roles.pop().context("a public proxy")?;
        public.kill().await?;
        let ready = self.count("public", "ready")?;
        self.start("public", ready + 1).await
    }

    /// Takes the first terminal out of the directory of the running public proxy.
    pub(crate) async fn removes_the_first_terminal(&self) -> Result<()> {
        let text = std::fs::read_to_string(self.path("public.toml"))?;
        let begin = text.find("[[terminal]]").context("a terminal")?;
        let end = text.rfind("[[terminal]]").context("another")?;
        std::fs::write(self.path("public.toml"), [&text[..begin], &text[end..]].concat())?;
        let (_, public) = self.roles.last().context("a public proxy")?;
        let pid = public.id().and_then(|it| rustix::process::Pid::from_raw(it.cast_signed()));
        let pid = pid.context("a running public proxy")?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        self.says("public", "reloaded", 1).await
    }

    /// Leaves half a record at the journal's end, as a machine that loses power might.
    pub(crate) fn tears_the_journal(&self) -> Result<()> {
        let journal = self.path("public-state/budget.journal");
        let mut journal = std::fs::File::options().append(true).open(journal)?;
        Ok(journal.write_all(b"0123456789abcdef charged 18000")?)
    }

    /// What a command prints.
    pub(crate) async fn ringback(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(BINARY);
        let output = command.args(words).current_dir(self.folder.path()).output().await?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// How many signals a tenant has paid for.
    pub(crate) async fn charged(&self, tenant: &str) -> Result<u64> {
        let report = self.ringback(&["budget", "--json", "--config", "public.toml"]).await?;
        let report: serde_json::Value = serde_json::from_str(&report)?;
        let tenants = report["tenants"].as_array().context("tenants")?;
        let it = tenants.iter().find(|it| it["name"] == tenant).context("the tenant")?;
        it["rings_per_day"]["used"].as_u64().context("a number")
    }

    /// How many SMS the operator has accepted.
    pub(crate) fn sms(&self) -> Result<usize> {
        self.count("operator", "sms accepted")
    }

    /// Waits until a role has said something so many times.
    pub(crate) async fn says(&self, role: &str, words: &str, times: usize) -> Result<()> {
        let waiting = async {
            while self.count(role, words)? < times {
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await.with_context(|| format!("{role} never said {words}"))?
    }

    fn count(&self, role: &str, words: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.path(&format!("{role}.log")))?;
        let message = |it: &&str| {
            it.split_once("\"message\":\"")
                .is_some_and(|(_, it)| it.split_once('"').is_some_and(|(it, _)| it.contains(words)))
        };
        Ok(log.lines().filter(message).count())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start(&mut self, role: &'static str, times: usize) -> Result<()> {
        let log = self.path(&format!("{role}.log"));
        let log = std::fs::File::options().append(true).create(true).open(log)?;
        let mut command = Command::new(BINARY);
        command.args(["--log", "json", role, "--config", &format!("{role}.toml")]);
        command.current_dir(self.folder.path()).env("RINGBACK_LOG", "debug");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.roles.push((role, command.spawn()?));
        self.says(role, "ready", times).await
    }

    async fn make_keys(&self) -> Result<()> {
        for words in [
            "key identity --out public",
            "key identity --out private",
            "key terminal --out first",
            "key terminal --out second",
        ] {
            self.ringback(&words.split(' ').collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    fn write_files(
        &self,
        budget: &str,
        terminal: SocketAddr,
        dial_back: SocketAddr,
        operator: SocketAddr,
    ) -> Result<()> {
        let http = self.http;
        let bearer = |system_id| {
            format!(
                "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{operator}\"\n\
                 system_id = \"{system_id}\"\npassword_file = \"smpp.password\"\n"
            )
        };
        let mut public = format!(
            "[public]\nidentity = \"public.key\"\nstate = \"public-state\"\n\
             dial_back = \"{dial_back}\"\nhttp = \"{http}\"\nlinger_seconds = 0\n{budget}{}\
             price = \"0.045\"\n",
            bearer("public")
        );
        let mut private = format!(
            "[private]\nidentity = \"private.key\"\nstate = \"private-state\"\n{}\
             [[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
             addresses = \"{dial_back}\"\n",
            bearer("private")
        );
        for (keys, number, name, tenant) in
            [("first", 777, NAMES[0], "one"), ("second", 778, NAMES[1], "two")]
        {
            let tenant = if budget.contains(&format!("\"{tenant}\"")) { tenant } else { "default" };
            public += &format!(
                "[[terminal]]\nname = \"{name}\"\nkeys = \"{keys}.public.keys\"\n\
                 number = \"+15550100{number}\"\nprivate_proxy = \"private.pub\"\nspares = 0\n\
                 tenant = \"{tenant}\"\n[[terminal.route]]\nbearer = \"sms\"\n\
                 [[terminal.service]]\nid = 1\nport = 80\nhttp = true\n"
            );
            private += &format!(
                "[[terminal]]\nkeys = \"{keys}.private.keys\"\nnumber = \"+15550100{number}\"\n\
                 public_proxies = \"public\"\n\
                 [[terminal.service]]\nid = 1\naddress = \"{terminal}\"\n"
            );
        }
        let simulated = format!(
            "[operator]\nlisten = \"{operator}\"\ndelay = {{ kind = \"fixed\", seconds = 0.1 }}\n\
             [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"canary-of-sms\"\n\
             [[operator.accounts]]\nsystem_id = \"private\"\npassword = \"canary-of-sms\"\n\
             prefixes = [\"1555\"]\n"
        );
        for (name, text) in [
            ("smpp.password", "canary-of-sms"),
            ("operator.toml", &simulated),
            ("public.toml", &public),
            ("private.toml", &private),
        ] {
            std::fs::write(self.path(name), text)?;
        }
        let secret = std::fs::Permissions::from_mode(0o600);
        Ok(std::fs::set_permissions(self.path("smpp.password"), secret)?)
    }
}

async fn serve(listener: TcpListener) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        clients.spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut head = [0; 1024];
    let length = stream.read(&mut head).await.ok()?;
    let slow = head[..length].starts_with(b"GET /slow");
    let length = if slow { 1_000 } else { 6 };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nserved");
    stream.write_all(answer.as_bytes()).await.ok()?;
    if slow {
        std::future::pending::<()>().await;
    }
    stream.shutdown().await.ok()
}
