//! Listening sockets that a reload adds, takes away and takes back, under live calls.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use stun::message::METHOD_BINDING;

use super::{ctl, eventually, start};
use crate::support::messages::{request, status};
use crate::support::{Authority, Call, Key, Peer, StreamClient, StunClient, Turnd};

/// Whether clients who were not there before are served, over UDP and over TCP alike.
fn serves(address: SocketAddr) -> bool {
    let timeout = Duration::from_millis(300);
    let udp = StunClient::new(address).with_timeout(timeout).binding();
    // A connection is refused, or closed at once where the socket stays for other addresses.
    let tcp = TcpStream::connect(address).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(timeout)).unwrap();
        let asked = stream.write_all(&request(METHOD_BINDING, vec![]).raw);
        asked.is_ok() && stream.read_exact(&mut [0; 20]).is_ok()
    });
    assert_eq!(udp.is_some(), tcp, "{address}");
    tcp
}

fn reload(turnd: &Turnd, toml: &str) {
    turnd.configure(toml);
    ctl(turnd, &["reload"]).ok();
}

fn is_free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

#[test]
fn a_port_is_taken_back_from_the_calls_that_still_use_it() {
    let authority = Authority::new();
    authority.issue("one", "localhost", Key::Ecdsa, 30);
    let certificate = authority.toml(&["one"]);
    let turnd = start(&certificate);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let old = turnd.address();
    let new = SocketAddr::new(old.ip(), turnd.ports().peers());
    let mut calls = Call::by_each_transport(old, &authority);
    let mut go_on = || {
        for call in &mut calls {
            assert!(call.carries(&echo), "{}\n{}", call.transport(), turnd.log());
        }
    };
    go_on();
    for _ in 0..3 {
        reload(
            &turnd,
            &format!("{certificate}\nlistening-port = {}", new.port()),
        );
        assert!(serves(new) && !serves(old));
        assert!(!is_free(old), "it serves who was there before");
        go_on();
        reload(&turnd, &certificate);
        assert!(serves(old) && !serves(new));
        go_on();
        // Nobody uses it: it is given up, and can be had again.
        eventually("the new one is closed", || is_free(new));
    }
}

#[test]
fn one_address_and_all_addresses_give_way_to_each_other() {
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let at = |turnd: &Turnd, last| SocketAddr::from(([127, 0, 0, last], turnd.address().port()));
    let one = "listening-ip = '127.0.0.1'";
    let all = "listening-ip = '0.0.0.0'";
    for (first, second) in [(one, all), (all, one)] {
        let turnd = start(first);
        let (call, _) = StunClient::allocated(at(&turnd, 1));
        let mut stream = StreamClient::new(at(&turnd, 1));
        let mut others = Vec::new();
        for toml in [second, first, second, first] {
            reload(&turnd, toml);
            assert!(serves(at(&turnd, 1)), "{toml}");
            assert_eq!(serves(at(&turnd, 2)), toml == all, "{toml}");
            if toml == all {
                others.push(StunClient::allocated(at(&turnd, 2)).0);
            }
            for client in others.iter().chain([&call]) {
                assert!(client.echoes(&echo), "{toml}\n{}", turnd.log());
            }
            assert_eq!(status(&stream.binding()), 200);
        }
        if first == one {
            // The socket for all goes with its last client.
            others.iter().for_each(StunClient::deallocate);
            eventually("it is closed", || is_free(at(&turnd, 3)));
        }
        assert!(call.echoes(&echo));
    }
}

/// With several workers, one that closed its own socket would have the kernel deal out the clients of the others.
#[test]
fn a_worker_without_clients_leaves_those_of_others_where_they_are() {
    let turnd = start("relay-threads = 4");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let clients: Vec<_> = (0..3)
        .map(|_| StunClient::allocated(turnd.address()).0)
        .collect();
    let toml = format!(
        "relay-threads = 4\nlistening-port = {}",
        turnd.ports().peers()
    );
    reload(&turnd, &toml);
    // Longer than the server takes to look for sockets that nobody uses.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        for client in &clients {
            assert!(client.echoes(&echo), "{}", turnd.log());
        }
    }
    clients.iter().for_each(StunClient::deallocate);
    eventually("it is closed", || is_free(turnd.address()));
}
