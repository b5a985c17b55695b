//! Clients behind a load balancer (PROXY protocol, versions 1 and 2).

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use stun::attributes::{ATTR_DATA, ATTR_XORMAPPED_ADDRESS};
use stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message,
};

use crate::support::messages::{
    Login, channel_data, decode, peer, relayed_address, send, status, transport,
};
use crate::support::{
    Authority, Key, PASSWORD, Peer, StreamClient, StunClient, Turnd, USER, connect, request,
    trusting, xor_address,
};

/// Loopback, but not where the tests come from to see whether the server is there.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CLIENT: &str = "198.51.100.7:40000";

/// A header of version 2 that says that `CLIENT` came to 203.0.113.1:443; `family` 1: TCP, 2: UDP.
fn v2(family: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.extend_from_slice(&[0x10 + family, 0, 12]);
    header.extend_from_slice(&[198, 51, 100, 7, 203, 0, 113, 1, 0x9C, 0x40, 1, 0xBB]);
    header
}

const V1: &[u8] = b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 443\r\n";

/// A connection from 127.0.0.2.
fn connect_from_proxy(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own = SocketAddr::from((PROXY, 0));
    socket.bind(&own.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

/// A header of version 2 that says that a datagram came from `client` to `server`.
fn speaks_of(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(client), SocketAddr::V4(server)) = (client, server) else {
        panic!("an IPv6 address")
    };
    let mut header = v2(2)[..16].to_vec();
    header.extend_from_slice(&client.ip().octets());
    header.extend_from_slice(&server.ip().octets());
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&server.port().to_be_bytes());
    header
}

/// A port of the proxy that sends every datagram with this header.
struct ProxyPort {
    socket: UdpSocket,
    header: Vec<u8>,
}

