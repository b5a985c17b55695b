//! Long-term credentials (RFC 8489 §9.2), through the whole server.

use std::time::Duration;

use std::collections::HashSet;

use stun::attributes::{
    ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_RESERVATION_TOKEN, ATTR_USERNAME, AttrType,
};
use stun::message::{
    METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message,
    Setter as _,
};
use turnd_proto::auth::secret::Secret;

use crate::support::messages::{
    Login, addr, lifetime, peer, raw, relayed_address, request, status, transport,
};
use crate::support::settings::Settings;
use crate::support::world::{CLIENT, CLIENT_V6, PEER, World, path, path_to};
use crate::support::{PASSWORD, REALM, USER};

const MESSAGE_INTEGRITY_SHA256: AttrType = AttrType(0x001C);
fn two_users(settings: &mut Settings) {
    settings.users(&["alice:secret", "bob:hidden"]);
}

/// 401 as A1 and A3 want it.
fn expect_challenge(reply: &Message) {
    assert_eq!(status(reply), 401);
    assert_eq!(reply.get(ATTR_REALM).unwrap(), REALM.as_bytes());
    assert!(reply.contains(ATTR_NONCE));
    for absent in [
        ATTR_MESSAGE_INTEGRITY,
        MESSAGE_INTEGRITY_SHA256,
        ATTR_USERNAME,
    ] {
        assert!(!reply.contains(absent), "{reply}");
    }
}

#[test]
fn a1_a_request_without_integrity_is_challenged() {
    let mut world = World::usual();
    for method in [
        METHOD_ALLOCATE,
        METHOD_REFRESH,
        METHOD_CREATE_PERMISSION,
        METHOD_CHANNEL_BIND,
    ] {
        for attributes in [vec![], vec![transport(), lifetime(0), peer(PEER)]] {
            expect_challenge(&world.reply(&path(CLIENT), &request(method, attributes)));
        }
    }
    world.expect_empty();
}

#[test]
fn a2_integrity_with_something_missing_is_a_bare_400() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    for missing in [ATTR_USERNAME, ATTR_REALM, ATTR_NONCE] {
        let mut ask = request(METHOD_ALLOCATE, vec![transport()]);
        for attribute in caller.login.credentials() {
            let mut alone = Message::new();
            attribute.add_to(&mut alone).unwrap();
            if !alone.contains(missing) {
                attribute.add_to(&mut ask).unwrap();
            }
        }
        caller.login.integrity.add_to(&mut ask).unwrap();
        let reply = world.reply(&caller.path, &ask);
        assert_eq!(status(&reply), 400, "without {missing}");
        assert_eq!(reply.attributes.0.len(), 1, "{reply}");
    }
    let nothing = request(METHOD_ALLOCATE, vec![raw(ATTR_MESSAGE_INTEGRITY, &[0; 20])]);
    assert_eq!(status(&world.reply(&caller.path, &nothing)), 400);
    world.expect_empty();
}

#[test]
fn a3_an_unknown_user_and_a_wrong_password_look_the_same() {
    let mut world = World::usual();
    let answers: Vec<Vec<_>> = [(USER, "wrong"), ("nobody", PASSWORD), ("nobody", "")]
        .into_iter()
        .map(|(user, password)| {
            let caller = world.log_in(CLIENT, user, password);
            let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
            let reply = world.reply(&caller.path, &ask);
            expect_challenge(&reply);
            let shape = |a: &stun::attributes::RawAttribute| (a.typ, a.value.len());
            reply.attributes.0.iter().map(shape).collect()
        })
        .collect();
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "{answers:?}"
    );
    // A signature of the wrong length is a wrong one.
    let caller = world.caller(CLIENT);
    for length in [0, 19, 21, 32] {
        let mut attributes = caller.login.credentials();
        attributes.push(raw(ATTR_MESSAGE_INTEGRITY, &vec![7; length]));
        let reply = world.reply(&caller.path, &request(METHOD_ALLOCATE, attributes));
        expect_challenge(&reply);
    }
    world.expect_empty();
}

