//! An allocation that is written out and read back.

use turnd_proto::auth::secret::Secret;
use turnd_proto::server::five_tuple::ClientSocket;
use turnd_proto::server::output::RelayId;
use turnd_proto::server::{AllocationState, ImportError};

use crate::support::messages::{addr, status};
use crate::support::settings::Settings;
use crate::support::world::{CLIENT, PEER, World};

/// Another address with a permission, and no channel.
const OTHER: &str = "45.0.0.8:7000";

/// Written as JSON and read back, as between two processes.
fn through_json(state: &AllocationState) -> AllocationState {
    let text = serde_json::to_string(state).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_call_goes_on_in_another_process() {
    let change = |s: &mut Settings| s.auth.nonce_secret = Some(Secret::new("both have it"));
    let mut before = World::seeded(change, [1; 32]);
    let (caller, relayed) = before.allocated(CLIENT);
    assert_eq!(before.bind_channel(&caller, 0x4000, PEER), 200);
    before.at_second(100);
    assert_eq!(before.permit(&caller, &[OTHER]), 200);
    assert_eq!(before.send_on(&caller, 0x4000, "five!"), Some(addr(PEER)));
    let exported = before.server.export(before.now, RelayId(0)).unwrap();
    assert_eq!(exported.relayed, relayed);
    assert_eq!(exported.traffic.to_peers_bytes, 5);
    assert_eq!(exported.channels, [(0x4000, addr(PEER), seconds(500))]);
    assert_eq!(
        exported.permissions,
        [
            (addr(PEER).ip(), seconds(200)),
            (addr(OTHER).ip(), seconds(300))
        ]
    );
    assert_eq!(before.server.export(before.now, RelayId(1)), None);

    let mut after = World::seeded(change, [2; 32]);
    let state = through_json(&exported);
    assert_eq!(state, exported);
    // The driver has the socket before it says so.
    after.open.insert(0, relayed);
    let (relay, replies) = after.after(|server, now| {
        server
            .import(now, ClientSocket::Listener(0), &state)
            .unwrap()
    });
    assert_eq!((relay, replies.len()), (RelayId(0), 0));
    assert_eq!(after.server.export(after.now, relay), Some(state.clone()));
    assert_eq!(after.channels.len(), 1);

    // Data both ways, a request, and the same ends as before.
    assert_eq!(after.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    assert!(after.send(&caller, OTHER, "x"));
    assert!(after.peer_sends(relayed, PEER, b"x").is_some());
    after.at_milli(199_999);
    assert!(after.peer_sends(relayed, PEER, b"x").is_some());
    after.at_second(200);
    assert_eq!(after.peer_sends(relayed, PEER, b"x"), None);
    assert!(after.peer_sends(relayed, OTHER, b"x").is_some());
    after.at_second(300);
    assert_eq!(after.peer_sends(relayed, OTHER, b"x"), None);
    assert_eq!(status(&after.refresh(&caller, Some(600))), 200);
    after.at_milli(499_999);
    assert_eq!(after.send_on(&caller, 0x4000, "x"), Some(addr(PEER)));
    after.at_second(500);
    assert_eq!(after.send_on(&caller, 0x4000, "x"), None);
    after.at_second(900);
    assert_eq!(after.server.allocations(), 0);
    after.expect_empty();
}

#[test]
fn what_another_process_does_not_allow_does_not_go_on() {
    let mut before = World::seeded(|_| (), [1; 32]);
    let (caller, _) = before.allocated(CLIENT);
    assert_eq!(before.bind_channel(&caller, 0x4000, PEER), 200);
    let state = before.server.export(before.now, RelayId(0)).unwrap();
    // Twice, it would be on one five-tuple.
    let import = |world: &mut World, state: &AllocationState| {
        world
            .after(|server, now| server.import(now, ClientSocket::Listener(0), state))
            .0
    };
    let again = import(&mut before, &state);
    assert_eq!(again, Err(ImportError::FiveTuple));
    let mut elsewhere = state.clone();
    elsewhere.client = addr("192.0.2.11:1");
    assert_eq!(import(&mut before, &elsewhere), Err(ImportError::Port));

    let mut stricter = World::seeded(|s| s.deny(&["45.0.0.7"]), [2; 32]);
    stricter.open.insert(0, state.relayed);
    let relay = import(&mut stricter, &state).unwrap();
    let there = stricter.server.export(stricter.now, relay).unwrap();
    assert_eq!((there.permissions.len(), there.channels.len()), (0, 0));

    let mut full = World::seeded(|s| s.limits.total_quota = Some(1), [3; 32]);
    let _ = full.allocated("192.0.2.99:1");
    assert_eq!(import(&mut full, &state), Err(ImportError::Quota));
    assert_eq!(full.server.allocations(), 1);
    assert_eq!(
        full.shared.relays.ports().taken(),
        1,
        "the port is free again"
    );
}

fn seconds(seconds: u64) -> std::time::Duration {
    std::time::Duration::from_secs(seconds)
}
