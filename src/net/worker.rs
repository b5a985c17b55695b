//! One worker thread: its server, its sockets, and the loop that joins them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Waker};

use super::admission::{Admission, AdmissionOptions};
use super::alarm::Alarm;
#[cfg(debug_assertions)]
use super::fault::Fault;
use super::io::{Io, Serving};
use super::later::Later;
use super::log::EventLog;
use super::now;
use super::peers::{Peers, Workers};
use super::session::{Route, SessionOptions, Sessions, is_dtls};
use super::sockets::Sockets;
use super::source::{Source, Turn};
use super::stream::{Acceptor, Acceptors, DataStream, StreamOptions, Streams};
use super::udp::{Datagram, Outgoing, Receiver, SendCounters, SendQueue, UdpSocket, Via};
use super::way::Way;
use turnd_proto::Now;
use turnd_proto::policy::unallocated::Displaced;
use turnd_proto::server::Server;
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::five_tuple::{FiveTuple, Path, SocketId, Transport};
use turnd_proto::server::output::{ClientVerdict, DropReason, PeerVerdict, RelayId};
use turnd_proto::server::shared::Shared;

/// Sources whose readiness one call reports.
const EVENTS: usize = 512;

/// How often to look whether a retired listening socket is still used.
const RETIRED_CHECK: Duration = Duration::from_secs(1);

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
    /// End a client without an allocation, whose place another needs.
    Displace(Displaced),
}

/// The way to a worker, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    sender: mpsc::Sender<Command>,
    waker: Arc<Waker>,
}

impl Commands {
    /// Hands a command over; a worker that is gone drops it.
    pub(super) fn send(&self, command: Command) {
        if self.sender.send(command).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker cannot be woken");
        }
    }
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
    pub(super) admission: AdmissionOptions,
    /// Plain UDP.
    pub(super) plain_datagrams: bool,
    /// Which worker this is.
    pub(super) index: usize,
    /// How many there are.
    pub(super) count: usize,
    pub(super) workers: Workers,
}

