//! Bare sessions: the hand-over between TLS and what goes past it, and what somebody on the path can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringback::splice::{How, Leg};
use ringback_proto::frame;
use ringback_proto::hello::{ToPrivate, ToPublic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::loopback::{Chain, Proxies, framed, pair};

const LONG: Duration = Duration::from_secs(60);
const SEED: u64 = 0x62_61_72_65;
const TUNNELS: u64 = 12;
const SESSIONS: u64 = 12;

#[tokio::test]
async fn the_hand_over_is_exact_however_the_octets_are_cut() {
    let proxies = Proxies::new();
    for number in 0..TUNNELS {
        let mut chance = Chance(SEED + number);
        // Some paths hand on an octet at a time, some almost whole records.
        let most = [1, 3, 7, 40, 1_500, 20_000][(number % 6) as usize];
        let long = if most < 8 { 400 } else { 60_000 };
        let (ends, path) = chopped(most, SEED ^ number).await;
        let mut tunnel = proxies.tunnel_between(ends).await;
        for turn in 0..SESSIONS {
            let bare = chance.below(3) != 0;
            let what = format!("seed {SEED:#x}, tunnel {number}, session {turn}, bare {bare}");
            let [up, down] = [0, 1].map(|way| {
                let octets = chance.below(long);
                (0..octets).map(|it| ((it * 31 + way) >> 3) as u8).collect::<Vec<u8>>()
            });
            let chain = Chain::over(tunnel, bare, LONG).await;
            tunnel = exchange(chain, (&up, &down), &mut chance, &what).await;
        }
        drop((tunnel, path));
    }
}

#[tokio::test]
async fn whatever_was_read_of_a_bare_session_the_kernel_can_go_on() {
    const PIECE: usize = 300_000;
    let (private, public) = Proxies::new().tunnel().await;
    let (mut private, mut public) = (framed(private, true), framed(public, true));
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        for _ in 0..8 {
            private.write_all(&[7; PIECE]).await.unwrap();
        }
        private.shutdown().await.unwrap();
        private
    });
    let mut room = vec![0; 256 * 1024];
    let mut heard = 0;
    while heard < 8 * PIECE {
        heard += public.read(&mut room).await.unwrap();
        assert!(public.pours(), "after {heard} octets something was read ahead");
    }
    drop(writing.join_next().await.unwrap().unwrap());
}

/// One session, both ways at once; then the tunnel is talked in, at once.
async fn exchange(
    mut chain: Chain,
    (up, down): (&[u8], &[u8]),
    chance: &mut Chance,
    what: &str,
) -> (ringback::tunnel::Tunnel, ringback::tunnel::Tunnel) {
    let client_first = chance.below(2) == 0;
    let (mut from_client, mut to_client) = chain.client.split();
    let (mut from_terminal, mut to_terminal) = chain.terminal.split();
    let mut heard = [Vec::new(), Vec::new()];
    let [above, below] = &mut heard;
    let ups = async {
        if !client_first {
            tokio::task::yield_now().await;
        }
        to_client.write_all(up).await.unwrap();
        to_client.shutdown().await.unwrap();
    };
    let downs = async {
        to_terminal.write_all(down).await.unwrap();
        to_terminal.shutdown().await.unwrap();
    };
    let ((), (), one, other) =
        tokio::join!(ups, downs, from_terminal.read_to_end(above), from_client.read_to_end(below));
    assert!(one.is_ok() && other.is_ok(), "{what}: cut");
    assert!(heard[0] == up && heard[1] == down, "{what}: other octets");
    assert!(chain.ended().await.iter().all(|it| it.how == How::Clean), "{what}");
    let (mut private, mut public) = chain.tunnel().await;
    public.say(&ToPrivate::Ping.encode().unwrap()).await.unwrap();
    assert_eq!(private.frame(ToPrivate::decode).await.unwrap(), ToPrivate::Ping, "{what}");
    private.say(&ToPublic::Pong.encode()).await.unwrap();
    assert_eq!(public.frame(ToPublic::decode).await.unwrap(), ToPublic::Pong, "{what}");
    (private.into_parts().0, public.into_parts().0)
}

