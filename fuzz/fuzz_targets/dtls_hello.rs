//! Any datagram as the first of a DTLS client: no panic, and what the cookie vouches for is the same
//! with and without it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd::wire::dtls_hello::{ClientHello, Record};

fuzz_target!(|datagram: &[u8]| {
    if let Some(hello) = ClientHello::parse(datagram) {
        assert_eq!(hello.random().len(), 32);
        if let Some(before) = hello.without_cookie() {
            let first = ClientHello::parse(&before).expect("still a ClientHello");
            assert!(first.cookie.is_empty());
            assert!(first.parameters().eq(hello.parameters()));
        }
    }
    let (mut rest, mut taken) = (datagram, 0);
    while let Some(record) = Record::first_of(rest) {
        let _ = (record.is_encrypted(), record.is_change_cipher_spec());
        assert!(!record.bytes.is_empty());
        taken += record.bytes.len();
        rest = record.rest;
    }
    assert_eq!(taken, datagram.len());
});
