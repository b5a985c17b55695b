//! Any bytes as a stream of frames that arrive in pieces: no panic, and a frame is the same however
//! the stream was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd_proto::wire::framing::{MAX_FRAME, Next, Rules, next};

fuzz_target!(|input: &[u8]| {
    // The rules and where to cut, then the stream.
    let [how, cut, stream @ ..] = input else {
        return;
    };
    let rules = Rules {
        max_len: if how & 4 == 0 { MAX_FRAME } else { 600 },
        channel_data: how & 1 == 0,
        rfc5766_channels: how & 2 == 0,
    };
    let mut rest = stream;
    loop {
        match next(rest, &rules) {
            Next::Frame { frame, taken } => {
                assert!(frame.len() <= taken && taken <= rest.len() && taken <= rules.max_len);
                assert!(taken % 4 == 0 && taken >= 4 && taken - frame.len() < 4);
                assert_eq!(frame, &rest[..frame.len()]);
                let part = usize::from(*cut) % taken;
                assert_eq!(next(&rest[..part], &rules), Next::Partial);
                assert_eq!(next(&rest[..taken - 1], &rules), Next::Partial);
                let alone = next(&rest[..taken], &rules);
                assert_eq!(alone, Next::Frame { frame, taken });
                rest = &rest[taken..];
            }
            Next::Broken => {
                // More bytes cannot mend it.
                let more = [rest, &[*cut; 32]].concat();
                return assert_eq!(next(&more, &rules), Next::Broken);
            }
            Next::Partial => return assert!(rest.len() < rules.max_len),
        }
    }
});
