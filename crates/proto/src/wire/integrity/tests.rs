use proptest::prelude::*;
use stun::attributes::{ATTR_DATA, ATTR_FINGERPRINT, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY};
use stun::attributes::{ATTR_REALM, ATTR_USERNAME, AttrType};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::Setter as _;

use super::*;
use crate::auth::algorithm::PasswordAlgorithm;
use crate::auth::key::Key;
use crate::wire::address::decode_xor;
use crate::wire::encoder::Encoder;
use crate::wire::numbers::{AttributeType, MessageType, TransactionId};

const MESSAGE_INTEGRITY_SHA256: AttrType = AttrType(0x001C);

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

/// RFC 8489, appendix B.1, in the form of erratum 6268: with PASSWORD-ALGORITHM, a length without the
/// padding that was left over, and the HMAC that goes with both.
const REQUEST_SHA256: &[u8] = b"\
    \x00\x01\x00\x90\
    \x21\x12\xa4\x42\
    \x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
    \x00\x1e\x00\x20\
    \x4a\x3c\xf3\x8f\xef\x69\x92\xbd\xa9\x52\xc6\x78\x04\x17\xda\x0f\
    \x24\x81\x94\x15\x56\x9e\x60\xb2\x05\xc4\x6e\x41\x40\x7f\x17\x04\
    \x00\x15\x00\x29\
    obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA\x00\x00\x00\
    \x00\x14\x00\x0b\
    example.org\x00\
    \x00\x1d\x00\x04\
    \x00\x02\x00\x00\
    \x00\x1c\x00\x20\
    \xb5\xc7\xbf\x00\x5b\x6c\x52\xa2\x1c\x51\xc5\xe8\x92\xf8\x19\x24\
    \x13\x62\x96\xcb\x92\x7c\x43\x14\x93\x09\x27\x8c\xc6\x51\x8e\x65\
";

fn sha256_key() -> Key {
    let algorithm = PasswordAlgorithm::Sha256;
    Key::from_password_with(algorithm, "マトリックス", "example.org", "TheMatrIX").unwrap()
}

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
fn rfc_8489_b_1_request_with_user_hash_and_sha_256() {
    let msg = parse(REQUEST_SHA256);
    assert!(msg.head().sha256 && msg.is_signed());
    assert!(verify(&msg, sha256_key().as_bytes()));
    assert!(!verify(&msg, long_term_key().as_bytes()));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, msg.head().typ, msg.head().id);
    for (typ, value) in msg.attributes().take(4) {
        encoder.attribute(typ, value);
    }
    encoder.sign_sha256(sha256_key().as_bytes());
    assert_eq!(bytes, REQUEST_SHA256);
}

#[test]
fn a9_a_sha_256_signature_is_whole_or_wrong() {
    let key = sha256_key();
    let (covered, mac) = REQUEST_SHA256.split_at(REQUEST_SHA256.len() - 32);
    for len in 0..64usize {
        let mut value = mac.to_vec();
        value.resize(len, 0);
        let mut message = covered[..covered.len() - 4].to_vec();
        message.extend([0x00, 0x1c, 0, len as u8]);
        message.extend(&value);
        message.resize(message.len().next_multiple_of(4), 0);
        let [high, low] = ((message.len() - 20) as u16).to_be_bytes();
        message[2..4].copy_from_slice(&[high, low]);
        let msg = parse(&message);
        assert!(msg.is_signed());
        assert_eq!(verify(&msg, key.as_bytes()), len == 32, "{len} bytes");
        // Nor does the start of the right HMAC for a shorter attribute.
        let right = signature_sha256(&message[..covered.len() - 4], key.as_bytes());
        let end = covered.len() + len.min(31);
        message[covered.len()..end].copy_from_slice(&right[..len.min(31)]);
        if len < 32 {
            assert!(!verify(&parse(&message), key.as_bytes()), "{len} bytes");
        }
    }
}

