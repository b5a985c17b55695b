//! Decisions where the texts disagree or leave it open. D5 is about a message that is not sent yet.

use std::net::SocketAddr;

use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_XORMAPPED_ADDRESS, AttrType};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH};
use turnd_proto::server::settings::DefaultFamily;

use crate::support::messages::{Login, addr, request, status, transport};
use crate::support::world::{CLIENT, Incoming, PEER, World, path_to};
use crate::support::{PASSWORD, USER, xor_address};

const PASSWORD_ALGORITHMS: AttrType = AttrType(0x8002);

#[test]
fn d1_a6_the_nonce_says_that_no_security_feature_is_on() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let (cookie, rest) = caller.login.nonce.split_at(13);
    assert_eq!(cookie, "obMatJos2AAAA");
    assert!(!rest.is_empty());
    world.at_second(601);
    let stale = world.try_allocate(&caller, vec![]);
    assert_eq!(status(&stale), 438);
    assert!(stale.get(ATTR_NONCE).unwrap().starts_with(b"obMatJos2AAAA"));
}

#[test]
fn d2_wrong_credentials_come_before_a_stale_nonce() {
    let mut world = World::usual();
    let wrong = world.log_in(CLIENT, USER, "not the password");
    let unknown = world.log_in(CLIENT, "nobody", PASSWORD);
    world.at_second(601);
    for caller in [wrong, unknown] {
        let request = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
        assert_eq!(status(&world.reply(&caller.path, &request)), 401);
    }
}

#[test]
fn d4_password_algorithms_are_not_sent_while_the_nonce_does_not_announce_them() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let challenge = world.reply(&caller.path, &request(METHOD_ALLOCATE, vec![]));
    assert_eq!(status(&challenge), 401);
    assert!(!challenge.contains(PASSWORD_ALGORITHMS));
    world.at_second(601);
    let stale = world.try_allocate(&caller, vec![]);
    assert_eq!(status(&stale), 438);
    assert!(!stale.contains(PASSWORD_ALGORITHMS));
}

#[test]
fn d6_another_realm_is_answered_with_ours() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let mut login = caller.login.clone();
    login.realm = "example.com".into();
    let reply = world.reply(
        &caller.path,
        &login.sign(METHOD_ALLOCATE, vec![transport()]),
    );
    assert_eq!(status(&reply), 401);
    assert_eq!(reply.get(ATTR_REALM).unwrap(), b"example.org");
    assert!(reply.contains(ATTR_NONCE));
    // The client can go on with what it was told.
    let login = Login::answer(&reply, USER, PASSWORD);
    let reply = world.reply(
        &caller.path,
        &login.sign(METHOD_ALLOCATE, vec![transport()]),
    );
    assert_eq!(status(&reply), 200);
}

fn mapped(text: &str) -> SocketAddr {
    let addr = addr(text);
    match addr.ip() {
        std::net::IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        std::net::IpAddr::V6(_) => addr,
    }
}

#[test]
fn d7_a_mapped_source_is_the_ipv4_address_inside() {
    let mut world = World::new(|s| s.protocol.default_family = DefaultFamily::Client);
    let path = path_to(mapped(CLIENT), mapped(crate::support::world::SERVER_V4));
    let reply = world.reply(&path, &request(METHOD_BINDING, vec![]));
    assert_eq!(
        xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
        Some(addr(CLIENT))
    );
    assert_eq!(reply.get(ATTR_XORMAPPED_ADDRESS).unwrap().len(), 8);
    // A nonce for the one is a nonce for the other.
    let caller = world.caller(CLIENT);
    let reply = world.reply(
        &path,
        &caller.login.sign(METHOD_ALLOCATE, vec![transport()]),
    );
    assert_eq!(status(&reply), 200);
    assert_eq!(
        xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
        Some(addr(CLIENT))
    );
    let relayed = crate::support::messages::relayed_address(&reply);
    assert_eq!(relayed.ip(), addr(crate::support::world::SERVER_V4).ip());
    let refresh = caller.login.sign(METHOD_REFRESH, vec![]);
    assert_eq!(status(&world.reply(&path, &refresh)), 200);
}

#[test]
fn d7_a_mapped_peer_is_the_ipv4_address_inside() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    let peer = mapped(PEER).to_string();
    assert_eq!(world.permit(&caller, &[&peer]), 200);
    let arrived = Incoming::Data(addr(PEER), b"x".into());
    assert_eq!(
        world.peer_sends(relayed, PEER, b"x").as_ref(),
        Some(&arrived)
    );
    assert_eq!(
        world.peer_sends(relayed, &peer, b"x"),
        Some(arrived),
        "as a source"
    );
    assert!(world.send(&caller, PEER, "x"));
    assert!(world.send(&caller, &peer, "x"));
    assert_eq!(world.bind_channel(&caller, 0x4000, &peer), 200);
    assert_eq!(
        world.bind_channel(&caller, 0x4000, PEER),
        200,
        "it is the same peer"
    );
    assert_eq!(
        world.bind_channel(&caller, 0x4001, PEER),
        400,
        "it is the same peer"
    );
    assert_eq!(world.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    let arrived = Incoming::Channel(0x4000, b"x".into());
    assert_eq!(world.peer_sends(relayed, &peer, b"x"), Some(arrived));
}
