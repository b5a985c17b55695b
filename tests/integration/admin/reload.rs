//! Reloading: what is taken over, what waits for a restart, and what is said about it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use stun::message::CLASS_SUCCESS_RESPONSE;

use super::{allocate, api, ctl, eventually, is_alive, session, start, status, usual_session};
use crate::support::{PASSWORD, Peer, StunClient, USER, error_code};

#[test]
fn a_good_file_is_taken_over_and_shown() {
    let turnd = start("");
    let old = usual_session(&turnd);
    assert_eq!(
        ctl(&turnd, &["reload"]).ok(),
        "reloaded, nothing has changed\n"
    );
    turnd.configure("user = ['bob:hidden']\nuser-quota = 3");
    let text = ctl(&turnd, &["reload"]).ok();
    let expected = "reloaded\n  user: [\"alice:***\"] -> [\"bob:***\"]\n  user-quota: 100 -> 3\n";
    assert_eq!(text, expected);
    let log = turnd.log_with("configuration changed key=\"user-quota\" old=\"100\" new=\"3\"");
    assert!(
        !log.contains("hidden") && !log.contains("alice:secret"),
        "{log}"
    );

    assert_eq!(status(&turnd)["allocations"], 0, "her call ends too");
    let refresh = old.signed(stun::message::METHOD_REFRESH, vec![]);
    assert_eq!(error_code(&old.ask(&refresh).unwrap()), Some(401));
    eventually("a log line", || turnd.log().contains("reason=\"revoked\""));
    let _bob = session(turnd.address(), "bob", "hidden");
    let mut gone = StunClient::new(turnd.address());
    gone.log_in(USER, PASSWORD);
    let refused = gone
        .ask(&gone.signed(stun::message::METHOD_ALLOCATE, vec![]))
        .unwrap();
    assert_eq!(error_code(&refused), Some(401));

    turnd.configure("user = ['bob:hidden']");
    let answer = api(&turnd).post("/api/v1/reload", &json!({})).json();
    let change = json!({ "key": "user-quota", "old": "3", "new": "100" });
    let expected = json!({ "changes": [change], "pending": [], "certificates_unusable": null });
    assert_eq!(answer, expected);
    assert_eq!(status(&turnd)["reloads"], 3);
}

#[test]
fn listeners_come_and_go() {
    let turnd = start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (old, new) = (turnd.address(), turnd.ports().peers());
    let (call, _) = StunClient::allocated(old);
    turnd.configure(&format!("listening-port = {new}"));
    ctl(&turnd, &["reload"]).ok();

    let fresh_client = |address| {
        let timeout = Duration::from_millis(300);
        StunClient::new(address).with_timeout(timeout).binding()
    };
    assert!(
        fresh_client(SocketAddr::new(old.ip(), new)).is_some(),
        "the new one answers"
    );
    assert!(fresh_client(old).is_none(), "the old one takes nobody new");
    assert!(call.echoes(&echo), "who was there before is served on");
    assert!(UdpSocket::bind(old).is_err(), "so it is open");
    call.deallocate();
    eventually("the old one is closed", || UdpSocket::bind(old).is_ok());

    turnd.configure(&format!("listening-port = {}", old.port()));
    ctl(&turnd, &["reload"]).ok();
    assert!(fresh_client(old).is_some(), "and comes back");
}

#[test]
fn a_listener_in_the_way_changes_nothing() {
    let turnd = start("");
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, turnd.ports().peers())).unwrap();
    let port = taken.local_addr().unwrap().port();
    turnd.configure(&format!("listening-port = {port}\nuser = ['bob:hidden']"));
    let refused = ctl(&turnd, &["reload"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let reason = format!("127.0.0.1:{port}/udp is in use");
    assert!(refused.err.contains(&reason), "{refused:?}");
    let _alice = usual_session(&turnd);
}

#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    let turnd = start("");
    let old = usual_session(&turnd);
    let good = fs::read_to_string(turnd.config()).unwrap();
    let mut failed = 0;
    for (text, reason) in [
        (format!("user-quota = 1\n{good}min-prot = 1\n"), "min-prot"),
        (format!("{good}user-quota = 'many'\n"), "user-quota"),
        (format!("{good}user-quota = \n"), "turnd.toml:"),
        (
            format!("{good}user-file = '/nonexistent'\n"),
            "/nonexistent",
        ),
        (String::new(), "user"),
        ("\0\u{1}".to_owned(), "turnd.toml:1"),
    ] {
        turnd.configure_raw(&text);
        let outcome = ctl(&turnd, &["reload"]);
        failed += 1;
        assert_eq!(outcome.code, Some(1), "{text}: {outcome:?}");
        assert!(
            outcome
                .err
                .starts_with("error: not reloaded, the old configuration stays\n"),
            "{outcome:?}"
        );
        assert!(outcome.err.contains(reason), "{outcome:?}");
        eventually("a line of it", || {
            turnd.log().matches("the old one stays reason=").count() >= failed
        });
        turnd.log_with(reason);
        assert_eq!(status(&turnd)["failed_reloads"], failed);
        assert!(is_alive(&old));
        usual_session(&turnd);
    }
    fs::remove_file(turnd.config()).unwrap();
    assert_eq!(ctl(&turnd, &["reload"]).code, Some(1));
    usual_session(&turnd);
    // And HUP does the same, in the log.
    turnd.signal(Signal::HUP);
    eventually("a reload", || {
        status(&turnd)["failed_reloads"] == failed + 2
    });
    turnd.configure_raw(&good);
    ctl(&turnd, &["reload"]).ok();
    assert!(is_alive(&old));
}

