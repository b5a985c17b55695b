//! One worker thread: its server, its sockets, and the loop that serves them.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use mio::Registry;
use turnd_proto::Now;
use turnd_proto::server::Server;
use turnd_proto::server::five_tuple::ClientSocket;
use turnd_proto::server::shared::Shared;
use turnd_udp::Receiver;

use super::admission::{Admission, AdmissionOptions, Displaced};
use super::context::Ctx;
use super::counters::NetCounters;
use super::egress::Egress;
#[cfg(debug_assertions)]
use super::fault::Fault;
use super::log::EventLog;
use super::mailbox::{Command, Inbox, Listening, Mailbox};
use super::now;
use super::poll::{Poller, Readiness, Source, Turn, UdpSocketId};
use super::tcp::{Acceptors, TcpClients, TcpOptions};
use super::tcp_relay::TcpRelay;
use super::udp_clients::{UdpClients, UdpOptions};
use super::udp_sockets::UdpSockets;

/// The part of the configuration that a worker needs.
#[derive(Debug)]
pub(super) struct WorkerOptions {
    pub(super) tcp: TcpOptions,
    pub(super) udp: UdpOptions,
    pub(super) admission: AdmissionOptions,
    /// Index of this worker.
    pub(super) index: usize,
    /// Mailboxes of all workers.
    pub(super) mailboxes: Arc<[Mailbox]>,
}

/// Owns everything that it touches for a packet.
pub(super) struct Worker {
    poller: Poller,
    registry: Registry,
    commands: mpsc::Receiver<Command>,
    receiver: Receiver,
    parts: Parts,
    acceptors: Acceptors,
    tcp: TcpClients,
    udp: UdpClients,
    #[cfg(debug_assertions)]
    fault: Option<Fault>,
}

/// The parts of a worker that every packet may need, whatever client it comes from.
struct Parts {
    server: Server,
    egress: Egress,
    admission: Admission,
    counters: NetCounters,
    tcp_relay: TcpRelay,
    log: EventLog,
    mailboxes: Arc<[Mailbox]>,
}

impl Parts {
    fn ctx<'a>(&'a mut self, now: Now, receiver: &'a Receiver) -> Ctx<'a> {
        Ctx {
            now,
            receiver,
            server: &mut self.server,
            egress: &mut self.egress,
            admission: &mut self.admission,
            counters: &mut self.counters,
            tcp_relay: &mut self.tcp_relay,
            log: &mut self.log,
            mailboxes: &self.mailboxes,
        }
    }
}

