//! A call by any transport: an allocation with a channel, and data on it.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::{ClientConnection, StreamOwned};
use stun::message::{METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH, Message, Method};
use turn::proto::channum::ChannelNumber;
use turnd_proto::wire;

use super::messages::{Attributes, channel_data, peer, status, transport};
use super::{Authority, PASSWORD, Peer, StreamClient, StunClient, USER};

const CHANNEL: u16 = 0x4000;

pub(crate) enum Call {
    Udp(StunClient),
    Tcp(StreamClient),
    Tls(Box<StreamClient<StreamOwned<ClientConnection, TcpStream>>>),
}

impl Call {
    /// A call over UDP, one over TCP and one over TLS, of `USER`.
    pub(crate) fn by_each_transport(server: SocketAddr, authority: &Authority) -> Vec<Self> {
        let mut udp = StunClient::new(server);
        udp.log_in(USER, PASSWORD);
        let mut tcp = StreamClient::new(server);
        tcp.log_in(USER, PASSWORD);
        let mut tls = StreamClient::secure(server, &authority.certificate(), "localhost");
        tls.log_in(USER, PASSWORD);
        let mut calls = vec![Self::Udp(udp), Self::Tcp(tcp), Self::Tls(Box::new(tls))];
        for call in &mut calls {
            assert_eq!(call.ask(METHOD_ALLOCATE, vec![transport()]), 200);
        }
        calls
    }

    pub(crate) fn transport(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
        }
    }

    /// The code of the answer to a signed request.
    pub(crate) fn ask(&mut self, method: Method, attributes: Attributes) -> u16 {
        let reply: Message = match self {
            Self::Udp(client) => client.ask_signed(method, attributes),
            Self::Tcp(client) => client.ask_signed(method, attributes),
            Self::Tls(client) => client.ask_signed(method, attributes),
        };
        status(&reply)
    }

    /// Whether it can be refreshed.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.ask(METHOD_REFRESH, vec![]) == 200
    }

    pub(crate) fn bind(&mut self, echo: &Peer) {
        let to = echo.address().to_string();
        let attributes: Attributes = vec![Box::new(ChannelNumber(CHANNEL)), peer(&to)];
        assert_eq!(self.ask(METHOD_CHANNEL_BIND, attributes), 200);
    }

    /// Whether the requests of a call are served, and data goes to the echo and comes back.
    pub(crate) fn carries(&mut self, echo: &Peer) -> bool {
        self.bind(echo);
        self.echoes() && self.is_alive()
    }

    /// Sends data on the channel; no two are alike.
    pub(crate) fn send(&mut self) -> [u8; 4] {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let payload = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let frame = channel_data(CHANNEL, &payload);
        match self {
            Self::Udp(client) => client.send(&frame),
            Self::Tcp(client) => client.send(&frame),
            Self::Tls(client) => client.send(&frame),
        }
        payload
    }

    /// Whether data on the channel comes back; nothing else may come.
    pub(crate) fn echoes(&mut self) -> bool {
        let payload = self.send();
        let answer = match self {
            Self::Udp(client) => client.receive(),
            Self::Tcp(client) => client.try_receive().ok(),
            Self::Tls(client) => client.try_receive().ok(),
        };
        let parsed = answer.as_deref().map(wire::channel_data::parse);
        parsed == Some(Some((CHANNEL, &payload[..])))
    }
}
