use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};

use super::*;

/// Longer than a connection over loopback takes, and shorter than until the next SYN.
const NO_ANSWER: Duration = Duration::from_millis(400);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn connect(source: &str, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(ip(source), 0).into())?;
    socket.connect_timeout(&server.into(), NO_ANSWER)?;
    Ok(socket.into())
}

/// As many refusals as make the kernel drop the network.
fn refuse(filter: &mut SynFilter, now: Instant, source: &str) {
    let changed = (0..MOST_REFUSED).filter(|_| filter.refuse(now, ip(source)));
    assert_eq!(changed.count(), 1, "{source}");
}

fn attach(filter: &SynFilter, listener: &TcpListener) {
    let program = filter.program(listener.local_addr().unwrap().is_ipv6());
    SockRef::from(listener).attach_filter(&program).unwrap();
}

#[test]
fn the_kernel_drops_the_connections_of_a_network_and_of_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let mut before = connect("127.9.9.1", server).unwrap();
    let (mut filter, now) = (SynFilter::default(), Instant::now());
    refuse(&mut filter, now, "127.9.8.1");
    refuse(&mut filter, now, "127.9.9.2");
    attach(&filter, &listener);
    for source in ["127.9.8.7", "127.9.9.1", "127.9.9.255"] {
        assert!(connect(source, server).is_err(), "{source}");
    }
    for source in ["127.9.7.255", "127.9.10.0", "127.0.0.1"] {
        connect(source, server).unwrap();
    }
    // A connection that was there goes on.
    let (mut accepted, _) = listener.accept().unwrap();
    before.write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    accepted.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
    assert!(filter.expire(now + DROPPED_FOR));
    assert!(filter.program(false).is_empty());
    SockRef::from(&listener).detach_filter().unwrap();
    connect("127.9.9.1", server).unwrap();
}

#[test]
fn ipv6_networks_are_56_bits() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let server = listener.local_addr().unwrap();
    let (mut others, now) = (SynFilter::default(), Instant::now());
    for other in ["2001:db8::1", "0:1::1", "0:0:0:100::1", "10.0.0.1"] {
        refuse(&mut others, now, other);
    }
    attach(&others, &listener);
    connect("::1", server).unwrap();
    let mut own = SynFilter::default();
    refuse(&mut own, now, "2001:db8::1");
    refuse(&mut own, now, "0:0:0:ff::1");
    attach(&own, &listener);
    assert!(connect("::1", server).is_err());
}

#[test]
fn a_network_is_dropped_for_a_while_when_many_of_its_connections_were_refused() {
    let (mut filter, now) = (SynFilter::default(), Instant::now());
    for second in 0..10 {
        let now = now + WINDOW * second;
        let changed = (1..MOST_REFUSED).any(|_| filter.refuse(now, ip("192.0.2.1")));
        assert!(!changed, "{second}");
    }
    assert_eq!(filter.next_due(), None);
    refuse(&mut filter, now + WINDOW * 10, "192.0.2.1");
    let until = now + WINDOW * 10 + DROPPED_FOR;
    assert_eq!(filter.next_due(), Some(until));
    assert!(!filter.refuse(now + WINDOW * 10, ip("192.0.2.2")));
    assert!(!filter.expire(until - Duration::from_millis(1)));
    assert!(filter.expire(until));
    assert_eq!((filter.next_due(), filter.refused.len()), (None, 0));
}

#[test]
fn networks_beyond_those_that_are_watched_take_the_place_of_the_calmest() {
    let (mut filter, now) = (SynFilter::default(), Instant::now());
    for n in 0..MAX_NETWORKS - 1 {
        refuse(&mut filter, now, &format!("192.0.{n}.1"));
    }
    for n in 0..10 {
        assert!(!filter.refuse(now, ip(&format!("198.51.{n}.1"))));
    }
    refuse(&mut filter, now, "203.0.113.1");
    assert_eq!(filter.refused.len(), MAX_NETWORKS);
    assert!(!filter.refuse(now, ip("198.51.100.1")));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    attach(&filter, &listener);
}

#[test]
fn a_proxy_is_found_in_the_network_of_a_source() {
    let shares = |source, range: &str| shares_network(ip(source), &range.parse().unwrap());
    assert!(shares("192.0.2.1", "192.0.2.77"));
    assert!(shares("192.0.2.1", "192.0.0.0/16"));
    assert!(shares("192.0.2.1", "192.0.1.7-192.0.2.0"));
    assert!(!shares("192.0.2.1", "192.0.1.0/24"));
    assert!(shares("2001:db8::1", "2001:db8:0:ff::/64"));
    assert!(!shares("2001:db8::1", "2001:db8:0:100::/64"));
}
