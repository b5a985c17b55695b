//! Attacks that the server must withstand: limits before and after authentication.

mod peers;
mod shown;

use stun::attributes::{ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN, AttrType};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH, Message};
use turnd_proto::server::OpenError;
use turnd_proto::server::output::DropReason;

use crate::support::messages::{addr, raw, request, send, status, transport};
use crate::support::world::{CLIENT, CLIENT_V6, PEER, World, path};
use crate::support::{PASSWORD, USER};

fn client(n: u16) -> String {
    format!("192.0.2.10:{}", 1000 + n)
}

/// Reply bytes over request bytes.
fn amplification(world: &mut World, client: &str, request: &Message) -> f64 {
    let reply = world.answer(&path(client), &request.raw);
    reply.len() as f64 / request.raw.len() as f64
}

#[test]
fn what_nobody_authenticated_for_is_hardly_amplified() {
    let mut world = World::new(|s| s.auth.realm = "turnd".to_owned());
    let unknown = |n: u16| (0..n).map(|n| raw(AttrType(0x7000 + n), b"")).collect();
    for client in [CLIENT, CLIENT_V6] {
        for n in 0..100 {
            let factor = amplification(&mut world, client, &request(METHOD_BINDING, unknown(n)));
            assert!(
                factor <= 2.2,
                "Binding with {n} unknown attributes: {factor}"
            );
        }
        for method in [METHOD_ALLOCATE, METHOD_REFRESH] {
            let factor = amplification(&mut world, client, &request(method, vec![]));
            assert!(factor <= 5.0, "a bare {method}: {factor}");
        }
        let rubbish = request(
            METHOD_ALLOCATE,
            vec![raw(stun::attributes::ATTR_MESSAGE_INTEGRITY, &[0; 20])],
        );
        assert!(amplification(&mut world, client, &rubbish) <= 1.0);
    }
    // As clients send it, whatever the domain name.
    let mut world = World::new(|s| s.auth.realm = format!("{}.example.org", "x".repeat(36)));
    let allocate = request(METHOD_ALLOCATE, vec![transport()]);
    assert!(amplification(&mut world, CLIENT, &allocate) <= 5.0);
}

/// How many of `count` requests are answered.
fn answered(world: &mut World, client: &str, count: usize, ask: impl Fn() -> Message) -> usize {
    let path = path(client);
    (0..count)
        .filter(|_| !world.is_silent(&path, &ask().raw))
        .count()
}

#[test]
fn replies_before_authentication_are_limited_by_source_network() {
    let mut world = World::new(|s| {
        s.limits.unauthenticated_rate = Some(10);
        s.limits.binding_rate = Some(20);
    });
    let (caller, _) = world.allocated("192.0.2.1:9");
    world.at_second(5);
    let allocate = || request(METHOD_ALLOCATE, vec![]);
    let binding = || request(METHOD_BINDING, vec![]);
    assert_eq!(answered(&mut world, "192.0.2.10:1", 6, allocate), 6);
    assert_eq!(
        answered(&mut world, "192.0.2.200:2", 50, allocate),
        4,
        "the same /24"
    );
    let wrong = caller.login.clone();
    let forged = || {
        let mut request = wrong.sign(METHOD_REFRESH, vec![]);
        *request.raw.last_mut().unwrap() ^= 1;
        request
    };
    assert_eq!(
        answered(&mut world, "192.0.2.1:9", 50, forged),
        10,
        "a genuine nonce has a rate of its own"
    );
    assert_eq!(
        answered(&mut world, "192.0.3.10:1", 50, allocate),
        10,
        "another /24"
    );
    assert_eq!(answered(&mut world, "[2001:db8::1]:1", 50, allocate), 10);
    assert_eq!(
        answered(&mut world, "[2001:db8:0:ff::1]:1", 50, allocate),
        0,
        "the same /56"
    );
    // Binding has a rate of its own.
    assert_eq!(answered(&mut world, "192.0.2.10:1", 50, binding), 20);
    let dropped = world.server.counters().drops[DropReason::ReplyRate as usize];
    assert_eq!(dropped, 46 + 40 + 40 + 40 + 50 + 30);
    // An authenticated client is served, and loopback is exempt.
    assert_eq!(status(&world.refresh(&caller, None)), 200);
    assert_eq!(answered(&mut world, "127.0.0.1:1", 100, allocate), 100);
    assert_eq!(answered(&mut world, "[::1]:1", 100, binding), 100);
    // A second later there is room again.
    world.at_second(6);
    assert_eq!(answered(&mut world, "192.0.2.10:1", 50, allocate), 10);
    assert_eq!(answered(&mut world, "192.0.2.10:1", 50, binding), 20);
}

