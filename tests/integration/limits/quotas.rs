//! Quotas of one user, and of all users together.

use stun::message::METHOD_ALLOCATE;
use turnd::config::Config;
use turnd_proto::server::counters::Limit;

use crate::support::messages::{raw, request, status, transport};
use crate::support::settings::Settings;
use crate::support::world::{Caller, World, path};
use crate::support::{PASSWORD, USER};

fn client(n: u16) -> String {
    format!("192.0.2.{}:{}", n % 250, 1000 + n)
}

fn allocate(world: &mut World, n: u16, user: &str, password: &str) -> u16 {
    let caller = world.log_in(&client(n), user, password);
    status(&world.try_allocate(&caller, vec![]))
}

fn refused(world: &World, limit: Limit) -> u64 {
    world.server.counters().quota_refusals[limit as usize]
}

#[test]
fn nobody_has_all_the_ports_unless_told_so() {
    let quota = |toml: &str| {
        let config = Config::from_toml(&format!("user = 'alice:secret'\n{toml}")).unwrap();
        config.server.limits.user_quota
    };
    assert_eq!(quota(""), Some(1638), "a tenth of 16,384");
    assert_eq!(quota("relay-ip = ['192.0.2.1', '192.0.2.2']"), Some(3276));
    assert_eq!(
        quota("listening-ip = ['192.0.2.1', '192.0.2.2']"),
        Some(3276)
    );
    assert_eq!(quota("min-port = 50000\nmax-port = 50010"), Some(100));
    assert_eq!(quota("user-quota = 0"), None);
    assert_eq!(quota("user-quota = 7"), Some(7));

    let mut world = World::new(|s| {
        s.users(&["alice:secret", "bob:hidden"]);
        s.limits.user_allocate_rate = None;
        s.limits.user_quota = quota("min-port = 50000\nmax-port = 51999");
    });
    for n in 0..200 {
        assert_eq!(allocate(&mut world, n, USER, PASSWORD), 200);
    }
    assert_eq!(allocate(&mut world, 200, USER, PASSWORD), 486);
    assert_eq!(allocate(&mut world, 201, "bob", "hidden"), 200);
    assert_eq!(refused(&world, Limit::UserQuota), 1);
}

#[test]
fn without_authentication_an_ipv6_host_is_its_64() {
    let mut world = World::new(|s| {
        s.auth.no_auth = true;
        s.limits.user_quota = Some(1);
    });
    let family = || {
        raw(
            stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY,
            &[2, 0, 0, 0],
        )
    };
    let mut ask = |client: &str| {
        let allocate = request(METHOD_ALLOCATE, vec![transport(), family()]);
        status(&world.reply(&path(client), &allocate))
    };
    assert_eq!(ask("[2001:db8:1:2::1]:1"), 200);
    assert_eq!(ask("[2001:db8:1:2:ffff::9]:1"), 486, "the same /64");
    assert_eq!(ask("[2001:db8:1:3::1]:1"), 200);
}

#[test]
fn a_user_who_allocates_without_pause_is_slowed_down() {
    let mut world = World::new(|s| {
        s.limits.user_allocate_rate = Some(2);
        s.users(&["alice:secret", "bob:hidden"]);
    });
    let caller = world.caller(&client(0));
    let again = |world: &mut World| {
        let code = status(&world.try_allocate(&caller, vec![]));
        if code == 200 {
            world.refresh(&caller, Some(0));
        }
        code
    };
    // A user may save up ten seconds' worth.
    let granted = (0..50).filter(|_| again(&mut world) == 200).count();
    assert_eq!(granted, 20);
    assert_eq!(again(&mut world), 486);
    assert_eq!(refused(&world, Limit::AllocateRate), 31);
    assert_eq!(allocate(&mut world, 1, "bob", "hidden"), 200);
    world.at_second(1);
    assert_eq!((0..50).filter(|_| again(&mut world) == 200).count(), 2);
    // All workers count together.
    let mut other = World::sharing(&world);
    assert_eq!(allocate(&mut other, 2, USER, PASSWORD), 486);
    world.reload(|s| {
        s.limits.user_allocate_rate = None;
        s.users(&["alice:secret", "bob:hidden"]);
    });
    assert_eq!((0..50).filter(|_| again(&mut world) == 200).count(), 50);
}

#[test]
fn the_usual_rate_lets_a_site_come_back_at_once() {
    let mut world = World::new(|s| {
        s.limits.user_quota = None;
        s.limits.unauthenticated_rate = None;
    });
    for n in 0..1000 {
        assert_eq!(allocate(&mut world, n, USER, PASSWORD), 200);
    }
    assert_eq!(allocate(&mut world, 1000, USER, PASSWORD), 486);
    world.at_second(1);
    for n in 1000..1100 {
        assert_eq!(allocate(&mut world, n, USER, PASSWORD), 200);
    }
    assert_eq!(allocate(&mut world, 1100, USER, PASSWORD), 486);
}

