//! What is measured: no tunnel, ours, and every other that is installed.
//!
//! A target that cannot run here is named as missing, with the reason; it is never left out in silence.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::clock;
use crate::figure::{BEFORE, BEHIND, PING_OCTETS, Service};
use crate::process::Process;
use crate::serve::{ANSWER, DOWN};

mod bore;
mod frp;
mod proxies;
mod rathole;
pub(crate) mod ringback;
mod ssh;
mod wstunnel;

/// How long a tunnel may take until it carries.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// One program and one way of running it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// `program:variant`.
    pub name: &'static str,
    /// What it does on the way between its two ends.
    pub kind: Kind,
    /// How it is started, below a folder of its own.
    raise: fn(&Places, &Path) -> Result<Vec<Process>>,
    /// The program it needs, by name, and what makes it the version that it is.
    program: (&'static str, &'static [&'static str]),
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No tunnel at all.
    Direct,
    /// Two processes, nothing encrypted.
    Plain,
    /// Two processes, encrypted between them.
    Encrypted,
    /// One process that passes on: not a tunnel, a limit.
    OneHop,
}

/// Where programs are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Our own binary.
    pub ringback: PathBuf,
    /// The folder of the peers that are not Debian's.
    pub peers: PathBuf,
}

/// A target that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where clients connect for each service.
    pub at: [SocketAddr; 3],
    processes: Vec<Process>,
}

/// Every target, in the order in which they are measured.
pub(crate) const TARGETS: [Target; 19] = [
    direct("direct:tcp"),
    target("ringback:tls", Kind::Encrypted, ringback::tls, ("ringback", &["--version"])),
    target("ringback:bare", Kind::Plain, ringback::bare, ("ringback", &["--version"])),
    target("ringback:quic", Kind::Encrypted, ringback::quic, ("ringback", &["--version"])),
    target("rathole:tcp", Kind::Plain, rathole::tcp, ("rathole", &["--version"])),
    target("rathole:tls", Kind::Encrypted, rathole::tls, ("rathole", &["--version"])),
    target("rathole:noise", Kind::Encrypted, rathole::noise, ("rathole", &["--version"])),
    target("bore:tcp", Kind::Plain, bore::tcp, ("bore", &["--version"])),
    target("frp:nomux", Kind::Plain, frp::nomux, ("frps", &["--version"])),
    target("frp:default", Kind::Encrypted, frp::default, ("frps", &["--version"])),
    target("frp:nomux-tls", Kind::Encrypted, frp::nomux_tls, ("frps", &["--version"])),
    target("wstunnel:ws", Kind::Plain, wstunnel::ws, ("wstunnel", &["--version"])),
    target("wstunnel:wss", Kind::Encrypted, wstunnel::wss, ("wstunnel", &["--version"])),
    target("chisel:default", Kind::Encrypted, wstunnel::chisel, ("chisel", &["--version"])),
    target("ssh:default", Kind::Encrypted, ssh::default, ("sshd", &["-V"])),
    target("ssh:aes-gcm", Kind::Encrypted, ssh::aes_gcm, ("sshd", &["-V"])),
    target("haproxy:2hop", Kind::Plain, proxies::haproxy_two, ("haproxy", &["-v"])),
    target("haproxy:1hop", Kind::OneHop, proxies::haproxy, ("haproxy", &["-v"])),
    target("nginx:1hop", Kind::OneHop, proxies::nginx, ("nginx", &["-v"])),
];

const fn direct(name: &'static str) -> Target {
    target(name, Kind::Direct, |_, _| Ok(Vec::new()), ("", &[]))
}

const fn target(
    name: &'static str,
    kind: Kind,
    raise: fn(&Places, &Path) -> Result<Vec<Process>>,
    program: (&'static str, &'static [&'static str]),
) -> Target {
    Target { name, kind, raise, program }
}

impl Kind {
    /// Whether it encrypts, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Direct => "no tunnel",
            Self::Plain => "no",
            Self::Encrypted => "yes",
            Self::OneHop => "no; one hop only, a limit and no tunnel",
        }
    }
}

impl Target {
    /// Why it cannot run here, if it cannot.
    pub(crate) fn missing(&self, places: &Places) -> Option<String> {
        let (program, _) = self.program;
        if !program.is_empty() && places.find(program).is_none() {
            return Some(format!("{program} is not installed"));
        }
        if self.name == "ringback:bare" {
            return ringback::refuses_bare(places);
        }
        if self.name == "ringback:quic" {
            return ringback::refuses_quic(places);
        }
        None
    }

