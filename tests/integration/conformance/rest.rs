//! Credentials that expire (TURN REST API), through the whole server.

use stun::message::METHOD_ALLOCATE;
use turnd_proto::auth::rest::{password, username};

use crate::support::messages::{Login, status, transport};
use crate::support::settings::Settings;
use crate::support::world::{CLIENT, Caller, UNIX, World};

fn secrets(settings: &mut Settings) {
    settings.secrets(&["north", "south"]);
}

fn caller(world: &mut World, client: &str, secret: &str, name: &str) -> Caller {
    world.log_in(client, name, &password(secret, name))
}

/// The status of an Allocate; error replies without a user are not signed.
fn allocate(world: &mut World, caller: &Caller) -> u16 {
    let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    status(&world.reply(&caller.path, &ask))
}

#[test]
fn u1_credentials_are_good_until_the_second_that_they_name() {
    let name = username(UNIX + 100, Some("carol"), ':');
    for (second, expected) in [(0, 200), (99, 200), (100, 200), (101, 401)] {
        let mut world = World::new(secrets);
        world.at_second(second);
        let caller = caller(&mut world, CLIENT, "north", &name);
        assert_eq!(allocate(&mut world, &caller), expected, "at {second} s");
    }
}

#[test]
fn u1_names_of_every_shape() {
    let mut world = World::new(secrets);
    let soon = UNIX + 60;
    for (port, (name, expected)) in [
        (format!("{soon}"), 200),
        (format!("{soon}:"), 200),
        (format!("{soon}:carol"), 200),
        (format!("{soon}:carol:of:many:colons"), 200),
        (format!("{soon}:名前"), 200),
        ("carol".to_owned(), 401),
        (format!("carol:{soon}"), 401),
        (format!("+{soon}:carol"), 401),
        (format!("{}:carol", UNIX - 1), 401),
        (String::new(), 401),
    ]
    .into_iter()
    .enumerate()
    {
        let client = format!("192.0.2.10:{}", 1000 + port);
        let caller = caller(&mut world, &client, "north", &name);
        assert_eq!(allocate(&mut world, &caller), expected, "{name:?}");
    }
}

#[test]
fn u1_every_secret_is_good_and_no_other() {
    let name = username(UNIX + 60, Some("carol"), ':');
    for (secret, expected) in [("north", 200), ("south", 200), ("west", 401), ("", 401)] {
        let mut world = World::new(secrets);
        let caller = caller(&mut world, CLIENT, secret, &name);
        assert_eq!(allocate(&mut world, &caller), expected, "{secret}");
    }
}

#[test]
fn u1_static_users_and_secrets_work_together() {
    let mut world = World::new(|s| {
        secrets(s);
        s.users(&["alice:secret"]);
    });
    let alice = world.caller("192.0.2.10:1");
    assert_eq!(allocate(&mut world, &alice), 200);
    let name = username(UNIX + 60, Some("alice"), ':');
    let carol = caller(&mut world, "192.0.2.10:2", "north", &name);
    assert_eq!(allocate(&mut world, &carol), 200);
    let wrong = world.log_in("192.0.2.10:3", "alice", &password("north", "alice"));
    assert_eq!(allocate(&mut world, &wrong), 401);
}

#[test]
fn u1_a_call_outlives_its_credentials_and_nobody_begins_with_them() {
    let mut world = World::new(secrets);
    let name = username(UNIX + 100, Some("carol"), ':');
    let mut carol = caller(&mut world, CLIENT, "north", &name);
    assert_eq!(allocate(&mut world, &carol), 200);
    for second in (400..3600).step_by(400) {
        world.at_second(second);
        // The nonce grows old as well; a client goes on with the fresh one.
        let ask = carol.login.sign(stun::message::METHOD_REFRESH, vec![]);
        let mut reply = world.reply(&carol.path, &ask);
        if status(&reply) == 438 {
            carol.login = Login::answer(&reply, &name, &password("north", &name));
            reply = world.refresh(&carol, None);
        }
        assert_eq!(status(&reply), 200, "at {second} s");
    }
    let late = caller(&mut world, "192.0.2.10:1", "north", &name);
    assert_eq!(allocate(&mut world, &late), 401);
    assert_eq!(status(&world.refresh(&carol, Some(0))), 200);
    let carol = caller(&mut world, CLIENT, "north", &name);
    assert_eq!(allocate(&mut world, &carol), 401);
    world.expect_empty();
}

#[test]
fn u1_the_quota_goes_by_the_name_behind_the_time() {
    let mut world = World::new(|s| {
        secrets(s);
        s.limits.user_quota = Some(2);
    });
    for (port, (time, name, expected)) in [
        (60, "carol", 200),
        (61, "carol", 200),
        (62, "carol", 486),
        (62, "dave", 200),
    ]
    .into_iter()
    .enumerate()
    {
        let client = format!("192.0.2.10:{}", 1000 + port);
        let name = username(UNIX + time, Some(name), ':');
        let caller = caller(&mut world, &client, "north", &name);
        assert_eq!(allocate(&mut world, &caller), expected);
    }
}
