//! Measures all targets side by side, in alternating rounds, with direct connections in between.
//!
//! A run may be made in slices: what was visited already stands in the file of raw runs and is not
//! visited again. A figure during which others had the machine is measured again, and a table of
//! which one remains so is not printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::clock;
use crate::cores::{self, Cores};
use crate::drive::Measured;
use crate::figure::{Figure, TIMED};
use crate::process::{self, Process};
use crate::raw::{self, Line, Sample, Setting, Visit};
use crate::report;
use crate::targets::{Kind, Places, Running, TARGETS, Target};

/// Direct connections are measured again after so many other targets.
const DIRECT_EVERY: usize = 3;
/// The share of the machine that others may have while a figure is measured.
pub(crate) const OTHERS: f64 = 0.05;
/// How often a figure is measured again because others had more.
const AGAIN: usize = 3;
/// How long a target is left alone before each figure.
const SETTLE: Duration = Duration::from_millis(300);
/// What one visit takes beside its figures; no slice is begun that has less left.
const VISIT_SLACK: f64 = 6.0;
/// Connections that are held idle.
const IDLE: usize = 5_000;
/// The same in a quick run.
const IDLE_QUICK: usize = 1_000;

/// How the data planes are measured.
#[derive(Debug, Args)]
pub(crate) struct Plane {
    /// One round of short measurements: to see that everything works, and roughly where one stands.
    #[arg(long)]
    quick: bool,
    /// Only these targets, by name or by program (rathole:tcp, or rathole); direct is always there.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these figures (bulk1-up, http-64, conn-1, ping, idle-1000 …).
    #[arg(long, value_delimiter = ',')]
    figures: Vec<Figure>,
    /// Rounds [default: 3, or 1 if quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each figure is measured [default: 2, or 1 if quick].
    #[arg(long)]
    seconds: Option<f64>,
    /// Begin no visit that would end after so many minutes; `--into` the same file goes on.
    #[arg(long)]
    minutes: Option<f64>,
    /// The raw runs, which a table and a plot are put beside; what is in it is not measured again.
    #[arg(long)]
    into: PathBuf,
    /// Only make table and plot of it again.
    #[arg(long)]
    report: bool,
    /// Our own binary.
    #[arg(long)]
    ringback: PathBuf,
    /// Where the peers are.
    #[arg(long)]
    peers: PathBuf,
}

impl Plane {
    /// Measures what is left to measure, then makes table and plot of all of it.
    pub(crate) fn run(self) -> Result<()> {
        if !self.report {
            let whole = self.measure()?;
            if !whole {
                eprintln!("bench: not all is measured yet: run it again to go on");
                return Ok(());
            }
        }
        report::make(&self.into)
    }

