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
