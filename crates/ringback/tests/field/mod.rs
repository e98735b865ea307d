//! An installation in the lab: the real binary once a role, with keys and files as a user makes them.
//!
//! Everything in it is a process of its own in a network namespace of its own; what the roles log is
//! kept, and is what readiness and claims are read from.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ringback_lab::{Host, Lab, Plan, addresses};
use serde_json::Value;
#[path = "../artefacts/mod.rs"]
pub mod artefacts;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// What DNS calls the terminal.
pub const NAME: &str = "patient.ring.example";
/// How long a process may take until it has said what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The SMS accounts' password: one that stands nowhere else by chance.
const PASSWORD: &str = "canary-of-sms";
/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_ringback");

/// What differs from one installation to another.
#[derive(Debug)]
pub struct Wishes {
    /// The kind of operator.
    pub plan: Plan,
    /// Where the public proxy is dialed back to, a list.
    pub dial_back: String,
    /// `[[terminal.service]]` tables of the public proxy.
    pub public_services: String,
    /// The same of the private proxy; `{terminal}` becomes the terminal's address.
    pub private_services: String,
    /// Further lines of `[public]`.
    pub public: String,
    /// Further lines of the public proxy's `[[terminal]]`.
    pub terminal: String,
    /// Further lines of `[private]`.
    pub private: String,
    /// Further lines of `[operator]`.
    pub operator: String,
    /// Whether the private proxy runs on the terminal itself.
    pub on_terminal: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            plan: Plan::Cgnat,
            dial_back: format!("[\"{}:7443\"]", addresses::PUBLIC),
            public_services: "id = 1\nport = 80\nhttp = true".into(),
            private_services: "id = 1\naddress = \"{terminal}:80\"".into(),
            public: String::new(),
            terminal: String::new(),
            private: String::new(),
            operator: "delay = { kind = \"fixed\", seconds = 0.2 }".into(),
            on_terminal: false,
        }
    }
}

/// Both proxies, DNS and the operator, each where the method puts it.
#[derive(Debug)]
pub struct Field {
    pub lab: Lab,
    pub folder: artefacts::Folder,
    processes: Vec<Process>,
    on_terminal: bool,
}

/// One process and what it has said.
#[derive(Debug)]
pub struct Process {
    pub name: &'static str,
    pub child: Child,
    said: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Field {
    /// Sets everything up and waits until every role is ready; `None` where there can be no lab.
    pub async fn set_up(wishes: &Wishes) -> Result<Option<Self>> {
        let Some(lab) = Lab::for_test(wishes.plan).await? else { return Ok(None) };
        let folder = artefacts::folder()?;
        let mut field =
            Self { lab, folder, processes: Vec::new(), on_terminal: wishes.on_terminal };
        field.make_keys().await?;
        field.write_files(wishes)?;
        for role in ["operator", "private", "public", "responder"] {
            field.start_role(role).await?;
        }
        Ok(Some(field))
    }

    /// Starts a role and waits until it is ready.
    pub async fn start_role(&mut self, role: &'static str) -> Result<()> {
        let file = self.folder.path().join(format!("{role}.toml"));
        let file = file.to_str().context("a strange folder")?.to_owned();
        let words = ["--log", "json", role, "--config", &file];
        self.start(role, BINARY, &words, "\"message\":\"ready\"").await
    }

    /// Starts any program where it belongs and waits until it has said `ready`.
    pub async fn start(
        &mut self,
        name: &'static str,
        program: &str,
        words: &[&str],
        ready: &str,
    ) -> Result<()> {
        let mut command = self.inside(self.host(name), program);
        command.args(words).env("RINGBACK_LOG", "debug");
        let mut process = Process::spawn(name, command)?;
        process.says(ready).await?;
        self.processes.push(process);
        Ok(())
    }

    /// Runs a program in the client's place to its end.
    pub async fn client(&self, program: &str, words: &[&str]) -> Result<Output> {
        self.from(&self.lab.client, program, words).await
    }

    /// Runs a program in any host's place to its end.
    pub async fn from(&self, host: &Host, program: &str, words: &[&str]) -> Result<Output> {
        let mut command = self.inside(host, program);
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(2 * PATIENCE, command.output()).await;
        output.with_context(|| format!("{program} did not end"))?.context("cannot run it")
    }

    /// Starts a program in the client's place, to be waited for with `output`.
    pub fn begin(&self, program: &str, words: &[&str]) -> Result<Begun> {
        let mut command = self.inside(&self.lab.client, program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Begun(command.kill_on_drop(true).spawn()?))
    }

    /// What `curl` prints for these words; an error if it fails.
    pub async fn curl(&self, words: &[&str]) -> Result<String> {
        let output = self.client("curl", &[&["-sS", "--max-time", "45"], words].concat()).await?;
        if !output.status.success() {
            bail!("curl {words:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Replaces a text that stands in one of the installation's files.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.path(file))?;
        anyhow::ensure!(text.contains(from), "{file} has no {from:?}");
        Ok(std::fs::write(self.path(file), text.replace(from, to))?)
    }

    /// Asks a role to read its file again.
    pub fn hang_up(&mut self, role: &str) -> Result<()> {
        let pid = self.process(role).child.id().context("it has ended")?;
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).context("no process id")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::HUP)?)
    }