impl ProxyPort {
    fn new(server: SocketAddr, header: Vec<u8>) -> Self {
        let socket = UdpSocket::bind((PROXY, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.connect(server).unwrap();
        Self { socket, header }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket
            .send(&[&self.header[..], bytes].concat())
            .unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 1500];
        let len = self.socket.recv(&mut buffer).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn ask(&self, request: &Message) -> Message {
        self.send(&request.raw);
        let reply = decode(&self.receive());
        assert_eq!(reply.transaction_id, request.transaction_id);
        reply
    }
}

fn client() -> SocketAddr {
    CLIENT.parse().unwrap()
}

#[test]
fn the_client_is_who_the_proxy_says() {
    let turnd = Turnd::start("trusted-proxies = '127.0.0.2/31'");
    for header in [V1.to_vec(), v2(1)] {
        let mut stream = connect_from_proxy(turnd.address());
        // In one piece with the first request, and byte by byte.
        stream.write_all(&header).unwrap();
        let mut all = StreamClient::over(stream);
        let mapped = xor_address(&all.binding(), ATTR_XORMAPPED_ADDRESS);
        assert_eq!(mapped, Some(client()));

        let mut slow = StreamClient::over(connect_from_proxy(turnd.address()));
        for byte in &header {
            slow.send(&[*byte]);
        }
        slow.log_in(USER, PASSWORD);
        let reply = slow.ask_signed(METHOD_ALLOCATE, vec![transport()]);
        assert_eq!(status(&reply), 200, "{}", turnd.log());
        assert_eq!(xor_address(&reply, ATTR_XORMAPPED_ADDRESS), Some(client()));
    }
    turnd.log_with(&format!("client={CLIENT}"));
}

#[test]
fn before_tls_too() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let toml = authority.toml(&["server"]);
    let turnd = Turnd::start(&format!("trusted-proxies = '127.0.0.2'\n{toml}"));
    let mut stream = connect_from_proxy(turnd.address());
    stream.write_all(&v2(1)).unwrap();
    let trusting = trusting(&authority.certificate());
    let mut secure = StreamClient::secure_over(stream, trusting, "localhost");
    let mapped = xor_address(&secure.binding(), ATTR_XORMAPPED_ADDRESS);
    assert_eq!(mapped, Some(client()));
}

#[test]
fn on_udp_with_every_datagram_or_only_the_first() {
    let turnd = Turnd::start("trusted-proxies = '127.0.0.2'");
    let proxy = UdpSocket::bind((PROXY, 0)).unwrap();
    proxy
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    proxy.connect(turnd.address()).unwrap();
    let mut buffer = [0; 1500];
    for header in [v2(2), v2(2), Vec::new()] {
        let question = [header, request(METHOD_BINDING, vec![]).raw].concat();
        proxy.send(&question).unwrap();
        let len = proxy.recv(&mut buffer).unwrap();
        let mapped = xor_address(&decode(&buffer[..len]), ATTR_XORMAPPED_ADDRESS);
        assert_eq!(mapped, Some(client()));
    }
    // A datagram of a proxy of which nothing is known has to say whom it is from.
    let other = UdpSocket::bind((PROXY, 0)).unwrap();
    other
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    other
        .send_to(&request(METHOD_BINDING, vec![]).raw, turnd.address())
        .unwrap();
    assert!(other.recv(&mut buffer).is_err());
}

#[test]
fn a_proxys_word_takes_nothing_from_a_client_that_came_without_it() {
    // One worker: what is sent first is handled first.
    let turnd = Turnd::start("trusted-proxies = '127.0.0.2'\nrelay-threads = 1");
    let (victim, relayed) = StunClient::allocated(turnd.address());
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    assert!(victim.echoes(&echo));

    let header = speaks_of(victim.address(), turnd.address());
    let thief = ProxyPort::new(turnd.address(), header);
    thief.send(&channel_data(0x4000, b""));
    let to = echo.address().to_string();
    thief.send(&send(&to, b"not the client's").raw);
    // Requests of the client, read on their way and sent again.
    let refresh = victim.signed(METHOD_REFRESH, vec![]);
    assert_eq!(status(&thief.ask(&refresh)), 437);
    let mapped = xor_address(
        &thief.ask(&request(METHOD_BINDING, vec![])),
        ATTR_XORMAPPED_ADDRESS,
    );
    assert_eq!(mapped, Some(victim.address()), "the header was believed");

    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.send_to(b"for the client", relayed).unwrap();
    let data = decode(&victim.receive().expect("the peer's packet is lost"));
    assert_eq!(data.get(ATTR_DATA).unwrap(), b"for the client");
    assert!(victim.echoes(&echo));
    thief.socket.set_nonblocking(true).unwrap();
    assert!(thief.socket.recv(&mut [0; 1500]).is_err());
}

#[test]
fn a_client_whose_proxy_takes_another_port_is_moved_by_its_next_request() {
    let turnd = Turnd::start("trusted-proxies = '127.0.0.2'\nrelay-threads = 1");
    let [first, second] = [(); 2].map(|()| ProxyPort::new(turnd.address(), v2(2)));
    let challenge = first.ask(&request(METHOD_ALLOCATE, vec![]));
    let login = Login::answer(&challenge, USER, PASSWORD);
    let reply = first.ask(&login.sign(METHOD_ALLOCATE, vec![transport()]));
    let relayed = relayed_address(&reply);
    let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    from.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let at = from.local_addr().unwrap().to_string();
    let permit = || login.sign(METHOD_CREATE_PERMISSION, vec![peer(&at)]);
    assert_eq!(status(&first.ask(&permit())), 200);

    second.send(&send(&at, b"too early").raw);
    from.send_to(b"one", relayed).unwrap();
    assert_eq!(decode(&first.receive()).get(ATTR_DATA).unwrap(), b"one");
    assert_eq!(status(&second.ask(&permit())), 200);
    second.send(&send(&at, b"moved").raw);
    let mut buffer = [0; 100];
    let len = from.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"moved", "{}", turnd.log());
    from.send_to(b"two", relayed).unwrap();
    assert_eq!(decode(&second.receive()).get(ATTR_DATA).unwrap(), b"two");
}

#[test]
fn others_and_malformed_headers_are_closed() {
    let turnd = Turnd::start("trusted-proxies = '127.0.0.2'");
    for header in [V1.to_vec(), v2(1)] {
        let mut stream = connect(turnd.address());
        stream.write_all(&header).unwrap();
        let mut stream = StreamClient::over(stream);
        assert!(
            stream.try_receive().is_err(),
            "from one that is not trusted"
        );
    }
    let question = [v2(2), request(METHOD_BINDING, vec![]).raw].concat();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    socket.send_to(&question, turnd.address()).unwrap();
    assert!(socket.recv(&mut [0; 1500]).is_err());

    let turnd = Turnd::start("trusted-proxies = '::1'");
    for wrong in [
        &b"PROXY TCP4 x y 1 2\r\n"[..],
        b"\0\x01\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0C",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = connect(turnd.address_v6());
        stream.write_all(wrong).unwrap();
        assert!(
            StreamClient::over(stream).try_receive().is_err(),
            "{wrong:?}"
        );
    }
    // Whoever is not named has no header to send.
    StreamClient::new(turnd.address()).binding();
}
