//! Any datagram as a STUN message: no panic, and our attribute walk agrees with the `stun` crate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stun::message::Message;
use turnd::wire::message::{attributes, decode, frame};

fuzz_target!(|datagram: &[u8]| {
    let mut message = Message::new();
    if decode(datagram, &mut message).is_ok() {
        let frame = frame(datagram).expect("what decodes is framed");
        let walked = attributes(frame).map(|a| a.expect("what decodes has whole attributes"));
        // `message` leaves out what follows MESSAGE-INTEGRITY.
        for (ours, theirs) in walked.zip(&message.attributes.0) {
            assert_eq!(ours.1, theirs.value);
        }
    }
});
