//! ChannelBind and channel data (RFC 8656 §12).

use stun::attributes::{ATTR_CHANNEL_NUMBER, ATTR_XOR_PEER_ADDRESS};
use stun::message::METHOD_CHANNEL_BIND;
use turnd_proto::server::output::{Channel, RelayId};

use crate::support::messages::{addr, channel_data, peer, raw, status};
use crate::support::world::{CLIENT, Incoming, PEER, PEER_V6, World};

/// Another port of the same address.
const PEER_PORT: &str = "45.0.0.7:1";
const OTHER: &str = "45.0.0.8:7000";

#[test]
fn c1_what_is_wrong_with_a_request() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    let number = || raw(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
    let mut ask = |attributes| status(&world.ask(&caller, METHOD_CHANNEL_BIND, attributes));
    assert_eq!(ask(vec![]), 400);
    assert_eq!(ask(vec![number()]), 400, "no peer");
    assert_eq!(ask(vec![peer(PEER)]), 400, "no number");
    for malformed in [&[][..], &[0x40, 0], &[0x40, 0, 0, 0, 0]] {
        assert_eq!(
            ask(vec![raw(ATTR_CHANNEL_NUMBER, malformed), peer(PEER)]),
            400
        );
    }
    for malformed in [&[][..], &[0, 1, 0, 0, 1, 2, 3], &[0, 3, 0, 0, 1, 2, 3, 4]] {
        assert_eq!(
            ask(vec![number(), raw(ATTR_XOR_PEER_ADDRESS, malformed)]),
            400
        );
    }
    assert_eq!(ask(vec![number(), peer(PEER_V6)]), 443);
    assert_eq!(ask(vec![number(), peer("10.0.0.1:1")]), 403);
    assert!(world.channels.is_empty());
    assert!(!world.send(&caller, PEER, "x"), "no permission either");
    assert_eq!(world.server.deadlines(), 1);
}

#[test]
fn c1_numbers() {
    for (rfc5766, good, bad) in [
        (
            false,
            vec![0x4000, 0x4FFF],
            vec![0, 1, 0x3FFF, 0x5000, 0x7FFF, 0x8000, 0xFFFF],
        ),
        (
            true,
            vec![0x4000, 0x4FFF, 0x5000, 0x7FFF],
            vec![0, 0x3FFF, 0x8000, 0xFFFF],
        ),
    ] {
        let mut world = World::new(|s| s.protocol.rfc5766_channels = rfc5766);
        let (caller, relayed) = world.allocated(CLIENT);
        for number in bad {
            assert_eq!(
                world.bind_channel(&caller, number, PEER),
                400,
                "{number:#x}"
            );
        }
        for (port, number) in (7000..).zip(good) {
            let peer = format!("45.0.0.7:{port}");
            assert_eq!(
                world.bind_channel(&caller, number, &peer),
                200,
                "{number:#x}"
            );
            assert_eq!(world.send_on(&caller, number, "x"), Some(addr(&peer)));
            let arrived = Incoming::Channel(number, b"x".into());
            assert_eq!(world.peer_sends(relayed, &peer, b"x"), Some(arrived));
        }
    }
}

#[test]
fn c2_a_number_has_one_peer_and_a_peer_one_number() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    assert_eq!(world.bind_channel(&caller, 0x4000, OTHER), 400);
    assert_eq!(world.bind_channel(&caller, 0x4001, PEER), 400);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    assert_eq!(world.send_on(&caller, 0x4001, "x"), None);
    assert!(
        !world.send(&caller, OTHER, "x"),
        "a refusal permits nothing"
    );
    assert_eq!(world.channels.len(), 1);
}

#[test]
fn c2_binding_again_begins_channel_and_permission_anew() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    world.at_second(299);
    assert_eq!(status(&world.refresh(&caller, Some(3600))), 200);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    let up = world.channels.clone();
    assert_eq!(up.len(), 1);
    let without_permission = Channel {
        permission_until: None,
        ..up[0]
    };
    // The permission: 299 + 300.
    world.at_milli(598_999);
    assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    world.at_second(599);
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
    // The channel: 299 + 600.
    world.at_milli(898_999);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    assert_eq!(world.channels, [without_permission]);
    world.at_second(899);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
    assert!(world.channels.is_empty());
}

#[test]
fn c2_a_refused_binding_begins_nothing_anew() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    world.at_second(200);
    assert_eq!(world.bind_channel(&caller, 0x4001, PEER), 400);
    world.at_second(300);
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
}

#[test]
fn c3_another_port_gets_its_own_channel() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    let arrived = Incoming::Data(addr(PEER_PORT), b"x".into());
    assert_eq!(
        world.peer_sends(relayed, PEER_PORT, b"x"),
        Some(arrived),
        "permitted, not bound"
    );
    assert_eq!(world.bind_channel(&caller, 0x4001, PEER_PORT), 200);
    for (peer, number) in [(PEER, 0x4000), (PEER_PORT, 0x4001)] {
        assert_eq!(world.send_on(&caller, number, "x"), Some(addr(peer)));
        let arrived = Incoming::Channel(number, b"x".into());
        assert_eq!(world.peer_sends(relayed, peer, b"x"), Some(arrived));
    }
}

