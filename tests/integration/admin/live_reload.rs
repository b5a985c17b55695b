//! Reloads of every kind under live calls with traffic, over UDP, TCP and TLS: no packet is lost.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::{api, ctl, eventually, start, status};
use crate::support::{Authority, Call, Key, PASSWORD, Peer, StunClient, Turnd, USER};

/// Round trips between two reloads, of each call.
const BETWEEN: usize = 30;

fn issue(authority: &Authority, name: &str) {
    authority.issue(name, "localhost", Key::Ecdsa, 30);
}

/// The configurations of the reloads; `n` makes each differ.
fn configurations(turnd: &Turnd, certificate: &str, other: &str) -> Vec<String> {
    let port = turnd.ports().peers();
    vec![
        format!("{certificate}\nrealm = 'example.net'"),
        format!("{certificate}\nrealm = 'example.net'\nrelay-threads = 9\nno-tls = true"),
        format!("{other}\nrealm = 'example.com'\nlistening-port = {port}"),
        format!("{other}\nlistening-ip = '0.0.0.0'\nrelay-threads = 9"),
        format!("{certificate}\nlistening-ip = '127.0.0.1'\ntls-listening-port = {port}"),
        "rfc5780 = true\nlistening-ip = ['127.0.0.1', '127.0.0.2']".to_owned(),
        certificate.to_owned(),
    ]
}

