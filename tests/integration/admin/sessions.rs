//! The list of sessions, ending them, credentials and the log level.

use std::collections::BTreeSet;

use serde_json::json;

use super::{allocate, api, ctl, eventually, is_alive, refresh, session, start, status};
use crate::support::{PASSWORD, StunClient, Turnd, USER};

const USERS: &str = "user = ['alice:secret', 'bob:secret', 'carol:secret']";

fn ids(turnd: &Turnd, query: &str) -> Vec<u64> {
    let answer = api(turnd).get(&format!("/api/v1/sessions?{query}")).json();
    let sessions = answer["sessions"].as_array().unwrap();
    let ids: Vec<u64> = sessions.iter().map(|s| s["id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted());
    ids
}

#[test]
fn sessions_are_listed_by_filter_and_page() {
    let turnd = start(USERS);
    let clients: Vec<StunClient> = (0..7)
        .map(|n| session(turnd.address(), ["alice", "bob"][n % 2], PASSWORD))
        .collect();
    let v6 = session(turnd.address_v6(), "bob", PASSWORD);
    let all = ids(&turnd, "");
    assert_eq!(all.len(), 8);
    assert_eq!(ids(&turnd, "user=alice").len(), 4);
    assert_eq!(ids(&turnd, "user=bob").len(), 4);
    assert_eq!(ids(&turnd, "user=bob&client=%3A%3A1").len(), 1);
    assert_eq!(ids(&turnd, "client=127.0.0.1").len(), 7);
    assert!(ids(&turnd, "user=ali").is_empty());

    let mut paged = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let path = format!("/api/v1/sessions?limit=3&after={after}");
        let page = api(&turnd).get(&path).json();
        assert_eq!(page["total"], 8);
        let sessions = page["sessions"].as_array().unwrap();
        assert!((1..=3).contains(&sessions.len()));
        paged.extend(sessions.iter().map(|s| s["id"].as_u64().unwrap()));
        after = page["next"].clone();
    }
    assert_eq!(paged, all);

    let one = api(&turnd)
        .get(&format!("/api/v1/sessions/{}", all[7]))
        .json();
    assert_eq!(one["client"], v6.address().to_string());
    assert_eq!(one["user"], "bob");
    drop(clients);
}

#[test]
fn killing_ends_exactly_those_that_are_meant() {
    let turnd = start(USERS);
    let server = turnd.address();
    let alice: Vec<_> = (0..3).map(|_| session(server, "alice", PASSWORD)).collect();
    let bob: Vec<_> = (0..2).map(|_| session(server, "bob", PASSWORD)).collect();
    let carol = session(turnd.address_v6(), "carol", PASSWORD);
    let lives = |clients: &[StunClient]| clients.iter().filter(|c| is_alive(c)).count();

    // One, by its number.
    let first = ids(&turnd, "user=alice")[0];
    let path = format!("/api/v1/sessions/{first}");
    assert_eq!(api(&turnd).delete(&path).json()["killed"], 1);
    assert_eq!(api(&turnd).delete(&path).status, 404);
    assert_eq!(api(&turnd).get(&path).status, 404);
    assert_eq!((lives(&alice), lives(&bob), is_alive(&carol)), (2, 2, true));

    // All of a user, through ctl.
    assert_eq!(
        ctl(&turnd, &["kill", "--user", "alice"]).ok(),
        "2 sessions ended\n"
    );
    assert_eq!((lives(&alice), lives(&bob), is_alive(&carol)), (0, 2, true));

    // All from an address; a user as well narrows it.
    let none = json!({ "client": "::1", "user": "bob" });
    assert_eq!(api(&turnd).post("/api/v1/kill", &none).json()["killed"], 0);
    let words = ["kill", "--client", "::1"];
    assert_eq!(ctl(&turnd, &words).ok(), "1 session ended\n");
    assert_eq!((lives(&bob), is_alive(&carol)), (2, false));

    assert_eq!(status(&turnd)["allocations"], 2);
    let ended = || turnd.log().matches("reason=\"killed\"").count();
    eventually("lines of their ends", || ended() >= 4);
    assert_eq!(ended(), 4, "{}", turnd.log());
    // A user whose sessions were ended may come again.
    session(server, "alice", PASSWORD);
}

#[test]
fn credentials_of_the_api_allocate() {
    let turnd = start("static-auth-secret = ['north', 'old']");
    let ask = |body| api(&turnd).post("/api/v1/credentials", &body);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    for body in [
        json!({}),
        json!({ "name": "dora", "ttl_seconds": 30, "host": "turn.example.org" }),
        json!({ "name": "<b>\"'&é", "host": null }),
    ] {
        let answer = ask(body.clone()).json();
        let server = &answer["iceServers"][0];
        if let Some(host) = body["host"].as_str() {
            assert!(text(&server["urls"][1]).starts_with(&format!("turn:{host}:")));
        }
        let name = text(&server["username"]);
        let client = session(turnd.address(), &name, &text(&server["credential"]));
        let listed = api(&turnd).get("/api/v1/sessions").json();
        assert_eq!(listed["sessions"][0]["user"], name.as_str());
        assert_eq!(refresh(&client, 0), None);
    }
    assert_eq!(ask(json!({ "name": "a\nb" })).status, 422);

    // Credentials from ctl work as well.
    let json = ctl(&turnd, &["credentials", "--name", "erin", "--ttl", "1m"]).ok();
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    let server = &answer["iceServers"][0];
    session(
        turnd.address(),
        &text(&server["username"]),
        &text(&server["credential"]),
    );
}

#[test]
fn the_log_level_changes_at_once() {
    let turnd = start("");
    let client = session(turnd.address(), USER, PASSWORD);
    let refreshed = || turnd.log().matches("allocation refreshed").count();
    assert!(is_alive(&client));
    assert_eq!(refreshed(), 0);
    let set = |level: &str| api(&turnd).put("/api/v1/log-level", &json!({ "level": level }));
    assert_eq!(set("debug").json()["level"], "debug");
    assert!(is_alive(&client));
    eventually("a debug line", || refreshed() == 1);
    ctl(&turnd, &["log-level", "warn"]).ok();
    assert!(is_alive(&client));
    assert_eq!(refresh(&client, 0), None);
    assert!(!turnd.log().contains("allocation ended"));
    assert_eq!(refreshed(), 1);
    for wrong in ["", "DEBUG", "off", "loud"] {
        assert_eq!(set(wrong).status, 422, "{wrong}");
    }
    assert_eq!(ctl(&turnd, &["log-level", "loud"]).code, Some(2));
}

#[test]
fn the_quota_is_free_again_after_a_kill() {
    let turnd = start("user-quota = 2");
    let mut clients: BTreeSet<u64> = BTreeSet::new();
    for _ in 0..3 {
        let _two = [0; 2].map(|_| session(turnd.address(), USER, PASSWORD));
        let mut third = StunClient::new(turnd.address());
        let reply = allocate(&mut third, USER, PASSWORD);
        assert_eq!(crate::support::error_code(&reply), Some(486));
        clients.extend(ids(&turnd, ""));
        let killed = api(&turnd).post("/api/v1/kill", &json!({ "user": USER }));
        assert_eq!(killed.json()["killed"], 2);
    }
    assert_eq!(clients.len(), 6, "a number was used twice");
    assert_eq!(status(&turnd)["quota_refusals"], 3);
}
