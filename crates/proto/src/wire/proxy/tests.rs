use proptest::prelude::*;

use super::*;

fn found(client: &str, server: &str, len: usize) -> Parsed {
    Parsed::Header {
        addresses: Some(Addresses {
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
        }),
        len,
    }
}

/// A header of version 2.
fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[version, family]);
    bytes.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x9C, 0x40, 0x0D, 0x96];

#[test]
fn version_1() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 3478\r\nrest";
    let expected = found("192.0.2.1:40000", "198.51.100.1:3478", line.len() - 4);
    assert_eq!(parse_stream(line), expected);
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    let expected = found("[2001:db8::1]:1", "[2001:db8::2]:65535", line.len());
    assert_eq!(parse_stream(line), expected);
    let unknown = Parsed::Header {
        addresses: None,
        len: 31,
    };
    assert_eq!(parse_stream(b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n"), unknown);
    for wrong in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 40000\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 40000 3478 1\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +4 3478\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 04 3478\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 3478\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
    ] {
        assert_eq!(parse_stream(wrong.as_bytes()), Parsed::Malformed, "{wrong}");
    }
    assert_eq!(
        parse_stream(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 97]].concat()),
        Parsed::Malformed
    );
}

#[test]
fn version_2() {
    assert_eq!(
        parse_stream(&v2(0x21, 0x11, &V4)),
        found("192.0.2.1:40000", "198.51.100.1:3478", 28)
    );
    // TLVs after the addresses are skipped.
    let with_more = [V4.as_slice(), &[4, 0, 1, 0]].concat();
    assert_eq!(
        parse_datagram(&v2(0x21, 0x12, &with_more)),
        found("192.0.2.1:40000", "198.51.100.1:3478", 32)
    );
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
    assert_eq!(
        parse_stream(&v2(0x21, 0x21, &v6)),
        found("[::1]:3", "[::2]:4", 52)
    );
    let none = |len| Parsed::Header {
        addresses: None,
        len,
    };
    assert_eq!(parse_stream(&v2(0x20, 0x00, &[])), none(16));
    assert_eq!(parse_stream(&v2(0x20, 0x11, &V4)), none(28));
    assert_eq!(parse_stream(&v2(0x21, 0x00, &[1, 2])), none(18));
    for (version, family, rest) in [
        (0x11, 0x11, &V4[..]),
        (0x22, 0x11, &V4),
        (0x21, 0x12, &V4),
        (0x21, 0x31, &V4),
        (0x21, 0x11, &V4[..11]),
        (0x21, 0x21, &V4),
        (0x21, 0x11, &[0; 2100]),
    ] {
        let bytes = v2(version, family, rest);
        assert_eq!(
            parse_stream(&bytes),
            Parsed::Malformed,
            "{version:x} {family:x}"
        );
    }
    assert_eq!(
        parse_datagram(&v2(0x21, 0x11, &V4)),
        Parsed::Malformed,
        "TCP on UDP"
    );
    assert_eq!(parse_datagram(b"PROXY TCP4 "), Parsed::Malformed);
}

proptest! {
    #[test]
    fn what_is_cut_short_is_partial_and_nothing_is_read_beyond(cut in 0..100usize, tail in any::<[u8; 8]>()) {
        for whole in [v2(0x21, 0x11, &V4), b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 3478\r\n".to_vec()] {
            let cut = cut % whole.len();
            prop_assert_eq!(parse_stream(&whole[..cut]), Parsed::Partial);
            let followed = [&whole[..], &tail].concat();
            prop_assert_eq!(parse_stream(&followed), parse_stream(&whole));
        }
        prop_assert_eq!(parse_datagram(&v2(0x21, 0x12, &V4)[..cut % 28]), Parsed::Malformed);
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..64), signed in any::<bool>()) {
        let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
        for parsed in [parse_stream(&bytes), parse_datagram(&bytes)] {
            if let Parsed::Header { len, .. } = parsed {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
