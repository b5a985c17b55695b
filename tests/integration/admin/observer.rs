//! The server's memory for operators: rates, refusals, history, and the configuration in force.

use serde_json::{Value, json};
use stun::message::{METHOD_ALLOCATE, Setter};
use turn::proto::PROTO_UDP;
use turn::proto::reqtrans::RequestedTransport;

use super::{api, eventually, session, start, status, usual_session};
use crate::support::{Authority, Key, PASSWORD, Peer, StunClient, Turnd, USER, error_code};

fn list(turnd: &Turnd, query: &str) -> Vec<Value> {
    let answer = api(turnd).get(&format!("/api/v1/sessions?{query}")).json();
    assert_eq!(answer["next"], Value::Null);
    answer["sessions"].as_array().unwrap().clone()
}

fn ids(turnd: &Turnd, query: &str) -> Vec<u64> {
    let listed = list(turnd, query);
    listed.iter().map(|s| s["id"].as_u64().unwrap()).collect()
}

#[test]
fn sessions_are_sorted_paged_and_searched_by_the_server() {
    let turnd = start("user = ['alice:secret', 'Bobby:secret']\nallow-loopback-peers = true");
    let echo = Peer::echo([127, 0, 0, 1]);
    let clients: Vec<StunClient> = (0..6)
        .map(|n| session(turnd.address(), ["alice", "Bobby"][n % 2], PASSWORD))
        .collect();
    let by_age = ids(&turnd, "sort=age");
    assert_eq!(by_age.len(), 6);
    assert_eq!(ids(&turnd, "sort=id"), by_age);
    // The fifth has carried most, then the second.
    for (client, packets) in [(4, 30), (1, 10)] {
        for _ in 0..packets {
            assert!(clients[client].echoes(&echo));
        }
    }
    let by_traffic = ids(&turnd, "sort=traffic");
    assert_eq!(by_traffic[..2], [by_age[4], by_age[1]]);
    let mut paged = Vec::new();
    for offset in [0, 2, 4, 6] {
        let query = format!("sort=traffic&limit=2&offset={offset}");
        paged.extend(ids(&turnd, &query));
    }
    assert_eq!(paged, by_traffic);

    assert_eq!(ids(&turnd, "search=bob").len(), 3);
    let relayed = list(&turnd, "sort=id")[3]["relayed"].clone();
    let query = format!("search={}", relayed.as_str().unwrap());
    assert_eq!(ids(&turnd, &query), [by_age[3]]);
    let query = format!("search={}&user=alice", clients[2].address());
    assert_eq!(ids(&turnd, &query), [by_age[2]]);
    let answer = api(&turnd)
        .get("/api/v1/sessions?search=ali&limit=1")
        .json();
    assert_eq!(answer["total"], 3);
    assert_eq!(answer["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn rates_are_those_of_the_last_seconds() {
    let turnd = start("allow-loopback-peers = true");
    let echo = Peer::echo([127, 0, 0, 1]);
    let idle = usual_session(&turnd);
    let busy = usual_session(&turnd);
    let all = ids(&turnd, "sort=id");
    let path = format!("/api/v1/sessions/{}", all[1]);
    // Nobody has asked for rates long enough ago to compare.
    assert_eq!(api(&turnd).get(&path).json()["per_second"], Value::Null);
    eventually("the busy one is first, with a rate each way", || {
        for _ in 0..50 {
            assert!(busy.echoes(&echo));
        }
        let listed = list(&turnd, "sort=rate&limit=1");
        let rate = |key: &str| listed[0]["per_second"][key].as_u64().unwrap();
        listed[0]["id"] == all[1]
            && rate("packets_to_peers") > 0
            && rate("bytes_to_peers") > 0
            && rate("packets_to_client") > 0
            && rate("bytes_to_client") > 0
    });
    let quiet = api(&turnd)
        .get(&format!("/api/v1/sessions/{}", all[0]))
        .json();
    assert_eq!(quiet["per_second"]["bytes_to_peers"], 0, "{quiet}");
    // A session that carries nothing any more has no rate in the end.
    eventually("the rate falls to nothing", || {
        let listed = list(&turnd, "sort=rate&limit=1");
        listed[0]["per_second"]["bytes_to_peers"] == 0
    });
    drop(idle);
}

/// The code of the answer to an Allocate with these credentials.
fn refused(client: &mut StunClient, user: &str, password: &str) -> Option<u16> {
    client.log_in(user, password);
    let request: Vec<Box<dyn Setter>> = vec![Box::new(RequestedTransport {
        protocol: PROTO_UDP,
    })];
    let reply = client.ask(&client.signed(METHOD_ALLOCATE, request));
    error_code(&reply.unwrap())
}

#[test]
fn refusals_are_told_with_their_reasons() {
    let turnd = start("user-quota = 1\nverbose = false");
    let none = api(&turnd).get("/api/v1/refusals").json();
    assert_eq!(none, json!({ "counts": [], "refusals": [] }));
    let _first = usual_session(&turnd);
    // A first request without credentials, which every client sends, is no refusal.
    let none = api(&turnd).get("/api/v1/refusals").json();
    assert_eq!(none, json!({ "counts": [], "refusals": [] }));

    let mut second = StunClient::new(turnd.address());
    assert_eq!(refused(&mut second, USER, PASSWORD), Some(486));
    let mut stranger = StunClient::new(turnd.address());
    let user = "no\u{202e}body";
    assert_eq!(refused(&mut stranger, user, "x"), Some(401));
    for _ in 0..2 {
        let mut third = StunClient::new(turnd.address());
        assert_eq!(refused(&mut third, USER, "wrong"), Some(401));
    }
    let answer = api(&turnd).get("/api/v1/refusals").json();
    let refusals = answer["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 4, "{answer}");
    let of = |client: &StunClient| {
        let client = client.address().to_string();
        refusals.iter().find(|r| r["client"] == client.as_str())
    };
    let quota = of(&second).unwrap();
    assert_eq!(quota["code"], 486);
    assert_eq!(quota["user"], USER);
    assert_eq!(quota["method"], "Allocate");
    assert_eq!(quota["transport"], "udp");
    assert_eq!(quota["proven"], true);
    assert!(quota["time"].as_u64().unwrap() > 1_600_000_000);
    assert_eq!(of(&stranger).unwrap()["reason"], "unknown-user");
    assert_eq!(of(&stranger).unwrap()["user"], "no\\u{202e}body");
    let counts = answer["counts"].as_array().unwrap();
    assert_eq!(
        counts[0],
        json!({ "kind": "request", "code": 401, "reason": "wrong-password", "count": 2 })
    );
    assert_eq!(counts.len(), 3, "{answer}");
}

#[test]
fn the_last_minutes_are_kept_by_the_server() {
    let turnd = start("");
    let history = |range: &str| {
        api(&turnd)
            .get(&format!("/api/v1/history?range={range}"))
            .json()
    };
    assert_eq!(history("day")["step_seconds"], 60);
    let _clients = [usual_session(&turnd), usual_session(&turnd)];
    eventually("a step has ended", || {
        let minutes = history("minutes");
        let sum = |name: &str| {
            let column = minutes["columns"][name].as_array().unwrap();
            assert_eq!(column.len(), minutes["times"].as_array().unwrap().len());
            column.iter().map(|v| v.as_u64().unwrap()).sum::<u64>()
        };
        let live = |value: &Value| value.as_u64() == Some(2);
        let columns = &minutes["columns"];
        columns["allocations"].as_array().unwrap().iter().any(live)
            && sum("allocations_created") == 2
            && sum("clients_received_packets") >= 4
    });
    assert_eq!(status(&turnd)["allocations"], 2);
}

#[test]
fn the_configuration_in_force_is_told_without_its_secrets() {
    let turnd = start(
        "static-auth-secret = 'hidden-secret'\nuser = 'alice:hidden-password'\nadmin-token = 'hidden-token'\n\
         realm = 'turn.example.org'\nuser-quota = 7\nstale-nonce = 600",
    );
    let answer = api(&turnd).get("/api/v1/config");
    assert!(!answer.body.contains("hidden"), "{}", answer.body);
    let config = answer.json();
    let key = |name: &str| {
        let keys = config["keys"].as_array().unwrap();
        keys.iter().find(|key| key["key"] == name).unwrap().clone()
    };
    assert_eq!(key("user")["value"], "[\"alice:***\"]");
    assert_eq!(
        key("user-quota"),
        json!({
            "key": "user-quota", "value": "7", "default": null,
            "given": true, "changed": true, "needs_restart": false,
        })
    );
    // Given, and the default all the same.
    assert_eq!(key("stale-nonce")["changed"], false);
    assert_eq!(key("stale-nonce")["given"], true);
    assert_eq!(key("relay-threads")["needs_restart"], true);
    assert_eq!(config["file"], turnd.config().display().to_string());
    let listening = config["listening"].as_array().unwrap();
    assert!(
        listening.contains(&json!(turnd.address().to_string())),
        "{config}"
    );
    let realm = json!({ "host": "turn.example.org", "key": "realm" });
    assert_eq!(config["hosts"], json!([realm]));
    assert_eq!(config["transports"], json!(["udp", "tcp"]));
    assert_eq!(config["certificates"], json!([]));
    // After a reload the new one is told.
    turnd.configure("user-quota = 8\nexternal-ip = '192.0.2.1'");
    api(&turnd).post("/api/v1/reload", &json!({})).json();
    let config = api(&turnd).get("/api/v1/config").json();
    let announced = json!({ "host": "192.0.2.1", "key": "external-ip" });
    assert_eq!(config["hosts"][0], announced);
    assert_eq!(config["relay"]["announced"], json!(["192.0.2.1"]));
}

#[test]
fn certificates_in_force_are_told_with_their_end() {
    let authority = Authority::new();
    authority.issue("one", "turn.example.org", Key::Ecdsa, 30);
    let turnd = start(&authority.toml(&["one"]));
    let config = api(&turnd).get("/api/v1/config").json();
    let certificate = &config["certificates"][0];
    assert_eq!(certificate["names"], "turn.example.org");
    let days = certificate["days_left"].as_i64().unwrap();
    assert!((1..=30).contains(&days), "{config}");
    let named = json!({ "host": "turn.example.org", "key": "cert" });
    assert_eq!(config["hosts"][0], named);
    assert_eq!(config["transports"], json!(["udp", "tcp", "tls"]));
}

#[test]
fn a_text_becomes_a_qr_code() {
    let turnd = start("");
    let ask = |text: &str| {
        let answer = api(&turnd).post("/api/v1/qr", &json!({ "text": text }));
        answer.json()
    };
    let small = ask("x");
    assert_eq!(small["size"], 21);
    // The pattern in the upper left corner: seven dark modules.
    assert!(small["path"].as_str().unwrap().starts_with("M0 0h7v1h-7z"));
    assert!(ask(&"x".repeat(2953))["size"].as_u64().unwrap() > 150);
}
