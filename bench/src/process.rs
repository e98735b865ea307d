//! Processes: starts them, ends them, and reads what they have used from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

/// How long a process may take to end after it was told to; then it is killed.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// A process that ends with this value, and with us.
#[derive(Debug)]
pub(crate) struct Process {
    /// What it is called in the figures.
    pub name: &'static str,
    child: Child,
}

impl Process {
    /// Starts one; what it says goes to a file in this folder.
    pub(crate) fn start(name: &'static str, folder: &Path, words: &[&str]) -> Result<Self> {
        Self::start_with(name, folder, words, |_| {})
    }

    /// The same, with something changed about it first.
    pub(crate) fn start_with(
        name: &'static str,
        folder: &Path,
        words: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let said = File::create(folder.join(format!("{name}.log")))?;
        // It must not outlive us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words).current_dir(folder);
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        change(&mut command);
        let child = command.spawn().with_context(|| format!("start {}", words.join(" ")))?;
        Ok(Self { name, child })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended: {status}", self.name),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = clock::now() + END_PATIENCE;
        while clock::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// These processes and all that descend from them: servers fork.
pub(crate) fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        if let Some(fields) = stat(pid)
            && let Some(parent) = fields.get(1).and_then(|it| it.parse().ok())
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = roots.to_vec();
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found.into_iter().collect()
}

/// Seconds of processors that these processes have used, their threads included.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks = |pid: &u32| {
        let fields = stat(*pid)?;
        let field = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(field(11)? + field(12)?)
    };
    let ticks: u64 = pids.iter().filter_map(ticks).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Octets of memory that are resident.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Open descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The machine in words: what a figure is worth nothing without.
pub(crate) fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|it| it.strip_prefix("model name")).unwrap_or("unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok());
    let gib = kib.unwrap_or_default() as f64 / 1024.0 / 1024.0;
    Ok(format!(
        "{cores} cores ({model}), {gib:.0} GiB, Linux {}, loopback in a network namespace of its own, TCP cubic, descriptors {}",
        kernel.trim(),
        rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .map_or_else(|| "unlimited".to_owned(), |it| it.to_string())
    ))
}

/// The fields of `/proc/PID/stat` from the state on: the name before them may contain anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
