//! Clients on streams: reading whole frames, and a bounded queue of what goes back.

mod accept;
mod join;
mod reading;
mod tls;
mod write_queue;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use self::tls::Tls;
use self::write_queue::{Overflow, WriteQueue};
use super::now;
use super::secure::Secure;
use super::way::Way;
use super::worker::Worker;
use crate::Now;
use crate::policy::ip_range::IpRange;
use crate::policy::peer_filter::canonical_ip;
use crate::policy::stream_limit::{StreamGuard, StreamLimit};
use crate::server::connections::ConnectionId;
use crate::server::five_tuple::{FiveTuple, Path, Transport};
use crate::server::output::DropReason;
use crate::wire::indication::Header;

pub(super) use self::accept::{Acceptor, accept};
pub(super) use self::join::{DataStream, join};

/// What one turn reads from a stream at the most, so that others get theirs.
const READ: usize = 64 << 10;
/// The longest message of a client without an allocation.
const STRANGER_FRAME: usize = 4096;

/// The part of a stream that its task and the worker share.
#[derive(Debug)]
pub(super) struct Handle {
    tcp: TcpStream,
    /// The task has something to look at: more to write, or the end.
    wake: Notify,
    closed: Cell<bool>,
}

/// One client's connection.
#[derive(Debug)]
struct Stream {
    handle: Rc<Handle>,
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
    /// When it is looked at whether it has an allocation.
    check: Instant,
    /// It is a data connection from now on: of which peer connection, and on which worker.
    bound: Option<(ConnectionId, usize)>,
    /// Held as long as it has none.
    guard: Option<StreamGuard>,
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
    /// `max-allocate-timeout`.
    pub(super) patience: Duration,
    pub(super) limit: Arc<StreamLimit>,
    /// `trusted-proxies`.
    pub(super) proxies: Vec<IpRange>,
}

/// All stream clients of one worker.
#[derive(Debug)]
pub(super) struct Streams {
    slab: Slab<Stream>,
    options: StreamOptions,
    /// What came from the network, before TLS has opened it.
    cipher: Box<[u8]>,
    dirty: Vec<usize>,
    checks: BTreeSet<(Instant, usize)>,
}

impl Streams {
    pub(super) fn new(options: StreamOptions) -> Self {
        let cipher = if options.secure.is_some() {
            // A whole turn's bytes behind a PROXY header that came in parts.
            READ + STRANGER_FRAME
        } else {
            0
        };
        Self {
            slab: Slab::new(),
            options,
            cipher: vec![0; cipher].into(),
            dirty: Vec::new(),
            checks: BTreeSet::new(),
        }
    }

    fn insert(
        &mut self,
        now: Now,
        tcp: TcpStream,
        client: SocketAddr,
        server: SocketAddr,
        guard: StreamGuard,
    ) -> (usize, Rc<Handle>) {
        let handle = Rc::new(Handle {
            tcp,
            wake: Notify::new(),
            closed: Cell::new(false),
        });
        let source = canonical_ip(client.ip());
        let proxied = self
            .options
            .proxies
            .iter()
            .any(|range| range.contains(source));
        let entry = self.slab.vacant_entry();
        let id = entry.key();
        let check = now.mono + self.options.patience;
        let tuple = FiveTuple {
            transport: Transport::Tcp,
            client,
            server,
        };
        entry.insert(Stream {
            handle: Rc::clone(&handle),
            path: Path {
                tuple,
                socket: Way::Stream(id).id(),
            },
            layer: None,
            proxied,
            partial: Vec::new(),
            queue: WriteQueue::default(),
            dirty: false,
            bound: None,
            check,
            guard: Some(guard),
        });
        self.checks.insert((check, id));
        (id, handle)
    }

    fn remove(&mut self, id: usize) -> Option<Stream> {
        let stream = self.slab.try_remove(id)?;
        self.checks.remove(&(stream.check, id));
        stream.handle.closed.set(true);
        stream.handle.wake.notify_one();
        Some(stream)
    }

    /// Queues a control message.
    pub(super) fn push_control(&mut self, id: usize, message: &[u8]) {
        if let Some(stream) = self.slab.get_mut(id) {
            if stream.queue.push_control(message) == Err(Overflow) {
                // Its task notices and closes it.
                stream.handle.closed.set(true);
                stream.handle.wake.notify_one();
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
        if let Way::Stream(id) = Way::of(path.socket)
            && let Some(stream) = self.slab.get_mut(id)
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
            }
        }
    }

