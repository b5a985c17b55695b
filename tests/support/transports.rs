//! Clients without an allocation: their connections and datagrams, and the server's answers.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{StunClient, Turnd};

/// The longest that a test waits for what has to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until `met` is.
pub(crate) fn wait_until(what: &str, turnd: &Turnd, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(Instant::now() < deadline, "{what}\n{}", turnd.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Resident memory in KiB.
pub(crate) fn memory(turnd: &Turnd) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", turnd.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .unwrap()
        .parse()
        .unwrap()
}

/// Whether a server answers plain datagrams, and DTLS.
pub(crate) fn datagrams(server: SocketAddr) -> (bool, bool) {
    let client = StunClient::new(server).with_timeout(Duration::from_millis(500));
    client.send(&client_hello());
    let dtls = client.receive().is_some();
    (client.binding().is_some(), dtls)
}

/// The first datagram of a DTLS 1.2 client.
pub(crate) fn client_hello() -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 0, 2, 0xC0, 0x2F, 1, 0]);
    let len = body.len() as u8;
    let mut hello = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, len + 12];
    hello.extend_from_slice(&[1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len]);
    hello.extend_from_slice(&body);
    hello
}

/// A loopback address that is not the tests' usual one.
pub(crate) fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, number).into()
}

pub(crate) fn connect_from(source: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    // A small buffer: bytes that the kernel holds for a client that does not read are none of the server's memory.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Whether the server has closed the connection.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let closed = match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).unwrap();
    closed
}

pub(crate) fn closed(streams: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for stream in streams {
        closed += usize::from(is_closed(stream));
    }
    closed
}
