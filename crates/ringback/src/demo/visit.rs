//! One access by a plain client: a DNS query, a TCP connection, an HTTP request. Knows nothing of rings.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// How long the plain client waits in all.
const PATIENCE: Duration = Duration::from_secs(75);
/// How long it waits for DNS.
const DNS_PATIENCE: Duration = Duration::from_secs(5);
/// How long it tries without any proxy.
const DIRECT_PATIENCE: Duration = Duration::from_secs(3);
/// Octets of an answer that are read.
const ANSWER_OCTETS: u64 = 1024 * 1024;

/// What a plain client saw, in milliseconds from its first octet.
#[derive(Debug, Serialize, Deserialize)]
pub struct Visit {
    /// What the name resolved to.
    pub address: IpAddr,
    /// When DNS had answered.
    pub resolved_ms: f64,
    /// When the public proxy had accepted the connection.
    pub connected_ms: f64,
    /// When the first octet of the answer came.
    pub first_octet_ms: f64,
    /// When the last one came.
    pub done_ms: f64,
    /// HTTP's status.
    pub status: u16,
    /// Octets of the answer.
    pub octets: usize,
    /// What a refusal says.
    pub refusal: Option<String>,
}

impl Visit {
    /// Whether the server answered.
    pub fn succeeded(&self) -> bool {
        self.status == 200
    }
}

/// Looks `host` up at `dns`, connects to `port` there and asks for `path`.
pub async fn visit(dns: SocketAddr, host: &str, port: u16, path: &str) -> anyhow::Result<Visit> {
    timeout(PATIENCE, attempt(dns, host, port, path))
        .await
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}

/// Tries to connect without any proxy, and says in a few words what came of it.
pub async fn direct(to: SocketAddr) -> String {
    match timeout(DIRECT_PATIENCE, TcpStream::connect(to)).await {
        Ok(Ok(_)) => "connected".into(),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("no answer in {} s", DIRECT_PATIENCE.as_secs()),
    }
}

async fn attempt(dns: SocketAddr, host: &str, port: u16, path: &str) -> anyhow::Result<Visit> {
    let start = Instant::now();
    let milliseconds = || start.elapsed().as_secs_f64() * 1000.0;

    let address = timeout(DNS_PATIENCE, resolve(dns, host)).await.context("DNS is silent")??;
    let resolved_ms = milliseconds();

    let mut stream = TcpStream::connect((address, port)).await.context("cannot connect")?;
    let connected_ms = milliseconds();

    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![stream.read_u8().await.context("closed without an answer")?];
    let first_octet_ms = milliseconds();
    stream.take(ANSWER_OCTETS).read_to_end(&mut answer).await.context("the answer was cut")?;
    let done_ms = milliseconds();

    let status = status_of(&answer).context("the answer is not HTTP")?;
    let octets = answer.len();
    let refusal = (status != 200).then(|| body_of(&answer)).flatten();
    Ok(Visit {
        address,
        resolved_ms,
        connected_ms,
        first_octet_ms,
        done_ms,
        status,
        octets,
        refusal,
    })
}

async fn resolve(dns: SocketAddr, host: &str) -> anyhow::Result<IpAddr> {
    let any: SocketAddr = if dns.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(dns).await?;
    let mut query = Message::new(0x5242, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_str(&format!("{host}."))?, RecordType::A));
    socket.send(&query.to_vec()?).await?;
    let mut octets = [0; 4096];
    let length = socket.recv(&mut octets).await?;
    let answer = Message::from_vec(&octets[..length])?;
    ensure!(answer.metadata.id == query.metadata.id, "DNS answered another question");
    for record in &answer.answers {
        if let RData::A(address) = &record.data {
            return Ok(IpAddr::V4(address.0));
        }
    }
    bail!("{host} has no address: {}", answer.metadata.response_code)
}

fn body_of(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|octet| *octet == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}
