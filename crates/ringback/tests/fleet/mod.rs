//! The fleets of several tenants at one public proxy, on loopback, each role a process: every tenant
//! has a private proxy, numbers, users and a key of its own, and one server that says its name.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate that uses its own part")]

#[path = "../artefacts/mod.rs"]
mod artefacts;
pub mod client;
#[path = "../ports/mod.rs"]
mod ports;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use artefacts::Folder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ports::free;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const BINARY: &str = env!("CARGO_BIN_EXE_ringback");
/// How long a process may take until it is as it should be, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is wanted of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    pub name: &'static str,
    pub terminals: usize,
    /// What its `[[tenant]]` table says beside its name.
    pub budget: &'static str,
    /// What each `[[terminal]]` table says more.
    pub terminal: &'static str,
    /// Each service as the public proxy lists it and as the private proxy does. `{raw}` stands for a
    /// port of its own, `{tenant}` for the tenant's name.
    pub services: &'static [(&'static str, &'static str)],
}

/// Every role on loopback, each a process of its own.
pub struct Fleet {
    pub folder: Folder,
    pub tenants: &'static [Tenant],
    pub http: SocketAddr,
    pub proxy: SocketAddr,
    /// By tenant, then by terminal, of those that have one.
    pub raw: Vec<Vec<SocketAddr>>,
    dial_back: SocketAddr,
    operator: SocketAddr,
    servers: Vec<SocketAddr>,
    roles: Vec<(String, Child)>,
    _serving: JoinSet<()>,
}

impl Fleet {
    /// Makes all keys and writes all files. `public` is what `[public]` and the tables after it say.
    pub async fn prepare(tenants: &'static [Tenant], public: &str) -> Result<Self> {
        let mut serving = JoinSet::new();
        let mut servers = Vec::new();
        for tenant in tenants {
            let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            servers.push(server.local_addr()?);
            serving.spawn(serve(server, tenant.name));
        }
        let ports = tenants.iter().map(|it| it.terminals).sum::<usize>();
        let mut free = free(4 + ports)?.into_iter();
        let mut next = || free.next().context("as many as wanted");
        let [http, proxy, dial_back, operator] = [next()?, next()?, next()?, next()?];
        let mut raw = Vec::new();
        for tenant in tenants {
            raw.push((0..tenant.terminals).map(|_| next()).collect::<Result<_>>()?);
        }
        let (folder, roles) = (artefacts::folder()?, Vec::new());
        let _serving = serving;
        let fleet = Self {
            folder,
            tenants,
            http,
            proxy,
            raw,
            dial_back,
            operator,
            servers,
            roles,
            _serving,
        };
        fleet.make_keys().await?;
        fleet.write_files(public)?;
        Ok(fleet)
    }

    /// Starts the operator, every tenant's private proxy, and the public proxy.
    pub async fn open(tenants: &'static [Tenant], public: &str) -> Result<Self> {
        let mut fleet = Self::prepare(tenants, public).await?;
        fleet.start("operator").await?;
        for tenant in tenants {
            fleet.start(&private(tenant)).await?;
        }
        fleet.start("public").await?;
        Ok(fleet)
    }

    /// Starts a role, by the name of its file, and waits until it is ready.
    pub async fn start(&mut self, name: &str) -> Result<()> {
        let role = name.split('-').next().context("a role")?;
        let log = self.path(&format!("{name}.log"));
        let log = std::fs::File::options().append(true).create(true).open(log)?;
        let ready = self.count(name, "ready")?;
        let mut command = Command::new(BINARY);
        command.args(["--log", "json", role, "--config", &format!("{name}.toml")]);
        // As it is run: what is measured is not how fast a line about each client can be written.
        command.current_dir(self.folder.path()).env("RINGBACK_LOG", "info");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.roles.push((name.to_owned(), command.spawn()?));
        self.says(name, "ready", ready + 1).await
    }

