//! Credentials that the server and the program give out: for how long, and whose.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Outcome, api, ctl, session, start};
use crate::support::{Scratch, Turnd};

const BOTH: &str = "static-auth-secret = 'north'\nuser = 'alice:hidden-password'";

fn ask(turnd: &Turnd, body: &Value) -> (u16, Value) {
    let answer = api(turnd).post("/api/v1/credentials", body);
    assert!(!answer.body.contains("hidden-password"), "{answer:?}");
    (answer.status, answer.any_json())
}

#[test]
fn a_users_own_password_never_leaves_the_server() {
    let turnd = start("user = ['alice:hidden-password', 'bob:0x00112233445566778899aabbccddeeff']");
    for body in [
        json!({}),
        json!({ "name": "alice" }),
        json!({ "name": "bob" }),
    ] {
        let (status, answer) = ask(&turnd, &body);
        assert_eq!(status, 422, "{answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("add static-auth-secret"), "{error}");
    }
    let outcome = ctl(&turnd, &["credentials", "--name", "alice"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""));
    assert!(
        outcome.err.contains("add static-auth-secret"),
        "{outcome:?}"
    );
    // Where to go is no secret.
    let (status, answer) = ask(&turnd, &json!({ "urls_only": true, "host": "h" }));
    assert_eq!(status, 200);
    let server = &answer["iceServers"][0];
    let port = turnd.address().port();
    assert_eq!(server["urls"][1], format!("turn:h:{port}?transport=udp"));
    assert_eq!(
        (&server["username"], &server["credential"]),
        (&Value::Null, &Value::Null)
    );

    // Where there is a secret, the name is a name and no more.
    let turnd = start(BOTH);
    let (status, answer) = ask(&turnd, &json!({ "name": "alice" }));
    assert_eq!(status, 200);
    let text = |key: &str| answer["iceServers"][0][key].as_str().unwrap();
    assert!(text("username").ends_with(":alice"));
    session(turnd.address(), text("username"), text("credential"));
}

/// For how many seconds from now credentials are good, as the name says.
fn ttl(answer: &Value) -> u64 {
    let name = answer["iceServers"][0]["username"].as_str().unwrap();
    let expiry: u64 = name.split(':').next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // The server asked the clock first.
    expiry.saturating_sub(now.unwrap().as_secs())
}

#[test]
fn nobody_is_given_credentials_for_longer_than_the_key_says() {
    let turnd = start("static-auth-secret = 'north'");
    let most = json!({ "ttl_seconds": 86_400 });
    assert!((86_300..=86_400).contains(&ttl(&ask(&turnd, &most).1)));
    let too_long = json!({ "ttl_seconds": 86_401 });
    let (status, answer) = ask(&turnd, &too_long);
    let error = "ttl: 86401 seconds are more than max-credential-ttl, 86400; ask for less, or raise that key";
    assert_eq!((status, &answer["error"]), (422, &json!(error)));
    // A reload changes it, both ways; unasked, nobody gets more either.
    turnd.configure("static-auth-secret = 'north'\nmax-credential-ttl = 100000");
    ctl(&turnd, &["reload"]).ok();
    assert_eq!(ask(&turnd, &too_long).0, 200);
    turnd.configure("static-auth-secret = 'north'\nmax-credential-ttl = 60");
    ctl(&turnd, &["reload"]).ok();
    assert_eq!(ask(&turnd, &most).0, 422);
    assert!((1..=60).contains(&ttl(&ask(&turnd, &json!({})).1)));
    assert!((1..=60).contains(&ttl(&ask(&turnd, &json!({ "ttl_seconds": 60 })).1)));
    assert_eq!(ctl(&turnd, &["credentials", "--ttl", "1h"]).code, Some(1));
    ctl(&turnd, &["credentials", "--ttl", "1m"]).ok();
    let unasked = || serde_json::from_str(&ctl(&turnd, &["credentials"]).ok()).unwrap();
    assert!((1..=60).contains(&ttl(&unasked())));
    turnd.configure("static-auth-secret = 'north'\nmax-credential-ttl = 100000");
    ctl(&turnd, &["reload"]).ok();
    assert!((86_300..=86_400).contains(&ttl(&unasked())));
}

#[test]
fn the_program_keeps_to_the_configuration_and_prints_the_operators_own_users() {
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    let run = |toml: &str, words: &[&str]| {
        fs::write(&file, toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
        command.args(["credentials", "-c"]).arg(&file).args(words);
        Outcome::of(&mut command)
    };
    let read = |outcome: Outcome| serde_json::from_str::<Value>(&outcome.ok()).unwrap();
    let hour = "static-auth-secret = 'north'\nmax-credential-ttl = 3600";
    let outcome = run(hour, &["--ttl", "2h"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""));
    assert!(
        outcome.err.contains("--ttl: 7200 seconds are more than max-credential-ttl, 3600; ask for less, or raise that key"),
        "{outcome:?}"
    );
    assert!((3500..=3600).contains(&ttl(&read(run(hour, &[])))));
    assert!((50..=60).contains(&ttl(&read(run(hour, &["--ttl", "60"])))));
    let day = ttl(&read(run("static-auth-secret = 'north'", &[])));
    assert!((86_300..=86_400).contains(&day));
    let alice = read(run("user = 'alice:hidden-password'", &["--name", "alice"]));
    assert_eq!(alice["iceServers"][0]["credential"], "hidden-password");
    // With a secret of nobody's configuration nothing bounds it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["credentials", "--secret", "north", "--ttl", "30d"]);
    assert!(ttl(&read(Outcome::of(&mut command))) > 2_500_000);
}
