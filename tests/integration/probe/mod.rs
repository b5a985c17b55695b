//! `turnd probe`: servers that work, and servers that are wrong in one way each.

mod bad_input;
mod faults;
mod namespaces;
mod tls;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Namespace, Running};

/// What the command printed, and how it ended.
struct Outcome {
    json: Value,
    code: Option<i32>,
    took: Duration,
}

impl Outcome {
    /// Every finding, as "level what: why; remedy".
    fn findings(&self) -> Vec<String> {
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
    fn expect_fault(&self, begins: &str, contains: &str) {
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
    fn expect_served(&self) {
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
fn probe(namespace: Option<&Namespace>, words: &[&str]) -> Outcome {
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