    /// What its program says of its version, in one line.
    pub(crate) fn version(&self, places: &Places) -> String {
        let (program, words) = self.program;
        let Some(file) = places.find(program) else { return String::new() };
        let Ok(said) = Command::new(file).args(words).output() else { return String::new() };
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let numbered = |it: &&str| it.contains(|it: char| it.is_ascii_digit());
        let named = |it: &&str| numbered(it) && it.to_lowercase().contains("version");
        let line = said.lines().find(named).or_else(|| said.lines().find(numbered));
        let line = line.unwrap_or_default().replace(['"', '|'], " ");
        line.trim().chars().take(60).collect()
    }

    /// Starts it and waits until all three services answer through it.
    pub(crate) fn raise(&self, places: &Places, folder: &Path) -> Result<Running> {
        let ports = if self.kind == Kind::Direct { BEHIND } else { BEFORE };
        let at = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let processes = (self.raise)(places, folder).with_context(|| self.name)?;
        let mut running = Running { at, processes };
        let end = clock::now() + READY_PATIENCE;
        loop {
            let Err(error) = running.try_all() else { return Ok(running) };
            for process in &mut running.processes {
                process.check().with_context(|| logs(folder))?;
            }
            if end < clock::now() {
                bail!("{} does not carry: {error:#}\n{}", self.name, logs(folder));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Running {
    /// The processes that are the tunnel.
    pub(crate) fn tunnel(&self) -> Vec<u32> {
        // The operator of a network is no part of a tunnel: it is there for the first ring.
        let tunnel = self.processes.iter().filter(|it| it.name != ringback::OPERATOR);
        tunnel.map(Process::pid).collect()
    }

    /// What those processes are called.
    pub(crate) fn names(&self) -> Vec<(u32, &'static str)> {
        self.processes.iter().map(|it| (it.pid(), it.name)).collect()
    }

    fn try_all(&self) -> Result<()> {
        let connect = |service: Service| -> Result<TcpStream> {
            let stream = TcpStream::connect(self.at[service as usize])?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(stream)
        };
        let mut echo = connect(Service::Echo)?;
        echo.write_all(&[1; PING_OCTETS])?;
        echo.read_exact(&mut [0; PING_OCTETS]).context("no echo")?;
        let mut http = connect(Service::Http)?;
        http.write_all(b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n\r\n")?;
        http.read_exact(&mut vec![0; ANSWER.len()]).context("no answer")?;
        let mut bulk = connect(Service::Bulk)?;
        bulk.write_all(&[DOWN])?;
        bulk.read_exact(&mut [0; PING_OCTETS]).context("no bulk")?;
        Ok(())
    }
}

impl Places {
    /// Where a program is: ours, or below the peers' folder, or in the path.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        if program == "ringback" {
            return self.ringback.is_file().then(|| self.ringback.clone());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = [self.peers.join("bin")].into_iter();
        let administrators = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let places = own.chain(std::env::split_paths(&path)).chain(administrators);
        places.map(|it| it.join(program)).find(|it| it.is_file())
    }

    /// The same as a word of a command line.
    pub(crate) fn word(&self, program: &str) -> Result<String> {
        let file = self.find(program).with_context(|| format!("{program} is not installed"))?;
        Ok(file.to_str().context("a program's path is no text")?.to_owned())
    }
}

/// Writes files and hands back the path of the last.
fn write(folder: &Path, files: &[(&str, &str)]) -> Result<String> {
    let mut last = String::new();
    for (name, text) in files {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        last = file.to_string_lossy().into_owned();
    }
    Ok(last)
}

/// Runs a program that makes something, to its end.
fn make(folder: &Path, words: &[&str]) -> Result<String> {
    let made = Command::new(words[0]).args(&words[1..]).current_dir(folder).output();
    let made = made.with_context(|| format!("run {}", words[0]))?;
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    ensure!(made.status.success(), "{} fails: {said}", words.join(" "));
    Ok(String::from_utf8_lossy(&made.stdout).into_owned())
}

/// The last that each process of a folder has said.
fn logs(folder: &Path) -> String {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path());
    let logs = files.filter(|it| it.extension().is_some_and(|it| it == "log"));
    let tails = logs.map(|file| {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n  ");
        format!("{}:\n  {tail}", file.display())
    });
    tails.collect::<Vec<_>>().join("\n")
}

/// Waits until somebody listens.
fn wait_port(port: u16) -> Result<()> {
    let end = clock::now() + READY_PATIENCE;
    while clock::now() < end {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nobody listens on port {port}")
}