    /// Ends a role without a word of warning.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let place = self.roles.iter().position(|it| it.0 == name).context("no such role")?;
        Ok(self.roles.swap_remove(place).1.kill().await?)
    }

    /// What a command prints and how it ends, with something on its standard input.
    pub async fn run(&self, words: &[&str], input: &str) -> Result<Output> {
        let mut command = Command::new(BINARY);
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        // One that needs no input may have gone already.
        let _ = child.stdin.take().context("no stdin")?.write_all(input.as_bytes()).await;
        Ok(timeout(PATIENCE, child.wait_with_output()).await??)
    }

    /// The same, of one that succeeds.
    pub async fn told(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words, "").await?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What has been spent, as the journal has it.
    pub async fn budget(&self) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.told(&["budget", "--json", "--config", "public.toml"]).await?,
        )?)
    }

    /// `Authorization` of a tenant's robot, by token.
    pub fn bearer(&self, tenant: &str) -> Result<String> {
        Ok(format!("Bearer {}", std::fs::read_to_string(self.path(&format!("{tenant}.token")))?))
    }

    /// How many SMS the operator has accepted.
    pub fn sms(&self) -> Result<usize> {
        self.count("operator", "sms accepted")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until a role has said something so many times.
    pub async fn says(&self, name: &str, message: &str, times: usize) -> Result<()> {
        let waiting = async {
            while self.count(name, message)? < times {
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await.with_context(|| format!("{name} never said {message}"))?
    }

    /// How often a role has said something.
    pub fn count(&self, name: &str, message: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.path(&format!("{name}.log")))?;
        Ok(log.matches(&format!("\"message\":\"{message}\"")).count())
    }

    /// No role has met what its operator must be woken for.
    pub fn assert_quiet_logs(&self) -> Result<()> {
        for (name, _) in &self.roles {
            let log = std::fs::read_to_string(self.path(&format!("{name}.log")))?;
            let loud = |it: &&str| it.contains("\"level\":\"ERROR\"") || it.contains("panicked");
            assert_eq!(log.lines().find(loud), None, "{name}");
        }
        Ok(())
    }

    /// How many descriptors the public proxy has.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.public()?))?.count())
    }

    /// How much memory it has, and the most that it has had, in KiB.
    pub fn resident_kib(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.public()?))?;
        let field = |name| {
            let line = status.lines().find_map(|it| it.strip_prefix(name)).context("no field")?;
            let kib = line.split_whitespace().next().and_then(|it| it.parse().ok());
            kib.context("no number")
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    fn public(&self) -> Result<u32> {
        let public = self.roles.iter().find(|it| it.0 == "public").context("no public proxy")?;
        public.1.id().context("it has ended")
    }

    async fn make_keys(&self) -> Result<()> {
        let make =
            async |kind: &str, name: &str| self.told(&["key", kind, "--out", name]).await.map(drop);
        make("identity", "public").await?;
        for tenant in self.tenants {
            make("identity", &private(tenant)).await?;
            make("client", &format!("{}-client", tenant.name)).await?;
            for place in 0..tenant.terminals {
                make("terminal", &key(tenant, place)).await?;
            }
            self.make_users(tenant.name).await?;
        }
        Ok(self.keep("smpp.password", "canary-of-sms")?)
    }

    /// Each tenant has a `robot` with a token and a `lee` with a password.
    async fn make_users(&self, tenant: &str) -> Result<()> {
        let password = password(tenant);
        let robot = self.run(&["key", "user", "robot", "--bearer"], "").await?;
        let lee = self.run(&["key", "user", "lee"], &format!("{password}\n")).await?;
        ensure!(robot.status.success() && lee.status.success(), "{robot:?} {lee:?}");
        let told = String::from_utf8(robot.stderr)?;
        let (_, token) = told.split_once("shown this once: ").context("no token")?;
        let users = String::from_utf8([robot.stdout, lee.stdout].concat())?;
        self.keep(&format!("{tenant}.users"), &users)?;
        self.keep(&format!("{tenant}.token"), token.trim())?;
        Ok(self.keep(&format!("{tenant}.password"), &password)?)
    }

    /// Writes a secret file.
    fn keep(&self, name: &str, secret: &str) -> std::io::Result<()> {
        std::fs::write(self.path(name), secret)?;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600))
    }

    fn write_files(&self, wanted: &str) -> Result<()> {
        let Self { http, proxy, dial_back, operator, .. } = self;
        let bearer = |system_id: &str| {
            format!(
                "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{operator}\"\n\
                 system_id = \"{system_id}\"\npassword_file = \"smpp.password\"\n"
            )
        };
        let mut exchange = format!(
            "[operator]\nlisten = \"{operator}\"\ndelay = {{ kind = \"fixed\", seconds = 0.1 }}\n\
             [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"canary-of-sms\"\n"
        );
        let mut public = format!(
            "[public]\nidentity = \"public.key\"\nstate = \"public-state\"\n\
             dial_back = \"{dial_back}\"\nhttp = \"{http}\"\nproxy = \"{proxy}\"\n{wanted}\n{}",
            bearer("public")
        );
        for (number, tenant) in self.tenants.iter().enumerate() {
            let Tenant { name, budget, .. } = tenant;
            public += &format!("[[tenant]]\nname = \"{name}\"\n{budget}\n");
            exchange += &format!(
                "[[operator.accounts]]\nsystem_id = \"{name}\"\npassword = \"canary-of-sms\"\n\
                 prefixes = [\"1555{number}\"]\n"
            );
            let mut private_file = format!(
                "[private]\nidentity = \"{private}.key\"\nstate = \"{private}-state\"\n{}\
                 [[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
                 addresses = \"{dial_back}\"\n",
                bearer(name),
                private = private(tenant),
            );
            for place in 0..tenant.terminals {
                public += &self.listed(number, place);
                private_file += &self.answered(number, place);
            }
            std::fs::write(self.path(&format!("{}.toml", private(tenant))), private_file)?;
        }
        std::fs::write(self.path("public.toml"), public)?;
        Ok(std::fs::write(self.path("operator.toml"), exchange)?)
    }

    /// A terminal as the public proxy lists it.
    fn listed(&self, number: usize, place: usize) -> String {
        let tenant = &self.tenants[number];
        let mut text = format!(
            "[[terminal]]\nname = \"{}\"\nkeys = \"{}.public.keys\"\n\
             number = \"+1555{number}{place:05}\"\nprivate_proxy = \"{}.pub\"\ntenant = \"{}\"\n\
             {}\n[[terminal.route]]\nbearer = \"sms\"\n",
            name(tenant.name, place),
            key(tenant, place),
            private(tenant),
            tenant.name,
            tenant.terminal,
        );
        for (id, (there, _)) in (1..).zip(tenant.services) {
            let there = there.replace("{raw}", &self.raw[number][place].to_string());
            let there = there.replace("{tenant}", tenant.name);
            text += &format!("[[terminal.service]]\nid = {id}\nport = {id}\n{there}\n");
        }
        text
    }

    /// A terminal as its private proxy has it.
    fn answered(&self, number: usize, place: usize) -> String {
        let tenant = &self.tenants[number];
        let mut text = format!(
            "[[terminal]]\nname = \"{}\"\nkeys = \"{}.private.keys\"\n\
             number = \"+1555{number}{place:05}\"\npublic_proxies = \"public\"\n",
            name(tenant.name, place),
            key(tenant, place),
        );
        for (id, (_, here)) in (1..).zip(tenant.services) {
            let (here, server) = (here.replace("{tenant}", tenant.name), self.servers[number]);
            text += &format!("[[terminal.service]]\nid = {id}\naddress = \"{server}\"\n{here}\n");
        }
        text
    }
}

/// What clients call a terminal.
pub fn name(tenant: &str, place: usize) -> String {
    format!("{tenant}{place}.localhost")
}

/// The name of a tenant's private proxy, and of its files.
pub fn private(tenant: &Tenant) -> String {
    format!("private-{}", tenant.name)
}

/// The password of a tenant's `lee`.
pub fn password(tenant: &str) -> String {
    format!("sesame of {tenant}")
}

/// `Authorization` of a user by name and password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn key(tenant: &Tenant, place: usize) -> String {
    format!("{}{place}", tenant.name)
}

/// Answers every request with the tenant's name and what was asked for.
async fn serve(listener: TcpListener, tenant: &'static str) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        clients.spawn(answer(stream, tenant));
        while clients.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, tenant: &str) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head);
    let body = format!("{tenant} {}", head.split(' ').nth(1)?);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}
