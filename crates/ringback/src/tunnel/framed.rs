//! A tunnel while it carries one session: its octets in frames, each direction with an end of its own.
//!
//! A session's end is not the tunnel's: once both directions have ended, the tunnel can be talked in
//! again. What ends otherwise, in whichever direction, is an error and never an end. Bare frames go past TLS,
//! and count only together with what is then said inside of it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ringback_proto::access_request::Protocol;
use ringback_proto::frame::{self, BadFrame, END, ENDED_OCTETS, HEAD_OCTETS};
use ringback_proto::limits::SESSION_FRAME_OCTETS;
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::runtime;
use tokio::time::timeout;

use super::{Talk, Tunnel};
use crate::limits::{FAREWELL_PATIENCE, SEALED_OCTETS};
use crate::splice::{Leg, Pipe};

/// One session's octets in a tunnel.
pub struct Framed {
    tunnel: Tunnel,
    /// Heard before the session began.
    heard: Vec<u8>,
    bare: bool,
    /// The runtime that wakes whoever waits for the tunnel.
    home: Option<runtime::Id>,
    reading: Reading,
    writing: Writing,
}

/// Where we are in what comes.
#[derive(Default)]
struct Reading {
    stage: Stage,
    /// What has come of a head, or of the word on the end.
    said: [u8; ENDED_OCTETS],
    come: usize,
    /// Octets that the frame still has.
    left: usize,
    octets: u64,
}

/// Where we are in what goes.
#[derive(Default)]
struct Writing {
    stage: Stage,
    head: [u8; HEAD_OCTETS],
    /// Octets of the head that have gone, if it has to go.
    gone: usize,
    /// Octets that the frame still needs.
    owed: usize,
    octets: u64,
}

/// How far a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The last frame is there; what is said of it inside TLS, or its flush, is not.
    Ending,
    Ended,
}

fn here() -> Option<runtime::Id> {
    runtime::Handle::try_current().ok().map(|it| it.id())
}

