//! One client of a fleet: comes from an address of its own, asks once, and tells what became of it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// How long a client may be kept: longer than any terminal is rung.
const KEPT: Duration = Duration::from_secs(90);
/// What CONNECT is told first.
const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// What became of a client; there is nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A server's whole answer.
    Served(String),
    /// A refusal's code, and the seconds after which to come again.
    Refused(String, Option<u64>),
    /// The connection was reset, or nobody took it.
    Reset,
    /// The connection was ended, and nothing was said.
    Ended,
}

/// Connects from there, says this, and hears all that is said.
pub async fn ask(from: Ipv4Addr, door: SocketAddr, said: &str) -> Result<Told> {
    let cut = [ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused, ErrorKind::BrokenPipe];
    match timeout(KEPT, hear(from, door, said)).await.context("left waiting")? {
        Ok(heard) => read(&String::from_utf8(heard)?),
        Err(fault) if cut.contains(&fault.kind()) => Ok(Told::Reset),
        Err(fault) => Err(fault).context("neither served nor refused nor reset"),
    }
}

/// The same, octet for octet.
pub async fn hear(from: Ipv4Addr, door: SocketAddr, said: &str) -> std::io::Result<Vec<u8>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(door).await?;
    stream.write_all(said.as_bytes()).await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    Ok(heard)
}

/// A request for a terminal, with further fields.
pub fn get(host: &str, target: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(name, it)| format!("{name}: {it}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n")
}

/// The same through CONNECT, of a service by its port.
pub fn connect(host: &str, port: u16, fields: &[(&str, &str)], inside: &str) -> String {
    let fields: String = fields.iter().map(|(name, it)| format!("{name}: {it}\r\n")).collect();
    format!("CONNECT {host}:{port} HTTP/1.1\r\n{fields}\r\n{inside}")
}

fn read(heard: &str) -> Result<Told> {
    if heard.is_empty() {
        return Ok(Told::Ended);
    }
    let heard = heard.strip_prefix(ESTABLISHED).unwrap_or(heard);
    let Some((head, body)) = heard.split_once("\r\n\r\n") else {
        bail!("ended where half was said: {heard:?}");
    };
    let field = |name: &str| head.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = field("Content-Length").context("no length")?.parse()?;
    ensure!(length == body.len(), "a cut that looks like an end: {heard:?}");
    if head.starts_with("HTTP/1.1 200 ") {
        return Ok(Told::Served(body.to_owned()));
    }
    let problem: Value = serde_json::from_str(body).with_context(|| heard.to_owned())?;
    let code = problem["code"].as_str().context("no code")?.to_owned();
    let after = field("Retry-After").map(str::parse).transpose()?;
    Ok(Told::Refused(code, after))
}