/// Owns everything that it touches for a packet.
///
/// One epoll instance watches all that it serves: a wake-up costs the same for one ready socket as
/// for hundreds, and one packet costs no more system calls than waiting, receiving and sending.
pub(super) struct Worker {
    pub(super) server: Server,
    pub(super) io: Io,
    pub(super) receiver: Receiver,
    poll: Poll,
    events: Events,
    alarm: Alarm,
    commands: mpsc::Receiver<Command>,
    /// What is to have a turn; each gets one a round.
    ready: VecDeque<Source>,
    /// What is to have a turn by and by.
    later: Later,
    /// When to look again whether a retired listening socket is still used.
    retired_check: Option<Instant>,
    #[cfg(debug_assertions)]
    fault: Option<Fault>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        listening: Listening,
        options: Options,
    ) -> io::Result<(Self, Commands)> {
        let poll = Poll::new()?;
        let registry = || poll.registry().try_clone();
        let (sender, commands) = mpsc::channel();
        let waker = Arc::new(Waker::new(poll.registry(), Source::Commands.token())?);
        let mut acceptors = Acceptors::new(registry()?);
        for acceptor in listening.tcp {
            acceptors.add(acceptor)?;
        }
        let (index, time) = (options.index, now());
        let worker = Self {
            server: Server::new(shared, crate::random::bytes(), time).on_worker(index),
            io: Io {
                sockets: Sockets::new(registry()?, listening.udp)?,
                queue: SendQueue::new(),
                acceptors,
                streams: Streams::new(registry()?, options.streams),
                sessions: Sessions::new(options.sessions),
                admission: Admission::new(options.admission, index),
                peers: Peers::new(registry()?, options.workers),
                plain_datagrams: options.plain_datagrams,
                log: EventLog::new(options.count),
            },
            receiver: Receiver::new(),
            alarm: Alarm::new(poll.registry()),
            poll,
            events: Events::with_capacity(EVENTS),
            commands,
            ready: VecDeque::new(),
            later: Later::default(),
            retired_check: None,
            #[cfg(debug_assertions)]
            fault: Fault::from_env(index),
        };
        Ok((worker, Commands { sender, waker }))
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut time = now();
        loop {
            let due = self.next_due();
            self.wait(time, due)?;
            time = now();
            if due.is_some_and(|due| due <= time.mono) {
                self.timeout(time);
            }
            if self.round(time).is_break() {
                break;
            }
            #[cfg(debug_assertions)]
            if let Some(fault) = &mut self.fault {
                fault.apply()?;
            }
            self.io.streams.flush();
            self.displace(time);
            self.close_failed_streams(time);
            while let Some(source) = self.io.peers.next_stirred() {
                self.ready.push_back(source);
            }
            self.flush();
        }
        self.server.handle_shutdown(time);
        self.apply_outputs(time);
        self.flush();
        self.io.log.tell_suppressed();
        Ok(())
    }

    /// Sleeps until something is ready or due; `now` is when the last round began.
    fn wait(&mut self, now: Now, due: Option<Instant>) -> io::Result<()> {
        let patience = if self.ready.is_empty() {
            self.alarm.patience(now.mono, due)
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            polled => polled?,
        }
        let waiting = self.ready.len();
        for event in &self.events {
            let source = Source::of(event.token());
            if let Source::Stream(id) = source
                && (event.is_read_closed() || event.is_error())
            {
                self.io.streams.hang_up(id);
            }
            // The system names a descriptor once; a connection has two.
            let before = match source {
                Source::Connection(_) => self.ready.len(),
                _ => waiting,
            };
            if !self.ready.iter().take(before).any(|old| *old == source) {
                self.ready.push_back(source);
            }
        }
        Ok(())
    }

    /// Gives everything that is ready one turn; what floods waits for its next one behind all
    /// others. Breaks when the worker is to stop.
    fn round(&mut self, now: Now) -> ControlFlow<()> {
        for _ in 0..self.ready.len() {
            let Some(source) = self.ready.pop_front() else {
                break;
            };
            let turn = match source {
                Source::Datagrams(via) => Turn::more(self.serve_datagrams(now, via)),
                Source::Stream(id) => self.serve_stream(now, id),
                Source::Acceptor(index) => self.accept_streams(now, index),
                Source::TcpRelay(relay) => self.accept_peers(now, relay),
                Source::Connection(key) => self.serve_connection(now, key),
                // It is looked at in every round what is due.
                Source::Alarm => Turn::Drained,
                Source::Commands => {
                    if self.obey(now).is_break() {
                        return ControlFlow::Break(());
                    }
                    Turn::Drained
                }
            };
            match turn {
                Turn::Drained => {}
                Turn::More => self.ready.push_back(source),
                Turn::Later(pause) => self.later.add(now.mono + pause, source),
            }
        }
        ControlFlow::Continue(())
    }

    /// Does what other threads have asked for.
    fn obey(&mut self, now: Now) -> ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Stop => return ControlFlow::Break(()),
                Command::Ask(ask) => self.answer(now, ask),
                Command::Listen(added, removed) => self.listen(now, added, &removed),
                Command::Join(connection, data) => self.join(connection, *data),
                Command::Displace(displaced) => self.end_displaced(now, &displaced),
            }
        }
        ControlFlow::Continue(())
    }

    /// Ends the clients whose places others needed, or has their workers end them.
    fn displace(&mut self, now: Now) {
        while let Some(displaced) = self.io.admission.next_displaced() {
            if self.io.admission.is_own(&displaced) {
                self.end_displaced(now, &displaced);
            } else {
                self.io.peers.displace(displaced);
            }
        }
    }

    fn end_displaced(&mut self, now: Now, displaced: &Displaced) {
        let (io, mut serving) = self.split(now);
        match Way::of(SocketId(displaced.client.socket)) {
            Way::Stream(id) => io.streams.displace(id, displaced),
            Way::Session(id) => io.displace_session(&mut serving, id, displaced),
            Way::Listener(_) => {}
        }
    }

    fn answer(&mut self, now: Now, ask: Ask) {
        ask(now, &mut self.server, self.io.queue.counters());
        self.apply_outputs(now);
    }

    fn listen(&mut self, now: Now, added: Listening, removed: &[SocketAddr]) {
        for addr in removed {
            self.io.sockets.retire(*addr);
            self.io.acceptors.remove(*addr);
        }
        let Io {
            sockets,
            acceptors,
            log,
            ..
        } = &mut self.io;
        // Without one listener the calls on all others go on.
        for socket in added.udp {
            let addr = socket.addr();
            if let Err(error) = sockets.listen(socket) {
                log.socket_failed(now, addr, &error);
            }
        }
        for acceptor in added.tcp {
            let addr = acceptor.addr();
            if let Err(error) = acceptors.add(acceptor) {
                log.socket_failed(now, addr, &error);
            }
        }
        self.close_retired(now);
    }

    /// Closes listening sockets whose last client has gone.
    fn close_retired(&mut self, now: Now) {
        let (server, sessions) = (&self.server, &self.io.sessions);
        let used = |id| server.uses(id) || sessions.use_listener(id);
        let left = self.io.sockets.close_retired(used);
        self.retired_check = left.then(|| now.mono + RETIRED_CHECK);
    }

    /// When something is due.
    fn next_due(&self) -> Option<Instant> {
        let server = self.server.poll_timeout();
        let io = [
            self.io.streams.next_check(),
            self.io.sessions.next_check(),
            self.retired_check,
            self.later.next(),
            self.io.log.next_due(),
            #[cfg(debug_assertions)]
            self.fault.as_ref().map(Fault::next),
        ];
        server.into_iter().chain(io.into_iter().flatten()).min()
    }

    fn timeout(&mut self, now: Now) {
        self.server.handle_timeout(now);
        self.apply_outputs(now);
        self.check_streams(now);
        let (io, mut serving) = self.split(now);
        io.check_sessions(&mut serving);
        self.io.log.tell_if_due(now);
        if self.retired_check.is_some_and(|at| at <= now.mono) {
            self.close_retired(now);
        }
        // One that is ready as well has two turns, which costs less than to look for it.
        while let Some(source) = self.later.take_due(now.mono) {
            self.ready.push_back(source);
        }
    }

    /// Does what the server asks for.
    pub(super) fn apply_outputs(&mut self, now: Now) {
        let (io, mut serving) = self.split(now);
        io.apply_outputs(&mut serving);
        io.streams.flush();
    }

    /// Takes one batch from a socket; `true` when there may be more.
    fn serve_datagrams(&mut self, now: Now, via: Via) -> bool {
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
        self.io.flush(&self.receiver);
    }

    /// What packets leave by, and what they meet before.
    fn split(&mut self, now: Now) -> (&mut Io, Serving<'_>) {
        let serving = Serving {
            now,
            server: &mut self.server,
            receiver: &self.receiver,
        };
        (&mut self.io, serving)
    }

    fn serve_clients(&mut self, now: Now, socket: SocketId, addr: SocketAddr) {
        let (io, mut serving) = self.split(now);
        let receiver = serving.receiver;
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
            let plain = Path {
                tuple,
                socket,
                proxied: false,
            };
            if retired && !serving.server.has_allocation(&plain) && !io.sessions.knows(route) {
                continue;
            }
            let (mut named, mut bytes) = (route.named(), datagram.bytes);
            let proxied = io.sessions.trusts(datagram.source.ip());
            if proxied {
                match io.sessions.unwrap_datagram(route, datagram.bytes) {
                    Some(unwrapped) => (named, bytes) = unwrapped,
                    None => {
                        serving.server.count_drops(DropReason::Proxy, 1);
                        continue;
                    }
                }
            }
            if is_dtls(bytes) {
                io.dtls_datagram(&mut serving, route, named, bytes);
                continue;
            }
            if !io.plain_datagrams {
                continue;
            }
            let path = if proxied {
                match io.proxied_path(&mut serving, route, named) {
                    Some(path) => path,
                    None => continue,
                }
            } else {
                plain
            };
            let verdict = serving.server.handle_client(now, &path, bytes);
            relay_to_peer(&mut io.queue, receiver, &verdict, Some(&datagram));
            io.apply_outputs(&mut serving);
        }
    }

    /// Handles one frame of a stream: `range` of the scratch buffer, of which `len` bytes are in use.
    pub(super) fn client_packet(&mut self, now: Now, path: &Path, len: usize, range: Range<usize>) {
        let (io, mut serving) = self.split(now);
        let receiver = serving.receiver;
        let frame = &receiver.filled(len)[range];
        let verdict = serving.server.handle_client(now, path, frame);
        relay_to_peer(&mut io.queue, receiver, &verdict, None);
        io.apply_outputs(&mut serving);
    }

    fn serve_peers(&mut self, now: Now, relay: RelayId) {
        let (io, mut serving) = self.split(now);
        let receiver = serving.receiver;
        for datagram in receiver.datagrams() {
            // A datagram is never longer than 65,527 bytes.
            let len = datagram.bytes.len() as u16;
            if let PeerVerdict::ToClient { path, header } =
                serving.server.handle_peer(now, relay, datagram.source, len)
            {
                match Way::of(path.socket) {
                    Way::Stream(id) => io.streams.push_data(id, &header, datagram.bytes),
                    Way::Session(id) => {
                        let (queue, sockets) = (&mut io.queue, &io.sockets);
                        io.sessions
                            .send_data(queue, sockets, id, &header, datagram.bytes);
                    }
                    Way::Listener(_) => io.queue.push(
                        receiver,
                        &Outgoing {
                            via: Via::Listener(path.socket),
                            to: path.tuple.client,
                            from: io.sockets.source(&path),
                            header: Some(header),
                            payload: datagram.bytes,
                            dont_fragment: false,
                            traffic_class: datagram.traffic_class_to(path.tuple.client),
                        },
                    ),
                }
            }
            io.apply_outputs(&mut serving);
        }
    }
}

/// Queues what a client sends to a peer; the payload lies in `receiver`. It came in `datagram`, or
/// else in a stream, of which no packet's traffic class means this message (RFC 8656 §15).
fn relay_to_peer(
    queue: &mut SendQueue,
    receiver: &Receiver,
    verdict: &ClientVerdict<'_>,
    datagram: Option<&Datagram<'_>>,
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
                traffic_class: datagram.map_or(0, |datagram| datagram.traffic_class_to(peer.0)),
            },
        );
    }
}
