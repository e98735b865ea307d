//! The TCP connection below a tunnel's TLS, read in large pieces and handed on in exact ones.
//!
//! TLS is given no octet beyond the record that it is reading, so that what follows a record may be
//! something else: a bare session's frames. What was read ahead is kept for whoever is next. Where nothing
//! else can follow, it is given what there is. It looks at nothing of a record but its length.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::buffer::Buffer;

/// Octets before a record's own: its kind, a version, its length (RFC 8446, 5.1).
const HEAD_OCTETS: usize = 5;

/// A connection, and what was read of it and not taken.
#[derive(Debug)]
pub(crate) struct Records<S = TcpStream> {
    stream: S,
    ahead: Option<Ahead>,
    place: Place,
    exact: bool,
}

#[derive(Debug)]
struct Ahead {
    buffer: Buffer,
    taken: usize,
    read: usize,
}

/// Where in a record TLS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many octets into its head, the latter two of which are its length.
    Head { seen: u8, length: u16 },
    /// So many octets before its end.
    Body { left: u16 },
}

impl<S> Records<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ahead: None, place: Place::START, exact: true }
    }

    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether each read ends where its record does. TLS makes room for each record anew then, so that it
    /// is not asked for where only records can come.
    pub(crate) fn be_exact(&mut self, exact: bool) {
        self.exact = exact;
    }

    /// Whether TLS has taken whole records only.
    pub(crate) fn is_between(&self) -> bool {
        self.place == Place::START
    }

    /// Whether everything that was read was taken.
    pub(crate) fn is_level(&self) -> bool {
        self.ahead.is_none()
    }

    /// Takes octets off, past TLS.
    pub(crate) fn consume(&mut self, octets: usize) {
        let Some(ahead) = &mut self.ahead else { return };
        ahead.taken += octets;
        debug_assert!(ahead.taken <= ahead.read, "more is taken than was read");
        if ahead.taken == ahead.read {
            self.ahead = None;
        }
    }
}

impl<S: AsyncRead + Unpin> Records<S> {
    /// What was read and not taken; reads on if that is nothing. Empty at the connection's end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.ahead.is_none() {
            let mut buffer = Buffer::lend();
            let mut room = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            let read = room.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(&[]));
            }
            self.ahead = Some(Ahead { buffer, taken: 0, read });
        }
        let ahead = self.ahead.as_ref().map_or(&[][..], |it| &it.buffer[it.taken..it.read]);
        Poll::Ready(Ok(ahead))
    }
}

impl Place {
    const START: Self = Self::Head { seen: 0, length: 0 };

    /// How many of these octets belong to the record, and where TLS is after them.
    fn pass(self, octets: &[u8]) -> (usize, Self) {
        let mut place = self;
        for (at, octet) in octets.iter().enumerate() {
            match place {
                Self::Head { seen, length } => {
                    let length = length << 8 | u16::from(*octet);
                    place = match usize::from(seen) + 1 {
                        HEAD_OCTETS if length == 0 => return (at + 1, Self::START),
                        HEAD_OCTETS => Self::Body { left: length },
                        _ => Self::Head { seen: seen + 1, length },
                    };
                }
                Self::Body { left } => {
                    let rest = octets.len() - at;
                    let left = usize::from(left);
                    if left <= rest {
                        return (at + left, Self::START);
                    }
                    return (octets.len(), Self::Body { left: (left - rest) as u16 });
                }
            }
        }
        (octets.len(), place)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (mut place, exact) = (this.place, this.exact);
        let ahead = ready!(this.poll_fill(cx))?;
        let ahead = &ahead[..ahead.len().min(buffer.remaining())];
        let mut octets = 0;
        while octets < ahead.len() {
            let (passed, next) = place.pass(&ahead[octets..]);
            (octets, place) = (octets + passed, next);
            if exact {
                break;
            }
        }
        buffer.put_slice(&ahead[..octets]);
        this.consume(octets);
        this.place = place;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn no_read_goes_beyond_its_record_however_the_octets_come() {
        // Records of 0, 1, 300 octets, then what is none.
        let record = |octets: usize| {
            let mut record = vec![23, 3, 3, (octets >> 8) as u8, octets as u8];
            record.resize(5 + octets, 7);
            record
        };
        let wire = [record(0), record(1), record(300), b"frames".to_vec()].concat();
        for room in [1, 2, 4, 5, 6, 7, 64, 4096] {
            for piece in [1, 3, 5, 8, 500] {
                let (mut one, other) = tokio::io::duplex(piece);
                let sent = wire.clone();
                let sending = async move { one.write_all(&sent).await };
                let reading = async {
                    let mut records = Records::new(other);
                    for octets in [5, 6, 305] {
                        let mut read: Vec<u8> = Vec::new();
                        while read.len() < octets {
                            let mut place = vec![0; room];
                            let some = records.read(&mut place).await.unwrap();
                            read.extend(&place[..some]);
                            assert_eq!(records.is_between(), read.len() == octets);
                        }
                        assert_eq!(read.len(), octets, "room {room}, pieces of {piece}");
                    }
                    let mut rest = Vec::new();
                    while rest.len() < 6 {
                        let filled =
                            std::future::poll_fn(|cx| records.poll_fill(cx).map_ok(<[u8]>::to_vec));
                        let filled = filled.await.unwrap();
                        records.consume(filled.len());
                        rest.extend(filled);
                    }
                    assert_eq!(rest, b"frames");
                };
                let (sent, ()) = tokio::join!(sending, reading);
                sent.unwrap();
            }
        }
    }
}