    /// The earliest time for [`Worker::check_streams`].
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Packets for clients that wait in queues now, and were dropped; for tests and the log.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }
}

impl Stream {
    fn flush(&mut self) {
        let tcp = &self.handle.tcp;
        let written = match &mut self.layer {
            Some(Layer::Tls(tls)) => tls.write(&mut self.queue, tcp),
            _ => self.queue.write_with(|bytes| tcp.try_write(bytes)),
        };
        if written.is_err() {
            self.handle.closed.set(true);
        }
        if written.is_err() || self.wants_write() {
            self.handle.wake.notify_one();
        }
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
    /// It is a data connection from now on.
    Bound,
}

/// Serves one stream to its end.
async fn serve(worker: Rc<RefCell<Worker>>, id: usize, handle: Rc<Handle>) {
    let end = loop {
        let writing = worker.borrow().stream_writes(id);
        let interest = if writing {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        tokio::select! {
            ready = handle.tcp.ready(interest) => {
                if ready.is_err() {
                    break End::Closed;
                }
            }
            () = handle.wake.notified() => {
                if handle.closed.get() {
                    break End::Unread;
                }
                continue;
            }
        }
        if let Err(end) = worker.borrow_mut().stream_ready(now(), id) {
            break end;
        }
        if handle.closed.get() {
            break End::Unread;
        }
    };
    if end == End::Bound {
        worker.borrow_mut().bind_stream(id, handle);
    } else {
        worker.borrow_mut().close_stream(now(), id, &handle, end);
    }
}

impl Worker {
    /// Takes over a connection that was accepted; its task is to be spawned by the caller.
    fn open_stream(
        &mut self,
        now: Now,
        tcp: TcpStream,
        client: SocketAddr,
        server: SocketAddr,
        guard: StreamGuard,
    ) -> (usize, Rc<Handle>) {
        let opened = self.io.streams.insert(now, tcp, client, server, guard);
        self.arm();
        opened
    }

    fn stream_writes(&self, id: usize) -> bool {
        let stream = self.io.streams.slab.get(id);
        stream.is_some_and(Stream::wants_write)
    }

    /// Ends what has had no allocation for too long.
    pub(super) fn check_streams(&mut self, now: Now) {
        while let Some((at, id)) = self.io.streams.checks.first().copied()
            && at <= now.mono
        {
            self.io.streams.checks.pop_first();
            let patience = self.io.streams.options.patience;
            let Some(stream) = self.io.streams.slab.get_mut(id) else {
                continue;
            };
            if self.server.has_allocation(&stream.path) {
                stream.guard = None;
                stream.check = now.mono + patience;
                self.io.streams.checks.insert((stream.check, id));
            } else {
                let handle = Rc::clone(&stream.handle);
                self.close_stream(now, id, &handle, End::Idle);
            }
        }
    }

    /// Sends the connection, with all that is in it, to the worker that has the peer connection.
    fn bind_stream(&mut self, id: usize, handle: Rc<Handle>) {
        let Some(stream) = self.io.streams.remove(id) else {
            return;
        };
        drop(stream.handle);
        let tcp = Rc::try_unwrap(handle).map(|handle| handle.tcp.into_std());
        let (Ok(Ok(tcp)), Some((connection, worker))) = (tcp, stream.bound) else {
            return;
        };
        let tls = match stream.layer {
            Some(Layer::Tls(tls)) => Some(tls),
            _ => None,
        };
        let data = DataStream {
            tcp,
            tls,
            unsent: stream.queue,
            early: stream.partial,
        };
        self.io.peers.hand_over(worker, connection, data);
    }

    fn close_stream(&mut self, now: Now, id: usize, handle: &Rc<Handle>, end: End) {
        // The name may be another stream's by now.
        let streams = &mut self.io.streams;
        if !streams
            .slab
            .get(id)
            .is_some_and(|stream| Rc::ptr_eq(&stream.handle, handle))
        {
            return;
        }
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
        self.server.handle_disconnect(now, &stream.path);
        self.apply_outputs(now);
    }
}
