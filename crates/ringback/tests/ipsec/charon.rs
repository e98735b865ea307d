//! What a proxy's charon has loaded, asked at its control socket beside the proxy.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ringback_proto::vici::{Message, Packet};

/// All that a charon knows of sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Names of connections.
    pub(crate) connections: Vec<String>,
    /// Names of shared keys.
    pub(crate) keys: Vec<String>,
    /// Names of associations, and the far end's names.
    pub(crate) associations: Vec<(String, String)>,
}

/// Asks for all of it.
pub(crate) fn known(socket: &Path) -> Result<Known> {
    let mut stream = connect(socket)?;
    let connections = ask(&mut stream, "get-conns", Message::default())?;
    let keys = ask(&mut stream, "get-shared", Message::default())?;
    let texts = |it: &Message, list| it.list(list).iter().map(|it| (*it).to_owned()).collect();
    // A handshake that nobody has named yet is not a session's.
    let associations = list(&mut stream)?.into_iter().filter(|(it, _)| it.starts_with("ringback-"));
    Ok(Known {
        connections: texts(&connections, "conns"),
        keys: texts(&keys, "keys"),
        associations: associations
            .map(|(name, it)| (name, it.text("remote-id").unwrap_or_default().to_owned()))
            .collect(),
    })
}

/// Every association with its name.
pub(crate) fn associations(socket: &Path) -> Result<Vec<(String, Message)>> {
    list(&mut connect(socket)?)
}

/// What a command without arguments answers.
pub(crate) fn ask_for(socket: &Path, name: &str) -> Result<Message> {
    command(socket, name, Message::default())
}

/// Has a command done.
pub(crate) fn command(socket: &Path, name: &str, message: Message) -> Result<Message> {
    ask(&mut connect(socket)?, name, message)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).with_context(|| format!("{}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn list(stream: &mut UnixStream) -> Result<Vec<(String, Message)>> {
    say(stream, &Packet::Register { name: "list-sa".into() })?;
    ensure!(hear(stream)? == Packet::Confirmed, "no events");
    say(stream, &Packet::Request { name: "list-sas".into(), message: Message::default() })?;
    let mut found = Vec::new();
    loop {
        let packet = hear(stream)?;
        if let Packet::Event { message, .. } = &packet {
            found.extend(message.sections().map(|(name, it)| (name.to_owned(), it.clone())));
            continue;
        }
        ensure!(matches!(packet, Packet::Response(_)), "{packet:?}");
        return Ok(found);
    }
}

fn ask(stream: &mut UnixStream, name: &str, message: Message) -> Result<Message> {
    say(stream, &Packet::Request { name: name.into(), message })?;
    let packet = hear(stream)?;
    let Packet::Response(message) = packet else { bail!("{name}: {packet:?}") };
    Ok(message)
}

fn say(stream: &mut UnixStream, packet: &Packet) -> Result<()> {
    Ok(stream.write_all(&packet.encode()?)?)
}

fn hear(stream: &mut UnixStream) -> Result<Packet> {
    let mut octets = vec![0; 4];
    stream.read_exact(&mut octets)?;
    let length = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]) as usize;
    octets.resize(4 + length, 0);
    stream.read_exact(&mut octets[4..])?;
    let (packet, _) = Packet::decode(&octets)?.context("cut short")?;
    Ok(packet)
}
