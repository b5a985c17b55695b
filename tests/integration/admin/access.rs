//! Access to the admin listener, and clients of it that send too slowly or too much.

use serde_json::json;

use super::{api, ctl, start, status, tcp, usual_session};

#[test]
fn the_network_needs_the_token_and_the_unix_socket_does_not() {
    let turnd = start("admin-token = 'north'");
    let paths = ["/api/v1/status", "/api/v1/sessions", "/metrics"];
    for path in paths {
        assert_eq!(tcp(&turnd).get(path).status, 401, "{path}");
        let answer = tcp(&turnd).with_token("nort").get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.any_json()["error"].is_string());
        assert_eq!(tcp(&turnd).with_token("north").get(path).status, 200);
        assert_eq!(api(&turnd).get(path).status, 200, "{path}");
    }
    let wrong = tcp(&turnd).with_token("south");
    for (path, body) in [("kill", json!({"user": "alice"})), ("reload", json!({}))] {
        let answer = wrong.post(&format!("/api/v1/{path}"), &body);
        assert_eq!(answer.status, 401);
    }
    assert_eq!(wrong.delete("/api/v1/sessions/1").status, 401);
    // Probes and the page itself tell nothing.
    for open in ["/healthz", "/readyz", "/"] {
        assert_eq!(tcp(&turnd).get(open).status, 200, "{open}");
    }
    assert!(!turnd.log().contains("north"));
}