/// Something that has happened to a client without a packet of its own.
#[derive(Clone, Copy, Debug)]
enum Occasion {
    /// The client's deadline has come.
    Due,
    /// The client's allocation has ended.
    AllocationEnded,
    /// The client has to end, as another needs its place.
    Displaced(Displaced),
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: Inbox,
        listening: Listening,
        options: WorkerOptions,
    ) -> io::Result<Self> {
        let Inbox { poller, commands } = inbox;
        let registry = poller.registry()?;
        let mut acceptors = Acceptors::new(poller.registry()?);
        for acceptor in listening.tcp {
            acceptors.add(acceptor)?;
        }
        let sockets = UdpSockets::new(poller.registry()?, listening.udp)?;
        let index = options.index;
        Ok(Self {
            parts: Parts {
                server: Server::new(shared, crate::random::bytes(), now()).on_worker(index),
                egress: Egress::new(sockets),
                admission: Admission::new(options.admission, index),
                counters: NetCounters::default(),
                tcp_relay: TcpRelay::new(poller.registry()?),
                log: EventLog::new(options.mailboxes.len()),
                mailboxes: options.mailboxes,
            },
            poller,
            registry,
            commands,
            receiver: Receiver::new(),
            acceptors,
            tcp: TcpClients::new(options.tcp),
            udp: UdpClients::new(options.udp),
            #[cfg(debug_assertions)]
            fault: Fault::from_env(index),
        })
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut time = now();
        loop {
            let due = self.next_due();
            self.poller.wait(time.mono, due)?;
            time = now();
            if due.is_some_and(|due| due <= time.mono) {
                self.on_due(time);
            }
            self.poller.end_pauses(time.mono);
            self.parts.server.tell_details(EventLog::wants_details());
            if self.round(time).is_break() {
                break;
            }
            #[cfg(debug_assertions)]
            if let Some(fault) = &mut self.fault {
                fault.apply()?;
            }
            self.end_round(time);
        }
        self.parts.server.handle_shutdown(time);
        self.parts.ctx(time, &self.receiver).apply_outputs();
        self.flush(time);
        self.parts.log.tell_suppressed();
        Ok(())
    }

    /// Gives everything that is ready one turn; what floods waits for its next one behind all
    /// others. Breaks when the worker is to stop.
    fn round(&mut self, now: Now) -> ControlFlow<()> {
        for _ in 0..self.poller.ready() {
            let Some((source, readiness)) = self.poller.next_ready() else {
                break;
            };
            let turn = self.dispatch(now, source, readiness)?;
            self.after_turn(now);
            self.poller.requeue(now.mono, source, turn);
        }
        ControlFlow::Continue(())
    }

    fn dispatch(
        &mut self,
        now: Now,
        source: Source,
        readiness: Readiness,
    ) -> ControlFlow<(), Turn> {
        if let Source::Datagrams(socket) = source {
            return ControlFlow::Continue(self.receive(now, socket));
        }
        let mut ctx = self.parts.ctx(now, &self.receiver);
        ControlFlow::Continue(match source {
            Source::Stream(id) => self.tcp.on_ready(&mut ctx, &self.registry, id, readiness),
            Source::Acceptor(id) => self.acceptors.on_ready(&mut ctx, &mut self.tcp, id),
            Source::TcpRelay(relay) => {
                let turn = ctx.tcp_relay.on_listener_ready(now, ctx.server, relay);
                ctx.apply_outputs();
                turn
            }
            Source::PeerConnection(key) => {
                let turn = ctx.tcp_relay.on_ready(now, ctx.server, key);
                ctx.apply_outputs();
                turn
            }
            Source::Commands => {
                self.handle_commands(now)?;
                Turn::Drained
            }
            Source::Datagrams(_) | Source::Alarm => Turn::Drained,
        })
    }

    /// Takes one batch from a UDP socket.
    fn receive(&mut self, now: Now, id: UdpSocketId) -> Turn {
        let Some(socket) = self.parts.egress.sockets.get(id) else {
            return Turn::Drained;
        };
        let addr = socket.addr();
        let more = match self.receiver.receive(socket) {
            Ok(more) => more,
            Err(error) => {
                self.parts.log.socket_failed(now, addr, &error);
                return Turn::Drained;
            }
        };
        let before = self.parts.counters.received_datagrams;
        let mut ctx = self.parts.ctx(now, &self.receiver);
        match id {
            UdpSocketId::Listener(id) => self.udp.on_datagrams(&mut ctx, id, addr),
            UdpSocketId::Relay(relay) => {
                for datagram in self.receiver.datagrams() {
                    ctx.counters.received_datagrams += 1;
                    ctx.peer_packet(relay, &datagram);
                }
            }
        }
        let counters = &mut self.parts.counters;
        counters.receive_calls += u64::from(counters.received_datagrams > before);
        Turn::more(more)
    }

    /// Settles what a turn has brought about, and sends what it has queued, before the receiver
    /// takes the next batch.
    fn after_turn(&mut self, now: Now) {
        while let Some(socket) = self.parts.admission.pop_ended() {
            self.on_occasion(now, socket, Occasion::AllocationEnded);
        }
        self.flush(now);
    }

    fn end_round(&mut self, now: Now) {
        while let Some(displaced) = self.parts.admission.next_displaced() {
            if self.parts.admission.is_own(&displaced) {
                let socket = displaced.client.socket;
                self.on_occasion(now, socket, Occasion::Displaced(displaced));
            } else if let Some(mailbox) = self.parts.mailboxes.get(displaced.client.worker) {
                mailbox.send(Command::Displace(displaced));
            }
        }
        let mut ctx = self.parts.ctx(now, &self.receiver);
        self.tcp.close_failed(&mut ctx);
        while let Some(source) = ctx.tcp_relay.pop_pending() {
            self.poller.make_ready(source);
        }
        self.after_turn(now);
    }

    /// Sends what is queued.
    fn flush(&mut self, now: Now) {
        let mut ctx = self.parts.ctx(now, &self.receiver);
        self.udp.dtls.flush(&mut ctx);
        ctx.egress.flush(&self.receiver);
        self.tcp.flush(&mut ctx);
    }

    /// Does what other threads have asked for.
    fn handle_commands(&mut self, now: Now) -> ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            let mut ctx = self.parts.ctx(now, &self.receiver);
            match command {
                Command::Stop => return ControlFlow::Break(()),
                Command::Ask(ask) => {
                    let mut counters = *ctx.counters;
                    counters.sent = ctx.egress.counters();
                    ask(now, ctx.server, counters);
                    ctx.apply_outputs();
                }
                Command::Refusals(answer) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(ctx.log.refusals().clone());
                }
                Command::Listen(added, wanted) => self.listen(now, added, &wanted),
                Command::Used(listeners, answer) => {
                    // Whoever asked may not wait any more.
                    let _ = answer.send(self.used(&listeners));
                }
                Command::Close(listeners, answer) => {
                    for addr in &*listeners {
                        ctx.egress.sockets.close_listener(*addr);
                    }
                    let _ = answer.send(());
                }
                Command::Join(connection, data) => {
                    ctx.tcp_relay.join(ctx.server, connection, *data);
                    ctx.apply_outputs();
                }
                Command::Displace(displaced) => {
                    let socket = displaced.client.socket;
                    self.on_occasion(now, socket, Occasion::Displaced(displaced));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn on_occasion(&mut self, now: Now, socket: ClientSocket, occasion: Occasion) {
        let (tcp, udp) = (&mut self.tcp, &mut self.udp);
        let ctx = &mut self.parts.ctx(now, &self.receiver);
        match (socket, occasion) {
            (ClientSocket::Stream(id), Occasion::Due) => tcp.on_due(ctx, id),
            (ClientSocket::Stream(id), Occasion::AllocationEnded) => {
                tcp.on_allocation_ended(ctx, id);
            }
            (ClientSocket::Stream(id), Occasion::Displaced(place)) => tcp.displace(id, &place),
            (ClientSocket::Dtls(id), Occasion::Due) => udp.dtls.on_due(ctx, id),
            (ClientSocket::Dtls(id), Occasion::AllocationEnded) => {
                udp.dtls.on_allocation_ended(ctx, id);
            }
            (ClientSocket::Dtls(id), Occasion::Displaced(place)) => {
                udp.dtls.displace(ctx, id, &place);
            }
            (ClientSocket::Proxied(id), Occasion::Due) => udp.on_due(ctx, id),
            (ClientSocket::Proxied(id), Occasion::AllocationEnded) => {
                udp.on_allocation_ended(ctx, id);
            }
            (ClientSocket::Proxied(id), Occasion::Displaced(place)) => {
                udp.displace(ctx, id, &place);
            }
            // Nothing is kept of a client of plain UDP.
            (ClientSocket::Listener(_), _) => {}
        }
    }

    fn listen(&mut self, now: Now, added: Listening, wanted: &[SocketAddr]) {
        let Parts { egress, log, .. } = &mut self.parts;
        // Without one listener the calls on all others go on.
        for socket in added.udp {
            let addr = socket.addr();
            if let Err(error) = egress.sockets.listen(socket) {
                log.socket_failed(now, addr, &error);
            }
        }
        for acceptor in added.tcp {
            let addr = acceptor.addr();
            if let Err(error) = self.acceptors.add(acceptor) {
                log.socket_failed(now, addr, &error);
            }
        }
        egress.sockets.want(wanted);
        self.acceptors.want(wanted);
    }

    /// The listening sockets among these that clients have come by.
    fn used(&self, listeners: &[SocketAddr]) -> Vec<SocketAddr> {
        let Parts { server, egress, .. } = &self.parts;
        let is_used = |addr: &SocketAddr| {
            let id = egress.sockets.listener_on(*addr);
            id.is_some_and(|id| {
                server.uses(ClientSocket::Listener(id)) || self.udp.use_listener(id)
            })
        };
        listeners.iter().copied().filter(is_used).collect()
    }

    /// The earliest of all deadlines.
    fn next_due(&self) -> Option<Instant> {
        let due = [
            self.parts.server.poll_timeout(),
            self.parts.admission.next_due(),
            self.acceptors.next_due(),
            self.parts.log.next_due(),
            #[cfg(debug_assertions)]
            self.fault.as_ref().map(Fault::next),
        ];
        due.into_iter().flatten().min()
    }

    fn on_due(&mut self, now: Now) {
        self.parts.server.handle_timeout(now);
        self.parts.ctx(now, &self.receiver).apply_outputs();
        while let Some(socket) = self.parts.admission.pop_due(now) {
            self.on_occasion(now, socket, Occasion::Due);
        }
        self.acceptors.on_due(now);
        self.parts.log.tell_if_due(now);
        self.after_turn(now);
    }
}

#[cfg(test)]
mod tests;
