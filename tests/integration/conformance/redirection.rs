//! Clients that are sent on to another server (RFC 8489 §10, RFC 8656 §7.2 step 11).

use std::net::SocketAddr;

use stun::attributes::AttrType;
use stun::message::{METHOD_ALLOCATE, METHOD_REFRESH, Message};
use turnd_proto::server::five_tuple::Transport;

use crate::support::messages::{addr, lifetime, request, status};
use crate::support::world::{CLIENT, CLIENT_V6, PEER, SERVER_V4, World, path, path_by};
use crate::support::{PASSWORD, USER};

const ALTERNATE_SERVER: AttrType = AttrType(0x8023);

/// Every ALTERNATE-SERVER in its order; empty: the client was not sent on.
fn alternates(reply: &Message) -> Vec<SocketAddr> {
    let sent_on = status(reply) == 300;
    let named: Vec<_> = (reply.attributes.0.iter())
        .filter(|attribute| attribute.typ == ALTERNATE_SERVER)
        .map(|attribute| {
            let (port, ip) = attribute.value[2..].split_at(2);
            let port = u16::from_be_bytes(port.try_into().unwrap());
            match attribute.value[1] {
                1 => (<[u8; 4]>::try_from(ip).unwrap(), port).into(),
                _ => (<[u8; 16]>::try_from(ip).unwrap(), port).into(),
            }
        })
        .collect();
    assert_eq!(sent_on, !named.is_empty(), "{reply}");
    named
}

fn sent_on(world: &mut World, transport: Transport, client: &str) -> Vec<SocketAddr> {
    let caller = world.log_in_on(path_by(transport, client), USER, PASSWORD);
    alternates(&world.try_allocate(&caller, vec![]))
}

fn servers(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().copied().map(addr).collect()
}

#[test]
fn s14_clients_are_sent_on_in_turn_to_servers_of_their_family() {
    let mut world = World::new(|s| {
        s.alternate_servers.any = servers(&[
            "192.0.2.1:3478",
            "[2001:db8::1:1]:3478",
            "192.0.2.2:443",
            "192.0.2.2:443",
        ])
    });
    let v6 = "[2001:db8::1:1]:3478";
    for first in ["192.0.2.1:3478", "192.0.2.2:443", "192.0.2.2:443"] {
        let named = sent_on(&mut world, Transport::Udp, CLIENT);
        assert_eq!(named, servers(&[first, v6]));
        // Clients of the other family leave the turn alone.
        let named = sent_on(&mut world, Transport::Tcp, CLIENT_V6);
        assert_eq!(named[0], addr(v6));
        assert_eq!(named.len(), 2);
    }
    world.expect_empty();
}

#[test]
fn d3_a_client_is_sent_on_once_its_credentials_are_right_and_the_answer_is_signed() {
    let mut world = World::new(|s| s.alternate_servers.any = servers(&["192.0.2.1:3478"]));
    // `ask` looks at the signature.
    let caller = world.caller(CLIENT);
    let reply = world.ask(&caller, METHOD_ALLOCATE, vec![]);
    assert_eq!(alternates(&reply), servers(&["192.0.2.1:3478"]));
    let wrong = world.log_in(CLIENT, USER, "not the password");
    let reply = wrong.login.sign(METHOD_ALLOCATE, vec![]);
    assert_eq!(status(&world.reply(&wrong.path, &reply)), 401);
    let mut world = World::new(|s| {
        s.auth.no_auth = true;
        s.alternate_servers.any = servers(&["192.0.2.1:3478"]);
    });
    let reply = world.reply(&path(CLIENT), &request(METHOD_ALLOCATE, vec![]));
    assert_eq!(alternates(&reply), servers(&["192.0.2.1:3478"]));
}

