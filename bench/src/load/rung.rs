//! Whole sessions, A to I: each looks its terminal up, connects, is rung for by SMS, gets bytes, ends.
//!
//! They begin at a fixed rate, whatever becomes of those before: a proxy that falls behind is seen to.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::{SESSION_PATIENCE, Told, fleet};
use crate::clock;
use crate::serve::ANSWER;

/// Networks (/24) that clients come from: no limit of one network is to be met.
const NETWORKS: usize = 200;
/// How often new sessions are begun.
const TICK: Duration = Duration::from_millis(10);
/// Causes of losses that are told, the first ones.
const CAUSES: usize = 5;

/// So many a second, for so many seconds.
pub(super) fn run(terminals: usize, rate: usize, seconds: usize) -> Result<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut running = JoinSet::new();
        let mut ended = Ended::default();
        let mut tick = tokio::time::interval(TICK);
        let (begun, total) = (clock::now(), rate * seconds);
        let mut next = 0;
        while next < total || !running.is_empty() {
            tokio::select! {
                _ = tick.tick(), if next < total => {
                    let due = (begun.elapsed().as_secs_f64() * rate as f64) as usize;
                    while next < due.min(total) {
                        running.spawn(session(next, terminals));
                        next += 1;
                    }
                    ended.most = ended.most.max(running.len());
                }
                Some(done) = running.join_next() => ended.note(done?),
            }
        }
        ended.tell(total, begun.elapsed(), rate)
    })
}

#[derive(Default)]
struct Ended {
    ms: Vec<f64>,
    causes: Vec<String>,
    lost: u64,
    most: usize,
}

impl Ended {
    fn note(&mut self, session: Result<Duration>) {
        match session {
            Ok(took) => self.ms.push(took.as_secs_f64() * 1e3),
            Err(cause) => {
                self.lost += 1;
                if self.causes.len() < CAUSES {
                    self.causes.push(format!("{cause:#}"));
                }
            }
        }
    }

    fn tell(mut self, total: usize, took: Duration, rate: usize) -> Result<Told> {
        ensure!(!self.ms.is_empty(), "no session came to its end: {:?}", self.causes);
        self.ms.sort_by(f64::total_cmp);
        let at = |share: f64| self.ms[(share * (self.ms.len() - 1) as f64).round() as usize];
        let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
        let reached = self.ms.len() as f64 / took.as_secs_f64();
        eprintln!(
            "bench: {total} sessions at {rate}/s, {reached:.0}/s came to their end, {} lost {:?}; \
             p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.0} ms, {} at once",
            self.lost, self.causes, self.most
        );
        let figures = json!({
            "sessions": total, "rate": rate, "reached": reached, "lost": self.lost,
            "causes": self.causes, "p50_ms": p50, "p99_ms": p99, "worst_ms": worst,
            "most_at_once": self.most,
        });
        Ok(Told { figures, lost: self.lost })
    }
}

async fn session(number: usize, terminals: usize) -> Result<Duration> {
    let begun = clock::now();
    let network = u8::try_from(number % NETWORKS).unwrap_or_default();
    let from = Ipv4Addr::new(127, 1, network, 1);
    let name = fleet::name(number % terminals);
    let whole = whole(from, &name);
    tokio::time::timeout(SESSION_PATIENCE, whole).await.context("not within its patience")??;
    Ok(begun.elapsed())
}

async fn whole(from: Ipv4Addr, name: &str) -> Result<()> {
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, fleet::DNS));
    let address = super::lookup::look_up(from, dns, name).await.context("look it up")?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect((address, fleet::HTTP).into()).await.context("connect")?;
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; ANSWER.len()];
    stream.read_exact(&mut answer).await.context("no whole answer")?;
    if answer != ANSWER {
        let said = String::from_utf8_lossy(&answer).into_owned();
        anyhow::bail!("another answer: {}", said.lines().next().unwrap_or_default());
    }
    stream.shutdown().await?;
    let rest = stream.read(&mut [0]).await.context("no clean end")?;
    ensure!(rest == 0, "bytes after the end");
    Ok(())
}
