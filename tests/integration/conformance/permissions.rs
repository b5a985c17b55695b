//! CreatePermission (RFC 8656 §9, §10).

use stun::attributes::ATTR_XOR_PEER_ADDRESS;
use stun::message::METHOD_CREATE_PERMISSION;
use turnd_proto::server::settings::DefaultFamily;

use crate::support::messages::{addr, peer, raw, status};
use crate::support::world::{CLIENT, Incoming, PEER, PEER_V6, World};

/// Another port of the same address.
const PEER_PORT: &str = "45.0.0.7:1";
const OTHER: &str = "45.0.0.8:7000";
const DENIED: &str = "10.0.0.1:7000";

#[test]
fn p1_a_permission_is_for_an_address_whatever_the_port() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &["45.0.0.7:0"]), 200);
    for peer in [PEER, PEER_PORT, "45.0.0.7:65535"] {
        assert!(world.send(&caller, peer, "x"));
        let arrived = Incoming::Data(addr(peer), b"x".into());
        assert_eq!(world.peer_sends(relayed, peer, b"x"), Some(arrived));
    }
    assert!(!world.send(&caller, OTHER, "x"));
    assert_eq!(world.peer_sends(relayed, OTHER, b"x"), None);
}

#[test]
fn p1_no_traffic_keeps_a_permission() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    for second in (0..300).step_by(20) {
        world.at_second(second);
        assert!(world.send(&caller, PEER, "x"));
        assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    }
    world.at_milli(299_999);
    assert!(world.send(&caller, PEER, "x"));
    assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    world.at_second(300);
    assert!(!world.send(&caller, PEER, "x"));
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
}

#[test]
fn p1_another_request_begins_its_lifetime_anew() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER, OTHER]), 200);
    world.at_second(200);
    assert_eq!(world.permit(&caller, &[PEER_PORT]), 200);
    world.at_second(300);
    assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    assert_eq!(
        world.peer_sends(relayed, OTHER, b"x"),
        None,
        "each by itself"
    );
    world.at_second(500);
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
}

#[test]
fn p2_one_request_makes_as_many_as_it_names() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    let peers: Vec<_> = (1..=40).map(|n| format!("45.0.1.{n}:9")).collect();
    let names: Vec<_> = peers.iter().map(String::as_str).collect();
    assert_eq!(world.permit(&caller, &names), 200);
    assert!(names.iter().all(|peer| world.send(&caller, peer, "x")));
    assert_eq!(
        world.permit(&caller, &[OTHER, OTHER]),
        200,
        "twice the same"
    );
}

#[test]
fn p2_what_is_wrong_with_a_request() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    let mut ask = |attributes| status(&world.ask(&caller, METHOD_CREATE_PERMISSION, attributes));
    assert_eq!(ask(vec![]), 400, "none");
    for value in [
        &[][..],
        &[0, 1, 0, 0],
        &[0, 1, 0, 0, 1, 2, 3],
        &[0, 1, 0, 0, 1, 2, 3, 4, 5],
        &[0, 2, 0, 0, 1, 2, 3, 4],
        &[0, 3, 0, 0, 1, 2, 3, 4],
    ] {
        let malformed = || raw(ATTR_XOR_PEER_ADDRESS, value);
        assert_eq!(ask(vec![malformed()]), 400, "{value:?}");
        assert_eq!(
            ask(vec![peer(PEER), malformed()]),
            400,
            "{value:?} behind a good one"
        );
    }
    assert_eq!(ask(vec![peer(PEER_V6)]), 443);
    assert_eq!(ask(vec![peer(DENIED)]), 403);
    assert!(
        !world.send(&caller, PEER, "x"),
        "none of them left a permission"
    );
}

#[test]
fn p2_families_of_an_ipv6_allocation() {
    let mut world = World::new(|s| s.protocol.default_family = DefaultFamily::Ipv6);
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 443);
    assert_eq!(
        world.permit(&caller, &["[::ffff:45.0.0.7]:7000"]),
        443,
        "it is an IPv4 address"
    );
    assert_eq!(world.permit(&caller, &[PEER_V6]), 200);
    assert!(world.send(&caller, PEER_V6, "x"));
    let arrived = Incoming::Data(addr(PEER_V6), b"x".into());
    assert_eq!(world.peer_sends(relayed, PEER_V6, b"x"), Some(arrived));
}

#[test]
fn p3_all_or_nothing() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    for (bad, code) in [(DENIED, 403), (PEER_V6, 443)] {
        for peers in [[PEER, bad], [bad, PEER]] {
            assert_eq!(world.permit(&caller, &peers), code);
            assert!(!world.send(&caller, PEER, "x"));
            assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
        }
    }
    // Nor is one that is there made to live longer.
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    world.at_second(200);
    assert_eq!(world.permit(&caller, &[PEER, DENIED]), 403);
    world.at_second(300);
    assert!(!world.send(&caller, PEER, "x"));
}

#[test]
fn p4_a_peer_without_permission_gets_silence() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    assert!(
        world.peer_sends(relayed, PEER_PORT, b"x").is_some(),
        "another port"
    );
    assert_eq!(world.peer_sends(relayed, OTHER, b"x"), None);
    // Permissions are each allocation's own.
    let (_, other) = world.allocated("192.0.2.10:1");
    assert_eq!(world.peer_sends(other, PEER, b"x"), None);
}
