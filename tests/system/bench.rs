//! `turnd bench` against turnd: that loads run and are counted, not how fast.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Authority, Extras, Key, PASSWORD, Running, Turnd, USER, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn bench(uri: &str, password: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command
        .args(["bench", uri])
        .args(["--user", USER, "--password", password, "--json"])
        .args(["--duration", "1"])
        .args(arguments);
    let mut running = Running::start(&mut command);
    let status = running.wait(LIMIT).expect("bench stops by itself");
    (status.code(), running.stdout(), running.stderr())
}

fn udp(turnd: &Turnd) -> String {
    format!("turn:{}?transport=udp", turnd.address())
}

fn report(uri: &str, arguments: &[&str]) -> Value {
    let (code, out, err) = bench(uri, PASSWORD, arguments);
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
        let report = report(&udp(&turnd), &[&["--load", load][..], &few, more].concat());
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
        &udp(&turnd),
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
        &udp(&turnd),
        "wrong",
        &["--load", "allocate", "--allocations", "1"],
    );
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("401") && err.contains("--password"), "{err}");
}

#[test]
fn what_ended_the_run_is_said() {
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    let turnd = Turnd::start_with("", extras);
    let tcp = format!("turn:{}?transport=tcp", turnd.address());
    for uri in [udp(&turnd), tcp] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
        command.args(["bench", &uri, "--user", USER, "--password", PASSWORD]);
        command.args([
            "--json",
            "--duration",
            "4",
            "--allocations",
            "3",
            "--rate",
            "300",
        ]);
        let mut running = Running::start(&mut command);
        let admin = turnd.admin_socket();
        let ctl = |words: &[&str]| {
            let mut ctl = Command::new(env!("CARGO_BIN_EXE_turnd"));
            ctl.args(["ctl", "--json", "--admin"]).arg(&admin);
            run(ctl.args(words), LIMIT)
        };
        let three = || {
            let status: Value = serde_json::from_str(&ctl(&["status"])).unwrap();
            status["allocations"] == 3
        };
        wait_until("no allocations", three);
        ctl(&["kill", "--user", USER]);
        let status = running.wait(LIMIT).expect("bench stops by itself");
        assert!(status.success(), "{}", running.stderr());
        let report: Value = serde_json::from_str(&running.stdout()).unwrap();
        assert_eq!(report["ended"], "server", "{report}");
        assert_eq!(report["ended_by_server"], 3, "{report}");
    }
    let report = report(&udp(&turnd), &["--allocations", "3", "--rate", "300"]);
    assert_eq!(
        (&report["ended"], &report["ended_by_server"]),
        (&"duration".into(), &0.into())
    );
}

#[test]
fn loads_run_over_tcp_and_tls_and_nothing_is_lost_or_reordered() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    let tcp = format!("turn:{}?transport=tcp", turnd.address());
    let tls = format!("turns:{}", turnd.address());
    for (uri, transport) in [(tcp, "TCP"), (tls, "TLS")] {
        for (load, more) in [
            ("binding", &[][..]),
            ("voice", &[]),
            // Frames of this size want padding.
            ("voice", &["--size", "161", "--burst", "5"]),
            ("video", &["--indications"]),
            ("echo", &[]),
        ] {
            let few = ["--load", load, "--allocations", "3", "--rate", "300"];
            let report = report(&uri, &[&few[..], more].concat());
            assert_eq!(report["transport"], transport);
            let packets = &report["packets"];
            assert!(packets["delivered"].as_u64().unwrap() > 100, "{report}");
            assert_eq!(packets["lost"], 0, "{report}");
            assert_eq!(packets["reordered"], 0, "{report}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let turnd = Turnd::start("no-tcp = true\nno-tls = true");
    let uri = format!("turn:{}?transport=tcp", turnd.address());
    let (code, out, err) = bench(&uri, PASSWORD, &["--allocations", "1"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("client 0 gets no socket to ") && err.contains("refused"),
        "{err}"
    );
}
