//! One worker thread: its server, its sockets, and the loop that joins them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::log::EventLog;
use super::naps::Naps;
use super::now;
use super::sockets::Sockets;
use super::udp::{Outgoing, Receiver, SendQueue, UdpSocket, Via, sharpen_timers, watch_readable};
use crate::Now;
use crate::server::five_tuple::{FiveTuple, Path, SocketId, Transport};
use crate::server::output::{ClientVerdict, Output, PeerVerdict, RelayId};
use crate::server::shared::Shared;
use crate::server::{OpenError, Server};

/// How long an idle worker sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What the rest of the daemon tells a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// End every allocation and return.
    Stop,
}

/// Owns everything that it touches for a packet.
pub(super) struct Worker {
    server: Server,
    sockets: Sockets,
    receiver: Receiver,
    queue: SendQueue,
    /// Sockets that may have more than one batch waiting; each gets one batch a round.
    ready: VecDeque<Via>,
    log: EventLog,
    naps: Naps,
    /// Datagrams of the last round.
    served: usize,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, listeners: Vec<UdpSocket>) -> io::Result<Self> {
        Ok(Self {
            server: Server::new(shared, now()),
            sockets: Sockets::new(listeners)?,
            receiver: Receiver::new(),
            queue: SendQueue::new(),
            ready: VecDeque::new(),
            log: EventLog::default(),
            naps: Naps::default(),
            served: 0,
        })
    }

    /// Serves until it is told to stop. Runs on a current-thread runtime.
    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>) -> io::Result<()> {
        let readiness = watch_readable(self.sockets.poll_fd()?)?;
        sharpen_timers();
        let sleep = tokio::time::sleep(IDLE);
        tokio::pin!(sleep);
        let mut more = false;
        loop {
            // Relayed packets leave the earliest deadline alone, so this is rarely true.
            if let Some(due) = self.server.poll_timeout().map(Instant::from_std)
                && due < sleep.deadline()
            {
                sleep.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                },
                () = &mut sleep => {
                    let now = now();
                    self.server.handle_timeout(now);
                    apply_outputs(now, &mut self.server, &mut self.sockets, &mut self.log);
                    let due = self.server.poll_timeout().map(Instant::from_std);
                    sleep.as_mut().reset(due.unwrap_or_else(|| Instant::now() + IDLE));
                    continue;
                }
                // Cleared before the sockets are asked: what comes later wakes the worker again.
                ready = readiness.readable(), if !more => ready?.clear_ready(),
                () = tokio::task::yield_now(), if more => {}
            }
            more = self.round()?;
            if !more && let Some(nap) = self.naps.after(std::time::Instant::now(), self.served) {
                std::thread::sleep(nap);
                more = true;
            }
        }
        let now = now();
        self.server.handle_shutdown(now);
        apply_outputs(now, &mut self.server, &mut self.sockets, &mut self.log);
        Ok(())
    }

    /// Serves one batch of every socket that is ready; `true` when some have more.
    ///
    /// A socket that floods waits for its next turn behind all others.
    fn round(&mut self) -> io::Result<bool> {
        let ready = &mut self.ready;
        let more = self.sockets.poll_ready(|via| {
            if !ready.contains(&via) {
                ready.push_back(via);
            }
        })?;
        let now = now();
        self.served = 0;
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
        let Some(socket) = self.sockets.get(via) else {
            return false;
        };
        let addr = socket.addr();
        let more = match self.receiver.receive(socket) {
            Ok(more) => more,
            Err(error) => {
                self.log.socket_failed(now, addr, &error);
                return false;
            }
        };
        self.served += self.receiver.len();
        match via {
            Via::Listener(id) => self.serve_clients(now, id, addr),
            Via::Relay(id) => self.serve_peers(now, id),
        }
        self.queue
            .flush(&self.receiver, |via| self.sockets.get(via));
        more
    }

    fn serve_clients(&mut self, now: Now, socket: SocketId, addr: SocketAddr) {
        let Self {
            server,
            sockets,
            receiver,
            queue,
            log,
            ..
        } = self;
        for datagram in receiver.datagrams() {
            let local = SocketAddr::new(datagram.local.unwrap_or(addr.ip()), addr.port());
            let tuple = FiveTuple {
                transport: Transport::Udp,
                client: datagram.source,
                server: local,
            };
            let path = Path { tuple, socket };
            if let ClientVerdict::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } = server.handle_client(now, &path, datagram.bytes)
            {
                let via = Via::Relay(relay);
                let (to, from, header) = (peer.0, None, None);
                queue.push(
                    receiver,
                    &Outgoing {
                        via,
                        to,
                        from,
                        header,
                        payload,
                        dont_fragment,
                        traffic_class: datagram.traffic_class,
                    },
                );
            }
            if server.has_output() {
                // What was relayed before a relay closes still leaves by it.
                queue.flush(receiver, |via| sockets.get(via));
                apply_outputs(now, server, sockets, log);
            }
        }
    }

    fn serve_peers(&mut self, now: Now, relay: RelayId) {
        let Self {
            server,
            sockets,
            receiver,
            queue,
            log,
            ..
        } = self;
        for datagram in receiver.datagrams() {
            // A datagram is never longer than 65,507 bytes.
            let len = datagram.bytes.len() as u16;
            if let PeerVerdict::ToClient { path, header } =
                server.handle_peer(now, relay, datagram.source, len)
            {
                queue.push(
                    receiver,
                    &Outgoing {
                        via: Via::Listener(path.socket),
                        to: path.tuple.client,
                        from: sockets.source(&path),
                        header: Some(header),
                        payload: datagram.bytes,
                        dont_fragment: false,
                        traffic_class: datagram.traffic_class,
                    },
                );
            }
            if server.has_output() {
                queue.flush(receiver, |via| sockets.get(via));
                apply_outputs(now, server, sockets, log);
            }
        }
    }
}

/// Does what the server asks for.
fn apply_outputs(now: Now, server: &mut Server, sockets: &mut Sockets, log: &mut EventLog) {
    while let Some(output) = server.poll_output() {
        match output {
            Output::Transmit { path, message } => {
                if let Some(socket) = sockets.get(Via::Listener(path.socket)) {
                    // The client asks again when an answer is lost.
                    let _ = socket.send(&message, path.tuple.client, sockets.source(&path));
                }
            }
            Output::OpenRelay { relay, addr } => {
                let opened = UdpSocket::bind_relay(addr)
                    .and_then(|socket| sockets.open_relay(relay, socket));
                let opened = opened.map_err(|error| {
                    if error.kind() == io::ErrorKind::AddrInUse {
                        OpenError::InUse
                    } else {
                        log.socket_failed(now, addr, &error);
                        OpenError::Failed
                    }
                });
                server.handle_relay_opened(now, relay, opened);
            }
            Output::CloseRelay { relay } => sockets.close_relay(relay),
            // Nothing but the server itself relays yet.
            Output::ChannelUp(_) | Output::ChannelDown(_) => {}
            Output::Event(event) => log.write(now, &event),
        }
    }
}
