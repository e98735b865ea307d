//! Two terminals behind one private proxy, on loopback: the real binary once a role, and servers
//! that echo and remember how each connection ended.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

#[path = "../artefacts/mod.rs"]
mod artefacts;
#[path = "../ports/mod.rs"]
mod ports;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
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
/// How long a process may take until it is as it should be, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The terminals, and the numbers that they are rung by.
pub const TERMINALS: [(&str, &str); 2] =
    [("car7.fleet.example", "+15550100777"), ("car8.fleet.example", "+15550100888")];
/// One service of each terminal: its number, what both proxies say of it. `{clients}` lists
/// everybody, `{lee}` only `lee`.
const SERVICES: [(u16, &str, &str); 6] = [
    (1, "level = \"open\"\n{clients}", ""),
    (2, "level = \"end-to-end\"\n{clients}", "level = \"end-to-end\"\n{lee}"),
    (
        3,
        "level = \"end-to-end\"\n{clients}",
        "level = \"end-to-end\"\nproxy_protocol = true\n{clients}",
    ),
    (4, "level = \"http\"\n{clients}", "level = \"http\"\nidentities = \"lee\""),
    (5, "level = \"open\"\n{clients}", "level = \"http\""),
    (6, "level = \"end-to-end\"\n{clients}", "level = \"end-to-end\"\n{clients}"),
];

