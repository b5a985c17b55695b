//! Attacks that the server must withstand: limits before and after authentication, and peers that it must not reach.

use stun::attributes::{ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN, ATTR_USERNAME, AttrType};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH, Message};
use turnd::config::coturn::Source;
use turnd::config::file::FileConfig;
use turnd::daemon::Origin;
use turnd_proto::auth::key::Key;
use turnd_proto::server::OpenError;
use turnd_proto::server::output::{DropReason, Event};

use crate::support::messages::{addr, raw, relayed_address, request, send, status, transport};
use crate::support::world::{CLIENT, CLIENT_V6, Incoming, PEER, PEER_V6, SERVER_V4, World, path};
use crate::support::{PASSWORD, Scratch, USER};

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
    let mut world = World::new("realm = 'turnd'");
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
    let mut world = World::new(&format!("realm = '{}.example.org'", "x".repeat(36)));
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
    let mut world = World::new("unauthenticated-rate = 10\nbinding-rate = 20");
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
    let mut world = World::new("");
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
    let mut world = World::new("user-quota = 2\nuser = ['alice:secret', 'bob:secret']");
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
    let mut world = World::new("total-quota = 2\nuser = ['alice:secret', 'bob:secret']");
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
    let mut world = World::new("user-quota = 2");
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
    let mut world = World::new("user-quota = 2");
    let caller = world.caller(&client(0));
    world.try_allocate(&caller, pair());
    world.at_milli(29_999);
    assert_eq!(allocate(&mut world, &client(1), USER), 486);
    world.at_second(30);
    assert_eq!(allocate(&mut world, &client(1), USER), 200);
    assert_eq!(allocate(&mut world, &client(2), USER), 486);

    // It outlives the allocation that it was made beside.
    let mut world = World::new("user-quota = 2");
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
    let mut world = World::new("no-auth = true\nuser-quota = 1");
    let mut ask = |client: &str| {
        status(&world.reply(&path(client), &request(METHOD_ALLOCATE, vec![transport()])))
    };
    assert_eq!(ask("192.0.2.10:1"), 200);
    assert_eq!(ask("192.0.2.10:2"), 486);
    assert_eq!(ask("192.0.2.11:1"), 200);
}

#[test]
fn an_allocation_has_at_most_1024_permissions() {
    let mut world = World::new("");
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
    let mut world = World::new("");
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
    let mut world = World::new("max-permissions = 2\nmax-channels = 1");
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
    let mut world = World::new("max-bps = 1000");
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

/// Addresses that reach this host, or mean it, in every spelling.
const LOOPBACK: [&str; 15] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "::0.0.0.2",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001::80ff:fffe",
    "fe80::1",
];
/// Addresses of private and special networks, refused by default.
const INSIDE: [&str; 12] = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "fd00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
];

/// Asks in every way for `peer`: whether each was refused.
fn is_refused(
    world: &mut World,
    caller: &crate::support::world::Caller,
    good: &str,
    peer: &str,
) -> bool {
    // On an allocation of the other family it is 443.
    let refused = |code| matches!(code, 403 | 443);
    let by_request = refused(world.permit(caller, &[peer]))
        && refused(world.permit(caller, &[good, peer]))
        && refused(world.bind_channel(caller, 0x4000, peer));
    let silent = world.is_silent(&caller.path, &send(peer, b"x").raw);
    by_request && silent && world.channels.is_empty() && !world.send(caller, good, "x")
}

#[test]
fn no_spelling_of_loopback_or_of_a_private_network_is_a_peer() {
    let mut world = World::new("");
    let (v4, relayed_v4) = world.allocated(CLIENT);
    let v6 = world.caller(CLIENT_V6);
    let family = raw(
        stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY,
        &[2, 0, 0, 0],
    );
    let relayed_v6 = relayed_address(&world.try_allocate(&v6, vec![family]));
    for ip in LOOPBACK.iter().chain(&INSIDE) {
        let peer = if ip.contains(':') {
            format!("[{ip}]:22")
        } else {
            format!("{ip}:22")
        };
        assert!(is_refused(&mut world, &v4, PEER, &peer), "{peer} from IPv4");
        assert!(
            is_refused(&mut world, &v6, PEER_V6, &peer),
            "{peer} from IPv6"
        );
        assert_eq!(world.peer_sends(relayed_v4, &peer, b"x"), None);
        assert_eq!(world.peer_sends(relayed_v6, &peer, b"x"), None);
    }
    assert_eq!(world.permit(&v4, &[PEER]), 200);
    assert_eq!(world.permit(&v6, &[PEER_V6]), 200);
}