/// Every request that the API takes, with a body that it accepts.
const REQUESTS: [(&str, &str, &str); 10] = [
    ("GET", "/api/v1/status", ""),
    ("GET", "/api/v1/sessions", ""),
    ("GET", "/api/v1/sessions/1", ""),
    ("DELETE", "/api/v1/sessions/1", ""),
    ("POST", "/api/v1/kill", r#"{"user":"alice"}"#),
    ("POST", "/api/v1/drain", r#"{"drain":true}"#),
    ("POST", "/api/v1/reload", "{}"),
    ("PUT", "/api/v1/log-level", r#"{"level":"error"}"#),
    ("POST", "/api/v1/credentials", "{}"),
    ("GET", "/api/v1/openapi.json", ""),
];

#[test]
fn tcp_without_a_token_gives_health_and_metrics_and_says_how_to_get_more() {
    let turnd = start("static-auth-secret = 'north'\nuser = 'alice:secret'");
    let session = usual_session(&turnd);
    for (method, path, body) in REQUESTS {
        for http in [tcp(&turnd), tcp(&turnd).with_token("")] {
            let answer = http.json(method, path, body);
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
            let problem = answer.any_json();
            let error = problem["error"].as_str().unwrap();
            assert!(error.contains("no admin-token"), "{error}");
            let remedy = problem["details"][0].as_str().unwrap();
            assert!(
                remedy.contains("turnd ctl") && remedy.contains("add admin-token"),
                "{remedy}"
            );
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/", "/page.js"] {
        assert_eq!(tcp(&turnd).get(path).status, 200, "{path}");
    }
    let status = status(&turnd);
    assert_eq!(
        (&status["draining"], &status["reloads"]),
        (&json!(false), &json!(0))
    );
    assert!(super::is_alive(&session));
    // A token that comes by a reload opens it, without a restart.
    turnd.configure("static-auth-secret = 'north'\nuser = 'alice:secret'\nadmin-token = 'south'");
    ctl(&turnd, &["reload"]).ok();
    for (method, path, body) in REQUESTS {
        let answer = tcp(&turnd).json(method, path, body);
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
    }
    let answer = tcp(&turnd).with_token("south").get("/api/v1/status");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_name_that_leads_to_loopback_gets_no_metrics_without_a_token() {
    let turnd = start("");
    for (host, expected) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost:1", 200),
        ("[::1]", 200),
    ] {
        let line = format!("Host: {host}");
        let answer = tcp(&turnd).send("GET", "/metrics", &[&line], "");
        assert_eq!(answer.status, expected, "{host}");
    }
    let answer = tcp(&turnd).send("GET", "/metrics", &[], "");
    assert_eq!(answer.status, 403, "no host at all");
}

#[test]
fn a_form_of_a_foreign_page_cannot_act() {
    let turnd = start("admin-token = 'north'");
    let _session = usual_session(&turnd);
    let host = format!("Host: {}", turnd.admin());
    for content_type in [
        "X-Nothing: 1",
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
    ] {
        // As if a browser sent it along, which it does not.
        let lines = [host.as_str(), "Authorization: Bearer north", content_type];
        for (method, path) in [
            ("POST", "/api/v1/kill"),
            ("POST", "/api/v1/reload"),
            ("POST", "/api/v1/drain"),
            ("PUT", "/api/v1/log-level"),
        ] {
            for http in [tcp(&turnd), api(&turnd)] {
                let answer = http.send(method, path, &lines, r#"{"user":"alice"}"#);
                assert_eq!(answer.status, 415, "{method} {path} {content_type}");
            }
        }
    }
    assert_eq!(status(&turnd)["allocations"], 1);
}

#[test]
fn bodies_that_make_no_sense_are_refused() {
    let turnd = start("static-auth-secret = 'north'");
    let http = api(&turnd);
    let large = format!(r#"{{"user":"{}"}}"#, "x".repeat(20_000));
    for (path, body, expected) in [
        ("kill", large.as_str(), 413),
        ("kill", "{}", 422),
        ("kill", "", 400),
        ("kill", "{\"user\":", 400),
        ("kill", "[]", 422),
        ("kill", r#"{"user":1}"#, 422),
        ("kill", r#"{"usr":"a"}"#, 422),
        ("kill", r#"{"client":"localhost"}"#, 422),
        ("drain", r#"{"drain":"yes"}"#, 422),
        ("credentials", r#"{"ttl_seconds":-1}"#, 422),
        ("credentials", r#"{"ttl_seconds":0}"#, 422),
        ("credentials", r#"{"ttl_seconds":86401}"#, 422),
        ("credentials", r#"{"ttl_seconds":4294967295}"#, 422),
        ("credentials", r#"{"ttl_seconds":4294967296}"#, 422),
        ("credentials", r#"{"host":"a/b"}"#, 422),
        ("credentials", r#"{"name":""}"#, 422),
    ] {
        let answer = http.json("POST", &format!("/api/v1/{path}"), body);
        assert_eq!(answer.status, expected, "{path} {body:.60}: {answer:?}");
        assert!(answer.any_json()["error"].is_string());
    }
    for query in [
        "client=x",
        "limit=-1",
        "after=x",
        "nobody=1",
        "limit=99999999999999999999",
    ] {
        let answer = http.get(&format!("/api/v1/sessions?{query}"));
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    assert_eq!(http.get("/healthz").status, 200);
}

#[test]
fn paths_lead_nowhere_else() {
    let turnd = start("");
    for path in [
        "/..",
        "/../../etc/passwd",
        "/page.js/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/api/v1/../v1/status",
        "/api/v1/sessions/../status",
        "/api/v1/sessions/..",
        "/api/v1/sessions/-1",
        "/api/v1/sessions/1e3",
        "/api/v1/sessions/18446744073709551616",
        "/api/v1/sessions/%00",
        "/index.html",
        "/Cargo.toml",
        "/api",
    ] {
        let answer = api(&turnd).get(path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let turnd = start("");
    let paths = [
        "/",
        "/page.js",
        "/page.css",
        "/icon.svg",
        "/api/v1/status",
        "/metrics",
        "/none",
    ];
    for path in paths {
        let answer = tcp(&turnd).get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    }
    let page = tcp(&turnd).get("/").body;
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("onclick"));
    assert!(!page.contains("http:") && !page.contains("https:"));
}
