//! An installation on loopback: every role a process of its own, and a web server that keeps what
//! it is asked.

#[path = "../artefacts/mod.rs"]
mod artefacts;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use artefacts::Folder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const BINARY: &str = env!("CARGO_BIN_EXE_ringback");
/// The one of `lee` and `ann`.
pub(crate) const PASSWORD: &str = "sesame, open!";
/// How long a process may take until it is as it should be.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn required() -> bool {
    std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require")
}

/// Whether a program is installed; where the peers are required a missing one is a failure.
pub(crate) fn installed(program: &str) -> Result<bool> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let found = std::env::split_paths(&path).any(|it| it.join(program).is_file());
    ensure!(found || !required(), "{program} is required and not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    Ok(found)
}

/// The heads that the web server on the terminal has read.
#[derive(Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<Vec<String>>>);

impl Heads {
    pub(crate) fn last(&self) -> String {
        self.all().last().cloned().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic while held").clone()
    }

    async fn serve(self, listener: tokio::net::TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(octet) => head.push(octet),
                    Err(_) => break,
                }
            }
            if !head.is_empty() {
                let head = String::from_utf8_lossy(&head).into_owned();
                self.0.lock().expect("no panic while held").push(head);
            }
            let answer =
                b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n5.4 mmol/l";
            let _ = stream.write_all(answer).await;
        }
    }
}

/// Every role on loopback, each a process of its own, and four terminals that share a web server.
pub(crate) struct House {
    pub(crate) folder: Folder,
    pub(crate) http: SocketAddr,
    pub(crate) http_v6: Option<SocketAddr>,
    pub(crate) tls: SocketAddr,
    pub(crate) proxy: SocketAddr,
    pub(crate) raw: SocketAddr,
    pub(crate) token: String,
    pub(crate) heads: Heads,
    pub(crate) roles: Vec<Child>,
    _web: JoinSet<()>,
}

impl House {
    pub(crate) async fn open() -> Result<Self> {
        let mut house = Self::prepare().await?;
        for role in ["operator", "private", "public"] {
            house.spawn(role, &["--config", &format!("{role}.toml")])?;
            house.ready(role).await?;
        }
        Ok(house)
    }

    pub(crate) async fn prepare() -> Result<Self> {
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()?;
        let six = TcpListener::bind("[::1]:0").and_then(|it| it.local_addr()).ok();
        let addresses: Vec<_> = held.iter().map(|it| it.local_addr()).collect::<Result<_, _>>()?;
        let [http, tls, proxy, raw, dial_back, operator] = addresses[..] else {
            anyhow::bail!("not as many addresses as wanted")
        };
        drop(held);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let terminal = listener.local_addr()?;
        let (heads, mut web) = (Heads::default(), JoinSet::new());
        web.spawn(heads.clone().serve(listener));
        let mut house = Self {
            folder: artefacts::folder()?,
            http,
            http_v6: six,
            tls,
            proxy,
            raw,
            token: String::new(),
            heads,
            roles: Vec::new(),
            _web: web,
        };
        house.make_users().await?;
        house.write_files(dial_back, operator, terminal).await?;
        Ok(house)
    }

