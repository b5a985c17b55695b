//! A clock that is set, in either direction, while calls go on. Lifetimes are measured by the clock that nobody sets.

use stun::message::METHOD_REFRESH;

use crate::support::messages::{Login, status};
use crate::support::world::{CLIENT, Caller, PEER, World};
use crate::support::{PASSWORD, USER};

const DAY: i64 = 86_400;
/// Minutes, days and years, to and fro.
const STEPS: [i64; 8] = [
    60,
    -60,
    DAY,
    -DAY,
    3650 * DAY,
    -3650 * DAY,
    i64::MAX / 2,
    -(i64::MAX / 2),
];

/// The caller with the new nonce of a 438, if its own is too old or too new now; the second try must do.
fn renewed(world: &mut World, caller: Caller) -> Caller {
    let request = caller.login.sign(METHOD_REFRESH, vec![]);
    let reply = world.reply(&caller.path, &request);
    let login = match status(&reply) {
        200 => return caller,
        438 => Login::answer(&reply, USER, PASSWORD),
        other => panic!("{other}"),
    };
    let caller = Caller { login, ..caller };
    assert_eq!(status(&world.refresh(&caller, None)), 200);
    caller
}

#[test]
fn when_the_clock_is_set_no_call_ends_and_none_lives_longer() {
    for step in STEPS {
        let mut world = World::usual();
        let (caller, relayed) = world.allocated(CLIENT);
        assert_eq!(world.permit(&caller, &[PEER]), 200);
        assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
        world.at_second(100);
        world.set_calendar(step);
        // Data needs no clock that can be set.
        assert!(world.send_on(&caller, 0x4000, "data").is_some());
        assert!(world.peer_sends(relayed, PEER, b"data").is_some());
        // Permission, allocation and channel end when they would have.
        world.at_milli(299_999);
        assert!(world.send(&caller, PEER, "data"), "{step}");
        world.at_second(300);
        assert!(!world.send(&caller, PEER, "data"), "{step}");
        world.at_milli(599_999);
        assert_eq!(world.server.allocations(), 1, "{step}");
        world.at_second(600);
        world.expect_empty();
    }
}

#[test]
fn when_the_clock_is_set_a_client_goes_on_after_one_retry_at_the_most() {
    for step in STEPS {
        let mut world = World::usual();
        let (caller, _) = world.allocated(CLIENT);
        world.set_calendar(step);
        let caller = renewed(&mut world, caller);
        assert_eq!(world.permit(&caller, &[PEER]), 200, "{step}");
        // And back, as when a time server has corrected itself.
        world.set_calendar(-step);
        let caller = renewed(&mut world, caller);
        assert_eq!(world.permit(&caller, &[PEER]), 200, "{step}");
        assert!(world.send(&caller, PEER, "data"));
    }
}
