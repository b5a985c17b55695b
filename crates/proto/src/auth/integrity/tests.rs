use proptest::prelude::*;
use stun::attributes::{ATTR_DATA, ATTR_FINGERPRINT, ATTR_LIFETIME};
use stun::attributes::{ATTR_REALM, ATTR_SOFTWARE, ATTR_USERNAME};
use stun::fingerprint::FINGERPRINT;
use stun::message::Getter;
use stun::xoraddr::XorMappedAddress;

use super::*;

const REQUEST: &[u8] = b"\
    \x00\x01\x00\x58\
    \x21\x12\xa4\x42\
    \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x10\
    STUN test client\
    \x00\x24\x00\x04\
    \x6e\x00\x01\xff\
    \x80\x29\x00\x08\
    \x93\x2f\xf9\xb1\x51\x26\x3b\x36\
    \x00\x06\x00\x09\
    \x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\
    \x00\x08\x00\x14\
    \x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\
    \xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
    \x80\x28\x00\x04\
    \xe5\x7a\x3b\xcf\
";

const RESPONSE_V4: &[u8] = b"\
    \x01\x01\x00\x3c\
    \x21\x12\xa4\x42\
    \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0b\
    \x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
    \x00\x20\x00\x08\
    \x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\
    \x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\
    \x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
    \x80\x28\x00\x04\
    \xc0\x7d\x4c\x96\
";

const RESPONSE_V6: &[u8] = b"\
    \x01\x01\x00\x48\
    \x21\x12\xa4\x42\
    \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0b\
    \x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
    \x00\x20\x00\x14\
    \x00\x02\xa1\x47\
    \x01\x13\xa9\xfa\xa5\xd3\xf1\x79\
    \xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
    \x00\x08\x00\x14\
    \xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\
    \x82\x92\xc2\x75\xbf\xe3\xed\x41\
    \x80\x28\x00\x04\
    \xc8\xfb\x0b\x4c\
";

const REQUEST_LONG_TERM: &[u8] = b"\
    \x00\x01\x00\x60\
    \x21\x12\xa4\x42\
    \x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
    \x00\x06\x00\x12\
    \xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\
    \xe3\x82\xaf\xe3\x82\xb9\x00\x00\
    \x00\x15\x00\x1c\
    \x66\x2f\x2f\x34\x39\x39\x6b\x39\x35\x34\x64\x36\
    \x4f\x4c\x33\x34\x6f\x4c\x39\x46\x53\x54\x76\x79\
    \x36\x34\x73\x41\
    \x00\x14\x00\x0b\
    \x65\x78\x61\x6d\x70\x6c\x65\x2e\x6f\x72\x67\x00\
    \x00\x08\x00\x14\
    \xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\
    \x2e\x85\xc9\xa2\x8c\xa8\x96\x66\
";

fn decode(bytes: &[u8]) -> Message {
    let mut msg = Message::new();
    msg.unmarshal_binary(bytes).unwrap();
    msg
}

fn long_term_key() -> Key {
    // The password is given as SASLprep leaves it: OpaqueString refuses its soft hyphen.
    Key::from_password("マトリックス", "example.org", "TheMatrIX").unwrap()
}

fn key() -> Key {
    Key::new(*b"0123456789abcdef")
}

/// A signed request with two attributes before and two after the signature.
fn signed() -> Message {
    let mut msg = Message::new();
    msg.write_header();
    msg.add(ATTR_USERNAME, b"alice");
    msg.add(ATTR_REALM, b"realm");
    sign(&mut msg, &key()).unwrap();
    msg.add(ATTR_LIFETIME, &[0, 0, 0, 9]);
    FINGERPRINT.add_to(&mut msg).unwrap();
    decode(&msg.raw)
}

/// RFC 5769 §2.1–2.3 use short-term credentials: the key is the password itself.
#[test]
fn rfc_5769_2_1_to_2_3_integrity_fingerprint_and_addresses() {
    let short_term = MessageIntegrity::new_short_term_integrity("VOkJxbRl1RmTxUk/WvJxBt".into());
    for (vector, address) in [
        (REQUEST, None),
        (RESPONSE_V4, Some("192.0.2.1:32853")),
        (
            RESPONSE_V6,
            Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ),
    ] {
        let mut msg = decode(vector);
        assert!(short_term.check(&mut msg).is_ok());
        assert!(FINGERPRINT.check(&msg).is_ok());
        if let Some(address) = address {
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&msg).unwrap();
            assert_eq!(mapped.to_string(), address);
        }
    }
}

#[test]
fn rfc_5769_2_4_long_term_request() {
    let mut msg = decode(REQUEST_LONG_TERM);
    assert!(verify(&mut msg, &long_term_key()));
    assert_eq!(msg.raw, REQUEST_LONG_TERM);
    assert!(!verify(&mut msg, &key()));
}

