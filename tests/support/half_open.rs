//! DTLS clients that begin a handshake and leave it half open.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A ClientHello of DTLS 1.2 that can be served, whole, with this random value and cookie.
pub(crate) fn dtls_hello(random: u8, cookie: &[u8]) -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend_from_slice(&[random; 32]);
    body.extend_from_slice(&[0, cookie.len() as u8]);
    body.extend_from_slice(cookie);
    body.extend_from_slice(&[0, 4, 0xC0, 0x2B, 0xC0, 0x2F, 1, 0]);
    // Groups: P-256; points: uncompressed; signatures: ECDSA and RSA with SHA-256.
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1],
    ]
    .concat();
    body.extend_from_slice(&[0, extensions.len() as u8]);
    body.extend_from_slice(&extensions);
    let number = u8::from(!cookie.is_empty());
    let len = body.len() as u8;
    let mut hello = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, number, 0, len + 12];
    hello.extend_from_slice(&[1, 0, 0, len, 0, number, 0, 0, 0, 0, 0, len]);
    hello.extend_from_slice(&body);
    hello
}

/// Opens an association from a socket and leaves it half open; returns the first datagram of the server's flight.
pub(crate) fn half_open(socket: &UdpSocket, random: u8) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    socket.send(&dtls_hello(random, b"")).unwrap();
    let len = socket.recv(&mut buffer).ok()?;
    let cookie = buffer[len - 32..len].to_vec();
    socket.send(&dtls_hello(random, &cookie)).unwrap();
    let len = socket.recv(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

pub(crate) fn dtls_socket(source: IpAddr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(server).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

/// One byte of each page of each message that a library would reserve room for.
pub(crate) fn sparse_fragments() -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    for number in 2..12_u8 {
        for page in 0..25_u32 {
            let [_, o2, o1, o0] = (page * 4000).to_be_bytes();
            let [_, l2, l1, l0] = 100_000_u32.to_be_bytes();
            let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, number, page as u8, 0, 13];
            record.extend_from_slice(&[11, l2, l1, l0, 0, number, o2, o1, o0, 0, 0, 1, 7]);
            datagrams.push(record);
        }
    }
    datagrams
}