#[test]
fn c3_numbers_are_each_allocations_own() {
    let mut world = World::usual();
    let (one, relayed_one) = world.allocated(CLIENT);
    let (two, relayed_two) = world.allocated("192.0.2.10:1");
    assert_eq!(world.bind_channel(&one, 0x4000, PEER), 200);
    assert_eq!(world.send_on(&two, 0x4000, "x"), None);
    assert_eq!(world.bind_channel(&two, 0x4000, OTHER), 200);
    assert_eq!(world.bind_channel(&two, 0x4001, PEER), 200);
    assert_eq!(world.send_on(&one, 0x4000, "x"), Some(addr(PEER)));
    assert_eq!(world.send_on(&two, 0x4000, "x"), Some(addr(OTHER)));
    let on = |number| Some(Incoming::Channel(number, b"x".into()));
    assert_eq!(world.peer_sends(relayed_one, PEER, b"x"), on(0x4000));
    assert_eq!(world.peer_sends(relayed_two, PEER, b"x"), on(0x4001));
    world.refresh(&one, Some(0));
    assert_eq!(world.send_on(&two, 0x4001, "x"), Some(addr(PEER)));
}

#[test]
fn c3_after_expiry_both_can_be_bound_anew() {
    let mut world = World::new(|s| s.limits.channels = 1);
    let (caller, _) = world.allocated(CLIENT);
    world.refresh(&caller, Some(3600));
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    world.at_milli(599_999);
    assert_eq!(world.bind_channel(&caller, 0x4000, OTHER), 400);
    assert_eq!(world.bind_channel(&caller, 0x4001, PEER), 400);
    world.at_second(600);
    assert_eq!(world.bind_channel(&caller, 0x4001, PEER), 200);
    assert_eq!(
        world.bind_channel(&caller, 0x4000, OTHER),
        508,
        "the old one made room"
    );
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
    assert_eq!(world.send_on(&caller, 0x4001, "x"), Some(addr(PEER)));
    assert_eq!(world.channels.len(), 1);
}

#[test]
fn c4_channel_data() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    let mut payload = |bytes: &[u8]| {
        world
            .relay(&caller.path, bytes)
            .map(|relayed| relayed.payload)
    };
    assert_eq!(payload(&channel_data(0x4001, b"x")), None, "not bound");
    assert_eq!(
        payload(&[0x40, 0, 0, 3, 7, 8]),
        None,
        "length beyond the payload"
    );
    assert_eq!(payload(&[0x40, 0, 0xFF, 0xFF, 7, 8]), None);
    for len in 0..4 {
        assert_eq!(
            payload(&[0x40, 0, 0, 0][..len]),
            None,
            "{len} bytes of header"
        );
    }
    assert_eq!(
        payload(&[0x40, 0, 0, 2, 7, 8, 9, 9]).unwrap(),
        [7, 8],
        "surplus is ignored"
    );
    let empty = Some(vec![]);
    assert_eq!(payload(&[0x40, 0, 0, 0]), empty);
    assert_eq!(payload(&[0x40, 0, 0, 0, 1, 2]), empty);
    let large = vec![0xEF; 65_000];
    assert_eq!(payload(&channel_data(0x4000, &large)).unwrap(), large);
    // From another five-tuple the number says nothing.
    let other = world.caller("192.0.2.10:1");
    assert_eq!(world.send_on(&other, 0x4000, "x"), None);
}

#[test]
fn c6_once_bound_data_comes_on_the_channel_and_refreshes_nothing() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    assert!(matches!(
        world.peer_sends(relayed, PEER, b"x"),
        Some(Incoming::Data(..))
    ));
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    for length in 0..9 {
        let payload = vec![0x55; length];
        let arrived = world.peer_sends(relayed, PEER, &payload);
        assert_eq!(arrived, Some(Incoming::Channel(0x4000, payload)));
    }
    // A Send indication to a bound peer is still served (§12).
    assert!(world.send(&caller, PEER, "x"));
    world.refresh(&caller, Some(3600));
    for second in (0..600).step_by(30) {
        world.at_second(second);
        assert!(world.send_on(&caller, 0x4000, "x").is_some());
        assert_eq!(
            world.peer_sends(relayed, PEER, b"x").is_some(),
            second < 300
        );
    }
    world.at_second(600);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
}

#[test]
fn c7_permission_expired_and_channel_alive() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    world.at_second(301);
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
    assert!(!world.send(&caller, PEER, "x"));
    assert_eq!(world.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    // A new permission opens the way back, on the channel.
    assert_eq!(world.permit(&caller, &[PEER_PORT]), 200);
    let arrived = Incoming::Channel(0x4000, b"x".into());
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), Some(arrived));
}

#[test]
fn channels_go_up_and_down_exactly() {
    // The world itself refuses a second down, and a close that leaves a channel up.
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    assert_eq!(world.bind_channel(&caller, 0x4001, OTHER), 200);
    let up: Vec<_> = world
        .channels
        .iter()
        .map(|c| (c.number, c.peer.0, c.relay))
        .collect();
    assert_eq!(
        up,
        [
            (0x4000, addr(PEER), RelayId(0)),
            (0x4001, addr(OTHER), RelayId(0))
        ]
    );
    world.at_second(100);
    assert_eq!(world.bind_channel(&caller, 0x4001, OTHER), 200);
    assert_eq!(status(&world.refresh(&caller, Some(3600))), 200);
    world.at_second(600);
    let up: Vec<_> = world.channels.iter().map(|c| c.number).collect();
    assert_eq!(up, [0x4001]);
    world.refresh(&caller, Some(0));
    world.expect_empty();
}
