//! Send and Data indications (RFC 8656 §11).

use std::collections::HashSet;

use stun::attributes::{ATTR_DATA, ATTR_DONT_FRAGMENT, ATTR_XOR_PEER_ADDRESS};
use stun::message::METHOD_SEND;

use crate::support::messages::{addr, indication, message, peer, raw, send};
use crate::support::world::{CLIENT, Incoming, PEER, PEER_V6, Relayed, World};

#[test]
fn i1_send_needs_peer_and_data() {
    let mut world = World::usual();
    let (caller, from) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    let data = || raw(ATTR_DATA, b"data");
    let mut ask = |attributes| {
        world.relay(
            &caller.path,
            &message(indication(METHOD_SEND), attributes).raw,
        )
    };
    assert_eq!(ask(vec![]), None);
    assert_eq!(ask(vec![data()]), None);
    assert_eq!(ask(vec![peer(PEER)]), None);
    for malformed in [&[][..], &[0, 1, 0, 0, 1, 2, 3], &[0, 9, 0, 0, 1, 2, 3, 4]] {
        assert_eq!(
            ask(vec![raw(ATTR_XOR_PEER_ADDRESS, malformed), data()]),
            None
        );
    }
    let expected = |payload: &[u8]| {
        Some(Relayed {
            from,
            to: addr(PEER),
            payload: payload.to_vec(),
            dont_fragment: false,
        })
    };
    assert_eq!(ask(vec![peer(PEER), data()]), expected(b"data"));
    assert_eq!(
        ask(vec![data(), peer(PEER)]),
        expected(b"data"),
        "in any order"
    );
    assert_eq!(
        ask(vec![peer(PEER), raw(ATTR_DATA, b"")]),
        expected(b""),
        "an empty datagram"
    );
    for length in [1, 2, 3, 5, 1500, 65_000] {
        let payload = vec![0xAB; length];
        assert_eq!(
            ask(vec![peer(PEER), raw(ATTR_DATA, &payload)]),
            expected(&payload)
        );
    }
}

#[test]
fn i1_send_to_whom_it_may_not_is_silence() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    assert!(!world.send(&caller, PEER, "x"), "no permission");
    assert!(!world.send(&caller, "10.0.0.1:1", "x"), "denied");
    assert!(!world.send(&caller, PEER_V6, "x"), "wrong family");
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    assert!(
        !world.send(&caller, "45.0.0.8:7000", "x"),
        "another peer's permission"
    );
    assert!(world.send(&caller, PEER, "x"));
    // A signature on an indication is neither needed nor looked at.
    let mut signed = send(PEER, b"x");
    signed.add(stun::attributes::ATTR_MESSAGE_INTEGRITY, &[0; 20]);
    assert!(world.relay(&caller.path, &signed.raw).is_some());
}

#[test]
fn i2_dont_fragment_is_for_one_datagram() {
    let mut world = World::usual();
    let (caller, _) = world.allocated(CLIENT);
    assert_eq!(world.bind_channel(&caller, 0x4000, PEER), 200);
    let mut fragment = |with: bool| {
        let mut message = send(PEER, b"x");
        if with {
            message.add(ATTR_DONT_FRAGMENT, b"");
        }
        world
            .relay(&caller.path, &message.raw)
            .unwrap()
            .dont_fragment
    };
    assert_eq!([true, false, true].map(&mut fragment), [true, false, true]);
}

#[test]
fn i3_data_comes_as_indication_without_channel() {
    let mut world = World::usual();
    let (caller, relayed) = world.allocated(CLIENT);
    assert_eq!(world.permit(&caller, &[PEER]), 200);
    // The world looks at type, padding and the missing signature.
    for length in 0..9 {
        let payload = vec![0xCD; length];
        let arrived = world.peer_sends(relayed, PEER, &payload);
        assert_eq!(arrived, Some(Incoming::Data(addr(PEER), payload)));
    }
}

#[test]
fn i3_transaction_ids_of_data_indications_do_not_repeat() {
    use turnd_proto::server::output::{PeerVerdict, RelayId};
    let mut ids = HashSet::new();
    for start in 0..2 {
        let mut world = World::seeded(|_| (), [start; 32]);
        let (caller, _) = world.allocated(CLIENT);
        assert_eq!(world.permit(&caller, &[PEER]), 200);
        for _ in 0..100 {
            match world
                .server
                .handle_peer(world.now, RelayId(0), addr(PEER), 1)
            {
                PeerVerdict::ToClient { header, .. } => {
                    assert!(ids.insert(header.as_bytes()[8..20].to_vec()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