#[test]
fn clients_on_tls_and_dtls_have_a_list_of_their_own() {
    let mut world = World::new(|s| {
        s.alternate_servers.any = servers(&["192.0.2.1:3478"]);
        s.alternate_servers.tls = servers(&["192.0.2.2:5349", "192.0.2.3:5349"]);
    });
    for (transport, server) in [
        (Transport::Udp, "192.0.2.1:3478"),
        (Transport::Tls, "192.0.2.2:5349"),
        (Transport::Tcp, "192.0.2.1:3478"),
        (Transport::Dtls, "192.0.2.3:5349"),
    ] {
        let named = sent_on(&mut world, transport, CLIENT);
        assert_eq!(named, servers(&[server]), "{transport:?}");
    }
    let mut world = World::new(|s| s.alternate_servers.any = servers(&["192.0.2.1:3478"]));
    let named = sent_on(&mut world, Transport::Tls, CLIENT);
    assert_eq!(named, servers(&["192.0.2.1:3478"]));
    let mut world = World::new(|s| s.alternate_servers.tls = servers(&["192.0.2.2:5349"]));
    assert_eq!(sent_on(&mut world, Transport::Udp, CLIENT), []);
}

#[test]
fn nobody_is_sent_on_where_no_server_of_the_family_is_listed_or_this_one_is() {
    let mut world = World::new(|s| s.alternate_servers.any = servers(&["[2001:db8::1:1]:3478"]));
    assert_eq!(sent_on(&mut world, Transport::Udp, CLIENT), []);
    let mut world =
        World::new(|s| s.alternate_servers.any = servers(&["192.0.2.1:3478", SERVER_V4]));
    assert_eq!(sent_on(&mut world, Transport::Udp, CLIENT), []);
    // Behind a NAT that forwards, by the address that the world sees.
    let ip = addr(SERVER_V4).ip();
    let mut world = World::new(|s| {
        s.alternate_servers.any = servers(&["192.0.2.1:3478", "45.0.0.1:3478"]);
        s.external(&[&format!("45.0.0.1/{ip}")]);
    });
    assert_eq!(sent_on(&mut world, Transport::Udp, CLIENT), []);
}

#[test]
fn a_reload_changes_where_clients_are_sent_and_leaves_allocations_alone() {
    let mut world = World::usual();
    let (old, _) = world.allocated(CLIENT);
    assert_eq!(world.permit(&old, &[PEER]), 200);
    world.reload(|s| s.alternate_servers.any = servers(&["192.0.2.1:3478"]));
    assert!(world.send(&old, PEER, "on it goes"));
    let refreshed = world.ask(&old, METHOD_REFRESH, vec![lifetime(600)]);
    assert_eq!(status(&refreshed), 200);
    let client = "192.0.2.11:40000";
    let named = sent_on(&mut world, Transport::Udp, client);
    assert_eq!(named, servers(&["192.0.2.1:3478"]));
    world.reload(|s| s.alternate_servers.any = servers(&["192.0.2.2:3478"]));
    let named = sent_on(&mut world, Transport::Udp, client);
    assert_eq!(named, servers(&["192.0.2.2:3478"]));
    world.reload(|_| ());
    assert_eq!(sent_on(&mut world, Transport::Udp, client), []);
}

#[test]
fn s14_a_drain_sends_clients_to_its_own_list_or_else_to_the_usual_one() {
    let mut world = World::new(|s| {
        s.alternate_servers.any = servers(&["192.0.2.1:3478"]);
        s.alternate_servers.drain = servers(&["[2001:db8::9]:3478", "192.0.2.9:3478"]);
    });
    world.server.handle_drain(true);
    let named = sent_on(&mut world, Transport::Udp, CLIENT);
    assert_eq!(named, servers(&["192.0.2.9:3478", "[2001:db8::9]:3478"]));
    world.server.handle_drain(false);
    let named = sent_on(&mut world, Transport::Udp, CLIENT);
    assert_eq!(named, servers(&["192.0.2.1:3478"]));
    world.reload(|s| s.alternate_servers.any = servers(&["192.0.2.1:3478"]));
    world.server.handle_drain(true);
    let named = sent_on(&mut world, Transport::Udp, CLIENT);
    assert_eq!(named, servers(&["192.0.2.1:3478"]));
    world.reload(|s| s.alternate_servers.drain = servers(&["192.0.2.9:3478"]));
    world.server.handle_drain(false);
    assert_eq!(sent_on(&mut world, Transport::Udp, CLIENT), []);
}