#[test]
fn what_needs_a_restart_waits_for_it_and_the_rest_does_not() {
    let turnd = start("");
    let call = usual_session(&turnd);
    for (n, (key, value)) in [
        ("pidfile", "'/tmp/turnd-never.pid'"),
        ("relay-threads", "7"),
        ("reload-on-change", "true"),
        ("no-udp", "true"),
    ]
    .into_iter()
    .enumerate()
    {
        turnd.configure(&format!(
            "user = ['alice:secret', 'bob{n}:hidden']\n{key} = {value}"
        ));
        let text = ctl(&turnd, &["reload"]).ok();
        let pending = text
            .lines()
            .find(|line| line.ends_with(" from the next restart on"));
        assert!(
            pending.unwrap().starts_with(&format!("  {key}: ")),
            "{text}"
        );
        let _bob = session(turnd.address(), &format!("bob{n}"), "hidden");
        let told = &status(&turnd)["pending"];
        assert_eq!(
            (told[0]["key"].as_str(), told[1].as_str()),
            (Some(key), None)
        );
        turnd.log_with(&format!("changes from the next restart on key=\"{key}\""));
    }
    assert!(is_alive(&call));

    // Revoking a user does not wait, and what waits is told again.
    turnd.configure("user = ['bob:hidden']\nrelay-threads = 7");
    let text = ctl(&turnd, &["reload"]).ok();
    assert!(
        text.contains("  user: ") && text.contains("  relay-threads: 0 -> 7 from"),
        "{text}"
    );
    let refresh = call.signed(stun::message::METHOD_REFRESH, vec![]);
    assert_eq!(error_code(&call.ask(&refresh).unwrap()), Some(401));
    let text = ctl(&turnd, &["reload"]).ok();
    let expected =
        "reloaded, nothing has changed\n  relay-threads: 0 -> 7 from the next restart on\n";
    assert_eq!(text, expected);
    let text = ctl(&turnd, &["status"]).ok();
    assert!(
        text.contains("\npending           relay-threads: 0 -> 7 from the next restart on\n"),
        "{text}"
    );

    // Until the running value is back.
    turnd.configure("user = ['bob:hidden']\nrelay-threads = 0");
    let text = ctl(&turnd, &["reload"]).ok();
    assert_eq!(text, "reloaded, nothing has changed\n");
    assert_eq!(status(&turnd)["pending"], json!([]));
    assert_eq!(status(&turnd)["failed_reloads"], 0);
}

#[test]
fn rfc5780_waits_for_a_restart_and_its_addresses_do_not() {
    let turnd = start("");
    let ips = "listening-ip = ['127.0.0.1', '127.0.0.2']\nrfc5780 = true";
    turnd.configure(&format!("user = ['bob:hidden']\n{ips}"));
    let told = ctl(&turnd, &["reload"]).ok();
    let pending = |line: &&str| line.ends_with(" from the next restart on");
    let pending: Vec<_> = told.lines().filter(pending).collect();
    assert_eq!(pending.len(), 3, "{told}");
    assert!(pending[2].starts_with("  rfc5780: false -> true"), "{told}");
    let second = SocketAddr::from(([127, 0, 0, 2], turnd.address().port()));
    session(second, "bob", "hidden");
}

#[test]
fn a_changed_file_reloads_itself_when_asked_to() {
    let turnd = start("reload-on-change = true");
    turnd.configure("reload-on-change = true\nuser = ['bob:hidden']");
    eventually("a reload", || status(&turnd)["reloads"] == 1);
    session(turnd.address(), "bob", "hidden");
    turnd.log_with("configuration changed key=\"user\"");
    turnd.configure_raw("broken");
    eventually("a failure", || status(&turnd)["failed_reloads"] == 1);
    session(turnd.address(), "bob", "hidden");
    turnd.configure("reload-on-change = true\nuser = ['bob:hidden', 'carol:x']");
    eventually("a reload", || status(&turnd)["reloads"] == 2);
    let mut carol = StunClient::new(turnd.address());
    assert_eq!(
        allocate(&mut carol, "carol", "x").typ.class,
        CLASS_SUCCESS_RESPONSE
    );
}
