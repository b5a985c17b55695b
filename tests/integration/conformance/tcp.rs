//! TCP allocations (RFC 6062), and what streams change.

use std::time::Duration;

use stun::attributes::{
    ATTR_CONNECTION_ID, ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN,
    ATTR_XOR_PEER_ADDRESS,
};
use stun::message::{
    CLASS_INDICATION, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_CONNECT,
    METHOD_CONNECTION_ATTEMPT, METHOD_CONNECTION_BIND,
};
use turn::proto::channum::ChannelNumber;
use turn::proto::reqtrans::RequestedTransport;
use turn::proto::{PROTO_TCP, Protocol};
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::five_tuple::Transport;
use turnd_proto::server::output::{Output, PeerVerdict, RelayId};

use crate::support::messages::{Attributes, addr, lifetime, peer, raw, relayed_address, status};
use crate::support::settings::Change;
use crate::support::world::{CLIENT, Caller, PEER, World};

const DATA_CLIENT: &str = "192.0.2.10:40001";

fn protocol(number: u8) -> Attributes {
    vec![Box::new(RequestedTransport {
        protocol: Protocol(number),
    })]
}

fn over(world: &mut World, client: &str, transport: Transport) -> Caller {
    let mut caller = world.caller(client);
    caller.path.tuple.transport = transport;
    caller
}

/// A client with a TCP allocation, and its relayed transport address.
fn allocated(world: &mut World) -> (Caller, std::net::SocketAddr) {
    let caller = over(world, CLIENT, Transport::Tcp);
    let reply = world.ask(&caller, METHOD_ALLOCATE, protocol(PROTO_TCP.0));
    (caller, relayed_address(&reply))
}

/// Sends Connect, to which there is no answer yet, and tells what is to be connected.
fn begin(world: &mut World, caller: &Caller, to: &str) -> ConnectionId {
    let request = caller.login.sign(METHOD_CONNECT, vec![peer(to)]);
    assert!(
        world.is_silent(&caller.path, &request.raw),
        "answered at once"
    );
    match world.peer_outputs.pop() {
        Some(Output::Connect { connection, .. }) => connection,
        other => panic!("no connection is made: {other:?}"),
    }
}

/// A connection that waits for the client, and the CONNECTION-ID as the client heard it.
fn connected(world: &mut World, caller: &Caller, to: &str) -> (ConnectionId, Vec<u8>) {
    let connection = begin(world, caller, to);
    let ((), mut replies) =
        world.after(|server, now| server.handle_connected(now, connection, true));
    let (path, mut reply) = replies.remove(0);
    assert_eq!(path.tuple, caller.path.tuple);
    caller.login.expect_signed(&mut reply);
    assert_eq!(status(&reply), 200);
    let id = reply.get(ATTR_CONNECTION_ID).unwrap();
    assert_eq!(id.len(), 4);
    (connection, id)
}

fn bind(world: &mut World, caller: &Caller, id: &[u8]) -> u16 {
    let attributes = vec![raw(ATTR_CONNECTION_ID, id)];
    status(&world.ask(caller, METHOD_CONNECTION_BIND, attributes))
}

fn closed(world: &mut World) -> Vec<ConnectionId> {
    let outputs = std::mem::take(&mut world.peer_outputs);
    let closed = outputs.into_iter().filter_map(|output| match output {
        Output::CloseConnection { connection } => Some(connection),
        _ => None,
    });
    closed.collect()
}

