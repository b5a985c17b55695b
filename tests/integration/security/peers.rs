//! Peers that no client may reach through a relay.

use turnd_proto::server::output::Event;

use super::client;
use crate::support::USER;
use crate::support::messages::{addr, raw, relayed_address, send};
use crate::support::world::{CLIENT, CLIENT_V6, Caller, Incoming, PEER, PEER_V6, SERVER_V4, World};

/// Addresses that reach this host, or mean it, in every spelling.
const LOOPBACK: [&str; 15] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "::0.0.0.2",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001::80ff:fffe",
    "fe80::1",
];
/// Addresses of private and special networks, refused by default.
const INSIDE: [&str; 12] = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "fd00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
];

/// Asks in every way for `peer`: whether each was refused.
fn is_refused(world: &mut World, caller: &Caller, good: &str, peer: &str) -> bool {
    // On an allocation of the other family it is 443.
    let refused = |code| matches!(code, 403 | 443);
    let by_request = refused(world.permit(caller, &[peer]))
        && refused(world.permit(caller, &[good, peer]))
        && refused(world.bind_channel(caller, 0x4000, peer));
    let silent = world.is_silent(&caller.path, &send(peer, b"x").raw);
    by_request && silent && world.channels.is_empty() && !world.send(caller, good, "x")
}

#[test]
fn no_spelling_of_loopback_or_of_a_private_network_is_a_peer() {
    let mut world = World::usual();
    let (v4, relayed_v4) = world.allocated(CLIENT);
    let v6 = world.caller(CLIENT_V6);
    let family = raw(
        stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY,
        &[2, 0, 0, 0],
    );
    let relayed_v6 = relayed_address(&world.try_allocate(&v6, vec![family]));
    for ip in LOOPBACK.iter().chain(&INSIDE) {
        let peer = if ip.contains(':') {
            format!("[{ip}]:22")
        } else {
            format!("{ip}:22")
        };
        assert!(is_refused(&mut world, &v4, PEER, &peer), "{peer} from IPv4");
        assert!(
            is_refused(&mut world, &v6, PEER_V6, &peer),
            "{peer} from IPv6"
        );
        assert_eq!(world.peer_sends(relayed_v4, &peer, b"x"), None);
        assert_eq!(world.peer_sends(relayed_v6, &peer, b"x"), None);
    }
    assert_eq!(world.permit(&v4, &[PEER]), 200);
    assert_eq!(world.permit(&v6, &[PEER_V6]), 200);
}

#[test]
fn the_lists_decide_before_the_defaults() {
    let mut world = World::new(|s| {
        s.allow(&["10.0.0.0/24"]);
        s.deny(&["45.0.0.0/24", "10.0.0.9"]);
        s.peers.allow_loopback = true;
    });
    let (caller, _) = world.allocated(CLIENT);
    for (peer, expected) in [
        ("10.0.0.1:1", 200),
        ("10.0.0.9:1", 403),
        ("10.0.1.1:1", 403),
        ("45.0.0.7:1", 403),
        ("45.0.1.7:1", 200),
        ("127.0.0.1:1", 200),
        ("0.0.0.0:1", 403),
    ] {
        assert_eq!(world.permit(&caller, &[peer]), expected, "{peer}");
    }
}

#[test]
fn relay_to_relay_works_and_the_servers_other_ports_are_out_of_reach() {
    // With and without external addresses, which are what clients name then.
    let cases: [(&[&str], &str); 2] = [(&[], "198.51.100.1"), (&["45.9.9.9"], "45.9.9.9")];
    for (external, public) in cases {
        let mut world = World::new(|s| s.external(external));
        let (alice, alices) = world.allocated(&client(0));
        let (bob, bobs) = world.allocated(&client(1));
        assert_eq!(alices.ip().to_string(), public);
        let local = |world: &World, relayed: std::net::SocketAddr| {
            *world
                .open
                .values()
                .find(|open| open.port() == relayed.port())
                .unwrap()
        };
        let (alices_local, bobs_local) = (local(&world, alices), local(&world, bobs));
        assert_eq!(world.permit(&alice, &[&bobs.to_string()]), 200);
        assert_eq!(world.permit(&bob, &[&alices.to_string()]), 200);
        let sent = world
            .relay(&alice.path, &send(&bobs.to_string(), b"hi").raw)
            .unwrap();
        assert_eq!((sent.from, sent.to), (alices_local, bobs_local));
        let arrived = world.peer_sends(bobs_local, &alices_local.to_string(), b"hi");
        assert_eq!(
            arrived,
            Some(Incoming::Data(alices, b"hi".into())),
            "the public form"
        );
        assert_eq!(world.bind_channel(&bob, 0x4000, &alices.to_string()), 200);
        assert_eq!(world.send_on(&bob, 0x4000, "hi"), Some(alices_local));
        let arrived = world.peer_sends(bobs_local, &alices_local.to_string(), b"hi");
        assert_eq!(arrived, Some(Incoming::Channel(0x4000, b"hi".into())));

        // The permission is for relayed addresses and for nothing else that has the same IP.
        let taken = [alices.port(), bobs.port()];
        let free = (50_000..).find(|port| !taken.contains(port)).unwrap();
        for ip in [public, "198.51.100.1"] {
            for port in [22, 53, 3478, 5349, free] {
                let peer = format!("{ip}:{port}");
                assert!(!world.send(&alice, &peer, "x"), "{peer}");
                assert_eq!(world.bind_channel(&alice, 0x4001, &peer), 403, "{peer}");
                let from = format!("198.51.100.1:{port}");
                assert_eq!(world.peer_sends(alices_local, &from, b"x"), None);
            }
        }
        // When the other relay has gone, its port is like any other.
        world.refresh(&alice, Some(0));
        assert!(!world.send(&bob, &alices.to_string(), "x"));
        assert_eq!(world.send_on(&bob, 0x4000, "x"), None);
        assert_eq!(
            world.peer_sends(bobs_local, &alices_local.to_string(), b"x"),
            None
        );
    }
}

#[test]
fn the_hosts_other_addresses_are_no_peers() {
    let other = "45.8.8.8:1";
    let mut world = World::at(|_| (), &[SERVER_V4], &[addr(other).ip()]);
    let (caller, _) = world.allocated(CLIENT);
    assert!(is_refused(&mut world, &caller, PEER, other));
    let mut world = World::at(
        |s| s.allow(&["45.8.8.8"]),
        &[SERVER_V4],
        &[addr(other).ip()],
    );
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(
        world.permit(&caller, &[other]),
        200,
        "unless the operator says so"
    );
}

#[test]
fn refused_peers_are_logged_once_a_minute_for_each_reason() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    let denied = |world: &mut World| {
        world.events.clear();
        for peer in ["10.0.0.1:1", "192.168.0.1:1", "127.0.0.1:1", "10.0.0.2:1"] {
            assert_eq!(world.permit(&caller, &[peer]), 403);
            assert_eq!(world.bind_channel(&caller, 0x4000, peer), 403);
        }
        let options = world.events.iter().map(|event| match event {
            Event::PeerDenied { denied, user, .. } => {
                assert_eq!(user.as_deref(), Some(USER));
                (denied.reason.as_str(), denied.option)
            }
            event => panic!("{event:?}"),
        });
        options.collect::<Vec<_>>()
    };
    let both = [
        ("private", "allowed-peer-ip"),
        ("loopback", "allow-loopback-peers"),
    ];
    assert_eq!(denied(&mut world), both);
    world.at_milli(59_999);
    assert_eq!(denied(&mut world), []);
    world.at_second(60);
    assert_eq!(denied(&mut world), both);
}
