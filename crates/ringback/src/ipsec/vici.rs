//! A connection to charon's control socket: asks one thing after another, or hears events.
//!
//! Knows packets and nothing of what they are about. Every wait is bounded by whoever asks.

use std::io;
use std::path::Path;

use ringback_proto::vici::{Message, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::Fault;
use crate::limits::{VICI_AGAIN, VICI_PATIENCE, VICI_READ_OCTETS};

/// One connection.
#[derive(Debug)]
pub(super) struct Vici {
    stream: UnixStream,
    heard: Zeroizing<Vec<u8>>,
}

impl Vici {
    /// Connects to a daemon's socket. Its kernel keeps few connections for it until it takes them: while
    /// there are as many, one more is tried again.
    pub(super) async fn connect(socket: &Path) -> Result<Self, Fault> {
        let connected = async {
            loop {
                match UnixStream::connect(socket).await {
                    Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                        sleep(VICI_AGAIN).await
                    }
                    connected => return connected,
                }
            }
        };
        let connected = timeout(VICI_PATIENCE, connected).await;
        let stream = connected.map_err(|_| Fault::Deaf)?.map_err(Fault::Socket)?;
        Ok(Self { stream, heard: Zeroizing::default() })
    }

    /// Has a command done, within the patience of all commands that need no network.
    pub(super) async fn command(&mut self, name: &str, message: Message) -> Result<Message, Fault> {
        let done = timeout(VICI_PATIENCE, self.ask(name, message));
        done.await.map_err(|_| Fault::Deaf)?
    }

    /// Has a command done, however long that takes. One that the daemon could not do is a fault.
    pub(super) async fn ask(&mut self, name: &str, message: Message) -> Result<Message, Fault> {
        self.say(&Packet::Request { name: name.to_owned(), message }).await?;
        let packet = self.hear().await?;
        let Packet::Response(message) = packet else { return Err(unexpected(name, &packet)) };
        if message.text("success") == Some("no") {
            let said = message.text("errmsg").unwrap_or("no reason is told");
            return Err(Fault::Undone { what: name.to_owned(), said: said.to_owned() });
        }
        Ok(message)
    }

    /// Has a command done whose answer comes as events, one an item.
    pub(super) async fn list(
        &mut self,
        name: &str,
        event: &str,
        message: Message,
    ) -> Result<Vec<Message>, Fault> {
        let listed = async {
            self.register(event).await?;
            self.say(&Packet::Request { name: name.to_owned(), message }).await?;
            let mut items = Vec::new();
            loop {
                let packet = self.hear().await?;
                if let Packet::Event { message, .. } = packet {
                    items.push(message);
                    continue;
                }
                let Packet::Response(_) = packet else { return Err(unexpected(name, &packet)) };
                return Ok(items);
            }
        };
        timeout(VICI_PATIENCE, listed).await.map_err(|_| Fault::Deaf)?
    }

    /// Wants to be told of an event from now on.
    pub(super) async fn register(&mut self, event: &str) -> Result<(), Fault> {
        self.say(&Packet::Register { name: event.to_owned() }).await?;
        let packet = self.hear().await?;
        if packet == Packet::Confirmed { Ok(()) } else { Err(unexpected(event, &packet)) }
    }

    /// The next event; nothing is lost if the future is dropped before it is done.
    pub(super) async fn event(&mut self) -> Result<(String, Message), Fault> {
        let packet = self.hear().await?;
        let Packet::Event { name, message } = packet else {
            return Err(unexpected("events", &packet));
        };
        Ok((name, message))
    }

    async fn say(&mut self, packet: &Packet) -> Result<(), Fault> {
        let octets = packet.encode().map_err(Fault::Garbled)?;
        self.stream.write_all(&octets).await.map_err(Fault::Socket)
    }

    async fn hear(&mut self) -> Result<Packet, Fault> {
        loop {
            if let Some((packet, octets)) = Packet::decode(&self.heard).map_err(Fault::Garbled)? {
                self.heard.drain(..octets);
                return Ok(packet);
            }
            self.heard.reserve(VICI_READ_OCTETS);
            if self.stream.read_buf(&mut *self.heard).await.map_err(Fault::Socket)? == 0 {
                return Err(Fault::Socket(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn unexpected(what: &str, packet: &Packet) -> Fault {
    let said = match packet {
        Packet::UnknownCommand | Packet::UnknownEvent => "this strongSwan does not know it",
        Packet::Request { .. }
        | Packet::Response(_)
        | Packet::Register { .. }
        | Packet::Unregister { .. }
        | Packet::Confirmed
        | Packet::Event { .. } => "it answers something else",
    };
    Fault::Undone { what: what.to_owned(), said: said.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as Listener;

    use socket2::{Domain, SockAddr, Socket, Type};
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_when_the_daemon_is_busy_waits_for_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("charon.vici");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let mut busy = Vec::new();
        while let Ok(stream) = connect_now(&path) {
            busy.push(stream);
        }
        let mut waiting = JoinSet::new();
        waiting.spawn({
            let path = path.clone();
            async move { Vici::connect(&path).await.map(drop) }
        });
        tokio::task::yield_now().await;
        // Takes no more than are there: a test that has failed would wait forever.
        let daemon = Listener::from(std::os::fd::OwnedFd::from(socket));
        let taken: Vec<_> = busy.iter().map(|_| daemon.accept().unwrap()).collect();
        waiting.join_next().await.unwrap().unwrap().expect("there is room for it");
        drop(taken);
    }

    /// Without waiting.
    fn connect_now(path: &Path) -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(socket)
    }
}
