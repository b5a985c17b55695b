//! turnd on loopback, right and wrong.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use turn::proto::PROTO_UDP;
use turn::proto::reqtrans::RequestedTransport;
use turnd_proto::auth::Keys;
use turnd_proto::auth::key::Key;
use turnd_proto::auth::rest;

use super::probe;
use crate::support::{PASSWORD, REALM, Scratch, StunClient, Turnd, USER, error_code};

const LOGIN: [&str; 4] = ["--user", USER, "--password", PASSWORD];

fn turn(turnd: &Turnd) -> String {
    format!("turn:{}", turnd.address())
}

fn probe_turn(turnd: &Turnd, words: &[&str]) -> super::Outcome {
    probe(None, &[&[turn(turnd).as_str()], words].concat())
}

#[test]
fn a_good_server_serves_over_both_families() {
    let turnd = Turnd::start("");
    let uris = [
        format!("stun:{}", turnd.address()),
        turn(&turnd),
        format!("turn:{}?transport=udp", turnd.address_v6()),
    ];
    // IPv6 clients get an IPv4 relay, which nobody at ::1 can try.
    probe(
        None,
        &[&[uris[0].as_str(), uris[1].as_str()], &LOGIN[..]].concat(),
    )
    .expect_served();
    let v6 = probe(None, &[&[uris[2].as_str()], &LOGIN[..]].concat());
    assert_eq!(v6.code, Some(0), "{:?}", v6.findings());
}

/// With SHA-256 and a hash of the user's name, by password and by key (RFC 8489 §9.2.5).
#[test]
fn a9_a10_a_server_that_offers_sha_256_serves_passwords_and_keys() {
    let turnd = Turnd::start("password-algorithms = true\nusername-anonymity = true");
    let uri = turn(&turnd);
    let keys = Keys::from_password(USER, REALM, PASSWORD).unwrap();
    let md5 = Key::from_password(USER, REALM, PASSWORD).unwrap();
    for password in [PASSWORD, &keys.to_hex(), &md5.to_hex()] {
        let words = [uri.as_str(), "--user", USER, "--password", password];
        probe(None, &words).expect_served();
    }
}

#[test]
fn names_resolve_and_people_get_a_table() {
    let turnd = Turnd::start("");
    let uri = format!("turn:localhost:{}", turnd.address().port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    let output = command.args(["probe", &uri]).args(LOGIN).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("a browser is served"), "{text}");
    assert!(
        text.contains("through it  50 of 50 packets (0% lost)"),
        "{text}"
    );
}

#[test]
fn wrong_password() {
    let turnd = Turnd::start("");
    let outcome = probe_turn(&turnd, &["--user", USER, "--password", "not it"]);
    outcome.expect_fault(
        "the server refuses the credentials of \"alice\" [401]",
        "password is wrong",
    );
}

#[test]
fn expired_rest_name() {
    let turnd = Turnd::start("static-auth-secret = 'north'");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let user = format!("{}:alice", now - 100);
    let password = rest::password("north", &user);
    let outcome = probe_turn(&turnd, &["--user", &user, "--password", &password]);
    outcome.expect_fault(
        "the credentials of",
        &format!(
            "have expired [401]: they were good until {} (",
            turnd_client::probe::moment(now - 100)
        ),
    );
    probe_turn(&turnd, &["--secret", "north"]).expect_served();
    let wrong = probe_turn(&turnd, &["--secret", "south"]);
    wrong.expect_fault(
        "the server refuses the credentials",
        "not the server's static-auth-secret",
    );
}

#[test]
fn realm_changed() {
    let key = Key::from_password(USER, "old.example.org", PASSWORD)
        .unwrap()
        .to_hex();
    let turnd = Turnd::start(&format!("user = '{USER}:{key}'"));
    let outcome = probe_turn(&turnd, &LOGIN);
    outcome.expect_fault(
        "the server refuses the credentials",
        &format!("made for another realm than {REALM:?}"),
    );
    // A configuration file that the server has not read yet says it outright.
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    let text = format!("realm = 'old.example.org'\nuser = '{USER}:{PASSWORD}'");
    fs::write(&file, text).unwrap();
    let outcome = probe_turn(&turnd, &["-c", file.to_str().unwrap()]);
    let findings = outcome.findings();
    assert!(
        findings
            .iter()
            .any(|f| f.contains("realm is \"example.org\", not \"old.example.org\"")),
        "{findings:#?}"
    );
    assert_eq!(outcome.code, Some(1));
}

