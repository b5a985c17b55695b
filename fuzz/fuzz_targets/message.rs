//! Any datagram as a STUN message: no panic, our attribute walk agrees with the `stun` crate, and
//! what is read of an attribute is written as it was.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stun::agent::TransactionId;
use stun::attributes::AttrType;
use stun::message::{Getter, Message};
use turnd_proto::auth::integrity::{sign, verify};
use turnd_proto::auth::key::Key;
use turnd_proto::wire::address::{MAX_LEN, decode_plain, decode_xor, encode_plain, encode_xor};
use turnd_proto::wire::discovery::{ChangeRequest, ResponsePort};
use turnd_proto::wire::message::{attributes, decode, frame};

fuzz_target!(|datagram: &[u8]| {
    let mut message = Message::new();
    let Ok(head) = decode(datagram, &mut message) else {
        return;
    };
    let frame = frame(datagram).expect("what decodes is framed");
    let walked = attributes(frame).map(|a| a.expect("what decodes has whole attributes"));
    // `message` leaves out what follows MESSAGE-INTEGRITY.
    for (ours, theirs) in walked.zip(&message.attributes.0) {
        // `stun` takes the type that XOR-MAPPED-ADDRESS had in a draft for the one that it has.
        assert!(ours.0 == theirs.typ || ours.0 == AttrType(0x8020));
        assert_eq!(ours.1, theirs.value);
        addresses(&theirs.value, &head.id);
    }
    let _ = ChangeRequest::default().get_from(&message);
    let _ = ResponsePort::default().get_from(&message);
    // That of RFC 5769 §2.4.
    static KEY: LazyLock<Key> = LazyLock::new(|| {
        let user = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
        Key::from_password(user, "example.org", "TheMatrIX").expect("texts that may be used")
    });
    let before = message.raw.clone();
    let _ = verify(&mut message, &KEY);
    assert_eq!(message.raw, before, "checking a message changes it");

    let mut reply = Message::new();
    reply.transaction_id = head.id;
    reply.typ = head.typ;
    reply.write_header();
    sign(&mut reply, &KEY).expect("no FINGERPRINT is there");
    assert!(verify(&mut reply, &KEY));
});

fn addresses(value: &[u8], id: &TransactionId) {
    let mut bytes = [0; MAX_LEN];
    if let Some(addr) = decode_xor(value, id) {
        let len = encode_xor(addr, id, &mut bytes);
        assert_eq!(bytes[1..len], value[1..]);
        let plain = decode_plain(value).expect("the same length and family");
        let len = encode_plain(plain, &mut bytes);
        assert_eq!(bytes[1..len], value[1..]);
    }
}
