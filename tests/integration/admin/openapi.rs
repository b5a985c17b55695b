//! `openapi.json` against what the handlers do. That it has all paths is a unit test in src/admin/api.rs.

use serde_json::{Value, json};

use super::{Answer, Http, api, start, tcp, usual_session};
use crate::support::Turnd;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn document() -> Value {
    serde_json::from_str(include_str!("../../../src/admin/openapi.json")).unwrap()
}

/// The schema that `$ref` points to, or `value` itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => document
            .pointer(path.strip_prefix('#').unwrap())
            .unwrap_or_else(|| panic!("{path} leads nowhere")),
        None => value,
    }
}

/// Panics unless `value` is what the schema says, and nothing more.
fn validate(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolved(document, schema);
    let known = [
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "minimum",
        "maximum",
        "description",
        "default",
        "additionalProperties",
    ];
    for key in schema.as_object().unwrap().keys() {
        assert!(
            known.contains(&key.as_str()),
            "{at}: {key} is not checked by this test"
        );
    }
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    assert!(
        allowed.contains(&json!(actual)),
        "{at}: {value} is no {allowed:?}"
    );
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{at}: {value}");
    }
    if let (Some(number), Some(least)) = (value.as_i64(), schema["minimum"].as_i64()) {
        assert!(number >= least, "{at}: {number}");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        validate(document, &schema["items"], item, &format!("{at}[{index}]"));
    }
    let Some(object) = value.as_object() else {
        return;
    };
    for key in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(key.as_str().unwrap()), "{at}: no {key}");
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (key, value) in object {
            let schema = properties
                .get(key)
                .unwrap_or_else(|| panic!("{at}: {key} is not documented"));
            validate(document, schema, value, &format!("{at}.{key}"));
        }
    }
}

/// Panics unless the answer is one that the document has for this operation.
fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let at = format!("{method} {path} {}", answer.status);
    let operation = &document["paths"][path][method];
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{at} is not documented: {answer:?}");
    let content = resolved(document, response)["content"].as_object().unwrap();
    let (expected, body) = content.iter().next().unwrap();
    let content_type = answer.header("content-type").unwrap();
    assert!(
        content_type.starts_with(expected.as_str()),
        "{at}: {content_type}"
    );
    if expected == "application/json" {
        validate(document, &body["schema"], &answer.any_json(), &at);
    }
}

/// A request body that the operation accepts.
fn body(path: &str) -> Value {
    match path {
        "/api/v1/kill" => json!({ "user": "nobody" }),
        "/api/v1/drain" => json!({ "drain": false }),
        "/api/v1/log-level" => json!({ "level": "info" }),
        "/api/v1/credentials" => json!({ "host": "127.0.0.1", "ttl_seconds": 60 }),
        "/api/v1/qr" => json!({ "text": "turn:192.0.2.1:3478" }),
        _ => json!({}),
    }
}

fn request(http: &Http, method: &str, path: &str, body: &Value) -> Answer {
    match method {
        "get" => http.get(path),
        "delete" => http.delete(path),
        _ => http.json(&method.to_uppercase(), path, &body.to_string()),
    }
}

fn live_id(turnd: &Turnd) -> String {
    let listed = api(turnd).get("/api/v1/sessions").json();
    listed["sessions"][0]["id"].to_string()
}

#[test]
fn every_documented_operation_answers_as_documented_and_no_other_does() {
    let document = document();
    let turnd = start("static-auth-secret = 'north'\nuser = 'alice:secret'");
    let http = api(&turnd);
    let mut operations = 0;
    // A port that a client gives up may be the next one's, whose five-tuple then has an allocation.
    let mut sessions = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            sessions.push(usual_session(&turnd));
            let real = path.replace("{id}", &live_id(&turnd));
            let answer = request(&http, method, &real, &body(path));
            if item[method].is_object() {
                operations += 1;
                assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
                check(&document, method, path, &answer);
                if let Some(content) = item[method]["requestBody"]["content"].as_object() {
                    let schema = &content["application/json"]["schema"];
                    validate(&document, schema, &body(path), path);
                }
            } else {
                assert_eq!(answer.status, 405, "{method} {path} is not documented");
            }
        }
    }
    assert_eq!(operations, 18);
}

