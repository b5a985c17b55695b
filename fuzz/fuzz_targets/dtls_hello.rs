//! Any datagram of a DTLS client: no panic; what a cookie vouches for is read from a hello's first
//! fragment alone; and what is let through to a DTLS library is what a client may say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd_proto::wire::dtls_hello::ClientHello;
use turnd_proto::wire::dtls_record::{Fragment, MAX_HELLO, RECORD_HEADER, Record};

fuzz_target!(|datagram: &[u8]| {
    if let Some(hello) = ClientHello::parse(datagram) {
        assert_eq!(hello.random().len(), 32);
        assert!(hello.parameters().len() + hello.cookie.len() < datagram.len());
        let record = Record::first_of(datagram).expect("a hello is in a record");
        assert_eq!(ClientHello::parse(record.bytes), Some(hello));
    }
    let (mut rest, mut taken) = (datagram, 0);
    while let Some(record) = Record::first_of(rest) {
        if record.clear().is_some() {
            assert!(!record.is_encrypted());
            let payload = record
                .payload()
                .expect("only whole records are let through");
            assert_eq!(payload.len() + RECORD_HEADER, record.bytes.len());
            if let Some(fragment) = Fragment::first_of(payload).filter(|_| record.bytes[0] == 22) {
                assert!(fragment.length <= MAX_HELLO);
            }
        }
        assert!(!record.bytes.is_empty());
        taken += record.bytes.len();
        rest = record.rest;
    }
    assert_eq!(taken, datagram.len());
});
