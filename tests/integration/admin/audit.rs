//! Audit of changes: one line each, at every log level, with the caller and the address.

use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getgid, getuid};
use serde_json::{Value, json};

use super::{api, eventually, session, start, status, tcp, usual_session};
use crate::support::{Authority, Key, PASSWORD, Running, Turnd, USER};

/// The audit lines so far.
fn lines(turnd: &Turnd) -> Vec<Value> {
    let log = turnd.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["message"] == "admin" && line["by"].is_string())
        .collect()
}

/// The one line that `act` brings.
fn after<T>(turnd: &Turnd, act: impl FnOnce() -> T) -> (T, Value) {
    let before = lines(turnd).len();
    let outcome = act();
    eventually("a line", || lines(turnd).len() > before);
    let mut all = lines(turnd);
    assert_eq!(all.len(), before + 1, "{all:?}");
    (outcome, all.remove(before))
}

/// User and group that the tests run as.
fn ids() -> String {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    format!("uid {user}, gid {group}")
}

fn expect(line: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} of {line}");
    }
}

#[test]
fn every_change_is_logged_with_who_and_whence_at_every_level() {
    let toml = "log-format = 'json'\nstatic-auth-secret = 'northern-light'\nadmin-token = 'south'\nuser = ['alice:secret', 'bob:secret']";
    for level in ["error", "trace"] {
        let turnd = start(toml);
        let over_tcp = tcp(&turnd).with_token("south");
        let body = json!({ "level": level });
        let (answer, line) = after(&turnd, || over_tcp.put("/api/v1/log-level", &body));
        assert_eq!(answer.status, 200);
        expect(&line, &json!({ "action": "log-level", "level": level }));
        let by = line["by"].as_str().unwrap();
        assert!(
            by.starts_with("tcp 127.0.0.1:") && by.ends_with(", with the token"),
            "{by}"
        );

        // By the unix socket the system tells who it is.
        let unix = api(&turnd);
        let us = format!("unix socket, {}, pid {}", ids(), std::process::id());
        let (_alice, _bob) = (
            usual_session(&turnd),
            session(turnd.address(), "bob", PASSWORD),
        );
        let kill = json!({ "user": USER, "client": "127.0.0.1" });
        let (answer, line) = after(&turnd, || unix.post("/api/v1/kill", &kill));
        assert_eq!(answer.json()["killed"], 1);
        expect(
            &line,
            &json!({ "action": "kill", "by": us, "user": USER, "client": "127.0.0.1", "killed": 1 }),
        );
        let listed = unix.get("/api/v1/sessions").json();
        let id = listed["sessions"][0]["id"].clone();
        let path = format!("/api/v1/sessions/{id}");
        let (_, line) = after(&turnd, || unix.delete(&path));
        expect(
            &line,
            &json!({ "action": "kill", "by": us, "session": id, "killed": 1 }),
        );
        let (_, line) = after(&turnd, || {
            unix.post("/api/v1/drain", &json!({ "drain": true }))
        });
        expect(
            &line,
            &json!({ "action": "drain", "by": us, "draining": true }),
        );
        let (_, line) = after(&turnd, || {
            unix.post("/api/v1/drain", &json!({ "drain": false }))
        });
        expect(
            &line,
            &json!({ "action": "drain", "by": us, "draining": false }),
        );
        let wanted = json!({ "name": "dora\n\u{202e}", "ttl_seconds": 60 });
        assert_eq!(unix.post("/api/v1/credentials", &wanted).status, 422);
        let wanted = json!({ "name": "dora\u{202e}", "ttl_seconds": 60 });
        let (answer, line) = after(&turnd, || unix.post("/api/v1/credentials", &wanted));
        expect(
            &line,
            &json!({ "action": "credentials", "by": us, "ttl": 60 }),
        );
        assert!(
            line["user"].as_str().unwrap().ends_with(":dora\\u{202e}"),
            "{line}"
        );
        let password = answer.json()["iceServers"][0]["credential"].clone();

        // Requests that only read, or that are refused, change nothing and are not logged.
        let before = lines(&turnd).len();
        unix.get("/api/v1/status").json();
        unix.get("/metrics");
        unix.post("/api/v1/credentials", &json!({ "urls_only": true }))
            .json();
        assert_eq!(
            tcp(&turnd)
                .post("/api/v1/drain", &json!({ "drain": true }))
                .status,
            401
        );
        assert_eq!(unix.post("/api/v1/kill", &json!({})).status, 422);
        assert_eq!(lines(&turnd).len(), before);

        let log = turnd.log();
        for secret in ["northern-light", "south", password.as_str().unwrap()] {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
        if level == "error" {
            assert!(!log.contains("allocation ended"), "{log}");
        }
    }
}

#[test]
fn reloads_and_signals_are_logged_too() {
    let toml = "log-format = 'json'\nreload-on-change = true";
    let mut turnd = start(toml);
    let unix = api(&turnd);
    let quiet = |turnd: &Turnd| {
        let level = json!({ "level": "error" });
        // Its own line has come before another is waited for.
        let (answer, _) = after(turnd, || unix.put("/api/v1/log-level", &level));
        assert_eq!(answer.status, 200);
    };
    quiet(&turnd);
    let (_, line) = after(&turnd, || unix.post("/api/v1/reload", &json!({})));
    expect(
        &line,
        &json!({ "action": "reload", "done": true, "changed": "" }),
    );
    assert!(
        line["by"]
            .as_str()
            .unwrap()
            .starts_with(&format!("unix socket, {}", ids()))
    );

    quiet(&turnd);
    let (_, line) = after(&turnd, || {
        turnd.configure(&format!("{toml}\nuser-quota = 7\nmax-bps = 9000"))
    });
    let changed = json!({ "action": "reload", "by": "changed file", "done": true, "changed": "max-bps user-quota" });
    expect(&line, &changed);

    quiet(&turnd);
    let (_, line) = after(&turnd, || turnd.configure_raw("broken"));
    expect(
        &line,
        &json!({ "action": "reload", "by": "changed file", "done": false }),
    );

    // HUP opens the log anew as well.
    let before = lines(&turnd).len();
    turnd.signal(Signal::HUP);
    eventually("two lines", || lines(&turnd).len() == before + 2);
    expect(
        &lines(&turnd)[before],
        &json!({ "action": "reopen-log", "by": "signal HUP" }),
    );
    let refused = json!({ "action": "reload", "by": "signal HUP", "done": false });
    expect(&lines(&turnd)[before + 1], &refused);
    let ((), line) = after(&turnd, || turnd.signal(Signal::USR2));
    expect(
        &line,
        &json!({ "action": "reload-certificates", "by": "signal USR2" }),
    );
    let _client = usual_session(&turnd);
    let ((), line) = after(&turnd, || turnd.signal(Signal::USR1));
    expect(
        &line,
        &json!({ "action": "drain", "by": "signal USR1", "draining": true }),
    );
    let ((), line) = after(&turnd, || turnd.signal(Signal::TERM));
    expect(&line, &json!({ "action": "stop", "by": "signal TERM" }));
    assert_eq!(turnd.exit_code(Duration::from_secs(15)), Some(0));
    assert!(!turnd.log().contains("\"INFO\",\"message\":\"stopped\""));
}

#[test]
fn certificates_that_are_replaced_are_logged_too() {
    let authority = Authority::new();
    for name in ["one", "two"] {
        authority.issue(name, "localhost", Key::Ecdsa, 30);
    }
    let turnd = start(&format!(
        "log-format = 'json'\n{}",
        authority.toml(&["one"])
    ));
    let quiet = json!({ "level": "error" });
    let (answer, _) = after(&turnd, || api(&turnd).put("/api/v1/log-level", &quiet));
    assert_eq!(answer.status, 200);
    let replace = |kind: &str| {
        let [two, one] = ["two", "one"].map(|name| authority.path(&format!("{name}.{kind}")));
        std::fs::rename(two, one).unwrap();
    };
    let ((), line) = after(&turnd, || ["key", "pem"].into_iter().for_each(replace));
    expect(
        &line,
        &json!({ "action": "reload-certificates", "by": "changed file" }),
    );
}

/// Whoever hangs up before the answer is recorded all the same, if the request was read at all.
#[test]
fn a_client_that_does_not_wait_is_recorded() {
    let turnd = start("log-format = 'json'");
    let mut done = 0;
    for round in 0..100 {
        let drain = round % 2 == 0;
        let before = lines(&turnd).len();
        let was = status(&turnd)["draining"] == true;
        let body = json!({ "drain": drain }).to_string();
        let mut stream = api(&turnd).connect();
        write!(
            stream,
            "POST /api/v1/drain HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        // Sometimes the server has begun, sometimes it has not even read.
        thread::sleep(Duration::from_millis(round % 10));
        drop(stream);
        if was != drain && status(&turnd)["draining"] == drain {
            eventually("a line", || lines(&turnd).len() > before);
            done += 1;
        }
    }
    assert!(done > 0);
}

#[test]
fn text_lines_name_the_process_too() {
    let turnd = start("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["ctl", "--admin"]).arg(turnd.admin_socket());
    let mut running = Running::start(command.args(["drain"]));
    let pid = running.pid();
    assert_eq!(
        running.wait(Duration::from_secs(15)).unwrap().code(),
        Some(0)
    );
    let expected = format!(
        "INFO admin action=\"drain\" by=\"unix socket, {}, pid {pid}\" draining=true",
        ids()
    );
    let log = turnd.log();
    assert!(log.contains(&expected), "{log}");
}
