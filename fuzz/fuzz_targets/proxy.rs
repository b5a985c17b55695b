//! Any bytes as a header of the PROXY protocol on a stream and in a datagram: no panic, a header is
//! within its bytes, and it is the same however the stream was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd_proto::wire::proxy::{Parsed, is_header, parse_datagram, parse_stream};

fuzz_target!(|bytes: &[u8]| {
    let on_stream = parse_stream(bytes);
    match on_stream {
        Parsed::Header { len, addresses } => {
            let header = &bytes[..len];
            assert_eq!(parse_stream(header), on_stream);
            for cut in 0..len {
                assert_eq!(
                    parse_stream(&header[..cut]),
                    Parsed::Partial,
                    "cut at {cut}"
                );
            }
            if let Some(found) = addresses {
                assert_eq!(found.client.is_ipv4(), found.server.is_ipv4());
            }
        }
        // Bytes that follow cannot mend it.
        Parsed::Malformed => {
            let more = [bytes, b"\r\n\0\0"].concat();
            assert_eq!(parse_stream(&more), Parsed::Malformed);
        }
        Parsed::Partial => assert!(bytes.len() < 2048),
    }
    match parse_datagram(bytes) {
        Parsed::Header { len, .. } => {
            assert!(is_header(bytes));
            assert_eq!(parse_datagram(&bytes[..len]), parse_datagram(bytes));
        }
        parsed => assert_eq!(parsed, Parsed::Malformed),
    }
});
