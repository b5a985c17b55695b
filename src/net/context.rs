//! Context of one turn: everything that a packet may need besides the client that it comes from.

use std::io;
use std::net::SocketAddr;

use turnd_proto::Now;
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::five_tuple::{FiveTuple, Path};
use turnd_proto::server::output::{ClientVerdict, Output, PeerVerdict, RelayId};
use turnd_proto::server::{OpenError, Server, UserAnswer};
use turnd_udp::{Datagram, Receiver, UdpSocket};

use super::admission::Admission;
use super::counters::NetCounters;
use super::egress::{Egress, Message, traffic_class};
use super::handshake::Failure;
use super::log::EventLog;
use super::mailbox::Mailbox;
use super::tcp_relay::TcpRelay;

/// The one place where a client's bytes meet the server, where a peer's do, and where the server's
/// outputs are carried out.
pub(super) struct Ctx<'a> {
    pub(super) now: Now,
    /// Holder of the datagrams that are served.
    pub(super) receiver: &'a Receiver,
    pub(super) server: &'a mut Server,
    pub(super) egress: &'a mut Egress,
    pub(super) admission: &'a mut Admission,
    pub(super) counters: &'a mut NetCounters,
    pub(super) tcp_relay: &'a mut TcpRelay,
    pub(super) log: &'a mut EventLog,
    pub(super) mailboxes: &'a [Mailbox],
}

/// Order to give a client's stream to the worker that has its peer connection (RFC 6062 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandOver {
    pub(super) connection: ConnectionId,
    /// Index of the worker.
    pub(super) worker: usize,
}

impl Ctx<'_> {
    /// Handles one message of a client: a datagram, a record or one whole frame of a stream.
    ///
    /// The message is all of `datagram`, or part of it; `None`: it came otherwise. A returned order
    /// concerns the stream of `path`, and the message was the last one on it.
    pub(super) fn client_packet(
        &mut self,
        path: &Path,
        message: &[u8],
        datagram: Option<&Datagram<'_>>,
    ) -> Option<HandOver> {
        let verdict = self.server.handle_client(self.now, path, message);
        self.egress.send_to_peer(self.receiver, &verdict, datagram);
        if let ClientVerdict::Drop(reason) = verdict
            && EventLog::wants_packets()
        {
            self.log
                .client_packet_dropped(self.now, &path.tuple, reason);
        }
        self.apply_outputs()
    }

    /// Handles a datagram that has come from a peer.
    pub(super) fn peer_packet(&mut self, relay: RelayId, datagram: &Datagram<'_>) {
        // A datagram is never longer than 65,527 bytes.
        let len = datagram.bytes.len() as u16;
        let source = datagram.source;
        match self.server.handle_peer(self.now, relay, source, len) {
            PeerVerdict::ToClient { path, header } => {
                let message = Message::Data {
                    header: &header,
                    payload: datagram.bytes,
                    traffic_class: traffic_class(datagram, path.tuple.client),
                };
                self.egress.send_to_client(self.receiver, &path, &message);
            }
            PeerVerdict::Drop(reason) if EventLog::wants_packets() => {
                self.log.peer_packet_dropped(self.now, source, reason);
            }
            PeerVerdict::Drop(_) => {}
        }
        self.apply_outputs();
    }

    /// Counts and logs a handshake that has failed; `name`: the one that the client asked for.
    pub(super) fn handshake_failed(
        &mut self,
        tuple: &FiveTuple,
        name: Option<&str>,
        failure: Failure,
    ) {
        self.counters.handshake_failed(failure.reason);
        self.log.handshake_failed(self.now, tuple, name, failure);
    }

    /// Ends the allocation of a client whose connection is gone.
    pub(super) fn disconnect(&mut self, path: &Path) {
        self.server.handle_disconnect(self.now, path);
        self.apply_outputs();
    }

    /// Carries out the server's outputs, but for a returned order about the stream whose message
    /// was handled.
    pub(super) fn apply_outputs(&mut self) -> Option<HandOver> {
        let mut hand_over = None;
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Transmit { path, message } => {
                    let message = Message::Control(&message);
                    self.egress.send_to_client(self.receiver, &path, &message);
                }
                Output::OpenRelay { relay, addr } => {
                    let opened = UdpSocket::bind(addr)
                        .and_then(|socket| self.egress.sockets.open_relay(relay, socket));
                    self.relay_opened(relay, addr, opened);
                }
                Output::OpenTcpRelay { relay, addr } => {
                    let opened = self.tcp_relay.listen(relay, addr);
                    self.relay_opened(relay, addr, opened);
                }
                Output::Connect {
                    connection,
                    from,
                    to,
                } => self.tcp_relay.connect(connection, from, to.0),
                Output::CloseConnection { connection } => self.tcp_relay.close(connection),
                Output::HandOver {
                    connection, worker, ..
                } => hand_over = Some(HandOver { connection, worker }),
                Output::CloseRelay { relay } => {
                    // Packets that were relayed before still leave by it, and not by the next of its name.
                    self.egress.flush(self.receiver);
                    if !self.tcp_relay.close_relay(relay) {
                        self.egress.sockets.close_relay(relay);
                    }
                }
                // Nothing but the server itself relays yet.
                Output::ChannelUp(_) | Output::ChannelDown { .. } => {}
                // No setting turns look-ups on; a request would not wait for nothing.
                Output::LookupUser { id, .. } => {
                    self.server.handle_user(self.now, id, UserAnswer::Failed);
                }
                Output::Idle { path } => self.admission.allocation_ended(path.socket),
                Output::Event(event) => self.log.write(self.now, &event),
            }
        }
        hand_over
    }

    fn relay_opened(&mut self, relay: RelayId, addr: SocketAddr, opened: io::Result<()>) {
        let opened = opened.map_err(|error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                OpenError::InUse
            } else {
                self.log.socket_failed(self.now, addr, &error);
                OpenError::Failed
            }
        });
        self.server.handle_relay_opened(self.now, relay, opened);
    }
}
