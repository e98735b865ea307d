//! The demo's stage: the folder of keys and configurations, and one process a role.
//!
//! On loopback by default; with `--lab` in network namespaces behind a real NAT and firewall. The
//! roles are the same binary with the same files either way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::line::Line;
use super::parts::{Parts, Site};
use super::ports::{First, Ports};
use super::visit::Visit;
use crate::cli::Demo;
use crate::{keys, telemetry};

mod backdrop;

pub(super) use backdrop::{Backdrop, Premise};

/// How long a role may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(15);
/// How long a role may take to end after it was told to.
const STRIKE_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Stage {
    /// Where everything is.
    pub site: Site,
    /// The namespaces, with `--lab`.
    pub lab: Option<Backdrop>,
    roles: Vec<(&'static str, Child)>,
    readers: JoinSet<()>,
    _first: Option<First>,
    _folder: TempDir,
}

/// A plain client that is about to make one access.
#[derive(Debug)]
pub(super) struct Client(Command);

impl Client {
    /// Makes it.
    pub(super) async fn visit(&mut self) -> anyhow::Result<Visit> {
        let output = self.0.output().await?;
        if !output.status.success() {
            bail!("RB-DEMO: the client failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("the client printed no result")
    }
}

impl Stage {
    /// Makes keys and configurations, starts every role and waits until all are ready.
    pub(super) async fn raise(wanted: &Demo, lines: mpsc::Sender<Line>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ringback-demo-").tempdir()?;
        let lab = if wanted.lab { Some(Backdrop::up(wanted.lab_delay).await?) } else { None };
        let (site, first) = match &lab {
            Some(lab) => (lab.site(), None),
            None => loopback_site(wanted.to.as_deref())?,
        };
        write_files(folder.path(), &Parts { site: &site, sms_delay: wanted.sms_delay })?;

        let (roles, readers) = (Vec::new(), JoinSet::new());
        let mut stage = Self { site, lab, roles, readers, _first: first, _folder: folder };
        if wanted.to.is_none() {
            let listen = stage.site.terminal.clone();
            stage.start("readings", &["readings", "--listen", &listen], &lines).await?;
        }
        for role in ["operator", "private", "public", "responder"] {
            let file = stage._folder.path().join(format!("{role}.toml"));
            let file = file.to_str().context("the temporary folder has a strange name")?.to_owned();
            stage.start(role, &[role, "--config", &file], &lines).await?;
        }
        Ok(stage)
    }

    /// With a lab: what comes of reaching the terminal directly.
    pub(super) async fn premise(&self) -> anyhow::Result<Option<Premise>> {
        let Some(lab) = &self.lab else { return Ok(None) };
        lab.premise(&std::env::current_exe()?, &self.site).await.map(Some)
    }

    /// A plain client, where clients are.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let (dns, port) = (self.site.dns.to_string(), self.site.http.port().to_string());
        let arguments = ["visit", "--dns", &dns, "--port", &port, &self.site.name];
        self.command("client", &arguments).map(Client)
    }

    /// Resolves when a role has ended before it was told to.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        loop {
            for (role, child) in &mut self.roles {
                if let Ok(Some(status)) = child.try_wait() {
                    return anyhow::anyhow!("RB-DEMO: the {role} process ended early: {status}");
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends every role, the ones that ring first, and removes the folder.
    pub(super) async fn strike(mut self) {
        for (_, child) in self.roles.iter_mut().rev() {
            if let Some(pid) =
                child.id().and_then(|it| rustix::process::Pid::from_raw(it.cast_signed()))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            if timeout(STRIKE_PATIENCE, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        self.readers.shutdown().await;
    }

    async fn start(
        &mut self,
        role: &'static str,
        arguments: &[&str],
        lines: &mpsc::Sender<Line>,
    ) -> anyhow::Result<()> {
        // A role ends with its standard input, and so with this process, however that ends.
        let mut command = self.command(role, arguments)?;
        command.arg("--with-parent").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let log = child.stderr.take().context("a child without a log")?;
        self.roles.push((role, child));
        let (ready, told) = tokio::sync::oneshot::channel();
        self.readers.spawn(read_log(role, log, lines.clone(), ready));
        match timeout(READY_PATIENCE, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("RB-DEMO: the {role} process ended at once; its words stand above"),
            Err(_) => bail!("RB-DEMO: the {role} process was not ready in time"),
        }
    }

    fn command(&self, role: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let binary = std::env::current_exe()?;
        let mut command = match &self.lab {
            Some(lab) => lab.command(role, &binary)?,
            None => Command::new(binary),
        };
        command
            .args(["--log", "json"])
            .args(arguments)
            .env(telemetry::FILTER, format!("info,{}=debug", telemetry::STEPS))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }
}

/// Passes a role's log lines on; what is no log line is a complaint and is shown as it is.
async fn read_log(
    role: &'static str,
    log: impl AsyncRead + Unpin,
    lines: mpsc::Sender<Line>,
    ready: tokio::sync::oneshot::Sender<()>,
) {
    let mut ready = Some(ready);
    let mut reader = BufReader::new(log).lines();
    while let Ok(Some(text)) = reader.next_line().await {
        let Ok(line) = Line::parse(role, &text) else {
            eprintln!("{role}: {text}");
            continue;
        };
        if line.is_ready()
            && let Some(ready) = ready.take()
        {
            let _ = ready.send(());
        }
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

fn write_files(folder: &Path, parts: &Parts<'_>) -> anyhow::Result<()> {
    let at = |name: &str| -> PathBuf { folder.join(name) };
    keys::make_identity(&at("public"))?;
    keys::make_identity(&at("private"))?;
    keys::make_terminal(&at("patient"), keys::Suite::Hpke)?;
    for (name, text) in parts.files() {
        std::fs::write(at(name), text)?;
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(at("smpp.password"), std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn loopback_site(to: Option<&str>) -> anyhow::Result<(Site, Option<First>)> {
    let mut ports = Ports::new();
    let mut local = |wanted| -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.take(wanted)?)))
    };
    let terminal = match to {
        Some(to) => to.to_owned(),
        None => local(8081)?.to_string(),
    };
    let operator = local(2775)?;
    let site = Site {
        name: "patient.localhost".into(),
        zone: "localhost".into(),
        public_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dial_back: local(7443)?,
        http: local(8080)?,
        proxy: local(1080)?,
        dns: local(5353)?,
        operator,
        operator_outside: operator,
        operator_inside: operator,
        terminal,
    };
    Ok((site, ports.release()))
}
