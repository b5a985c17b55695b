//! Relay ports that are asked for, reserved, and run out (RFC 8656 §7.2).

use std::collections::{HashMap, HashSet};

use stun::attributes::{ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN};
use turnd_proto::server::OpenError;

use super::allocate::{additional, allocate, client, even, family, token};
use crate::support::messages::{addr, raw, relayed_address, status, transport};
use crate::support::settings::{Change, Settings};
use crate::support::world::{CLIENT, CLIENT_V6, SERVER_V4, World};

fn few_ports(settings: &mut Settings) {
    settings.ports(50000, 50003);
}

#[test]
fn l4_a_token_beside_what_it_decides_or_of_another_length_is_400() {
    let mut world = World::usual();
    let reply = allocate(&mut world, 0, vec![transport(), even(true)]);
    let good = reply.get(ATTR_RESERVATION_TOKEN).unwrap();
    let held = world.holds();
    for attributes in [
        vec![transport(), token(&good), even(false)],
        vec![transport(), token(&good), even(true)],
        vec![transport(), token(&good), family(1)],
        vec![transport(), token(&good), additional(2)],
        vec![transport(), token(&good[..7])],
        vec![transport(), token(&[&good[..], &[0]].concat())],
        vec![transport(), token(&[])],
    ] {
        assert_eq!(status(&allocate(&mut world, 1, attributes)), 400);
        assert_eq!(world.holds(), held, "the reservation is still there");
    }
    assert_eq!(
        status(&allocate(&mut world, 1, vec![transport(), token(&good)])),
        200
    );
}

#[test]
fn l4_an_unknown_used_or_expired_token_is_508() {
    let mut world = World::usual();
    assert_eq!(
        status(&allocate(&mut world, 0, vec![transport(), token(&[7; 8])])),
        508
    );
    let reserve = |world: &mut World, n| {
        let reply = allocate(world, n, vec![transport(), even(true)]);
        reply.get(ATTR_RESERVATION_TOKEN).unwrap()
    };
    let used = reserve(&mut world, 1);
    assert_eq!(
        status(&allocate(&mut world, 2, vec![transport(), token(&used)])),
        200
    );
    assert_eq!(
        status(&allocate(&mut world, 3, vec![transport(), token(&used)])),
        508
    );
    let expired = reserve(&mut world, 4);
    world.at_second(30);
    assert_eq!(
        status(&allocate(&mut world, 5, vec![transport(), token(&expired)])),
        508
    );
}

#[test]
fn l7_even_port_alone_reserves_nothing() {
    let mut world = World::usual();
    for n in 0..50 {
        let reply = allocate(&mut world, n, vec![transport(), even(false)]);
        assert_eq!(relayed_address(&reply).port() % 2, 0);
        assert!(!reply.contains(ATTR_RESERVATION_TOKEN));
    }
    assert_eq!(world.holds(), (50, 50, 0, 50));
}

#[test]
fn l7_even_port_pairs_reserve_the_next_port() {
    let mut world = World::usual();
    for n in 0..20 {
        let reply = allocate(&mut world, n, vec![transport(), even(true)]);
        let relayed = relayed_address(&reply);
        assert_eq!(relayed.port() % 2, 0);
        let reserved = reply.get(ATTR_RESERVATION_TOKEN).unwrap();
        assert_eq!(reserved.len(), 8);
        assert_eq!(world.shared.reservations.len(), 1);
        // Any five-tuple may use it, once.
        let caller = world.caller(CLIENT_V6);
        let reply = world.try_allocate(&caller, vec![token(&reserved)]);
        let mut next = relayed;
        next.set_port(relayed.port() + 1);
        assert_eq!(relayed_address(&reply), next);
        assert!(!reply.contains(ATTR_RESERVATION_TOKEN));
        assert!(world.shared.reservations.is_empty());
        assert_eq!(status(&world.refresh(&caller, Some(0))), 200);
    }
    assert_eq!(world.holds(), (20, 20, 0, 20));
}

#[test]
fn l7_a_reserved_port_is_given_to_nobody_else() {
    let mut world = World::new(few_ports);
    allocate(&mut world, 0, vec![transport(), even(true)]);
    for n in 1..3 {
        assert_eq!(status(&allocate(&mut world, n, vec![transport()])), 200);
    }
    assert_eq!(status(&allocate(&mut world, 3, vec![transport()])), 508);
    assert_eq!(world.shared.relays.ports().taken(), 4);
    world.at_second(30);
    assert_eq!(status(&allocate(&mut world, 3, vec![transport()])), 200);
}

#[test]
fn l7_r_beside_an_additional_family_is_400() {
    let mut world = World::usual();
    let attributes = vec![transport(), even(true), additional(2)];
    assert_eq!(status(&allocate(&mut world, 0, attributes)), 400);
    for length in [0, 2, 4] {
        let attributes = vec![transport(), raw(ATTR_EVEN_PORT, &vec![0x80; length])];
        assert_eq!(
            status(&allocate(&mut world, 0, attributes)),
            400,
            "{length} bytes"
        );
    }
    world.expect_empty();
}