/// What somebody on the path does to the frames towards the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    None,
    /// Another octet.
    Alter,
    /// One octet less, and a head that says so.
    Shorten,
    /// One octet more.
    Lengthen,
    /// A whole frame less.
    Skip,
    /// A whole frame twice.
    Repeat,
    /// An end that nobody has made; what is said of the true one comes then.
    EndEarly,
    /// The same, and the connection with it.
    EndEarlyAndCut,
    /// The true end, and something else in place of what is said of it.
    Forge,
}

#[tokio::test]
async fn who_is_on_the_path_of_a_bare_session_can_alter_it_and_cut_it_but_not_end_it() {
    use Mischief::{Alter, EndEarly, EndEarlyAndCut, Forge, Lengthen, None, Repeat, Shorten, Skip};
    let proxies = Proxies::new();
    let said = [vec![7; 1_000], vec![8; 1_000]];
    for mischief in [None, Alter, Shorten, Lengthen, Skip, Repeat, EndEarly, EndEarlyAndCut, Forge]
    {
        let begun = Arc::new(AtomicBool::new(false));
        let ((dialed, far), (near, accepted)) = (pair().await, pair().await);
        let ((from_private, to_private), (from_public, to_public)) =
            (far.into_split(), near.into_split());
        let mut path = JoinSet::new();
        path.spawn(chop(from_private, to_public, usize::MAX, Chance(1)));
        path.spawn(attack(from_public, to_private, mischief, begun.clone()));
        let tunnel = proxies.tunnel_between((dialed, accepted)).await;
        begun.store(true, Ordering::Relaxed);
        let mut chain = Chain::over(tunnel, true, LONG).await;
        // Two frames, since the second is sent when the first was heard.
        let mut heard = Vec::new();
        chain.client.write_all(&said[0]).await.unwrap();
        heard.push(chain.terminal.read_u8().await.unwrap());
        chain.client.write_all(&said[1]).await.unwrap();
        chain.client.shutdown().await.unwrap();
        let ended = chain.terminal.read_to_end(&mut heard).await;
        match mischief {
            None => assert!(ended.is_ok() && heard == said.concat()),
            // Not noticed here: that is what the session's own protocol is for.
            Alter => assert!(ended.is_ok() && heard != said.concat() && heard.len() == 2_000),
            Shorten | Lengthen | Skip | Repeat | EndEarly | EndEarlyAndCut | Forge => {
                let cut = ended.expect_err("an end that nobody has made");
                assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset, "{mischief:?}");
            }
        }
    }
}

/// Hands on what TLS says, then plays with the frames.
async fn attack(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mischief: Mischief,
    begun: Arc<AtomicBool>,
) -> Option<()> {
    use Mischief::{Alter, EndEarly, EndEarlyAndCut, Forge, Lengthen, None, Repeat, Shorten, Skip};
    // A record's kind is never the first octet of a frame's head.
    let mut head = [0; 4];
    loop {
        from.read_exact(&mut head).await.ok()?;
        if begun.load(Ordering::Relaxed) && head[0] == 0 {
            break;
        }
        let mut rest = vec![0; 1 + usize::from(head[3]) * 256];
        from.read_exact(&mut rest[..1]).await.ok()?;
        rest.resize(1 + usize::from(u16::from_be_bytes([head[3], rest[0]])), 0);
        from.read_exact(&mut rest[1..]).await.ok()?;
        to.write_all(&[&head[..], &rest].concat()).await.ok()?;
    }
    let (mut frames, mut octets) = (0, 0);
    loop {
        frames += 1;
        let mut frame = vec![0; frame::follow(head).ok()?];
        from.read_exact(&mut frame).await.ok()?;
        if frame.is_empty() {
            break;
        }
        octets += frame.len();
        // The second thousand, however it is cut.
        let second = 1_000 < octets;
        let last = frame.len() - 1;
        let passed = match mischief {
            Alter if second => {
                frame[last] ^= 1;
                vec![frame]
            }
            Shorten if second => vec![frame[..last].to_vec()],
            Lengthen if second => vec![[&frame[..], b"x"].concat()],
            Skip if second => vec![],
            Repeat if second => vec![frame.clone(), frame],
            EndEarly | EndEarlyAndCut if second => vec![],
            None | Alter | Shorten | Lengthen | Skip | Repeat | EndEarly | EndEarlyAndCut
            | Forge => vec![frame],
        };
        for frame in passed.iter().filter(|it| !it.is_empty()) {
            to.write_all(&[&frame::head(frame.len())[..], frame].concat()).await.ok()?;
        }
        from.read_exact(&mut head).await.ok()?;
    }
    assert!(1 < frames);
    to.write_all(&frame::END).await.ok()?;
    if mischief == EndEarlyAndCut {
        return to.shutdown().await.ok();
    }
    let mut rest = [0; 4_096];
    loop {
        let octets = from.read(&mut rest).await.ok()?;
        if mischief == Forge && 10 < octets {
            rest[octets - 1] ^= 1;
        }
        to.write_all(&rest[..octets]).await.ok()?;
        if octets == 0 {
            return to.shutdown().await.ok();
        }
    }
}

