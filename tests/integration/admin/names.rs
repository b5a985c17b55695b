//! User names that try to be something else: in the log, the metrics, the API and ctl.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stun::message::METHOD_ALLOCATE;

use super::{Answer, api, ctl, eventually, session, start};
use crate::support::{StunClient, Turnd, error_code};

const SECRET: &str = "north";

/// User names that are accepted, as they stand behind the expiry time.
fn accepted() -> Vec<String> {
    [
        "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "\"quoted\" 'twice' \\ and {braces} %s %n",
        "x\"} 1 turnd_fake{a=\"",
        "' OR 1=1; --",
        "ünïcödé 日本語 👩",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["l".repeat(480)])
    .collect()
}

/// Names that no client may have.
fn refused() -> Vec<String> {
    [
        "a\nFATAL forged line",
        "a\r\n2026-01-01T00:00:00Z INFO allocation created",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "nul\0nul",
        "\u{202e}txt.exe",
        "\u{2028}line",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["x".repeat(763), "y\n".repeat(250)])
    .collect()
}

fn full(name: &str) -> (String, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let user = format!("{}:{name}", now.as_secs() + 600);
    let password = turnd_proto::auth::rest::password(SECRET, &user);
    (user, password)
}

fn try_in(turnd: &Turnd, name: &str) {
    let (user, password) = full(name);
    let mut client = StunClient::new(turnd.address());
    client.log_in(&user, &password);
    let reply = client.ask(&client.signed(METHOD_ALLOCATE, vec![])).unwrap();
    assert!(error_code(&reply).is_some(), "{name:?}");
}

#[test]
fn names_stay_names_everywhere() {
    let turnd = start(&format!(
        "static-auth-secret = '{SECRET}'\nlog-format = 'json'"
    ));
    let names: Vec<String> = accepted();
    let users: Vec<(String, StunClient)> = names
        .iter()
        .map(|name| {
            let (user, password) = full(name);
            let client = session(turnd.address(), &user, &password);
            (user, client)
        })
        .collect();
    refused().iter().for_each(|name| try_in(&turnd, name));

    // The API has them as they are, and finds them.
    let listed = api(&turnd).get("/api/v1/sessions").json();
    let listed: Vec<&str> = listed["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["user"].as_str().unwrap())
        .collect();
    assert_eq!(
        listed,
        users
            .iter()
            .map(|(user, _)| user.as_str())
            .collect::<Vec<_>>()
    );
    for (user, _) in &users {
        let json = ctl(&turnd, &["sessions", "--json", "--user", user]).ok();
        let found: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(found["total"], 1, "{user}");
    }
    let table = ctl(&turnd, &["sessions"]).ok();
    assert_eq!(table.lines().count(), users.len() + 2, "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() < 200),
        "{table}"
    );

    // One object a line in the log, and nothing that a terminal would obey.
    eventually("the log", || {
        turnd.log().matches("request refused").count() >= refused().len()
    });
    let log = turnd.log();
    for line in log.lines() {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object["message"].is_string(), "{line}");
        assert!(
            !line.contains('\u{1b}') && !line.contains('\u{202e}'),
            "{line}"
        );
    }
    assert!(
        !log.lines()
            .any(|line| line.starts_with("FATAL") || line.starts_with("2026-01-01"))
    );

    // No name is a label.
    let Answer { body: metrics, .. } = api(&turnd).get("/metrics");
    for part in ["alert", "quoted", "turnd_fake", "forged", "llll", "xxxx"] {
        assert!(!metrics.contains(part), "{part}");
    }
}

#[test]
fn text_lines_stay_lines() {
    let turnd = start(&format!("static-auth-secret = '{SECRET}'"));
    for name in accepted() {
        let (user, password) = full(&name);
        session(turnd.address(), &user, &password);
    }
    refused().iter().for_each(|name| try_in(&turnd, name));
    eventually("the log", || {
        turnd.log().matches("request refused").count() >= refused().len()
    });
    for line in turnd.log().lines() {
        let year = line.get(..2).unwrap_or_default();
        assert_eq!(year, "20", "a line that the log did not begin: {line:?}");
        assert!(
            !line.contains("2026-01-01T00:00:00Z INFO") || !line.starts_with("2026-01-01"),
            "{line:?}"
        );
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{2028}'),
            "{line:?}"
        );
    }
}
