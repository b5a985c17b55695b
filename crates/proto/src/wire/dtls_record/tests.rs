use proptest::prelude::*;

use super::*;

/// A record of this content type and epoch.
fn record(typ: u8, epoch: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let head = [typ, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 7, high, low];
    [&head[..], payload].concat()
}

/// A fragment of a handshake message whose body has `length` bytes.
fn fragment(typ: u8, length: u16, number: u8, offset: u16, bytes: &[u8]) -> Vec<u8> {
    let [l1, l0] = length.to_be_bytes();
    let [o1, o0] = offset.to_be_bytes();
    let [f1, f0] = (bytes.len() as u16).to_be_bytes();
    let head = [typ, 0, l1, l0, 0, number, 0, o1, o0, 0, f1, f0];
    [&head[..], bytes].concat()
}

fn clear(bytes: &[u8]) -> Option<Clear> {
    let record = Record::first_of(bytes).unwrap();
    assert_eq!(record.bytes, bytes);
    record.clear()
}

#[test]
fn records_are_taken_off_one_by_one_and_what_is_none_is_the_last() {
    let change = record(20, 0, &[1]);
    let finished = record(22, 1, &[7, 7]);
    let datagram = [&change[..], &finished, &[0; 5]].concat();
    let first = Record::first_of(&datagram).unwrap();
    assert_eq!(first.bytes, change);
    assert!(!first.is_encrypted());
    let second = Record::first_of(first.rest).unwrap();
    assert_eq!(second.bytes, finished);
    assert!(second.is_encrypted());
    let third = Record::first_of(second.rest).unwrap();
    assert_eq!((third.bytes, third.rest), (&[0; 5][..], &[][..]));
    assert!(!third.is_encrypted());
    assert_eq!(third.payload(), None);
    assert_eq!(Record::first_of(third.rest), None);
    let cut = Record::first_of(&finished[..14]).unwrap();
    assert_eq!((cut.bytes, cut.rest), (&finished[..14], &[][..]));
    assert_eq!(cut.payload(), None);
}

#[test]
fn a_client_says_hello_and_its_share_of_the_key_and_no_more() {
    let hello = |number, offset, bytes: &[u8]| fragment(1, 600, number, offset, bytes);
    assert_eq!(
        clear(&record(22, 0, &hello(1, 0, &[3; 600]))),
        Some(Clear::Hello)
    );
    for (offset, len) in [(0, 1), (599, 1), (0, 0), (100, 400)] {
        let part = record(22, 0, &hello(1, offset, &vec![3; len]));
        assert_eq!(clear(&part), Some(Clear::Hello), "{offset}");
    }
    let both = [hello(1, 0, &[3; 300]), hello(1, 300, &[3; 300])].concat();
    assert_eq!(clear(&record(22, 0, &both)), Some(Clear::Hello));
    let key = fragment(16, 66, 2, 0, &[4; 66]);
    assert_eq!(clear(&record(22, 0, &key)), Some(Clear::KeyExchange));
    assert_eq!(clear(&record(20, 0, &[1])), Some(Clear::ChangeCipherSpec));
    assert_eq!(clear(&record(21, 0, &[2, 40])), Some(Clear::Alert));

    for (what, payload) in [
        ("the first hello again", hello(0, 0, &[3; 600])),
        ("a later message", hello(2, 0, &[3; 600])),
        ("a hello that is too long", fragment(1, 4097, 1, 0, &[3])),
        ("a fragment beyond the end", hello(1, 1, &[3; 600])),
        ("a key that is too long", fragment(16, 257, 2, 0, &[4; 257])),
        ("a piece of a key", fragment(16, 66, 2, 0, &[4; 65])),
        ("a key as message 3", fragment(16, 66, 3, 0, &[4; 66])),
        ("a certificate", fragment(11, 3, 2, 0, &[0; 3])),
        (
            "a certificate as large as can be",
            fragment(11, u16::MAX, 2, 0, &[0]),
        ),
        ("a proof of one", fragment(15, 8, 3, 0, &[0; 8])),
        ("a finished in the clear", fragment(20, 12, 3, 0, &[0; 12])),
        ("a server's hello", fragment(2, 70, 1, 0, &[0; 70])),
        (
            "one and then another",
            [hello(1, 0, &[3; 600]), key.clone()].concat(),
        ),
        (
            "one and then rubbish",
            [hello(1, 0, &[3; 600]), vec![9; 5]].concat(),
        ),
        ("half a head", vec![1; 11]),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(clear(&record(22, 0, &payload)), None, "{what}");
    }
    assert_eq!(clear(&record(22, 1, &key)), None, "encrypted");
    assert_eq!(clear(&record(20, 0, &[2])), None, "no change of keys");
    assert_eq!(clear(&record(20, 0, &[1, 1])), None);
    assert_eq!(clear(&record(21, 0, &[2])), None);
    assert_eq!(clear(&record(23, 0, b"text")), None, "text in the clear");
    assert_eq!(clear(&record(25, 0, &[1])), None);
    let mut tls = record(22, 0, &key);
    tls[1] = 3;
    assert_eq!(clear(&tls), None, "TLS");
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..200), typ in 20u8..26) {
        let wrapped = record(typ, 0, &bytes);
        for datagram in [&bytes, &wrapped] {
            let mut left = &datagram[..];
            while let Some(record) = Record::first_of(left) {
                let _ = (record.clear(), record.payload(), record.is_encrypted());
                prop_assert!(record.rest.len() < left.len());
                left = record.rest;
            }
        }
    }
}
