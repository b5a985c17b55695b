//! `turnd probe`, and the certificates of the servers that it is sent to.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;

use super::{Coturn, Namespace, Running, Scratch};

/// Output of the command, its exit code and duration.
pub(crate) struct Outcome {
    pub(crate) json: Value,
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Every finding, as "level what: why; remedy".
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        for uri in self.json["uris"].as_array().unwrap() {
            let addresses = uri["addresses"].as_array().unwrap();
            for place in addresses.iter().chain([uri]) {
                for finding in place["findings"].as_array().unwrap() {
                    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
                    let code = finding["code"]
                        .as_u64()
                        .map_or_else(String::new, |c| format!(" [{c}]"));
                    found.push(format!(
                        "{} {}{code}: {}; {}",
                        text("level"),
                        text("what"),
                        text("why"),
                        text("remedy")
                    ));
                }
            }
        }
        found
    }

    /// One fault, which begins and contains so; a browser is not served.
    pub(crate) fn expect_fault(&self, begins: &str, contains: &str) {
        let findings = self.findings();
        let faults: Vec<_> = findings
            .iter()
            .filter(|f| f.starts_with("fault "))
            .collect();
        assert_eq!(faults.len(), 1, "{findings:#?}");
        assert!(
            faults[0].starts_with(&format!("fault {begins}")),
            "{findings:#?}"
        );
        assert!(faults[0].contains(contains), "{findings:#?}");
        assert_eq!(self.code, Some(1));
        assert_eq!(self.json["served"], false);
    }

    /// Nothing worse than a note, and data went through the relay.
    pub(crate) fn expect_served(&self) {
        let findings = self.findings();
        assert!(
            findings.iter().all(|f| f.starts_with("note ")),
            "{findings:#?}"
        );
        assert_eq!(self.code, Some(0), "{:#}", self.json);
        assert_eq!(self.json["served"], true);
        for uri in self.json["uris"].as_array().unwrap() {
            let address = &uri["addresses"][0];
            assert!(address["reflexive"]["milliseconds"].as_f64().unwrap() < 5000.0);
            if uri["uri"].as_str().unwrap().starts_with("turn") {
                let traffic = &address["traffic"];
                assert_eq!(traffic["loss_percent"], 0.0, "{:#}", self.json);
                assert!(traffic["bits_per_second"].as_u64().unwrap() > 1_000_000);
            }
        }
    }
}

/// Runs `turnd probe --json` with these words, in a namespace or here.
pub(crate) fn probe(namespace: Option<&Namespace>, words: &[&str]) -> Outcome {
    let binary = env!("CARGO_BIN_EXE_turnd");
    let mut command = match namespace {
        Some(namespace) => namespace.command(binary),
        None => Command::new(binary),
    };
    let begun = Instant::now();
    let mut running = Running::start(command.args(["probe", "--json"]).args(words));
    let status = running
        .wait(Duration::from_secs(60))
        .expect("turnd probe hangs");
    let took = begun.elapsed();
    let output = running.stdout();
    let json = serde_json::from_str(&output)
        .unwrap_or_else(|error| panic!("{error}: {output}{}", running.stderr()));
    Outcome {
        json,
        code: status.code(),
        took,
    }
}

/// Peers that coturn relays to unless it is told not to.
const INTERNAL: &str = "--denied-peer-ip=0.0.0.0-0.255.255.255 --denied-peer-ip=10.0.0.0-10.255.255.255 \
    --denied-peer-ip=172.16.0.0-172.31.255.255 --denied-peer-ip=192.168.0.0-192.168.255.255 \
    --denied-peer-ip=100.64.0.0-100.127.255.255 --denied-peer-ip=169.254.0.0-169.254.255.255";

/// Certificate and key of a server, and the authority that signed it.
pub(crate) struct Identity {
    scratch: Scratch,
}

impl Identity {
    /// For this name, valid in these years, signed by an authority or by itself.
    pub(crate) fn new(name: &str, years: (i32, i32), by_authority: bool) -> Self {
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

    /// The same, as `openssl req -x509` makes it: signed by itself, an authority and a server at once.
    pub(crate) fn of_openssl(name: &str, years: (i32, i32)) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let scratch = Scratch::new();
        for (file, pem) in [
            ("cert.pem", &certificate),
            ("key.pem", &key.serialize_pem()),
            ("ca.pem", &certificate),
        ] {
            fs::write(scratch.path().join(file), pem).unwrap();
        }
        Self { scratch }
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.scratch.path().join(file).to_str().unwrap().to_owned()
    }

    pub(crate) fn serve(&self) -> Coturn {
        Coturn::start(
            &["127.0.0.1"],
            &format!(
                "--lt-cred-mech -u alice:secret -r example.org --cert {} --pkey {} {INTERNAL}",
                self.path("cert.pem"),
                self.path("key.pem")
            ),
        )
    }

    pub(crate) fn probe(&self, coturn: &Coturn) -> Outcome {
        self.probe_port(coturn.ports().tls_listening())
    }

    pub(crate) fn probe_port(&self, port: u16) -> Outcome {
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
