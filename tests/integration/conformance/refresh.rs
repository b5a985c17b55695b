//! Refresh (RFC 8656 §8.2), and what there is where there is no allocation.

use std::time::Duration;

use stun::attributes::{ATTR_LIFETIME, ATTR_REQUESTED_ADDRESS_FAMILY};
use stun::message::{METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH};
use turn::proto::channum::ChannelNumber;

use crate::support::messages::{channel_data, lifetime, peer, raw, send, status};
use crate::support::world::{CLIENT, PEER, World};

#[test]
fn r1_without_an_allocation_requests_are_437_and_data_is_silence() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    // An allocation of the same user elsewhere does not help.
    world.allocated("192.0.2.10:1");
    for (method, attributes) in [
        (METHOD_REFRESH, vec![]),
        (METHOD_REFRESH, vec![lifetime(0)]),
        (METHOD_CREATE_PERMISSION, vec![peer(PEER)]),
        (METHOD_CREATE_PERMISSION, vec![]),
        (
            METHOD_CHANNEL_BIND,
            vec![Box::new(ChannelNumber(0x4000)), peer(PEER)],
        ),
        (METHOD_CHANNEL_BIND, vec![]),
    ] {
        // `ask` makes sure that the answer is signed.
        assert_eq!(
            status(&world.ask(&caller, method, attributes)),
            437,
            "{method}"
        );
    }
    assert!(world.is_silent(&caller.path, &send(PEER, b"x").raw));
    assert!(world.is_silent(&caller.path, &channel_data(0x4000, b"x")));
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn r2_lifetime_zero_deletes() {
    let mut world = World::new(|s| s.ports(50000, 50000));
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    let ask = caller.login.sign(METHOD_REFRESH, vec![lifetime(0)]);
    let mut reply = world.reply(&caller.path, &ask);
    caller.login.expect_signed(&mut reply);
    assert_eq!(status(&reply), 200);
    assert_eq!(reply.get(ATTR_LIFETIME).unwrap(), [0; 4]);
    world.expect_empty();
    assert_eq!(
        status(&world.reply(&caller.path, &ask)),
        437,
        "the retransmission"
    );
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
    assert!(!world.send(&caller, PEER, "x"));
    // The only port there is, and no permission or channel of the old allocation.
    let again = world.allocate(&caller);
    assert_eq!(again, relayed);
    assert_eq!(world.peer_sends(again, PEER, b"x"), None);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
}

#[test]
fn r2_lifetimes_are_granted_as_by_allocate() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    for (asked, granted) in [
        (None, 600u32),
        (Some(1), 600),
        (Some(59), 600),
        (Some(700), 700),
        (Some(86_400), 3600),
        (Some(u32::MAX), 3600),
        (None, 600),
    ] {
        let reply = world.refresh(&caller, asked);
        assert_eq!(
            reply.get(ATTR_LIFETIME).unwrap(),
            granted.to_be_bytes(),
            "{asked:?}"
        );
    }
    for length in [0, 3, 5] {
        let attributes = vec![raw(ATTR_LIFETIME, &vec![0; length])];
        assert_eq!(status(&world.ask(&caller, METHOD_REFRESH, attributes)), 400);
    }
    // The last word counts, though an earlier one was for longer.
    world.at_milli(599_999);
    assert_eq!(world.server.allocations(), 1);
    world.at_second(600);
    world.expect_empty();
}

#[test]
fn r3_another_family_than_the_allocations_is_443() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    for (family, expected) in [(1, 200), (2, 443), (0, 443), (5, 443)] {
        let family = raw(ATTR_REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        assert_eq!(
            status(&world.ask(&caller, METHOD_REFRESH, vec![family])),
            expected
        );
    }
    let family = raw(ATTR_REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let reply = world.ask(&caller, METHOD_REFRESH, vec![family, lifetime(0)]);
    assert_eq!(status(&reply), 443);
    assert_eq!(world.server.allocations(), 1, "nothing is deleted");
}

#[test]
fn r4_only_refresh_extends_an_allocation() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    for second in (0..600).step_by(60) {
        world.at_second(second);
        assert_eq!(world.permit(&caller, &[PEER]), 200);
        assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
        assert!(world.send(&caller, PEER, "x"));
        assert!(world.send_on(&caller, 0x4000, "x").is_some());
        assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    }
    world.at_milli(599_999);
    assert!(world.send(&caller, PEER, "x"));
    world.at_second(600);
    world.expect_empty();
    assert_eq!(world.permit(&caller, &[PEER]), 437);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 437);
    assert_eq!(status(&world.refresh(&caller, None)), 437);
    assert!(!world.send(&caller, PEER, "x"));
    assert_eq!(world.send_on(&caller, 0x4000, "x"), None);
    assert_eq!(world.peer_sends(relayed, PEER, b"x"), None);
}

#[test]
fn r4_a_refresh_counts_from_when_it_comes() {
    let mut world = World::new(|s| s.auth.stale_nonce = Duration::from_secs(3600));
    let (caller, relayed) = world.allocated(CLIENT);
    for second in [599, 1198, 1797] {
        world.at_second(second);
        assert_eq!(status(&world.refresh(&caller, None)), 200);
    }
    world.at_milli(1_797_000 + 599_999);
    assert_eq!(world.open.values().next(), Some(&relayed));
    world.at_second(1797 + 600);
    world.expect_empty();
}
