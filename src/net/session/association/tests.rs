//! Associations against OpenSSL's client: what strangers send between its datagrams changes nothing.

use openssl::error::ErrorStack;
use openssl::ssl::{SslMethod, SslOptions, SslVerifyMode, SslVersion};

use super::*;
use crate::net::secure::{dtls, self_signed};
use crate::wire::dtls_hello::hello_verify_request;

const CIPHERS: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];
const RECORD_HEADER: usize = 13;

struct Client(SslStream<Pipe>);

impl Client {
    fn new(cipher: &str, newest: SslVersion) -> Self {
        let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
        context.set_security_level(0);
        context.set_max_proto_version(Some(newest)).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        context.set_cipher_list(cipher).unwrap();
        context.set_options(SslOptions::NO_QUERY_MTU);
        let mut ssl = Ssl::new(&context.build()).unwrap();
        ssl.set_connect_state();
        ssl.set_mtu(MTU).unwrap();
        Self(SslStream::new(ssl, Pipe::default()).unwrap())
    }

    fn handshake(&mut self) -> bool {
        match self.0.do_handshake() {
            Ok(()) => true,
            Err(error) if error.code() == ErrorCode::WANT_READ => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        self.0.get_mut().outgoing.drain(..).collect()
    }

    fn record(&mut self, text: &[u8]) -> Vec<u8> {
        assert_eq!(self.0.ssl_write(text).unwrap(), text.len());
        self.take().remove(0)
    }
}

/// The server's end of an association, after the client's second hello.
fn begun(client: &mut Client) -> Association {
    let context = dtls::context(&[self_signed().unwrap()], CIPHERS).unwrap();
    assert!(!client.handshake());
    let first = client.take().remove(0);
    assert!(ClientHello::parse(&first).unwrap().cookie.is_empty());
    client.0.get_mut().incoming = Some(hello_verify_request(&[7; 32]));
    assert!(!client.handshake());
    let second = client.take().remove(0);
    let hello = ClientHello::parse(&second).unwrap();
    Association::new(&context, &hello, &second).unwrap()
}

/// A client and the server's end of its association, with which it has agreed on keys.
fn established(cipher: &str) -> (Client, Association) {
    let mut client = Client::new(cipher, SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    finish(&mut client, &mut server);
    (client, server)
}

/// The rest of the handshake.
fn finish(client: &mut Client, server: &mut Association) {
    while !server.is_established() {
        while let Some(datagram) = server.poll_datagram() {
            client.0.get_mut().incoming = Some(datagram);
            client.handshake();
        }
        for datagram in client.take() {
            server.receive(&datagram).unwrap();
        }
    }
    while let Some(datagram) = server.poll_datagram() {
        client.0.get_mut().incoming = Some(datagram);
        client.handshake();
    }
    assert!(client.handshake());
}

/// Takes a datagram and returns the messages in it.
fn hear(server: &mut Association, datagram: &[u8]) -> Vec<Vec<u8>> {
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

/// OpenSSL's buffers for records that come too early are what a flood of them would fill memory with.
#[test]
fn few_encrypted_records_are_kept_for_a_handshake_that_is_not_over() {
    let mut early = [7; RECORD_HEADER + 40];
    early[..RECORD_HEADER].copy_from_slice(&[22, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 40]);
    let flood = |server: &mut Association| {
        for number in 0..100_u8 {
            let mut record = early;
            record[10] = number;
            // Alone, and in company.
            server.receive(&record).unwrap();
            record[9] = 1;
            server.receive(&[record; 3].concat()).unwrap();
        }
        server.encrypted
    };
    let mut client = Client::new(CIPHERS[0], SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    assert_eq!(flood(&mut server), 0);
    // The client's own still gets there, however its flight is cut.
    finish(&mut client, &mut server);
    assert_eq!(hear(&mut server, &client.record(b"text")), [b"text"]);

    let mut client = Client::new(CIPHERS[0], SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    for _ in 0..3 {
        server
            .receive(&[20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 1, 1])
            .unwrap();
        assert_eq!(flood(&mut server), 0, "one change of keys, once");
    }
}

#[test]
fn an_association_that_fails_leaves_no_error_to_the_next() {
    let mut client = Client::new("ALL", SslVersion::DTLS1);
    let mut server = begun(&mut client);
    assert!(server.has_failed());
    assert_eq!(server.poll_datagram().unwrap()[0], 21, "no alert");
    assert_eq!(ErrorStack::get().errors().len(), 0);

    let mut client = Client::new("ALL", SslVersion::DTLS1_2);
    let mut server = begun(&mut client);
    server.close();
    assert_eq!(ErrorStack::get().errors().len(), 0);
    drop(server);
    assert_eq!(ErrorStack::get().errors().len(), 0);
}