    /// The process of that name.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.iter_mut().rfind(|it| it.name == name).expect("a process that was started")
    }

    /// How many SMS the operator has taken.
    pub fn sms(&mut self) -> usize {
        self.process("operator").count("\"message\":\"sms accepted\"")
    }

    /// A path in the installation's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program in a host's network and the installation's folder.
    fn inside(&self, host: &Host, program: &str) -> Command {
        let mut command = host.command("env");
        command.arg("-C").arg(self.folder.path()).arg(program);
        command
    }

    fn host(&self, name: &str) -> &Host {
        match name {
            "operator" | "gateway" => &self.lab.smsc,
            "impostor" | "thief" => &self.lab.client,
            "private" if !self.on_terminal => &self.lab.private,
            "private-charon" => &self.lab.private,
            "public" | "public-charon" | "tap" => &self.lab.public,
            "responder" => &self.lab.dns,
            _ => &self.lab.terminal.host,
        }
    }

    async fn make_keys(&self) -> Result<()> {
        for words in [
            ["key", "identity", "--out", "public"],
            ["key", "identity", "--out", "private"],
            ["key", "terminal", "--out", "patient"],
            ["key", "client", "--out", "lee"],
        ] {
            let mut command = Command::new(BINARY);
            let made = command.args(words).current_dir(self.folder.path()).output().await?;
            anyhow::ensure!(made.status.success(), "{words:?}: {made:?}");
        }
        write_secret(&self.path("smpp.password"), PASSWORD)
    }

    fn write_files(&self, wishes: &Wishes) -> Result<()> {
        let terminal = match self.lab.terminal.address() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let dial_back = &wishes.dial_back;
        let inside: SocketAddr = match wishes.plan {
            Plan::Cgnat => (addresses::SMSC, 2775).into(),
            Plan::Ipv6Only => (addresses::SMSC_V6, 2775).into(),
        };
        let outside = SocketAddr::from((addresses::SMSC_OUTSIDE, 2775));
        let address = addresses::PUBLIC;
        let services = format!("[[terminal.service]]\n{}", wishes.public_services);
        let private_services = wishes.private_services.replace("{terminal}", &terminal);
        let files = [
            (
                "operator.toml",
                format!(
                    "[operator]\nlisten = \"[::]:2775\"\n{}\n[[operator.accounts]]\n\
                     system_id = \"public\"\npassword = \"{PASSWORD}\"\n[[operator.accounts]]\n\
                     system_id = \"private\"\npassword = \"{PASSWORD}\"\nprefixes = [\"1555\"]\n",
                    wishes.operator
                ),
            ),
            (
                "public.toml",
                format!(
                    "[public]\nidentity = \"public.key\"\nstate = \"public-state\"\n\
                     dial_back = {dial_back}\nhttp = \"{address}:80\"\ntls = \"{address}:443\"\n\
                     proxy = \"{address}:1080\"\n{}\n\
                     [budget]\nterminal_per_5_minutes = 0\nterminal_per_hour = 0\n\
                     terminal_per_day = 0\nsource_per_hour = 0\nrings_per_day = 0\n\
                     breaker_unanswered = 0\n\
                     waiting_per_source = 16384\n\
                     [[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{outside}\"\n\
                     system_id = \"public\"\npassword_file = \"smpp.password\"\n\
                     source = \"15550100\"\n\
                     [[terminal]]\nname = \"{NAME}\"\nkeys = \"patient.public.keys\"\n\
                     number = \"+15550100777\"\nprivate_proxy = \"private.pub\"\n{}\n\
                     [[terminal.route]]\nbearer = \"sms\"\n{services}\n",
                    wishes.public, wishes.terminal
                ),
            ),
            (
                "responder.toml",
                format!(
                    "[responder]\nlisten = [\"{dns}:53\", \"[2001:db8::53]:53\"]\n\
                     zone = \"ring.example\"\naddresses = \"{address}\"\n\
                     [[terminal]]\nname = \"{NAME}\"\n{services}\n",
                    dns = addresses::DNS
                ),
            ),
            (
                "private.toml",
                format!(
                    "[private]\nidentity = \"private.key\"\nstate = \"private-state\"\n{}\n\
                     [[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{inside}\"\n\
                     system_id = \"private\"\npassword_file = \"smpp.password\"\n\
                     [[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
                     addresses = {dial_back}\n\
                     [[terminal]]\nname = \"{NAME}\"\nkeys = \"patient.private.keys\"\nnumber = \"+15550100777\"\n\
                     public_proxies = \"public\"\n[[terminal.service]]\n{private_services}\n",
                    wishes.private
                ),
            ),
        ];
        for (name, text) in files {
            std::fs::write(self.path(name), text)?;
        }
        Ok(())
    }
}

