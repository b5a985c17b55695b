//! A realm that changes under live allocations.

use std::time::Duration;

use stun::attributes::{ATTR_NONCE, ATTR_REALM};
use stun::message::{METHOD_ALLOCATE, METHOD_REFRESH, Message};
use stun::textattrs::TextAttribute;
use turnd_proto::auth::{RestExpiry, rest};
use turnd_proto::server::Reloaded;

use crate::support::messages::{Login, peer, request, status, transport};
use crate::support::settings::Settings;
use crate::support::world::{CLIENT, Caller, PEER, UNIX, World, path};
use crate::support::{PASSWORD, REALM, USER};

const OTHER: &str = "example.net";
const SECOND: &str = "192.0.2.11:4000";

fn other_realm(settings: &mut Settings) {
    settings.auth.realm = OTHER.to_owned();
}

fn brief_nonces(settings: &mut Settings) {
    settings.auth.stale_nonce = Duration::from_secs(60);
}

fn realm_of(challenge: &Message) -> String {
    let realm = TextAttribute::get_from_as(challenge, ATTR_REALM);
    realm.unwrap().text
}

/// Expects that the client goes on with its calls as it began, and gets answers that it can check.
fn goes_on(world: &mut World, caller: &Caller) {
    assert_eq!(status(&world.refresh(caller, None)), 200);
    assert_eq!(world.permit(caller, &[PEER]), 200);
    assert_eq!(world.bind_channel(caller, 0x4000, PEER), 200);
    assert!(world.send_on(caller, 0x4000, "data").is_some());
}

/// The answer to a signed Allocate.
fn allocate(world: &mut World, caller: &Caller) -> Message {
    let ask = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    world.reply(&caller.path, &ask)
}

#[test]
fn a_call_keeps_its_realm_and_a_new_one_gets_the_present_one() {
    let mut world = World::new(|_| ());
    let (caller, _) = world.allocated(CLIENT);
    let before = world.caller(SECOND);
    assert_eq!(before.login.realm, REALM);
    for realm in [OTHER, "example.com", OTHER] {
        let told = world.reload(|s| s.auth.realm = realm.to_owned());
        let expected = Reloaded {
            of_other_realm: 1,
            ..Reloaded::default()
        };
        assert_eq!(told, expected);
        goes_on(&mut world, &caller);
    }
    // A client without a call is told the present realm, also when signing with the old one.
    let refused = allocate(&mut world, &before);
    assert_eq!(
        (status(&refused), realm_of(&refused).as_str()),
        (401, OTHER)
    );
    let newcomer = world.caller(SECOND);
    assert_eq!(newcomer.login.realm, OTHER);
    world.allocate(&newcomer);
    goes_on(&mut world, &newcomer);
    goes_on(&mut world, &caller);

    // It ends with the call.
    assert_eq!(status(&world.refresh(&caller, Some(0))), 200);
    let refused = allocate(&mut world, &caller);
    assert_eq!(
        (status(&refused), realm_of(&refused).as_str()),
        (401, OTHER)
    );
    // And nothing is left of it when the realm comes back.
    let told = world.reload(|_| ());
    assert_eq!(told.of_other_realm, 1, "the newcomer's");
}

#[test]
fn a_stale_nonce_is_exchanged_within_the_realm_of_the_call() {
    let mut world = World::new(brief_nonces);
    let (mut caller, _) = world.allocated(CLIENT);
    world.reload(|s| {
        brief_nonces(s);
        other_realm(s);
    });
    world.at_second(61);
    // Signed with the key of the old realm, which `ask` checks.
    let stale = world.refresh(&caller, None);
    assert_eq!((status(&stale), realm_of(&stale).as_str()), (438, REALM));
    caller.login.nonce = TextAttribute::get_from_as(&stale, ATTR_NONCE).unwrap().text;
    goes_on(&mut world, &caller);
}

#[test]
fn a_client_that_asks_anew_in_mid_call_goes_on_in_either_realm() {
    let mut world = World::new(|_| ());
    let (mut caller, _) = world.allocated(CLIENT);
    world.reload(other_realm);
    // Unsigned requests about the allocation are told its realm.
    let challenge = world.reply(&caller.path, &request(METHOD_REFRESH, vec![]));
    assert_eq!(
        (status(&challenge), realm_of(&challenge).as_str()),
        (401, REALM)
    );
    caller.login = Login::answer(&challenge, USER, PASSWORD);
    goes_on(&mut world, &caller);
    // An unsigned Allocate is told the present one.
    let moved = world.caller(CLIENT);
    assert_eq!(moved.login.realm, OTHER);
    assert_eq!(status(&world.try_allocate(&moved, vec![])), 437);
    goes_on(&mut world, &moved);
    // The call has moved to it.
    assert_eq!(world.reload(other_realm), Reloaded::default());
    goes_on(&mut world, &moved);
}

#[test]
fn a_call_outlives_its_rest_credentials_in_its_realm() {
    fn secret_elsewhere(settings: &mut Settings) {
        settings.secrets(&["north"]);
        other_realm(settings);
    }
    let mut world = World::new(|s| s.secrets(&["north"]));
    let name = rest::username(UNIX + 100, Some("carol"), ':');
    let caller = world.log_in(CLIENT, &name, &rest::password("north", &name));
    world.allocate(&caller);
    world.reload(secret_elsewhere);
    world.at_second(300);
    goes_on(&mut world, &caller);
    // A reload that has them end their calls finds them out there too.
    let told = world.reload(|s| {
        secret_elsewhere(s);
        s.auth.rest_expiry = RestExpiry::End;
    });
    assert_eq!(told, Reloaded::default());
    world.expect_empty();
}

#[test]
fn nobody_but_the_owner_gets_anywhere_with_the_old_realm() {
    let mut world = World::new(|s| s.users(&["alice:secret", "bob:hidden"]));
    let (caller, _) = world.allocated(CLIENT);
    world.reload(|s| {
        s.users(&["alice:secret", "bob:hidden"]);
        other_realm(s);
    });
    let mut bob = Login::answer(
        &world.reply(&path(CLIENT), &request(METHOD_REFRESH, vec![])),
        "bob",
        "hidden",
    );
    assert_eq!(bob.realm, REALM);
    let guess = caller.login.clone().with_password("guess");
    for login in [&bob, &guess] {
        let ask = login.sign(METHOD_REFRESH, vec![]);
        let refused = world.reply(&caller.path, &ask);
        assert_eq!(
            (status(&refused), realm_of(&refused).as_str()),
            (401, OTHER)
        );
    }
    // With the present one he is known, and the call is not his.
    bob = Login::answer(
        &world.reply(&path(CLIENT), &request(METHOD_ALLOCATE, vec![])),
        "bob",
        "hidden",
    );
    let ask = bob.sign(METHOD_REFRESH, vec![peer(PEER)]);
    assert_eq!(status(&world.reply(&caller.path, &ask)), 441);
    goes_on(&mut world, &caller);
}
