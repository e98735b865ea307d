//! Looks at what a client has sent without taking it: the kernel keeps it, for as long as it takes.
//!
//! Understands nothing of it. Looks once for each time something arrives, and never in a loop.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::Cause;
use crate::limits;

/// Waits until `parse` finds something whole in what lies there. `None` asks for more octets.
pub(super) async fn until<T>(
    stream: &TcpStream,
    mut parse: impl FnMut(&[u8]) -> Result<Option<T>, Cause>,
) -> Result<T, Cause> {
    loop {
        let ready = stream.ready(Interest::READABLE).await.map_err(|_| Cause::Left)?;
        // "Not enough" is said as "would block" inside `try_io`, so that tokio waits for the next
        // arrival: it forgets the readiness that it knew before the look, never a later one.
        let looked = stream.try_io(Interest::READABLE, || {
            let octets = look(stream)?;
            match parse(&octets) {
                Ok(Some(whole)) => Ok(Ok(whole)),
                Err(cause) => Ok(Err(cause)),
                Ok(None) if octets.len() == limits::HEAD_OCTETS => Ok(Err(Cause::Long)),
                // The end was known before the look, so the look has seen all there will ever be.
                Ok(None) if octets.is_empty() || ready.is_read_closed() => {
                    Ok(Err(Cause::Incomplete))
                }
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            Ok(found) => return found,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Cause::Left),
        }
    }
}

/// What lies there now, at most [`limits::HEAD_OCTETS`]; nothing is waited for. Wiped when
/// dropped: there may be a password in it.
pub(super) fn look(stream: &TcpStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(limits::HEAD_OCTETS));
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    recv(stream, rustix::buffer::spare_capacity(&mut octets), flags)?;
    Ok(octets)
}

/// Takes exactly the octets that were found.
pub(super) async fn take(
    stream: &mut TcpStream,
    octets: usize,
) -> Result<Zeroizing<Vec<u8>>, Cause> {
    let mut taken = Zeroizing::new(vec![0; octets]);
    stream.read_exact(&mut taken).await.map_err(|_| Cause::Left)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_dribbled_head_is_looked_at_once_for_each_octet() {
        let (mut client, server) = pair().await;
        let (looked, mut looks) = mpsc::unbounded_channel();
        let watch = until(&server, |octets| {
            looked.send(octets.len()).unwrap();
            Ok((octets.len() == 200).then_some(()))
        });
        let dribble = async {
            for octets in 1..=200 {
                client.write_all(b"x").await.unwrap();
                assert_eq!(looks.recv().await, Some(octets));
            }
        };
        let (found, ()) = tokio::join!(watch, dribble);
        assert_eq!((found, looks.try_recv().ok()), (Ok(()), None));
    }

    #[tokio::test]
    async fn what_was_found_is_still_there_to_be_read() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"ab").await.unwrap();
        until(&server, |octets| Ok((octets.len() == 2).then_some(()))).await.unwrap();
        assert_eq!(take(&mut server, 2).await.unwrap()[..], *b"ab");
        client.write_all(b"cd").await.unwrap();
        until(&server, |octets| Ok((octets == b"cd").then_some(()))).await.unwrap();
    }

    #[tokio::test]
    async fn an_end_in_the_middle_is_incomplete_and_not_waited_on() {
        for sent in [&b""[..], b"ab"] {
            let (mut client, server) = pair().await;
            client.write_all(sent).await.unwrap();
            client.shutdown().await.unwrap();
            let found = until::<()>(&server, |_| Ok(None)).await;
            assert_eq!(found, Err(Cause::Incomplete));
        }
    }

    #[tokio::test]
    async fn an_end_after_a_whole_head_does_no_harm() {
        let (mut client, server) = pair().await;
        client.write_all(b"ab").await.unwrap();
        client.shutdown().await.unwrap();
        // Resolves once tokio knows of the end.
        assert!(server.ready(Interest::PRIORITY).await.unwrap().is_read_closed());
        assert_eq!(until(&server, |it| Ok((it == b"ab").then_some(()))).await, Ok(()));
    }

    #[tokio::test]
    async fn more_than_a_head_may_have_is_too_long() {
        let (mut client, server) = pair().await;
        client.write_all(&[b'x'; limits::HEAD_OCTETS + 1]).await.unwrap();
        assert_eq!(until::<()>(&server, |_| Ok(None)).await, Err(Cause::Long));
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0)
    }
}
