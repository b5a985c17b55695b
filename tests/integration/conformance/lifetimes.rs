//! Every lifetime, one millisecond before its end and at it. The nonce's and the REST credentials' are with authentication.

use std::time::Duration;

use stun::attributes::{ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN};
use stun::message::METHOD_ALLOCATE;

use crate::support::messages::{raw, status, transport};
use crate::support::world::{CLIENT, PEER, World};

/// Checks that `probe` says yes one millisecond before `seconds`, and no at `seconds`.
fn ends_at(world: &mut World, seconds: u64, mut probe: impl FnMut(&mut World) -> bool) {
    world.at_milli(seconds * 1000 - 1);
    assert!(probe(world), "gone before {seconds} s");
    world.at_milli(seconds * 1000);
    assert!(!probe(world), "there at {seconds} s");
}

#[test]
fn permission_300_seconds_or_as_configured() {
    for seconds in [300, 120, 500] {
        let mut world = World::new(|s| s.lifetimes.permission = Duration::from_secs(seconds));
        let (caller, relayed) = world.allocated(CLIENT);
        assert_eq!(world.permit(&caller, &[PEER]), 200);
        ends_at(&mut world, seconds, |world| {
            let out = world.send(&caller, PEER, "x");
            assert_eq!(world.peer_sends(relayed, PEER, b"x").is_some(), out);
            out
        });
    }
}

#[test]
fn channel_600_seconds_or_as_configured() {
    for seconds in [600, 400, 1200] {
        let mut world = World::new(|s| s.lifetimes.channel = Duration::from_secs(seconds));
        let (caller, _) = world.allocated(CLIENT);
        world.refresh(&caller, Some(3600));
        assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
        ends_at(&mut world, seconds, |world| {
            let out = world.send_on(&caller, 0x4000, "x").is_some();
            assert_eq!(world.channels.len(), usize::from(out));
            out
        });
    }
}

#[test]
fn a_channel_brings_a_permission_of_300_seconds() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    ends_at(&mut world, 300, |world| {
        world.peer_sends(relayed, PEER, b"x").is_some()
    });
}

#[test]
fn allocation_600_seconds_or_as_asked() {
    for (asked, seconds) in [(None, 600), (Some(700), 700), (Some(9999), 3600)] {
        let mut world = World::usual();
        let caller = world.caller(CLIENT);
        let asked = asked.map(crate::support::messages::lifetime);
        assert_eq!(
            status(&world.try_allocate(&caller, asked.into_iter().collect())),
            200
        );
        ends_at(&mut world, seconds, |world| {
            let there = world.server.allocations() == 1;
            assert_eq!(world.open.len(), usize::from(there));
            assert_eq!(world.shared.relays.ports().taken(), u32::from(there));
            there
        });
        world.expect_empty();
    }
}

#[test]
fn reservation_30_seconds() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let even = raw(ATTR_EVEN_PORT, &[0x80]);
    let reply = world.try_allocate(&caller, vec![even]);
    ends_at(&mut world, 30, |world| world.shared.reservations.len() == 1);
    assert_eq!(world.holds(), (1, 1, 0, 1));

    // The token is good until then, with or without its timer.
    for (milli, expected) in [(29_999, 200), (30_000, 508)] {
        let mut world = World::usual();
        let caller = world.caller(CLIENT);
        let even = raw(ATTR_EVEN_PORT, &[0x80]);
        let token = world
            .try_allocate(&caller, vec![even])
            .get(ATTR_RESERVATION_TOKEN)
            .unwrap();
        let other = world.caller("192.0.2.10:1");
        world.at_milli(milli);
        let token = raw(ATTR_RESERVATION_TOKEN, &token);
        assert_eq!(status(&world.try_allocate(&other, vec![token])), expected);
    }
    drop(reply);
}

#[test]
fn retransmission_40_seconds() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&world.reply(&caller.path, &ask)), 200);
    ends_at(&mut world, 40, |world| {
        match status(&world.reply(&caller.path, &ask)) {
            200 => true,
            437 => false,
            other => panic!("{other}"),
        }
    });
    assert_eq!(world.holds(), (1, 1, 0, 1));
}

#[test]
fn a_wall_clock_that_steps_ends_no_lifetime() {
    let mut world = World::new(|s| s.auth.stale_nonce = Duration::from_secs(3600));
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    for step in [-1_000_000_000i64, 1_000_000_000] {
        world.now.unix = world.now.unix.checked_add_signed(step).unwrap();
        assert!(world.send(&caller, PEER, "x"));
        assert!(world.peer_sends(relayed, PEER, b"x").is_some());
        assert_eq!(world.server.allocations(), 1);
    }
}

#[test]
fn nothing_is_due_when_nothing_is_there() {
    let mut world = World::usual();
    assert_eq!(world.server.poll_timeout(), None);
    let (caller, _) = world.allocated(CLIENT);
    world.permit(&caller, &[PEER]);
    world.bind_channel(&caller, 0x4000, PEER);
    assert!(world.server.poll_timeout().is_some());
    world.refresh(&caller, Some(0));
    assert_eq!(world.server.poll_timeout(), None);
}