#[test]
fn t1_tcp_relays_need_a_stream_and_no_attribute_of_udp() {
    let mut world = World::usual();
    for transport in [Transport::Udp, Transport::Dtls] {
        let caller = over(&mut world, CLIENT, transport);
        let reply = world.ask(&caller, METHOD_ALLOCATE, protocol(6));
        assert_eq!(status(&reply), 400, "{transport:?}");
    }
    let caller = over(&mut world, CLIENT, Transport::Tls);
    for (typ, value) in [
        (ATTR_DONT_FRAGMENT, &[][..]),
        (ATTR_EVEN_PORT, &[0]),
        (ATTR_RESERVATION_TOKEN, &[0; 8]),
    ] {
        let mut attributes = protocol(6);
        attributes.push(raw(typ, value));
        assert_eq!(
            status(&world.ask(&caller, METHOD_ALLOCATE, attributes)),
            400,
            "{typ}"
        );
    }
    assert_eq!(
        status(&world.ask(&caller, METHOD_ALLOCATE, protocol(5))),
        442
    );
    assert_eq!(
        status(&world.ask(&caller, METHOD_ALLOCATE, protocol(6))),
        200
    );

    let without: [(Change, u8, u8); 2] = [
        (|s| s.tcp_relay = false, 6, 17),
        (|s| s.udp_relay = false, 17, 6),
    ];
    for (change, refused, served) in without {
        let mut world = World::new(change);
        let caller = over(&mut world, CLIENT, Transport::Tcp);
        for (transport, expected) in [(refused, 403), (served, 200)] {
            let reply = world.ask(&caller, METHOD_ALLOCATE, protocol(transport));
            assert_eq!(status(&reply), expected, "{transport}");
        }
    }
}

#[test]
fn r1_t2_connect_needs_a_tcp_allocation() {
    let mut world = World::usual();
    let caller = over(&mut world, CLIENT, Transport::Tcp);
    let ask = |world: &mut World| status(&world.ask(&caller, METHOD_CONNECT, vec![peer(PEER)]));
    assert_eq!(ask(&mut world), 437);
    world.allocate(&caller);
    assert_eq!(ask(&mut world), 437, "the allocation is for UDP");
}

#[test]
fn t2_connect_from_the_relayed_address_and_its_refusals() {
    let mut world = World::usual();
    let (caller, relayed) = allocated(&mut world);
    let refused =
        |world: &mut World, attributes| status(&world.ask(&caller, METHOD_CONNECT, attributes));
    assert_eq!(refused(&mut world, vec![]), 400);
    assert_eq!(
        refused(&mut world, vec![raw(ATTR_XOR_PEER_ADDRESS, &[0; 3])]),
        400
    );
    assert_eq!(refused(&mut world, vec![peer("10.0.0.1:80")]), 403);
    assert_eq!(refused(&mut world, vec![peer("[2a00::1]:80")]), 443);

    let request = caller.login.sign(METHOD_CONNECT, vec![peer(PEER)]);
    assert!(world.is_silent(&caller.path, &request.raw));
    let Some(Output::Connect {
        connection,
        from,
        to,
    }) = world.peer_outputs.pop()
    else {
        panic!("no connection is made");
    };
    assert_eq!((from, to.0), (relayed, addr(PEER)));
    assert_eq!(
        refused(&mut world, vec![peer(PEER)]),
        446,
        "it is being made"
    );
    let ((), replies) = world.after(|server, now| server.handle_connected(now, connection, true));
    assert_eq!(status(&replies[0].1), 200);
    assert_eq!(refused(&mut world, vec![peer(PEER)]), 446, "it waits");
    // Another port is another peer.
    begin(&mut world, &caller, "45.0.0.7:7001");
}

#[test]
fn t2_a_connection_that_fails_or_takes_30_seconds_is_447() {
    let mut world = World::usual();
    let (caller, _) = allocated(&mut world);
    let connection = begin(&mut world, &caller, PEER);
    let ((), replies) = world.after(|server, now| server.handle_connected(now, connection, false));
    assert_eq!(status(&replies[0].1), 447);
    assert_eq!(closed(&mut world), [connection]);

    let connection = begin(&mut world, &caller, PEER);
    world.at_second(29);
    assert_eq!(closed(&mut world), []);
    world.at_second(30);
    assert_eq!(closed(&mut world), [connection]);
    let ((), replies) = world.after(|_, _| ());
    assert_eq!(status(&replies[0].1), 447);
    let ((), late) = world.after(|server, now| server.handle_connected(now, connection, true));
    assert!(late.is_empty());
}