#[test]
fn a_configuration_file_is_enough() {
    let turnd = Turnd::start("static-auth-secret = 'north'");
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    let text = format!(
        "listening-ip = '127.0.0.1'\nlistening-port = {}\nrealm = '{REALM}'\nstatic-auth-secret = 'north'",
        turnd.address().port()
    );
    fs::write(&file, text).unwrap();
    let outcome = probe(None, &["-c", file.to_str().unwrap()]);
    let uris: Vec<_> = outcome.json["uris"].as_array().unwrap().iter().collect();
    assert!(
        uris.iter()
            .any(|uri| uri["uri"].as_str().unwrap().starts_with("stun:"))
    );
    let udp = uris
        .iter()
        .find(|uri| uri["uri"].as_str().unwrap().contains("transport=udp"));
    assert_eq!(udp.unwrap()["served"], true, "{:#}", outcome.json);
}

/// Takes one allocation and keeps it.
fn occupy(turnd: &Turnd) -> StunClient {
    let mut client = StunClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    let transport = RequestedTransport {
        protocol: PROTO_UDP,
    };
    let reply = client.ask_signed(stun::message::METHOD_ALLOCATE, vec![Box::new(transport)]);
    assert_eq!(error_code(&reply), None);
    client
}

#[test]
fn quota_reached() {
    let turnd = Turnd::start("user-quota = 1");
    let _busy = occupy(&turnd);
    let outcome = probe_turn(&turnd, &LOGIN);
    outcome.expect_fault("the quota is reached [486]", "user-quota");
}

