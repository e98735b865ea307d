//! Sessions where descriptors have run out: no pipe can be had for what the kernel could move, and not an
//! octet is lost or changed for it.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use ringback::splice::{Ended, How, Tally, splice};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::loopback::{Assumed, pair};

const NAME: &str = "descriptors::without_a_descriptor_for_a_pipe_a_session_is_copied_exactly";
/// Tells the process of its own that it is.
const ALONE: &str = "RINGBACK_TEST_ALONE";
const FILES: u64 = 128;
const OCTETS: usize = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// Descriptors are the process's, and other tests want some: a process of its own.
#[tokio::test]
async fn without_a_descriptor_for_a_pipe_a_session_is_copied_exactly() {
    if std::env::var_os(ALONE).is_none() {
        let mut own = Command::new(std::env::current_exe().unwrap());
        let output = own.args(["--exact", NAME]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let few = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    setrlimit(Resource::Nofile, few).unwrap();
    let before = pipes();
    carried(true).await;
    assert_eq!(pipes(), before, "there was room for one");
    // The same with room: it would have had one.
    carried(false).await;
    assert!(before < pipes(), "no pipe was wanted at all");
}

/// Carries a session's octets, without a descriptor left or with some.
async fn carried(exhausted: bool) {
    let (mut client, mut held) = pair().await;
    let (mut connected, mut terminal) = pair().await;
    let mut taken = Vec::new();
    while exhausted && let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    assert_eq!(taken.is_empty(), !exhausted);
    let mut splices = JoinSet::new();
    splices.spawn(async move {
        splice(&mut held, &mut connected, PATIENCE, &Tally::default(), &Assumed).await
    });
    let piece: Vec<u8> = (0..=250).cycle().take(1024 * 1024).collect();
    let sent: Vec<u8> = piece.iter().copied().cycle().take(OCTETS).collect();
    let says = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    };
    let hears = async {
        let mut heard = Vec::with_capacity(OCTETS);
        terminal.read_to_end(&mut heard).await.unwrap();
        terminal.shutdown().await.unwrap();
        assert!(heard == sent, "every octet, once and in order");
    };
    timeout(PATIENCE, async { tokio::join!(says, hears) }).await.expect("it stands still");
    let ended = splices.join_next().await.unwrap().unwrap();
    let whole = Ended { to_terminal: OCTETS as u64, to_client: 0, how: How::Clean };
    assert_eq!(ended, whole);
}

/// Pipes that this process has; a thread keeps those that it has used.
fn pipes() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
    links.filter(|it| it.to_string_lossy().starts_with("pipe:")).count()
}
