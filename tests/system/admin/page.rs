//! The page in a browser.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use stun::message::{METHOD_ALLOCATE, Setter};
use turn::proto::PROTO_UDP;
use turn::proto::reqtrans::RequestedTransport;

use super::{api, ctl, session, start, status, tcp};
use crate::support::{Authority, Key, PASSWORD, StunClient, Turnd, USER, error_code, node};

const LIMIT: Duration = Duration::from_secs(240);
const SECRET: &str = "north";
const NAMES: [&str; 4] = [
    "alice",
    "<img src=x onerror=\"window.pwned=1\"><b>bold</b>",
    "'\"><script>window.pwned=2</script>&amp;",
    "{{7*7}} ${7*7} \\u003cb\\u003e",
];

/// Sessions of users with these names and of one whose name is long.
fn sessions(turnd: &Turnd) -> Vec<(String, StunClient)> {
    let long = "long-".repeat(90);
    let names = NAMES.into_iter().chain([long.as_str()]);
    names
        .map(|name| {
            // The name as a whole begins with the time, as the API makes it.
            let body = json!({ "name": name, "ttl_seconds": 600 });
            let answer = api(turnd).post("/api/v1/credentials", &body).json();
            let server = &answer["iceServers"][0];
            let text = |key: &str| server[key].as_str().unwrap().to_owned();
            let client = session(turnd.address(), &text("username"), &text("credential"));
            (text("username"), client)
        })
        .collect()
}

/// Where screenshots go: the folder that the environment names, for those who want to look.
fn screenshots() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("TURND_SCREENSHOTS")?);
    fs::create_dir_all(&folder).unwrap();
    Some(folder)
}

