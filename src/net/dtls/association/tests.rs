//! Associations against OpenSSL's client: what strangers send between its datagrams changes nothing.

use std::collections::VecDeque;
use std::ops::Deref;

use openssl::error::ErrorStack;
use openssl::ssl::SslVersion;

use super::*;
use crate::net::certs::{dtls, self_signed};
use crate::net::dtls::test_client::Client;
use turnd_proto::wire::dtls_hello::{ClientHello, hello_verify_request};

const CIPHERS: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];
const RECORD_HEADER: usize = 13;

/// An association, with buffers that are its own.
struct Server {
    association: Association,
    wire: Wire,
    outgoing: VecDeque<Vec<u8>>,
}

impl Server {
    fn new(context: &SslContext, datagram: &[u8]) -> Self {
        let mut wire = Wire::default();
        let association = Association::new(context, &mut wire, datagram).unwrap();
        let mut server = Self {
            association,
            wire,
            outgoing: VecDeque::new(),
        };
        server.collect();
        server
    }

    fn collect(&mut self) {
        let datagrams = self.wire.outgoing().map(<[u8]>::to_vec);
        self.outgoing.extend(datagrams);
        self.wire.clear_outgoing();
    }

    fn receive(&mut self, datagram: &[u8]) -> Result<(), Ended> {
        let received = self.association.receive(&mut self.wire, datagram);
        self.collect();
        received
    }

    fn read(&mut self, plain: &mut [u8]) -> Result<Option<usize>, Ended> {
        self.association.read(&mut self.wire, plain)
    }

    fn close(&mut self) {
        self.association.close(&mut self.wire);
    }

    fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }
}

impl Deref for Server {
    type Target = Association;

    fn deref(&self) -> &Association {
        &self.association
    }
}

/// The server's end of an association, after the client's second hello.
fn begun(client: &mut Client) -> Server {
    begun_in_fragments(client).0
}

/// The same, and the number of datagrams that the second hello took.
fn begun_in_fragments(client: &mut Client) -> (Server, usize) {
    let context = dtls::context(&[self_signed().unwrap()], CIPHERS).unwrap();
    assert!(!client.handshake());
    let first = client.take().remove(0);
    assert!(ClientHello::parse(&first).unwrap().cookie.is_empty());
    client.put(&hello_verify_request(&[7; 32]));
    assert!(!client.handshake());
    let fragments = client.take();
    let mut server = Server::new(&context, &fragments[0]);
    for fragment in &fragments[1..] {
        server.receive(fragment).unwrap();
    }
    (server, fragments.len())
}

/// A client and the server's end of its association, with which it has agreed on keys.
fn established(cipher: &str) -> (Client, Server) {
    let mut client = Client::new(cipher, SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    finish(&mut client, &mut server);
    (client, server)
}

/// The rest of the handshake.
fn finish(client: &mut Client, server: &mut Server) {
    // Nothing gets lost, so that two round trips are all it takes.
    for _ in 0..2 {
        while let Some(datagram) = server.poll_datagram() {
            client.put(&datagram);
            client.handshake();
        }
        for datagram in client.take() {
            server.receive(&datagram).unwrap();
        }
    }
    while let Some(datagram) = server.poll_datagram() {
        client.put(&datagram);
        client.handshake();
    }
    assert!(server.is_established(), "{:?}", server.stage);
    assert!(client.handshake());
}

/// Takes a datagram and returns the messages in it.
fn hear(server: &mut Server, datagram: &[u8]) -> Vec<Vec<u8>> {
    server.receive(datagram).unwrap();
    let mut plain = vec![0; MAX_RECORD];
    let mut heard = Vec::new();
    while let Some(len) = server.read(&mut plain).unwrap() {
        heard.push(plain[..len].to_vec());
    }
    heard
}

fn forged(genuine: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut datagram = genuine.to_vec();
    change(&mut datagram);
    datagram
}

#[test]
fn what_others_send_from_the_clients_address_changes_nothing() {
    for cipher in CIPHERS {
        let (mut client, mut server) = established(cipher);
        let genuine = client.record(b"genuine");
        let later = client.record(b"later");
        let forgeries = [
            ("a bare type", vec![23]),
            ("half a record", genuine[..genuine.len() / 2].to_vec()),
            (
                "a wrong tag",
                forged(&later, |d| *d.last_mut().unwrap() ^= 1),
            ),
            (
                "a wrong text",
                forged(&later, |d| d[RECORD_HEADER + 9] ^= 1),
            ),
            ("another sequence", forged(&later, |d| d[9] = 9)),
            ("a far sequence", forged(&later, |d| d[5..11].fill(0xFF))),
            ("another epoch", forged(&later, |d| d[4] = 7)),
            (
                "no text",
                forged(&later, |d| {
                    d.truncate(RECORD_HEADER);
                    d[11..].fill(0);
                }),
            ),
            ("a version", forged(&later, |d| d[1] = 3)),
            ("an unknown type", forged(&later, |d| d[0] = 63)),
            ("an encrypted alert", forged(&later, |d| d[0] = 21)),
            ("an encrypted handshake", forged(&later, |d| d[0] = 22)),
            (
                "a fatal alert in the clear",
                vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40],
            ),
            (
                "a farewell in the clear",
                vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 1, 0],
            ),
            (
                "text in the clear",
                vec![23, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 1, 0],
            ),
            (
                "a change of keys",
                vec![20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 1, 1],
            ),
            ("noise", (0..=255).collect()),
        ];
        for (what, datagram) in &forgeries {
            assert_eq!(
                hear(&mut server, datagram),
                [] as [&[u8]; 0],
                "{cipher}: {what}"
            );
            // An error that is left behind would be taken for one of the next association's.
            assert_eq!(ErrorStack::get().errors().len(), 0, "{cipher}: {what}");
            let good = client.record(what.as_bytes());
            assert_eq!(hear(&mut server, &good), [what.as_bytes()], "{cipher}");
        }
        assert_eq!(hear(&mut server, &genuine), [b"genuine"], "{cipher}");
        assert_eq!(
            hear(&mut server, &genuine),
            [] as [&[u8]; 0],
            "{cipher}: said again"
        );
        assert_eq!(hear(&mut server, &later), [b"later"], "{cipher}");
    }
}