#[test]
fn a3_a_changed_bit_is_refused_wherever_it_is() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let good = caller
        .login
        .sign(METHOD_ALLOCATE, vec![transport(), lifetime(700)])
        .raw;
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        world.handle(&caller.path, &bytes);
        assert_eq!(world.holds(), (0, 0, 0, 0), "bit {bit}");
    }
    assert_eq!(status(&world.try_allocate(&caller, vec![])), 200);
}

#[test]
fn a4_an_expired_or_forged_nonce_gets_a_fresh_one() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let mut forged = caller.login.clone();
    forged.nonce = format!("{}AAAA", &forged.nonce[..forged.nonce.len() - 4]);
    let mut rubbish = caller.login.clone();
    rubbish.nonce = "rubbish".into();
    for login in [forged, rubbish] {
        let mut reply = world.reply(
            &caller.path,
            &login.sign(METHOD_ALLOCATE, vec![transport()]),
        );
        assert_eq!(status(&reply), 438);
        assert_eq!(reply.get(ATTR_REALM).unwrap(), REALM.as_bytes());
        login.expect_signed(&mut reply);
        let fresh = Login::answer(&reply, USER, PASSWORD);
        let again = world.reply(&caller.path, &fresh.sign(METHOD_REFRESH, vec![]));
        assert_eq!(status(&again), 437, "the fresh one is good");
    }
    world.expect_empty();
}

#[test]
fn a5_a_nonce_is_good_only_where_it_was_given_to() {
    let mut world = World::usual();
    let login = world.caller(CLIENT).login;
    let mut from = |client: &str| {
        let ask = login.sign(METHOD_REFRESH, vec![]);
        status(&world.reply(&path(client), &ask))
    };
    assert_eq!(from(CLIENT), 437);
    assert_eq!(
        from("192.0.2.10:40001"),
        437,
        "another port of the same address"
    );
    assert_eq!(from("192.0.2.11:40000"), 438);
    assert_eq!(from(CLIENT_V6), 438);
}

#[test]
fn a5_a_nonce_lives_as_long_as_stale_nonce_says() {
    assert_eq!(Settings::default().auth.stale_nonce.as_secs(), 600);
    for lifetime in [60, 600, 3600] {
        let mut world = World::new(|s| s.auth.stale_nonce = Duration::from_secs(lifetime));
        let caller = world.caller(CLIENT);
        for (second, expected) in [(lifetime - 1, 437), (lifetime, 437), (lifetime + 1, 438)] {
            world.at_second(second);
            assert_eq!(
                status(&world.refresh(&caller, None)),
                expected,
                "{lifetime} at {second}"
            );
        }
    }
}

#[test]
fn a5_a_nonce_outlives_a_restart_and_serves_another_node() {
    let change =
        |s: &mut Settings| s.auth.nonce_secret = Some(Secret::new("the same on every node"));
    let caller = World::new(change).caller(CLIENT);
    let mut node = World::at(change, &["198.51.100.2:3478"], &[]);
    let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    let there = path_to(addr(CLIENT), addr("198.51.100.2:3478"));
    assert_eq!(status(&node.reply(&there, &ask)), 200);
    // Without the secret each start has nonces of its own.
    let caller = World::usual().caller(CLIENT);
    let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    let mut restarted = World::seeded(|_| (), [9; 32]);
    assert_eq!(status(&restarted.reply(&caller.path, &ask)), 438);
}

#[test]
fn a5_nonces_need_no_memory() {
    let mut world = World::new(|s| s.limits.unauthenticated_rate = None);
    let nonces: HashSet<_> = (0..10_000u16)
        .map(|n| {
            let [a, b] = n.to_be_bytes();
            world
                .caller(&format!("192.1.{a}.{b}:{}", 1000 + n))
                .login
                .nonce
        })
        .collect();
    assert_eq!(nonces.len(), 10_000);
    world.expect_empty();
    assert!(world.events.is_empty());
}

