//! Clients on streams: reading whole frames, and a bounded queue of what goes back.

mod accept;

mod read;
pub(super) mod tls;
pub(super) mod write_queue;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;
use mio::net::TcpStream;
use slab::Slab;

use self::tls::Tls;
use self::write_queue::{Overflow, WriteQueue};
use super::admission::{Admission, Displaced, Idle};
use super::certs::Secure;
use super::io::Io;
use super::source::{Source, Turn};
use super::tcp_relay::DataStream;
use super::worker::Worker;
use turnd_proto::Now;
use turnd_proto::policy::ip_range::IpRange;
use turnd_proto::policy::peer_filter::canonical_ip;
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::server::output::DropReason;
use turnd_proto::wire::indication::Header;

pub(super) use self::accept::{ACCEPT_PAUSE, Acceptor, Acceptors, new_socket};

/// What one turn reads from a stream at the most, so that others get theirs.
const READ: usize = 64 << 10;
/// The longest message of a client without an allocation.
const STRANGER_FRAME: usize = 4096;
/// Bytes of memory of a connection beside its buffers.
const STREAM_BYTES: usize = 512;
/// Bytes of memory of a TLS connection beside those of the stream.
const TLS_BYTES: usize = 16 << 10;

/// One client's connection.
#[derive(Debug)]
struct Stream {
    tcp: TcpStream,
    path: Path,
    /// What its first byte told; `None` before that.
    layer: Option<Layer>,
    /// A PROXY header is to come first.
    proxied: bool,
    /// A frame that has not come whole.
    partial: Vec<u8>,
    queue: WriteQueue,
    /// It is among those to be flushed after this batch.
    dirty: bool,
    /// Nothing follows what can be read now.
    hung_up: bool,
    /// Why it is to be closed, at the end of the worker's round.
    failed: Option<End>,
    /// When it is looked at whether it has an allocation.
    check: Instant,
    /// It is a data connection from now on: of which peer connection, and on which worker.
    bound: Option<(ConnectionId, usize)>,
    /// The client's place and time without an allocation; `None`: it has one.
    idle: Option<Idle>,
}

/// What lies between the frames and the socket.
#[derive(Debug)]
enum Layer {
    Plain,
    Tls(Box<Tls>),
}

/// How stream clients may come.
#[derive(Debug)]
pub(super) struct StreamOptions {
    /// Plain TCP.
    pub(super) plain: bool,
    /// TLS, with these certificates.
    pub(super) secure: Option<Arc<Secure>>,
    /// `trusted-proxies`.
    pub(super) proxies: Vec<IpRange>,
}

/// All stream clients of one worker.
#[derive(Debug)]
pub(super) struct Streams {
    registry: Registry,
    slab: Slab<Stream>,
    options: StreamOptions,
    /// What came from the network, before TLS has opened it.
    cipher: Box<[u8]>,
    dirty: Vec<usize>,
    /// Those that may have [`Stream::failed`].
    failed: Vec<usize>,
    checks: BTreeSet<(Instant, usize)>,
}

impl Streams {
    pub(super) fn new(registry: Registry, options: StreamOptions) -> Self {
        let cipher = if options.secure.is_some() {
            // A whole turn's bytes behind a PROXY header that came in parts.
            READ + STRANGER_FRAME
        } else {
            0
        };
        Self {
            registry,
            slab: Slab::new(),
            options,
            cipher: vec![0; cipher].into(),
            dirty: Vec::new(),
            failed: Vec::new(),
            checks: BTreeSet::new(),
        }
    }

    /// Whether `source` is a proxy's, whose connections begin with a PROXY header.
    fn trusts(&self, source: IpAddr) -> bool {
        let mut proxies = self.options.proxies.iter();
        proxies.any(|range| range.contains(source))
    }

