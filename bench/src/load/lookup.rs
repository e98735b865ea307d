//! A name's address, asked of the responder over UDP: one query, one answer.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use tokio::net::UdpSocket;

/// An A record, and the class of the Internet.
const A_IN: [u8; 4] = [0, 1, 0, 1];

/// Asks from this address.
pub(super) async fn look_up(from: Ipv4Addr, dns: SocketAddr, name: &str) -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(dns).await?;
    let query = query(name);
    socket.send(&query).await?;
    let mut answer = [0; 1_232];
    let read = socket.recv(&mut answer).await?;
    address(&query, &answer[..read])
}

fn query(name: &str) -> Vec<u8> {
    // Recursion desired; one question.
    let mut octets = vec![0x52, 0x42, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        octets.push(u8::try_from(label.len()).unwrap_or_default());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets.extend(A_IN);
    octets
}

/// The address in the first record behind the question, which is repeated.
fn address(query: &[u8], answer: &[u8]) -> Result<Ipv4Addr> {
    let header = answer.get(..12).context("no whole header")?;
    ensure!(header[..2] == query[..2], "an answer to another question");
    ensure!(header[3] & 0x0f == 0, "refused with code {}", header[3] & 0x0f);
    ensure!(1 <= header[7] && answer.get(12..query.len()) == query.get(12..), "no answer");
    // Its name is a pointer to the question's; then type, class, time to live, length.
    let record = answer.get(query.len()..).unwrap_or_default();
    ensure!(record.get(2..6) == Some(&A_IN), "no address");
    let octets: [u8; 4] = record.get(12..16).context("cut off")?.try_into()?;
    Ok(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_behind_the_question() {
        let query = query("t1.bench.localhost");
        let mut answer = query.clone();
        (answer[2], answer[3], answer[7]) = (0x85, 0, 1);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 1]);
        assert_eq!(address(&query, &answer).ok(), Some(Ipv4Addr::LOCALHOST));
        answer[3] = 3;
        assert!(address(&query, &answer).is_err());
    }
}
