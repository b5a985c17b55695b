//! Everything of a worker that packets leave by.

use std::net::SocketAddr;

use super::admission::Admission;
use super::log::EventLog;
use super::peers::Peers;
use super::session::Sessions;
use super::sockets::Sockets;
use super::stream::{Acceptors, Streams};
use super::udp::{Outgoing, Receiver, SendQueue, UdpSocket, Via};
use super::way::Way;
use turnd_proto::Now;
use turnd_proto::server::five_tuple::Path;
use turnd_proto::server::output::Output;
use turnd_proto::server::{OpenError, Server};

/// Sockets, streams, and the log of what becomes of them.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) sockets: Sockets,
    /// What leaves by them when the batch at hand is done.
    pub(super) queue: SendQueue,
    pub(super) acceptors: Acceptors,
    pub(super) streams: Streams,
    pub(super) sessions: Sessions,
    /// Clients of both kinds that have no allocation.
    pub(super) admission: Admission,
    pub(super) peers: Peers,
    /// Not `no-udp`.
    pub(super) plain_datagrams: bool,
    pub(super) log: EventLog,
}

/// What a packet meets: the time, the server, and the batch that it came in.
pub(super) struct Serving<'a> {
    pub(super) now: Now,
    pub(super) server: &'a mut Server,
    pub(super) receiver: &'a Receiver,
}

impl Io {
    /// Does what the server asks for.
    pub(super) fn apply_outputs(&mut self, serving: &mut Serving<'_>) {
        while let Some(output) = serving.server.poll_output() {
            self.apply(serving, output);
        }
    }

    /// Sends what waits; before `receiver` takes the next batch.
    pub(super) fn flush(&mut self, receiver: &Receiver) {
        let sockets = &self.sockets;
        self.queue.flush(receiver, |via| sockets.get(via));
    }

    fn apply(&mut self, serving: &mut Serving<'_>, output: Output) {
        let Serving {
            now,
            server,
            receiver,
        } = serving;
        let now = *now;
        match output {
            Output::Transmit { path, message } => self.transmit(&path, &message),
            Output::OpenRelay { relay, addr } => {
                let opened = UdpSocket::bind_relay(addr)
                    .and_then(|socket| self.sockets.open_relay(relay, socket));
                let opened = opened.map_err(|error| self.open_error(now, addr, &error));
                server.handle_relay_opened(now, relay, opened);
            }
            Output::OpenTcpRelay { relay, addr } => {
                let opened = self.peers.listen(relay, addr);
                let opened = opened.map_err(|error| self.open_error(now, addr, &error));
                server.handle_relay_opened(now, relay, opened);
            }
            Output::Connect {
                connection,
                from,
                to,
            } => self.peers.connect(connection, from, to.0),
            Output::CloseConnection { connection } => self.peers.close(connection),
            Output::HandOver {
                path,
                connection,
                worker,
            } => self.streams.hand_over(&path, connection, worker),
            Output::CloseRelay { relay } => {
                // What was relayed before still leaves by it, and not by the next of its name.
                self.flush(receiver);
                if !self.peers.close_relay(relay) {
                    self.sockets.close_relay(relay);
                }
            }
            // Nothing but the server itself relays yet.
            Output::ChannelUp(_) | Output::ChannelDown { .. } => {}
            Output::Idle { path } => self.idle_again(now, &path),
            Output::Event(event) => self.log.write(now, &event),
        }
    }

    fn idle_again(&mut self, now: Now, path: &Path) {
        let admission = &mut self.admission;
        match Way::of(path.socket) {
            Way::Stream(id) => self.streams.idle_again(now, admission, id),
            Way::Session(id) => self.sessions.idle_again(now, admission, id),
            // Nothing is kept of a client of plain UDP.
            Way::Listener(_) => {}
        }
    }

    fn transmit(&mut self, path: &Path, message: &[u8]) {
        match Way::of(path.socket) {
            Way::Stream(id) => self.streams.push_control(id, message),
            Way::Session(id) => self
                .sessions
                .send(&mut self.queue, &self.sockets, id, message),
            Way::Listener(_) => self.queue.push_copy(&Outgoing::plain(
                Via::Listener(path.socket),
                path.tuple.client,
                self.sockets.source(path),
                message,
            )),
        }
    }

    fn open_error(&mut self, now: Now, addr: SocketAddr, error: &std::io::Error) -> OpenError {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            OpenError::InUse
        } else {
            self.log.socket_failed(now, addr, error);
            OpenError::Failed
        }
    }
}
