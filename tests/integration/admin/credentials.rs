//! Credentials that the server and the program give out: for how long, and whose.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Outcome, api, ctl, session, start};
use crate::support::{Authority, Key, Scratch, Turnd};

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

/// An answer of the API in this form.
fn in_form(turnd: &Turnd, form: &str, body: &Value) -> super::Answer {
    let path = format!("/api/v1/credentials?format={form}");
    api(turnd).post(&path, body)
}

#[test]
fn the_server_speaks_as_others_do() {
    let turnd = start(BOTH);
    let port = turnd.address().port();
    let body = json!({ "name": "alice", "host": "h", "ttl_seconds": 600 });
    let answer = |form: &str| in_form(&turnd, form, &body);
    let uris = json!([
        format!("turn:h:{port}?transport=udp"),
        format!("turn:h:{port}?transport=tcp"),
    ]);
    let rest = answer("rest").json();
    assert_eq!((&rest["ttl"], &rest["uris"]), (&json!(600), &uris));
    let (name, password) = (&rest["username"], &rest["password"]);
    assert!(name.as_str().unwrap().ends_with(":alice"), "{rest}");
    session(
        turnd.address(),
        name.as_str().unwrap(),
        password.as_str().unwrap(),
    );
    let cloudflare = answer("cloudflare").json();
    assert_eq!(
        cloudflare["iceServers"][0]["urls"],
        json!([format!("stun:h:{port}")])
    );
    assert_eq!(cloudflare["iceServers"][1]["urls"], uris);
    let twilio = answer("twilio").json();
    assert_eq!(twilio["ttl"], "600");
    assert_eq!(twilio["ice_servers"][1]["urls"], uris[0]);
    for (form, part) in [
        (
            "whip-link",
            format!("Link: <turn:h:{port}?transport=udp>; rel=\"ice-server\"; username=\""),
        ),
        (
            "prosody",
            format!(
                "type = \"turn\", transport = \"udp\", host = \"h\", port = {port}, username = \""
            ),
        ),
        (
            "livekit",
            format!("{{ host: \"h\", port: {port}, protocol: udp, username: \""),
        ),
    ] {
        let answer = answer(form);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(answer.body.contains(&part), "{}", answer.body);
        assert!(!answer.body.contains("north"), "{}", answer.body);
    }
    // These take the secret, which stays where it is.
    for form in ["ejabberd", "nextcloud"] {
        let answer = answer(form);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(!answer.body.contains("north"), "{answer:?}");
    }
    assert_eq!(answer("yaml").status, 400);
}

#[test]
fn the_program_prints_what_applications_take() {
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    fs::write(
        &file,
        "static-auth-secret = 'a1f09c3de85b42761a3c5e7f9b2d4860'",
    )
    .unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
        command.args(["credentials", "-c"]).arg(&file).args(words);
        Outcome::of(&mut command).ok()
    };
    let nextcloud = run(&["--host", "turn.example.org:443", "--format", "nextcloud"]);
    let lines: Vec<_> = nextcloud.lines().collect();
    assert_eq!(
        lines,
        [
            "occ talk:stun:add turn.example.org:443",
            "occ talk:turn:add turn turn.example.org:443 udp,tcp --secret=a1f09c3de85b42761a3c5e7f9b2d4860",
            "occ talk:turn:add turns turn.example.org:443 tcp --secret=a1f09c3de85b42761a3c5e7f9b2d4860",
        ]
    );
    let prosody = run(&[
        "--host",
        "h",
        "--host",
        "turns:h:443?transport=tcp",
        "--format",
        "prosody",
    ]);
    assert!(
        prosody.contains("{ type = \"turns\", transport = \"tcp\", host = \"h\", port = 443, secret = true, ttl = 86400, algorithm = \"turn\" };"),
        "{prosody}"
    );
}

#[test]
fn the_server_is_called_what_its_certificate_says() {
    let authority = Authority::new();
    authority.issue("server", "turn.example.org", Key::Ecdsa, 30);
    let toml = format!(
        "static-auth-secret = 'a1f09c3de85b42761a3c5e7f9b2d4860'\nexternal-ip = '192.0.2.1'\n{}",
        authority.toml(&["server"])
    );
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["credentials", "-c"]).arg(&file);
    let servers: Value = serde_json::from_str(&Outcome::of(&mut command).ok()).unwrap();
    assert_eq!(
        servers["iceServers"][0]["urls"][3],
        "turns:turn.example.org:5349?transport=tcp"
    );
}