/// A record in the clear with one handshake message, or a fragment of it.
fn handshake(typ: u8, number: u8, length: u16, offset: u16, bytes: &[u8]) -> Vec<u8> {
    let [l1, l0] = length.to_be_bytes();
    let [o1, o0] = offset.to_be_bytes();
    let [f1, f0] = (bytes.len() as u16).to_be_bytes();
    let [r1, r0] = (bytes.len() as u16 + 12).to_be_bytes();
    // Records of their own, and within the window of those that may still come (RFC 6347 §4.1.2.6).
    let sequence = 3 + (number + typ) % 50;
    let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, sequence, r1, r0];
    record.extend_from_slice(&[typ, 0, l1, l0, 0, number, 0, o1, o0, 0, f1, f0]);
    record.extend_from_slice(bytes);
    record
}

/// Records that a library would keep, or keep room for, in every stage of a handshake.
fn hoarded() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for number in 0..12 {
        for typ in [1, 2, 11, 12, 15, 16, 20] {
            records.push(handshake(typ, number, 65_000, 4096, &[0]));
            records.push(handshake(typ, number, 3000, 2000, &[0]));
        }
    }
    let encrypted = |typ, number| {
        [
            &[typ, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 1, number, 0, 40][..],
            &[7; 40],
        ]
        .concat()
    };
    for number in 0..100 {
        records.push(encrypted(22, number));
        records.push([21, 22, 23].map(|typ| encrypted(typ, number)).concat());
    }
    records
}

#[test]
fn nothing_that_a_library_would_hoard_reaches_it_and_the_client_still_gets_there() {
    let mut client = Client::new(CIPHERS[0], SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    for record in hoarded() {
        server.receive(&record).unwrap();
        assert!(server.early.len() <= EARLY && server.early.capacity() <= 2 * EARLY);
    }
    assert_eq!(server.stage, Stage::KeyExchange);
    // An honest client does not mind, however its flight is cut.
    finish(&mut client, &mut server);
    assert_eq!(hear(&mut server, &client.record(b"text")), [b"text"]);

    // A change of keys before there are any.
    let mut client = Client::new(CIPHERS[0], SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    for _ in 0..3 {
        server
            .receive(&[20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 1, 1])
            .unwrap();
        assert_eq!(server.stage, Stage::KeyExchange);
    }
    finish(&mut client, &mut server);
}

#[test]
fn a_last_message_that_comes_before_the_change_of_keys_is_kept_for_it() {
    let mut client = Client::new(CIPHERS[0], SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    while let Some(datagram) = server.poll_datagram() {
        client.put(&datagram);
        client.handshake();
    }
    let flight = client.take().concat();
    let mut records = Vec::new();
    let mut left = &flight[..];
    while let Some(record) = Record::first_of(left) {
        records.push(record.bytes.to_vec());
        left = record.rest;
    }
    let [key, change, finished] = &records[..] else {
        panic!("{} records", records.len());
    };
    server.receive(finished).unwrap();
    assert_eq!(server.stage, Stage::KeyExchange);
    server.receive(&[&key[..], change].concat()).unwrap();
    assert!(server.is_established());
}

#[test]
fn a_hello_in_several_fragments_is_one_hello() {
    // Smaller than any path's MTU, and larger than what the cookie needs.
    let mut client = Client::with_mtu("ALL", SslVersion::DTLS1_2, 256);
    let (mut server, fragments) = begun_in_fragments(&mut client);
    assert!(fragments > 1);
    finish(&mut client, &mut server);
    assert_eq!(hear(&mut server, &client.record(b"text")), [b"text"]);
}

#[test]
fn an_association_that_fails_leaves_no_error_to_the_next() {
    let mut client = Client::new("ALL", SslVersion::DTLS1);
    let mut server = begun(&mut client);
    assert!(server.failure().is_some());
    assert_eq!(server.poll_datagram().unwrap()[0], 21, "no alert");
    assert_eq!(ErrorStack::get().errors().len(), 0);

    let mut client = Client::new("ALL", SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    server.close();
    assert_eq!(ErrorStack::get().errors().len(), 0);
    drop(server);
    assert_eq!(ErrorStack::get().errors().len(), 0);
}