    /// Serves a connection that was accepted.
    fn insert(
        &mut self,
        now: Now,
        admission: &mut Admission,
        mut tcp: TcpStream,
        client: SocketAddr,
        server: SocketAddr,
    ) -> io::Result<()> {
        let source = canonical_ip(client.ip());
        let proxied = self.trusts(source);
        let entry = self.slab.vacant_entry();
        let id = entry.key();
        Source::Stream(id).watch(&self.registry, &mut tcp)?;
        let socket = ClientSocket::Stream(id as u32);
        let idle = admission.admit(now, source, socket, STREAM_BYTES);
        let check = admission.deadline(&idle);
        let tuple = FiveTuple {
            transport: Transport::Tcp,
            client,
            server,
        };
        entry.insert(Stream {
            tcp,
            path: Path {
                tuple,
                socket,
                proxied,
            },
            layer: None,
            proxied,
            partial: Vec::new(),
            queue: WriteQueue::default(),
            dirty: false,
            bound: None,
            hung_up: false,
            failed: None,
            check,
            idle: Some(idle),
        });
        self.checks.insert((check, id));
        Ok(())
    }

    fn remove(&mut self, id: usize) -> Option<Stream> {
        let stream = self.slab.try_remove(id)?;
        self.checks.remove(&(stream.check, id));
        Some(stream)
    }

    /// Counts a client among those without an allocation, as its own has ended.
    pub(super) fn idle_again(&mut self, now: Now, admission: &mut Admission, id: usize) {
        let Some(stream) = self.slab.get_mut(id) else {
            return;
        };
        let Path { tuple, socket, .. } = stream.path;
        let mut idle = admission.admit(now, tuple.client.ip(), socket, stream.bytes());
        idle.hear(now);
        self.checks.remove(&(stream.check, id));
        stream.check = admission.deadline(&idle);
        self.checks.insert((stream.check, id));
        stream.idle = Some(idle);
    }

    /// Has a client end that has to, unless its name is another's by now.
    pub(super) fn displace(&mut self, id: usize, displaced: &Displaced) {
        if let Some(stream) = self.slab.get_mut(id)
            && stream.idle.as_ref().is_some_and(|idle| idle.is(displaced))
        {
            stream.failed = Some(End::Displaced);
            self.failed.push(id);
        }
    }

    /// Queues a control message.
    pub(super) fn push_control(&mut self, id: usize, message: &[u8]) {
        if let Some(stream) = self.slab.get_mut(id) {
            if stream.queue.push_control(message) == Err(Overflow) {
                stream.failed = Some(End::Unread);
                self.failed.push(id);
            }
            self.mark(id);
        }
    }

    /// Queues relayed data, unless too much waits already.
    pub(super) fn push_data(&mut self, id: usize, header: &Header, payload: &[u8]) {
        if let Some(stream) = self.slab.get_mut(id) {
            stream
                .queue
                .push_data(header.as_bytes(), payload, header.padding());
            self.mark(id);
        }
    }

    /// Makes the stream of `path` a data connection, as soon as its frame is done with.
    pub(super) fn hand_over(&mut self, path: &Path, connection: ConnectionId, worker: usize) {
        if let ClientSocket::Stream(id) = path.socket
            && let Some(stream) = self.slab.get_mut(id as usize)
        {
            stream.bound = Some((connection, worker));
        }
    }

    fn is_bound(&self, id: usize) -> bool {
        self.slab
            .get(id)
            .is_some_and(|stream| stream.bound.is_some())
    }