impl Framed {
    /// Begins a session in a tunnel in which both ends have just agreed on it.
    pub fn new(talk: Talk, bare: bool) -> io::Result<Self> {
        let (mut tunnel, heard) = talk.into_parts();
        // What was heard inside TLS by now is nothing that a bare session would say.
        if bare && !(heard.is_empty() && tunnel.is_between()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "said before a bare session"));
        }
        let (reading, writing) = (Reading::default(), Writing::default());
        // A sealed session is followed by talk, and nothing bare comes before we have replied there.
        tunnel.be_exact(bare);
        Ok(Self { tunnel, heard, bare, home: here(), reading, writing })
    }

    /// Moves the tunnel to the runtime that this is called on, if it comes from another one.
    pub fn move_here(&mut self) -> io::Result<()> {
        if self.home == here() {
            return Ok(());
        }
        self.tunnel.move_here()?;
        self.home = here();
        Ok(())
    }

    /// Whether the session's octets go past TLS.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// What the tunnel runs over.
    pub fn protocol(&self) -> Protocol {
        self.tunnel.protocol()
    }

    /// Cuts the tunnel: the other end sees an error, never an end.
    pub fn reset(self) {
        self.tunnel.reset();
    }

    /// The tunnel again, once both directions have ended. If only the other end's frame of length 0 is
    /// missing, it is waited for; octets before it are an error.
    pub async fn into_talk(mut self) -> io::Result<Talk> {
        if self.writing.stage != Stage::Ended {
            return Err(io::Error::other("a session that we have not ended"));
        }
        let mut more = [0; 1];
        match timeout(FAREWELL_PATIENCE, self.read(&mut more)).await?? {
            0 => {
                self.disarm()?;
                self.tunnel.be_exact(true);
                Ok(Talk::resumed(self.tunnel, self.heard))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "octets after the session")),
        }
    }

    /// What has come and is not taken: of the TCP connection itself, or inside TLS.
    fn poll_fill(&mut self, cx: &mut Context<'_>, bare: bool) -> Poll<io::Result<&[u8]>> {
        if !self.heard.is_empty() {
            return Poll::Ready(Ok(&self.heard));
        }
        let come = ready!(match bare {
            true => self.tunnel.passed()?.poll_fill(cx),
            false => self.tunnel.poll_fill(cx),
        })?;
        if come.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(come))
    }

    fn consume(&mut self, octets: usize, bare: bool) {
        if !self.heard.is_empty() {
            self.heard.drain(..octets);
            return;
        }
        match (bare, self.tunnel.passed()) {
            (true, Ok(records)) => records.consume(octets),
            (true, Err(_)) | (false, _) => self.tunnel.consume(octets),
        }
    }

    /// Reads what has `whole` octets beside a session's own.
    fn poll_said(
        &mut self,
        cx: &mut Context<'_>,
        whole: usize,
        bare: bool,
    ) -> Poll<io::Result<()>> {
        while self.reading.come < whole {
            let wanted = whole - self.reading.come;
            let mut some = [0; ENDED_OCTETS];
            let come = ready!(self.poll_fill(cx, bare))?;
            let octets = come.len().min(wanted);
            some[..octets].copy_from_slice(&come[..octets]);
            self.consume(octets, bare);
            self.reading.take(&some[..octets]);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on as far as octets of the session's, or its end; false at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.reading.stage {
                Stage::Open if 0 < self.reading.left => return Poll::Ready(Ok(true)),
                Stage::Open => {
                    ready!(self.poll_said(cx, HEAD_OCTETS, self.bare))?;
                    self.reading.begin(self.bare)?;
                }
                Stage::Ending => {
                    ready!(self.poll_said(cx, ENDED_OCTETS, false))?;
                    self.reading.end()?;
                }
                Stage::Ended => return Poll::Ready(Ok(false)),
            }
        }
    }

    /// Writes the frame's head and what the frame still needs of these octets, past TLS.
    fn poll_write_bare(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let rest = &octets[..octets.len().min(self.writing.owed)];
            let head = &self.writing.head[self.writing.gone..];
            let socket = self.tunnel.passed()?.stream_mut();
            let gone = ready!(match head {
                [] => Pin::new(socket).poll_write(cx, rest),
                _ => Pin::new(socket)
                    .poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(rest)]),
            })?;
            if gone == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = gone.min(head.len());
            self.writing.gone += of_head;
            self.writing.carry(gone - of_head);
            if of_head < gone || self.writing.gone == HEAD_OCTETS && rest.is_empty() {
                return Poll::Ready(Ok(gone - of_head));
            }
        }
    }

    /// Has TLS take a piece and its head, whole. What it holds already goes first, so that it never
    /// holds more than one.
    fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        octets: &[u8],
    ) -> Poll<io::Result<()>> {
        if self.tunnel.holds_back() {
            ready!(Pin::new(&mut self.tunnel).poll_flush(cx))?;
        }
        let pieces = [IoSlice::new(head), IoSlice::new(octets)];
        let taken = ready!(Pin::new(&mut self.tunnel).poll_write_vectored(cx, &pieces))?;
        if taken != head.len() + octets.len() {
            return Poll::Ready(Err(io::Error::other("TLS has taken half a frame")));
        }
        Poll::Ready(Ok(()))
    }

    /// Says the frame of length 0, and what is then to be said inside TLS.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if 0 < self.writing.owed {
            return Poll::Ready(Err(io::Error::other("ended within a frame")));
        }
        if !self.bare {
            return self.poll_seal(cx, &END, &[]);
        }
        if self.writing.head != END || self.writing.gone == 0 {
            self.writing.begin(0);
        }
        if self.writing.gone < HEAD_OCTETS {
            ready!(self.poll_write_bare(cx, &[]))?;
        }
        let ended = frame::ended(self.writing.octets);
        self.poll_seal(cx, &ended, &[])
    }

    /// Takes the head of a frame off the socket, and not an octet more: what follows is the kernel's
    /// to move.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.reading.come < HEAD_OCTETS {
            let socket = self.tunnel.passed()?.stream();
            ready!(socket.poll_read_ready(cx))?;
            let mut head = [0; HEAD_OCTETS];
            let room = &mut head[self.reading.come..];
            match socket.try_read(room) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(octets) => {
                    let (from, to) = (self.reading.come, self.reading.come + octets);
                    self.reading.take(&head[from..to]);
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the frame's head, whose octets follow at once.
    fn poll_announce(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.writing.gone < HEAD_OCTETS {
            let socket = self.tunnel.passed()?.stream();
            let head = &self.writing.head[self.writing.gone..];
            ready!(socket.poll_write_ready(cx))?;
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sent =
                socket.try_io(Interest::WRITABLE, || Ok(rustix::net::send(socket, head, flags)?));
            match sent {
                Ok(octets) => self.writing.gone += octets,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Reading {
    fn take(&mut self, said: &[u8]) {
        self.said[self.come..][..said.len()].copy_from_slice(said);
        self.come += said.len();
    }

    /// Understands a head. One that no frame may have stays, and is an error for ever.
    fn begin(&mut self, bare: bool) -> io::Result<()> {
        let [a, b, c, d, ..] = self.said;
        self.left = frame::follow([a, b, c, d]).map_err(garbled)?;
        self.come = 0;
        if self.left == 0 {
            self.stage = if bare { Stage::Ending } else { Stage::Ended };
        }
        Ok(())
    }

    /// Believes an end if it is told of as many octets as have come.
    fn end(&mut self) -> io::Result<()> {
        if frame::decode_ended(&self.said).map_err(garbled)? != self.octets {
            let fault = "the session's octets are not as many as the other end has sent";
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
        self.stage = Stage::Ended;
        Ok(())
    }

    fn carry(&mut self, octets: usize) {
        self.left -= octets;
        self.octets += octets as u64;
    }
}

impl Writing {
    fn begin(&mut self, octets: usize) {
        (self.head, self.gone, self.owed) = (frame::head(octets), 0, octets);
    }

    fn carry(&mut self, octets: usize) {
        self.owed -= octets;
        self.octets += octets as u64;
    }
}

fn garbled(fault: BadFrame) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl Leg for Framed {
    fn arm(&self) -> io::Result<()> {
        self.tunnel.arm()
    }

    fn disarm(&self) -> io::Result<()> {
        self.tunnel.disarm()
    }

    fn pours(&self) -> bool {
        self.bare && self.tunnel.is_level()
    }

    fn drains(&self) -> bool {
        self.bare
    }

    fn poll_pour(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        if self.reading.stage == Stage::Open && self.reading.left == 0 {
            ready!(self.poll_head(cx))?;
            self.reading.begin(self.bare)?;
        }
        if self.reading.left == 0 {
            return Poll::Ready(Ok(0));
        }
        let octets = ready!(pipe.poll_fill(cx, self.tunnel.passed()?.stream(), self.reading.left))?;
        if octets == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.reading.carry(octets);
        Poll::Ready(Ok(octets))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        if self.writing.owed == 0 {
            self.writing.begin(pipe.held().min(SESSION_FRAME_OCTETS));
        }
        ready!(self.poll_announce(cx))?;
        let octets =
            ready!(pipe.poll_empty(cx, self.tunnel.passed()?.stream(), self.writing.owed))?;
        self.writing.carry(octets);
        Poll::Ready(Ok(octets))
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let begun = buffer.filled().len();
        while 0 < buffer.remaining() {
            let read = match this.poll_frame(cx) {
                Poll::Ready(Ok(true)) => {
                    let (bare, left) = (this.bare, this.reading.left);
                    this.poll_fill(cx, bare).map_ok(|come| {
                        let octets = come.len().min(left).min(buffer.remaining());
                        buffer.put_slice(&come[..octets]);
                        octets
                    })
                }
                Poll::Ready(Ok(false)) => Poll::Ready(Ok(0)),
                Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
                Poll::Pending => Poll::Pending,
            };
            match read {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(octets)) => {
                    this.consume(octets, this.bare);
                    this.reading.carry(octets);
                    // What follows is the kernel's to move, if it likes: nothing more is read ahead of it.
                    if this.bare && this.tunnel.is_level() {
                        break;
                    }
                }
                // What has come before counts first; whatever is wrong shows again.
                Poll::Ready(Err(_)) | Poll::Pending if begun < buffer.filled().len() => break,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.writing.stage != Stage::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.bare {
            if this.writing.owed == 0 {
                this.writing.begin(octets.len().min(SESSION_FRAME_OCTETS));
            }
            return this.poll_write_bare(cx, octets);
        }
        let octets = &octets[..octets.len().min(SEALED_OCTETS)];
        ready!(this.poll_seal(cx, &frame::head(octets.len()), octets))?;
        this.writing.octets += octets.len() as u64;
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tunnel).poll_flush(cx)
    }

    /// Ends the direction, and not the tunnel.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.writing.stage == Stage::Open {
            ready!(this.poll_end(cx))?;
            this.writing.stage = Stage::Ending;
        }
        if this.writing.stage == Stage::Ending {
            ready!(Pin::new(&mut this.tunnel).poll_flush(cx))?;
            this.writing.stage = Stage::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Framed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("bare", &self.bare).finish_non_exhaustive()
    }
}
