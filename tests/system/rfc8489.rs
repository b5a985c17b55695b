//! SHA-256, password algorithms and USERHASH (RFC 8489), asked for by a client in Python with a codec of its own.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PASSWORD, REALM, Running, Turnd, USER};

const LIMIT: Duration = Duration::from_secs(60);
const BOTH: &str = "password-algorithms = true\nusername-anonymity = true";

/// Report of `rfc8489.py`.
fn saw(turnd: &Turnd, what: &str, user: &str, tcp: bool) -> Value {
    let task = json!({
        "server": turnd.address().to_string(),
        "user": user,
        "password": PASSWORD,
        "tcp": tcp,
        "what": what,
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/rfc8489.py");
    let mut command = Command::new("python3");
    let mut running = Running::start(command.arg(script).arg(task.to_string()));
    let status = running.wait(LIMIT);
    assert!(
        status.is_some_and(|status| status.success()),
        "{what}: {}\n{}",
        running.last_lines(),
        turnd.log()
    );
    serde_json::from_str(&running.stdout()).unwrap()
}

#[test]
fn a9_a10_an_independent_client_relays_with_user_hash_and_sha_256() {
    let turnd = Turnd::start(BOTH);
    for tcp in [false, true] {
        let saw = saw(&turnd, "use", USER, tcp);
        let expected = json!({ "signed": ["sha256"], "features": ["algorithms", "anonymity"] });
        assert_eq!(saw, expected);
    }
}

#[test]
fn a7_an_independent_client_of_before_rfc_8489_goes_on_with_md5() {
    let turnd = Turnd::start(BOTH);
    for tcp in [false, true] {
        let saw = saw(&turnd, "legacy", USER, tcp);
        assert_eq!(saw["signed"], json!(["sha1"]));
    }
}

#[test]
fn d1_each_feature_is_announced_by_itself() {
    for (toml, features, signed) in [
        ("", json!([]), "sha1"),
        (
            "password-algorithms = true",
            json!(["algorithms"]),
            "sha256",
        ),
        ("username-anonymity = true", json!(["anonymity"]), "sha1"),
    ] {
        let saw = saw(&Turnd::start(toml), "use", USER, false);
        assert_eq!(saw, json!({ "signed": [signed], "features": features }));
    }
}

#[test]
fn a3_a7_a10_an_independent_client_sees_what_is_altered_cut_or_of_nobody_refused() {
    // More refusals than a source gets in a second.
    let no_limit = "unauthenticated-rate = 0";
    for features in [BOTH, "password-algorithms = true"] {
        let turnd = Turnd::start(&format!("{no_limit}\n{features}"));
        for tcp in [false, true] {
            assert_eq!(
                saw(&turnd, "refused", USER, tcp),
                json!({ "refused": true })
            );
        }
    }
}

#[test]
fn a8_a_user_is_stored_as_the_keys_that_turnd_prints() {
    let key = |algorithm: &str, user: &str| {
        let turnd = env!("CARGO_BIN_EXE_turnd");
        let words = ["key", "--algorithm", algorithm, user, REALM, PASSWORD];
        let out = Command::new(turnd).args(words).output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let turnd = Turnd::start(&format!(
        "{BOTH}\nuser = ['both:{}', 'new:{}', 'old:{}']",
        key("both", "both"),
        key("sha256", "new"),
        key("md5", "old"),
    ));
    for (user, what) in [
        ("both", "use"),
        ("both", "legacy"),
        ("new", "use"),
        ("old", "legacy"),
    ] {
        saw(&turnd, what, user, false);
    }
}