#[test]
fn the_lists_decide_before_the_defaults() {
    let mut world = World::new(
        "allowed-peer-ip = '10.0.0.0/24'\ndenied-peer-ip = ['45.0.0.0/24', '10.0.0.9']\nallow-loopback-peers = true",
    );
    let (caller, _) = world.allocated(CLIENT);
    for (peer, expected) in [
        ("10.0.0.1:1", 200),
        ("10.0.0.9:1", 403),
        ("10.0.1.1:1", 403),
        ("45.0.0.7:1", 403),
        ("45.0.1.7:1", 200),
        ("127.0.0.1:1", 200),
        ("0.0.0.0:1", 403),
    ] {
        assert_eq!(world.permit(&caller, &[peer]), expected, "{peer}");
    }
}

#[test]
fn relay_to_relay_works_and_the_servers_other_ports_are_out_of_reach() {
    // With and without external addresses, which are what clients name then.
    for (toml, public) in [
        ("", "198.51.100.1"),
        ("external-ip = '45.9.9.9'", "45.9.9.9"),
    ] {
        let mut world = World::new(toml);
        let (alice, alices) = world.allocated(&client(0));
        let (bob, bobs) = world.allocated(&client(1));
        assert_eq!(alices.ip().to_string(), public);
        let local = |world: &World, relayed: std::net::SocketAddr| {
            *world
                .open
                .values()
                .find(|open| open.port() == relayed.port())
                .unwrap()
        };
        let (alices_local, bobs_local) = (local(&world, alices), local(&world, bobs));
        assert_eq!(world.permit(&alice, &[&bobs.to_string()]), 200);
        assert_eq!(world.permit(&bob, &[&alices.to_string()]), 200);
        let sent = world
            .relay(&alice.path, &send(&bobs.to_string(), b"hi").raw)
            .unwrap();
        assert_eq!((sent.from, sent.to), (alices_local, bobs_local));
        let arrived = world.peer_sends(bobs_local, &alices_local.to_string(), b"hi");
        assert_eq!(
            arrived,
            Some(Incoming::Data(alices, b"hi".into())),
            "the public form"
        );
        assert_eq!(world.bind_channel(&bob, 0x4000, &alices.to_string()), 200);
        assert_eq!(world.send_on(&bob, 0x4000, "hi"), Some(alices_local));
        let arrived = world.peer_sends(bobs_local, &alices_local.to_string(), b"hi");
        assert_eq!(arrived, Some(Incoming::Channel(0x4000, b"hi".into())));

        // The permission is for relayed addresses and for nothing else that has the same IP.
        let taken = [alices.port(), bobs.port()];
        let free = (50_000..).find(|port| !taken.contains(port)).unwrap();
        for ip in [public, "198.51.100.1"] {
            for port in [22, 53, 3478, 5349, free] {
                let peer = format!("{ip}:{port}");
                assert!(!world.send(&alice, &peer, "x"), "{peer}");
                assert_eq!(world.bind_channel(&alice, 0x4001, &peer), 403, "{peer}");
                let from = format!("198.51.100.1:{port}");
                assert_eq!(world.peer_sends(alices_local, &from, b"x"), None);
            }
        }
        // When the other relay has gone, its port is like any other.
        world.refresh(&alice, Some(0));
        assert!(!world.send(&bob, &alices.to_string(), "x"));
        assert_eq!(world.send_on(&bob, 0x4000, "x"), None);
        assert_eq!(
            world.peer_sends(bobs_local, &alices_local.to_string(), b"x"),
            None
        );
    }
}

#[test]
fn the_hosts_other_addresses_are_no_peers() {
    let other = "45.8.8.8:1";
    let mut world = World::at("", &[SERVER_V4], &[addr(other).ip()]);
    let (caller, _) = world.allocated(CLIENT);
    assert!(is_refused(&mut world, &caller, PEER, other));
    let mut world = World::at(
        "allowed-peer-ip = '45.8.8.8'",
        &[SERVER_V4],
        &[addr(other).ip()],
    );
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(
        world.permit(&caller, &[other]),
        200,
        "unless the operator says so"
    );
}

