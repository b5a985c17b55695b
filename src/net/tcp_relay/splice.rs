//! Splice of a client's data connection and a peer connection: bytes as they are (RFC 6062 §5.4).
//!
//! Each direction holds one buffer. As long as that has not left, nothing more is read, and the
//! kernel tells the sender to wait.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use crate::net::egress::WriteQueue;
use crate::net::tls::Tls;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// Room for the plain text of one chunk and of the part of a record before it.
const PLAIN: usize = 3 * CHUNK;

/// A data connection on its way to the worker that has the peer connection.
#[derive(Debug)]
pub(in crate::net) struct DataStream<S = TcpStream> {
    pub(in crate::net) tcp: S,
    pub(in crate::net) tls: Option<Box<Tls>>,
    /// Answer that the client has not been sent yet: that it is bound.
    pub(in crate::net) unsent: WriteQueue,
    /// Bytes that the client has sent behind its request.
    pub(in crate::net) early: Vec<u8>,
}

/// Buffers to read into; all splices of a worker share them.
pub(super) struct Buffers {
    chunk: Box<[u8]>,
    plain: Box<[u8]>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            chunk: vec![0; CHUNK].into(),
            plain: vec![0; PLAIN].into(),
        }
    }
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// A connection of a splice.
#[derive(Debug)]
struct End<S> {
    tcp: S,
    tls: Option<Box<Tls>>,
    /// Bytes to be written to it.
    queue: WriteQueue,
    /// Whether nothing more comes from it.
    closed: bool,
}

impl<S: Read + Write> End<S> {
    /// Reads some bytes; none when there are none now, or no more at all.
    fn read<'b>(&mut self, buffers: &'b mut Buffers) -> io::Result<&'b [u8]> {
        let Buffers { chunk, plain } = buffers;
        while !self.closed {
            let count = match self.tcp.read(chunk) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(tls) = &mut self.tls else {
                return Ok(&chunk[..count]);
            };
            // The handshake is over.
            let opened = tls.open(&chunk[..count], plain, &mut || false);
            let opened = opened.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            self.closed = opened.closed;
            if opened.len > 0 {
                return Ok(&plain[..opened.len]);
            }
        }
        Ok(&[])
    }

    fn flush(&mut self) -> io::Result<()> {
        let tcp = &mut self.tcp;
        let written = match &mut self.tls {
            Some(tls) => tls.write(&mut self.queue, tcp),
            None => self.queue.write_with(|bytes| tcp.write(bytes)),
        };
        self.queue.shrink();
        written
    }

    fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes some bytes, and queues those that the socket does not take.
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() && self.queue.is_empty() {
            match self.tcp.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        self.queue
            .push_control(bytes)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.flush()
    }
}

/// The two connections.
#[derive(Debug)]
pub(super) struct Splice<S> {
    client: End<S>,
    peer: End<S>,
    /// Bytes that the client has sent before the peer's connection was found.
    early: Vec<u8>,
}

/// Outcome of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is left to do now.
    Idle,
    /// There may be more to read.
    More,
    /// A direction may not carry more yet.
    Held,
    /// A connection has closed, and all that had come by it has left.
    Done,
}

/// Limits and counts what passes; `to_peer` names the direction.
pub(super) trait Limit {
    /// Whether more may pass now.
    fn is_open(&mut self, to_peer: bool) -> bool;

    /// Counts bytes that pass.
    fn count(&mut self, to_peer: bool, len: usize);
}

impl<S: Read + Write> Splice<S> {
    pub(super) fn new(data: DataStream<S>, peer: S) -> Self {
        Self {
            client: End {
                tcp: data.tcp,
                tls: data.tls,
                queue: data.unsent,
                closed: false,
            },
            peer: End {
                tcp: peer,
                tls: None,
                queue: WriteQueue::default(),
                closed: false,
            },
            early: data.early,
        }
    }

    /// Carries at most a chunk each way. A direction that may carry nothing is not read, so that
    /// the kernel tells its sender to wait.
    pub(super) fn carry(
        &mut self,
        buffers: &mut Buffers,
        limit: &mut impl Limit,
    ) -> io::Result<Progress> {
        self.client.flush()?;
        self.peer.flush()?;
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            limit.count(true, early.len());
            self.peer.send(&early)?;
        }
        let (mut more, mut held) = (false, false);
        for to_peer in [true, false] {
            if self.end(to_peer).wants_write() {
                continue;
            }
            if !limit.is_open(to_peer) {
                held = true;
                continue;
            }
            let bytes = self.end(!to_peer).read(buffers)?;
            if bytes.is_empty() {
                continue;
            }
            limit.count(to_peer, bytes.len());
            self.end(to_peer).send(bytes)?;
            more = true;
        }
        // Bytes from before the end still get there.
        let (client, peer) = (&mut self.client, &mut self.peer);
        if (client.closed && !peer.wants_write()) || (peer.closed && !client.wants_write()) {
            if let Some(tls) = &mut client.tls {
                tls.close();
                client.flush()?;
            }
            return Ok(Progress::Done);
        }
        Ok(match (more, held) {
            (true, _) => Progress::More,
            (false, true) => Progress::Held,
            (false, false) => Progress::Idle,
        })
    }

    /// The client's socket and the peer's.
    #[cfg(test)]
    pub(super) fn sockets(&mut self) -> (&mut S, &mut S) {
        (&mut self.client.tcp, &mut self.peer.tcp)
    }

    /// The connection that bytes `to_peer`, or to the client, are written to.
    fn end(&mut self, to_peer: bool) -> &mut End<S> {
        if to_peer {
            &mut self.peer
        } else {
            &mut self.client
        }
    }
}
