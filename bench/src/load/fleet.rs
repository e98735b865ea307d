//! A fleet: one public proxy, one private proxy, one operator, and as many terminals as wanted.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

use crate::figure::{BEHIND, Service};
use crate::process::Process;
use crate::targets::ringback::{OPERATOR_FILE, make_keys, wait_ready};

/// The first terminal's raw port; the others follow.
const RAW: usize = 2_000;
/// Terminals that have a raw port of their own; the others are named by Host alone.
const RAW_PORTS: usize = 1_000;
/// Where clients name their terminal by Host.
pub(super) const HTTP: u16 = 8_080;
/// Where the public proxy answers DNS.
pub(super) const DNS: u16 = 5_353;

/// How large, and how long its tunnels stand by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    /// How many.
    pub terminals: usize,
    /// Seconds that a tunnel stands by.
    pub linger: u64,
    /// The most descriptors that the public proxy may have; 0 leaves them as they are.
    pub files: u64,
}

/// What the terminal with this number is called.
pub(super) fn name(terminal: usize) -> String {
    format!("t{terminal}.bench.localhost")
}

/// The raw port of its echo service.
pub(super) fn raw_port(terminal: usize) -> u16 {
    u16::try_from(RAW + terminal % RAW_PORTS).unwrap_or_default()
}

/// The last errors and warnings of each role.
pub(super) fn complaints(folder: &Path) -> String {
    let mut told = String::new();
    for role in ["operator", "private", "public"] {
        let log = fs::read_to_string(folder.join(format!("{role}.log"))).unwrap_or_default();
        let bad = |it: &&str| it.contains("WARN") || it.contains("ERROR");
        let bad: Vec<&str> = log.lines().filter(bad).collect();
        told += &format!("{role}: {} warnings and errors\n", bad.len());
        for line in bad.iter().take(3).chain(bad.iter().rev().take(3)) {
            told += &format!("  {line}\n");
        }
    }
    told
}

impl Fleet {
    /// Makes keys and files, and starts every role.
    pub(super) fn raise(self, ringback: &Path, folder: &Path) -> Result<Vec<Process>> {
        let program = ringback.to_str().context("our own path is no text")?;
        self.make_terminals(program, folder)?;
        make_keys(program, folder, &[])?;
        fs::write(folder.join("operator.toml"), OPERATOR_FILE)?;
        fs::write(folder.join("public.toml"), self.public())?;
        fs::write(folder.join("private.toml"), self.private())?;
        let mut roles = Vec::new();
        for role in ["operator", "private", "public"] {
            let file = folder.join(format!("{role}.toml")).to_string_lossy().into_owned();
            let limit = format!("--nofile={0}:{0}", self.files);
            let mut words = vec!["prlimit", &limit];
            if role != "public" || self.files == 0 {
                words.clear();
            }
            words.extend([program, "--log", "json", role, "--config", &file]);
            let mut process = Process::start(role, folder, &words)?;
            wait_ready(&mut process, folder)?;
            roles.push(process);
        }
        Ok(roles)
    }

    /// A process a key takes a few milliseconds: on all cores at once.
    fn make_terminals(self, program: &str, folder: &Path) -> Result<()> {
        let cores = thread::available_parallelism()?.get();
        thread::scope(|scope| {
            let make = |first: usize| {
                let numbers = (first..self.terminals).step_by(cores);
                scope.spawn(move || {
                    numbers
                        .into_iter()
                        .try_for_each(|it| make_keys(program, folder, &[&format!("t{it}")]))
                })
            };
            let makers: Vec<_> = (0..cores).map(make).collect();
            for maker in makers {
                maker.join().map_err(|_| anyhow::anyhow!("a maker of keys has panicked"))??;
            }
            Ok(())
        })
    }

    fn public(self) -> String {
        let linger = self.linger;
        let mut file = format!(
            r#"[public]
identity = "public.key"
state = "public-state"
dial_back = "127.0.0.1:7443"
http = "127.0.0.1:{HTTP}"
linger_seconds = {linger}

[responder]
listen = "127.0.0.1:{DNS}"
zone = "bench.localhost"
addresses = "127.0.0.1"

[budget]
terminal_per_5_minutes = 0
terminal_per_hour = 0
terminal_per_day = 0
source_per_hour = 0
rings_per_day = 0
breaker_unanswered = 0
waiting_per_source = 16384

[[bearer]]
name = "sms"
kind = "smpp"
address = "127.0.0.1:2775"
system_id = "public"
password_file = "smpp.password"
source = "15550100"
window = 100
per_second = 10000
"#
        );
        for it in 0..self.terminals {
            file += &format!(
                "\n[[terminal]]\nname = \"{}\"\nkeys = \"t{it}.public.keys\"\nnumber = \"+1555{it:07}\"\n\
                 private_proxy = \"private.pub\"\nwaiting = 4096\n[[terminal.route]]\nbearer = \"sms\"\n\
                 [[terminal.service]]\nid = 1\nport = 80\nhttp = true\n",
                name(it)
            );
            if self.terminals <= RAW_PORTS {
                let raw = raw_port(it);
                file +=
                    &format!("[[terminal.service]]\nid = 2\nport = 7\nraw = \"127.0.0.1:{raw}\"\n");
            }
        }
        file
    }

    fn private(self) -> String {
        let mut file = r#"[private]
identity = "private.key"
state = "private-state"

[[bearer]]
name = "sms"
kind = "smpp"
address = "127.0.0.1:2775"
system_id = "private"
password_file = "smpp.password"

[[public_proxy]]
name = "public"
public_key = "public.pub"
addresses = "127.0.0.1:7443"
"#
        .to_owned();
        let [http, echo] = [Service::Http, Service::Echo].map(|it| BEHIND[it as usize]);
        for it in 0..self.terminals {
            file += &format!(
                "\n[[terminal]]\nkeys = \"t{it}.private.keys\"\nnumber = \"+1555{it:07}\"\n\
                 public_proxies = \"public\"\n\
                 [[terminal.service]]\nid = 1\naddress = \"127.0.0.1:{http}\"\n\
                 [[terminal.service]]\nid = 2\naddress = \"127.0.0.1:{echo}\"\n"
            );
        }
        file
    }
}
