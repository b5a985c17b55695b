//! STUN itself (RFC 8489).

use std::net::IpAddr;

use crate::support::messages::{
    Attributes, addr, decode, indication, lifetime, message, peer, raw, request, send, status,
    transport,
};
use crate::support::world::{CLIENT, CLIENT_V6, PEER, World, path};
use crate::support::xor_address;
use stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_EVEN_PORT, ATTR_FINGERPRINT, ATTR_LIFETIME,
    ATTR_MAPPED_ADDRESS, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_REALM,
    ATTR_REQUESTED_TRANSPORT, ATTR_SOFTWARE, ATTR_UNKNOWN_ATTRIBUTES, ATTR_USERNAME,
    ATTR_XORMAPPED_ADDRESS, AttrType,
};
use stun::fingerprint::FINGERPRINT;
use stun::message::{
    BINDING_ERROR, BINDING_SUCCESS, CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST,
    CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CONNECT,
    METHOD_CONNECTION_BIND, METHOD_CREATE_PERMISSION, METHOD_DATA, METHOD_REFRESH, METHOD_SEND,
    Message, MessageType, Setter as _,
};

const REQUIRED: AttrType = AttrType(0x7FFF);
const REQUIRED_TOO: AttrType = AttrType(0x7FFE);
const OPTIONAL: AttrType = AttrType(0x8FFF);

fn binding() -> Message {
    request(METHOD_BINDING, vec![])
}

fn fingerprint(message: &mut Message) {
    FINGERPRINT.add_to(message).unwrap();
}

#[test]
fn s1_what_is_not_a_message_gets_silence() {
    let mut world = World::usual();
    let mut good = binding();
    good.add(ATTR_SOFTWARE, b"test");
    let path = path(CLIENT);
    assert!(!world.is_silent(&path, &good.raw));
    let mut damaged = |at: usize, to: u8| {
        let mut bytes = good.raw.clone();
        bytes[at] = to;
        world.is_silent(&path, &bytes)
    };
    for first in [0x40, 0x80, 0xC0, 0x41, 0x81] {
        assert!(damaged(0, first), "first byte {first:#x}");
    }
    for length in [1, 2, 3, 5, 6, 7, 9] {
        assert!(damaged(3, length), "length {length}");
    }
    assert!(damaged(3, 12), "length beyond the datagram");
    assert!(damaged(2, 0xFF), "length far beyond the datagram");
    assert!(
        damaged(3, 4),
        "an attribute header, and its value beyond the message"
    );
    assert!(damaged(23, 5), "an attribute beyond the message");
    assert!(damaged(22, 0xFF), "an attribute far beyond the message");
    for len in 0..good.raw.len() {
        assert!(world.is_silent(&path, &good.raw[..len]), "cut to {len}");
    }
    world.expect_empty();
}

#[test]
fn s2_unknown_methods_and_illegal_classes_get_silence() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    let answered = [
        METHOD_BINDING,
        METHOD_ALLOCATE,
        METHOD_REFRESH,
        METHOD_CREATE_PERMISSION,
        METHOD_CHANNEL_BIND,
        METHOD_CONNECT,
        METHOD_CONNECTION_BIND,
    ];
    // Everything that has a place in the header: twelve bits of method, two of class.
    for value in 0..0x4000 {
        let mut typ = MessageType::default();
        typ.read_value(value);
        assert_eq!(typ.value(), value);
        let silent = world.is_silent(&caller.path, &message(typ, vec![]).raw);
        let expected = typ.class != CLASS_REQUEST || !answered.contains(&typ.method);
        assert_eq!(silent, expected, "{typ}");
    }
    // Signed ones too: a Send request, an Allocate indication, Data from a client, stray responses.
    for (method, class) in [
        (METHOD_SEND, CLASS_REQUEST),
        (METHOD_DATA, CLASS_REQUEST),
        (METHOD_DATA, CLASS_INDICATION),
        (METHOD_ALLOCATE, CLASS_INDICATION),
        (METHOD_REFRESH, CLASS_INDICATION),
        (METHOD_ALLOCATE, CLASS_SUCCESS_RESPONSE),
        (METHOD_REFRESH, CLASS_ERROR_RESPONSE),
    ] {
        let mut attributes: Attributes = vec![transport(), lifetime(0)];
        attributes.extend(caller.login.credentials());
        attributes.push(Box::new(caller.login.integrity.clone()));
        let stray = message(MessageType { method, class }, attributes);
        assert!(
            world.is_silent(&caller.path, &stray.raw),
            "{method} {class}"
        );
    }
    for typ in [BINDING_SUCCESS, BINDING_ERROR] {
        assert!(world.is_silent(&caller.path, &message(typ, vec![]).raw));
    }
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn s3_a_wrong_cookie_gets_silence() {
    let mut world = World::usual();
    for method in [METHOD_BINDING, METHOD_ALLOCATE] {
        let mut bytes = request(method, vec![]).raw;
        bytes[4] ^= 1;
        assert!(world.is_silent(&path(CLIENT), &bytes));
    }
}

