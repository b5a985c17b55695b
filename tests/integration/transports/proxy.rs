//! Clients behind a load balancer (PROXY protocol, versions 1 and 2).

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use stun::attributes::ATTR_XORMAPPED_ADDRESS;
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING};

use crate::support::messages::{decode, status, transport};
use crate::support::{
    Authority, PASSWORD, StreamClient, Turnd, USER, connect, request, trusting, xor_address,
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
    authority.issue("server", "localhost", "rsa:2048", 2);
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
