//! Allocate (RFC 8656 §7.2).

use std::collections::{HashMap, HashSet};

use stun::attributes::{
    ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_SOFTWARE,
    ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use stun::message::{METHOD_ALLOCATE, Message, Setter};
use turn::proto::reqfamily::{REQUESTED_FAMILY_IPV4, REQUESTED_FAMILY_IPV6};
use turnd::server::OpenError;

use crate::support::messages::{
    Attributes, addr, lifetime, raw, relayed_address, request, status, transport,
};
use crate::support::world::{CLIENT, CLIENT_V6, PEER, SERVER_V4, SERVER_V6, World, path};
use crate::support::xor_address;

const ADDITIONAL_ADDRESS_FAMILY: AttrType = AttrType(0x8000);
const FEW_PORTS: &str = "min-port = 50000\nmax-port = 50003";

fn even(reserve: bool) -> Box<dyn Setter> {
    raw(ATTR_EVEN_PORT, &[u8::from(reserve) << 7])
}

fn token(value: &[u8]) -> Box<dyn Setter> {
    raw(ATTR_RESERVATION_TOKEN, value)
}

fn family(value: u8) -> Box<dyn Setter> {
    raw(ATTR_REQUESTED_ADDRESS_FAMILY, &[value, 0, 0, 0])
}

fn additional(value: u8) -> Box<dyn Setter> {
    raw(ADDITIONAL_ADDRESS_FAMILY, &[value, 0, 0, 0])
}

fn client(n: u16) -> String {
    format!("192.0.2.10:{}", 1000 + n)
}

/// What a fresh client gets for these attributes alone.
fn allocate(world: &mut World, n: u16, attributes: Attributes) -> Message {
    let caller = world.caller(&client(n));
    world.ask(&caller, METHOD_ALLOCATE, attributes)
}

#[test]
fn l1_authentication_comes_before_everything_else() {
    let mut world = World::new("total-quota = 1");
    world.allocated(CLIENT);
    let all: Attributes = vec![
        raw(AttrType(0x7FFF), b""),
        raw(ATTR_REQUESTED_TRANSPORT, &[6, 0, 0, 0]),
        token(&[0; 8]),
        even(true),
        family(9),
    ];
    // On a five-tuple with an allocation and without a place left.
    assert_eq!(
        status(&world.reply(&path(CLIENT), &request(METHOD_ALLOCATE, all))),
        401
    );
}

#[test]
fn l2_a_five_tuple_has_one_allocation() {
    let mut world = World::new("");
    let caller = world.caller(CLIENT);
    let first = caller.login.sign(METHOD_ALLOCATE, vec![transport()]).raw;
    let reply = world.answer(&caller.path, &first);
    assert_eq!(status(&world.try_allocate(&caller, vec![])), 437);
    assert_eq!(
        world.answer(&caller.path, &first),
        reply,
        "the same transaction"
    );
    assert_eq!(world.holds(), (1, 1, 0, 1));
    // A five-tuple is more than the client's address.
    let mut elsewhere = caller.path;
    elsewhere.tuple.server.set_port(5349);
    let again = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&world.reply(&elsewhere, &again)), 200);
}

#[test]
fn l2_comes_before_what_else_is_wrong() {
    let mut world = World::new("");
    let (caller, _) = world.allocated(CLIENT);
    for attributes in [vec![], vec![raw(ATTR_REQUESTED_TRANSPORT, &[6, 0, 0, 0])]] {
        assert_eq!(
            status(&world.ask(&caller, METHOD_ALLOCATE, attributes)),
            437
        );
    }
}

#[test]
fn l3_requested_transport() {
    let mut world = World::new("");
    let with = |value: &[u8]| vec![raw(ATTR_REQUESTED_TRANSPORT, value)];
    for (attributes, expected) in [
        (vec![], 400),
        (with(&[]), 400),
        (with(&[17]), 400),
        (with(&[17, 0, 0]), 400),
        (with(&[17, 0, 0, 0, 0]), 400),
        (with(&[0, 0, 0, 0]), 442),
        // TCP is for clients that come by a stream (T1).
        (with(&[6, 0, 0, 0]), 400),
        (with(&[132, 0, 0, 0]), 442),
        // The reserved bytes are not looked at.
        (with(&[17, 1, 2, 3]), 200),
    ] {
        assert_eq!(status(&allocate(&mut world, 0, attributes)), expected);
    }
}

#[test]
fn l3_comes_before_l4() {
    let mut world = World::new("");
    let attributes = vec![
        raw(ATTR_REQUESTED_TRANSPORT, &[9, 0, 0, 0]),
        token(&[0; 8]),
        even(false),
    ];
    assert_eq!(status(&allocate(&mut world, 0, attributes)), 442);
    world.expect_empty();
}