#[test]
fn s3_rfc_3489_binding_echoes_all_16_bytes_with_mapped_address() {
    let mut world = World::new(|s| s.protocol.rfc3489 = true);
    for (client, length, family) in [(CLIENT, 8, 1), (CLIENT_V6, 20, 2)] {
        let mut bytes = binding().raw;
        bytes[4..8].copy_from_slice(b"old!");
        let reply = world.answer(&path(client), &bytes);
        assert_eq!(reply[..2], [0x01, 0x01]);
        assert_eq!(reply[2..4], [0, 4 + length]);
        assert_eq!(reply[4..20], bytes[4..20]);
        assert_eq!(reply[20..26], [0, 1, 0, length, 0, family]);
        assert_eq!(reply[26..28], 40_000u16.to_be_bytes());
        match addr(client).ip() {
            IpAddr::V4(ip) => assert_eq!(reply[28..], ip.octets()),
            IpAddr::V6(ip) => assert_eq!(reply[28..], ip.octets()),
        }
    }
    // TURN never, nor what is not a message.
    let without_cookie = |mut bytes: Vec<u8>| {
        bytes[4..8].copy_from_slice(b"old!");
        bytes
    };
    let allocate = without_cookie(request(METHOD_ALLOCATE, vec![transport()]).raw);
    assert!(world.is_silent(&path(CLIENT), &allocate));
    let send = without_cookie(send(PEER, b"x").raw);
    assert!(world.is_silent(&path(CLIENT), &send));
    let mut overrun = without_cookie(binding().raw);
    overrun[3] = 4;
    assert!(world.is_silent(&path(CLIENT), &overrun));
    let indication = without_cookie(message(indication(METHOD_BINDING), vec![]).raw);
    assert!(world.is_silent(&path(CLIENT), &indication));
    // With the cookie, it is a client of today.
    let reply = world.reply(&path(CLIENT), &binding());
    assert!(!reply.contains(ATTR_MAPPED_ADDRESS));
    world.expect_empty();
}

#[test]
fn s4_replies_have_the_method_cookie_and_transaction_of_the_request() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    for method in [
        METHOD_BINDING,
        METHOD_ALLOCATE,
        METHOD_REFRESH,
        METHOD_CREATE_PERMISSION,
        METHOD_CHANNEL_BIND,
    ] {
        for ask in [request(method, vec![]), caller.login.sign(method, vec![])] {
            // `answer` looks at the way back.
            let reply = world.answer(&caller.path, &ask.raw);
            assert_eq!(reply[4..20], ask.raw[4..20]);
            assert_eq!(decode(&reply).typ.method, method);
        }
    }
}

#[test]
fn s5_a_wrong_fingerprint_gets_silence() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    let requests = [
        binding(),
        request(METHOD_ALLOCATE, vec![]),
        caller.login.sign(METHOD_REFRESH, vec![]),
        send(PEER, b"x"),
    ];
    for mut message in requests {
        assert!(!world.is_silent(&caller.path, &message.raw), "absent");
        message.new_transaction_id().unwrap();
        if message.contains(ATTR_MESSAGE_INTEGRITY) {
            message = caller.login.sign(METHOD_REFRESH, vec![]);
        }
        fingerprint(&mut message);
        assert!(!world.is_silent(&caller.path, &message.raw), "right");
        *message.raw.last_mut().unwrap() ^= 1;
        assert!(world.is_silent(&caller.path, &message.raw), "wrong");
        *message.raw.last_mut().unwrap() ^= 1;
        message.add(OPTIONAL, b"late");
        assert!(world.is_silent(&caller.path, &message.raw), "not the last");
    }
}

