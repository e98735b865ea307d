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

/// One for every second core: the kernel works as much for a session as we do, and a waking thread
/// finds a core that is free. On two cores one was the fastest (decision 0018).
pub(crate) fn usual() -> usize {
    (thread::available_parallelism().map_or(1, NonZero::get) / 2).clamp(1, WORKERS)
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Tells when it is dropped, and never ends by itself.
    async fn endless(_dropped: oneshot::Sender<()>) {
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn one_worker_is_the_thread_that_is_there() {
        let workers = Workers::start(1).unwrap();
        let there = workers.desks().next().id();
        assert_eq!(there, Handle::current().id());
        workers.end().await;
    }

    #[tokio::test]
    async fn tasks_are_spread_and_stay_and_are_cut_at_the_end() {
        let workers = Workers::start(3).unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        let mut seen = Vec::new();
        for _ in 0..6 {
            let inner = tasks.clone();
            let told = async move {
                let here = thread::current().id();
                (here, inner.spawn(async { thread::current().id() }).await.unwrap())
            };
            seen.push(tasks.spawn_on(told, workers.desks().next()).await.unwrap());
        }
        assert!(seen.iter().all(|(outer, inner)| outer == inner), "a task's tasks stay with it");
        assert!(seen.iter().all(|(outer, _)| *outer != thread::current().id()));
        assert_eq!(seen[..3], seen[3..]);
        assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2]);

        let (dropped, told) = oneshot::channel();
        tasks.spawn_on(endless(dropped), workers.desks().next());
        workers.end().await;
        assert!(told.await.is_err(), "it was cut");
    }

    #[tokio::test]
    async fn a_socket_moves_to_another_worker_and_is_woken_there() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio::net::{TcpListener, TcpStream};

        let workers = Workers::start(2).unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let dials = async move { TcpStream::connect(address).await.unwrap() };
        let mut moved = tasks.spawn_on(dials, workers.desks().next()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        crate::socket::move_here(&mut moved).unwrap();
        // Whoever would still wake it is gone.
        workers.end().await;
        let mut heard = [0; 4];
        let says = async { other.write_all(b"ring").await.unwrap() };
        let (read, ()) = tokio::join!(moved.read_exact(&mut heard), says);
        assert_eq!((read.unwrap(), &heard), (4, b"ring"));
        moved.write_all(b"back").await.unwrap();
        other.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"back", "the connection was not closed");
    }
}
