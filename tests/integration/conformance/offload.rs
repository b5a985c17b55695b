//! Channels as they are told to a driver that relays their data in place of the server.

use std::time::Duration;

use turnd_proto::server::five_tuple::ClientSocket;
use turnd_proto::server::output::{Channel, DropReason, RelayId, Traffic};
use turnd_proto::server::{Filter, Reach};

use crate::support::messages::{addr, status};
use crate::support::world::{CLIENT, Caller, PEER, World, path};

const SAME_IP: &str = "45.0.0.7:7001";

/// A world with an allocation of an hour and a channel.
fn bound(rate: Option<u64>) -> (World, Caller) {
    let mut world = World::new(|s| s.limits.max_bps = rate);
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(status(&world.refresh(&caller, Some(3600))), 200);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    (world, caller)
}

/// Seconds after the start at which channel and permission end, by number.
fn ends(world: &World) -> Vec<(u16, u64, Option<u64>)> {
    let second = |at: std::time::Instant| (at - world.start).as_secs();
    let mut ends: Vec<_> = world
        .channels
        .iter()
        .map(|c| (c.number, second(c.until), c.permission_until.map(second)))
        .collect();
    ends.sort_unstable();
    ends
}

#[test]
fn a_channel_is_told_with_all_that_relaying_it_takes() {
    let (world, caller) = bound(Some(1000));
    let relayed = *world.open.values().next().unwrap();
    let expected = Channel {
        relay: RelayId(0),
        number: 0x4000,
        tuple: caller.path.tuple,
        socket: path(CLIENT).socket,
        relayed,
        peer: turnd_proto::server::five_tuple::PeerAddr(addr(PEER)),
        reach: Reach::Any,
        until: world.start + Duration::from_secs(600),
        permission_until: Some(world.start + Duration::from_secs(300)),
        rate: Some(1000),
    };
    assert_eq!(world.channels, [expected]);
}

#[test]
fn every_change_of_a_lifetime_is_told() {
    let (mut world, caller) = bound(None);
    assert_eq!(ends(&world), [(0x4000, 600, Some(300))]);
    world.at_second(100);
    assert_eq!(world.permit(&caller, &[SAME_IP]), 200);
    assert_eq!(ends(&world), [(0x4000, 600, Some(400))]);
    world.at_second(200);
    // A second channel refreshes the permission of both, which have one address.
    assert_eq!(world.bind_channel(&caller, 0x4001, SAME_IP), 200);
    let both = [(0x4000, 600, Some(500)), (0x4001, 800, Some(500))];
    assert_eq!(ends(&world), both);
    world.at_milli(499_999);
    assert_eq!(ends(&world), both);
    world.at_second(500);
    assert_eq!(ends(&world), [(0x4000, 600, None), (0x4001, 800, None)]);
    world.at_second(550);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    let both = [(0x4000, 1150, Some(850)), (0x4001, 800, Some(850))];
    assert_eq!(ends(&world), both);
    world.at_second(800);
    assert_eq!(ends(&world), [(0x4000, 1150, Some(850))]);
    world.at_second(1150);
    assert_eq!(ends(&world), []);
}

#[test]
fn the_end_of_an_allocation_ends_its_channels() {
    let (mut world, caller) = bound(None);
    assert_eq!(status(&world.refresh(&caller, Some(0))), 200);
    assert_eq!(world.channels, []);

    let (mut world, _) = bound(None);
    world.after(|server, now| server.handle_kill(now, &Filter::default()));
    assert_eq!(world.channels, []);

    let (mut world, _) = bound(None);
    world.after(|server, now| server.handle_shutdown(now));
    assert_eq!(world.channels, []);
}

#[test]
fn a_reload_tells_other_rates_and_denied_peers() {
    let (mut world, _) = bound(Some(1000));
    world.reload(|s| s.limits.max_bps = Some(2000));
    assert_eq!(world.channels[0].rate, Some(2000));
    assert_eq!(ends(&world), [(0x4000, 600, Some(300))]);
    world.reload(|_| ());
    assert_eq!(world.channels[0].rate, None);
    world.reload(|s| s.deny(&["45.0.0.7"]));
    assert_eq!(world.channels, []);
}

#[test]
fn a_client_that_moves_is_told_to_whoever_relays_its_data() {
    let (mut world, mut caller) = bound(None);
    caller.path.socket = ClientSocket::Listener(1);
    assert_eq!(status(&world.refresh(&caller, Some(3600))), 200);
    assert_eq!(world.channels[0].socket, caller.path.socket);
}

#[test]
fn data_that_was_relayed_elsewhere_counts_everywhere() {
    let (mut world, caller) = bound(Some(1000));
    let traffic = Traffic {
        to_peers: 3,
        to_peers_bytes: 900,
        to_client: 2,
        to_client_bytes: 200,
    };
    let before = *world.server.counters();
    world.after(|server, now| server.handle_offloaded(now, RelayId(0), traffic));
    let (sessions, _) = world.server.sessions(world.now, &Filter::default(), 0, 10);
    assert_eq!(sessions[0].traffic, traffic);
    let after = *world.server.counters();
    assert_eq!(after.peers.sent - before.peers.sent, 3);
    assert_eq!(after.peers.sent_bytes - before.peers.sent_bytes, 900);
    assert_eq!(
        after.peers.received_bytes - before.peers.received_bytes,
        200
    );
    // Each packet of a client has a header of four bytes.
    assert_eq!(
        after.clients.received_bytes - before.clients.received_bytes,
        900 + 12
    );
    assert_eq!(
        after.clients.sent_bytes - before.clients.sent_bytes,
        200 + 8
    );
    // 100 of the second's 1000 bytes are left.
    assert_eq!(world.send_on(&caller, 0x4000, &"x".repeat(101)), None);
    assert_eq!(
        world.server.counters().drops[DropReason::Bandwidth as usize],
        1
    );
    assert_eq!(
        world.send_on(&caller, 0x4000, &"x".repeat(100)),
        Some(addr(PEER))
    );
    // An allocation that is gone counts for nothing.
    world.after(|server, now| server.handle_offloaded(now, RelayId(9), traffic));
}