#[test]
fn s5_a_fingerprint_is_mirrored_as_the_last_attribute() {
    let ends_with_fingerprint = |reply: &Message| {
        let last = reply.attributes.0.last().unwrap().typ == ATTR_FINGERPRINT;
        last && FINGERPRINT.check(reply).is_ok()
    };
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let ask = [
        || request(METHOD_BINDING, vec![]),
        || request(METHOD_BINDING, vec![raw(REQUIRED, b"")]),
        || request(METHOD_ALLOCATE, vec![]),
    ];
    for ask in ask {
        assert!(!world.reply(&caller.path, &ask()).contains(ATTR_FINGERPRINT));
        let mut with = ask();
        fingerprint(&mut with);
        assert!(ends_with_fingerprint(&world.reply(&caller.path, &with)));
    }
    for attributes in [vec![], vec![transport()]] {
        let mut with = caller.login.sign(METHOD_ALLOCATE, attributes);
        fingerprint(&mut with);
        let mut reply = world.reply(&caller.path, &with);
        caller.login.expect_signed(&mut reply);
        assert!(ends_with_fingerprint(&reply));
    }

    let mut world = World::new(|s| s.protocol.fingerprint = true);
    let caller = world.caller(CLIENT);
    assert!(ends_with_fingerprint(
        &world.reply(&caller.path, &binding())
    ));
    assert!(ends_with_fingerprint(&world.try_allocate(&caller, vec![])));
    let unsigned = request(METHOD_REFRESH, vec![]);
    assert!(ends_with_fingerprint(&world.reply(&caller.path, &unsigned)));
}

#[test]
fn s6_unknown_required_attributes_are_all_named() {
    let unknown = || {
        vec![
            raw(REQUIRED, b"abc"),
            raw(OPTIONAL, b""),
            raw(REQUIRED_TOO, b""),
        ]
    };
    let expected: Vec<u8> = [REQUIRED, REQUIRED_TOO]
        .iter()
        .flat_map(|typ| typ.0.to_be_bytes())
        .collect();
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);

    let reply = world.reply(&caller.path, &request(METHOD_BINDING, unknown()));
    assert_eq!(status(&reply), 420);
    assert_eq!(reply.get(ATTR_UNKNOWN_ATTRIBUTES).unwrap(), expected);
    assert!(world.is_silent(
        &caller.path,
        &message(indication(METHOD_BINDING), unknown()).raw
    ));

    // Only those who are known learn what is unknown.
    for method in [
        METHOD_ALLOCATE,
        METHOD_REFRESH,
        METHOD_CREATE_PERMISSION,
        METHOD_CHANNEL_BIND,
    ] {
        let reply = world.reply(&caller.path, &request(method, unknown()));
        assert_eq!(status(&reply), 401);
        assert!(!reply.contains(ATTR_UNKNOWN_ATTRIBUTES));
        let reply = world.ask(&caller, method, unknown());
        assert_eq!(status(&reply), 420, "{method}");
        assert_eq!(reply.get(ATTR_UNKNOWN_ATTRIBUTES).unwrap(), expected);
    }

    assert_eq!(world.permit(&caller, &[PEER]), 200);
    let mut data = send(PEER, b"x");
    assert!(world.relay(&caller.path, &data.raw).is_some());
    data.add(REQUIRED, b"");
    assert_eq!(world.relay(&caller.path, &data.raw), None);
}

#[test]
fn s7_optional_and_unexpected_attributes_are_ignored() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let extra = || -> Attributes {
        vec![
            raw(OPTIONAL, b"anything"),
            raw(ATTR_PRIORITY, &[0, 0, 0, 1]),
            raw(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0]),
            raw(ATTR_DATA, b"x"),
            peer(PEER),
        ]
    };
    assert_eq!(
        status(&world.reply(&caller.path, &request(METHOD_BINDING, extra()))),
        200
    );
    assert_eq!(status(&world.try_allocate(&caller, extra())), 200);
    assert_eq!(status(&world.ask(&caller, METHOD_REFRESH, extra())), 200);
    assert!(!world.send(&caller, PEER, "x"), "Refresh permits nothing");
}

/// A signed request with one attribute more, behind the signature.
fn with_late(mut signed: Message, typ: AttrType, value: &[u8]) -> Message {
    signed.add(typ, value);
    signed
}

