//! The lab's own probe: two ends of a TCP connection, for tests of the network itself.
//!
//! It knows nothing of Ringback. `listen` tells each caller the address it is seen from and echoes
//! its lines; `talk` sends its input and prints what comes; `hold` keeps a lab up until killed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ringback_lab::{Lab, Plan};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy, stdin, stdout};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a caller waits for an acknowledgement before it calls the other end silent.
const CONNECT: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run());
    // A read of our input that is still under way would keep the runtime from ending.
    runtime.shutdown_background();
    ended
}

async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["listen", address] => listen(address.parse()?).await,
        ["talk", address] => talk(address.parse()?, 0).await,
        ["talk", address, from] => talk(address.parse()?, from.parse()?).await,
        ["hold"] => hold().await,
        _ => bail!("usage: probe listen ADDRESS:PORT | talk ADDRESS:PORT [FROM-PORT] | hold"),
    }
}

async fn listen(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    say(&format!("listening on {}\n", listener.local_addr()?)).await?;

    let mut callers = JoinSet::new();
    loop {
        let (stream, caller) = listener.accept().await?;
        callers.spawn(echo(stream, caller));
    }
}

async fn echo(mut stream: TcpStream, caller: SocketAddr) -> Result<()> {
    stream.write_all(format!("{caller}\n").as_bytes()).await?;
    let (mut from, mut to) = stream.split();
    copy(&mut from, &mut to).await?;
    Ok(())
}

async fn talk(address: SocketAddr, from: u16) -> Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if from != 0 {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([0, 0, 0, 0], from)))?;
    }

    let connected = timeout(CONNECT, socket.connect(address)).await;
    let mut stream = connected.context("silence")?.context("no connection")?;
    let (from_there, mut there) = stream.split();
    let upward = async {
        copy(&mut stdin(), &mut there).await?;
        there.shutdown().await
    };
    let downward = async {
        let mut lines = BufReader::new(from_there).lines();
        while let Some(line) = lines.next_line().await? {
            say(&format!("{line}\n")).await?;
        }
        Ok(())
    };
    tokio::try_join!(upward, downward).context("connection lost")?;
    Ok(())
}

async fn hold() -> Result<()> {
    let lab = Lab::up(Plan::Cgnat).await?;
    let hosts = [&lab.inet, &lab.client, &lab.public, &lab.dns, &lab.smsc, &lab.private];
    for host in hosts.into_iter().chain([&lab.gateway.host, &lab.terminal.host]) {
        let link = host.run(&["readlink", "/proc/self/ns/net"]).await?;
        say(&link).await?;
    }

    // A process of the lab that would never end by itself.
    let mut sleeper = lab.terminal.host.command("sleep").arg("infinity").spawn()?;
    say("up\n").await?;
    sleeper.wait().await?;
    Ok(())
}

async fn say(line: &str) -> std::io::Result<()> {
    let mut out = stdout();
    out.write_all(line.as_bytes()).await?;
    out.flush().await
}