    /// Tells whether everything that is wanted is there.
    fn measure(&self) -> Result<bool> {
        cores::prepare_network()?;
        let whole = |it: &Path| it.canonicalize().with_context(|| format!("find {}", it.display()));
        let places = Places {
            ringback: whole(&self.ringback)?,
            peers: whole(&self.peers).unwrap_or_else(|_| self.peers.clone()),
        };
        let (targets, missing) = self.targets(&places)?;
        self.say(&places, &targets, missing)?;
        let done: BTreeSet<Visit> =
            raw::read(&self.into)?.into_iter().filter_map(visited).collect();
        let visits = self.visits(&targets);
        let left: Vec<_> = visits.into_iter().filter(|(visit, _)| !done.contains(visit)).collect();

        let cores = Cores::take()?;
        let folder = tempfile::tempdir()?;
        let own = std::env::current_exe()?;
        let own = own.to_str().context("our own path is no text")?;
        let server = Process::start("serve", folder.path(), &[own, "serve"])?;
        let begun = clock::now();
        let total = left.len();
        for (count, (visit, target)) in left.into_iter().enumerate() {
            let figures = self.figures_of(&visit);
            let takes = figures.len() as f64 * (self.seconds() + 1.0) + VISIT_SLACK;
            let limit = self.minutes.map_or(f64::INFINITY, |it| it * 60.0);
            if limit < begun.elapsed().as_secs_f64() + takes {
                return Ok(false);
            }
            eprintln!("bench: {} of {total}: {}, round {}", count + 1, visit.target, visit.round);
            let one =
                One { plane: self, cores: &cores, places: &places, server: server.pid(), own };
            one.visit(&visit, target, &figures)?;
            raw::append(&self.into, &Line::Visited(visit))?;
        }
        Ok(true)
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 })
    }

    /// Memory is not noisy: it is read in the first round, of processes that nothing has loaded yet.
    fn figures_of(&self, visit: &Visit) -> Vec<Figure> {
        if !self.figures.is_empty() {
            return self.figures.clone();
        }
        let idle = Figure::Idle(if self.quick { IDLE_QUICK } else { IDLE });
        let idle = (visit.round == 1 && !visit.target.starts_with("direct")).then_some(idle);
        idle.into_iter().chain(TIMED).collect()
    }

    fn targets(&self, places: &Places) -> Result<(Vec<Target>, BTreeMap<String, String>)> {
        let wanted = |target: &Target| {
            let program = target.name.split(':').next().unwrap_or_default();
            let named = |it: &String| it == target.name || it == program;
            self.only.is_empty() || self.only.iter().any(named)
        };
        let tunnels = TARGETS.into_iter().filter(|it| it.kind != Kind::Direct && wanted(it));
        let (mut there, mut missing) = (Vec::new(), BTreeMap::new());
        for target in tunnels {
            match target.missing(places) {
                Some(why) => {
                    eprintln!("bench: {} is missing: {why}", target.name);
                    missing.insert(target.name.to_owned(), why);
                }
                None => there.push(target),
            }
        }
        let known = !there.is_empty() || !missing.is_empty() || self.only == ["direct"];
        ensure!(known, "no target is called {:?}", self.only);
        Ok((there, missing))
    }

    /// The order of a round: a direct connection before every third target, and one at the end.
    fn visits(&self, targets: &[Target]) -> Vec<(Visit, Target)> {
        let mut visits = Vec::new();
        for round in 1..=self.rounds() {
            let mut order = Vec::new();
            for some in targets.chunks(DIRECT_EVERY) {
                order.push(TARGETS[0]);
                order.extend(some);
            }
            order.push(TARGETS[0]);
            let visit = |(place, target): (usize, Target)| {
                (Visit { round, place, target: target.name.to_owned() }, target)
            };
            visits.extend(order.into_iter().enumerate().map(visit));
        }
        visits
    }

    fn say(
        &self,
        places: &Places,
        targets: &[Target],
        missing: BTreeMap<String, String>,
    ) -> Result<()> {
        if let Some(folder) = self.into.parent() {
            fs::create_dir_all(folder)?;
        }
        let version = |it: &Target| (it.name.to_owned(), it.version(places));
        let setting = Setting {
            at: clock::unix_seconds(),
            machine: process::machine()?,
            versions: targets.iter().map(version).collect(),
            missing,
            seconds: self.seconds(),
            rounds: self.rounds(),
        };
        raw::append(&self.into, &Line::Setting(setting))
    }
}

/// What one visit needs.
struct One<'a> {
    plane: &'a Plane,
    cores: &'a Cores,
    places: &'a Places,
    server: u32,
    own: &'a str,
}

