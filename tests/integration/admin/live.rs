//! Log, busiest sessions and configuration of a running server, as `turnd ctl` shows them.

use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use super::{api, ctl, eventually, session, start, tcp, turnd_with, usual_session};
use crate::support::{PASSWORD, Peer, Running, Turnd};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Follows the log with these words until it is dropped.
fn follow(turnd: &Turnd, words: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["ctl", "--admin"]).arg(turnd.admin_socket());
    Running::start(command.arg("log").args(words))
}

#[test]
fn the_log_is_followed() {
    let turnd = start("");
    let all = follow(&turnd, &[]);
    let severe = follow(&turnd, &["--level", "error"]);
    let programs = follow(&turnd, &["--json"]);
    eventually("what was there", || all.stdout().contains("listening"));
    let _client = usual_session(&turnd);
    eventually("the new line", || {
        all.stdout().contains(" INFO allocation created ")
    });
    eventually("the new line for programs", || {
        programs.stdout().contains("allocation created")
    });
    let text = programs.stdout();
    let line = text
        .lines()
        .find(|line| line.contains("allocation created"));
    let line = parsed(line.unwrap());
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["fields"]["user"], "alice");
    assert_eq!(line["fields"]["session"], 1);
    // One line each, and none that is not severe enough.
    assert_eq!(all.stdout().matches("allocation created").count(), 1);
    turnd.configure_raw("broken");
    assert_eq!(ctl(&turnd, &["reload"]).code, Some(1));
    eventually("the error", || severe.stdout().contains("ERROR"));
    assert!(severe.stdout().lines().all(|line| line.contains(" ERROR ")));
}

#[test]
fn the_latest_lines_are_shown_once() {
    let turnd = start("");
    let _client = usual_session(&turnd);
    let lines = |words: &[&str]| ctl(&turnd, &[&["log", "--once"], words].concat());
    eventually("the line", || {
        lines(&[]).ok().contains("allocation created")
    });
    assert_eq!(lines(&["-n", "1"]).ok().lines().count(), 1);
    assert_eq!(lines(&["-n", "0"]).ok(), "");
    assert_eq!(lines(&["--level", "error"]).ok(), "");
    let more = lines(&["--level", "debug"]);
    assert_eq!(
        more.err,
        "the server logs from info on; turnd ctl log-level debug has it log more\n"
    );
    assert_eq!(lines(&["--level", "loud"]).code, Some(2));
    ctl(&turnd, &["log-level", "debug"]).ok();
    assert_eq!(lines(&["--level", "debug"]).err, "");
}

#[test]
fn who_reads_slowly_is_told_of_what_is_gone() {
    let turnd = start("");
    let http = api(&turnd);
    let before = http.get("/api/v1/log").json()["last"].as_u64().unwrap();
    let level = json!({ "level": "info" });
    // Each leaves a line.
    for _ in 0..1010 {
        assert_eq!(
            http.json("PUT", "/api/v1/log-level", &level.to_string())
                .status,
            200
        );
    }
    let answer = http.get(&format!("/api/v1/log?after={before}")).json();
    let lines = answer["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 1000);
    let missed = answer["missed"].as_u64().unwrap();
    assert_eq!(answer["last"].as_u64().unwrap(), before + missed + 1000);
    assert!(missed >= 10, "{missed}");
}

#[test]
fn the_log_is_for_those_with_full_rights() {
    let turnd = start("");
    assert_eq!(tcp(&turnd).get("/api/v1/log").status, 401);
    let turnd = start("admin-token = 'north'");
    assert_eq!(tcp(&turnd).get("/api/v1/log").status, 401);
    let http = tcp(&turnd).with_token("north");
    assert_eq!(http.get("/api/v1/log").status, 200);
}

#[test]
fn the_busiest_session_is_first() {
    let turnd = start("user = ['alice:secret', 'bob:secret']\nallow-loopback-peers = true");
    let echo = Peer::echo([127, 0, 0, 1]);
    let quiet = session(turnd.address(), "alice", PASSWORD);
    let busy = session(turnd.address(), "bob", PASSWORD);
    let carry = || (0..20).for_each(|_| assert!(busy.echoes(&echo)));
    carry();
    let first = |words: &[&str]| {
        let text = ctl(&turnd, words).ok();
        text.lines().nth(1).unwrap_or_default().to_owned()
    };
    assert!(first(&["sessions"]).contains("alice"));
    assert!(first(&["sessions", "--sort", "traffic"]).contains("bob"));
    assert!(first(&["sessions", "--sort", "age"]).contains("alice"));
    eventually("a rate", || {
        carry();
        let line = first(&["sessions", "--sort", "rate", "--limit", "1"]);
        line.contains("bob") && line.contains("kbit/s")
    });
    let words = ["sessions", "--sort", "traffic", "--limit", "1"];
    let text = ctl(&turnd, &words).ok();
    assert!(text.ends_with("1 of 2; --all shows the rest\n"), "{text}");
    let all = ["sessions", "--sort", "rate", "--all", "--json"];
    let answer = parsed(&ctl(&turnd, &all).ok());
    assert_eq!(answer["sessions"].as_array().unwrap().len(), 2);

    let text = ctl(&turnd, &["sessions", "--user", "bob", "--peers"]).ok();
    assert_eq!(text.lines().nth(2).unwrap().trim(), "permission 127.0.0.1");

    // Without a terminal there is one round.
    let text = ctl(&turnd, &["top"]).ok();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("turnd 0.1.0, serving, up "), "{text}");
    assert!(lines[1].starts_with("2 sessions, "), "{text}");
    assert!(lines[3].starts_with("PEERS NOW"), "{text}");
    assert!(
        lines[4].contains("bob") && lines[5].contains("alice"),
        "{text}"
    );
    let text = ctl(&turnd, &["top", "--once", "--user", "alice"]).ok();
    assert_eq!(text.lines().count(), 5, "{text}");
    let answer = parsed(&ctl(&turnd, &["top", "--json", "--limit", "1"]).ok());
    assert_eq!(answer["sessions"]["sessions"][0]["user"], "bob");
    assert_eq!(answer["status"]["allocations"], 2);
    drop(quiet);
}