#[test]
fn a_quota_of_one_is_told() {
    let turnd = Turnd::start("user-quota = 1");
    let outcome = probe_turn(&turnd, &LOGIN);
    let findings = outcome.findings();
    assert!(
        findings
            .iter()
            .any(|f| f.starts_with("warning no second allocation") && f.contains("quota")),
        "{findings:#?}"
    );
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn no_relay_port_left() {
    let ports = crate::support::Ports::claim(8);
    let port = ports.relays().0;
    let turnd = Turnd::start(&format!("min-port = {port}\nmax-port = {port}"));
    let _busy = occupy(&turnd);
    let outcome = probe_turn(&turnd, &LOGIN);
    outcome.expect_fault("the server takes no more allocations [508]", "min-port");
}

#[test]
fn anyone_may_relay() {
    let turnd = Turnd::start("no-auth = true");
    let outcome = probe_turn(&turnd, &LOGIN);
    let findings = outcome.findings();
    assert!(
        findings[0].starts_with("warning the server asks for no credentials"),
        "{findings:#?}"
    );
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn turn_is_switched_off() {
    let turnd = Turnd::start("stun-only = true");
    let words = [&["--timeout", "2"], &LOGIN[..]].concat();
    let outcome = probe_turn(&turnd, &words);
    outcome.expect_fault(
        &format!(
            "{} answers STUN over UDP, but no TURN request [701]",
            turnd.address()
        ),
        "remove stun-only",
    );
    assert!(outcome.took < Duration::from_secs(8));
}

#[test]
fn server_draining() {
    let turnd = Turnd::start("drain-timeout = 60");
    // A call that goes on keeps the server from leaving.
    let _busy = occupy(&turnd);
    turnd.signal(Signal::USR1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while probe_turn(&turnd, &LOGIN).code == Some(0) {
        assert!(
            Instant::now() < deadline,
            "it goes on serving:\n{}",
            turnd.log()
        );
    }
    let outcome = probe_turn(&turnd, &LOGIN);
    outcome.expect_fault(
        "the server takes no more allocations [508]",
        "it is draining",
    );
}

#[test]
fn tcp_works_like_udp() {
    let turnd = Turnd::start("");
    let uri = format!("turn:{}?transport=tcp", turnd.address());
    probe(None, &[&[uri.as_str()], &LOGIN[..]].concat()).expect_served();
}

#[test]
fn peers_inside_the_network_are_told() {
    let internal = |outcome: &super::Outcome| {
        outcome.json["uris"][0]["addresses"][0]["internal_peers"].clone()
    };
    let turnd = Turnd::start("");
    let refused = probe_turn(&turnd, &LOGIN);
    assert_eq!(internal(&refused), serde_json::json!([]));
    let words = [&["--no-peer-check"], &LOGIN[..]].concat();
    assert!(internal(&probe_turn(&turnd, &words)).is_null());

    let turnd = Turnd::start("allowed-peer-ip = ['10.0.0.0/8', '169.254.169.254']");
    let outcome = probe_turn(&turnd, &LOGIN);
    let expected = serde_json::json!(["10.0.0.1", "169.254.169.254"]);
    assert_eq!(internal(&outcome), expected);
    let findings = outcome.findings();
    assert!(
        findings[0].starts_with(
            "warning the server accepts as peers 10.0.0.1 (private), 169.254.169.254 (link-local): "
        ),
        "{findings:#?}"
    );
    assert!(findings[0].contains("take them out of allowed-peer-ip"));
    assert_eq!(outcome.code, Some(0));
}

/// Output and exit code of the command, in this form.
fn shown(form: &str, words: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["probe", "--output", form]).args(words);
    let output = command.output().unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code(),
    )
}

#[test]
fn monitoring_gets_a_line_and_its_exit_codes() {
    let nagios = |words: &[&str]| shown("nagios", words);
    let turnd = Turnd::start("");
    let uri = turn(&turnd);
    let good = [&[uri.as_str()], &LOGIN[..]].concat();
    let (text, code) = nagios(&good);
    let first = text.lines().next().unwrap();
    let place = format!("turn udp {}", turnd.address());
    assert!(
        first.starts_with(&format!(
            "TURN OK - 1 of 1 URIs serve a browser | '{place} reflexive'="
        )),
        "{first}"
    );
    assert!(
        first.contains(&format!("'{place} loss'=0%;;;0;100")),
        "{first}"
    );
    assert_eq!((text.matches('|').count(), code), (1, Some(0)));

    let (text, code) = nagios(&[&uri, "--user", USER, "--password", "not it"]);
    assert!(
        text.starts_with(
            "TURN CRITICAL - 0 of 1 URIs serve a browser: the server refuses the credentials"
        ),
        "{text}"
    );
    assert_eq!(code, Some(2));
    for wrong in [&[uri.as_str()][..], &["--wrong"], &["-c", "/nonexistent"]] {
        let (text, code) = nagios(wrong);
        assert!(text.starts_with("TURN UNKNOWN - "), "{text}");
        assert_eq!(code, Some(3), "{wrong:?}");
    }
    let open = Turnd::start("no-auth = true");
    let (text, code) = nagios(&[&[turn(&open).as_str()], &LOGIN[..]].concat());
    assert!(text.starts_with("TURN WARNING - 1 of 1 "), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn ci_gets_a_test_case_for_each_address() {
    let turnd = Turnd::start("");
    let (stun, uri) = (format!("stun:{}", turnd.address()), turn(&turnd));
    let words = [stun.as_str(), &uri, "--user", USER, "--password", "not it"];
    let (text, code) = shown("junit", &words);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("tests=\"2\" failures=\"1\" errors=\"0\""),
        "{text}"
    );
    let case = format!(
        "<testcase classname=\"{uri}\" name=\"UDP {}\"",
        turnd.address()
    );
    assert!(text.contains(&case), "{text}");
    let failure = "<failure message=\"the server refuses the credentials of &quot;alice&quot;\">";
    assert!(text.contains(failure), "{text}");
}
