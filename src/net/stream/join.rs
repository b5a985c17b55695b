//! A client's data connection and a peer connection, joined: bytes as they are (RFC 6062 §5.4).
//!
//! Each direction holds one buffer. As long as that has not left, nothing more is read, and the
//! kernel tells the sender to wait.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::now;
use super::super::worker::Worker;
use super::tls::Tls;
use super::write_queue::WriteQueue;
use crate::server::connections::ConnectionId;

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// Room for what one chunk and the part of a record before it say.
const PLAIN: usize = 3 * CHUNK;
/// How soon `max-bps` is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// A data connection on its way to the worker that has the peer connection.
#[derive(Debug)]
pub(in crate::net) struct DataStream {
    pub(super) tcp: std::net::TcpStream,
    pub(super) tls: Option<Box<Tls>>,
    /// What the client has not been told yet: that it is bound.
    pub(super) unsent: WriteQueue,
    /// What the client has sent behind its request.
    pub(super) early: Vec<u8>,
}

/// One of the two ends.
struct End {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
    /// What is to be written to it.
    queue: WriteQueue,
    /// Nothing more comes from it.
    closed: bool,
}

impl End {
    /// Reads a chunk into `plain`; `Ok(0)` when there is nothing now, or nothing any more.
    fn read(&mut self, chunk: &mut [u8], plain: &mut [u8]) -> io::Result<usize> {
        let count = match self.tcp.try_read(chunk) {
            Ok(0) => {
                self.closed = true;
                return Ok(0);
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        match &mut self.tls {
            None => {
                plain[..count].copy_from_slice(&chunk[..count]);
                Ok(count)
            }
            Some(tls) => {
                let opened = tls.open(&chunk[..count], plain);
                let opened = opened.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                self.closed |= opened.closed;
                Ok(opened.len)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.queue, &self.tcp),
            None => self.queue.write_with(|bytes| self.tcp.try_write(bytes)),
        }
    }

    fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// What to wait for, if this end may be read.
    fn interest(&self, read: bool) -> Option<Interest> {
        match (read && !self.closed, self.wants_write()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    async fn ready(&self, interest: Option<Interest>) -> io::Result<()> {
        match interest {
            Some(interest) => self.tcp.ready(interest).await.map(drop),
            None => std::future::pending().await,
        }
    }
}

/// Carries data both ways until one side closes, then closes the other.
pub(in crate::net) async fn join(
    worker: Rc<RefCell<Worker>>,
    connection: ConnectionId,
    data: DataStream,
    peer: TcpStream,
) {
    // A failure is an end like any other: both sides are closed.
    let _ = carry(&worker, connection, data, peer).await;
    worker.borrow_mut().connection_closed(now(), connection);
}

async fn carry(
    worker: &Rc<RefCell<Worker>>,
    connection: ConnectionId,
    data: DataStream,
    peer: TcpStream,
) -> io::Result<()> {
    peer.set_nodelay(true)?;
    let mut client = End {
        tcp: TcpStream::from_std(data.tcp)?,
        tls: data.tls,
        queue: data.unsent,
        closed: false,
    };
    let mut peer = End {
        tcp: peer,
        tls: None,
        queue: WriteQueue::default(),
        closed: false,
    };
    let (mut chunk, mut plain) = (vec![0; CHUNK], vec![0; PLAIN]);
    client.flush()?;
    if !data.early.is_empty() {
        relay(worker, connection, true, &data.early, &mut peer).await?;
    }
    loop {
        let (mut from_client, mut from_peer) = (0, 0);
        if !peer.wants_write() {
            from_client = client.read(&mut chunk, &mut plain)?;
            if from_client > 0 {
                relay(worker, connection, true, &plain[..from_client], &mut peer).await?;
            }
        }
        if !client.wants_write() {
            from_peer = peer.read(&mut chunk, &mut plain)?;
            if from_peer > 0 {
                relay(worker, connection, false, &plain[..from_peer], &mut client).await?;
            }
        }
        client.flush()?;
        peer.flush()?;
        // What came before the end still gets there.
        if (client.closed && !peer.wants_write()) || (peer.closed && !client.wants_write()) {
            if let Some(tls) = &mut client.tls {
                tls.close();
                client.flush()?;
            }
            return Ok(());
        }
        if from_client + from_peer > 0 {
            // Others get their turn.
            tokio::task::yield_now().await;
            continue;
        }
        let client_interest = client.interest(!peer.wants_write());
        let peer_interest = peer.interest(!client.wants_write());
        tokio::select! {
            ready = client.ready(client_interest) => ready?,
            ready = peer.ready(peer_interest) => ready?,
        }
    }
}

/// Counts and queues `bytes` for `to`, when `max-bps` lets them through.
async fn relay(
    worker: &Rc<RefCell<Worker>>,
    connection: ConnectionId,
    to_peer: bool,
    bytes: &[u8],
    to: &mut End,
) -> io::Result<()> {
    let may_pass = || {
        let server = &mut worker.borrow_mut().server;
        server.handle_connection_data(now(), connection, to_peer, bytes.len())
    };
    while !may_pass() {
        tokio::time::sleep(PAUSE).await;
    }
    to.queue
        .push_control(bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    to.flush()
}