#[test]
fn reloads_of_every_kind_lose_no_packet_and_end_no_call() {
    let authority = Authority::new();
    issue(&authority, "one");
    issue(&authority, "two");
    let [certificate, other] = ["one", "two"].map(|name| authority.toml(&[name]));
    let turnd = start(&certificate);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut calls = Call::by_each_transport(turnd.address(), &authority);
    calls.iter_mut().for_each(|call| call.bind(&echo));
    let before = status(&turnd);
    let rounds: Vec<_> = calls.iter().map(|_| AtomicUsize::new(0)).collect();
    let over = AtomicBool::new(false);
    let all_have = |count| {
        rounds
            .iter()
            .all(|done| done.load(Ordering::Relaxed) >= count)
    };
    thread::scope(|scope| {
        for (call, done) in calls.iter_mut().zip(&rounds) {
            let (echo, over) = (&echo, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert!(call.echoes(), "{}", call.transport());
                    let rounds = done.fetch_add(1, Ordering::Relaxed);
                    if rounds.is_multiple_of(20) {
                        assert!(call.carries(echo), "{}", call.transport());
                    }
                }
            });
        }
        let mut count = 0;
        for toml in configurations(&turnd, &certificate, &other) {
            turnd.configure(&toml);
            let reloaded = ctl(&turnd, &["reload"]);
            count += BETWEEN;
            eventually("round trips", || {
                all_have(count) || reloaded.code != Some(0)
            });
            if reloaded.code != Some(0) {
                over.store(true, Ordering::Relaxed);
                panic!("{toml}: {reloaded:?}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let after = status(&turnd);
    assert_eq!(after["packets_dropped"], before["packets_dropped"]);
    assert_eq!(
        (&after["allocations"], &after["allocations_ended"]),
        (&3.into(), &0.into())
    );
    assert_eq!(after["pending"], Value::Array(vec![]));
    assert!(calls.iter_mut().all(Call::is_alive));
}

#[test]
fn a_changed_realm_is_told_and_leaves_calls_their_own() {
    let authority = Authority::new();
    issue(&authority, "one");
    let certificate = authority.toml(&["one"]);
    let turnd = start(&certificate);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut calls = Call::by_each_transport(turnd.address(), &authority);
    turnd.configure(&format!("{certificate}\nrealm = 'example.net'"));
    ctl(&turnd, &["reload"]).ok();
    turnd.log_with("live sessions keep the realm that they have until they end old=\"example.org\" new=\"example.net\" sessions=3");
    for call in &mut calls {
        assert!(call.carries(&echo), "{}", call.transport());
    }
    let mut newcomer = StunClient::new(turnd.address());
    newcomer.log_in(USER, PASSWORD);
    assert_eq!(newcomer.realm(), "example.net");
    assert_eq!(
        crate::support::messages::status(&newcomer.try_allocate()),
        200
    );
    // A user who is revoked loses the call, whatever its realm is.
    turnd.configure(&format!(
        "{certificate}\nrealm = 'example.net'\nuser = 'bob:hidden'"
    ));
    ctl(&turnd, &["reload"]).ok();
    assert_eq!(status(&turnd)["allocations"], 0);
}

#[test]
fn sessions_that_lose_a_peer_are_told_and_their_packets_counted_apart() {
    let authority = Authority::new();
    issue(&authority, "one");
    let certificate = authority.toml(&["one"]);
    let turnd = start(&certificate);
    let echo = Peer::echo(Ipv4Addr::new(127, 0, 0, 2));
    let mut calls = Call::by_each_transport(turnd.address(), &authority);
    for call in &mut calls {
        assert!(call.carries(&echo));
    }
    turnd.configure(&format!("{certificate}\nallow-loopback-peers = false"));
    ctl(&turnd, &["reload"]).ok();
    turnd.log_with("live sessions lost peers that are refused now sessions=3");
    let dropped = || crate::support::dropped(&turnd.admin_socket(), "peer-refused");
    for (n, call) in calls.iter_mut().enumerate() {
        call.send();
        assert!(call.is_alive());
        assert_eq!(dropped(), 1 + n as u64, "{}", call.transport());
    }
}

#[test]
fn certificates_that_cannot_be_used_any_more_leave_the_old_ones_and_hold_up_nothing() {
    let authority = Authority::new();
    issue(&authority, "one");
    let certificate = authority.toml(&["one"]);
    let turnd = start(&certificate);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let key = fs::read(authority.path("one.key")).unwrap();
    fs::write(authority.path("one.key"), "broken").unwrap();
    let reload = |toml: &str| {
        turnd.configure(&format!("{certificate}\n{toml}"));
        ctl(&turnd, &["reload"])
    };
    for n in 1..4 {
        let told = reload(&format!("user-quota = 10{n}")).ok();
        assert!(
            told.contains(&format!(
                " -> 10{n}\n  certificates: the old one is in use, because "
            )),
            "{told}"
        );
        let kept = "certificates: kept the old one, because";
        eventually("it is told each time", || {
            turnd.log().matches(kept).count() >= n
        });
        let shown = ctl(&turnd, &["status"]).ok();
        assert!(
            shown.contains("\ncertificates      the old one is in use, because "),
            "{shown}"
        );
        for mut call in Call::by_each_transport(turnd.address(), &authority) {
            assert!(call.carries(&echo), "{}", call.transport());
        }
    }
    let metric = || api(&turnd).get("/metrics").body;
    assert!(metric().contains("\nturnd_certificates_last_reload_success 0\n"));
    // Another name in the file is the operator's own doing, and wrong.
    let outcome = {
        turnd.configure(&authority.toml(&["nowhere"]));
        ctl(&turnd, &["reload"])
    };
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(metric().contains("\nturnd_config_last_reload_success 0\n"));

    // The file watch takes a good one, and says what it lacks.
    fs::write(authority.path("one.key"), key).unwrap();
    authority.issue("one", "other.example", Key::Ecdsa, 30);
    turnd.log_with("certificates reloaded");
    turnd.log_with(
        "no certificate is for these names any more: clients refuse it under them names=localhost",
    );
    turnd.log_with("holds the certificate without its chain");
    assert!(metric().contains("\nturnd_certificates_last_reload_success 1\n"));
    assert_eq!(reload("user-quota = 9").code, Some(0));
    assert!(metric().contains("\nturnd_config_last_reload_success 1\n"));
    assert_eq!(status(&turnd)["certificates_unusable"], Value::Null);
}

#[test]
fn tls_goes_on_until_the_restart_when_its_certificate_is_taken_away() {
    let authority = Authority::new();
    issue(&authority, "one");
    let turnd = start(&authority.toml(&["one"]));
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    fs::remove_file(authority.path("one.pem")).unwrap();
    fs::remove_file(authority.path("one.key")).unwrap();
    turnd.configure("user-quota = 7");
    let told = ctl(&turnd, &["reload"]).ok();
    assert!(told.contains("user-quota: 100 -> 7\n  cert: "), "{told}");
    assert_eq!(
        told.matches("from the next restart on").count(),
        2,
        "{told}"
    );
    for mut call in Call::by_each_transport(turnd.address(), &authority) {
        assert!(call.carries(&echo), "{}", call.transport());
    }
}
