//! Any datagram as a STUN message: no panic, our attribute walk agrees with the `stun` crate, and
//! what is read of an attribute is written as it was.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stun::integrity::MessageIntegrity;
use turnd_proto::auth::key::Key;
use turnd_proto::wire::address::{MAX_LEN, decode_plain, decode_xor, encode_plain, encode_xor};
use turnd_proto::wire::discovery::{ChangeRequest, ResponsePort};
use turnd_proto::wire::encoder::Encoder;
use turnd_proto::wire::integrity::verify;
use turnd_proto::wire::message::{Message, attributes, frame};
use turnd_proto::wire::numbers::{AttributeType, TransactionId};
use turnd_proto::wire::request::{Binding, Request};

fuzz_target!(|datagram: &[u8]| {
    let Ok(message) = Message::parse(datagram) else {
        return;
    };
    let id = message.head().id;
    let frame = frame(datagram).expect("what parses is framed");
    let mut theirs = stun::message::Message::new();
    theirs
        .unmarshal_binary(frame)
        .expect("the crate reads what we do");
    let walked = attributes(frame).map(|a| a.expect("what parses has whole attributes"));
    for (ours, theirs) in walked.zip(&theirs.attributes.0) {
        // `stun` takes the type that XOR-MAPPED-ADDRESS had in a draft for the one that it has.
        assert!(ours.0.0 == theirs.typ.value() || ours.0 == AttributeType(0x8020));
        assert_eq!(ours.1, theirs.value);
        addresses(&theirs.value, &id);
    }
    // Attributes after MESSAGE-INTEGRITY are left out.
    assert!(message.attributes().count() <= theirs.attributes.0.len());
    for (_, value) in message.attributes() {
        let _ = (ChangeRequest::decode(value), ResponsePort::decode(value));
    }
    let _ = (Request::parse(&message), Binding::parse(&message));
    // That of RFC 5769 §2.4.
    static KEY: LazyLock<Key> = LazyLock::new(|| {
        let user = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
        Key::from_password(user, "example.org", "TheMatrIX").expect("texts that may be used")
    });
    let genuine = MessageIntegrity(KEY.as_bytes().to_vec()).check(&mut theirs);
    // `stun` does not look at the length of a signature.
    assert!(genuine.is_ok() || !verify(&message, KEY.as_bytes()));

    let mut reply = Vec::new();
    let mut encoder = Encoder::new(&mut reply, message.head().typ, id);
    for (typ, value) in message.attributes().take(3) {
        if typ != AttributeType::MESSAGE_INTEGRITY && typ != AttributeType::FINGERPRINT {
            encoder.attribute(typ, value);
        }
    }
    encoder.sign(KEY.as_bytes());
    encoder.fingerprint();
    let reply = Message::parse(&reply).expect("what we write is a message");
    assert!(verify(&reply, KEY.as_bytes()));
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