#[test]
fn a8_key_is_the_md5_of_the_prepared_parts() {
    // The same text in another normal form, with a non-ASCII space.
    let mut world =
        World::new(|s| s.users(&["José:pass word", "bob:0x00112233445566778899aabbccddeeff"]));
    let caller = world.log_in(CLIENT, "José", "pass word");
    assert_eq!(status(&world.try_allocate(&caller, vec![])), 200);
    let mut caller = world.log_in(CLIENT_V6, "bob", "");
    caller.login.integrity.0 = (0..16).map(|n| n * 0x11).collect();
    assert_eq!(status(&world.try_allocate(&caller, vec![])), 200);
    let mut world = World::new(|s| s.users(&["Jose\u{301}:pass\u{a0}word"]));
    let caller = world.log_in(CLIENT, "Jos\u{e9}", "pass word");
    assert_eq!(status(&world.try_allocate(&caller, vec![])), 200);
}

#[test]
fn a9_a_reply_is_never_signed_with_sha256_unasked() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    let reply = world.try_allocate(&caller, vec![]);
    assert!(!reply.contains(MESSAGE_INTEGRITY_SHA256));
}

#[test]
fn a11_another_user_on_the_five_tuple_is_441_and_437_for_allocate() {
    let mut world = World::new(two_users);
    let (alice, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&alice, &[PEER]), 200);
    let bob = world.log_in(CLIENT, "bob", "hidden");
    assert_eq!(status(&world.refresh(&bob, Some(0))), 441);
    assert_eq!(status(&world.refresh(&bob, None)), 441);
    assert_eq!(world.permit(&bob, &["45.0.0.8:1"]), 441);
    assert_eq!(world.bind_channel(&bob, 0x4000, PEER), 441);
    assert_eq!(status(&world.try_allocate(&bob, vec![])), 437);
    // Nothing of it had an effect.
    assert!(world.channels.is_empty());
    assert!(!world.send(&alice, "45.0.0.8:1", "x"));
    assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    assert_eq!(status(&world.refresh(&alice, Some(0))), 200);
    assert_eq!(world.permit(&bob, &[PEER]), 437);
    world.expect_empty();
}

#[test]
fn a11_another_user_does_not_get_the_answer_to_a_repeated_allocate() {
    let mut world = World::new(two_users);
    let alice = world.caller(CLIENT);
    let ask = alice.login.sign(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&world.reply(&alice.path, &ask)), 200);
    let bob = world.log_in(CLIENT, "bob", "hidden");
    let mut copy = request(METHOD_ALLOCATE, vec![]);
    copy.transaction_id = ask.transaction_id;
    copy.write_transaction_id();
    transport().add_to(&mut copy).unwrap();
    for attribute in bob.login.credentials() {
        attribute.add_to(&mut copy).unwrap();
    }
    bob.login.integrity.add_to(&mut copy).unwrap();
    let mut reply = world.reply(&alice.path, &copy);
    assert_eq!(status(&reply), 437);
    bob.login.expect_signed(&mut reply);
}

#[test]
fn a12_nonces_ports_and_tokens_cannot_be_foretold() {
    let mut world = World::usual();
    let (mut nonces, mut tokens, mut ports) = (HashSet::new(), HashSet::new(), Vec::new());
    for port in 1000..1100 {
        let caller = world.caller(&format!("192.0.2.10:{port}"));
        nonces.insert(caller.login.nonce.clone());
        let even = raw(stun::attributes::ATTR_EVEN_PORT, &[0x80]);
        let reply = world.try_allocate(&caller, vec![even]);
        tokens.insert(reply.get(ATTR_RESERVATION_TOKEN).unwrap());
        ports.push(relayed_address(&reply).port());
    }
    assert_eq!((nonces.len(), tokens.len()), (100, 100));
    let rising = ports.windows(2).filter(|two| two[0] < two[1]).count();
    assert!((20..80).contains(&rising), "{ports:?}");
    // The words of a counter would share most of their bytes.
    let first: HashSet<_> = tokens.iter().map(|token| token[0]).collect();
    let last: HashSet<_> = tokens.iter().map(|token| token[7]).collect();
    assert!(first.len() > 40 && last.len() > 40);
}
