//! `turnd bench` against turnd: that loads run and are counted, not how fast.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{PASSWORD, Running, Turnd, USER};

const LIMIT: Duration = Duration::from_secs(60);

fn bench(turnd: &Turnd, password: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command
        .arg("bench")
        .arg(format!("turn:{}?transport=udp", turnd.address()))
        .args(["--user", USER, "--password", password, "--json"])
        .args(["--duration", "1"])
        .args(arguments);
    let mut running = Running::start(&mut command);
    let status = running.wait(LIMIT).expect("bench stops by itself");
    (status.code(), running.stdout(), running.stderr())
}

fn report(turnd: &Turnd, arguments: &[&str]) -> Value {
    let (code, out, err) = bench(turnd, PASSWORD, arguments);
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn every_load_is_delivered_and_counted() {
    let turnd = Turnd::start("");
    let few = ["--allocations", "3", "--rate", "300"];
    let channels = ["binding", "voice", "c2p", "p2c", "gso", "echo"].map(|load| (load, &[][..]));
    for (load, more) in channels
        .into_iter()
        .chain([("video", &["--indications"][..])])
    {
        let report = report(&turnd, &[&["--load", load][..], &few, more].concat());
        let packets = &report["packets"];
        assert!(packets["delivered"].as_u64().unwrap() > 0, "{report}");
        assert!(
            report["delay_us"]["p99"].as_f64().unwrap() > 0.0,
            "{report}"
        );
        assert_eq!(packets["reordered"], 0, "{report}");
    }
    let pid = std::process::id().to_string();
    let report = report(
        &turnd,
        &["--load", "allocate", "--allocations", "20", "--pid", &pid],
    );
    assert_eq!(report["setup"]["allocations"], 20, "{report}");
    assert!(
        report["server"]["rss_kib"].as_u64().unwrap() > 0,
        "{report}"
    );
}

#[test]
fn a_wrong_password_is_said_and_not_measured() {
    let turnd = Turnd::start("");
    let (code, out, err) = bench(
        &turnd,
        "wrong",
        &["--load", "allocate", "--allocations", "1"],
    );
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("401") && err.contains("--password"), "{err}");
}
