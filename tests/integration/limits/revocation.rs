//! Allocations whose credentials are gone.

use std::net::SocketAddr;
use std::time::Duration;

use stun::attributes::ATTR_LIFETIME;
use stun::message::{METHOD_ALLOCATE, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message};
use turnd_proto::auth::key::Key;
use turnd_proto::auth::{Credential, RestExpiry, User, rest};
use turnd_proto::server::output::Event;

use crate::support::messages::{peer, raw, relayed_address, request, status, transport};
use crate::support::settings::{Change, Settings};
use crate::support::world::{Caller, PEER, UNIX, World, path};
use crate::support::{PASSWORD, USER};

fn client(n: usize) -> String {
    format!("192.0.2.{}:4000", 10 + n)
}

/// Why allocations have ended since the last call.
fn ended(world: &mut World) -> Vec<&'static str> {
    let events = std::mem::take(&mut world.events).into_iter();
    let reasons = events.filter_map(|event| match event {
        Event::Ended { reason, .. } => Some(reason.name()),
        _ => None,
    });
    reasons.collect()
}

/// A call with a permission, a channel and a reserved port.
fn call(world: &mut World, n: usize, user: &str, password: &str) -> (Caller, SocketAddr) {
    let caller = world.log_in(&client(n), user, password);
    let relayed = world.allocate(&caller);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    (caller, relayed)
}

/// The code of the answer to Refresh, which is signed or not.
fn refresh(world: &mut World, caller: &Caller) -> u16 {
    let ask = caller.login.sign(METHOD_REFRESH, vec![]);
    status(&world.reply(&caller.path, &ask))
}

fn lifetime_of(reply: &Message) -> u32 {
    let value = reply.get(ATTR_LIFETIME).unwrap();
    u32::from_be_bytes(value.try_into().unwrap())
}

/// Allocates for `user`, reloads, and expects that the allocation lives, or that it is revoked and
/// nothing is left of it.
#[track_caller]
fn reloaded(before: Change, user: &str, password: &str, after: Change, lives: bool) {
    let change = |change: Change| {
        move |s: &mut Settings| {
            s.limits.user_quota = Some(1);
            change(s);
        }
    };
    let mut world = World::new(change(before));
    let (caller, relayed) = call(&mut world, 0, user, password);
    world.events.clear();
    world.reload(change(after));
    if lives {
        assert_eq!(ended(&mut world), [""; 0]);
        assert_eq!(refresh(&mut world, &caller), 200);
        assert!(world.peer_sends(relayed, PEER, b"x").is_some());
        return;
    }
    assert_eq!(ended(&mut world), ["revoked"]);
    world.expect_empty();
    assert!(world.peer_sends(relayed, PEER, b"x").is_none());
    assert_ne!(refresh(&mut world, &caller), 200);
    // The place in the quota is free again.
    world.reload(change(before));
    call(&mut world, 0, user, password);
}

fn users(settings: &mut Settings) {
    settings.users(&["alice:secret", "bob:hidden"]);
}

#[test]
fn a_user_who_is_deleted_or_has_another_key_loses_the_call() {
    let cases: [(Change, bool); 9] = [
        (users, true),
        (
            |s| s.users(&["bob:hidden", "alice:secret", "carol:x"]),
            true,
        ),
        (|s| s.users(&["bob:hidden"]), false),
        (|s| s.users(&["alice:other", "bob:hidden"]), false),
        (
            |s| {
                users(s);
                s.auth.realm = "example.net".to_owned();
            },
            true,
        ),
        (
            |s| {
                s.users(&["bob:hidden"]);
                s.auth.realm = "example.net".to_owned();
            },
            false,
        ),
        (
            |s| {
                s.users(&["alice:other", "bob:hidden"]);
                s.auth.realm = "example.net".to_owned();
            },
            false,
        ),
        (|s| s.secrets(&["north"]), false),
        (
            |s| {
                s.secrets(&["north"]);
                s.users(&["alice:secret"]);
            },
            true,
        ),
    ];
    for (after, lives) in cases {
        reloaded(users, USER, PASSWORD, after, lives);
    }
}