#[test]
fn l7_what_cannot_be_satisfied_is_508_and_leaks_nothing() {
    // Two ports, and the even one is the last: no pair.
    let mut world = World::new(|s| s.ports(50001, 50002));
    let pair = || vec![transport(), even(true)];
    assert_eq!(status(&allocate(&mut world, 0, pair())), 508);
    world.expect_empty();
    assert_eq!(
        status(&allocate(&mut world, 0, vec![transport(), even(false)])),
        200
    );
    assert_eq!(
        status(&allocate(&mut world, 1, vec![transport(), even(false)])),
        508
    );
    assert_eq!(world.holds(), (1, 1, 0, 1));
    assert_eq!(
        status(&allocate(&mut world, 1, vec![transport()])),
        200,
        "an odd one is left"
    );

    // The pair's even port cannot be bound.
    let mut world = World::new(few_ports);
    for failure in [|_| Err(OpenError::Failed), |_| Err(OpenError::InUse)] {
        world.bind = failure;
        assert_eq!(status(&allocate(&mut world, 0, pair())), 508);
        world.expect_empty();
    }
    world.bind = |_| Ok(());
    // The quota holds the one but not the pair.
    let quotas: [Change; 2] = [
        |s| s.limits.user_quota = Some(1),
        |s| s.limits.total_quota = Some(1),
    ];
    for quota in quotas {
        let mut world = World::new(quota);
        assert_eq!(status(&allocate(&mut world, 0, pair())), 486);
        world.expect_empty();
        assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 200);
    }
    // A token whose port cannot be bound is used up all the same.
    let reply = allocate(&mut world, 0, pair());
    let reserved = reply.get(ATTR_RESERVATION_TOKEN).unwrap();
    world.bind = |_| Err(OpenError::InUse);
    assert_eq!(
        status(&allocate(
            &mut world,
            1,
            vec![transport(), token(&reserved)]
        )),
        508
    );
    assert_eq!(world.holds(), (1, 1, 0, 1));
}

#[test]
fn l9_quota_is_486_and_comes_before_ports() {
    let mut world = World::new(|s| {
        few_ports(s);
        s.limits.total_quota = Some(4);
    });
    for n in 0..4 {
        assert_eq!(status(&allocate(&mut world, n, vec![transport()])), 200);
    }
    assert_eq!(
        status(&allocate(&mut world, 4, vec![transport()])),
        486,
        "and no port is left"
    );
    // Errors in the request come before the quota.
    assert_eq!(
        status(&allocate(&mut world, 4, vec![transport(), family(3)])),
        440
    );
    assert_eq!(status(&allocate(&mut world, 4, vec![])), 400);
}

#[test]
fn l9_no_port_is_508() {
    let mut world = World::new(|s| s.ports(50000, 50000));
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 508);
    // The other family has ports of its own.
    assert_eq!(
        status(&allocate(&mut world, 1, vec![transport(), family(2)])),
        200
    );
    world.refresh(&caller, Some(0));
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 200);
}

#[test]
fn l9_ports_that_cannot_be_bound_are_passed_over() {
    let mut world = World::new(|s| s.ports(50000, 50059));
    world.bind = |addr| match addr.port() {
        50_042 => Ok(()),
        _ => Err(OpenError::InUse),
    };
    for n in 0..20 {
        let (caller, relayed) = world.allocated(&client(n));
        assert_eq!(relayed.port(), 50_042);
        assert_eq!(
            world.holds(),
            (1, 1, 0, 1),
            "the refused ones are free again"
        );
        world.refresh(&caller, Some(0));
    }
    world.expect_empty();

    let mut world = World::usual();
    world.bind = |_| Err(OpenError::InUse);
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 508);
    assert_eq!(world.binds.len(), 64, "not every port of a large range");
    world.bind = |_| Err(OpenError::Failed);
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 508);
    assert_eq!(world.binds.len(), 65, "another port does no better");
    world.expect_empty();
}

#[test]
fn l12_no_port_is_handed_out_twice_and_none_is_lost() {
    let mut world = World::new(|s| {
        s.ports(50000, 50099);
        s.limits.user_quota = None;
    });
    let mut second = 0;
    for round in 0..5 {
        let mut ports = HashSet::new();
        let mut callers = Vec::new();
        for n in 0..100 {
            let (caller, relayed) = world.allocated(&client(n));
            assert!((50_000..=50_099).contains(&relayed.port()));
            assert!(ports.insert(relayed.port()), "{relayed} twice");
            callers.push(caller);
        }
        assert_eq!(status(&allocate(&mut world, 100, vec![transport()])), 508);
        // Half of them leave, the others are left to expire.
        for caller in callers.iter().step_by(2) {
            world.refresh(caller, Some(0));
        }
        assert_eq!(world.holds(), (50, 50, 0, 50), "round {round}");
        second += 600;
        world.at_second(second);
        world.expect_empty();
    }
}

#[test]
fn l12_a_full_relay_address_gives_way_to_the_next_and_none_stays_idle() {
    let mut world = World::new(|s| {
        s.relay_ips(&["198.51.100.1", "198.51.100.2", "198.51.100.3"]);
        s.ports(50000, 50009);
    });
    let mut counts = HashMap::new();
    for n in 0..30 {
        let (_, relayed) = world.allocated(&client(n));
        *counts.entry(relayed.ip()).or_insert(0) += 1;
        // The one that clients have reached comes first.
        assert!(n >= 10 || relayed.ip() == addr(SERVER_V4).ip(), "{n}");
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10; 3]);
    assert_eq!(status(&allocate(&mut world, 30, vec![transport()])), 508);
}
