//! Data connections of TCP allocations (T2–T6) over real sockets, with several workers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use stun::attributes::{ATTR_CONNECTION_ID, ATTR_XOR_PEER_ADDRESS};
use stun::message::{
    METHOD_ALLOCATE, METHOD_CONNECT, METHOD_CONNECTION_ATTEMPT, METHOD_CONNECTION_BIND,
    METHOD_CREATE_PERMISSION,
};
use turn::proto::PROTO_TCP;
use turn::proto::reqtrans::RequestedTransport;

use super::memory;
use crate::support::messages::{decode, peer, raw, relayed_address, status};
use crate::support::{PASSWORD, StreamClient, Turnd, USER, connect, xor_address};

fn logged_in(turnd: &Turnd) -> StreamClient {
    let mut client = StreamClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    client
}

/// A control connection and its relayed transport address.
fn allocated(turnd: &Turnd) -> (StreamClient, SocketAddr) {
    let mut control = logged_in(turnd);
    let tcp = RequestedTransport {
        protocol: PROTO_TCP,
    };
    let reply = control.ask_signed(METHOD_ALLOCATE, vec![Box::new(tcp)]);
    assert_eq!(status(&reply), 200, "{}", turnd.log());
    (control, relayed_address(&reply))
}

/// A peer, and a connection with it that the client is to come for.
fn connected(turnd: &Turnd) -> (StreamClient, TcpStream, Vec<u8>) {
    let (mut control, relayed) = allocated(turnd);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reply = control.ask_signed(METHOD_CONNECT, vec![peer(&address)]);
    assert_eq!(status(&reply), 200, "{}", turnd.log());
    let (far, from) = listener.accept().unwrap();
    assert_eq!(from, relayed, "the source is the relayed address");
    far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (control, far, reply.get(ATTR_CONNECTION_ID).unwrap())
}

/// Sends ConnectionBind with `early` right behind it and checks the answer.
fn bind(turnd: &Turnd, id: &[u8], early: &[u8]) -> StreamClient {
    let mut data = logged_in(turnd);
    let request = data.signed(METHOD_CONNECTION_BIND, vec![raw(ATTR_CONNECTION_ID, id)]);
    data.send(&[&request.raw, early].concat());
    // The answer is followed by the peer's bytes, which are no STUN.
    let mut header = [0; 20];
    data.stream.read_exact(&mut header).unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]]))];
    data.stream.read_exact(&mut body).unwrap();
    assert_eq!(status(&decode(&[&header[..], &body].concat())), 200);
    data
}

fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn t5_bytes_before_and_behind_the_bind_arrive_in_order() {
    // Several workers, so that most data connections come to another one than the allocation's.
    let turnd = Turnd::start("relay-threads = 4");
    for round in 0..16 {
        let (_control, mut far, id) = connected(&turnd);
        far.write_all(b"from the peer, early").unwrap();
        thread::sleep(Duration::from_millis(10));
        let mut data = bind(&turnd, &id, b"from the client, early");
        assert_eq!(
            read(&mut far, 22),
            b"from the client, early",
            "round {round}"
        );
        assert_eq!(read(&mut data.stream, 20), b"from the peer, early");
        // Bytes that look like frames are bytes.
        data.send(&[0x40, 0, 0, 1, 7, 0, 1, 0]);
        assert_eq!(read(&mut far, 8), [0x40, 0, 0, 1, 7, 0, 1, 0]);
        far.write_all(&[0xFF; 3]).unwrap();
        assert_eq!(read(&mut data.stream, 3), [0xFF; 3]);
    }
}

#[test]
fn t6_one_side_closes_the_other_and_the_allocation_all() {
    let turnd = Turnd::start("relay-threads = 2");
    let (_control, mut far, id) = connected(&turnd);
    let data = bind(&turnd, &id, b"last words");
    data.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");

    let (_control, far, id) = connected(&turnd);
    let mut data = bind(&turnd, &id, b"");
    drop(far);
    assert_eq!(data.stream.read(&mut [0]).unwrap_or(0), 0);

    let (control, mut far, id) = connected(&turnd);
    let mut data = bind(&turnd, &id, b"");
    drop(control);
    assert_eq!(
        data.stream.read(&mut [0]).unwrap_or(0),
        0,
        "the control connection is closed"
    );
    assert_eq!(far.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn t4_a_peer_that_connects_is_announced_or_closed() {
    let turnd = Turnd::start("relay-threads = 2");
    let (mut control, relayed) = allocated(&turnd);
    let mut outsider = connect(relayed);
    assert_eq!(outsider.read(&mut [0]).unwrap_or(0), 0, "no permission");
    let reply = control.ask_signed(METHOD_CREATE_PERMISSION, vec![peer("127.0.0.1:1")]);
    assert_eq!(status(&reply), 200);
    let mut far = connect(relayed);
    far.write_all(b"hello").unwrap();
    let attempt = decode(&control.receive());
    assert_eq!(attempt.typ.method, METHOD_CONNECTION_ATTEMPT);
    let from = xor_address(&attempt, ATTR_XOR_PEER_ADDRESS);
    assert_eq!(from, Some(far.local_addr().unwrap()));
    let id = attempt.get(ATTR_CONNECTION_ID).unwrap();
    let mut data = bind(&turnd, &id, b"");
    assert_eq!(read(&mut data.stream, 5), b"hello");
    data.send(b"hello yourself");
    assert_eq!(read(&mut far, 14), b"hello yourself");
}

#[test]
fn t2_a_peer_that_refuses_is_447() {
    let turnd = Turnd::start("");
    let (mut control, _) = allocated(&turnd);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let reply = control.ask_signed(METHOD_CONNECT, vec![peer(&address)]);
    assert_eq!(status(&reply), 447);
}

#[test]
fn t6_a_slow_side_slows_the_other_and_memory_stays() {
    const TOTAL: usize = 64 << 20;
    let turnd = Turnd::start("");
    let (_control, mut far, id) = connected(&turnd);
    let mut data = bind(&turnd, &id, b"");
    let before = memory(&turnd);
    let sender = thread::spawn(move || {
        let chunk: Vec<u8> = (0..1 << 16).map(|n| (n % 251) as u8).collect();
        for _ in 0..TOTAL / chunk.len() {
            data.send(&chunk);
        }
        data
    });
    // The sender waits long before all is sent.
    thread::sleep(Duration::from_secs(1));
    assert!(!sender.is_finished(), "somebody holds 64 MiB");
    let grown = memory(&turnd).saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} KiB more");
    let mut chunk = vec![0; 1 << 16];
    for _ in 0..TOTAL / chunk.len() {
        far.read_exact(&mut chunk).unwrap();
        assert!(
            chunk
                .iter()
                .enumerate()
                .all(|(n, byte)| *byte == (n % 251) as u8)
        );
    }
    let _data = sender.join().unwrap();
}

#[test]
fn t6_max_bps_slows_a_connection_and_never_stops_it() {
    // Less than what is read at once.
    let turnd = Turnd::start("max-bps = 10000");
    let (_control, mut far, id) = connected(&turnd);
    let mut data = bind(&turnd, &id, b"");
    let sent: Vec<u8> = (0..25_000_u32).map(|n| n as u8).collect();
    far.write_all(&sent).unwrap();
    // The other direction has its own, whatever this one owes.
    data.send(b"meanwhile");
    assert_eq!(read(&mut far, 9), b"meanwhile");
    assert_eq!(read(&mut data.stream, sent.len()), sent);
}
