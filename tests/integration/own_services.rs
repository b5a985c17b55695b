//! Services of this server's own that no client reaches through a relay, whatever the lists say.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::process::Signal;
use stun::message::{METHOD_ALLOCATE, METHOD_CONNECT};
use turn::proto::PROTO_TCP;
use turn::proto::reqtrans::RequestedTransport;
use turnd_proto::server::five_tuple::Transport;
use turnd_proto::server::output::{DropReason, Event, Output};

use crate::support::messages::{addr, peer, relayed_address, status};
use crate::support::settings::Settings;
use crate::support::world::{CLIENT, Caller, Incoming, World};
use crate::support::{Extras, PASSWORD, Peer, StreamClient, StunClient, Turnd, USER};

/// Everything that the lists can open.
/// Every peer is allowed that the lists can allow.
fn open(settings: &mut Settings) {
    settings.users(&["alice:secret", "bob:secret"]);
    settings.allow(&["0.0.0.0/0", "::/0"]);
    settings.peers.allow_loopback = true;
}

const ADMIN: &str = "127.0.0.1:9641";
/// The host of [`World`] by every name that leads there from IPv4.
const NAMES: [&str; 6] = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "198.51.100.1",
    "::ffff:127.0.0.1",
    "::ffff:198.51.100.1",
];

fn at(ip: &str, port: u16) -> String {
    SocketAddr::new(ip.parse().unwrap(), port).to_string()
}

fn tcp() -> Box<RequestedTransport> {
    let protocol = PROTO_TCP;
    Box::new(RequestedTransport { protocol })
}

/// A client with a TCP allocation.
fn streams(world: &mut World) -> Caller {
    let mut caller = world.caller("192.0.2.20:1");
    caller.path.tuple.transport = Transport::Tcp;
    let reply = world.ask(&caller, METHOD_ALLOCATE, vec![tcp()]);
    assert_eq!(status(&reply), 200);
    caller
}