#[tokio::test]
async fn what_the_kernel_moves_is_what_was_sent() {
    const ALL: usize = 24 * 1024 * 1024;
    let proxies = Proxies::new();
    let mut tunnel = proxies.tunnel().await;
    // The second time the pipes are there already.
    for _ in 0..2 {
        let mut chain = Chain::over(tunnel, true, LONG).await;
        let (mut from_client, mut to_client) = chain.client.split();
        let (mut from_terminal, mut to_terminal) = chain.terminal.split();
        let all: Vec<u8> = (0..ALL).map(|it| (it ^ (it >> 9) ^ (it >> 17)) as u8).collect();
        let mut heard = [Vec::with_capacity(ALL), Vec::with_capacity(ALL)];
        let [above, below] = &mut heard;
        let up = async {
            to_client.write_all(&all).await.unwrap();
            to_client.shutdown().await.unwrap();
        };
        let down = async {
            to_terminal.write_all(&all).await.unwrap();
            to_terminal.shutdown().await.unwrap();
        };
        let ((), (), one, other) = tokio::join!(
            up,
            down,
            from_terminal.read_to_end(above),
            from_client.read_to_end(below)
        );
        assert_eq!((one.unwrap(), other.unwrap()), (ALL, ALL));
        assert!(heard[0] == all && heard[1] == all);
        assert!(chain.ended().await.iter().all(|it| it.how == How::Clean));
        assert!(0 < pipes(), "nothing went through a pipe");
        let (private, public) = chain.tunnel().await;
        tunnel = (private.into_parts().0, public.into_parts().0);
    }
}

/// Large pipes of this process; tests have none for anything else.
fn pipes() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let pipe = |it: &std::path::PathBuf| it.to_string_lossy().starts_with("pipe:");
    let large = |file: std::fs::DirEntry| {
        let target = std::fs::read_link(file.path()).ok()?;
        let opened = pipe(&target).then(|| std::fs::File::open(file.path()).ok())??;
        let size = rustix::pipe::fcntl_getpipe_size(&opened).ok()?;
        (256 * 1024 <= size).then_some(())
    };
    files.filter_map(|it| large(it.ok()?)).count()
}

/// A connection whose path hands on at most so many octets at once.
async fn chopped(most: usize, seed: u64) -> ((TcpStream, TcpStream), JoinSet<Option<()>>) {
    let ((dialed, far), (near, accepted)) = (pair().await, pair().await);
    for stream in [&far, &near] {
        stream.set_nodelay(true).unwrap();
    }
    let ((from_private, to_private), (from_public, to_public)) =
        (far.into_split(), near.into_split());
    let mut path = JoinSet::new();
    path.spawn(chop(from_private, to_public, most, Chance(seed)));
    path.spawn(chop(from_public, to_private, most, Chance(!seed)));
    ((dialed, accepted), path)
}

async fn chop(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    most: usize,
    mut chance: Chance,
) -> Option<()> {
    let mut buffer = vec![0; most.min(64 * 1024)];
    loop {
        let room = 1 + chance.below(buffer.len() as u64) as usize;
        let octets = from.read(&mut buffer[..room]).await.ok()?;
        if octets == 0 {
            return to.shutdown().await.ok();
        }
        to.write_all(&buffer[..octets]).await.ok()?;
        tokio::task::yield_now().await;
    }
}
