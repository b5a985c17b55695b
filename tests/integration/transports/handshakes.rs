//! Handshakes that fail: a line that says why, and a count by reason.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error};

use crate::support::admin::{of, samples};
use crate::support::{
    Authority, Extras, Key, StreamClient, Turnd, connect, messages::request, trusting,
};

/// A server with a certificate for localhost, and an admin listener.
fn start(authority: &Authority, keys: &str) -> Turnd {
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    let toml = format!("{keys}\n{}", authority.toml(&["server"]));
    Turnd::start_with(&toml, extras)
}

/// The line about the client that failed for `reason`.
fn line(turnd: &Turnd, level: &str, reason: &str) -> String {
    let text = format!("reason=\"{reason}\"");
    let log = turnd.log_with(&text);
    let mut lines = log.lines().filter(|line| line.contains(&text));
    let line = lines.find(|line| line.contains("TLS handshake failed"));
    let line = line.unwrap_or_else(|| panic!("{log}")).to_owned();
    assert!(line.contains(level), "{line}");
    line
}

fn failures(turnd: &Turnd, reason: &str) -> f64 {
    let name = format!("turnd_tls_handshake_failures_total{{reason=\"{reason}\"}}");
    of(&samples(turnd), &name)
}

/// Tries a handshake that fails, and returns what the client thinks of it.
fn refuses(turnd: &Turnd, config: ClientConfig, name: &str) -> Error {
    let mut tcp = connect(turnd.address());
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), server).unwrap();
    loop {
        match tls.complete_io(&mut tcp) {
            Ok(_) => assert!(tls.is_handshaking(), "{name} is trusted"),
            Err(error) => {
                let error = error.into_inner().unwrap().downcast::<Error>();
                // The alert that tells.
                while tls.wants_write() {
                    tls.write_tls(&mut tcp).unwrap();
                }
                return *error.unwrap();
            }
        }
    }
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_a_warning_with_its_alert() {
    let authority = Authority::new();
    let turnd = start(&authority, "");
    let stranger = Authority::new();
    stranger.issue("other", "other.example", Key::Ecdsa, 2);
    refuses(&turnd, trusting(&stranger.path("other.pem")), "localhost");
    let said = line(&turnd, " WARN ", "unknown-ca");
    for part in [
        "client=127.0.0.1:",
        "transport=\"tls\"",
        "name=\"localhost\"",
        "alert=\"UnknownCA\"",
        "why=\"the client does not trust the certificate",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(failures(&turnd, "unknown-ca"), 1.0);

    // An authority of the same name has another key.
    refuses(&turnd, trusting(&stranger.certificate()), "localhost");
    line(&turnd, " WARN ", "bad-certificate");
    refuses(
        &turnd,
        trusting(&authority.certificate()),
        "turn.example.org",
    );
    turnd.log_with("name=\"turn.example.org\" reason=\"bad-certificate\" alert=\"BadCertificate\"");
    assert_eq!(failures(&turnd, "bad-certificate"), 2.0);

    let before = of(&samples(&turnd), "turnd_tls_handshakes_total");
    StreamClient::secure(turnd.address(), &authority.certificate(), "localhost").binding();
    let after = of(&samples(&turnd), "turnd_tls_handshakes_total");
    assert_eq!(after - before, 1.0);
}

/// A ClientHello of TLS 1.1, in its record.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend_from_slice(&[7; 32]);
    // No session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
    body.extend_from_slice(&[0, 0, 2, 0xC0, 0x13, 1, 0]);
    // supported_groups, ec_point_formats and signature_algorithms.
    body.extend_from_slice(&[0, 24, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    body.extend_from_slice(&[0, 13, 0, 6, 0, 4, 4, 1, 4, 3]);
    let len = body.len() as u8;
    let mut hello = vec![22, 3, 1, 0, len + 4, 1, 0, 0, len];
    hello.extend_from_slice(&body);
    hello
}

#[test]
fn other_failures_have_a_line_and_a_reason_each() {
    let authority = Authority::new();
    let turnd = start(&authority, "");
    let hello = old_hello();
    for (bytes, reason) in [
        (&hello[..], "protocol-version"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http"),
        (&hello[..20], "cut-off"),
        (b"\x16\x03\x01\x00\x05hello", "protocol-error"),
    ] {
        assert_eq!(failures(&turnd, reason), 0.0);
        let mut client = connect(turnd.address());
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        // The server has nothing to say, or an alert.
        let _ = client.read_to_end(&mut Vec::new());
        line(&turnd, " INFO ", reason);
        assert_eq!(failures(&turnd, reason), 1.0, "{reason}");
    }
    // Somebody who says nothing begins no handshake.
    drop(connect(turnd.address()));
    let mut silent = connect(turnd.address());
    silent.write_all(&hello[..20]).unwrap();
    line(&turnd, " INFO ", "timed-out");
    assert_eq!(failures(&turnd, "cut-off"), 1.0);
}

#[test]
fn a_protocol_that_is_not_served_is_told() {
    let authority = Authority::new();
    let turnd = start(&authority, "no-tcp = true");
    let mut client = connect(turnd.address());
    client
        .write_all(&request(stun::message::METHOD_BINDING, vec![]).raw)
        .unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    line(&turnd, " INFO ", "plain-stun");
    let plain = Turnd::start("");
    let mut client = connect(plain.address());
    client.write_all(&old_hello()).unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    let said = line(&plain, " INFO ", "no-certificate");
    assert!(said.contains("that takes cert and pkey"), "{said}");
}

#[cfg(feature = "dtls")]
#[test]
fn a_dtls_client_that_does_not_trust_the_certificate_is_told() {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};

    #[derive(Debug)]
    struct Socket(UdpSocket);

    impl Read for Socket {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            self.0.recv(bytes)
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let authority = Authority::new();
    let turnd = start(&authority, "dtls = true");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(turnd.address()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
    context.set_verify(SslVerifyMode::PEER);
    let mut ssl = Ssl::new(&context.build()).unwrap();
    ssl.set_connect_state();
    ssl.set_mtu(1200).unwrap();
    ssl.set_hostname("localhost").unwrap();
    let mut stream = SslStream::new(ssl, Socket(socket)).unwrap();
    assert!(stream.do_handshake().is_err());
    // The alert came in the clear, where anybody may send one: it is told when the time is over.
    let said = line(&turnd, " WARN ", "unknown-ca");
    assert!(said.contains("transport=\"dtls\""), "{said}");
    assert!(said.contains("name=\"localhost\""), "{said}");
    assert_eq!(failures(&turnd, "unknown-ca"), 1.0);
}