/// Whether a connection with `to` is begun; else the answer was 403.
fn connects(world: &mut World, caller: &Caller, to: &str) -> bool {
    let request = caller.login.sign(METHOD_CONNECT, vec![peer(to)]);
    let (_, replies) = world.handle(&caller.path, &request.raw);
    match world.peer_outputs.pop() {
        Some(Output::Connect { .. }) => replies.is_empty(),
        None => {
            let reply = crate::support::messages::decode(&replies[0]);
            assert_eq!(status(&reply), 403, "{to}");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_is_no_peer_by_any_name_and_way() {
    let mut world = World::beside(open, &[ADMIN]);
    let (caller, relayed) = world.allocated(CLIENT);
    let streams = streams(&mut world);
    let drops = |world: &World| world.server.counters().drops[DropReason::OwnAddress as usize];
    for ip in NAMES {
        let (admin, other) = (at(ip, 9641), at(ip, 9640));
        // A permission is for the address, whose other ports the operator has opened.
        assert_eq!(world.permit(&caller, &[&admin]), 200, "{ip}");
        let before = drops(&world);
        assert!(!world.send(&caller, &admin, "x"), "{ip}");
        assert!(world.send(&caller, &other, "x"), "{ip}");
        assert_eq!(world.peer_sends(relayed, &admin, b"x"), None);
        assert!(world.peer_sends(relayed, &other, b"x").is_some());
        assert_eq!(drops(&world), before + 2);
        assert_eq!(world.bind_channel(&caller, 0x4000, &admin), 403, "{ip}");
        assert!(!connects(&mut world, &streams, &admin), "{ip}");
    }
    assert!(world.channels.is_empty());
    let denied = world.events.iter().find_map(|event| match event {
        Event::PeerDenied { denied, .. } => Some((denied.reason.as_str(), denied.option)),
        _ => None,
    });
    assert_eq!(denied, Some(("service", "nothing")));
    assert!(connects(&mut world, &streams, "127.0.0.1:9640"));
    assert_eq!(world.bind_channel(&caller, 0x4000, "127.0.0.1:9640"), 200);
    // Elsewhere the port is any port.
    assert_eq!(world.bind_channel(&caller, 0x4001, "45.0.0.7:9641"), 200);
    assert!(connects(&mut world, &streams, "45.0.0.7:9641"));
}

#[test]
fn a_relay_with_the_port_of_a_service_is_a_relay() {
    // Another relayed address of this server has the number, over UDP.
    let mut world = World::beside(
        |s| {
            open(s);
            s.ports(9641, 9642);
        },
        &["0.0.0.0:9641", "0.0.0.0:9642"],
    );
    let (alice, alices) = world.allocated(CLIENT);
    let (bob, bobs) = world.allocated("192.0.2.11:1");
    assert_eq!(world.permit(&alice, &[&bobs.to_string()]), 200);
    assert!(world.send(&alice, &bobs.to_string(), "hello"));
    assert_eq!(world.permit(&bob, &[&alices.to_string()]), 200);
    let came = world.peer_sends(bobs, &alices.to_string(), b"hello");
    assert_eq!(came, Some(Incoming::Data(alices, b"hello".to_vec())));
    world.refresh(&alice, Some(0));
    assert!(!world.send(&bob, &alices.to_string(), "hello"));
}

#[test]
fn a_service_that_a_reload_brings_is_cut_off() {
    let mut world = World::new(open);
    let (caller, relayed) = world.allocated(CLIENT);
    let streams = streams(&mut world);
    let service = "198.51.100.1:6379";
    assert_eq!(world.permit(&caller, &[service]), 200);
    assert_eq!(world.bind_channel(&caller, 0x4000, service), 200);
    assert_eq!(world.bind_channel(&caller, 0x4001, "198.51.100.1:53"), 200);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), Some(addr(service)));
    assert!(connects(&mut world, &streams, service));

    let shared = World::beside(open, &["0.0.0.0:6379"]).shared;
    world.after(|server, now| server.handle_reload(now, shared));
    let closed = world.peer_outputs.iter();
    let closed = closed.filter(|output| matches!(output, Output::CloseConnection { .. }));
    assert_eq!(closed.count(), 1);
    assert_eq!(world.channels.len(), 1, "the channel is gone");
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
    assert!(!world.send(&caller, service, "x"));
    assert_eq!(world.peer_sends(relayed, service, b"x"), None);
    assert_eq!(
        world.send_on(&caller, 0x4001, "x"),
        Some(addr("198.51.100.1:53"))
    );
}

fn start(toml: &str) -> Turnd {
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    Turnd::start_with(toml, extras)
}

/// The answers to Connect to each of these, over a real connection.
fn connect_to(turnd: &Turnd, peers: &[SocketAddr]) -> Vec<u16> {
    let mut client = StreamClient::new(turnd.address());
    client.log_in("bob", PASSWORD);
    let reply = client.ask_signed(METHOD_ALLOCATE, vec![tcp()]);
    assert_eq!(status(&reply), 200, "{}", turnd.log());
    relayed_address(&reply);
    peers
        .iter()
        .map(|to| status(&client.ask_signed(METHOD_CONNECT, vec![peer(&to.to_string())])))
        .collect()
}

#[test]
fn the_admin_listener_cannot_be_reached_through_a_relay() {
    let users = "user = ['alice:secret', 'bob:secret']";
    let everywhere = "allowed-peer-ip = ['127.0.0.0/8', '0.0.0.0/8']";
    let echo = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for toml in [
        format!("{users}\nallow-loopback-peers = true"),
        format!("{users}\n{everywhere}\nallow-loopback-peers = false"),
    ] {
        let turnd = start(&toml);
        // It is there, for those who are on this machine.
        let mut near = TcpStream::connect(turnd.admin()).unwrap();
        near.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");

        let port = turnd.admin().port();
        let admin = [
            SocketAddr::from(([127, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 2], port)),
            SocketAddr::from(([0, 0, 0, 0], port)),
        ];
        assert_eq!(connect_to(&turnd, &admin), [403; 3], "{toml}");
        turnd.log_with("reason=\"service\" allowed_by=\"nothing\"");
        // After a reload as well, and nothing else is cut off.
        turnd.configure(&format!("{toml}\nuser-quota = 7"));
        turnd.signal(Signal::HUP);
        crate::support::admin::eventually("a reload", || {
            turnd.log().contains("configuration reloaded")
        });
        let both = [admin[0], echo.local_addr().unwrap()];
        assert_eq!(connect_to(&turnd, &both), [403, 200]);
        let peer = Peer::echo(Ipv4Addr::LOCALHOST);
        let (client, _) = StunClient::allocated(turnd.address());
        assert!(client.echoes(&peer), "{USER}");
    }
}