#[test]
fn t3_a_connection_that_nobody_comes_for_is_closed_after_30_seconds() {
    let mut world = World::usual();
    let (caller, _) = allocated(&mut world);
    let (connection, id) = connected(&mut world, &caller, PEER);
    world.at_second(29);
    assert_eq!(closed(&mut world), []);
    world.at_second(31);
    assert_eq!(closed(&mut world), [connection]);
    let data = over(&mut world, DATA_CLIENT, Transport::Tcp);
    assert_eq!(bind(&mut world, &data, &id), 400);
    assert!(world.shared.connections.is_empty());
}

#[test]
fn t4_a_peer_with_a_permission_is_announced_and_others_are_closed() {
    let mut world = World::new(|s| s.limits.peer_connections = 2);
    let (caller, _) = allocated(&mut world);
    let inbound = |world: &mut World, peer: &str| {
        world.after(|server, now| server.handle_inbound(now, RelayId(0), addr(peer)))
    };
    let (none, told) = inbound(&mut world, PEER);
    assert!(none.is_none() && told.is_empty());
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    let (connection, told) = inbound(&mut world, PEER);
    let connection = connection.expect("the peer has a permission");
    let (path, message) = &told[0];
    assert_eq!(path.tuple, caller.path.tuple);
    assert_eq!(message.typ.method, METHOD_CONNECTION_ATTEMPT);
    assert_eq!(message.typ.class, CLASS_INDICATION);
    assert_eq!(
        crate::support::messages::xor_address(message, ATTR_XOR_PEER_ADDRESS),
        Some(addr(PEER))
    );
    assert_eq!(
        message.get(ATTR_CONNECTION_ID).unwrap(),
        connection.0.to_be_bytes()
    );
    // No more than the limit, and none once the permission has expired.
    assert!(inbound(&mut world, "45.0.0.7:7001").0.is_some());
    assert!(inbound(&mut world, "45.0.0.7:7002").0.is_none());
    world.at_second(301);
    assert!(inbound(&mut world, PEER).0.is_none());
}

#[test]
fn t5_connection_bind() {
    let mut world = World::new(|s| s.users(&["alice:secret", "bob:secret"]));
    let (caller, _) = allocated(&mut world);
    let (connection, id) = connected(&mut world, &caller, PEER);
    let by_udp = world.caller(DATA_CLIENT);
    assert_eq!(bind(&mut world, &by_udp, &id), 400);
    let mut bob = world.log_in(DATA_CLIENT, "bob", "secret");
    bob.path.tuple.transport = Transport::Tcp;
    assert_eq!(bind(&mut world, &bob, &id), 441);
    assert_eq!(
        bind(&mut world, &caller, &id),
        400,
        "on the control connection"
    );
    let data = over(&mut world, DATA_CLIENT, Transport::Tls);
    assert_eq!(bind(&mut world, &data, &[1, 2, 3]), 400);
    assert_eq!(
        status(&world.ask(&data, METHOD_CONNECTION_BIND, vec![])),
        400
    );
    let unknown = (connection.0 ^ 1).to_be_bytes();
    assert_eq!(bind(&mut world, &data, &unknown), 400);

    assert_eq!(bind(&mut world, &data, &id), 200);
    match world.peer_outputs.pop() {
        Some(Output::HandOver {
            path,
            connection: handed,
            worker,
        }) => {
            assert_eq!(
                (path.tuple, handed, worker),
                (data.path.tuple, connection, 0)
            );
        }
        other => panic!("the stream is not handed over: {other:?}"),
    }
    assert_eq!(bind(&mut world, &data, &id), 400, "it is used");
    assert!(world.server.handle_joined(connection));
    world.at_second(100);
    assert_eq!(closed(&mut world), [], "what is joined has no deadline");
}