#[test]
fn l4_a_token_beside_what_it_decides_or_of_another_length_is_400() {
    let mut world = World::new("");
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
    let mut world = World::new("");
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
fn l6_requested_address_family() {
    let mut world = World::new("");
    for (value, expected) in [
        (&[1, 0, 0, 0][..], Ok(SERVER_V4)),
        (&[2, 0, 0, 0], Ok(SERVER_V6)),
        (&[2, 9, 9, 9], Ok(SERVER_V6)),
        (&[0, 0, 0, 0], Err(440)),
        (&[3, 0, 0, 0], Err(440)),
        (&[255, 0, 0, 0], Err(440)),
        (&[], Err(400)),
        (&[1], Err(400)),
        (&[1, 0, 0, 0, 0], Err(400)),
    ]
    .map(|(value, expected): (&[u8], _)| (value.to_vec(), expected))
    {
        // Whatever family the client comes with.
        for client in [CLIENT, CLIENT_V6] {
            let caller = world.caller(client);
            let reply =
                world.try_allocate(&caller, vec![raw(ATTR_REQUESTED_ADDRESS_FAMILY, &value)]);
            match expected {
                Ok(server) => {
                    assert_eq!(relayed_address(&reply).ip(), addr(server).ip());
                    world.refresh(&caller, Some(0));
                }
                Err(code) => assert_eq!(status(&reply), code, "{value:?}"),
            }
        }
    }
    world.expect_empty();
}

#[test]
fn l6_a_family_that_the_server_does_not_have_is_440() {
    let mut world = World::at("", &[SERVER_V4], &[]);
    let v6 = allocate(
        &mut world,
        0,
        vec![transport(), Box::new(REQUESTED_FAMILY_IPV6)],
    );
    assert_eq!(status(&v6), 440);
    let mut world = World::at("", &[SERVER_V6], &[]);
    let v4 = allocate(
        &mut world,
        0,
        vec![transport(), Box::new(REQUESTED_FAMILY_IPV4)],
    );
    assert_eq!(status(&v4), 440);
    assert_eq!(
        status(&allocate(&mut world, 0, vec![transport()])),
        440,
        "IPv4 is the default"
    );
    world.expect_empty();
}

#[test]
fn l6_the_family_when_the_client_names_none() {
    for (setting, for_v4, for_v6) in [
        ("ipv4", SERVER_V4, SERVER_V4),
        ("ipv6", SERVER_V6, SERVER_V6),
        ("keep", SERVER_V4, SERVER_V6),
    ] {
        let mut world = World::new(&format!("allocation-default-address-family = '{setting}'"));
        for (client, expected) in [(CLIENT, for_v4), (CLIENT_V6, for_v6)] {
            let (_, relayed) = world.allocated(client);
            assert_eq!(relayed.ip(), addr(expected).ip(), "{setting} for {client}");
        }
    }
}

#[test]
fn l7_even_port_alone_reserves_nothing() {
    let mut world = World::new("");
    for n in 0..50 {
        let reply = allocate(&mut world, n, vec![transport(), even(false)]);
        assert_eq!(relayed_address(&reply).port() % 2, 0);
        assert!(!reply.contains(ATTR_RESERVATION_TOKEN));
    }
    assert_eq!(world.holds(), (50, 50, 0, 50));
}

#[test]
fn l7_even_port_pairs_reserve_the_next_port() {
    let mut world = World::new("");
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
    let mut world = World::new(FEW_PORTS);
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
    let mut world = World::new("");
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
    let mut world = World::new("min-port = 50001\nmax-port = 50002");
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
    let mut world = World::new(FEW_PORTS);
    for failure in [|_| Err(OpenError::Failed), |_| Err(OpenError::InUse)] {
        world.bind = failure;
        assert_eq!(status(&allocate(&mut world, 0, pair())), 508);
        world.expect_empty();
    }
    world.bind = |_| Ok(());
    // The quota holds the one but not the pair.
    for toml in ["user-quota = 1", "total-quota = 1"] {
        let mut world = World::new(toml);
        assert_eq!(status(&allocate(&mut world, 0, pair())), 486, "{toml}");
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
    let mut world = World::new(&format!("{FEW_PORTS}\ntotal-quota = 4"));
    for n in 0..4 {
        assert_eq!(status(&allocate(&mut world, n, vec![transport()])), 200);
    }
    assert_eq!(
        status(&allocate(&mut world, 4, vec![transport()])),
        486,
        "and no port is left"
    );
    // What is wrong with the request comes first.
    assert_eq!(
        status(&allocate(&mut world, 4, vec![transport(), family(3)])),
        440
    );
    assert_eq!(status(&allocate(&mut world, 4, vec![])), 400);
}

#[test]
fn l9_no_port_is_508() {
    let mut world = World::new("min-port = 50000\nmax-port = 50000");
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
    let mut world = World::new("min-port = 50000\nmax-port = 50059");
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

    let mut world = World::new("");
    world.bind = |_| Err(OpenError::InUse);
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 508);
    assert_eq!(world.binds.len(), 64, "not every port of a large range");
    world.bind = |_| Err(OpenError::Failed);
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 508);
    assert_eq!(world.binds.len(), 65, "another port does no better");
    world.expect_empty();
}

