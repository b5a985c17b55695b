use proptest::prelude::*;
use stun::attributes::{ATTR_DATA, ATTR_FINGERPRINT, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY};
use stun::attributes::{ATTR_REALM, ATTR_USERNAME};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::Setter as _;

use super::*;
use crate::auth::key::Key;
use crate::wire::address::decode_xor;
use crate::wire::encoder::Encoder;
use crate::wire::numbers::{AttributeType, MessageType, TransactionId};

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

fn parse(bytes: &[u8]) -> Message<'_> {
    Message::parse(bytes).unwrap()
}

fn long_term_key() -> Key {
    // The password is given as SASLprep leaves it: OpaqueString refuses its soft hyphen.
    Key::from_password("マトリックス", "example.org", "TheMatrIX").unwrap()
}

const KEY: &[u8] = b"0123456789abcdef";

/// A request that the `stun` crate has signed, with two attributes before and two after the
/// signature.
fn signed() -> stun::message::Message {
    let mut msg = stun::message::Message::new();
    msg.write_header();
    msg.add(ATTR_USERNAME, b"alice");
    msg.add(ATTR_REALM, b"realm");
    MessageIntegrity(KEY.to_vec()).add_to(&mut msg).unwrap();
    msg.add(ATTR_LIFETIME, &[0, 0, 0, 9]);
    FINGERPRINT.add_to(&mut msg).unwrap();
    msg
}

/// RFC 5769 §2.1–2.3 use short-term credentials: the key is the password itself.
#[test]
fn rfc_5769_2_1_to_2_3_integrity_fingerprint_and_addresses() {
    for (vector, address) in [
        (REQUEST, None),
        (RESPONSE_V4, Some("192.0.2.1:32853")),
        (
            RESPONSE_V6,
            Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ),
    ] {
        let msg = parse(vector);
        assert!(verify(&msg, b"VOkJxbRl1RmTxUk/WvJxBt"));
        assert!(msg.head().fingerprint);
        if let Some(address) = address {
            let mapped = msg.get(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
            let mapped = decode_xor(mapped, &msg.head().id).unwrap();
            assert_eq!(mapped.to_string(), address);
        }
    }
}

#[test]
fn rfc_5769_2_4_long_term_request() {
    let msg = parse(REQUEST_LONG_TERM);
    assert!(verify(&msg, long_term_key().as_bytes()));
    assert!(!verify(&msg, KEY));
}

#[test]
fn rfc_5769_2_4_is_what_we_sign() {
    let original = parse(REQUEST_LONG_TERM);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, original.head().typ, original.head().id);
    for (typ, value) in original.attributes().take(3) {
        encoder.attribute(typ, value);
    }
    encoder.sign(long_term_key().as_bytes());
    assert_eq!(bytes, REQUEST_LONG_TERM);
}

#[test]
fn s8_attributes_after_the_signature_neither_break_nor_join_it() {
    let msg = signed();
    assert!(verify(&parse(&msg.raw), KEY));
    let attributes = parse(&msg.raw).attributes().count();
    assert_eq!(attributes, 3, "two and the signature");
    // The same when somebody has taken them off on the way.
    let mut cut = msg.raw.clone();
    cut.truncate(20 + 12 + 12 + 24);
    cut[3] = 12 + 12 + 24;
    assert!(verify(&parse(&cut), KEY));
    // A second signature after the first counts for nothing.
    let mut twice = signed();
    twice.attributes.0.retain(|a| a.typ != ATTR_FINGERPRINT);
    twice.encode();
    twice.add(ATTR_MESSAGE_INTEGRITY, &[0; MAC_LEN]);
    assert!(verify(&parse(&twice.raw), KEY));
}

#[test]
fn a_signature_of_another_length_never_verifies() {
    for len in [0, 1, 4, 16, 19, 21, 24, 32, 64] {
        let mut msg = stun::message::Message::new();
        msg.write_header();
        msg.add(ATTR_MESSAGE_INTEGRITY, &vec![0; len]);
        assert!(!verify(&parse(&msg.raw), KEY), "{len} bytes");
        // Nor does the start of a right one.
        let right = signature(&msg.raw[..20], KEY);
        let mut msg = stun::message::Message::new();
        msg.write_header();
        msg.add(ATTR_MESSAGE_INTEGRITY, &right[..len.min(19)]);
        assert!(!verify(&parse(&msg.raw), KEY), "{len} bytes");
    }
}

#[test]
fn trailing_bytes_after_the_message_are_not_part_of_it() {
    let mut raw = signed().raw;
    raw.extend([0xff; 7]);
    assert!(verify(&parse(&raw), KEY));
}

proptest! {
    /// Any attributes, of any length, in any order: no panic.
    #[test]
    fn no_message_panics(
        attributes in prop::collection::vec(
            (prop::sample::select(vec![ATTR_MESSAGE_INTEGRITY, ATTR_FINGERPRINT, ATTR_DATA]),
             prop::sample::select(vec![0usize, 1, 3, 4, 19, 20, 21, 60]), any::<u8>()), 0..6),
        trailing in 0usize..5,
    ) {
        let mut msg = stun::message::Message::new();
        msg.write_header();
        for (typ, len, fill) in attributes {
            msg.add(typ, &vec![fill; len]);
        }
        msg.raw.extend(vec![0; trailing]);
        if let Ok(msg) = Message::parse(&msg.raw) {
            prop_assert!(!verify(&msg, KEY));
        }
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
        if let Ok(msg) = Message::parse(&raw) {
            prop_assert!(!verify(&msg, KEY));
        }
    }

    #[test]
    fn what_is_signed_verifies(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
    ) {
        let mut bytes = Vec::new();
        let typ = MessageType::from_value(1);
        let mut encoder = Encoder::new(&mut bytes, typ, TransactionId::default());
        for value in &values {
            encoder.attribute(AttributeType::SOFTWARE, value);
        }
        encoder.sign(KEY);
        prop_assert!(verify(&parse(&bytes), KEY));
        let mut theirs = stun::message::Message::new();
        theirs.unmarshal_binary(&bytes).unwrap();
        prop_assert!(MessageIntegrity(KEY.to_vec()).check(&mut theirs).is_ok());
    }
}
