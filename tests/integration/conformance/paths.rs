//! Clients that come by another way than before: behind a proxy, from one of its ports or connections to the next.

use stun::message::{METHOD_ALLOCATE, METHOD_REFRESH};
use turnd_proto::server::five_tuple::{ClientSocket, Path, Transport};
use turnd_proto::server::output::{PeerVerdict, RelayId};

use crate::support::messages::{Login, addr, channel_data, status, transport};
use crate::support::world::{CLIENT, Caller, PEER, World, path, path_by};
use crate::support::{PASSWORD, USER};

/// By which of the driver's sockets the client of the only allocation gets what `PEER` sends.
fn answered_by(world: &mut World) -> ClientSocket {
    let relay = RelayId(*world.open.keys().next().unwrap());
    match world.server.handle_peer(world.now, relay, addr(PEER), 4) {
        PeerVerdict::ToClient { path, .. } => path.socket,
        PeerVerdict::Drop(reason) => panic!("{reason:?}"),
    }
}

#[test]
fn a_client_that_comes_by_another_way_is_answered_there_and_not_ended_with_the_old_one() {
    let mut world = World::usual();
    let (mut caller, _) = world.allocated_on(Path {
        proxied: true,
        ..path(CLIENT)
    });
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    let before = caller.path;
    assert_eq!(answered_by(&mut world), before.socket);
    caller.path.socket = ClientSocket::Listener(71);
    assert!(!world.send(&caller, PEER, "data"), "before it is signed");
    assert_eq!(answered_by(&mut world), before.socket);
    assert_eq!(status(&world.refresh(&caller, Some(600))), 200);
    assert_eq!(answered_by(&mut world), ClientSocket::Listener(71));
    assert!(world.send(&caller, PEER, "data"));
    caller.path.socket = ClientSocket::Listener(72);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    assert_eq!(answered_by(&mut world), ClientSocket::Listener(72));

    assert!(!world.server.has_allocation(&before));
    world.after(|server, now| server.handle_disconnect(now, &before));
    assert_eq!(answered_by(&mut world), ClientSocket::Listener(72));
    world.after(|server, now| server.handle_disconnect(now, &caller.path));
    world.expect_empty();
}

#[test]
fn nobody_without_the_clients_key_takes_over_what_its_peers_send() {
    for proxied in [false, true] {
        let mut world = World::new(|s| s.users(&["alice:secret", "mallory:other"]));
        let own = Path {
            proxied,
            ..path(CLIENT)
        };
        let (caller, _) = world.allocated_on(own);
        assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
        let other = Path {
            socket: ClientSocket::Listener(71),
            proxied: true,
            ..own
        };
        let mallory = world.log_in_on(other, "mallory", "other");
        for bytes in [channel_data(0x4001, b""), channel_data(0x4000, b"data")] {
            assert!(world.is_silent(&other, &bytes));
        }
        assert!(!world.send(&mallory, PEER, "data"));
        assert_eq!(status(&world.refresh(&mallory, Some(0))), 441);
        let forger = Caller {
            path: other,
            login: Login {
                integrity: mallory.login.integrity.clone(),
                ..caller.login.clone()
            },
        };
        let forged = forger.login.sign(METHOD_REFRESH, vec![]);
        assert_eq!(status(&world.reply(&other, &forged)), 401);
        assert_eq!(answered_by(&mut world), own.socket, "proxied: {proxied}");
        assert_eq!(world.send_on(&caller, 0x4000, "data"), Some(addr(PEER)));
    }
}

#[test]
fn between_a_client_and_one_that_a_proxy_speaks_of_not_even_the_key_moves_anything() {
    for proxied in [false, true] {
        let mut world = World::usual();
        let own = Path {
            proxied,
            ..path(CLIENT)
        };
        let (caller, _) = world.allocated_on(own);
        assert_eq!(world.permit(&caller, &[PEER]), 200);
        // The client's own requests, sent again by somebody who read them.
        let again = Caller {
            path: Path {
                socket: ClientSocket::Listener(71),
                proxied: !proxied,
                ..own
            },
            login: caller.login.clone(),
        };
        assert_eq!(status(&world.refresh(&again, Some(600))), 437);
        assert_eq!(world.permit(&again, &[PEER]), 437);
        assert_eq!(status(&world.try_allocate(&again, vec![])), 437);
        assert_eq!(answered_by(&mut world), own.socket);
        assert!(world.send(&caller, PEER, "data"));
    }
}

#[test]
fn a_client_that_leaves_before_its_relay_is_open_is_counted_nowhere() {
    let mut world = World::usual();
    let caller = world.log_in_on(path_by(Transport::Tcp, CLIENT), USER, PASSWORD);
    let allocate = caller.login.sign(METHOD_ALLOCATE, vec![transport()]);
    world.after(|server, now| {
        server.handle_client(now, &caller.path, &allocate.raw);
        server.handle_disconnect(now, &caller.path);
    });
    world.expect_empty();
    assert!(world.events.is_empty(), "{:?}", world.events);
    let counters = world.server.counters();
    assert_eq!(counters.active, [[0; 2]; Transport::COUNT]);
    assert_eq!((counters.created, counters.ended_in_all()), (0, 0));
    // The next one is counted as ever.
    world.allocate(&caller);
    assert_eq!(
        world
            .server
            .counters()
            .active
            .as_flattened()
            .iter()
            .sum::<u64>(),
        1
    );
}
