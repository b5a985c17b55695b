//! The server's side, asked by coturn's tools and packet by packet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_RESPONSE_PORT, ATTR_XORMAPPED_ADDRESS};
use stun::message::{METHOD_BINDING, Message};
use turnd_proto::wire::discovery::{ChangeRequest, ResponsePort};

use crate::support::messages::raw;
use crate::support::{Turnd, request, xor_address};

const FIRST: &str = "127.0.0.1";
const SECOND: &str = "127.0.0.2";

fn start() -> Turnd {
    Turnd::start(&format!(
        "listening-ip = ['{FIRST}', '{SECOND}']\nrelay-ip = '{FIRST}'\n\
         rfc5780 = true\nrfc3489-compatibility = true\nrelay-threads = 4"
    ))
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let timeout = Some(Duration::from_secs(5));
    socket.set_read_timeout(timeout).unwrap();
    socket
}

/// The next response that a socket gets, and where it came from.
fn receive(socket: &UdpSocket) -> (SocketAddr, Message) {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).expect("no answer");
    let mut message = Message::new();
    message.unmarshal_binary(&buffer[..len]).unwrap();
    (from, message)
}

#[test]
fn n2_every_worker_answers_from_each_of_the_four_addresses() {
    let turnd = start();
    let ip = |change| -> IpAddr { if change { SECOND } else { FIRST }.parse().unwrap() };
    let first = turnd.address().port();
    // The kernel spreads client ports over the workers: with 40 of them, four workers all get some.
    for _ in 0..40 {
        let socket = socket();
        for (at_ip, at_port) in [(false, false), (true, false), (false, true), (true, true)] {
            let server = SocketAddr::new(ip(at_ip), first + u16::from(at_port));
            for (change_ip, change_port) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let change = ChangeRequest {
                    ip: change_ip,
                    port: change_port,
                };
                let request = request(
                    METHOD_BINDING,
                    vec![raw(ATTR_CHANGE_REQUEST, &change.encode())],
                );
                socket.send_to(&request.raw, server).unwrap();
                let (from, reply) = receive(&socket);
                let expected = SocketAddr::new(
                    ip(at_ip != change_ip),
                    first + u16::from(at_port != change_port),
                );
                assert_eq!(from, expected, "asked {server} for {change:?}");
                assert_eq!(reply.transaction_id, request.transaction_id);
                let mapped = xor_address(&reply, ATTR_XORMAPPED_ADDRESS);
                assert_eq!(mapped, Some(socket.local_addr().unwrap()));
            }
        }
    }
}

#[test]
fn n3_the_answer_goes_to_the_other_port() {
    let turnd = start();
    let [asking, listening] = [socket(), socket()];
    let port = listening.local_addr().unwrap().port();
    let request = request(
        METHOD_BINDING,
        vec![raw(ATTR_RESPONSE_PORT, &ResponsePort(port).encode())],
    );
    asking.send_to(&request.raw, turnd.address()).unwrap();
    let (from, reply) = receive(&listening);
    assert_eq!(from, turnd.address());
    let mapped = xor_address(&reply, ATTR_XORMAPPED_ADDRESS);
    assert_eq!(mapped, Some(asking.local_addr().unwrap()));
}