    /// The users file, as its comments tell one to make it.
    async fn make_users(&mut self) -> Result<()> {
        let mut lines = String::from("# who may ring the clinic\n");
        for words in [&["lee"][..], &["ann", "--digest", "clinic"], &["robot", "--bearer"]] {
            let made =
                self.run(&[&["key", "user"], words].concat(), &format!("{PASSWORD}\n")).await?;
            ensure!(made.status.success(), "{made:?}");
            lines += std::str::from_utf8(&made.stdout)?;
            let told = String::from_utf8_lossy(&made.stderr).into_owned();
            if let Some((_, token)) = told.split_once("shown this once: ") {
                self.token = token.trim().to_owned();
            }
        }
        ensure!(!lines.contains(PASSWORD) && !lines.contains(&self.token), "{lines}");
        std::fs::write(self.path("clinic.users"), lines)?;
        std::fs::write(self.path("smpp.password"), "canary-of-sms")?;
        for file in ["clinic.users", "smpp.password"] {
            std::fs::set_permissions(self.path(file), std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    async fn write_files(
        &self,
        dial_back: SocketAddr,
        operator: SocketAddr,
        terminal: SocketAddr,
    ) -> Result<()> {
        let http_level = "http = true\nlevel = \"http\"\nusers = \"clinic.users\"\n";
        let allowed = |networks| format!("http = true\nlevel = \"allow\"\nallow = [{networks}]\n");
        let terminals = [
            ("clinic", format!("{http_level}forwarded = true\n")),
            ("passing", format!("{http_level}credential = \"pass\"\n")),
            (
                "walled",
                format!("{}tls = true\nraw = \"{}\"\n", allowed("\"192.0.2.0/24\""), self.raw),
            ),
            ("home", allowed("\"127.0.0.0/8\", \"::1\"")),
        ];
        let bearer = |system_id| {
            format!(
                "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{operator}\"\n\
                 system_id = \"{system_id}\"\npassword_file = \"smpp.password\"\n"
            )
        };
        let http: Vec<_> = [Some(self.http), self.http_v6].into_iter().flatten().collect();
        let http: Vec<_> = http.iter().map(|it| format!("\"{it}\"")).collect();
        let mut public = format!(
            "[public]\nidentity = \"public.key\"\nstate = \"public-state\"\nlinger_seconds = 0\n\
             dial_back = \"{dial_back}\"\nhttp = [{}]\ntls = \"{}\"\nproxy = \"{}\"\n\
             [budget]\nterminal_per_5_minutes = 0\nsource_per_hour = 0\n{}",
            http.join(", "),
            self.tls,
            self.proxy,
            bearer("public")
        );
        let mut private = format!(
            "[private]\nidentity = \"private.key\"\nstate = \"private-state\"\n{}\
             [[public_proxy]]\nname = \"public\"\npublic_key = \"public.pub\"\n\
             addresses = \"{dial_back}\"\n",
            bearer("private")
        );
        for identity in ["public", "private"] {
            self.make(&["key", "identity", "--out", identity]).await?;
        }
        for (place, (name, service)) in terminals.iter().enumerate() {
            self.make(&["key", "terminal", "--out", name]).await?;
            let number = format!("+1555010077{place}");
            public += &format!(
                "[[terminal]]\nname = \"{name}.localhost\"\nkeys = \"{name}.public.keys\"\n\
                 number = \"{number}\"\nprivate_proxy = \"private.pub\"\nspares = 0\n\
                 [[terminal.route]]\nbearer = \"sms\"\n\
                 [[terminal.service]]\nid = 1\nport = 80\n{service}"
            );
            private += &format!(
                "[[terminal]]\nkeys = \"{name}.private.keys\"\nnumber = \"{number}\"\n\
                 public_proxies = \"public\"\n\
                 [[terminal.service]]\nid = 1\naddress = \"{terminal}\"\n"
            );
        }
        let operator = format!(
            "[operator]\nlisten = \"{operator}\"\ndelay = {{ kind = \"fixed\", seconds = 0.1 }}\n\
             [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"canary-of-sms\"\n\
             [[operator.accounts]]\nsystem_id = \"private\"\npassword = \"canary-of-sms\"\n\
             prefixes = [\"1555\"]\n"
        );
        std::fs::write(self.path("public.toml"), public)?;
        std::fs::write(self.path("private.toml"), private)?;
        Ok(std::fs::write(self.path("operator.toml"), operator)?)
    }

    pub(crate) fn spawn(&mut self, role: &str, words: &[&str]) -> Result<()> {
        let log = std::fs::File::create(self.path(&format!("{role}.log")))?;
        let mut command = Command::new(BINARY);
        command.args(["--log", "json", role]).args(words).current_dir(self.folder.path());
        command.env("RINGBACK_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null());
        self.roles.push(command.stderr(log).kill_on_drop(true).spawn()?);
        Ok(())
    }

    async fn ready(&self, role: &str) -> Result<()> {
        let waiting = async {
            while self.count(role, "ready")? < 1 {
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        let log = || std::fs::read_to_string(self.path(&format!("{role}.log"))).unwrap_or_default();
        timeout(PATIENCE, waiting).await.with_context(|| format!("no {role}: {}", log()))?
    }

    /// Runs the binary with something on its standard input.
    pub(crate) async fn run(&self, words: &[&str], input: &str) -> Result<Output> {
        let mut command = Command::new(BINARY);
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // One that needs no input may have gone already.
        let _ = child.stdin.take().context("no stdin")?.write_all(input.as_bytes()).await;
        Ok(timeout(PATIENCE, child.wait_with_output()).await??)
    }

    async fn make(&self, words: &[&str]) -> Result<()> {
        let made = self.run(words, "").await?;
        ensure!(made.status.success(), "{words:?}: {made:?}");
        Ok(())
    }

    pub(crate) async fn curl(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new("curl");
        command.args(["-q", "-4", "-sS", "--max-time", "30", "--noproxy", ""]).args(words);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(timeout(2 * PATIENCE, command.output()).await??)
    }

    pub(crate) fn url(&self, terminal: &str) -> String {
        format!("http://{terminal}.localhost:{}/", self.http.port())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn count(&self, role: &str, message: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.path(&format!("{role}.log")))?;
        Ok(log.matches(&format!("\"message\":\"{message}\"")).count())
    }

    pub(crate) fn sms(&self) -> Result<usize> {
        self.count("operator", "sms accepted")
    }

    /// No role has logged an error, a password or a token.
    pub(crate) fn assert_discreet(&self) -> Result<()> {
        for role in ["operator", "private", "public"] {
            let log = std::fs::read_to_string(self.path(&format!("{role}.log")))?;
            for secret in [PASSWORD, &self.token, "bGVlOnNlc2Ft", "argon2id", "\"level\":\"ERROR\""]
            {
                assert!(!log.contains(secret), "{role} says {secret}");
            }
        }
        Ok(())
    }
}