#[test]
fn more_sessions_than_a_page_are_sorted_whole() {
    let extras = crate::support::Extras {
        admin: true,
        relays: 1100,
        ..Default::default()
    };
    let turnd = Turnd::start_with("user-quota = 0\nuser-allocate-rate = 0", extras);
    let clients: Vec<_> = (0..1010).map(|_| usual_session(&turnd)).collect();
    let words = ["sessions", "--sort", "age", "--all", "--json"];
    let answer = parsed(&ctl(&turnd, &words).ok());
    assert_eq!(answer["sessions"].as_array().unwrap().len(), clients.len());
    assert!(answer["next"].is_null());
}

#[test]
fn the_state_is_watched_only_on_a_terminal() {
    let turnd = start("");
    let text = ctl(&turnd, &["status", "--watch"]).ok();
    assert!(text.starts_with("turnd 0.1.0, serving"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    // Each relay address has all ports.
    assert!(text.contains(" on each of 2 addresses) in use"), "{text}");
}

#[test]
fn the_configuration_in_force_is_printed_without_secrets() {
    let turnd =
        start("static-auth-secret = 'a-secret-of-some-length'\nmax-allocate-lifetime = 1234");
    let text = ctl(&turnd, &["config"]).ok();
    let config = turnd.config();
    let file = format!("# in force, from {}", config.display());
    assert_eq!(text.lines().next(), Some(file.as_str()));
    assert!(text.contains("\n# listens on:   127.0.0.1:"), "{text}");
    assert!(
        text.contains("\nmax-allocate-lifetime = 1234  # default: 3600\n"),
        "{text}"
    );
    assert!(!text.contains("a-secret-of-some-length"), "{text}");
    assert!(!text.contains("\nfingerprint ="), "{text}");
    // It is a configuration, but for the secrets.
    let table: toml::Table = text.parse().unwrap();
    assert!(table.contains_key("static-auth-secret"), "{text}");
    let all: toml::Table = ctl(&turnd, &["config", "--all"]).ok().parse().unwrap();
    assert!(all.len() > table.len() && all.contains_key("fingerprint"));
    // The file may have changed since.
    turnd.configure_raw("max-allocate-lifetime = 5");
    assert_eq!(ctl(&turnd, &["config"]).ok(), text);
    let answer = parsed(&ctl(&turnd, &["config", "--json"]).ok());
    assert!(
        answer["keys"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["changed"] == true)
    );
}

#[test]
fn options_of_the_connection_have_a_heading() {
    let commands = [
        "status",
        "sessions",
        "top",
        "config",
        "log",
        "kill",
        "drain",
        "reload",
        "log-level",
        "credentials",
    ];
    let helps: Vec<_> = commands
        .map(|command| thread::spawn(move || turnd_with(&["ctl", command, "--help"]).ok()))
        .into_iter()
        .map(|help| help.join().unwrap())
        .collect();
    for help in helps {
        let (own, connection) = help
            .split_once("\nConnection:\n")
            .unwrap_or_else(|| panic!("{help}"));
        for option in ["--admin", "--config", "--token", "--token-file"] {
            assert!(
                connection.contains(option) && !own.contains(&format!("{option} ")),
                "{help}"
            );
        }
        assert!(own.contains("--json"), "{help}");
    }
}
