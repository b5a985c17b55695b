//! Lines of the log: their levels, and their form for the journal and for programs.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use stun::message::{METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION};
use turn::proto::channum::ChannelNumber;

use super::{LIMIT, wait_for};
use crate::support::messages::{peer, status};
use crate::support::{Extras, Peer, Running, Scratch, StreamClient, StunClient, Turnd};

const TURND: &str = env!("CARGO_BIN_EXE_turnd");

/// The name that systemd gives to a file that is a stream of the journal.
fn journal_stream(file: &Path) -> String {
    let file = fs::metadata(file).unwrap();
    format!("{}:{}", file.dev(), file.ino())
}

#[test]
fn a_line_for_the_journal_has_its_priority_and_no_time() {
    let scratch = Scratch::new();
    let [journal, other] = ["journal", "other"].map(|name| {
        let path = scratch.path().join(name);
        fs::write(&path, "").unwrap();
        path
    });
    let stream = journal_stream(&journal);
    let start = |stderr: &Path, format: &str| {
        let env = [("JOURNAL_STREAM", stream.as_str())];
        let extras = Extras {
            stderr: Some(stderr),
            env: &env,
            ..Extras::default()
        };
        let toml = format!("verbose = true\nno-auth = true\nlog-format = '{format}'");
        Turnd::start_with(&toml, extras)
    };
    let read = |path: &Path| fs::read_to_string(path).unwrap();

    let turnd = start(&journal, "text");
    wait_for("binding answered", || read(&journal));
    drop(turnd);
    let log = read(&journal);
    for line in log.lines() {
        let starts = ["<4>WARN ", "<6>INFO ", "<7>DEBUG "];
        assert!(starts.iter().any(|s| line.starts_with(s)), "{line}");
    }
    assert!(log.contains("<4>WARN no-auth: anyone"), "{log}");
    assert!(log.contains("<6>INFO serving version="), "{log}");
    assert!(log.contains("<7>DEBUG binding answered client="), "{log}");

    File::create(&journal).unwrap();
    let turnd = start(&journal, "json");
    wait_for("binding answered", || read(&journal));
    drop(turnd);
    for line in read(&journal).lines() {
        let (priority, json) = line.split_at(3);
        let json: Value = serde_json::from_str(json).unwrap();
        let expected = match json["level"].as_str().unwrap() {
            "WARN" => "<4>",
            "INFO" => "<6>",
            _ => "<7>",
        };
        assert_eq!(priority, expected, "{line}");
    }

    // Somebody else's stream, as in a program that a service starts with another standard error.
    let turnd = start(&other, "text");
    wait_for("serving version=", || read(&other));
    drop(turnd);
    assert!(read(&other).lines().all(|line| line.starts_with("20")));
}

/// Runs `serve` to its end, with standard error in `stderr`.
fn fails(toml: &str, stderr: &Path, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let scratch = Scratch::new();
    let config = scratch.path().join("turnd.toml");
    fs::write(&config, toml).unwrap();
    let mut command = Command::new(TURND);
    command.args(["serve", "-c"]).arg(&config);
    command.envs(env.iter().copied()).stdin(Stdio::null());
    let stderr_file = File::create(stderr).unwrap();
    let mut running = Running::start_with_stderr(&mut command, scratch, stderr_file);
    let code = running.wait(LIMIT).expect("it goes on").code();
    (code, fs::read_to_string(stderr).unwrap())
}

