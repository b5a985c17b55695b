//! One worker thread: its server, its sockets, and the tasks that join them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::io::Io;
use super::log::EventLog;
use super::now;
use super::peers::{Peers, Workers};
use super::session::{Route, SessionOptions, Sessions, is_dtls};
use super::sockets::Sockets;
use super::stream::{Acceptor, DataStream, StreamOptions, Streams, accept};
use super::udp::{Outgoing, Receiver, SendCounters, SendQueue, UdpSocket, Via, watch_readable};
use super::way::Way;
use crate::Now;
use crate::server::Server;
use crate::server::connections::ConnectionId;
use crate::server::five_tuple::{FiveTuple, Path, SocketId, Transport};
use crate::server::output::{ClientVerdict, DropReason, PeerVerdict, RelayId};
use crate::server::shared::Shared;

/// How often to look whether a retired listening socket is still used.
const RETIRED_CHECK: Duration = Duration::from_secs(1);

/// How long an idle worker sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What a worker is to do with its server, between two packets.
pub(super) type Ask = Box<dyn FnOnce(Now, &mut Server, SendCounters) + Send>;

/// What the rest of the daemon tells a worker.
pub(super) enum Command {
    /// End every allocation and return.
    Stop,
    /// Look at the server, or change it.
    Ask(Ask),
    /// Listen on more addresses, and take no new clients on others.
    Listen(Listening, Vec<SocketAddr>),
    /// Take a data connection whose peer connection is here.
    Join(ConnectionId, Box<DataStream>),
}

/// What one worker listens on.
#[derive(Debug, Default)]
pub(super) struct Listening {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Vec<Acceptor>,
}

/// What a worker needs to know of the configuration.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) streams: StreamOptions,
    pub(super) sessions: SessionOptions,
    /// Plain UDP.
    pub(super) plain_datagrams: bool,
    /// Which worker this is.
    pub(super) index: usize,
    pub(super) workers: Workers,
}