#[test]
fn refused_peers_are_logged_once_a_minute_for_each_reason() {
    let mut world = World::new("");
    let (caller, _) = world.allocated(CLIENT);
    let denied = |world: &mut World| {
        world.events.clear();
        for peer in ["10.0.0.1:1", "192.168.0.1:1", "127.0.0.1:1", "10.0.0.2:1"] {
            assert_eq!(world.permit(&caller, &[peer]), 403);
            assert_eq!(world.bind_channel(&caller, 0x4000, peer), 403);
        }
        let options = world.events.iter().map(|event| match event {
            Event::PeerDenied { denied, user, .. } => {
                assert_eq!(user.as_deref(), Some(USER));
                (denied.reason.as_str(), denied.option)
            }
            event => panic!("{event:?}"),
        });
        options.collect::<Vec<_>>()
    };
    let both = [
        ("private", "allowed-peer-ip"),
        ("loopback", "allow-loopback-peers"),
    ];
    assert_eq!(denied(&mut world), both);
    world.at_milli(59_999);
    assert_eq!(denied(&mut world), []);
    world.at_second(60);
    assert_eq!(denied(&mut world), both);
}

#[test]
fn a_claimed_user_name_is_logged_in_bounds() {
    let mut world = World::new("");
    let caller = world.caller(CLIENT);
    for name in [
        vec![b'x'; 60_000],
        "ü".repeat(10_000).into(),
        vec![0xFF; 60_000],
    ] {
        let mut attributes = vec![raw(ATTR_USERNAME, &name)];
        attributes.extend(caller.login.credentials().into_iter().skip(1));
        attributes.push(Box::new(caller.login.integrity.clone()));
        assert_eq!(
            status(&world.reply(&caller.path, &request(METHOD_ALLOCATE, attributes))),
            401
        );
        match world.events.pop() {
            Some(Event::Refused {
                user: Some(user),
                code: 401,
                ..
            }) => assert!(user.len() <= 400),
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn no_secret_is_in_what_can_be_shown() {
    const KEY: [u8; 16] = *b"\xd3\xadkeykeykeykey\xbe\xef";
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let toml = format!(
        "user = ['alice:secret', 'bob:0x{hex}']\nstatic-auth-secret = 'northern'\nnonce-secret = 'southern'\n\
         admin-token = 'eastern'\npkey-pwd = 'western'"
    );
    let mut world = World::new(&toml);
    let (caller, _) = world.allocated(CLIENT);
    world.refresh(&caller, Some(0));

    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    std::fs::write(&file, &toml).unwrap();
    let loaded = turnd::config::load(Some(&file), &FileConfig::default()).unwrap();
    let origin = Origin {
        path: None,
        flags: toml::from_str(&toml).unwrap(),
    };
    let coturn =
        "user=alice:secret\nuser=bob:0xd3ad\nstatic-auth-secret=northern\npkey-pwd=western";
    let given = turnd::config::coturn::read(coturn);
    let import = match &given {
        Source::File(given) => turnd::config::coturn::translate(given),
        Source::CommandLine(_) => panic!("read as a command line"),
    };
    let credentials: Vec<_> = loaded
        .config
        .auth
        .users
        .iter()
        .map(|u| &u.credential)
        .collect();
    let shown = format!(
        "{:?} {:?} {:?} {loaded:?} {origin:?} {given:?} {import:?} {credentials:?} {:?}",
        world.shared.auth,
        world.events,
        world.shared.relays,
        Key::md5(KEY),
    );
    // Every one of them is there, so their absence means something.
    for name in [
        "Authenticator",
        "alice",
        "Loaded",
        "admin_token",
        "nonce-secret = \"***\"",
        "Key(",
        "Given",
        "Import",
    ] {
        assert!(shown.contains(name), "{name} is not in {shown}");
    }
    for key in [&KEY[..], &caller.login.integrity.0] {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{key:?}");
        for secret in [&hex, &numbers[1..20]] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    for secret in [
        "\"secret\"",
        ":secret",
        "d3ad",
        "northern",
        "southern",
        "eastern",
        "western",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