#[test]
fn who_is_not_authenticated_leaves_nothing_behind() {
    let mut world = World::usual();
    for n in 0..5000u16 {
        let [a, b] = n.to_be_bytes();
        let client = format!("198.{a}.{b}.1:{}", 1024 + n);
        let caller = world.log_in(&client, "nobody", "wrong");
        let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
        world.handle(&caller.path, &ask.raw);
        world.handle(&caller.path, &send(PEER, b"x").raw);
    }
    world.expect_empty();
    assert_eq!(world.server.poll_timeout(), None);
}

fn allocate(world: &mut World, client: &str, user: &str) -> u16 {
    let caller = world.log_in(client, user, PASSWORD);
    status(&world.try_allocate(&caller, vec![]))
}

#[test]
fn a_user_gets_no_more_than_the_quota_and_gets_it_back_at_the_end() {
    let mut world = World::new(|s| {
        s.limits.user_quota = Some(2);
        s.users(&["alice:secret", "bob:secret"]);
    });
    let (first, _) = world.allocated(&client(0));
    assert_eq!(allocate(&mut world, &client(1), USER), 200);
    assert_eq!(allocate(&mut world, &client(2), USER), 486);
    assert_eq!(
        allocate(&mut world, &client(2), "bob"),
        200,
        "of another user"
    );
    // A delete gives it back at once, an expiry at its end and not before.
    world.at_second(300);
    world.refresh(&first, Some(0));
    assert_eq!(allocate(&mut world, &client(3), USER), 200);
    assert_eq!(allocate(&mut world, &client(4), USER), 486);
    world.at_milli(599_999);
    assert_eq!(allocate(&mut world, &client(4), USER), 486);
    world.at_second(600);
    assert_eq!(allocate(&mut world, &client(4), USER), 200);
    assert_eq!(allocate(&mut world, &client(5), USER), 486);
    // Refusals, whatever the reason, count nothing.
    world.at_second(1200);
    world.expect_empty();
    world.bind = |_| Err(OpenError::Failed);
    for _ in 0..5 {
        assert_eq!(allocate(&mut world, &client(6), USER), 508);
    }
    world.bind = |_| Ok(());
    for n in 7..9 {
        assert_eq!(allocate(&mut world, &client(n), USER), 200);
    }
    assert_eq!(allocate(&mut world, &client(9), USER), 486);
}

#[test]
fn all_together_get_no_more_than_the_total_quota() {
    let mut world = World::new(|s| {
        s.limits.total_quota = Some(2);
        s.users(&["alice:secret", "bob:secret"]);
    });
    assert_eq!(allocate(&mut world, &client(0), USER), 200);
    assert_eq!(allocate(&mut world, &client(1), "bob"), 200);
    assert_eq!(allocate(&mut world, &client(2), USER), 486);
    assert_eq!(allocate(&mut world, &client(2), "bob"), 486);
    world.at_second(600);
    assert_eq!(allocate(&mut world, &client(2), "bob"), 200);
}

#[test]
fn a_reservation_counts_against_the_quota() {
    let pair = || vec![raw(ATTR_EVEN_PORT, &[0x80])];
    let mut world = World::new(|s| s.limits.user_quota = Some(2));
    let caller = world.caller(&client(0));
    let reply = world.try_allocate(&caller, pair());
    let token = reply.get(ATTR_RESERVATION_TOKEN).unwrap();
    assert_eq!(allocate(&mut world, &client(1), USER), 486);
    // Whoever redeems it takes its place over.
    let other = world.caller(&client(1));
    assert_eq!(
        status(&world.try_allocate(&other, vec![raw(ATTR_RESERVATION_TOKEN, &token)])),
        200
    );
    assert_eq!(allocate(&mut world, &client(2), USER), 486);
    world.refresh(&other, Some(0));
    assert_eq!(allocate(&mut world, &client(2), USER), 200);

    // One that nobody asks for counts until it expires.
    let mut world = World::new(|s| s.limits.user_quota = Some(2));
    let caller = world.caller(&client(0));
    world.try_allocate(&caller, pair());
    world.at_milli(29_999);
    assert_eq!(allocate(&mut world, &client(1), USER), 486);
    world.at_second(30);
    assert_eq!(allocate(&mut world, &client(1), USER), 200);
    assert_eq!(allocate(&mut world, &client(2), USER), 486);

    // It outlives the allocation that it was made beside.
    let mut world = World::new(|s| s.limits.user_quota = Some(2));
    let caller = world.caller(&client(0));
    world.try_allocate(&caller, pair());
    world.refresh(&caller, Some(0));
    assert_eq!(world.holds(), (0, 1, 1, 1));
    assert_eq!(allocate(&mut world, &client(1), USER), 200);
    assert_eq!(allocate(&mut world, &client(2), USER), 486);
    world.at_second(600);
    world.expect_empty();
}

