//! A thousand transfers through both proxies, most of them cut somewhere: what looks complete is.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::chance::Chance;
use crate::loopback::{Chain, Proxies};

const TRANSFERS: u64 = 1_000;
const SEED: u64 = 0x52_49_4e_47;

/// Who cuts, once the receiver has a certain number of octets.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nobody,
    Sender,
    Path,
    Proxies,
}

#[tokio::test]
async fn a_cut_stream_never_looks_complete() {
    let proxies = Proxies::new();
    let mut chance = Chance(SEED);
    let (mut whole, mut broken) = (0, 0);
    for transfer in 0..TRANSFERS {
        let octets: Vec<u8> = (0..chance.below(400_000)).map(|it| ((it * 31) >> 3) as u8).collect();
        let at = chance.below(octets.len() as u64 + 1) as usize;
        let cut = [Cut::Nobody, Cut::Sender, Cut::Path, Cut::Proxies][chance.below(4) as usize];
        let (upwards, bare) = (chance.below(2) == 0, chance.below(2) == 0);
        let what = format!(
            "seed {SEED:#x}, transfer {transfer}, {cut:?} at {at}, up {upwards}, bare {bare}"
        );

        let mut received = Vec::new();
        match carry(&proxies, &octets, at, cut, (upwards, bare), &mut received).await {
            Ok(()) => {
                assert!(received == octets, "{what}: complete with {} octets", received.len());
                whole += 1;
            }
            Err(_) => {
                assert!(octets.starts_with(&received), "{what}: other octets");
                assert!(!matches!(cut, Cut::Nobody), "{what}: broken");
                broken += 1;
            }
        }
    }
    assert!(TRANSFERS / 5 < whole && TRANSFERS / 5 < broken, "{whole} whole, {broken} broken");
}

async fn carry(
    proxies: &Proxies,
    octets: &[u8],
    at: usize,
    cut: Cut,
    (upwards, bare): (bool, bool),
    received: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (private, public) = proxies.tunnel().await;
    let writing = if upwards { &private } else { &public };
    let path = match cut {
        // A second handle keeps a connection open; only who is to shut it down may have one.
        Cut::Path => Some(writing.tcp().unwrap().as_fd().try_clone_to_owned()?),
        Cut::Nobody | Cut::Sender | Cut::Proxies => None,
    };
    let chain = Chain::over((private, public), bare, Duration::from_secs(60)).await;
    let Chain { client, terminal, mut splices, .. } = chain;
    let (mut sender, mut receiver) = if upwards { (client, terminal) } else { (terminal, client) };

    let sending = async move {
        let length = if matches!(cut, Cut::Sender) { at } else { octets.len() };
        if sender.write_all(&octets[..length]).await.is_err() {
            return;
        }
        if matches!(cut, Cut::Sender) {
            return ringback::socket::reset(sender);
        }
        // Fails if the path was cut meanwhile; then the receiver has the proof.
        let _ = sender.shutdown().await;
        let _ = sender.read_to_end(&mut Vec::new()).await;
    };
    let receiving = async {
        if !matches!(cut, Cut::Sender) {
            received.resize(at, 0);
            let first = receiver.read_exact(received).await;
            first.inspect_err(|_| received.clear())?;
        }
        match cut {
            Cut::Nobody | Cut::Sender => {}
            Cut::Path => socket2::SockRef::from(&path.unwrap()).shutdown(Shutdown::Write)?,
            Cut::Proxies => splices.shutdown().await,
        }
        receiver.read_to_end(received).await?;
        // Fails only if the path was cut after its last octet.
        let _ = receiver.shutdown().await;
        Ok(())
    };
    let ((), result) = tokio::join!(sending, receiving);
    result
}
