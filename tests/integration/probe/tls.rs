//! TCP and TLS, against coturn and turnd.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use super::{Outcome, probe};
use crate::support::{Coturn, Scratch, Turnd};

/// Certificate and key of a server, and the authority that signed it.
struct Identity {
    scratch: Scratch,
}

impl Identity {
    /// For this name, valid in these years, signed by an authority or by itself.
    fn new(name: &str, years: (i32, i32), by_authority: bool) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Test authority");
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = if by_authority {
            params.signed_by(&key, &authority).unwrap()
        } else {
            params.self_signed(&key).unwrap()
        };
        let scratch = Scratch::new();
        for (file, pem) in [
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("ca.pem", authority.pem()),
        ] {
            fs::write(scratch.path().join(file), pem).unwrap();
        }
        Self { scratch }
    }

    fn path(&self, file: &str) -> String {
        self.scratch.path().join(file).to_str().unwrap().to_owned()
    }

    fn serve(&self) -> Coturn {
        Coturn::start(
            &["127.0.0.1"],
            &format!(
                "--lt-cred-mech -u alice:secret -r example.org --cert {} --pkey {}",
                self.path("cert.pem"),
                self.path("key.pem")
            ),
        )
    }

    fn probe(&self, coturn: &Coturn) -> Outcome {
        self.probe_port(coturn.ports().tls_listening())
    }

    fn probe_port(&self, port: u16) -> Outcome {
        let uri = format!("turns:localhost:{port}?transport=tcp");
        let ca = self.path("ca.pem");
        probe(
            None,
            &[
                &uri,
                "--user",
                "alice",
                "--password",
                "secret",
                "--ca-file",
                &ca,
            ],
        )
    }
}

#[test]
fn a_good_server_serves_over_tcp_and_tls() {
    let identity = Identity::new("localhost", (2020, 2090), true);
    let coturn = identity.serve();
    let outcome = identity.probe(&coturn);
    outcome.expect_served();
    let end = &outcome.json["uris"][0]["addresses"][0]["certificate_ends"];
    assert_eq!(*end, 3_786_912_000_u64, "2090-01-01");
    let tcp = format!(
        "turn:localhost:{}?transport=tcp",
        coturn.ports().listening()
    );
    probe(None, &[&tcp, "--user", "alice", "--password", "secret"]).expect_served();
    let wrong = probe(None, &[&tcp, "--user", "alice", "--password", "no"]);
    wrong.expect_fault("the server refuses the credentials of \"alice\" [401]", "");
}

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
fn certificate_expired() {
    let identity = Identity::new("localhost", (2020, 2021), true);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault(
        "the TLS certificate has expired [701]: it ended on 2021-01-01",
        "",
    );
}

#[test]
fn certificate_not_valid_yet() {
    let identity = Identity::new("localhost", (2080, 2090), true);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault("the TLS certificate is not valid yet [701]", "");
}

#[test]
fn certificate_for_another_name() {
    let identity = Identity::new("turn.example.org", (2020, 2090), true);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault(
        "the TLS certificate is not for localhost [701]",
        "turn.example.org",
    );
}

#[test]
fn certificate_self_signed() {
    let identity = Identity::new("localhost", (2020, 2090), false);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault("the TLS certificate is self-signed [701]", "");
}

#[test]
fn certificate_of_an_authority_that_nobody_knows() {
    let identity = Identity::new("localhost", (2020, 2090), true);
    let coturn = identity.serve();
    let uri = format!("turns:localhost:{}", coturn.ports().tls_listening());
    let outcome = probe(None, &[&uri, "--user", "alice", "--password", "secret"]);
    outcome.expect_fault(
        "the TLS certificate comes from an authority that is not trusted [701]",
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
