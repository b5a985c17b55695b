use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    max_len: MAX_FRAME,
    channel_data: true,
    rfc5766_channels: false,
};

/// A frame as it stands on the stream, and without its padding.
fn frame() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (0x4000..=0x4FFFu16, payload.clone()).prop_map(|(number, payload)| {
            let mut bytes =
                crate::wire::channel_data::header(number, payload.len() as u16).to_vec();
            bytes.extend_from_slice(&payload);
            bytes
        }),
        (0..=3u8, any::<u8>(), any::<[u8; 12]>(), payload).prop_map(
            |(first, second, id, mut body)| {
                body.truncate(body.len() / 4 * 4);
                let mut bytes = vec![first, second];
                bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
                bytes.extend_from_slice(&id);
                bytes.extend_from_slice(&body);
                bytes
            }
        ),
    ]
    .prop_map(|bare| {
        let mut padded = bare.clone();
        padded.resize(bare.len().next_multiple_of(4), 0);
        (padded, bare)
    })
}

/// Feeds the pieces one after the other, keeping what is left as a stream's reader does.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Vec<u8>>> {
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match next(&buffer, &RULES) {
                Next::Frame { frame, taken } => {
                    frames.push(frame.to_vec());
                    buffer.drain(..taken);
                }
                Next::Partial => break,
                Next::Broken => return None,
            }
        }
    }
    buffer.is_empty().then_some(frames)
}

proptest! {
    #[test]
    fn s11_c5_split_at_every_byte_and_coalesced(frames in prop::collection::vec(frame(), 1..6)) {
        let stream: Vec<u8> = frames.iter().flat_map(|(padded, _)| padded.clone()).collect();
        let expected: Vec<_> = frames.into_iter().map(|(_, bare)| bare).collect();
        prop_assert_eq!(read([&stream[..]].into_iter()), Some(expected.clone()));
        prop_assert_eq!(read(stream.chunks(1)), Some(expected.clone()));
        for at in 0..stream.len() {
            let (head, tail) = stream.split_at(at);
            prop_assert_eq!(read([head, tail].into_iter()), Some(expected.clone()), "split at {}", at);
        }
    }

    #[test]
    fn s11_any_bytes_give_a_frame_within_them(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Next::Frame { frame, taken } = next(&bytes, &RULES) {
            prop_assert!(frame.len() <= taken && taken <= bytes.len() && taken % 4 == 0);
        }
    }
}

#[test]
fn s11_what_is_neither_stun_nor_channel_data_is_broken_at_once() {
    for first in 0..=255u8 {
        let expected = if matches!(first, 0..=3 | 64..=79) {
            Next::Partial
        } else {
            Next::Broken
        };
        assert_eq!(next(&[first], &RULES), expected, "{first}");
    }
    assert_eq!(next(&[], &RULES), Next::Partial);
    assert_eq!(next(&[0, 1, 0, 2], &RULES), Next::Broken, "length 2");
    assert_eq!(
        next(&[0, 1, 0, 0, 0x21, 0x13], &RULES),
        Next::Broken,
        "cookie"
    );
}

#[test]
fn s11_the_limit_holds_for_both_kinds() {
    let small = Rules {
        max_len: 64,
        ..RULES
    };
    assert_eq!(next(&[0x40, 0, 0, 60], &small), Next::Partial);
    assert_eq!(next(&[0x40, 0, 0, 61], &small), Next::Broken);
    assert_eq!(next(&[0, 1, 0, 44], &small), Next::Partial);
    assert_eq!(next(&[0, 1, 0, 48], &small), Next::Broken);
    let unallocated = Rules {
        channel_data: false,
        ..RULES
    };
    // `GET ` is a channel number to whoever may send channel data.
    assert_eq!(next(b"GET / HTTP/1.1\r\n", &unallocated), Next::Broken);
    assert_eq!(next(&[0, 1], &unallocated), Next::Partial);
}