/// Every role on loopback, each a process of its own.
#[derive(Debug)]
pub struct House {
    pub folder: Folder,
    pub dial_back: SocketAddr,
    /// By terminal, then by service.
    pub servers: Vec<Vec<Server>>,
    roles: Vec<(&'static str, Child)>,
}

/// A server on a terminal, that sends back what it gets.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

/// One connection to a server, once it is over.
#[derive(Clone, Debug)]
pub struct Seen {
    pub octets: Vec<u8>,
    /// Whether the client's side said that it had no more.
    pub whole: bool,
}

impl House {
    /// Writes everything and starts the roles that are wanted; clients are called as listed.
    pub async fn open(clients: &[&str], roles: &[&'static str]) -> Result<Self> {
        let folder = artefacts::folder()?;
        let mut servers = Vec::new();
        for _ in TERMINALS {
            let mut of_terminal = Vec::new();
            for _ in SERVICES {
                of_terminal.push(Server::start().await?);
            }
            servers.push(of_terminal);
        }
        let [dial_back, operator] = free_addresses()?;
        let mut house = Self { folder, dial_back, servers, roles: Vec::new() };
        house.make_keys(clients).await?;
        house.write_files(operator, clients)?;
        for (name, _) in TERMINALS {
            let words = ["contact", "--config", "public.toml", name];
            let printed = house.command(&words).output().await?;
            ensure!(printed.status.success(), "{printed:?}");
            std::fs::write(house.path(&format!("{name}.toml")), printed.stdout)?;
        }
        for role in roles {
            house.start(role).await?;
        }
        Ok(house)
    }

    /// Starts a role and waits until it is ready.
    pub async fn start(&mut self, role: &'static str) -> Result<()> {
        let log = std::fs::File::create(self.path(&format!("{role}.log")))?;
        let mut command =
            self.command(&["--log", "json", role, "--config", &format!("{role}.toml")]);
        command.env("RINGBACK_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null());
        self.roles.push((role, command.stderr(log).spawn()?));
        self.says(role, "ready", 1).await
    }

    /// Ends a role without warning.
    pub async fn kill(&mut self, role: &str) -> Result<()> {
        let found = self.roles.iter_mut().rfind(|it| it.0 == role);
        Ok(found.context("no such role")?.1.kill().await?)
    }

    /// Replaces a text in a role's file and has the role read it again.
    pub async fn reload(&self, role: &str, from: &str, to: &str) -> Result<()> {
        let file = self.path(&format!("{role}.toml"));
        let text = std::fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{role}.toml has no {from:?}");
        std::fs::write(&file, text.replacen(from, to, 1))?;
        let child = self.roles.iter().find(|it| it.0 == role).context("no such role")?;
        let pid = child.1.id().context("it has ended")?.cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).context("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        self.says(role, "reloaded: bearers and identity as before", 1).await
    }

    /// `ringback connect` as one of the clients.
    pub fn connect(&self, client: &str, words: &[&str]) -> Command {
        let key = format!("{client}.key");
        let mut command = self.command(&["connect", "--json", "--key", &key]);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The same, with this input, to its end.
    pub async fn say(&self, client: &str, to: &str, input: &[u8]) -> Result<Output> {
        converse(self.connect(client, &["--contacts", ".", to]), input).await
    }

    /// What all connections to all servers were, once `times` are over.
    pub async fn seen(&self, times: usize) -> Result<Vec<Seen>> {
        let waiting = async {
            loop {
                let all: Vec<Seen> = self.servers.iter().flatten().flat_map(Server::seen).collect();
                if times <= all.len() {
                    return all;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, waiting).await.context("connections to servers do not end")
    }

    pub fn sms(&self) -> Result<usize> {
        self.count("operator", "sms accepted")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How often a role has said something.
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

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(words).current_dir(self.folder.path()).kill_on_drop(true);
        command
    }

    async fn make_keys(&self, clients: &[&str]) -> Result<()> {
        let proxies = ["public", "private"].map(|it| ["key", "identity", "--out", it]);
        let terminals = TERMINALS.map(|(name, _)| ["key", "terminal", "--out", name]);
        let clients = clients.iter().map(|it| ["key", "client", "--out", it]);
        for words in proxies.into_iter().chain(terminals).chain(clients) {
            let made = self.command(&words).output().await?;
            ensure!(made.status.success(), "{words:?}: {made:?}");
        }
        std::fs::write(self.path("smpp.password"), "canary-of-sms")?;
        let secret = std::fs::Permissions::from_mode(0o600);
        Ok(std::fs::set_permissions(self.path("smpp.password"), secret)?)
    }

    fn write_files(&self, operator: SocketAddr, clients: &[&str]) -> Result<()> {
        let dial_back = self.dial_back;
        let listed = |names: &[&str]| -> String {
            let table = "[[terminal.service.client]]";
            names
                .iter()
                .map(|it| format!("{table}\nname = \"{it}\"\nkey = \"{it}.pub\"\n"))
                .collect()
        };
        // A stranger's key is made and stands in no table.
        let known: Vec<&str> = clients.iter().copied().filter(|it| *it != "stranger").collect();
        let filled = |text: &str| {
            text.replace("{clients}", &listed(&known)).replace("{lee}", &listed(&["lee"]))
        };
        let bearer = |system_id| {
            format!(
                "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{operator}\"\n\
                 system_id = \"{system_id}\"\npassword_file = \"smpp.password\"\n"
            )
        };
        let mut public = format!(
            "[public]\nidentity = \"public.key\"\nstate = \"public-state\"\n\
             dial_back = \"{dial_back}\"\nproxy = \"127.0.0.1:0\"\n{}",
            bearer("public")
        );
        let mut private = format!(
            "[private]\nidentity = \"private.key\"\nstate = \"private-state\"\nidle_seconds = 10\n\
             {}[[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
             addresses = \"{dial_back}\"\n",
            bearer("private")
        );
        for ((name, number), servers) in TERMINALS.iter().zip(&self.servers) {
            public += &format!(
                "[[terminal]]\nname = \"{name}\"\nkeys = \"{name}.public.keys\"\n\
                 number = \"{number}\"\nprivate_proxy = \"private.pub\"\n\
                 [[terminal.route]]\nbearer = \"sms\"\n"
            );
            private += &format!(
                "[[terminal]]\nname = \"{name}\"\nkeys = \"{name}.private.keys\"\n\
                 number = \"{number}\"\npublic_proxies = \"public\"\n"
            );
            for ((id, there, here), server) in SERVICES.iter().zip(servers) {
                let table = format!("[[terminal.service]]\nid = {id}\n");
                public += &format!("{table}port = {id}\n{}\n", filled(there));
                private += &format!("{table}address = \"{}\"\n{}\n", server.address, filled(here));
            }
        }
        let operator = format!(
            "[operator]\nlisten = \"{operator}\"\ndelay = {{ kind = \"fixed\", seconds = 0.1 }}\n\
             [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"canary-of-sms\"\n\
             [[operator.accounts]]\nsystem_id = \"private\"\npassword = \"canary-of-sms\"\n\
             prefixes = [\"1555\"]\n"
        );
        for (name, text) in [("operator", operator), ("public", public), ("private", private)] {
            std::fs::write(self.path(&format!("{name}.toml")), text)?;
        }
        Ok(())
    }
}

/// Runs a command with this input to its end.
pub async fn converse(mut command: Command, input: &[u8]) -> Result<Output> {
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let speaking = async {
        // Whoever ends before it has read everything is judged by how it ends.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let both = async { tokio::join!(speaking, child.wait_with_output()).1 };
    timeout(PATIENCE, both).await.context("connect does not end")?.context("connect")
}

impl Server {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, seen) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
        let mut serving = JoinSet::new();
        let all = seen.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                connections.spawn(async move {
                    let one = echo(stream).await;
                    seen.lock().expect("no panic while held").push(one);
                });
            }
        });
        Ok(Self { address, seen: all, _serving: serving })
    }

    /// Its connections that are over.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while held").clone()
    }
}

async fn echo(stream: TcpStream) -> Seen {
    let (mut from, mut to) = stream.into_split();
    let (mut octets, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => {
                octets.extend(&buffer[..read]);
                if to.write_all(&buffer[..read]).await.is_err() {
                    return Seen { octets, whole: false };
                }
            }
            Err(_) => return Seen { octets, whole: false },
        }
    }
    let _ = to.shutdown().await;
    Seen { octets, whole: true }
}