impl One<'_> {
    /// One visit; a target that cannot be raised has failed in all its figures, and no other suffers.
    fn visit(&self, visit: &Visit, target: Target, figures: &[Figure]) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut running = match target.raise(self.places, folder.path()) {
            Ok(running) => running,
            Err(error) => return self.failed(visit, figures, &format!("{error:#}")),
        };
        for figure in figures {
            // What the figure before has left to do is not this one's.
            std::thread::sleep(SETTLE);
            let sample = self.figure(visit, *figure, &running)?;
            tell(&sample);
            raw::append(&self.plane.into, &Line::Sample(Box::new(sample)))?;
            // Memory is read of processes that nothing has loaded, and loads find them so, too.
            if matches!(figure, Figure::Idle(_)) {
                running = self.again(target, running, folder.path())?;
            }
        }
        Ok(())
    }

    fn failed(&self, visit: &Visit, figures: &[Figure], why: &str) -> Result<()> {
        eprintln!("bench: {why}");
        for figure in figures {
            let sample = Sample {
                visit: visit.clone(),
                figure: *figure,
                at: clock::unix_seconds(),
                others: 0.0,
                noisy: false,
                names: BTreeMap::new(),
                measured: Measured::default(),
                failed: Some(why.lines().next().unwrap_or_default().to_owned()),
            };
            raw::append(&self.plane.into, &Line::Sample(Box::new(sample)))?;
        }
        Ok(())
    }

    fn again(&self, target: Target, running: Running, folder: &Path) -> Result<Running> {
        drop(running);
        let inside = folder.join("again");
        let _ = fs::remove_dir_all(&inside);
        fs::create_dir(&inside)?;
        target.raise(self.places, &inside)
    }

    fn figure(&self, visit: &Visit, figure: Figure, running: &Running) -> Result<Sample> {
        let mut last = None;
        for _ in 0..AGAIN {
            let (begun, before) = (clock::now(), self.cores.used()?);
            let driven = self.drive(figure, running);
            let others = self.cores.used()?.others_since(before, begun.elapsed().as_secs_f64());
            // Memory does not depend on who else computes, and is not the same a second time.
            let noisy = OTHERS < others && !matches!(figure, Figure::Idle(_));
            let (measured, failed) = match driven {
                Ok(measured) => (measured, None),
                Err(error) => (Measured::default(), Some(format!("{error:#}"))),
            };
            let names = running.names().into_iter().map(|(pid, it)| (pid, it.to_owned()));
            let sample = Sample {
                visit: visit.clone(),
                figure,
                at: clock::unix_seconds(),
                others,
                noisy,
                names: names.collect(),
                measured,
                failed,
            };
            if !noisy {
                return Ok(sample);
            }
            eprintln!("bench: {figure}: others had {:.0} %", others * 100.0);
            last = Some(sample);
            std::thread::sleep(Duration::from_secs(1));
        }
        last.context("a figure is measured once at least")
    }

    fn drive(&self, figure: Figure, running: &Running) -> Result<Measured> {
        let at = running.at[figure.service() as usize].to_string();
        let tunnel: Vec<String> = running.tunnel().iter().map(u32::to_string).collect();
        let mut drive = Command::new(self.own);
        drive.args(["drive", &figure.to_string(), "--at", &at]);
        drive.args(["--seconds", &self.plane.seconds().to_string()]);
        drive.args(["--server", &self.server.to_string()]);
        if !tunnel.is_empty() {
            drive.args(["--tunnel", &tunnel.join(",")]);
        }
        let output = drive.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("{}", said.trim().trim_start_matches("bench: "));
        }
        // Many clients fail alike: one is enough to read.
        if let Some(line) = said.lines().next() {
            eprintln!("{line}");
        }
        serde_json::from_slice(&output.stdout).context("the load printed no figure")
    }
}

fn visited(line: Line) -> Option<Visit> {
    match line {
        Line::Visited(visit) => Some(visit),
        Line::Setting(_) | Line::Sample(_) => None,
    }
}

fn tell(sample: &Sample) {
    let Sample { figure, measured: it, others, failed, .. } = sample;
    if let Some(failed) = failed {
        eprintln!("  {figure:<11} failed: {failed}");
        return;
    }
    let gbit = it.octets as f64 * 8.0 / it.seconds.max(1e-9) / 1e9;
    let rate = it.done as f64 / it.seconds.max(1e-9);
    let value = match figure {
        Figure::Bulk(..) => {
            format!("{gbit:.2} Gbit/s, {:.3} CPU s/GB", it.tunnel_cpu / (it.octets as f64 / 1e9))
        }
        Figure::Http(_) | Figure::Visits(_) | Figure::Ping => format!(
            "{rate:.0}/s, p50 {:.0} us, p99 {:.0} us, tunnel {:.1} us each",
            it.p50_us,
            it.p99_us,
            it.tunnel_cpu * 1e6 / it.done as f64
        ),
        Figure::Idle(_) => format!("{} held, {:?}", it.done, report::held(sample)),
    };
    eprintln!("  {figure:<11} {value}, {} errors, others {:.1} %", it.errors, others * 100.0);
}