#[test]
fn l10_lifetime() {
    for (asked, granted) in [
        (None, 600),
        (Some(0), 600),
        (Some(59), 600),
        (Some(600), 600),
        (Some(601), 601),
        (Some(700), 700),
        (Some(3600), 3600),
        (Some(3601), 3600),
        (Some(86_400), 3600),
        (Some(u32::MAX), 3600),
    ] {
        let mut world = World::new("");
        let reply = allocate(
            &mut world,
            0,
            asked
                .map(lifetime)
                .into_iter()
                .chain([transport()])
                .collect(),
        );
        assert_eq!(
            reply.get(ATTR_LIFETIME).unwrap(),
            u32::to_be_bytes(granted),
            "{asked:?}"
        );
        world.at_milli(u64::from(granted) * 1000 - 1);
        assert_eq!(world.server.allocations(), 1);
        world.at_second(granted.into());
        world.expect_empty();
    }
    let mut world = World::new("max-allocate-lifetime = 1000");
    let reply = allocate(&mut world, 0, vec![transport(), lifetime(3600)]);
    assert_eq!(reply.get(ATTR_LIFETIME).unwrap(), 1000u32.to_be_bytes());
    for length in [0, 3, 8] {
        let attributes = vec![transport(), raw(ATTR_LIFETIME, &vec![0; length])];
        assert_eq!(
            status(&allocate(&mut world, 1, attributes)),
            400,
            "{length} bytes"
        );
    }
}

#[test]
fn l11_what_a_success_holds() {
    let mut world = World::new("");
    let reply = allocate(&mut world, 0, vec![transport()]);
    let types: Vec<_> = reply.attributes.0.iter().map(|a| a.typ).collect();
    assert_eq!(
        types,
        [
            ATTR_XOR_RELAYED_ADDRESS,
            ATTR_XORMAPPED_ADDRESS,
            ATTR_LIFETIME,
            ATTR_MESSAGE_INTEGRITY
        ]
    );
    assert_eq!(
        xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
        Some(addr(&client(0)))
    );
    let relayed = relayed_address(&reply);
    assert_eq!(relayed.ip(), addr(SERVER_V4).ip());
    assert_eq!(world.open.values().collect::<Vec<_>>(), [&relayed]);

    let mut world = World::new("software-attribute = true");
    let reply = allocate(&mut world, 0, vec![transport(), even(true)]);
    assert!(reply.contains(ATTR_SOFTWARE) && reply.contains(ATTR_RESERVATION_TOKEN));
}

#[test]
fn l11_the_relayed_address_is_the_external_one() {
    for (external, expected) in [
        ("'203.0.113.5'", "203.0.113.5"),
        (
            "['203.0.113.6/198.51.100.1', '203.0.113.7/198.51.100.2']",
            "203.0.113.6",
        ),
    ] {
        let mut world = World::new(&format!("external-ip = {external}"));
        let reply = allocate(&mut world, 0, vec![transport()]);
        let relayed = relayed_address(&reply);
        assert_eq!(relayed.ip().to_string(), expected);
        let local = *world.open.values().next().unwrap();
        assert_eq!(local.ip(), addr(SERVER_V4).ip());
        assert_eq!(local.port(), relayed.port());
    }
}

#[test]
fn l12_no_port_is_handed_out_twice_and_none_is_lost() {
    let mut world = World::new("min-port = 50000\nmax-port = 50099");
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
    let ips = "relay-ip = ['198.51.100.1', '198.51.100.2', '198.51.100.3']\n";
    let mut world = World::new(&format!("{ips}min-port = 50000\nmax-port = 50009"));
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

#[test]
fn l13_dont_fragment_is_supported() {
    let mut world = World::new("");
    let attributes = vec![transport(), raw(ATTR_DONT_FRAGMENT, b"")];
    assert_eq!(status(&allocate(&mut world, 0, attributes)), 200);
}

#[test]
fn an_event_tells_of_every_beginning_end_and_refusal() {
    use turnd::server::output::Event;
    let mut world = World::new("user-quota = 1");
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(status(&allocate(&mut world, 0, vec![transport()])), 486);
    world.permit(&caller, &[PEER]);
    world.send(&caller, PEER, "four");
    world.peer_sends(relayed, PEER, b"three");
    world.peer_sends(relayed, "45.0.0.8:1", b"dropped");
    world.at_second(10);
    world.refresh(&caller, Some(0));
    match &world.events[..] {
        [
            Event::Created { session, lifetime },
            Event::Refused { code: 486, .. },
            Event::Ended {
                session: ended,
                duration,
                traffic,
                ..
            },
        ] => {
            assert_eq!((session.serial, session.relayed), (ended.serial, relayed));
            assert_eq!(session.user.as_deref(), Some("alice"));
            assert_eq!((lifetime.as_secs(), duration.as_secs()), (600, 10));
            assert_eq!((traffic.to_peers, traffic.to_peers_bytes), (1, 4));
            assert_eq!((traffic.to_client, traffic.to_client_bytes), (1, 5));
        }
        events => panic!("{events:?}"),
    }
}