#[test]
fn s8_attributes_behind_the_signature_do_not_count() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let mut reply = |signed: Message, typ, value: &[u8]| {
        let mut reply = world.reply(&caller.path, &with_late(signed, typ, value));
        caller.login.expect_signed(&mut reply);
        reply
    };
    let sign = |method, attributes| caller.login.sign(method, attributes);
    let udp = [17, 0, 0, 0];
    let late = reply(
        sign(METHOD_ALLOCATE, vec![]),
        ATTR_REQUESTED_TRANSPORT,
        &udp,
    );
    assert_eq!(status(&late), 400, "REQUESTED-TRANSPORT");
    let late = reply(sign(METHOD_ALLOCATE, vec![transport()]), REQUIRED, b"late");
    assert_eq!(status(&late), 200, "unknown and required");
    let late = reply(
        sign(METHOD_REFRESH, vec![]),
        ATTR_LIFETIME,
        &900u32.to_be_bytes(),
    );
    assert_eq!(late.get(ATTR_LIFETIME).unwrap(), 600u32.to_be_bytes());
    let late = reply(sign(METHOD_REFRESH, vec![]), ATTR_LIFETIME, &[0; 4]);
    assert_eq!(
        late.get(ATTR_LIFETIME).unwrap(),
        600u32.to_be_bytes(),
        "nothing is deleted"
    );
    let late = reply(sign(METHOD_REFRESH, vec![]), ATTR_USERNAME, b"bob");
    assert_eq!(status(&late), 200);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn s8_a_fingerprint_behind_the_signature_counts() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let mut signed = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    fingerprint(&mut signed);
    assert_eq!(status(&world.reply(&caller.path, &signed)), 200);
    *signed.raw.last_mut().unwrap() ^= 1;
    assert!(world.is_silent(&caller.path, &signed.raw));
}

#[test]
fn s9_the_first_of_two_attributes_counts() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let lifetime_of = |reply: &Message| reply.get(ATTR_LIFETIME).unwrap();
    let reply = world.try_allocate(&caller, vec![lifetime(700), lifetime(900)]);
    assert_eq!(lifetime_of(&reply), 700u32.to_be_bytes());
    let reply = world.ask(&caller, METHOD_REFRESH, vec![lifetime(800), lifetime(0)]);
    assert_eq!(lifetime_of(&reply), 800u32.to_be_bytes());
    // The second user name is not looked at, though it is signed.
    let reply = world.ask(&caller, METHOD_REFRESH, {
        let mut attributes = caller.login.credentials();
        attributes.push(lifetime(900));
        attributes
    });
    assert_eq!(lifetime_of(&reply), 900u32.to_be_bytes());
    let two = vec![
        raw(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0]),
        raw(ATTR_CHANNEL_NUMBER, &[0x40, 1, 0, 0]),
        peer(PEER),
        peer("45.0.0.8:1"),
    ];
    assert_eq!(status(&world.ask(&caller, METHOD_CHANNEL_BIND, two)), 200);
    assert_eq!(world.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    assert_eq!(world.send_on(&caller, 0x4001, "x"), None);
    assert!(!world.send(&caller, "45.0.0.8:1", "x"));
    // In CreatePermission every one counts.
    assert_eq!(world.permit(&caller, &["45.0.0.8:1", "45.0.0.9:1"]), 200);
    assert!(world.send(&caller, "45.0.0.8:1", "x"));
    assert!(world.send(&caller, "45.0.0.9:1", "x"));
    // Two signatures: the first decides.
    let mut signed = caller.login.sign(METHOD_REFRESH, vec![]);
    signed.add(ATTR_MESSAGE_INTEGRITY, &[0; 20]);
    assert_eq!(status(&world.reply(&caller.path, &signed)), 200);
    let mut signed = request(METHOD_REFRESH, {
        let mut attributes = caller.login.credentials();
        attributes.push(raw(ATTR_MESSAGE_INTEGRITY, &[0; 20]));
        attributes
    });
    caller.login.integrity.add_to(&mut signed).unwrap();
    assert_eq!(status(&world.reply(&caller.path, &signed)), 401);
}

#[test]
fn s9_padding_may_hold_anything() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let mut request = request(METHOD_ALLOCATE, vec![transport()]);
    for setter in caller.login.credentials() {
        setter.add_to(&mut request).unwrap();
    }
    let mut padded = 0;
    let mut at = 20;
    while at < request.raw.len() {
        let end = at
            + 4
            + usize::from(u16::from_be_bytes([
                request.raw[at + 2],
                request.raw[at + 3],
            ]));
        at = end.next_multiple_of(4);
        padded += at - end;
        request.raw[end..at].fill(0xAA);
    }
    assert!(padded > 0, "something is padded");
    caller.login.integrity.add_to(&mut request).unwrap();
    assert_eq!(status(&world.reply(&caller.path, &request)), 200);
}

