//! The load: one kind of work through one address, in a process of its own.
//!
//! It measures only between two points in time, after a warm-up and before the end, and reads at
//! both what the tunnel's processes have used.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::figure::Figure;
use crate::process::{cpu_seconds, tree};

mod bulk;
mod idle;
mod messages;
mod visits;

pub(crate) use idle::Held;

/// How long a load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long one answer may take; then it counts as an error.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What is loaded, and who is watched.
#[derive(Debug, Args)]
pub(crate) struct Drive {
    /// The figure.
    pub figure: Figure,
    /// Where clients connect, in turn if there are several.
    #[arg(long, required = true, value_delimiter = ',')]
    pub at: Vec<SocketAddr>,
    /// How long it is measured.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// The tunnel's processes; those that descend from them count.
    #[arg(long, value_delimiter = ',')]
    pub tunnel: Vec<u32>,
    /// What is behind the tunnel.
    #[arg(long)]
    pub server: Option<u32>,
}

/// What one load has measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// How long it was measured.
    pub seconds: f64,
    /// Octets of bulk carried.
    #[serde(default)]
    pub octets: u64,
    /// Requests, visits or round trips done.
    #[serde(default)]
    pub done: u64,
    /// Those that failed.
    #[serde(default)]
    pub errors: u64,
    /// Streams upwards whose other end's word on how many octets came was not heard.
    #[serde(default)]
    pub unheard: u64,
    /// Half of them took at most so long, in microseconds.
    #[serde(default)]
    pub p50_us: f64,
    /// 99 of 100 did.
    #[serde(default)]
    pub p99_us: f64,
    /// Seconds of processors that the tunnel's processes used.
    #[serde(default)]
    pub tunnel_cpu: f64,
    /// The same of the tunnel, the client and the server together.
    #[serde(default)]
    pub all_cpu: f64,
    /// Of connections that are held: what each process holds for them.
    #[serde(default)]
    pub held: Vec<Held>,
}

/// The time that is measured.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    until: Instant,
}

/// How long each piece of work took, in microseconds; and what failed.
#[derive(Debug, Default)]
struct Times {
    us: Vec<f64>,
    errors: u64,
}

impl Drive {
    /// Loads, measures and prints.
    pub(crate) fn run(self) -> Result<()> {
        let measured = match self.figure {
            Figure::Bulk(streams, way) => bulk::load(&self, streams, way)?,
            Figure::Http(clients) => messages::http(&self, clients)?,
            Figure::Visits(clients) => visits::load(&self, clients)?,
            Figure::Ping => messages::ping(&self)?,
            Figure::Idle(connections) => idle::hold(&self, connections)?,
        };
        println!("{}", serde_json::to_string(&measured)?);
        Ok(())
    }

    fn window(&self) -> Window {
        let from = clock::now() + WARM_UP;
        Window { from, until: from + Duration::from_secs_f64(self.seconds) }
    }

    /// Sleeps through the window on a thread of its own, and reads at both its ends what was used.
    fn watch(&self, window: Window, octets: &AtomicU64) -> Measured {
        std::thread::sleep(window.from.saturating_duration_since(clock::now()));
        let pids = tree(&self.tunnel);
        let everybody = pids.iter().copied().chain(self.server).chain([std::process::id()]);
        let everybody: Vec<u32> = everybody.collect();
        let read = || {
            let used = (cpu_seconds(&pids), cpu_seconds(&everybody));
            (clock::now(), octets.load(Ordering::Relaxed), used)
        };
        let before = read();
        std::thread::sleep(window.until.saturating_duration_since(clock::now()));
        let after = read();
        Measured {
            seconds: (after.0 - before.0).as_secs_f64(),
            octets: after.1 - before.1,
            tunnel_cpu: after.2.0 - before.2.0,
            all_cpu: after.2.1 - before.2.1,
            ..Measured::default()
        }
    }
}

impl Window {
    fn holds(self, instant: Instant) -> bool {
        self.from <= instant && instant < self.until
    }

    fn is_open(self) -> bool {
        clock::now() < self.until
    }
}

impl Times {
    /// Notes one piece of work, if it ended within the window.
    fn note(&mut self, window: Window, began: Instant) {
        let ended = clock::now();
        if window.holds(ended) {
            self.us.push((ended - began).as_secs_f64() * 1e6);
        }
    }

    fn add(&mut self, other: Self) {
        self.us.extend(other.us);
        self.errors += other.errors;
    }

    fn into(mut self, measured: Measured) -> Result<Measured> {
        ensure!(!self.us.is_empty(), "nothing was done; {} errors", self.errors);
        self.us.sort_by(f64::total_cmp);
        let at = |share: f64| self.us[(share * (self.us.len() - 1) as f64).round() as usize];
        let (p50_us, p99_us) = (at(0.5), at(0.99));
        let (done, errors) = (self.us.len() as u64, self.errors);
        Ok(Measured { done, errors, p50_us, p99_us, ..measured })
    }
}
