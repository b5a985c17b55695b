//! `turnd nat` against coturn's server.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Coturn, run};

fn nat(arguments: &[String]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["nat", "--json"]).args(arguments);
    let output = run(&mut command, Duration::from_secs(40));
    serde_json::from_str(&output).unwrap()
}

#[test]
fn everything_is_learned_from_coturn_with_two_addresses() {
    for ips in [
        &["127.0.0.1", "127.0.0.2"][..],
        &["::1", "127.0.0.1", "127.0.0.2"],
    ] {
        let coturn = Coturn::start(ips, "--no-auth");
        let found = nat(&[
            "--server".into(),
            format!("127.0.0.1:{}", coturn.ports().listening()),
        ]);
        let family = &found["families"][0];
        assert_eq!(family["rfc3489"], "open internet", "{found:#}");
        assert_eq!(family["behaviour"]["alg"], false, "{found:#}");
        assert_eq!(
            family["behaviour"]["tcp_mapping"], "endpoint-independent",
            "{found:#}"
        );
    }
}

#[test]
fn with_one_address_it_says_what_is_missing() {
    let coturn = Coturn::start(&["127.0.0.1"], "--no-auth");
    let found = nat(&[
        "--server".into(),
        format!("127.0.0.1:{}", coturn.ports().listening()),
    ]);
    let family = &found["families"][0];
    assert_eq!(family["rfc3489"], Value::Null, "{found:#}");
    let why = family["unknown"]["filtering"].as_str().unwrap();
    assert!(why.starts_with("the server has no second address"), "{why}");
}
