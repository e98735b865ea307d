//! The threads that sessions stay on: each has a runtime of its own, on one core.
//!
//! A session lives where it was begun, so that no octet of it wakes another thread. Decides nothing;
//! what a task does and who waits for it is its tracker's to know.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::keys;
use crate::limits::{LAST_THREADS, WORKERS};

/// The threads. Dropping them cuts whatever still runs there.
#[derive(Debug)]
pub(crate) struct Workers {
    desks: Desks,
    threads: Vec<JoinHandle<()>>,
    quit: CancellationToken,
}

/// Where sessions are begun.
#[derive(Clone, Debug)]
pub(crate) struct Desks {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

/// As many as there are cores.
pub(crate) fn usual() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS)
}

impl Workers {
    /// Starts so many threads. One worker is the thread that the caller is on, beside everything else.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let quit = CancellationToken::new();
        if count <= 1 {
            let desks = Desks::new(vec![Handle::current()]);
            return Ok(Self { desks, threads: Vec::new(), quit });
        }
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_all().on_thread_start(keys::warm_up).build()?;
            handles.push(runtime.handle().clone());
            let quit = quit.clone();
            let work = move || {
                keys::warm_up();
                runtime.block_on(quit.cancelled());
                runtime.shutdown_timeout(LAST_THREADS);
            };
            threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        Ok(Self { desks: Desks::new(handles), threads, quit })
    }

    /// Where sessions are begun.
    pub(crate) fn desks(&self) -> &Desks {
        &self.desks
    }

    /// Cuts whatever still runs there, and waits until the threads have ended.
    pub(crate) async fn end(mut self) {
        self.quit.cancel();
        let threads = std::mem::take(&mut self.threads);
        let ended = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
        });
        if !matches!(ended.await, Ok(0)) {
            error!("a worker has not ended in order");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.quit.cancel();
    }
}

impl Desks {
    fn new(handles: Vec<Handle>) -> Self {
        Self { handles: handles.into(), next: Arc::default() }
    }

    /// One after the other, for ever: the same number of sessions for each.
    pub(crate) fn next(&self) -> &Handle {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.handles[next % self.handles.len()]
    }

    /// Each of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Handle> {
        self.handles.iter()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.handles.len()
    }
}
