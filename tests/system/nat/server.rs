//! The server's side, asked by coturn's tools and packet by packet.

use std::process::Command;
use std::time::Duration;

use crate::support::{Running, Turnd, run};

const LIMIT: Duration = Duration::from_secs(30);

const FIRST: &str = "127.0.0.1";

const SECOND: &str = "127.0.0.2";

fn start() -> Turnd {
    Turnd::start(&format!(
        "listening-ip = ['{FIRST}', '{SECOND}']\nrelay-ip = '{FIRST}'\n\
         rfc5780 = true\nrfc3489-compatibility = true\nrelay-threads = 4"
    ))
}

fn natdiscovery(turnd: &Turnd, arguments: &str) -> String {
    let port = turnd.address().port().to_string();
    let mut command = Command::new("turnutils_natdiscovery");
    command.args(arguments.split_whitespace());
    run(command.args(["-p", &port, FIRST]), LIMIT)
}

#[test]
fn natdiscovery_finds_mapping_and_filtering() {
    let turnd = start();
    for arguments in ["-m -f", "-m -f -P"] {
        let output = natdiscovery(&turnd, arguments);
        for line in [
            "NAT with Endpoint Independent Mapping!",
            "NAT with Endpoint Independent Filtering!",
            "No ALG: Mapped == XOR-Mapped",
        ] {
            assert!(
                output.contains(line),
                "{arguments}: no {line:?} in {output}"
            );
        }
    }
}

#[test]
fn natdiscovery_finds_hairpinning() {
    let turnd = start();
    for arguments in ["-H", "-H -P"] {
        let output = natdiscovery(&turnd, arguments);
        assert!(output.contains("a successful hairpinning"), "{output}");
    }
}

#[test]
fn natdiscovery_finds_the_mapping_alive() {
    let output = natdiscovery(&start(), "-t -T 1");
    assert!(output.contains("RFC 5780 response 2"), "{output}");
    assert!(!output.contains("no more valid"), "{output}");
}

#[test]
fn stunclient_gets_three_answers() {
    let turnd = start();
    let port = turnd.address().port().to_string();
    for arguments in [&["-p", &port, FIRST][..], &["-f", "-p", &port, FIRST]] {
        let mut command = Command::new("turnutils_stunclient");
        let mut client = Running::start(command.args(arguments));
        // Its exit code says nothing.
        assert!(client.wait(LIMIT).is_some(), "it hangs");
        let output = client.stdout();
        for line in [
            "RFC 5780 response 3".to_owned(),
            format!("Response origin: : {SECOND}:{}", turnd.address().port() + 1),
        ] {
            assert!(output.contains(&line), "no {line:?} in {output}");
        }
    }
}