#[test]
fn a9_cut_anywhere_it_is_no_message_or_not_signed() {
    for end in 0..REQUEST_SHA256.len() {
        assert!(Message::parse(&REQUEST_SHA256[..end]).is_err(), "{end}");
        // Also when the length field agrees.
        let mut cut = REQUEST_SHA256[..end].to_vec();
        if let Some(length) = cut.get_mut(2..4) {
            length.copy_from_slice(&(end.saturating_sub(20) as u16).to_be_bytes());
        }
        if let Ok(msg) = Message::parse(&cut) {
            assert!(!verify(&msg, sha256_key().as_bytes()), "{end}");
        }
    }
}

/// A message with these signatures in this order, each over all that is before it.
fn signed_by(signatures: &[Integrity], key: &[u8], fingerprint: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let typ = MessageType::from_value(0x0003);
    let mut encoder = Encoder::new(&mut bytes, typ, TransactionId::default());
    encoder.attribute(AttributeType::USERNAME, b"alice");
    for signature in signatures {
        match signature {
            Integrity::Sha1 => encoder.sign(key),
            Integrity::Sha256 => encoder.sign_sha256(key),
        }
        encoder.attribute(AttributeType::LIFETIME, &[0; 4]);
    }
    if fingerprint {
        encoder.fingerprint();
    }
    bytes
}

#[test]
fn a9_s8_with_both_signatures_sha_256_is_checked_and_the_first_ends_the_message() {
    use Integrity::{Sha1, Sha256};
    for fingerprint in [false, true] {
        for (signatures, checked, sha256) in [
            (&[Sha1][..], Sha1, false),
            (&[Sha256], Sha256, true),
            (&[Sha1, Sha256], Sha256, true),
            (&[Sha256, Sha1], Sha256, true),
            (&[Sha1, Sha1], Sha1, false),
            (&[Sha256, Sha256], Sha256, true),
        ] {
            let bytes = signed_by(signatures, KEY, fingerprint);
            let msg = parse(&bytes);
            assert!(verify(&msg, KEY), "{signatures:?}");
            assert_eq!(msg.signed().unwrap().0, checked);
            let head = *msg.head();
            assert_eq!((head.sha256, head.fingerprint), (sha256, fingerprint));
            assert_eq!(msg.attributes().count(), 2, "the name and one signature");
            assert!(!msg.contains(AttributeType::LIFETIME));
        }
    }
    // A wrong one of SHA-256 is not made good by a right one of SHA-1, and the other way round.
    let mut bytes = signed_by(&[Sha1, Sha256], KEY, false);
    let at = bytes.len() - 8 - 1;
    bytes[at] ^= 1;
    assert!(!verify(&parse(&bytes), KEY));
    let mut bytes = signed_by(&[Sha1, Sha256], KEY, false);
    bytes[20 + 12 + 4] ^= 1;
    assert!(!verify(&parse(&bytes), KEY), "SHA-256 covers SHA-1");
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
            (prop::sample::select(vec![
                 ATTR_MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, ATTR_FINGERPRINT, ATTR_DATA,
             ]),
             prop::sample::select(vec![0usize, 1, 3, 4, 16, 19, 20, 21, 32, 60]), any::<u8>()), 0..6),
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

    /// A change to any byte that SHA-256 signs breaks the signature, whichever other one there is.
    #[test]
    fn a9_a_changed_byte_breaks_a_sha_256_signature(
        at in 0usize..200,
        with in 1u8..,
        both: bool,
        fingerprint: bool,
    ) {
        let signatures = [Integrity::Sha1, Integrity::Sha256];
        let signatures = if both { &signatures[..] } else { &signatures[1..] };
        let mut raw = signed_by(signatures, KEY, fingerprint);
        let behind = 8 + if fingerprint { 8 } else { 0 };
        let end = raw.len() - behind;
        let at = at % end;
        prop_assume!(!(2..4).contains(&at));
        // Whoever signs with both lets anybody take the second signature away.
        let header = end - 36..end - 32;
        prop_assume!(!both || !header.contains(&at));
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