#[test]
fn a_stored_key_is_good_for_its_realm_alone() {
    fn stored(settings: &mut Settings, of: &str, realm: &str) {
        let key = Key::from_password(USER, of, PASSWORD).unwrap();
        settings.auth.users = vec![User {
            name: USER.to_owned(),
            credential: Credential::Keys(key.into()),
        }];
        settings.auth.realm = realm.to_owned();
    }
    let before: Change = |s| stored(s, "example.org", "example.org");
    reloaded(before, USER, PASSWORD, before, true);
    // The call has its own realm, of which nobody but her knows the key.
    let kept: Change = |s| stored(s, "example.org", "example.net");
    reloaded(before, USER, PASSWORD, kept, true);
    let exchanged: Change = |s| stored(s, "example.net", "example.net");
    reloaded(before, USER, PASSWORD, exchanged, false);
    let mut world = World::new(kept);
    let newcomer = world.log_in(&client(0), USER, PASSWORD);
    assert_eq!(refresh(&mut world, &newcomer), 401);
}

#[test]
fn a_secret_that_is_removed_takes_its_calls_along() {
    let both: Change = |s| s.secrets(&["north", "south"]);
    let name = rest::username(UNIX + 1000, Some("carol"), ':');
    let cases: [(&str, Change, bool); 9] = [
        ("north", both, true),
        ("south", both, true),
        ("north", |s| s.secrets(&["west", "north"]), true),
        ("south", |s| s.secrets(&["north"]), false),
        ("north", |s| s.secrets(&["south"]), false),
        ("north", users, false),
        (
            "north",
            |s| {
                s.secrets(&["north"]);
                s.auth.rest_separator = '|';
            },
            false,
        ),
        (
            "south",
            |s| {
                s.secrets(&["south"]);
                s.auth.realm = "example.net".to_owned();
            },
            true,
        ),
        (
            "south",
            |s| {
                s.secrets(&["north"]);
                s.auth.realm = "example.net".to_owned();
            },
            false,
        ),
    ];
    for (secret, after, lives) in cases {
        reloaded(both, &name, &rest::password(secret, &name), after, lives);
    }
}

#[test]
fn without_no_auth_nobody_in_particular_has_no_call() {
    let mut world = World::new(|s| s.auth.no_auth = true);
    let allocate = request(METHOD_ALLOCATE, vec![transport()]);
    let reply = world.reply(&path(&client(0)), &allocate);
    let relayed = relayed_address(&reply);
    world.events.clear();
    world.reload(|s| {
        s.auth.no_auth = true;
        s.limits.max_bps = Some(1000);
    });
    assert_eq!(ended(&mut world), [""; 0]);
    world.reload(users);
    assert_eq!(ended(&mut world), ["revoked"]);
    assert!(world.peer_sends(relayed, PEER, b"x").is_none());
    world.expect_empty();
}

#[test]
fn only_the_calls_of_those_who_are_gone_end() {
    let mut world = World::new(users);
    for n in 0..6 {
        let (user, password) = [(USER, PASSWORD), ("bob", "hidden")][n % 2];
        call(&mut world, n, user, password);
    }
    world.events.clear();
    world.reload(|s| s.users(&["bob:hidden"]));
    assert_eq!(ended(&mut world), ["revoked"; 3]);
    assert_eq!(world.server.allocations(), 3);
    world.at_second(600);
    assert_eq!(ended(&mut world), ["expired"; 3]);
    world.expect_empty();
}

fn secret(settings: &mut Settings) {
    settings.secrets(&["north"]);
}

/// Calls end with their credentials.
fn end(settings: &mut Settings) {
    secret(settings);
    settings.auth.rest_expiry = RestExpiry::End;
}

