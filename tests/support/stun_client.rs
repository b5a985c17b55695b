//! A client that sends exactly what a test says, over UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::SockRef;
use stun::attributes::{ATTR_DATA, ATTR_MESSAGE_INTEGRITY};
use stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH,
    Message, Method,
};

use turnd_client::turn::Framing;

use super::asking::Asking;
use super::messages::{
    Attributes, Login, channel_to, decode, error_code, lifetime, peer, relayed_address, request,
    send, status, transport,
};
use super::{PASSWORD, Peer, USER};

/// Time that a reply may take. Long, since it costs a passing test nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct StunClient {
    socket: UdpSocket,
    server: SocketAddr,
    timeout: Duration,
    login: Option<Login>,
}

impl StunClient {
    /// A client on the loopback address of the server's family.
    pub(crate) fn new(server: SocketAddr) -> Self {
        let ip: IpAddr = if server.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        Self::from(ip, server)
    }

    /// A client on this address.
    pub(crate) fn from(ip: impl Into<IpAddr>, server: SocketAddr) -> Self {
        Self::on(UdpSocket::bind((ip.into(), 0)).unwrap(), server)
    }

    /// A client on a socket of the test's.
    pub(crate) fn on(socket: UdpSocket, server: SocketAddr) -> Self {
        Self {
            socket,
            server,
            timeout: TIMEOUT,
            login: None,
        }
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Has all that it sends carry this DSCP and ECN.
    pub(crate) fn mark(&self, class: u32) {
        mark(&self.socket, class);
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    /// The next datagram from the server, or None when none comes in time.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                assert_eq!(
                    from, self.server,
                    "a datagram from an address that was not asked"
                );
                buffer.truncate(len);
                return Some(buffer);
            }
        }
    }

    /// Sends a request and returns the response, which must be one to it.
    pub(crate) fn ask(&self, request: &Message) -> Option<Message> {
        let mut asking = Asking::new(Framing::Datagrams, request);
        self.send(&asking.bytes());
        Some(asking.reply(&self.receive()?))
    }

    pub(crate) fn binding(&self) -> Option<Message> {
        self.ask(&request(METHOD_BINDING, vec![]))
    }

    /// Learns realm and nonce from the 401 to an unsigned Allocate; `signed` works from then on.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) {
        let reply = self
            .ask(&request(METHOD_ALLOCATE, vec![]))
            .expect("no answer to an unsigned Allocate");
        assert_eq!(error_code(&reply), Some(401), "{reply}");
        assert!(!reply.contains(ATTR_MESSAGE_INTEGRITY), "a signed 401");
        self.login = Some(Login::answer(&reply, user, password));
    }

    /// The realm that it was told.
    pub(crate) fn realm(&self) -> &str {
        &self.login.as_ref().expect("log_in comes first").realm
    }

    /// A request with these attributes, signed.
    pub(crate) fn signed(&self, method: Method, attributes: Attributes) -> Message {
        let login = self.login.as_ref().expect("log_in comes first");
        login.sign(method, attributes)
    }

    /// Sends a signed request and returns the response, which must be signed too.
    pub(crate) fn ask_signed(&self, method: Method, attributes: Attributes) -> Message {
        let mut reply = self
            .ask(&self.signed(method, attributes))
            .expect("no answer to a signed request");
        let login = self.login.as_ref().expect("log_in comes first");
        login.expect_signed(&mut reply);
        reply
    }

    /// A client of `USER` with an allocation, and its relayed address.
    pub(crate) fn allocated(server: SocketAddr) -> (Self, SocketAddr) {
        let mut client = Self::new(server);
        client.log_in(USER, PASSWORD);
        let relayed = relayed_address(&client.try_allocate());
        (client, relayed)
    }

    pub(crate) fn try_allocate(&self) -> Message {
        self.ask_signed(METHOD_ALLOCATE, vec![transport()])
    }

    /// Binds channel 0x4000 to a peer.
    pub(crate) fn bind_channel(&self, to: SocketAddr) {
        let reply = self.ask_signed(METHOD_CHANNEL_BIND, channel_to(to));
        assert_eq!(status(&reply), 200);
    }

    /// Deletes the allocation.
    pub(crate) fn deallocate(&self) {
        let reply = self.ask_signed(METHOD_REFRESH, vec![lifetime(0)]);
        assert_eq!(status(&reply), 200);
    }

    /// Whether an echo peer sends back what goes there through the relay.
    pub(crate) fn echoes(&self, echo: &Peer) -> bool {
        let to = echo.address().to_string();
        let reply = self.ask_signed(METHOD_CREATE_PERMISSION, vec![peer(&to)]);
        assert_eq!(status(&reply), 200);
        self.send(&send(&to, b"echo").raw);
        self.receive().is_some_and(|bytes| {
            let data = decode(&bytes).get(ATTR_DATA);
            data.is_ok_and(|data| data == b"echo")
        })
    }
}

/// Has all that a socket sends carry this DSCP and ECN.
pub(crate) fn mark(socket: &UdpSocket, class: u32) {
    let marked = SockRef::from(socket);
    let set = match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => marked.set_tos_v4(class),
        SocketAddr::V6(_) => marked.set_tclass_v6(class),
    };
    set.unwrap();
}