#[test]
fn an_operator_sees_sessions_tests_the_relay_and_ends_a_call() {
    // No browser trusts this authority.
    let authority = Authority::new();
    authority.issue("one", "turn.example.org", Key::Ecdsa, 30);
    let turnd = start(&format!(
        "static-auth-secret = '{SECRET}'\nadmin-token = 'token'\n{}",
        authority.toml(&["one"])
    ));
    let sessions = sessions(&turnd);
    let mut stranger = StunClient::new(turnd.address());
    stranger.log_in(NAMES[1], "wrong");
    let request: Vec<Box<dyn Setter>> = vec![Box::new(RequestedTransport {
        protocol: PROTO_UDP,
    })];
    let refused = stranger.ask(&stranger.signed(METHOD_ALLOCATE, request));
    assert_eq!(error_code(&refused.unwrap()), Some(401));
    let http = tcp(&turnd).with_token("token");
    let listed = http.get("/api/v1/sessions").json();
    let kill = listed["sessions"][1]["id"].clone();
    let argument = json!({
        "url": format!("http://{}/", turnd.admin()),
        "token": "token",
        "wrongToken": "not the token",
        "sessions": sessions.len(),
        "kill": kill,
        "host": "127.0.0.1",
        "folder": screenshots(),
        "messages": 50,
    });
    let result = node(None, "page.mjs", &argument, LIMIT);
    assert_eq!(result["pageErrors"], json!([]), "{result}");
    assert_eq!(result["pwned"], false, "{result}");
    assert_eq!(
        result["requests"],
        json!([format!("http://{}", turnd.admin())])
    );
    assert_eq!(
        result["overflow"],
        json!([0, 0, 0, 0]),
        "the page is wider than the window"
    );

    let users: Vec<&str> = sessions.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(result["users"], json!(users));
    let details = result["details"].as_str().unwrap();
    assert!(details.contains(&turnd.address().to_string()), "{details}");

    let found = result["found"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{result}");
    assert!(found[0].as_str().unwrap().ends_with(":alice"), "{result}");

    let refusals = result["refusals"].as_str().unwrap();
    for part in ["unknown-user", "401", NAMES[1], "Allocate"] {
        assert!(refusals.contains(part), "{part} is not in {refusals}");
    }

    let credentials = &result["credentials"];
    let made: Value = serde_json::from_str(credentials["copied"].as_str().unwrap()).unwrap();
    let shown: Value = serde_json::from_str(credentials["shown"].as_str().unwrap()).unwrap();
    assert_eq!(made, shown);
    let server = &made["iceServers"][0];
    let text = |key: &str| server[key].as_str().unwrap();
    session(turnd.address(), text("username"), text("credential"));
    let qr = credentials["qr"].as_str().unwrap();
    assert!(qr.starts_with("M0 0h7v1h-7z"), "{qr}");

    let config = result["config"].as_str().unwrap();
    for part in [
        "static-auth-secret",
        "***",
        "turn.example.org",
        "days",
        "descriptors",
    ] {
        assert!(config.contains(part), "{part} is not in {config}");
    }
    assert!(!config.contains(SECRET), "{config}");

    // The page has come from loopback, where no client would find the server.
    assert_eq!(result["prefilled"], "turn.example.org");
    let urls = result["urls"].as_array().unwrap();
    let verdicts: Vec<_> = urls
        .iter()
        .map(|u| u["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["good", "good", "good", "bad"], "{result}");
    let hint = urls[3]["text"].as_str().unwrap();
    assert!(hint.contains("may not trust the certificate"), "{hint}");
    let oldest = result["history"][3].as_str().unwrap();
    assert!(oldest.ends_with("min ago"), "{result}");

    // The server knows as well that the browser did not like the certificate.
    let told = http.get("/api/v1/refusals").json();
    let is_handshake = |refusal: &Value| refusal["kind"] == "handshake";
    let refused = told["refusals"].as_array().unwrap();
    assert!(refused.iter().any(is_handshake), "{told}");

    let candidates = result["candidates"].as_array().unwrap();
    let turns = urls[3]["url"].as_str().unwrap();
    let relays: Vec<&Value> = candidates.iter().filter(|c| c["type"] == "relay").collect();
    assert!(!relays.is_empty(), "{result}");
    for relay in relays {
        assert!(
            relay["address"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{relay}"
        );
        assert!(
            relay["protocol"].as_str().unwrap().starts_with("udp"),
            "{relay}"
        );
    }
    let verdict = result["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("The relay can be used: "), "{verdict}");
    assert!(
        verdict.ends_with(&format!("But not by {turns}.")),
        "{verdict}"
    );
    let trip = result["trip"].as_str().unwrap();
    assert!(
        trip.starts_with("Round trip through the relay: 0\u{a0}% lost"),
        "{trip}"
    );

    assert_eq!(result["sessionsAfterNo"], sessions.len());
    assert_eq!(result["sessionsAfterKill"], sessions.len() - 1);
    for (index, (user, client)) in sessions.iter().enumerate() {
        assert_eq!(super::is_alive(client), index != 1, "{user}");
    }
    assert_eq!(result["drained"], "Draining: new sessions are refused.");
    assert_eq!(result["undrained"], "New sessions are accepted again.");
    assert!(
        result["reloaded"]
            .as_str()
            .unwrap()
            .starts_with("Reloaded, nothing has changed.")
    );
    assert_eq!(http.get("/api/v1/status").json()["draining"], false);
}

#[test]
fn many_sessions_are_sorted_and_searched_page_by_page() {
    const SESSIONS: usize = 60;
    let turnd = start("admin-token = 'token'\nuser-quota = 0\nuser-allocate-rate = 0");
    let _sessions: Vec<_> = (0..SESSIONS)
        .map(|_| super::usual_session(&turnd))
        .collect();
    let argument = json!({
        "url": format!("http://{}/", turnd.admin()), "token": "token", "total": SESSIONS,
        "folder": screenshots(), "milliseconds": 30_000,
    });
    let result = node(None, "page_many.mjs", &argument, LIMIT);
    assert_eq!(result["pageErrors"], json!([]), "{result}");
    assert_eq!(result["count"], "60 live");
    let pages = result["pages"].as_array().unwrap();
    let sizes: Vec<_> = pages.iter().map(|p| p.as_array().unwrap().len()).collect();
    assert_eq!(sizes, [25, 25, 10], "{result}");
    let mut shown: Vec<u64> = pages
        .iter()
        .flat_map(|page| page.as_array().unwrap())
        .map(|id| id.as_u64().unwrap())
        .collect();
    // The oldest first; no number is on two pages.
    assert!(shown.is_sorted(), "{shown:?}");
    shown.dedup();
    assert_eq!(shown.len(), SESSIONS);
    assert_eq!(result["telephone"], 10);
}

#[test]
fn a_server_without_a_token_says_how_to_get_one_and_failures_are_explained() {
    let turnd = start("user-quota = 1");
    let _session = super::usual_session(&turnd);
    let url = format!("http://{}/", turnd.admin());
    let argument = json!({
        "url": url, "token": "token", "folder": screenshots(), "milliseconds": 30_000,
    });
    let result = node(None, "page_token.mjs", &argument, LIMIT);
    assert_eq!(result["pageErrors"], json!([]), "{result}");
    for text in ["asked", "wrong"].map(|key| result[key].as_str().unwrap()) {
        for part in [
            "this server has no admin-token",
            "turnd ctl",
            "openssl rand",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
    let wrong = result["wrong"].as_str().unwrap();
    assert!(wrong.contains("does not take that token"), "{wrong}");

    turnd.configure("user-quota = 1\nadmin-token = 'token'");
    ctl(&turnd, &["reload"]).ok();
    turnd.configure_raw("min-prot = 1");
    let argument = json!({
        "url": url, "token": "token", "user": USER, "password": PASSWORD, "milliseconds": 30_000,
    });
    let result = node(None, "page_failures.mjs", &argument, LIMIT);
    assert_eq!(result["pageErrors"], json!([]), "{result}");
    let asked = result["asked"].as_str().unwrap();
    assert!(!asked.contains("no admin-token"), "{asked}");
    // A user's own password does not come from the server, but may be typed.
    let refused = result["refused"].as_str().unwrap();
    assert!(refused.contains("add static-auth-secret"), "{refused}");
    // The one allocation that the quota allows is taken.
    let verdict = result["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("No relay candidate: "), "{result}");
    let errors = result["errors"].as_array().unwrap();
    assert!(
        errors.iter().any(|error| error["code"] == "486"),
        "{result}"
    );
    assert!(
        errors[0]["url"]
            .as_str()
            .unwrap()
            .starts_with("turn:127.0.0.1:"),
        "{result}"
    );
    let reload = result["reload"].as_str().unwrap();
    assert!(
        reload.contains("not reloaded") && reload.contains("min-prot"),
        "{reload}"
    );
    assert_eq!(status(&turnd)["failed_reloads"], 1);
}
