//! Attackers at the public proxy's UDP port: strangers with a key of their own, forged addresses, garbage,
//! and hellos that are false or said twice. Nobody of them gets in, holds more than its place, or keeps
//! an honest client from being served.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use ringback::keys::TerminalKeys;
use ringback::limits::{QUIC_BELIEVED, QUIC_STRANGE_STREAMS, STRANGERS_PER_NETWORK};
use ringback::tunnel::quic::Dialer;
use ringback::tunnel::{Framed, Identity, Talk};
use ringback_proto::access_request::{SessionKeys, Sid, find, open};
use ringback_proto::hello::{
    ANSWER_OCTETS, Answer, HELLO_OCTETS, Hello, Outcome, ToPrivate, confirm_private,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::PATIENCE;
use crate::chance::Chance;
use crate::house::{Carried, House};
use crate::stories::house;

/// What the public proxy says of each.
const SAID_HELLO: &str = "a dial-back has said hello";
const LOST: &str = "no tunnel: its place was needed";
const CLOSED: &str = "no tunnel: nobody who may come in";
/// Datagrams of garbage.
const GARBAGE: u64 = 20_000;
/// Reproduces them.
const SEED: u64 = 0x5eed_0005;
/// Strangers beyond what one network has places for.
const TOO_MANY: usize = 32;

/// One who dials, with a connection of its own.
struct Dialing {
    dialer: Dialer,
    to: SocketAddr,
    public: Identity,
}

impl Dialing {
    /// With a key that nobody knows.
    fn stranger(house: &House) -> Result<Self> {
        Self::with(house, Identity::from_pem(&Identity::generate()?)?)
    }

    /// With the private proxy's own.
    fn private(house: &House) -> Result<Self> {
        Self::with(house, identity(house, "private.key")?)
    }

    fn with(house: &House, own: Identity) -> Result<Self> {
        let dialer = Dialer::new(own, TaskTracker::new());
        Ok(Self { dialer, to: house.dial_back, public: identity(house, "public.key")? })
    }

    /// Another stream of the same connection, as long as there is one.
    async fn talk(&self) -> Result<Talk> {
        let dialed = self.dialer.dial(self.to, self.public.public_key(), None);
        let tunnel = timeout(PATIENCE, dialed).await.context("nothing came back")??;
        Ok(Talk::new(tunnel.context("no room")?))
    }
}

fn identity(house: &House, file: &str) -> Result<Identity> {
    Ok(Identity::from_pem(&std::fs::read_to_string(house.path(file))?)?)
}

/// Says it, and hears the answer.
async fn ask(talk: &mut Talk, hello: &[u8; HELLO_OCTETS]) -> Result<Answer> {
    talk.say(hello).await?;
    let answer: [u8; ANSWER_OCTETS] = timeout(PATIENCE, talk.exactly()).await??;
    Ok(Answer::decode(&answer)?)
}

fn false_hello() -> [u8; HELLO_OCTETS] {
    Hello { sid: Sid([7; 16]), mac: [0; 32], outcome: Outcome::Connected, bare: false }.encode()
}

fn hello(talk: &Talk, keys: &SessionKeys) -> [u8; HELLO_OCTETS] {
    let mac = confirm_private(keys, &talk.tunnel().exporter(&keys.sid));
    Hello { sid: keys.sid, mac, outcome: Outcome::Connected, bare: false }.encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_a_false_hello_has_its_place_and_no_more_and_loses_its_connection_with_it()
-> Result<()> {
    let house = house(&[], &[]).await?;
    let mut strangers = JoinSet::new();
    for _ in 0..STRANGERS_PER_NETWORK + TOO_MANY {
        let dialing = Dialing::stranger(&house)?;
        strangers.spawn(async move {
            let mut talk = dialing.talk().await?;
            let answer = ask(&mut talk, &false_hello()).await?;
            ensure!(answer == Answer::Gone, "{answer:?}");
            // What it holds, it holds by this.
            anyhow::Ok((dialing, talk))
        });
        if strangers.len() % 16 == 0 {
            // Not more handshakes at once than two cores can do in time.
            house.says("public", SAID_HELLO, strangers.len() - 16).await?;
        }
    }
    let held = strangers.join_all().await;
    // A few have lost their place already when they wanted their answer.
    let held = held.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
    assert!(STRANGERS_PER_NETWORK <= held.len(), "{}", held.len());
    house.says("public", LOST, TOO_MANY).await?;
    house.says("public", CLOSED, TOO_MANY).await?;
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_says_so_many_false_hellos_and_is_closed() -> Result<()> {
    let house = house(&[], &[]).await?;
    let dialing = Dialing::stranger(&house)?;
    // Half a hello keeps the connection, if anything does.
    let mut half = dialing.talk().await?;
    half.say(&false_hello()[..8]).await?;
    for _ in 1..QUIC_STRANGE_STREAMS {
        let mut talk = dialing.talk().await?;
        ensure!(talk.tunnel().found().is_some(), "another connection");
        assert_eq!(ask(&mut talk, &false_hello()).await?, Answer::Gone);
    }
    let mut unheard = dialing.talk().await?;
    let heard = ask(&mut unheard, &false_hello()).await;
    assert!(heard.is_err(), "{heard:?}");
    house.says("public", CLOSED, 1).await?;
    assert_eq!(house.count("public", SAID_HELLO)?, QUIC_STRANGE_STREAMS - 1);
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_an_address_that_nobody_has_proved_is_asked_back_and_takes_no_place()
-> Result<()> {
    let house = house(&[], &[]).await?;
    let mut slow = Vec::new();
    for _ in 0..QUIC_BELIEVED {
        let mut talk = Dialing::stranger(&house)?.talk().await?;
        talk.say(&false_hello()[..8]).await?;
        slow.push(talk);
    }
    let mut asked = JoinSet::new();
    for datagram in first_datagrams(STRANGERS_PER_NETWORK + TOO_MANY).await? {
        let to = house.dial_back;
        asked.spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.send_to(&datagram, to).await?;
            let mut answer = [0; 2048];
            let (octets, _) = timeout(PATIENCE, socket.recv_from(&mut answer)).await??;
            // A long header, and of the types the third (RFC 9000, 17.2.5); shorter than what was sent.
            ensure!(answer[0] & 0xf0 == 0xf0 && octets < datagram.len(), "{:x}", answer[0]);
            anyhow::Ok(())
        });
    }
    for retry in asked.join_all().await {
        retry?;
    }
    assert_eq!(house.count("public", LOST)?, 0);
    // Whoever was slow is heard to its end.
    for mut talk in slow {
        talk.say(&false_hello()[8..]).await?;
        let answer: [u8; ANSWER_OCTETS] = timeout(PATIENCE, talk.exactly()).await??;
        assert_eq!(Answer::decode(&answer)?, Answer::Gone);
    }
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

/// The first datagrams of so many connections, no two of which have one name.
async fn first_datagrams(count: usize) -> Result<Vec<Vec<u8>>> {
    let sink = UdpSocket::bind("127.0.0.1:0").await?;
    let to = sink.local_addr()?;
    let (own, public) = (Identity::generate()?, Identity::generate()?);
    let public = Identity::from_pem(&public)?;
    let (mut names, mut datagrams) = (BTreeSet::new(), Vec::new());
    while datagrams.len() < count {
        let dialer = Dialer::new(Identity::from_pem(&own)?, TaskTracker::new());
        let mut datagram = [0; 2048];
        let octets = tokio::select! {
            _ = dialer.dial(to, public.public_key(), None) => continue,
            received = sink.recv(&mut datagram) => received?,
        };
        // RFC 9000, 17.2: the destination's name follows its length.
        let name = datagram[6..][..usize::from(datagram[5])].to_vec();
        if datagram[0] & 0xf0 == 0xc0 && names.insert(name) {
            datagrams.push(datagram[..octets].to_vec());
        }
    }
    Ok(datagrams)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_nothing() -> Result<()> {
    let house = house(&[], &[]).await?;
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let mut chance = Chance(SEED);
    let whole = first_datagrams(4).await?;
    for number in 0..GARBAGE {
        let mut datagram = whole[number as usize % whole.len()].clone();
        match chance.below(4) {
            // Nothing of it is QUIC.
            0 => datagram.iter_mut().for_each(|it| *it = chance.below(256) as u8),
            // Cut short.
            1 => datagram.truncate(chance.below(datagram.len() as u64) as usize),
            // Of another version, of other names, or with another token.
            2 => datagram[chance.below(32) as usize] ^= 1 << chance.below(8),
            // Not what its sender has sealed.
            _ => {
                let at = chance.below(datagram.len() as u64) as usize;
                datagram[at] ^= 1 << chance.below(8);
            }
        }
        socket.send_to(&datagram, house.dial_back).await?;
    }
    // Whatever is still to be looked at comes before this.
    let answer = ask(&mut Dialing::stranger(&house)?.talk().await?, &false_hello()).await?;
    assert_eq!(answer, Answer::Gone);
    assert_eq!(house.count("public", SAID_HELLO)?, 1);
    house.assert_serves().await?;
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_counts_once_and_on_its_own_connection_only() -> Result<()> {
    let mut house = House::empty().await?;
    let api = TcpListener::bind("127.0.0.1:0").await?;
    house.carried = Carried {
        public: format!(
            "[[bearer]]\nname = \"sms\"\nkind = \"http\"\napi = \"kannel\"\n\
             url = \"http://{}/send\"\nuser = \"rb\"\npassword_file = \"smpp.password\"\n\
             from = \"5550100\"\n",
            api.local_addr()?
        ),
        private: String::new(),
        routes: "[[terminal.route]]\nbearer = \"sms\"\n".to_owned(),
        operator: false,
    };
    let raw = house.raw;
    house.write_files(&format!("id = 1\nport = 80\nraw = \"{raw}\"\ntunnel = \"quic\"\n"))?;
    house.begin("public").await?;
    let mut client = TcpStream::connect(raw).await?;
    let keys = overheard(&house, &api).await?;

    // The private proxy's own key, and a hello that was said on another of its connections.
    let (one, other) = (Dialing::private(&house)?, Dialing::private(&house)?);
    let (mut first, mut elsewhere) = (one.talk().await?, other.talk().await?);
    let said = hello(&first, &keys);
    assert_eq!(ask(&mut elsewhere, &said).await?, Answer::Gone, "another connection's");
    // A thief of the terminal's keys has no key of the private proxy's.
    let mut thief = Dialing::stranger(&house)?.talk().await?;
    let thiefs = hello(&thief, &keys);
    assert_eq!(ask(&mut thief, &thiefs).await?, Answer::Gone);
    // Neither has used it up.
    assert!(matches!(ask(&mut first, &said).await?, Answer::Accepted { .. }));
    let mut second = one.talk().await?;
    assert!(second.tunnel().found().is_some(), "the same connection");
    assert_eq!(ask(&mut second, &said).await?, Answer::Gone, "said twice");

    // And the first one's session goes on.
    let bound = timeout(PATIENCE, first.frame(ToPrivate::decode)).await??;
    let bound_to_us = matches!(bound, ToPrivate::Bound { .. });
    assert!(bound_to_us, "{bound:?}");
    let mut session = Framed::new(first, false)?;
    client.write_all(b"octets").await?;
    let mut heard = [0; 6];
    timeout(PATIENCE, session.read_exact(&mut heard)).await??;
    assert_eq!(&heard, b"octets");
    house.assert_quiet_logs()
}

/// The keys of the session that somebody is rung for, by whoever has the terminal's.
async fn overheard(house: &House, api: &TcpListener) -> Result<SessionKeys> {
    let request = loop {
        let (mut stream, _) = timeout(PATIENCE, api.accept()).await??;
        let mut request = vec![0; 4096];
        let octets = timeout(PATIENCE, stream.read(&mut request)).await??;
        stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await?;
        // Some only look whether anybody is there.
        if 0 < octets {
            break String::from_utf8_lossy(&request[..octets]).into_owned();
        }
    };
    let (_, text) = request.split_once("text=").context(request.clone())?;
    let text = text.split([' ', '&']).next().unwrap_or_default();
    let mut said = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let mut digit = || octets.next().map(char::from).and_then(|it| it.to_digit(16));
        said.push(match octet {
            b'%' => (digit().context("%")? * 16 + digit().context("%")?) as u8,
            b'+' => b' ',
            other => other,
        });
    }
    let signal = find(&said).with_context(|| said.escape_ascii().to_string())?;
    let key = TerminalKeys::read(&house.path("patient.private.keys"))?.opening()?;
    Ok(open(signal.octets(), &key)?.1)
}
