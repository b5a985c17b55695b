//! Allocate (RFC 8656 §7.2).

use std::time::Duration;

use stun::attributes::{
    ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_SOFTWARE,
    ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use stun::message::{METHOD_ALLOCATE, Message, Setter};
use turn::proto::reqfamily::{REQUESTED_FAMILY_IPV4, REQUESTED_FAMILY_IPV6};

use turnd_proto::server::settings::DefaultFamily;

use crate::support::messages::{
    Attributes, addr, lifetime, raw, relayed_address, request, status, transport,
};
use crate::support::world::{CLIENT, CLIENT_V6, PEER, SERVER_V4, SERVER_V6, World, path};
use crate::support::xor_address;

const ADDITIONAL_ADDRESS_FAMILY: AttrType = AttrType(0x8000);

pub(super) fn even(reserve: bool) -> Box<dyn Setter> {
    raw(ATTR_EVEN_PORT, &[u8::from(reserve) << 7])
}

pub(super) fn token(value: &[u8]) -> Box<dyn Setter> {
    raw(ATTR_RESERVATION_TOKEN, value)
}

pub(super) fn family(value: u8) -> Box<dyn Setter> {
    raw(ATTR_REQUESTED_ADDRESS_FAMILY, &[value, 0, 0, 0])
}

pub(super) fn additional(value: u8) -> Box<dyn Setter> {
    raw(ADDITIONAL_ADDRESS_FAMILY, &[value, 0, 0, 0])
}

pub(super) fn client(n: u16) -> String {
    format!("192.0.2.10:{}", 1000 + n)
}

/// The reply to a fresh client's Allocate with these attributes alone.
pub(super) fn allocate(world: &mut World, n: u16, attributes: Attributes) -> Message {
    let caller = world.caller(&client(n));
    world.ask(&caller, METHOD_ALLOCATE, attributes)
}

#[test]
fn l1_authentication_comes_before_everything_else() {
    let mut world = World::new(|s| s.limits.total_quota = Some(1));
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
    let mut world = World::usual();
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
    let mut world = World::usual();
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
    let mut world = World::usual();
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
    let mut world = World::usual();
    let attributes = vec![
        raw(ATTR_REQUESTED_TRANSPORT, &[9, 0, 0, 0]),
        token(&[0; 8]),
        even(false),
    ];
    assert_eq!(status(&allocate(&mut world, 0, attributes)), 442);
    world.expect_empty();
}

#[test]
fn l5_requested_beside_additional_address_family_is_400() {
    let mut world = World::usual();
    for families in [[1, 2], [2, 2]] {
        let attributes = vec![transport(), family(families[0]), additional(families[1])];
        let reply = allocate(&mut world, 1, attributes);
        assert_eq!(status(&reply), 400, "{families:?}");
    }
    let reply = allocate(&mut world, 1, vec![transport(), family(1)]);
    assert_eq!(status(&reply), 200);
}

#[test]
fn l6_requested_address_family() {
    let mut world = World::usual();
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
    let mut world = World::at(|_| (), &[SERVER_V4], &[]);
    let v6 = allocate(
        &mut world,
        0,
        vec![transport(), Box::new(REQUESTED_FAMILY_IPV6)],
    );
    assert_eq!(status(&v6), 440);
    let mut world = World::at(|_| (), &[SERVER_V6], &[]);
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
        (DefaultFamily::Ipv4, SERVER_V4, SERVER_V4),
        (DefaultFamily::Ipv6, SERVER_V6, SERVER_V6),
        (DefaultFamily::Client, SERVER_V4, SERVER_V6),
    ] {
        let mut world = World::new(|s| s.protocol.default_family = setting);
        for (client, expected) in [(CLIENT, for_v4), (CLIENT_V6, for_v6)] {
            let (_, relayed) = world.allocated(client);
            assert_eq!(
                relayed.ip(),
                addr(expected).ip(),
                "{setting:?} for {client}"
            );
        }
    }
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
        let mut world = World::usual();
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
    let mut world = World::new(|s| s.lifetimes.max_allocate = Duration::from_secs(1000));
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
    let mut world = World::usual();
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

    let mut world = World::new(|s| s.protocol.software = Some("turnd 1".to_owned()));
    let reply = allocate(&mut world, 0, vec![transport(), even(true)]);
    assert!(reply.contains(ATTR_SOFTWARE) && reply.contains(ATTR_RESERVATION_TOKEN));
}

#[test]
fn l11_the_relayed_address_is_the_external_one() {
    let cases: [(&[&str], &str); 2] = [
        (&["203.0.113.5"], "203.0.113.5"),
        (
            &["203.0.113.6/198.51.100.1", "203.0.113.7/198.51.100.2"],
            "203.0.113.6",
        ),
    ];
    for (external, expected) in cases {
        let mut world = World::new(|s| s.external(external));
        let reply = allocate(&mut world, 0, vec![transport()]);
        let relayed = relayed_address(&reply);
        assert_eq!(relayed.ip().to_string(), expected);
        let local = *world.open.values().next().unwrap();
        assert_eq!(local.ip(), addr(SERVER_V4).ip());
        assert_eq!(local.port(), relayed.port());
    }
}

#[test]
fn l13_dont_fragment_is_supported() {
    let mut world = World::usual();
    let attributes = vec![transport(), raw(ATTR_DONT_FRAGMENT, b"")];
    assert_eq!(status(&allocate(&mut world, 0, attributes)), 200);
}

#[test]
fn an_event_tells_of_every_beginning_end_and_refusal() {
    use turnd_proto::server::output::Event;
    let mut world = World::new(|s| s.limits.user_quota = Some(1));
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