    fn mark(&mut self, id: usize) {
        if let Some(stream) = self.slab.get_mut(id)
            && !std::mem::replace(&mut stream.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// Writes what was queued since the last time.
    pub(super) fn flush(&mut self) {
        while let Some(id) = self.dirty.pop() {
            if let Some(stream) = self.slab.get_mut(id) {
                stream.dirty = false;
                stream.flush();
                if stream.failed.is_some() {
                    self.failed.push(id);
                }
            }
        }
    }

    /// The earliest time for [`Worker::check_streams`].
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Notes that the system has seen the end of what a stream brings.
    pub(super) fn hang_up(&mut self, id: usize) {
        if let Some(stream) = self.slab.get_mut(id) {
            stream.hung_up = true;
        }
    }

    fn len(&self) -> usize {
        self.slab.len()
    }
}

impl Stream {
    fn flush(&mut self) {
        let tcp = &self.tcp;
        let written = match &mut self.layer {
            Some(Layer::Tls(tls)) => tls.write(&mut self.queue, tcp),
            _ => self.queue.write_with(|bytes| (&*tcp).write(bytes)),
        };
        if written.is_err() {
            self.failed = Some(End::Closed);
        }
    }

    /// Bytes of memory that the client holds.
    fn bytes(&self) -> usize {
        let layer = match &self.layer {
            Some(Layer::Tls(_)) => TLS_BYTES,
            Some(Layer::Plain) | None => 0,
        };
        STREAM_BYTES + layer + self.partial.capacity() + self.queue.capacity()
    }

    fn wants_write(&self) -> bool {
        let of_layer = matches!(&self.layer, Some(Layer::Tls(tls)) if tls.wants_write());
        of_layer || !self.queue.is_empty()
    }
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has closed it, or the network has.
    Closed,
    /// What came is no protocol of ours.
    Garbage,
    /// There are too many of the kind.
    Refused,
    /// It does not read what it asks for.
    Unread,
    /// No allocation in time.
    Idle,
    /// It has been silent longest, and another needs the place.
    Displaced,
    /// It is a data connection from now on.
    Bound,
}

impl Worker {
    /// Serves one turn of a stream.
    pub(super) fn serve_stream(&mut self, now: Now, id: usize) -> Turn {
        match self.stream_ready(now, id) {
            Ok(more) => return Turn::more(more),
            Err(End::Bound) => self.bind_stream(id),
            Err(end) => self.close_stream(now, id, end),
        }
        Turn::Drained
    }

    /// Closes what failed while others were served.
    pub(super) fn close_failed_streams(&mut self, now: Now) {
        while let Some(id) = self.io.streams.failed.pop() {
            // The name may be another stream's by now.
            let stream = self.io.streams.slab.get(id);
            if let Some(end) = stream.and_then(|stream| stream.failed) {
                self.close_stream(now, id, end);
            }
        }
    }

    /// Ends what has had no allocation for too long.
    pub(super) fn check_streams(&mut self, now: Now) {
        while let Some((at, id)) = self.io.streams.checks.first().copied()
            && at <= now.mono
        {
            self.io.streams.checks.pop_first();
            let Io {
                streams, admission, ..
            } = &mut self.io;
            let Some(stream) = streams.slab.get_mut(id) else {
                continue;
            };
            let next = if self.server.has_allocation(&stream.path) {
                stream.idle = None;
                now.mono + admission.patience()
            } else if let Some(idle) = &stream.idle {
                admission.deadline(idle)
            } else {
                // Its allocation is another connection's of its proxy now.
                streams.idle_again(now, admission, id);
                continue;
            };
            if next > now.mono {
                stream.check = next;
                streams.checks.insert((next, id));
            } else {
                self.close_stream(now, id, End::Idle);
            }
        }
    }

    /// Sends the connection, with all that is in it, to the worker that has the peer connection.
    fn bind_stream(&mut self, id: usize) {
        let streams = &mut self.io.streams;
        let Some(mut stream) = streams.remove(id) else {
            return;
        };
        let Some((connection, worker)) = stream.bound else {
            return;
        };
        if streams.registry.deregister(&mut stream.tcp).is_err() {
            return;
        }
        let tls = match stream.layer {
            Some(Layer::Tls(tls)) => Some(tls),
            _ => None,
        };
        let data = DataStream {
            tcp: stream.tcp,
            tls,
            unsent: stream.queue,
            early: stream.partial,
        };
        self.io.peers.hand_over(worker, connection, data);
    }

    fn close_stream(&mut self, now: Now, id: usize, end: End) {
        let streams = &mut self.io.streams;
        // The last answer may say why.
        streams.flush();
        let Some(mut stream) = streams.remove(id) else {
            return;
        };
        if let Some(Layer::Tls(tls)) = &mut stream.layer {
            tls.close();
            stream.flush();
        }
        let tuple = stream.path.tuple;
        tracing::debug!(
            client = %tuple.client, server = %tuple.server, transport = tuple.transport.name(),
            reason = ?end, dropped = stream.queue.dropped(), open = self.io.streams.len(),
            "connection closed"
        );
        let dropped = stream.queue.dropped();
        self.server.count_drops(DropReason::SlowClient, dropped);
        if end == End::Displaced {
            self.server.count_drops(DropReason::TooManyStreams, 1);
        }
        self.server.handle_disconnect(now, &stream.path);
        self.apply_outputs(now);
    }
}
