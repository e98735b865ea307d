//! What a splice carries: octets, ends, resets and back-pressure.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use ringback::splice::{Ended, How, Side, Tally, splice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::loopback::{Assumed, Chain, Proxies, framed, pair};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn either_side_may_end_first_and_still_be_replied_to() {
    let proxies = Proxies::new();
    for (client_first, bare) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut chain = Chain::new(&proxies, bare, LONG).await;
        let (first, second) = match client_first {
            true => (&mut chain.client, &mut chain.terminal),
            false => (&mut chain.terminal, &mut chain.client),
        };
        let mut heard = Vec::new();
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        second.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");

        second.write_all(b"reply").await.unwrap();
        second.shutdown().await.unwrap();
        heard.clear();
        first.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"reply");

        let (to_terminal, to_client) = if client_first { (8, 5) } else { (5, 8) };
        let ended = Ended { to_terminal, to_client, how: How::Clean };
        assert_eq!(chain.ended().await, [ended, ended]);
    }
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let proxies = Proxies::new();
    for (client_resets, bare) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut chain = Chain::new(&proxies, bare, LONG).await;
        let (gone, mut left) = match client_resets {
            true => (chain.client, chain.terminal),
            false => (chain.terminal, chain.client),
        };
        ringback::socket::reset(gone);
        assert_reset(&mut left).await;
        while let Some(ended) = chain.splices.join_next().await {
            let side = if client_resets { Side::Client } else { Side::Terminal };
            assert_eq!(ended.unwrap().how, How::Cut(side));
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_ends_without_saying_so_resets_both_sides() {
    let (private, public) = Proxies::new().tunnel().await;
    let path = private.tcp().unwrap().local_addr().unwrap();
    assert_eq!(public.tcp().unwrap().peer_addr().unwrap(), path);
    let (mut client, mut held) = pair().await;
    let mut splices = JoinSet::new();
    let mut public = framed(public, false);
    splices.spawn(async move {
        splice(&mut held, &mut public, LONG, &Tally::default(), &Assumed).await
    });
    socket2::SockRef::from(private.tcp().unwrap()).shutdown(Shutdown::Write).unwrap();
    assert_reset(&mut client).await;
    assert_eq!(splices.join_next().await.unwrap().unwrap().how, How::Cut(Side::Terminal));
}

#[tokio::test]
async fn a_dropped_splice_resets_both_sides() {
    let mut chain = Chain::new(&Proxies::new(), false, LONG).await;
    chain.client.write_all(b"x").await.unwrap();
    assert_eq!(chain.terminal.read_u8().await.unwrap(), b'x');
    chain.splices.shutdown().await;
    assert_reset(&mut chain.client).await;
    assert_reset(&mut chain.terminal).await;
}

#[tokio::test]
async fn what_is_under_way_at_a_clean_end_still_arrives() {
    const ALL: usize = 300_000;
    let (mut client, mut held) = pair().await;
    let (mut connected, mut terminal) = pair().await;
    // All of it fits in what the splice may send, and little of it in what the client has room for.
    socket2::SockRef::from(&held).set_send_buffer_size(ALL * 2).unwrap();
    socket2::SockRef::from(&client).set_recv_buffer_size(4 * 1024).unwrap();
    client.shutdown().await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        terminal.write_all(&[7; ALL]).await.unwrap();
        terminal.shutdown().await.unwrap();
    });
    let ended = splice(&mut held, &mut connected, LONG, &Tally::default(), &Assumed).await;
    assert_eq!(ended, Ended { to_terminal: 0, to_client: ALL as u64, how: How::Clean });
    let mut octets = Vec::new();
    client.read_to_end(&mut octets).await.unwrap();
    assert_eq!(octets.len(), ALL);
}

#[tokio::test]
async fn what_does_not_move_for_the_idle_limit_is_reset() {
    let (mut client, mut held) = pair().await;
    let (mut connected, mut terminal) = pair().await;
    let idle = Duration::from_secs(60);
    let mut splices = JoinSet::new();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    splices.spawn(async move {
        splice(&mut held, &mut connected, idle, &Tally::default(), &Assumed).await
    });
    // What moves after half the limit counts from there.
    tokio::time::sleep(idle / 2).await;
    client.write_all(b"x").await.unwrap();
    let ended = splices.join_next().await.unwrap().unwrap();
    assert_eq!(ended, Ended { to_terminal: 1, to_client: 0, how: How::Idle });
    assert_eq!(start.elapsed().as_secs(), idle.as_secs() * 3 / 2);
    tokio::time::resume();
    assert_reset(&mut client).await;
    assert_reset(&mut terminal).await;
}

#[tokio::test]
async fn a_reader_that_is_slow_holds_the_writer() {
    const ALL: usize = 64 * 1024 * 1024;
    let (client, mut held) = pair().await;
    let (mut connected, mut terminal) = pair().await;
    for socket in [&client, &held, &connected, &terminal] {
        socket2::SockRef::from(socket).set_send_buffer_size(64 * 1024).unwrap();
        socket2::SockRef::from(socket).set_recv_buffer_size(64 * 1024).unwrap();
    }
    let (mut client, tally) = (client, Arc::new(Tally::default()));
    let mut tasks = JoinSet::new();
    let counted = tally.clone();
    tasks.spawn(async move {
        let ended = splice(&mut held, &mut connected, LONG, &counted, &Assumed).await;
        assert_eq!((ended.how, ended.to_terminal), (How::Clean, ALL as u64));
    });

    let mut written = 0;
    let chunk = vec![7; 64 * 1024];
    while let Ok(octets) = timeout(Duration::from_millis(300), client.write(&chunk)).await {
        written += octets.unwrap();
        assert!(written < ALL / 8, "nothing holds the writer");
    }
    assert!(tally.to_terminal() < ALL as u64 / 8);

    tasks.spawn(async move {
        client.write_all(&vec![7; ALL - written]).await.unwrap();
        client.shutdown().await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let mut octets = Vec::new();
    terminal.read_to_end(&mut octets).await.unwrap();
    assert_eq!(octets.len(), ALL);
    drop(terminal);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn assert_reset(stream: &mut TcpStream) {
    let cut = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
}