/// What the processes have said is searched for secrets like everything else.
impl Drop for Field {
    fn drop(&mut self) {
        for (place, process) in self.processes.iter().enumerate() {
            let file = self.path(&format!("{}-{place}.log", process.name));
            // A panic here would hide why the test has failed, if it has.
            let _ = std::fs::write(file, process.words());
        }
    }
}

/// Whether a program is installed; where the peers are required a missing one is a failure.
pub fn installed(program: &str) -> Result<bool> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let found = std::env::split_paths(&path).any(|it| it.join(program).is_file())
        || Path::new("/usr/sbin").join(program).is_file();
    let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
    anyhow::ensure!(found || !required, "{program} is required and not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    Ok(found)
}

/// Whether strongSwan and a TUN device are there.
pub fn charon_is_there() -> Result<bool> {
    let there = installed("charon-systemd")? && installed("swanctl")?;
    let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
    if let Err(fault) = &tun {
        anyhow::ensure!(!required, "IPsec is required and /dev/net/tun cannot be opened: {fault}");
        eprintln!("skipped: /dev/net/tun cannot be opened: {fault}");
    }
    Ok(there && tun.is_ok())
}

/// Programs that change their user cannot do so where only one user exists.
pub fn may_change_user() -> bool {
    let rootless = std::env::var_os("RINGBACK_LAB_USERNS").is_some();
    let possible = !rootless && rustix::process::geteuid().is_root();
    if !possible {
        eprintln!("skipped: a program that changes its user needs real root");
    }
    possible
}

/// A client's program under way.
#[derive(Debug)]
pub struct Begun(Child);

impl Begun {
    /// Waits for its end.
    pub async fn output(self) -> Result<Output> {
        timeout(2 * PATIENCE, self.0.wait_with_output()).await?.context("cannot wait for it")
    }
}

impl Process {
    fn spawn(name: &'static str, mut command: Command) -> Result<Self> {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            piped.kill_on_drop(true).spawn().with_context(|| format!("start {name}"))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let (told, count) = watch::channel(0);
        let told = Arc::new(told);
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        listen(stdout, said.clone(), told.clone());
        listen(stderr, said.clone(), told);
        Ok(Self { name, child, said, count })
    }

    /// Waits until the process has said something.
    pub async fn says(&mut self, wanted: &str) -> Result<()> {
        self.says_times(wanted, 1).await
    }

    /// Waits until the process has said something so many times.
    pub async fn says_times(&mut self, wanted: &str, times: usize) -> Result<()> {
        let waiting = async {
            while self.count(wanted) < times {
                self.count.changed().await.ok()?;
            }
            Some(())
        };
        // The borrow checker wants the waiting over before the words can be told.
        let outcome = timeout(PATIENCE, waiting).await;
        match outcome {
            Ok(Some(())) => Ok(()),
            Ok(None) if times <= self.count(wanted) => Ok(()),
            Ok(None) => bail!("{} ended without saying {wanted}:\n{}", self.name, self.words()),
            Err(_) => bail!("{} did not say {wanted}:\n{}", self.name, self.words()),
        }
    }

    /// How many lines have these words in them.
    pub fn count(&self, wanted: &str) -> usize {
        self.said
            .lock()
            .expect("no panic while held")
            .iter()
            .filter(|it| it.contains(wanted))
            .count()
    }

    /// Every line that is a JSON event with this message.
    pub fn events(&self, message: &str) -> Vec<Value> {
        let said = self.said.lock().expect("no panic while held");
        let events = said.iter().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        events.filter(|it| it["message"] == message).collect()
    }

    /// All that it has said.
    pub fn words(&self) -> String {
        self.said.lock().expect("no panic while held").join("\n")
    }

    /// Ends it without warning.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn listen(
    stream: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    said: Arc<Mutex<Vec<String>>>,
    told: Arc<watch::Sender<usize>>,
) {
    #[allow(clippy::disallowed_methods, reason = "ends with the process's pipe")]
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said.lock().expect("no panic while held").push(line);
            told.send_modify(|count| *count += 1);
        }
    });
}

fn write_secret(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    std::fs::write(file, text)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}
