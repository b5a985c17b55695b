//! The floor under turnd: nothing but its UDP module, one epoll instance and one thread.
//!
//! It grants every Allocate and ChannelBind without looking twice and then moves channel data, so
//! that `turnd bench` can load it. `benches/compare` measures it beside the real servers. Each
//! allocation has one channel and nothing ever ends: not a server to be run anywhere else.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use stun::message::{
    CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, Message,
    MessageType, Setter,
};
use stun::xoraddr::XorMappedAddress;
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::relayaddr::RelayedAddress;
use turnd_proto::wire::channel_data;
use turnd_udp::{Header, Outgoing, Receiver, SendQueue, UdpSocket};

const LISTENER: Token = Token(0);

/// A socket to send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    Listener,
    Relay(usize),
}

struct Flow {
    relay: UdpSocket,
    client: SocketAddr,
    number: u16,
    peer: SocketAddr,
}

struct Forwarder {
    poll: Poll,
    listener: UdpSocket,
    flows: Vec<Flow>,
    by_client: HashMap<SocketAddr, usize>,
}

fn main() -> io::Result<()> {
    let Some(addr) = std::env::args().nth(1).and_then(|addr| addr.parse().ok()) else {
        eprintln!("usage: forwarder IP:PORT");
        std::process::exit(2);
    };
    let mut forwarder = Forwarder {
        poll: Poll::new()?,
        listener: UdpSocket::bind_shared(addr)?,
        flows: Vec::new(),
        by_client: HashMap::new(),
    };
    forwarder.watch(forwarder.listener.as_raw_fd(), LISTENER)?;
    let (mut receiver, mut queue) = (Receiver::new(), SendQueue::new());
    let mut events = Events::with_capacity(512);
    loop {
        forwarder.poll.poll(&mut events, None)?;
        for event in &events {
            let Token(token) = event.token();
            while forwarder.serve(token, &mut receiver, &mut queue)? {}
        }
    }
}

impl Forwarder {
    fn watch(&self, fd: i32, token: Token) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Moves one batch; `true` when there may be more.
    fn serve(
        &mut self,
        token: usize,
        receiver: &mut Receiver,
        queue: &mut SendQueue<Socket>,
    ) -> io::Result<bool> {
        let flow = token.checked_sub(1);
        let socket = flow.map_or(&self.listener, |flow| &self.flows[flow].relay);
        let more = receiver.receive(socket)?;
        for datagram in receiver.datagrams() {
            let payload = datagram.bytes;
            let (socket, to, header, payload) = if let Some(index) = flow {
                let flow = &self.flows[index];
                let header = channel_data::header(flow.number, payload.len() as u16);
                let header = Header::new(&header, 0);
                (Socket::Listener, flow.client, header, payload)
            } else if let (Some(&index), Some((_, data))) = (
                self.by_client.get(&datagram.source),
                channel_data::parse(payload).filter(|(number, _)| *number >= 0x4000),
            ) {
                let socket = Socket::Relay(index);
                (socket, self.flows[index].peer, Header::NONE, data)
            } else {
                self.grant(datagram.source, payload, queue)?;
                continue;
            };
            let outgoing = Outgoing {
                socket,
                to,
                from: None,
                header,
                payload,
                dont_fragment: false,
                traffic_class: datagram.traffic_class,
            };
            queue.push(receiver, &outgoing);
        }
        queue.flush(receiver, |socket| match socket {
            Socket::Listener => Some(&self.listener),
            Socket::Relay(index) => self.flows.get(index).map(|flow| &flow.relay),
        });
        Ok(more)
    }

    /// Says yes to whatever is asked.
    fn grant(
        &mut self,
        client: SocketAddr,
        bytes: &[u8],
        queue: &mut SendQueue<Socket>,
    ) -> io::Result<()> {
        let mut request = Message::new();
        if request.unmarshal_binary(bytes).is_err() || request.typ.class != CLASS_REQUEST {
            return Ok(());
        }
        let mut setters: Vec<Box<dyn Setter>> = vec![
            Box::new(request.transaction_id),
            Box::new(MessageType::new(request.typ.method, CLASS_SUCCESS_RESPONSE)),
            Box::new(XorMappedAddress {
                ip: client.ip(),
                port: client.port(),
            }),
        ];
        match request.typ.method {
            METHOD_ALLOCATE => {
                let index = self.flow(client)?;
                let relayed = self.flows[index].relay.addr();
                setters.push(Box::new(RelayedAddress {
                    ip: relayed.ip(),
                    port: relayed.port(),
                }));
            }
            METHOD_CHANNEL_BIND => {
                let (mut number, mut peer) = (ChannelNumber::default(), PeerAddress::default());
                let known = self.by_client.get(&client);
                if let (Some(&index), Ok(()), Ok(())) =
                    (known, number.get_from(&request), peer.get_from(&request))
                {
                    self.flows[index].number = number.0;
                    self.flows[index].peer = SocketAddr::new(peer.ip, peer.port);
                }
            }
            _ => {}
        }
        let mut response = Message::new();
        if response.build(&setters).is_ok() {
            queue.push_copy(&Outgoing::plain(
                Socket::Listener,
                client,
                None,
                &response.raw,
            ));
        }
        Ok(())
    }

    fn flow(&mut self, client: SocketAddr) -> io::Result<usize> {
        if let Some(&index) = self.by_client.get(&client) {
            return Ok(index);
        }
        let relay = UdpSocket::bind(SocketAddr::new(self.listener.addr().ip(), 0))?;
        let index = self.flows.len();
        self.watch(relay.as_raw_fd(), Token(index + 1))?;
        self.flows.push(Flow {
            relay,
            client,
            number: 0,
            peer: client,
        });
        self.by_client.insert(client, index);
        Ok(index)
    }
}