#[test]
fn t6_an_end_closes_everything_and_leaves_nothing() {
    let mut world = World::usual();
    let (caller, _) = allocated(&mut world);
    let (joined, id) = connected(&mut world, &caller, PEER);
    let data = over(&mut world, DATA_CLIENT, Transport::Tcp);
    assert_eq!(bind(&mut world, &data, &id), 200);
    assert!(world.server.handle_joined(joined));
    let (waiting, _) = connected(&mut world, &caller, "45.0.0.7:7001");
    let connecting = begin(&mut world, &caller, "45.0.0.7:7002");
    let (done, _) = connected(&mut world, &caller, "45.0.0.7:7003");
    // One side has closed.
    world.after(|server, _| server.handle_connection_closed(done));
    assert_eq!(closed(&mut world), [done]);
    // The allocation ends.
    assert_eq!(status(&world.refresh(&caller, Some(0))), 200);
    let mut all = closed(&mut world);
    let mut expected = [joined, waiting, connecting];
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
    assert!(world.shared.connections.is_empty());
    assert_eq!(
        (world.server.deadlines(), world.server.allocations()),
        (0, 0)
    );
    assert!(!world.server.handle_joined(waiting), "it came too late");
}

#[test]
fn t6_connections_of_one_user_and_of_all_share_what_they_may_carry() {
    let limits: [(Change, bool); 3] = [
        (|s| s.limits.user_bps = Some(1000), true),
        (|s| s.limits.bps_capacity = Some(1000), true),
        (|s| s.limits.max_bps = Some(1000), false),
    ];
    for (limit, shared) in limits {
        let mut world = World::new(limit);
        let calls = [CLIENT, "192.0.2.10:40009"].map(|client| {
            let caller = over(&mut world, client, Transport::Tcp);
            let reply = world.ask(&caller, METHOD_ALLOCATE, protocol(PROTO_TCP.0));
            assert_eq!(status(&reply), 200);
            connected(&mut world, &caller, PEER).0
        });
        let (now, server) = (world.now, &mut world.server);
        for to_peer in [true, false] {
            server.handle_connection_data(now, calls[0], to_peer, 1500);
            let other = server.may_carry(now, calls[1], to_peer);
            assert_eq!(other.is_err(), shared);
        }
        world.at_milli(510);
        let now = world.now;
        for call in calls {
            for to_peer in [true, false] {
                assert_eq!(world.server.may_carry(now, call, to_peer), Ok(()));
            }
        }
    }
}

#[test]
fn t6_expiry_closes_all_and_bandwidth_holds_for_connections() {
    let mut world = World::new(|s| s.limits.max_bps = Some(1000));
    let (caller, _) = allocated(&mut world);
    let (connection, id) = connected(&mut world, &caller, PEER);
    let data = over(&mut world, DATA_CLIENT, Transport::Tcp);
    assert_eq!(bind(&mut world, &data, &id), 200);
    assert!(world.server.handle_joined(connection));
    let now = world.now;
    let server = &mut world.server;
    assert_eq!(server.may_carry(now, connection, true), Ok(()));
    server.handle_connection_data(now, connection, true, 1200);
    let again = now.mono + Duration::from_millis(200) + Duration::from_nanos(1);
    assert_eq!(
        server.may_carry(now, connection, true),
        Err(again),
        "when there is something again"
    );
    assert_eq!(
        server.may_carry(now, connection, false),
        Ok(()),
        "the other direction has its own"
    );
    world.at_milli(201);
    let now = world.now;
    assert_eq!(world.server.may_carry(now, connection, true), Ok(()));
    world.at_second(601);
    assert_eq!(closed(&mut world), [connection]);
}

#[test]
fn r3_t1_families_and_channels_of_tcp_allocations() {
    let mut world = World::usual();
    let (caller, _) = allocated(&mut world);
    let v6 = || {
        raw(
            stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY,
            &[2, 0, 0, 0],
        )
    };
    let refresh = stun::message::METHOD_REFRESH;
    assert_eq!(
        status(&world.ask(&caller, refresh, vec![lifetime(600), v6()])),
        443
    );
    let v4 = raw(
        stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY,
        &[1, 0, 0, 0],
    );
    assert_eq!(
        status(&world.ask(&caller, refresh, vec![lifetime(600), v4])),
        200
    );
    let channel: Attributes = vec![Box::new(ChannelNumber(0x4000)), peer(PEER)];
    assert_eq!(
        status(&world.ask(&caller, METHOD_CHANNEL_BIND, channel)),
        400
    );
}

