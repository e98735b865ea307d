//! Keeps the cores for what is measured, keeps them awake, and tells who else has had them.
//!
//! Control groups, not niceness: each session has a group of its own (autogroup) within which alone
//! niceness counts, so that "idle" spinners of another session take a third of a core. A halted
//! virtual core costs tens of microseconds a wake-up, which would be most of a round trip.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where control groups of the first version share out processors, and where they account for them.
const SHARES: &str = "/sys/fs/cgroup/cpu";
const ACCOUNTS: &str = "/sys/fs/cgroup/cpuacct";
/// The weight of what is measured beside any other session's, as the kernel counts it: 4 to 1.
const WEIGHT: &str = "4096";

/// The control groups of one benchmark; they are removed with it.
#[derive(Debug)]
pub(crate) struct Cores {
    groups: Vec<PathBuf>,
    account: PathBuf,
    spinners: Vec<Child>,
}

/// Nanoseconds of all cores: used by everybody, used by us, taken by a hypervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    all: u64,
    ours: u64,
    stolen: u64,
}

impl Cores {
    /// Moves this process into groups of its own and keeps every core awake.
    pub(crate) fn take() -> Result<Self> {
        for place in [SHARES, ACCOUNTS] {
            let there = Path::new(place).join("cgroup.procs").exists();
            ensure!(there, "no control groups at {place}: without them a figure is misleading");
        }
        let name = format!("ringback-bench-{}", std::process::id());
        let [ours, awake] =
            [name.clone(), format!("{name}-awake")].map(|it| Path::new(SHARES).join(it));
        let account = Path::new(ACCOUNTS).join(&name);
        let mut cores = Self { groups: Vec::new(), account: account.clone(), spinners: Vec::new() };
        for group in [&ours, &awake, &account] {
            fs::create_dir(group).with_context(|| format!("make {}: be root", group.display()))?;
            cores.groups.push(group.clone());
        }
        fs::write(ours.join("cpu.shares"), WEIGHT)?;
        let own = std::process::id().to_string();
        fs::write(account.join("cgroup.procs"), &own)?;
        fs::write(ours.join("cgroup.procs"), &own)?;

        // Whoever wakes up goes before an idle group at once, whatever it has used before.
        if fs::write(awake.join("cpu.idle"), "1").is_err() {
            fs::write(awake.join("cpu.shares"), "2")?;
        }
        for core in 0..std::thread::available_parallelism()?.get() {
            let mut spinner = Command::new(std::env::current_exe()?);
            spinner.args(["awake", &core.to_string()]);
            let spinner = spinner.stdin(Stdio::piped()).spawn()?;
            fs::write(awake.join("cgroup.procs"), spinner.id().to_string())?;
            cores.spinners.push(spinner);
        }
        Ok(cores)
    }

    /// What has been used so far.
    pub(crate) fn used(&self) -> Result<Used> {
        let read = |place: &Path| -> Result<u64> {
            Ok(fs::read_to_string(place.join("cpuacct.usage"))?.trim().parse()?)
        };
        let stat = fs::read_to_string("/proc/stat")?;
        let stolen = stat.split_whitespace().nth(8).and_then(|it| it.parse::<u64>().ok());
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let stolen = stolen.unwrap_or_default() * tick;
        Ok(Used { all: read(Path::new(ACCOUNTS))?, ours: read(&self.account)?, stolen })
    }
}

impl Used {
    /// The share of the machine that others had since `before`, the hypervisor's included.
    pub(crate) fn others_since(self, before: Self, seconds: f64) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let ours = self.ours.saturating_sub(before.ours);
        let others = all.saturating_sub(ours) + self.stolen.saturating_sub(before.stolen);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        others as f64 / 1e9 / (seconds * cores as f64)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        for spinner in &mut self.spinners {
            let _ = spinner.kill();
            let _ = spinner.wait();
        }
        let own = std::process::id().to_string();
        for root in [SHARES, ACCOUNTS] {
            let _ = fs::write(Path::new(root).join("cgroup.procs"), &own);
        }
        for group in &self.groups {
            if fs::remove_dir(group).is_err() {
                eprintln!("bench: {} is left behind", group.display());
            }
        }
    }
}

/// Spins on one core until standard input ends, and so with whoever has started it.
pub(crate) fn stay_awake(core: usize) -> Result<()> {
    let mut only = rustix::thread::CpuSet::new();
    only.set(core);
    rustix::thread::sched_setaffinity(None, &only)?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        std::hint::spin_loop();
    }
}

/// Makes the network of this namespace ready: the loopback up, congestion control pinned, ports enough.
pub(crate) fn prepare_network() -> Result<()> {
    let devices = fs::read_to_string("/proc/self/net/dev")?;
    let others = devices.lines().skip(2).any(|it| !it.trim_start().starts_with("lo:"));
    ensure!(!others, "not in the machine's own network: use `cargo xtask bench plane`");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("run ip")?;
    ensure!(up.success(), "the loopback cannot be set up");
    for (name, value) in [
        ("tcp_congestion_control", "cubic"),
        ("ip_local_port_range", "10240 65535"),
        ("tcp_tw_reuse", "1"),
        ("tcp_max_syn_backlog", "8192"),
    ] {
        let file = format!("/proc/sys/net/ipv4/{name}");
        fs::write(&file, value).with_context(|| format!("write {value} to {file}"))?;
    }
    fs::write("/proc/sys/net/core/somaxconn", "8192").context("write somaxconn")?;
    Ok(())
}
