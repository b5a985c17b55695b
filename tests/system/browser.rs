//! A headless Chromium against turnd.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Authority, Key, Namespace, PASSWORD, Scratch, Turnd, USER, node, run};

/// Above what the scripts allow themselves.
const LIMIT: Duration = Duration::from_secs(150);

fn ice_servers(server: SocketAddr, user: &str, password: &str) -> Value {
    let urls = [
        format!("stun:{server}"),
        format!("turn:{server}?transport=udp"),
    ];
    json!([{ "urls": urls, "username": user, "credential": password }])
}

/// Gathers candidates; returns `{candidates, errors}`.
pub(crate) fn gather(namespace: Option<&Namespace>, server: SocketAddr, password: &str) -> Value {
    gather_as(namespace, server, USER, password)
}

/// The same as another user.
pub(crate) fn gather_as(
    namespace: Option<&Namespace>,
    server: SocketAddr,
    user: &str,
    password: &str,
) -> Value {
    let argument =
        json!({ "iceServers": ice_servers(server, user, password), "milliseconds": 30_000 });
    let result = node(namespace, "gather.mjs", &argument, LIMIT);
    assert_eq!(result["complete"], true, "gathering does not end: {result}");
    assert_eq!(result["pageErrors"], json!([]));
    result
}

/// The candidates of this type.
pub(crate) fn candidates<'a>(result: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = result["candidates"].as_array().unwrap();
    all.iter()
        .filter(|candidate| candidate["type"] == kind)
        .collect()
}

/// A call between two pages through the relay only: messages and video.
pub(crate) fn call(namespace: Option<&Namespace>, server: SocketAddr) {
    let (messages, frames) = (200, 60);
    let argument = json!({
        "iceServers": ice_servers(server, USER, PASSWORD),
        "messages": messages,
        "frames": frames,
        "milliseconds": 60_000,
    });
    let result = node(namespace, "call.mjs", &argument, LIMIT);
    assert_eq!(result["errors"], json!([]));
    assert_eq!(result["pageErrors"], json!([]));
    let received: Vec<u64> = serde_json::from_value(result["received"].clone()).unwrap();
    assert_eq!(
        received,
        (0..messages).collect::<Vec<_>>(),
        "messages in order, none missing"
    );
    assert!(
        result["framesDecoded"].as_u64() >= Some(frames),
        "too few frames: {result}"
    );
    let relayed = json!({ "local": "relay", "remote": "relay" });
    assert_eq!(result["pairs"], json!([relayed, relayed]));
}

#[test]
fn gathering_gives_srflx_and_relay() {
    let turnd = Turnd::start("");
    let result = gather(None, turnd.address(), PASSWORD);
    assert_eq!(result["errors"], json!([]), "{}", turnd.log());
    // Chromium shows no srflx that equals a host candidate: this machine needs an interface besides loopback.
    assert!(
        !candidates(&result, "srflx").is_empty(),
        "no srflx: {result}\n{}",
        turnd.log()
    );
    let relays = candidates(&result, "relay");
    assert!(!relays.is_empty(), "no relay: {result}\n{}", turnd.log());
    let (min, max) = turnd.ports().relays();
    for relay in relays {
        assert_eq!(relay["address"], "127.0.0.1");
        let port = relay["port"].as_u64().unwrap();
        assert!(
            (min.into()..=max.into()).contains(&port),
            "{relay} is not within {min}..={max}"
        );
    }
}

/// It knows nothing of RFC 8489, and passes over what that adds.
#[test]
fn a_call_with_password_algorithms_and_username_anonymity() {
    let turnd = Turnd::start("password-algorithms = true\nusername-anonymity = true");
    call(None, turnd.address());
}

#[test]
fn wrong_password_is_candidate_error_401() {
    let turnd = Turnd::start("");
    let result = gather(None, turnd.address(), "wrong");
    assert!(candidates(&result, "relay").is_empty(), "{result}");
    let errors = result["errors"].as_array().unwrap();
    assert!(
        !errors.is_empty(),
        "no icecandidateerror: {result}\n{}",
        turnd.log()
    );
    for error in errors {
        assert_eq!(error["code"], 401, "{result}");
        assert_eq!(
            error["url"],
            format!("turn:{}?transport=udp", turnd.address())
        );
    }
}

#[test]
fn relayed_call_carries_messages_and_video() {
    let turnd = Turnd::start("");
    call(None, turnd.address());
}

/// A home folder whose certificate store trusts `authority`.
fn home(authority: &Authority) -> Scratch {
    let home = Scratch::new();
    // Chromium has moved its store; both places are its own.
    for place in [".pki/nssdb", ".local/share/pki/nssdb"] {
        let folder = home.path().join(place);
        fs::create_dir_all(&folder).unwrap();
        let database = format!("sql:{}", folder.display());
        let certutil = |arguments: &[&str]| {
            let mut command = Command::new("certutil");
            run(command.args(["-d", &database]).args(arguments), LIMIT);
        };
        certutil(&["-N", "--empty-password"]);
        let certificate = authority.certificate();
        let certificate = certificate.to_str().unwrap();
        certutil(&["-A", "-t", "C,,", "-n", "turnd-test", "-i", certificate]);
    }
    home
}

/// A call by these URLs only.
fn call_over(turnd: &Turnd, url: &str, home: Option<&Scratch>) {
    let argument = json!({
        "iceServers": [{ "urls": [url], "username": USER, "credential": PASSWORD }],
        "messages": 200,
        "frames": 60,
        "milliseconds": 60_000,
        "home": home.map(|home| home.path()),
    });
    let result = node(None, "call.mjs", &argument, LIMIT);
    assert_eq!(result["errors"], json!([]), "{}", turnd.log());
    assert_eq!(result["pageErrors"], json!([]));
    assert_eq!(result["finished"], true, "{result}\n{}", turnd.log());
    let relayed = json!({ "local": "relay", "remote": "relay" });
    assert_eq!(result["pairs"], json!([relayed, relayed]));
}

#[test]
fn call_over_tcp() {
    let turnd = Turnd::start("");
    call_over(
        &turnd,
        &format!("turn:{}?transport=tcp", turnd.address()),
        None,
    );
    turnd.log_with("transport=\"tcp\"");
}

#[test]
fn call_over_tls_with_a_private_authority_and_701_without() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    let url = format!(
        "turns:localhost:{}?transport=tcp",
        turnd.ports().tls_listening()
    );
    call_over(&turnd, &url, Some(&home(&authority)));
    turnd.log_with("transport=\"tls\"");

    // The same to a browser that does not know the authority.
    let home = home(&Authority::new());
    let argument = json!({
        "iceServers": [{ "urls": [url], "username": USER, "credential": PASSWORD }],
        "milliseconds": 30_000,
        "home": home.path(),
    });
    let result = node(None, "gather.mjs", &argument, LIMIT);
    assert!(candidates(&result, "relay").is_empty(), "{result}");
    let errors = result["errors"].as_array().unwrap();
    assert!(!errors.is_empty(), "{result}");
    assert!(errors.iter().all(|error| error["code"] == 701), "{result}");
}