/// A call with REST credentials that are good for 100 seconds.
fn rest_call(world: &mut World) -> (Caller, SocketAddr) {
    let name = rest::username(UNIX + 100, Some("carol"), ':');
    call(world, 0, &name, &rest::password("north", &name))
}

#[test]
fn a_call_goes_on_without_its_credentials_as_long_as_it_is_to() {
    let keep: Change = |s| {
        secret(s);
        s.auth.rest_expiry = RestExpiry::Keep;
    };
    for change in [secret, keep] {
        let mut world = World::new(change);
        let (caller, relayed) = rest_call(&mut world);
        for second in [101, 400, 600] {
            world.at_second(second);
            let reply = world.refresh(&caller, None);
            assert_eq!((status(&reply), lifetime_of(&reply)), (200, 600));
            assert_eq!(world.permit(&caller, &[PEER]), 200);
        }
        assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    }
}

#[test]
fn a_call_ends_with_its_credentials_if_it_is_to() {
    let mut world = World::new(|s| {
        end(s);
        s.lifetimes.max_allocate = Duration::from_secs(900);
    });
    let name = rest::username(UNIX + 100, Some("carol"), ':');
    let caller = world.log_in(&client(0), &name, &rest::password("north", &name));
    // Every lifetime that is granted ends there.
    let reply = world.try_allocate(&caller, vec![]);
    assert_eq!(lifetime_of(&reply), 101);
    let relayed = relayed_address(&reply);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    world.at_second(40);
    assert_eq!(lifetime_of(&world.refresh(&caller, Some(900))), 61);
    world.at_second(100);
    assert_eq!(lifetime_of(&world.refresh(&caller, None)), 1);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    assert!(world.peer_sends(relayed, PEER, b"x").is_some());
    world.events.clear();
    world.at_second(101);
    assert_eq!(ended(&mut world), ["credentials-expired"]);
    world.expect_empty();
    for (method, attributes) in [
        (METHOD_REFRESH, vec![]),
        (METHOD_CREATE_PERMISSION, vec![peer(PEER)]),
        (METHOD_ALLOCATE, vec![transport()]),
    ] {
        let ask = caller.login.sign(method, attributes);
        assert_eq!(status(&world.reply(&caller.path, &ask)), 401, "{method}");
    }
    // A static user has no such end, and a Refresh with 0 is what it always was.
    let mut world = World::new(|s| {
        end(s);
        users(s);
    });
    let (caller, _) = call(&mut world, 1, USER, PASSWORD);
    assert_eq!(lifetime_of(&world.refresh(&caller, Some(3600))), 3600);
    let (caller, _) = rest_call(&mut world);
    let reply = world.ask(&caller, METHOD_REFRESH, vec![raw(ATTR_LIFETIME, &[0; 4])]);
    assert_eq!(lifetime_of(&reply), 0);
}

#[test]
fn a_reload_changes_what_becomes_of_calls_whose_credentials_run_out() {
    // Their time is over already.
    let mut world = World::new(secret);
    rest_call(&mut world);
    world.at_second(300);
    world.events.clear();
    world.reload(end);
    assert_eq!(ended(&mut world), ["credentials-expired"]);
    world.expect_empty();
    // It is still to come.
    let mut world = World::new(secret);
    rest_call(&mut world);
    world.at_second(50);
    world.events.clear();
    world.reload(end);
    world.at_milli(100_999);
    assert_eq!(ended(&mut world), [""; 0]);
    world.at_second(101);
    assert_eq!(ended(&mut world), ["credentials-expired"]);
    world.expect_empty();
    // And the other way round: the next Refresh is granted as long a lifetime as any.
    let mut world = World::new(end);
    let (caller, _) = rest_call(&mut world);
    world.reload(secret);
    world.at_second(100);
    assert_eq!(lifetime_of(&world.refresh(&caller, None)), 600);
}