#[test]
fn c5_channel_data_to_a_stream_is_padded() {
    let mut world = World::usual();
    let caller = over(&mut world, CLIENT, Transport::Tcp);
    world.allocate(&caller);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    for len in 0..9u16 {
        let verdict = world
            .server
            .handle_peer(world.now, RelayId(0), addr(PEER), len);
        let PeerVerdict::ToClient { header, .. } = verdict else {
            panic!("not relayed");
        };
        assert_eq!((usize::from(len) + header.padding()) % 4, 0);
        assert_eq!(header.as_bytes()[2..], len.to_be_bytes());
    }
}

#[test]
fn connections_with_peers_that_a_reload_denies_are_closed() {
    let mut world = World::usual();
    let (caller, _) = allocated(&mut world);
    let (stays, id) = connected(&mut world, &caller, "45.0.0.1:1");
    let data = over(&mut world, DATA_CLIENT, Transport::Tcp);
    assert_eq!(bind(&mut world, &data, &id), 200);
    assert!(world.server.handle_joined(stays));
    let (joined, id) = connected(&mut world, &caller, "45.0.0.2:1");
    let data = over(&mut world, "192.0.2.10:40002", Transport::Tcp);
    assert_eq!(bind(&mut world, &data, &id), 200);
    assert!(world.server.handle_joined(joined));
    let (waiting, _) = connected(&mut world, &caller, "45.0.0.2:2");
    let connecting = begin(&mut world, &caller, "45.0.0.2:3");
    closed(&mut world);

    let denied = World::new(|s| s.deny(&["45.0.0.2"])).shared;
    let (_, mut replies) = world.after(|server, now| server.handle_reload(now, denied));
    let mut all = closed(&mut world);
    all.sort();
    let mut expected = vec![joined, waiting, connecting];
    expected.sort();
    assert_eq!(all, expected);
    let (path, refusal) = replies.remove(0);
    assert_eq!((path.tuple, status(&refusal)), (caller.path.tuple, 447));
    assert!(replies.is_empty());
}

/// Only what a relay socket of this server is bound to is no other program's: the port's number alone says nothing,
/// as UDP and TCP have ports of their own, and a reserved port has no socket yet.
#[test]
fn relay_addresses_are_reached_by_what_they_relay_alone() {
    let mut world = World::usual();
    let (streams, streaming) = allocated(&mut world);
    let (packets, packeting) = world.allocated("192.0.2.30:7");
    let even = vec![raw(ATTR_EVEN_PORT, &[0x80])];
    let pair = world.caller("192.0.2.40:7");
    let mut reserved = relayed_address(&world.try_allocate(&pair, even));
    reserved.set_port(reserved.port() + 1);
    for peer_addr in [streaming, reserved] {
        let to = peer_addr.to_string();
        assert_eq!(world.permit(&packets, &[&to]), 200);
        assert!(!world.send(&packets, &to, "x"), "{to}");
        assert_eq!(world.bind_channel(&packets, 0x4000, &to), 403, "{to}");
    }
    for peer_addr in [packeting, reserved] {
        let to = peer_addr.to_string();
        let reply = world.ask(&streams, METHOD_CONNECT, vec![peer(&to)]);
        assert_eq!(status(&reply), 403, "{to}");
    }
    // A relayed address of this server that takes TCP is in reach.
    let other = over(&mut world, "192.0.2.50:7", Transport::Tcp);
    let reply = world.ask(&other, METHOD_ALLOCATE, protocol(PROTO_TCP.0));
    let other = relayed_address(&reply);
    begin(&mut world, &streams, &other.to_string());
}
