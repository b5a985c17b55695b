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
