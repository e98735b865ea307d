//! A client's tunnel that cannot be moved to the client's worker, as when descriptors have run out.

use std::fs::File;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::tests::splice_commanded;
use super::*;
use crate::tunnel::{Acceptor, Asks, Dialer, Identity};
use crate::workers::Workers;
use ringback_proto::switchboard::Switchboard;

const NAME: &str = "public::clients::staying::a_tunnel_that_cannot_be_moved_is_joined_all_the_same";
/// Tells the process of its own that it is.
const ALONE: &str = "RINGBACK_TEST_ALONE";
const FILES: u64 = 64;

#[tokio::test]
async fn a_tunnel_that_cannot_be_moved_is_joined_all_the_same() {
    if std::env::var_os(ALONE).is_none() {
        // Descriptors are the process's, and other tests want some.
        let own = std::env::current_exe().expect("our own path");
        let output = Command::new(own).args(["--exact", NAME]).env(ALONE, "1").output();
        let output = output.expect("a process");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let few = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    setrlimit(Resource::Nofile, few).expect("a lower limit");
    let workers = Workers::start(2).expect("two threads");
    let identity = || Identity::from_pem(&Identity::generate().unwrap()).unwrap();
    let (private, public) = (identity(), identity());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, server) = (Acceptor::new(&public), *public.public_key());
    let accepts = async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let (_, tunnel) = acceptor.accept(stream).await.unwrap();
        Framed::new(Talk::new(tunnel), false).unwrap()
    };
    let accepted = TaskTracker::new().spawn_on(accepts, workers.desks().next());
    let (stream, _) = listener.accept().await.unwrap();
    let dialed = Dialer::new(private).dial(stream, &server, Asks::DialBack).await.unwrap();
    let mut far = Framed::new(Talk::new(dialed), false).unwrap();
    let framed = accepted.await.unwrap();

    let (verdicts, mut told) = mpsc::channel(1);
    let (happenings, mut happened) = mpsc::channel(8);
    let (taker, taken) = oneshot::channel();
    let paired = splice_commanded(&mut Switchboard::new());
    let joined = Verdict::Joined { tunnel: TunnelId(2), taken, paired };
    verdicts.send(Box::new(joined)).await.expect("a client that waits");
    taker.send(framed).expect("a client that waits");
    let mut taking = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taking.push(file);
    }
    let waits = wait(ClientId(1), &mut told, std::future::pending(), &happenings);
    let waited = timeout(ANSWER_PATIENCE, waits).await.expect("told as lost");
    drop(taking);
    let ControlFlow::Break(Waited::Joined { mut framed, .. }) = waited else {
        panic!("{waited:?}");
    };
    assert!(happened.try_recv().is_err(), "and nobody is told of a loss, or rung");
    // It is woken all the same.
    let mut heard = [0; 6];
    let says = async { far.write_all(b"octets").await.and(far.flush().await) };
    let (read, said) = tokio::join!(framed.read_exact(&mut heard), says);
    assert_eq!((read.unwrap(), said.is_ok(), &heard), (6, true, b"octets"));
    drop(framed);
    workers.end().await;
}