#[test]
fn the_reason_of_the_end_is_a_line_like_those_before_it() {
    let scratch = Scratch::new();
    let stderr = scratch.path().join("stderr");
    // An address for documentation, which no host has.
    let bad_address = "listening-ip = '203.0.113.9'\nno-auth = true\nadmin-listen = []\n";
    let last = |log: &str| log.lines().last().unwrap_or_default().to_owned();

    let (code, log) = fails(bad_address, &stderr, &[]);
    assert_eq!(code, Some(1), "{log}");
    let (time, rest) = last(&log)
        .split_once(' ')
        .map(|(t, r)| (t.to_owned(), r.to_owned()))
        .unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{log}");
    assert!(
        rest.starts_with("error: 203.0.113.9:3478/udp cannot be bound"),
        "{log}"
    );

    let (code, log) = fails(&format!("log-format = 'json'\n{bad_address}"), &stderr, &[]);
    assert_eq!(code, Some(1), "{log}");
    for line in log.lines() {
        let json: Value = serde_json::from_str(line).unwrap();
        assert!(json["timestamp"].is_string(), "{line}");
    }
    assert!(
        last(&log).contains("\"level\":\"ERROR\",\"message\":\"203.0.113.9"),
        "{log}"
    );

    // A file that is wrong is told in its own format.
    let (code, log) = fails("log-format = 'json'\nfoo = 1\nbar = 2\n", &stderr, &[]);
    assert_eq!(code, Some(2), "{log}");
    for line in log.lines() {
        let json: Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["level"], "ERROR", "{line}");
    }

    // With a file for the log the reason is there too.
    let file = scratch.path().join("turnd.log");
    let toml = format!("log-file = '{}'\n{bad_address}", file.display());
    let (code, log) = fails(&toml, &stderr, &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("error: 203.0.113.9"), "{log}");
    let lines = fs::read_to_string(&file).unwrap();
    assert!(
        last(&lines).contains("ERROR 203.0.113.9:3478/udp"),
        "{lines}"
    );

    // The journal has a time of its own. The file is known only when it is there.
    File::create(&stderr).unwrap();
    let stream = journal_stream(&stderr);
    let (_, log) = fails(bad_address, &stderr, &[("JOURNAL_STREAM", &stream)]);
    assert!(last(&log).starts_with("<3>error: 203.0.113.9"), "{log}");
}

#[test]
fn verbose_tells_challenges_bindings_permissions_and_channels() {
    let turnd = Turnd::start("verbose = true\nstale-nonce = 1");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (client, _) = StunClient::allocated(turnd.address());
    client.binding().unwrap();
    let to = echo.address().to_string();
    let permitted = client.ask_signed(METHOD_CREATE_PERMISSION, vec![peer(&to)]);
    assert_eq!(status(&permitted), 200);
    let bound = client.ask_signed(
        METHOD_CHANNEL_BIND,
        vec![Box::new(ChannelNumber(0x4001)), peer(&to)],
    );
    assert_eq!(status(&bound), 200);
    let from = format!("client={}", client.address());
    for text in [
        format!("DEBUG challenged {from} "),
        format!("DEBUG binding answered {from} "),
        format!("DEBUG permission installed session=1 {from} "),
        format!("DEBUG channel bound session=1 {from} "),
    ] {
        turnd.log_with(&text);
    }
    let log = turnd.log();
    for text in [
        "method=Allocate code=401 reason=\"no-integrity\"",
        "peers=\"127.0.0.1\" lifetime=300",
        &format!("channel=\"0x4001\" peer=\"{to}\" lifetime=600"),
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
    // A stream says why it ends.
    let stream = StreamClient::new(turnd.address());
    let from = stream.stream.local_addr().unwrap();
    drop(stream);
    turnd.log_with(&format!("DEBUG connection closed client={from}"));
}

#[test]
fn trace_tells_packets_that_go_nowhere_and_error_tells_nothing_but_errors() {
    let turnd = Turnd::start("log-min-level = 'trace'");
    let client = StunClient::new(turnd.address());
    client.send(&[0x40, 0, 0, 4, 1, 2, 3, 4]);
    let from = client.address();
    turnd.log_with(&format!(
        "TRACE client's packet dropped client={from} server={} transport=\"udp\" reason=\"no-allocation\"",
        turnd.address()
    ));

    let turnd = Turnd::start("log-min-level = 'error'\nverbose = true");
    let (_client, _) = StunClient::allocated(turnd.address());
    turnd.configure("log-min-level = 'warning'");
    turnd.signal(Signal::HUP);
    turnd.log_with("admin action=\"reload\"");
    assert!(!turnd.log().contains("serving"), "{}", turnd.log());
    assert!(!turnd.log().contains("allocation"), "{}", turnd.log());
}

#[test]
fn a_line_sums_up_the_start() {
    let turnd = Turnd::start_with(
        "user = ['alice:correct horse', 'bob:battery staple']",
        Extras {
            admin: true,
            ..Extras::default()
        },
    );
    let log = turnd.log_with("page=");
    let line = log
        .lines()
        .find(|line| line.contains("INFO serving version="));
    let line = line.unwrap();
    for part in [
        "static_users=2 rest_secrets=0".to_owned(),
        format!(
            "admin=\"{}, {}\"",
            turnd.admin(),
            turnd.admin_socket().display()
        ),
        format!("page=\"http://{}/\"", turnd.admin()),
    ] {
        assert!(line.contains(&part), "{part}: {line}");
    }
}
