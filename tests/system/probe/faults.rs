//! turnd on loopback, right and wrong.

use super::probe;
use crate::support::{Coturn, PASSWORD, USER};

const LOGIN: [&str; 4] = ["--user", USER, "--password", PASSWORD];

#[test]
fn peers_denied() {
    let coturn = Coturn::start(
        &["127.0.0.1"],
        "--no-tls --lt-cred-mech -u alice:secret -r example.org --denied-peer-ip=127.0.0.0-127.255.255.255",
    );
    let uri = format!("turn:127.0.0.1:{}", coturn.ports().listening());
    let outcome = probe(None, &[&[uri.as_str()], &LOGIN[..]].concat());
    outcome.expect_fault(
        "the server refuses 127.0.0.1 as a peer [403]",
        "denied-peer-ip",
    );
}

#[test]
fn coturn_relays_into_private_networks_unless_told() {
    let internal = |more: &str| {
        let arguments = format!("--no-tls --lt-cred-mech -u alice:secret -r example.org {more}");
        let coturn = Coturn::start(&["127.0.0.1"], &arguments);
        let uri = format!("turn:127.0.0.1:{}", coturn.ports().listening());
        let outcome = probe(None, &[&[uri.as_str()], &LOGIN[..]].concat());
        outcome.json["uris"][0]["addresses"][0]["internal_peers"].to_string()
    };
    let accepted = internal("");
    assert!(accepted.contains("\"10.0.0.1\""), "{accepted}");
    assert!(accepted.contains("\"169.254.169.254\""), "{accepted}");
    let accepted = internal("--denied-peer-ip=10.0.0.0-10.255.255.255");
    assert!(!accepted.contains("\"10.0.0.1\""), "{accepted}");
}
