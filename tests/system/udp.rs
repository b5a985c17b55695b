//! The UDP crate on interfaces of the tests' own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use socket2::SockRef;
use turnd_udp::{ErrorOrigin, Outgoing, Receiver, SendQueue, UdpSocket};

use crate::support::Namespace;

fn bind(ip: impl Into<IpAddr>) -> UdpSocket {
    UdpSocket::bind((ip.into(), 0).into()).unwrap()
}

/// Twelve datagrams of two flows in turn: one whose socket is full after the first few, and one
/// that must not mind.
#[test]
fn a_socket_that_is_full_in_the_middle_of_a_batch_holds_up_no_other() {
    let host = Namespace::new("full");
    for words in [
        "link add v0 type veth peer name v1",
        "link set v1 up",
        "address add 10.9.0.1/24 dev v0",
        "link set v0 up",
    ] {
        host.ip(words);
    }
    let sink = host.socket("127.0.0.1:0");
    sink.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let to = sink.local_addr().unwrap();
    let counters = host.inside(|| {
        let (full, free) = (bind([10, 9, 0, 1]), bind(Ipv4Addr::LOCALHOST));
        SockRef::from(&full).set_send_buffer_size(1).unwrap();
        // Nobody answers there, and what is sent waits for an answer, in the buffer of its socket.
        let nobody = SocketAddr::from(([10, 9, 0, 2], 9));
        let mut queue = SendQueue::new();
        for number in 0..12 {
            let flow = number % 2;
            let payload = datagram(number);
            queue.push_copy(&Outgoing::plain(flow, [nobody, to][flow], None, &payload));
        }
        queue.flush(&Receiver::new(), |flow| Some([&full, &free][flow]));
        queue.counters()
    });
    assert!((7..12).contains(&counters.sent), "{counters:?}");
    assert_eq!(counters.sent + counters.dropped, 12);
    for number in (1..12).step_by(2) {
        let mut bytes = [0; 2000];
        let len = sink.recv(&mut bytes).unwrap();
        assert!(bytes[..len] == datagram(number), "number {number}");
    }
}

/// A datagram that is longer than those before it, and so is sent by itself.
fn datagram(number: usize) -> Vec<u8> {
    vec![number as u8; 1000 + number]
}

#[test]
fn a_datagram_that_is_too_long_for_the_interface_is_a_local_error() {
    let host = Namespace::new("short");
    host.ip("link set lo mtu 1500");
    for ip in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        let (error, dropped) = host.inside(|| {
            let (mut socket, peer) = (bind(ip), bind(ip));
            socket.enable_errors().unwrap();
            let mut queue = SendQueue::new();
            queue.push_copy(&Outgoing {
                dont_fragment: true,
                ..Outgoing::plain((), peer.addr(), None, &[0; 2000])
            });
            queue.flush(&Receiver::new(), |()| Some(&socket));
            (
                socket.read_error().unwrap().unwrap(),
                queue.counters().dropped,
            )
        });
        assert_eq!(dropped, 1);
        let told = (error.to.ip(), error.origin, error.info, error.offender);
        assert_eq!(told, (ip, ErrorOrigin::Local, 1500, None));
        assert_eq!(
            error.cause.raw_os_error(),
            Some(Errno::MSGSIZE.raw_os_error())
        );
    }
}
