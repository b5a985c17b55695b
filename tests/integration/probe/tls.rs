//! TCP and TLS, against coturn and turnd.

use super::probe;
use crate::support::Turnd;
use crate::support::probe::Identity;

#[test]
fn turnd_serves_over_tls_on_either_port() {
    let identity = Identity::new("localhost", (2020, 2090), true);
    let (cert, key) = (identity.path("cert.pem"), identity.path("key.pem"));
    let turnd = Turnd::start(&format!("cert = '{cert}'\npkey = '{key}'"));
    for port in [turnd.address().port(), turnd.ports().tls_listening()] {
        identity.probe_port(port).expect_served();
    }
    let other = Identity::new("localhost", (2020, 2090), true);
    // An authority of the same name.
    let distrusted = other.probe_port(turnd.address().port());
    distrusted.expect_fault(
        "the TLS certificate is not signed with the key of the authority that it names [701]",
        "",
    );
}

#[test]
fn tls_on_the_port_of_another_protocol() {
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in web.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let uri = format!("turns:localhost:{port}");
    let outcome = probe(
        None,
        &[&uri, "--user", "a", "--password", "b", "--timeout", "3"],
    );
    let findings = outcome.findings();
    assert!(
        findings.iter().any(|f| f.contains("does not speak TLS")),
        "{findings:#?}"
    );
    assert_eq!(outcome.code, Some(1));
}

#[test]
fn a_self_signed_certificate_is_trusted_by_itself() {
    let serve = |identity: &Identity| {
        let (cert, key) = (identity.path("cert.pem"), identity.path("key.pem"));
        Turnd::start(&format!("cert = '{cert}'\npkey = '{key}'"))
    };
    let identity = Identity::of_openssl("localhost", (2020, 2090));
    let turnd = serve(&identity);
    identity.probe_port(turnd.address().port()).expect_served();
    let distrusted = Identity::new("localhost", (2020, 2090), true);
    distrusted
        .probe_port(turnd.address().port())
        .expect_fault("the TLS certificate is self-signed [701]", "--ca-file");
    let other = Identity::of_openssl("turn.example.org", (2020, 2090));
    other
        .probe_port(serve(&other).address().port())
        .expect_fault(
            "the TLS certificate is not for localhost [701]: it is for",
            "turn.example.org",
        );
}

#[test]
fn a_self_signed_certificate_expires_too() {
    let identity = Identity::of_openssl("localhost", (2020, 2021));
    let files = ["cert.pem", "key.pem"].map(|file| std::fs::read(identity.path(file)).unwrap());
    let port = tls_server(&files[0], &files[1]);
    identity.probe_port(port).expect_fault(
        "the TLS certificate has expired [701]: it ended on 2021-01-01 00:00:00 UTC",
        "",
    );
}

/// A server that shakes hands with a certificate, whatever it is, and no more.
fn tls_server(cert: &[u8], key: &[u8]) -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_slice(cert).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let _ = tls.complete_io(&mut stream);
        }
    });
    port
}