#[test]
fn refusals_are_as_documented_too() {
    let document = document();
    let (turnd, without) = (start("admin-token = 'north'"), start(""));
    let http = tcp(&turnd).with_token("north");
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.into_iter().filter(|m| item[*m].is_object()) {
            if item[method]["security"].is_null() {
                let answer = request(&tcp(&turnd), method, path, &body(path));
                assert_eq!(answer.status, 401, "{method} {path}");
                check(&document, method, path, &answer);
                let answer = request(&tcp(&without), method, path, &body(path));
                if path == "/metrics" {
                    assert_eq!(answer.status, 200);
                    let answer = tcp(&without).send("GET", path, &["Host: evil.example"], "");
                    assert_eq!(answer.status, 403);
                    check(&document, method, path, &answer);
                } else {
                    assert_eq!(answer.status, 401, "{method} {path}");
                    assert!(answer.any_json()["details"].is_array());
                }
                check(&document, method, path, &answer);
            }
            if matches!(method, "post" | "put") {
                let lines = [
                    format!("Host: {}", turnd.admin()),
                    "Authorization: Bearer north".to_owned(),
                ];
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                let answer = http.send(&method.to_uppercase(), path, &lines, "{}");
                assert_eq!(answer.status, 415, "{method} {path}");
                check(&document, method, path, &answer);
            }
            if item[method]["requestBody"].is_object() {
                for wrong in ["{", "[1]", &format!("\"{}\"", "x".repeat(20_000))] {
                    let answer = http.json(&method.to_uppercase(), path, wrong);
                    check(&document, method, path, &answer);
                    assert!(matches!(answer.status, 400 | 413 | 422), "{answer:?}");
                }
            }
        }
    }
    for method in ["get", "delete"] {
        let answer = request(&http, method, "/api/v1/sessions/4711", &Value::Null);
        assert_eq!(answer.status, 404);
        check(&document, method, "/api/v1/sessions/{id}", &answer);
    }
    let answer = http.get("/api/v1/sessions?client=nowhere");
    check(&document, "get", "/api/v1/sessions", &answer);
    let problem = answer.any_json();
    assert_eq!(
        problem["error"],
        "client: \"nowhere\" is not an IP address; write one as 192.0.2.1"
    );
    for (path, query) in [("sessions", "sort=size"), ("history", "range=week")] {
        let path = format!("/api/v1/{path}");
        let answer = http.get(&format!("{path}?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        check(&document, "get", &path, &answer);
    }
    let answer = http.post("/api/v1/qr", &json!({ "text": "x".repeat(2954) }));
    assert_eq!(answer.status, 422);
    check(&document, "post", "/api/v1/qr", &answer);
    for (query, status) in [("level=loud", 422), ("lines=-1", 400), ("lien=1", 400)] {
        let answer = http.get(&format!("/api/v1/log?{query}"));
        assert_eq!(answer.status, status, "{query}");
        check(&document, "get", "/api/v1/log", &answer);
    }
    turnd.configure_raw("broken");
    let answer = http.post("/api/v1/reload", &json!({}));
    assert_eq!(answer.status, 422);
    check(&document, "post", "/api/v1/reload", &answer);
    http.post("/api/v1/drain", &json!({ "drain": true })).json();
    let answer = http.get("/readyz");
    assert_eq!(answer.status, 503);
    check(&document, "get", "/readyz", &answer);
}

#[test]
fn the_server_hands_out_the_document_that_was_tested() {
    let turnd = start("");
    assert_eq!(api(&turnd).get("/api/v1/openapi.json").json(), document());
}