#[test]
fn without_authentication_the_quota_goes_by_address() {
    let mut world = World::new(|s| {
        s.auth.no_auth = true;
        s.limits.user_quota = Some(1);
    });
    let mut ask = |client: &str| {
        status(&world.reply(&path(client), &request(METHOD_ALLOCATE, vec![transport()])))
    };
    assert_eq!(ask("192.0.2.10:1"), 200);
    assert_eq!(ask("192.0.2.10:2"), 486);
    assert_eq!(ask("192.0.2.11:1"), 200);
}

#[test]
fn an_allocation_has_at_most_1024_permissions() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    let peer = |n: u16| format!("45.1.{}.{}:9", n >> 8, n & 0xFF);
    for n in 0..1024 {
        assert_eq!(world.permit(&caller, &[&peer(n)]), 200);
    }
    assert_eq!(world.permit(&caller, &[&peer(1024)]), 508);
    assert_eq!(
        world.permit(&caller, &[&peer(0), &peer(1024)]),
        508,
        "all or nothing"
    );
    assert!(!world.send(&caller, &peer(1024), "x"));
    assert_eq!(world.bind_channel(&caller, 0x4000, &peer(1024)), 508);
    assert!(world.channels.is_empty());
    // Permissions in place can be renewed, and their data is still relayed.
    assert_eq!(world.permit(&caller, &[&peer(0), &peer(1023)]), 200);
    assert_eq!(world.bind_channel(&caller, 0x4000, &peer(5)), 200);
    assert!(world.send(&caller, &peer(1023), "x"));
    world.at_second(300);
    assert_eq!(
        world.permit(&caller, &[&peer(1024)]),
        200,
        "the old ones have expired"
    );
}

#[test]
fn an_allocation_has_at_most_1024_channels() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    world.refresh(&caller, Some(3600));
    let peer = |n: u16| format!("45.0.0.7:{}", 1 + n);
    for n in 0..1024 {
        assert_eq!(world.bind_channel(&caller, 0x4000 + n, &peer(n)), 200);
    }
    assert_eq!(world.bind_channel(&caller, 0x4400, &peer(1024)), 508);
    assert_eq!(world.bind_channel(&caller, 0x4000, &peer(0)), 200);
    assert_eq!(world.send_on(&caller, 0x43FF, "x"), Some(addr(&peer(1023))));
    assert_eq!(world.channels.len(), 1024);
    world.at_second(600);
    assert_eq!(world.bind_channel(&caller, 0x4400, &peer(1024)), 200);
    world.refresh(&caller, Some(0));
    world.expect_empty();
}

#[test]
fn caps_are_as_configured() {
    let mut world = World::new(|s| {
        s.limits.permissions = 2;
        s.limits.channels = 1;
    });
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(
        world.permit(&caller, &["45.0.0.1:1", "45.0.0.2:1", "45.0.0.3:1"]),
        508
    );
    assert_eq!(
        world.permit(&caller, &["45.0.0.1:1", "45.0.0.1:2", "45.0.0.2:1"]),
        200
    );
    assert_eq!(world.bind_channel(&caller, 0x4000, "45.0.0.1:1"), 200);
    assert_eq!(world.bind_channel(&caller, 0x4001, "45.0.0.1:2"), 508);
}

#[test]
fn max_bps_limits_each_direction_by_itself() {
    let mut world = World::new(|s| s.limits.max_bps = Some(1000));
    let (caller, relayed) = world.allocated(CLIENT);
    let (other, _) = world.allocated(&client(1));
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    assert_eq!(world.permit(&other, &[PEER]), 200);
    let hundred = "x".repeat(100);
    for second in 0..3 {
        world.at_second(second);
        // Indications and channel data share what there is.
        let sent = (0..20).filter(|n| match n % 2 {
            0 => world.send(&caller, PEER, &hundred),
            _ => world.send_on(&caller, 0x4000, &hundred).is_some(),
        });
        assert_eq!(sent.count(), 10);
        let arrived = (0..20).filter(|_| {
            world
                .peer_sends(relayed, PEER, hundred.as_bytes())
                .is_some()
        });
        assert_eq!(arrived.count(), 10);
        assert!(world.send(&other, PEER, &hundred), "of another allocation");
    }
    world.at_milli(2500);
    let sent = (0..20)
        .filter(|_| world.send(&caller, PEER, &hundred))
        .count();
    assert_eq!(sent, 5, "half a second later");
    let dropped = world.server.counters().drops[DropReason::Bandwidth as usize];
    assert_eq!(dropped, 30 + 30 + 15);
    // Requests are not data.
    assert_eq!(status(&world.refresh(&caller, None)), 200);
}
