//! Frames on streams (S11, C5), and which transports are served (X1).

use std::io::Write;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_XORMAPPED_ADDRESS};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_REFRESH};
use turn::proto::channum::ChannelNumber;
use turnd_proto::wire::channel_data;

use super::datagrams;
use crate::support::messages::{
    channel_data as frame, decode, lifetime, peer, raw, status, transport,
};
use crate::support::{
    Authority, Key, PASSWORD, Peer, StreamClient, StunClient, Turnd, USER, connect, request,
    xor_address,
};

/// A client with channel 0x4000 to `peer`.
fn bound(turnd: &Turnd, to: &Peer) -> StreamClient {
    let mut client = StreamClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    let reply = client.ask_signed(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&reply), 200, "{}", turnd.log());
    let to = to.address().to_string();
    let attributes: crate::support::messages::Attributes =
        vec![Box::new(ChannelNumber(0x4000)), peer(&to)];
    assert_eq!(
        status(&client.ask_signed(METHOD_CHANNEL_BIND, attributes)),
        200
    );
    client
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().next_multiple_of(4), 0);
    frame
}

#[test]
fn s11_split_at_every_byte_and_coalesced_gives_the_same_answers() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut client = bound(&turnd, &echo);
    let mut stream = request(METHOD_BINDING, vec![]).raw;
    stream.extend(padded(frame(0x4000, b"abcde")));
    stream.extend(request(METHOD_BINDING, vec![]).raw);
    for at in 0..stream.len() {
        let (head, tail) = stream.split_at(at);
        client.send(head);
        if at % 8 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        client.send(tail);
        let mut answers = [client.receive(), client.receive(), client.receive()];
        answers.sort();
        for binding in &answers[..2] {
            let mapped = xor_address(&decode(binding), ATTR_XORMAPPED_ADDRESS);
            assert_eq!(mapped, Some(client.stream.local_addr().unwrap()));
        }
        assert_eq!(
            channel_data::parse(&answers[2]),
            Some((0x4000, &b"abcde"[..]))
        );
    }
}

#[test]
fn c5_padding_both_ways_and_every_length() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut client = bound(&turnd, &echo);
    for len in (0..40).chain([1399, 1400, 8191, 60_001]) {
        let payload = vec![7; len];
        client.send(&padded(frame(0x4000, &payload)));
        let answer = client.receive();
        assert_eq!(channel_data::parse(&answer), Some((0x4000, &payload[..])));
        assert!(client.rest().is_empty(), "padding is part of the frame");
    }
}

#[test]
fn the_end_of_a_stream_ends_its_allocation() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let client = bound(&turnd, &echo);
    drop(client);
    super::wait_until("the allocation lives on", &turnd, || {
        turnd.log().contains("reason=\"disconnected\"")
    });
}

#[test]
fn a_half_closed_stream_is_served_no_longer_and_nothing_leaks() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut client = bound(&turnd, &echo);
    client.send(&request(METHOD_BINDING, vec![]).raw);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    // The request sent before the end is answered.
    assert!(client.try_receive().is_ok());
    assert!(client.try_receive().is_err());
    super::wait_until("the allocation lives on", &turnd, || {
        turnd.log().contains("reason=\"disconnected\"")
    });
}

#[test]
fn x1_every_port_speaks_everything() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    for port in [turnd.ports().listening(), turnd.ports().tls_listening()] {
        let server = (Ipv4Addr::LOCALHOST, port).into();
        assert!(StunClient::new(server).binding().is_some());
        StreamClient::new(server).binding();
        StreamClient::secure(server, &authority.certificate(), "localhost").binding();
    }
}

#[test]
fn what_is_switched_off_is_not_served() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let toml = authority.toml(&["server"]);
    let turnd = Turnd::start(&format!("no-tcp = true\n{toml}"));
    let mut plain = StreamClient::new(turnd.address());
    plain.send(&request(METHOD_BINDING, vec![]).raw);
    assert!(plain.try_receive().is_err(), "no-tcp");
    StreamClient::secure(turnd.address(), &authority.certificate(), "localhost").binding();

    let turnd = Turnd::start(&format!("no-tls = true\n{toml}"));
    StreamClient::new(turnd.address()).binding();
    let mut secure = connect(turnd.address());
    secure.write_all(&[22, 3, 1, 0, 1, 1]).unwrap();
    assert!(StreamClient::over(secure).try_receive().is_err(), "no-tls");

    let turnd = Turnd::start(&toml);
    assert_eq!(datagrams(turnd.address()), (true, false), "no dtls");
    StreamClient::secure(turnd.address(), &authority.certificate(), "localhost").binding();
    let turnd = Turnd::start("no-udp = true");
    assert_eq!(
        datagrams(turnd.address()),
        (false, false),
        "nothing listens"
    );
    StreamClient::new(turnd.address()).binding();

    let turnd = Turnd::start("no-tcp = true");
    assert!(
        std::net::TcpStream::connect(turnd.address()).is_err(),
        "nothing listens"
    );
}

#[test]
fn secure_stun_wants_credentials_for_binding() {
    let turnd = Turnd::start("secure-stun = true\nno-udp = false");
    let mut client = StreamClient::new(turnd.address());
    assert_eq!(status(&client.binding()), 401);
    client.log_in(USER, PASSWORD);
    // The second asks for no change (RFC 5780 §7.2).
    for attributes in [vec![], vec![raw(ATTR_CHANGE_REQUEST, &[0; 4])]] {
        let reply = client.ask_signed(METHOD_BINDING, attributes);
        assert_eq!(status(&reply), 200);
        assert!(xor_address(&reply, ATTR_XORMAPPED_ADDRESS).is_some());
    }
    assert_eq!(
        status(&client.ask_signed(METHOD_REFRESH, vec![lifetime(0)])),
        437
    );
}