/// Few permissions and channels, for two users.
fn caps(settings: &mut Settings) {
    settings.users(&["alice:secret", "bob:hidden"]);
    let limits = &mut settings.server.limits;
    (limits.total_permissions, limits.total_channels) = (Some(30), Some(20));
    (limits.permissions, limits.channels) = (2, 2);
}

fn call(world: &mut World, n: u16, user: &str, password: &str) -> Caller {
    let caller = world.log_in(&client(n), user, password);
    world.allocate(&caller);
    caller
}

fn peer(n: u16) -> String {
    format!("45.0.{}.7:7000", n)
}

#[test]
fn all_allocations_have_no_more_permissions_and_channels_than_there_are() {
    let mut world = World::new(caps);
    let mut other = World::sharing(&world);
    for n in 0..7 {
        let caller = call(&mut world, n, USER, PASSWORD);
        assert_eq!(world.permit(&caller, &[&peer(1), &peer(2)]), 200);
        let caller = call(&mut other, 100 + n, USER, PASSWORD);
        assert_eq!(other.permit(&caller, &[&peer(1), &peer(2)]), 200);
    }
    let last = call(&mut world, 50, "bob", "hidden");
    assert_eq!(world.permit(&last, &[&peer(1)]), 200);
    assert_eq!(world.permit(&last, &[&peer(2)]), 200);
    let beyond = call(&mut world, 51, "bob", "hidden");
    assert_eq!(world.permit(&beyond, &[&peer(1)]), 508);
    assert_eq!(world.bind_channel(&beyond, 0x4000, &peer(1)), 508);
    assert_eq!(refused(&world, Limit::Permissions), 2);
    // Permissions in place can be renewed, and ended ones make room, whatever ended them.
    assert_eq!(world.permit(&last, &[&peer(1), &peer(2)]), 200);
    world.refresh(&last, Some(0));
    assert_eq!(world.bind_channel(&beyond, 0x4000, &peer(1)), 200);
    world.at_second(299);
    assert_eq!(world.permit(&beyond, &[&peer(2)]), 200);
    world.at_second(300);
    other.at_second(600);
    assert_eq!(other.server.allocations(), 0);
    assert_eq!(world.shared.total.permissions.count(), 1);
    assert_eq!(world.shared.total.channels.count(), 1);
    world.at_second(600);
    assert_eq!(world.shared.total.permissions.count(), 0);
    assert_eq!(world.shared.total.channels.count(), 0);
    assert!(world.shared.accounts.is_empty());

    // Channels, and what a reload takes away.
    let mut world = World::new(|s| {
        caps(s);
        s.limits.total_permissions = None;
    });
    for n in 0..10 {
        let caller = call(&mut world, n, USER, PASSWORD);
        assert_eq!(world.bind_channel(&caller, 0x4000, &peer(1)), 200);
        assert_eq!(world.bind_channel(&caller, 0x4001, &peer(2)), 200);
    }
    let beyond = call(&mut world, 10, "bob", "hidden");
    assert_eq!(world.bind_channel(&beyond, 0x4000, &peer(1)), 508);
    assert_eq!(refused(&world, Limit::Channels), 1);
    assert_eq!(world.permit(&beyond, &[&peer(1)]), 200);
    world.reload(|s| {
        caps(s);
        s.limits.total_permissions = None;
        s.deny(&["45.0.2.0/24"]);
    });
    assert_eq!(world.shared.total.channels.count(), 10);
    assert_eq!(world.bind_channel(&beyond, 0x4000, &peer(1)), 200);
}

#[test]
fn one_user_has_a_tenth_of_the_permissions_and_channels() {
    let mut world = World::new(|s| {
        caps(s);
        s.limits.user_quota = Some(100);
    });
    // A tenth of 30 permissions, but never less than an allocation may have.
    let one = call(&mut world, 0, USER, PASSWORD);
    let two = call(&mut world, 1, USER, PASSWORD);
    assert_eq!(world.permit(&one, &[&peer(1), &peer(2)]), 200);
    assert_eq!(world.permit(&two, &[&peer(1)]), 200);
    assert_eq!(world.permit(&two, &[&peer(2)]), 508);
    assert_eq!(world.bind_channel(&one, 0x4000, &peer(1)), 200);
    assert_eq!(world.bind_channel(&two, 0x4000, &peer(1)), 200);
    assert_eq!(world.bind_channel(&one, 0x4001, &peer(2)), 508);
    let bob = call(&mut world, 2, "bob", "hidden");
    assert_eq!(world.bind_channel(&bob, 0x4000, &peer(1)), 200);
    // A channel whose permission cannot be had is none.
    assert_eq!(world.bind_channel(&two, 0x4001, &peer(2)), 508);
    world.refresh(&two, Some(0));
    assert_eq!(world.bind_channel(&one, 0x4001, &peer(2)), 200);
}