/// Owns everything that it touches for a packet. Its tasks share it, each borrowing it for the
/// length of one synchronous call and never across an await.
pub(super) struct Worker {
    pub(super) server: Server,
    pub(super) io: Io,
    pub(super) receiver: Receiver,
    queue: SendQueue,
    /// Sockets that may have more than one batch waiting; each gets one batch a round.
    ready: VecDeque<Via>,
    /// Until when the worker's own task sleeps.
    asleep_until: Instant,
    /// Tells it that something is due earlier.
    rearm: Rc<Notify>,
    /// When to look again whether a retired listening socket is still used.
    retired_check: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        listeners: Vec<UdpSocket>,
        options: Options,
    ) -> io::Result<Self> {
        let now = now();
        Ok(Self {
            server: Server::new(shared, now).on_worker(options.index),
            io: Io {
                sockets: Sockets::new(listeners)?,
                streams: Streams::new(options.streams),
                sessions: Sessions::new(options.sessions),
                peers: Peers::new(options.workers),
                plain_datagrams: options.plain_datagrams,
                log: EventLog::default(),
            },
            receiver: Receiver::new(),
            queue: SendQueue::new(),
            ready: VecDeque::new(),
            asleep_until: now.mono + IDLE,
            rearm: Rc::new(Notify::new()),
            retired_check: None,
        })
    }

    /// Serves until it is told to stop. Runs on a current-thread runtime, within a local set.
    pub(super) async fn run(
        self,
        acceptors: Vec<Acceptor>,
        mut commands: UnboundedReceiver<Command>,
    ) -> io::Result<()> {
        let readiness = watch_readable(self.io.sockets.poll_fd()?)?;
        let rearm = Rc::clone(&self.rearm);
        let worker = Rc::new(RefCell::new(self));
        worker.borrow_mut().io.peers.belong_to(&worker);
        let take = |acceptor: Acceptor| {
            let task = accept(Rc::clone(&worker), acceptor);
            tokio::task::spawn_local(task)
        };
        let mut accepting: HashMap<SocketAddr, JoinHandle<()>> = HashMap::new();
        accepting.extend(acceptors.into_iter().map(|a| (a.addr(), take(a))));
        let sleep = tokio::time::sleep(IDLE);
        tokio::pin!(sleep);
        let mut more = false;
        loop {
            let due = worker.borrow_mut().sleep_until();
            if due < sleep.deadline().into_std() {
                sleep.as_mut().reset(due.into());
            }
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(Command::Ask(ask)) => {
                        worker.borrow_mut().answer(now(), ask);
                        continue;
                    }
                    Some(Command::Listen(added, removed)) => {
                        for task in removed.iter().filter_map(|addr| accepting.remove(addr)) {
                            task.abort();
                            // Gone when this returns, and with it the socket.
                            let _ = task.await;
                        }
                        accepting.extend(added.tcp.into_iter().map(|a| (a.addr(), take(a))));
                        worker.borrow_mut().listen(now(), added.udp, &removed)?;
                        continue;
                    }
                    Some(Command::Join(connection, data)) => {
                        worker.borrow_mut().join(connection, *data);
                        continue;
                    }
                },
                () = &mut sleep => {
                    let due = worker.borrow_mut().timeout(now());
                    sleep.as_mut().reset(due.into());
                    continue;
                }
                () = rearm.notified() => continue,
                // Cleared before the sockets are asked: what comes later wakes the worker again.
                ready = readiness.readable(), if !more => ready?.clear_ready(),
                () = tokio::task::yield_now(), if more => {}
            }
            more = worker.borrow_mut().round()?;
        }
        let mut worker = worker.borrow_mut();
        let now = now();
        worker.server.handle_shutdown(now);
        worker.apply_outputs(now);
        Ok(())
    }

    fn answer(&mut self, now: Now, ask: Ask) {
        ask(now, &mut self.server, self.queue.counters());
        self.apply_outputs(now);
    }

    fn listen(
        &mut self,
        now: Now,
        added: Vec<UdpSocket>,
        removed: &[SocketAddr],
    ) -> io::Result<()> {
        for addr in removed {
            self.io.sockets.retire(*addr);
        }
        for socket in added {
            self.io.sockets.listen(socket)?;
        }
        self.close_retired(now);
        Ok(())
    }

    /// Closes listening sockets whose last client has gone.
    fn close_retired(&mut self, now: Now) {
        let (server, sessions) = (&self.server, &self.io.sessions);
        let used = |id| server.uses(id) || sessions.use_listener(id);
        let left = self.io.sockets.close_retired(used);
        self.retired_check = left.then(|| now.mono + RETIRED_CHECK);
    }

    /// When something is due, or long from now.
    fn next_due(&self) -> Option<Instant> {
        let server = self.server.poll_timeout();
        let io = [
            self.io.streams.next_check(),
            self.io.sessions.next_check(),
            self.retired_check,
        ];
        server.into_iter().chain(io.into_iter().flatten()).min()
    }

    /// Remembers until when the worker's own task is going to sleep.
    fn sleep_until(&mut self) -> Instant {
        // Relayed packets leave the earliest deadline alone, so this is rarely true.
        if let Some(due) = self.next_due()
            && due < self.asleep_until
        {
            self.asleep_until = due;
        }
        self.asleep_until
    }

    /// Wakes the worker's own task if something became due earlier than it knows.
    pub(super) fn arm(&mut self) {
        if self.next_due().is_some_and(|due| due < self.asleep_until) {
            self.rearm.notify_one();
        }
    }

    fn timeout(&mut self, now: Now) -> Instant {
        self.server.handle_timeout(now);
        self.apply_outputs(now);
        self.check_streams(now);
        self.io.check_sessions(now, &mut self.server);
        if self.retired_check.is_some_and(|at| at <= now.mono) {
            self.close_retired(now);
        }
        self.asleep_until = self.next_due().unwrap_or_else(|| now.mono + IDLE);
        self.asleep_until
    }

    /// Does what the server asks for.
    pub(super) fn apply_outputs(&mut self, now: Now) {
        self.io.apply_outputs(now, &mut self.server);
        self.io.streams.flush();
    }

    /// Serves one batch of every socket that is ready; `true` when some have more.
    ///
    /// A socket that floods waits for its next turn behind all others.
    fn round(&mut self) -> io::Result<bool> {
        let ready = &mut self.ready;
        let more = self.io.sockets.poll_ready(|via| {
            if !ready.contains(&via) {
                ready.push_back(via);
            }
        })?;
        let now = now();
        for _ in 0..self.ready.len() {
            let Some(via) = self.ready.pop_front() else {
                break;
            };
            if self.serve(now, via) {
                self.ready.push_back(via);
            }
        }
        Ok(more || !self.ready.is_empty())
    }

    /// Takes one batch from a socket; `true` when there may be more.
    fn serve(&mut self, now: Now, via: Via) -> bool {
        let Some(socket) = self.io.sockets.get(via) else {
            return false;
        };
        let addr = socket.addr();
        let more = match self.receiver.receive(socket) {
            Ok(more) => more,
            Err(error) => {
                self.io.log.socket_failed(now, addr, &error);
                return false;
            }
        };
        match via {
            Via::Listener(id) => self.serve_clients(now, id, addr),
            Via::Relay(id) => self.serve_peers(now, id),
        }
        self.flush();
        self.io.streams.flush();
        more
    }

    /// Sends what waits; before the receiver takes the next batch.
    pub(super) fn flush(&mut self) {
        let sockets = &self.io.sockets;
        self.queue.flush(&self.receiver, |via| sockets.get(via));
    }

    fn serve_clients(&mut self, now: Now, socket: SocketId, addr: SocketAddr) {
        let Self {
            server,
            io,
            receiver,
            queue,
            ..
        } = self;
        let retired = io.sockets.is_retired(socket);
        for datagram in receiver.datagrams() {
            let local = SocketAddr::new(datagram.local.unwrap_or(addr.ip()), addr.port());
            let route = Route {
                listener: socket,
                server: local,
                client: datagram.source,
            };
            let tuple = FiveTuple {
                transport: Transport::Udp,
                client: datagram.source,
                server: local,
            };
            let plain = Path { tuple, socket };
            if retired && !server.has_allocation(&plain) && !io.sessions.knows(route) {
                continue;
            }
            let (mut named, mut bytes) = (route.named(), datagram.bytes);
            let proxied = io.sessions.trusts(datagram.source.ip());
            if proxied {
                match io.sessions.unwrap_datagram(route, datagram.bytes) {
                    Some(unwrapped) => (named, bytes) = unwrapped,
                    None => {
                        server.count_drops(DropReason::Proxy, 1);
                        continue;
                    }
                }
            }
            if is_dtls(bytes) {
                io.dtls_datagram(now, server, route, named, bytes);
                continue;
            }
            if !io.plain_datagrams {
                continue;
            }
            let path = if proxied {
                match io.proxied_path(now, server, route, named) {
                    Some(path) => path,
                    None => continue,
                }
            } else {
                plain
            };
            let verdict = server.handle_client(now, &path, bytes);
            relay_to_peer(queue, receiver, &verdict, datagram.traffic_class);
            if server.has_output() {
                // What was relayed before a relay closes still leaves by it.
                queue.flush(receiver, |via| io.sockets.get(via));
                io.apply_outputs(now, server);
            }
        }
    }

    /// Handles one frame of a stream: `range` of the scratch buffer, of which `len` bytes are in use.
    pub(super) fn client_packet(&mut self, now: Now, path: &Path, len: usize, range: Range<usize>) {
        let Self {
            server,
            io,
            receiver,
            queue,
            ..
        } = self;
        let frame = &receiver.filled(len)[range];
        let verdict = server.handle_client(now, path, frame);
        // Nothing of a TCP segment's traffic class means the datagram (RFC 8656 §16).
        relay_to_peer(queue, receiver, &verdict, 0);
        if server.has_output() {
            queue.flush(receiver, |via| io.sockets.get(via));
            io.apply_outputs(now, server);
        }
    }

    fn serve_peers(&mut self, now: Now, relay: RelayId) {
        let Self {
            server,
            io,
            receiver,
            queue,
            ..
        } = self;
        for datagram in receiver.datagrams() {
            // A datagram is never longer than 65,527 bytes.
            let len = datagram.bytes.len() as u16;
            if let PeerVerdict::ToClient { path, header } =
                server.handle_peer(now, relay, datagram.source, len)
            {
                match Way::of(path.socket) {
                    Way::Stream(id) => io.streams.push_data(id, &header, datagram.bytes),
                    Way::Session(id) => {
                        io.sessions
                            .send_data(&io.sockets, id, &header, datagram.bytes);
                    }
                    Way::Listener(_) => queue.push(
                        receiver,
                        &Outgoing {
                            via: Via::Listener(path.socket),
                            to: path.tuple.client,
                            from: io.sockets.source(&path),
                            header: Some(header),
                            payload: datagram.bytes,
                            dont_fragment: false,
                            traffic_class: datagram.traffic_class,
                        },
                    ),
                }
            }
            if server.has_output() {
                queue.flush(receiver, |via| io.sockets.get(via));
                io.apply_outputs(now, server);
            }
        }
    }
}

/// Queues what a client sends to a peer; the payload lies in `receiver`.
fn relay_to_peer(
    queue: &mut SendQueue,
    receiver: &Receiver,
    verdict: &ClientVerdict<'_>,
    traffic_class: u8,
) {
    if let ClientVerdict::ToPeer {
        relay,
        peer,
        payload,
        dont_fragment,
    } = *verdict
    {
        queue.push(
            receiver,
            &Outgoing {
                via: Via::Relay(relay),
                to: peer.0,
                from: None,
                header: None,
                payload,
                dont_fragment,
                traffic_class,
            },
        );
    }
}