#[test]
fn rfc_5769_2_4_is_what_we_sign() {
    let original = decode(REQUEST_LONG_TERM);
    let mut msg = Message::new();
    msg.typ = original.typ;
    msg.transaction_id = original.transaction_id;
    msg.write_header();
    for attribute in &original.attributes.0[..3] {
        msg.add(attribute.typ, &attribute.value);
    }
    sign(&mut msg, &long_term_key()).unwrap();
    assert_eq!(msg.raw, REQUEST_LONG_TERM);
}

#[test]
fn s8_attributes_after_the_signature_neither_break_nor_join_it() {
    let mut msg = signed();
    let before = msg.clone();
    assert!(verify(&mut msg, &key()));
    assert_eq!((&msg, &msg.raw), (&before, &before.raw), "left as it was");
    assert_eq!(protected(&msg).unwrap().len(), 2);
    // The same when the caller has taken them off.
    msg.attributes.0.truncate(3);
    assert!(verify(&mut msg, &key()));
    assert_eq!(msg.raw, before.raw);
    // A second signature after the first counts for nothing.
    let mut twice = decode(&{
        let mut msg = signed();
        msg.add(ATTR_MESSAGE_INTEGRITY, &[0; MAC_LEN]);
        msg.raw
    });
    assert!(verify(&mut twice, &key()));
}

#[test]
fn a_signature_of_another_length_never_verifies() {
    for len in [0, 1, 4, 16, 19, 21, 24, 32, 64] {
        let mut msg = Message::new();
        msg.write_header();
        msg.add(ATTR_MESSAGE_INTEGRITY, &vec![0; len]);
        assert!(!verify(&mut decode(&msg.raw), &key()), "{len} bytes");
    }
}

#[test]
fn trailing_bytes_after_the_message_are_not_part_of_it() {
    let mut raw = signed().raw;
    raw.extend([0xff; 7]);
    assert!(verify(&mut decode(&raw), &key()));
}

#[test]
fn signing_after_the_fingerprint_is_an_error() {
    let mut msg = signed();
    assert!(find(&msg.attributes.0, ATTR_FINGERPRINT).is_some());
    assert!(sign(&mut msg, &key()).is_err());
}

#[test]
fn a_message_put_together_by_hand_does_not_panic() {
    let mut msg = Message::new();
    for typ in [ATTR_DATA, ATTR_MESSAGE_INTEGRITY] {
        msg.attributes.0.push(RawAttribute {
            typ,
            length: 20,
            value: vec![0; 20],
        });
    }
    assert!(!verify(&mut msg, &key()));
}

proptest! {
    /// Any attributes, of any length, in any order: no panic, and the message is left as it was.
    #[test]
    fn no_message_panics(
        attributes in prop::collection::vec(
            (prop::sample::select(vec![ATTR_MESSAGE_INTEGRITY, ATTR_FINGERPRINT, ATTR_DATA]),
             prop::sample::select(vec![0usize, 1, 3, 4, 19, 20, 21, 60]), any::<u8>()), 0..6),
        keep in 0usize..6,
        trailing in 0usize..5,
    ) {
        let mut msg = Message::new();
        msg.write_header();
        for (typ, len, fill) in attributes {
            msg.add(typ, &vec![fill; len]);
        }
        msg.raw.extend(vec![0; trailing]);
        let mut msg = decode(&msg.raw);
        msg.attributes.0.truncate(keep);
        let before = msg.clone();
        prop_assert!(!verify(&mut msg, &key()));
        prop_assert_eq!(&msg.attributes, &before.attributes);
        prop_assert_eq!(&msg.raw, &before.raw);
        prop_assert_eq!(msg.length, before.length);
    }

    /// A change to any byte that is signed breaks the signature.
    #[test]
    fn a_changed_byte_breaks_the_signature(at in 0usize..64, with in 1u8..) {
        let mut raw = signed().raw;
        let covered = 20 + 12 + 12 + 24;
        let at = at % covered;
        // The length is not compared as sent: what counts is where the signature stands.
        prop_assume!(!(2..4).contains(&at));
        raw[at] ^= with;
        let mut msg = Message::new();
        if msg.unmarshal_binary(&raw).is_ok() {
            prop_assert!(!verify(&mut msg, &key()));
        }
    }

    #[test]
    fn what_is_signed_verifies(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
    ) {
        let mut msg = Message::new();
        msg.write_header();
        for value in &values {
            msg.add(ATTR_SOFTWARE, value);
        }
        sign(&mut msg, &key()).unwrap();
        prop_assert!(verify(&mut decode(&msg.raw), &key()));
    }
}
