//! A client's data connection and a peer connection, joined: bytes as they are (RFC 6062 §5.4).
//!
//! Each direction holds one buffer. As long as that has not left, nothing more is read, and the
//! kernel tells the sender to wait.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::super::tcp::tls::Tls;
use super::super::tcp::write_queue::WriteQueue;

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// Room for what one chunk and the part of a record before it say.
const PLAIN: usize = 3 * CHUNK;

/// A data connection on its way to the worker that has the peer connection.
#[derive(Debug)]
pub(in crate::net) struct DataStream {
    pub(in crate::net) tcp: TcpStream,
    pub(in crate::net) tls: Option<Box<Tls>>,
    /// What the client has not been told yet: that it is bound.
    pub(in crate::net) unsent: WriteQueue,
    /// What the client has sent behind its request.
    pub(in crate::net) early: Vec<u8>,
}

/// What is read into; all joined connections of a worker share it.
pub(in crate::net) struct Buffers {
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

/// One of the two ends.
#[derive(Debug)]
struct End {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
    /// What is to be written to it.
    queue: WriteQueue,
    /// Nothing more comes from it.
    closed: bool,
}

impl End {
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
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.queue, &self.tcp),
            None => self.queue.write_with(|bytes| (&self.tcp).write(bytes)),
        }
    }

    fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.queue
            .push_control(bytes)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.flush()
    }
}

/// The two connections, joined.
#[derive(Debug)]
pub(in crate::net) struct Joint {
    client: End,
    peer: End,
    /// What the client has sent before the two were joined.
    early: Vec<u8>,
}

/// How one turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Progress {
    /// Nothing is left to do now.
    Idle,
    /// There may be more to read.
    More,
    /// A direction may not carry more yet.
    Held,
    /// One side has closed, and what it had sent before has left.
    Done,
}

/// Limits and counts what passes; `to_peer` names the direction.
pub(in crate::net) trait Meter {
    /// Whether more may pass now.
    fn is_open(&mut self, to_peer: bool) -> bool;

    /// So many bytes pass.
    fn count(&mut self, to_peer: bool, len: usize);
}

impl Joint {
    pub(in crate::net) fn new(data: DataStream, peer: TcpStream) -> Self {
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
    pub(in crate::net) fn carry(
        &mut self,
        buffers: &mut Buffers,
        meter: &mut impl Meter,
    ) -> io::Result<Progress> {
        self.client.flush()?;
        self.peer.flush()?;
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            meter.count(true, early.len());
            self.peer.send(&early)?;
        }
        let (mut more, mut held) = (false, false);
        for to_peer in [true, false] {
            if self.end(to_peer).wants_write() {
                continue;
            }
            if !meter.is_open(to_peer) {
                held = true;
                continue;
            }
            let bytes = self.end(!to_peer).read(buffers)?;
            if bytes.is_empty() {
                continue;
            }
            meter.count(to_peer, bytes.len());
            self.end(to_peer).send(bytes)?;
            more = true;
        }
        // What came before the end still gets there.
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

    /// The end that `to_peer` means.
    fn end(&mut self, to_peer: bool) -> &mut End {
        if to_peer {
            &mut self.peer
        } else {
            &mut self.client
        }
    }
}