#[test]
fn s10_binding_tells_the_source_to_anyone() {
    let mut world = World::usual();
    for client in [
        CLIENT,
        "192.0.2.10:1",
        CLIENT_V6,
        "[2a00:1:2:3:4:5:6:7]:65535",
    ] {
        let reply = world.reply(&path(client), &binding());
        assert_eq!(reply.typ, BINDING_SUCCESS);
        assert_eq!(
            xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
            Some(addr(client))
        );
        assert!(!reply.contains(ATTR_MESSAGE_INTEGRITY));
        assert!(!reply.contains(ATTR_SOFTWARE));
        let value = reply.get(ATTR_XORMAPPED_ADDRESS).unwrap();
        // The IPv6 address is masked by cookie and transaction id.
        if let IpAddr::V6(ip) = addr(client).ip() {
            let mask: Vec<u8> = reply.raw[4..20].to_vec();
            let masked: Vec<u8> = ip.octets().iter().zip(mask).map(|(a, b)| a ^ b).collect();
            assert_eq!(value[4..], masked);
        }
    }
    world.expect_empty();
}

#[test]
fn s10_binding_leaves_an_allocation_alone() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    let before = world.holds();
    let reply = world.reply(&caller.path, &binding());
    assert_eq!(
        xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
        Some(addr(CLIENT))
    );
    assert!(world.is_silent(
        &caller.path,
        &message(indication(METHOD_BINDING), vec![]).raw
    ));
    assert_eq!(world.holds(), before);
    assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    // Nor does it keep one alive.
    for minute in 1..=10 {
        world.at_second(60 * minute - 1);
        world.reply(&caller.path, &request(METHOD_BINDING, vec![]));
    }
    world.at_second(600);
    world.expect_empty();
}

#[test]
fn s10_binding_indications_get_silence() {
    let mut world = World::usual();
    assert!(world.is_silent(
        &path(CLIENT),
        &message(indication(METHOD_BINDING), vec![]).raw
    ));
}

#[test]
fn s12_a_request_that_comes_again_gets_an_equal_answer_and_does_nothing_twice() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let pair = raw(ATTR_EVEN_PORT, &[0x80]);
    let allocate = caller
        .login
        .sign(METHOD_ALLOCATE, vec![transport(), pair])
        .raw;
    let first = world.answer(&caller.path, &allocate);
    let held = world.holds();
    let bound = world.binds.len();
    for second in [0, 1, 20, 39] {
        world.at_second(second);
        if second < 30 {
            assert_eq!(world.holds(), held);
        }
        assert_eq!(world.answer(&caller.path, &allocate), first);
    }
    assert_eq!(world.binds.len(), bound, "one socket for all of them");
    assert_eq!(world.server.counters().created, 1);

    let bind = vec![raw(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0]), peer(PEER)];
    for (method, attributes) in [
        (METHOD_CREATE_PERMISSION, vec![peer(PEER)]),
        (METHOD_CHANNEL_BIND, bind),
        (METHOD_REFRESH, vec![lifetime(700)]),
        (METHOD_BINDING, vec![]),
    ] {
        let request = caller.login.sign(method, attributes).raw;
        let first = world.answer(&caller.path, &request);
        let held = world.holds();
        assert_eq!(world.answer(&caller.path, &request), first, "{method}");
        assert_eq!(world.holds(), held);
    }
    assert_eq!(world.channels.len(), 1);
}

/// `check_reply` of the world looks at every answer of every test; these are the longest.
#[test]
fn s13_the_longest_replies_are_below_548_bytes() {
    // The longest realm that is accepted, and all the extras.
    for realm in ["r".repeat(127), "ä".repeat(127), "漢".repeat(85)] {
        let mut world = World::new(|s| {
            s.auth.realm = realm.clone();
            s.protocol.software = Some("turnd 1".to_owned());
            s.protocol.fingerprint = true;
        });
        let caller = world.caller(CLIENT_V6);
        assert_eq!(caller.login.realm, realm);
        // The longest list of unknown attributes that a client can send.
        let unknown = |count: u16| (0..count).map(|n| raw(AttrType(0x4000 + n), b"")).collect();
        let reply = world.reply(&caller.path, &request(METHOD_BINDING, unknown(0x3000)));
        assert_eq!(status(&reply), 420);
        assert_eq!(
            status(&world.ask(&caller, METHOD_ALLOCATE, unknown(0x2000))),
            420
        );
        let reply = world.try_allocate(&caller, vec![raw(ATTR_EVEN_PORT, &[0x80])]);
        assert_eq!(status(&reply), 200);
        assert_eq!(reply.get(ATTR_SOFTWARE).unwrap(), b"turnd 1");
        // A nonce that has gone stale.
        world.at_second(601);
        assert_eq!(status(&world.refresh(&caller, None)), 438);
        let reply = world.reply(&caller.path, &request(METHOD_REFRESH, vec![]));
        assert_eq!(reply.get(ATTR_REALM).unwrap(), realm.as_bytes());
    }
}
