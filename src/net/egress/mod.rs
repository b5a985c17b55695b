//! Everything by which packets leave a worker.

mod pending;
mod write_queue;

use std::net::{IpAddr, SocketAddr};

use slab::Slab;
use turnd_proto::server::five_tuple::{ClientSocket, Path};
use turnd_proto::server::output::ClientVerdict;
use turnd_proto::wire::indication;
use turnd_proto::wire::proxy::Addresses;
use turnd_udp::{Datagram, Header, Outgoing, Receiver, SendCounters, SendQueue};

pub(super) use self::pending::PendingMessages;
pub(super) use self::write_queue::{WriteQueue, WriteQueues};
use super::poll::UdpSocketId;
use super::udp_sockets::UdpSockets;

// The header of every relayed payload fits the send queue's.
const _: () = assert!(indication::Header::MAX_LEN <= Header::MAX_LEN);

/// A message for a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message<'a> {
    /// Answer or indication of the server, which must not be lost without need.
    Control(&'a [u8]),
    /// Relayed data, which is dropped where it would have to wait.
    Data {
        header: &'a indication::Header,
        payload: &'a [u8],
        /// DSCP and ECN of the peer's packet.
        traffic_class: u8,
    },
}

impl<'a> Message<'a> {
    /// Header, payload and the number of zero bytes behind it.
    pub(super) fn parts(&self) -> (&'a [u8], &'a [u8], usize) {
        match self {
            Self::Control(message) => (&[], message, 0),
            Self::Data {
                header, payload, ..
            } => (header.as_bytes(), payload, header.padding()),
        }
    }
}

/// Both ends of the datagrams of one client, or of one port of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct UdpFlow {
    pub(super) listener: u16,
    /// Local address.
    pub(super) server: SocketAddr,
    /// Address of the client, or of the proxy before it.
    pub(super) client: SocketAddr,
}

impl UdpFlow {
    /// Addresses of the client's connection when there is no proxy.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            client: self.client,
            server: self.server,
        }
    }
}

/// Sockets and queues of a worker.
#[derive(Debug)]
pub(super) struct Egress {
    queue: SendQueue<UdpSocketId>,
    pub(super) sockets: UdpSockets,
    /// Bytes for clients on streams.
    pub(super) streams: WriteQueues,
    /// Messages for DTLS clients, to be encrypted.
    pub(super) dtls: PendingMessages,
    /// Flows of the clients behind proxies, by [`ClientSocket::Proxied`].
    pub(super) proxied: Slab<UdpFlow>,
}

impl Egress {
    pub(super) fn new(sockets: UdpSockets) -> Self {
        Self {
            queue: SendQueue::new(),
            sockets,
            streams: WriteQueues::default(),
            dtls: PendingMessages::default(),
            proxied: Slab::new(),
        }
    }

    /// Queues a message for the client of `path`. The bytes may lie in `receiver`, which then must
    /// not take another batch before [`Self::flush`].
    pub(super) fn send_to_client(
        &mut self,
        receiver: &Receiver,
        path: &Path,
        message: &Message<'_>,
    ) {
        match path.socket {
            ClientSocket::Listener(listener) => {
                let (to, from) = (path.tuple.client, path.tuple.server.ip());
                let traffic_class = match message {
                    Message::Control(_) => 0,
                    Message::Data { traffic_class, .. } => *traffic_class,
                };
                self.datagram(receiver, listener, to, from, message, traffic_class);
            }
            ClientSocket::Proxied(id) => {
                if let Some(flow) = self.proxied.get(id as usize).copied() {
                    let (to, from) = (flow.client, flow.server.ip());
                    self.datagram(receiver, flow.listener, to, from, message, 0);
                }
            }
            ClientSocket::Stream(id) => self.streams.push(id, message),
            ClientSocket::Dtls(id) => self.dtls.push(id, message),
        }
    }

    fn datagram(
        &mut self,
        receiver: &Receiver,
        listener: u16,
        to: SocketAddr,
        from: IpAddr,
        message: &Message<'_>,
        traffic_class: u8,
    ) {
        let (header, payload, padding) = message.parts();
        let outgoing = Outgoing {
            socket: UdpSocketId::Listener(listener),
            to,
            from: self.sockets.source(listener, from),
            header: Header::new(header, padding),
            payload,
            dont_fragment: false,
            traffic_class,
        };
        self.queue.push(receiver, &outgoing);
    }

    /// Queues a datagram that is no message of the server, such as a record of a handshake.
    pub(super) fn answer(&mut self, flow: &UdpFlow, datagram: &[u8]) {
        let from = self.sockets.source(flow.listener, flow.server.ip());
        let socket = UdpSocketId::Listener(flow.listener);
        let outgoing = Outgoing::plain(socket, flow.client, from, datagram);
        self.queue.push_copy(&outgoing);
    }

    /// Queues the data that a client's packet holds for a peer. The packet was `datagram`, or else
    /// came on a stream or in a record, where no packet's traffic class means this message
    /// (RFC 8656 §15).
    pub(super) fn send_to_peer(
        &mut self,
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
            let outgoing = Outgoing {
                socket: UdpSocketId::Relay(relay),
                to: peer.0,
                from: None,
                header: Header::NONE,
                payload,
                dont_fragment,
                traffic_class: datagram.map_or(0, |datagram| traffic_class(datagram, peer.0)),
            };
            self.queue.push(receiver, &outgoing);
        }
    }

    /// Sends the datagrams that wait.
    pub(super) fn flush(&mut self, receiver: &Receiver) {
        let sockets = &self.sockets;
        self.queue.flush(receiver, |id| sockets.get(id));
    }

    /// Takes the datagrams that wait instead of sending them: destinations and bytes.
    #[cfg(test)]
    pub(super) fn take_datagrams(&mut self, receiver: &Receiver) -> Vec<(SocketAddr, Vec<u8>)> {
        let waiting = self.queue.waiting(receiver);
        let taken = waiting.map(|(_, to, bytes)| (to, bytes)).collect();
        self.queue.flush(receiver, |_| None);
        taken
    }

    /// Datagrams sent and dropped since the start.
    pub(super) fn counters(&self) -> SendCounters {
        self.queue.counters()
    }
}

/// DSCP and ECN that a datagram keeps on its way to `to`: none where the address family changes
/// (RFC 8656 §13 and §14).
pub(super) fn traffic_class(datagram: &Datagram<'_>, to: SocketAddr) -> u8 {
    if datagram.source.is_ipv4() == to.is_ipv4() {
        datagram.traffic_class
    } else {
        0
    }
}
