//! `max-bps`, `user-bps` and `bps-capacity`.

use std::net::SocketAddr;

use turnd_proto::server::output::DropReason;

use crate::support::messages::status;
use crate::support::settings::Settings;
use crate::support::world::{Caller, PEER, World};

const USERS: [&str; 2] = ["alice:secret", "bob:hidden"];
const PASSWORDS: [(&str, &str); 2] = [("alice", "secret"), ("bob", "hidden")];

/// A limit on bytes per second.
#[derive(Clone, Copy, Debug)]
enum Limit {
    One,
    User,
    All,
}

impl Limit {
    fn set(self, settings: &mut Settings, rate: u64) {
        settings.users(&USERS);
        let limits = &mut settings.server.limits;
        let limit = match self {
            Self::One => &mut limits.max_bps,
            Self::User => &mut limits.user_bps,
            Self::All => &mut limits.bps_capacity,
        };
        *limit = Some(rate).filter(|rate| *rate > 0);
    }
}

/// A world with this limit; 0: none.
fn limited(limit: Limit, rate: u64) -> World {
    World::new(|s| limit.set(s, rate))
}

/// A call with a channel.
struct Call {
    caller: Caller,
    relayed: SocketAddr,
}

fn call(world: &mut World, n: u16, (user, password): (&str, &str)) -> Call {
    let caller = world.log_in(&format!("192.0.2.{n}:4000"), user, password);
    let relayed = world.allocate(&caller);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    Call { caller, relayed }
}

/// How many of 40 packets of 100 bytes get through to the peer, in every form, and to the client.
fn passed(world: &mut World, call: &Call) -> (usize, usize) {
    let data = "x".repeat(100);
    let sent = (0..40).filter(|n| match n % 2 {
        0 => world.send(&call.caller, PEER, &data),
        _ => world.send_on(&call.caller, 0x4000, &data).is_some(),
    });
    let sent = sent.count();
    let came = (0..40).filter(|_| {
        let incoming = world.peer_sends(call.relayed, PEER, data.as_bytes());
        incoming.is_some()
    });
    (sent, came.count())
}

#[test]
fn the_allocations_of_a_user_share_user_bps() {
    let mut world = World::new(|s| {
        s.users(&USERS);
        s.limits.user_bps = Some(1000);
    });
    let [alice, bob] = PASSWORDS;
    let (one, two) = (call(&mut world, 1, alice), call(&mut world, 2, alice));
    let other = call(&mut world, 3, bob);
    for second in 1..4 {
        world.at_second(second);
        assert_eq!(passed(&mut world, &one), (10, 10));
        assert_eq!(passed(&mut world, &two), (0, 0), "of the same user");
        assert_eq!(passed(&mut world, &other), (10, 10));
    }
    world.at_milli(3500);
    assert_eq!(passed(&mut world, &two), (5, 5), "half a second later");
    let dropped = world.server.counters().drops[DropReason::Bandwidth as usize];
    assert_eq!(dropped, 3 * (60 + 80 + 60) + 70);
    // A new allocation begins with what the old one left.
    world.refresh(&one.caller, Some(0));
    world.refresh(&two.caller, Some(0));
    let again = call(&mut world, 4, alice);
    assert_eq!(passed(&mut world, &again), (0, 0));
}

#[test]
fn all_allocations_share_bps_capacity() {
    let mut world = World::new(|s| {
        s.users(&USERS);
        s.limits.bps_capacity = Some(2000);
        s.limits.max_bps = Some(1500);
    });
    let [alice, bob] = PASSWORDS;
    let (one, two) = (call(&mut world, 1, alice), call(&mut world, 2, bob));
    for second in 1..4 {
        world.at_second(second * 2);
        assert_eq!(passed(&mut world, &one), (15, 15), "max-bps");
        assert_eq!(passed(&mut world, &two), (5, 5), "what is left");
    }
}

/// A packet that one limit refuses is not charged to another.
#[test]
fn a_packet_that_is_dropped_costs_nobody_anything() {
    let mut world = World::new(|s| {
        s.users(&USERS);
        s.limits.bps_capacity = Some(1500);
        s.limits.user_bps = Some(1400);
        s.limits.max_bps = Some(1000);
    });
    let [alice, bob] = PASSWORDS;
    let (one, two) = (call(&mut world, 1, alice), call(&mut world, 2, alice));
    let other = call(&mut world, 3, bob);
    for second in 1..4 {
        world.at_second(second * 2);
        assert_eq!(passed(&mut world, &one), (10, 10));
        assert_eq!(passed(&mut world, &two), (4, 4));
        assert_eq!(passed(&mut world, &other), (1, 1));
    }
}

#[test]
fn workers_share_what_a_user_and_all_may_carry() {
    for (limit, second_user, left) in [
        (Limit::User, 0, 0),
        (Limit::User, 1, 10),
        (Limit::All, 1, 0),
        (Limit::One, 0, 10),
    ] {
        let mut one = limited(limit, 1000);
        let mut two = World::sharing(&one);
        let first = call(&mut one, 1, PASSWORDS[0]);
        let second = call(&mut two, 2, PASSWORDS[second_user]);
        assert_eq!(passed(&mut one, &first), (10, 10), "{limit:?}");
        assert_eq!(passed(&mut two, &second), (left, left), "{limit:?}");
    }
}

#[test]
fn a_reload_changes_what_live_allocations_may_carry() {
    for limit in [Limit::One, Limit::User, Limit::All] {
        let mut world = limited(limit, 0);
        let one = call(&mut world, 1, PASSWORDS[0]);
        assert_eq!(passed(&mut world, &one), (40, 40), "{limit:?}: no limit");
        world.reload(|s| limit.set(s, 1000));
        assert_eq!(passed(&mut world, &one), (10, 10), "{limit:?}");
        world.at_second(1);
        world.reload(|s| limit.set(s, 3000));
        assert_eq!(passed(&mut world, &one), (30, 30), "{limit:?}");
        world.reload(|s| limit.set(s, 0));
        assert_eq!(passed(&mut world, &one), (40, 40), "{limit:?}");
        assert_eq!(status(&world.refresh(&one.caller, None)), 200);
    }
}
