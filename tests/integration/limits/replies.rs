//! Which replies are limited, and for whom.

use std::time::Duration;

use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH, Message};
use turnd_proto::server::five_tuple::Transport;
use turnd_proto::server::output::DropReason;

use crate::support::messages::{Login, request, status, transport};
use crate::support::world::{Caller, World, path, path_by};
use crate::support::{PASSWORD, USER};

const STREAMS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Dtls];

fn bare() -> Message {
    request(METHOD_ALLOCATE, vec![transport()])
}

/// Forged datagrams from all over the network of the clients, until none is answered any more.
fn flood(world: &mut World) {
    for host in 1..=200 {
        let forged = path(&format!("192.0.2.{host}:7"));
        world.handle(&forged, &bare().raw);
        world.handle(&forged, &request(METHOD_BINDING, vec![]).raw);
    }
    let forged = path("192.0.2.201:7");
    assert!(world.is_silent(&forged, &bare().raw));
    assert!(world.is_silent(&forged, &request(METHOD_BINDING, vec![]).raw));
}

/// The code of the answer to a signed request with this password.
fn sign(world: &mut World, caller: &Caller, password: &str) -> u16 {
    let login = caller.login.clone().with_password(password);
    status(&world.reply(&caller.path, &login.sign(METHOD_REFRESH, vec![])))
}

#[test]
fn a_flood_over_udp_costs_the_streams_of_its_network_no_reply() {
    for transport in STREAMS {
        let mut world = World::new(|s| {
            s.limits.unauthenticated_rate = Some(10);
            s.limits.binding_rate = Some(10);
            s.auth.stale_nonce = Duration::from_secs(60);
        });
        flood(&mut world);
        for port in 1000..1050 {
            let path = path_by(transport, &format!("192.0.2.10:{port}"));
            assert_eq!(status(&world.reply(&path, &bare())), 401, "{transport:?}");
            let binding = request(METHOD_BINDING, vec![]);
            assert_eq!(status(&world.reply(&path, &binding)), 200);
        }
        let path = path_by(transport, "192.0.2.10:1");
        let challenge = world.reply(&path, &bare());
        let login = Login::answer(&challenge, USER, PASSWORD);
        let caller = Caller { path, login };
        world.allocate(&caller);
        assert_eq!(sign(&mut world, &caller, "guess"), 401);
        // Its nonce grows old in the middle of the call.
        world.at_second(61);
        flood(&mut world);
        assert_eq!(sign(&mut world, &caller, PASSWORD), 438, "{transport:?}");
    }
}

#[test]
fn a_flood_costs_no_udp_client_a_reply_whose_key_is_right() {
    let mut world = World::new(|s| {
        s.limits.unauthenticated_rate = Some(10);
        s.limits.binding_rate = Some(10);
        s.auth.stale_nonce = Duration::from_secs(60);
    });
    let (caller, _) = world.allocated("192.0.2.10:1");
    world.at_second(61);
    flood(&mut world);
    for _ in 0..50 {
        assert_eq!(sign(&mut world, &caller, PASSWORD), 438);
    }
}

#[test]
fn whoever_has_a_genuine_nonce_is_limited_apart_from_whoever_has_none() {
    let mut world = World::new(|s| {
        s.limits.unauthenticated_rate = Some(10);
        s.limits.binding_rate = Some(10);
    });
    let caller = world.caller("192.0.2.10:1");
    flood(&mut world);
    let guess = caller.login.clone().with_password("guess");
    let guess = || guess.sign(METHOD_ALLOCATE, vec![transport()]);
    let answered = (0..50).filter(|_| !world.is_silent(&caller.path, &guess().raw));
    assert_eq!(answered.count(), 10, "401 with a genuine nonce");
    // The nonce is another address's, and so is no proof.
    let elsewhere = path("192.0.2.11:1");
    assert!(world.is_silent(&elsewhere, &guess().raw));
    world.at_second(1);
    let answered = (0..50).filter(|_| !world.is_silent(&path("192.0.2.12:1"), &bare().raw));
    assert_eq!(
        answered.count(),
        10,
        "its use takes nothing from the others"
    );
}

/// Requests whose long user name was not checked.
fn unchecked_names(world: &World) -> u64 {
    world.server.counters().drops[DropReason::UserNameRate as usize]
}

#[test]
fn a_network_has_so_many_long_user_names_checked_and_its_calls_go_on() {
    let long = "a".repeat(400);
    let mut world = World::new(|s| {
        s.limits.unauthenticated_rate = None;
        s.users(&["alice:x", &format!("{long}:{PASSWORD}")]);
    });
    let caller = world.log_in("192.0.2.10:1", &long, PASSWORD);
    world.allocate(&caller);
    let late = world.log_in("192.0.2.11:1", &long, PASSWORD);
    let unknown = world.log_in("192.0.2.9:9", &"b".repeat(400), PASSWORD);
    let forged = path("192.0.2.12:7");
    let refused = |world: &mut World, path, login: &Login, count| {
        let request = login.sign(METHOD_ALLOCATE, vec![transport()]);
        (0..count)
            .filter(|_| !world.is_silent(path, &request.raw))
            .count()
    };
    // The nonce was another address's: the sender may be forged.
    assert_eq!(refused(&mut world, &forged, &unknown.login, 1100), 1000);
    assert_eq!(unchecked_names(&world), 100);
    // Whoever has a nonce of its own is not forged, and counts apart: with those two it is a thousand.
    world.allocate(&late);
    assert_eq!(
        refused(&mut world, &unknown.path, &unknown.login, 1100),
        998
    );
    // The owner of an allocation, names of usual length and other networks do not depend on it.
    assert_eq!(status(&world.refresh(&caller, None)), 200);
    let short = world.log_in("192.0.2.13:1", USER, "guess");
    assert_eq!(refused(&mut world, &short.path, &short.login, 1100), 1100);
    let elsewhere = path("198.51.100.1:7");
    assert_eq!(refused(&mut world, &elsewhere, &unknown.login, 1), 1);
    // On a stream no address is forged.
    let stream = path_by(Transport::Tcp, "192.0.2.14:7");
    assert_eq!(refused(&mut world, &stream, &unknown.login, 1), 0);
    world.at_second(1);
    assert_eq!(refused(&mut world, &stream, &unknown.login, 1), 1);
}
