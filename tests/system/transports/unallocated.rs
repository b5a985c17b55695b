//! Clients without an allocation: whoever fills the server up displaces itself, and others are served.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use stun::message::METHOD_BINDING;

use crate::support::transports::{closed, connect_from, host};
use crate::support::{
    Authority, Key, Namespace, Scratch, StreamClient, Turnd, dropped, link, node, request,
};

/// The longest that a test waits for what has to happen.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn without_descriptors_a_silent_client_gives_up_its_own() {
    let scratch = Scratch::new();
    let admin = scratch.path().join("admin");
    let turnd = Turnd::start(&format!("admin-listen = ['{}']", admin.display()));
    let pid = turnd.pid().to_string();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = format!("--nofile={0}:{0}", open + 20);
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(limited.unwrap().success());
    let mut silent: Vec<_> = (0..40)
        .map(|_| connect_from(host(1), turnd.address()))
        .collect();
    StreamClient::new(turnd.address()).binding();
    // A descriptor is another's before its connection has ended.
    let deadline = Instant::now() + LIMIT;
    while closed(&mut silent) == 0 {
        assert!(Instant::now() < deadline, "{}", turnd.log());
        thread::sleep(Duration::from_millis(10));
    }
    // None of them ended for being silent too long, which counts as nothing.
    assert!(dropped(&admin, "too-many-streams") > 0);
}

/// A stranger's network and the server, joined by a cable.
fn strangers() -> (Namespace, Namespace) {
    let (stranger, server) = (Namespace::new("stranger"), Namespace::new("server"));
    link([
        (&stranger, "cable", &["198.51.100.2/24"]),
        (&server, "cable", &["198.51.100.1/24"]),
    ]);
    (stranger, server)
}

#[test]
fn one_network_begins_so_many_tls_handshakes_and_no_more() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let (stranger, server) = strangers();
    let address: SocketAddr = "198.51.100.1:3478".parse().unwrap();
    let toml = format!(
        "listening-ip = '198.51.100.1'\nhandshake-rate = 2\nrelay-threads = 1\n{}",
        authority.toml(&["server"])
    );
    let turnd = Turnd::start_in(&server, address, &toml);
    let started = Instant::now();
    // Each says whether it was served; they come at once.
    let script = "for n in $(seq 20); do
        (echo | openssl s_client -connect 198.51.100.1:3478 2>/dev/null | grep -c 'BEGIN CERT' || true) &
    done; wait";
    let output = stranger
        .command("sh")
        .args(["-c", script])
        .output()
        .unwrap();
    let served = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| *line == "1")
        .count() as u64;
    let most = 2 + 2 * (started.elapsed().as_secs() + 1);
    assert!((2..=most).contains(&served), "{served}\n{}", turnd.log());
    assert!(
        served < 20,
        "{most} were allowed: the machine is too slow for this test"
    );
    // An established association is served: the rate is for handshakes alone.
    let binding = json!({ "targets": ["198.51.100.1:3478"], "milliseconds": 5000 });
    let answers = node(Some(&stranger), "binding.mjs", &binding, LIMIT);
    assert!(answers[0]["mapped"].is_string(), "{answers}");
}

#[test]
fn one_network_opens_so_many_connections_and_no_more() {
    let (stranger, server) = (Namespace::new("stranger"), Namespace::new("server"));
    link([
        (&stranger, "cable", &["198.51.100.2/24", "203.0.113.2/24"]),
        (&server, "cable", &["198.51.100.1/24", "203.0.113.1/24"]),
    ]);
    let scratch = Scratch::new();
    let admin = scratch.path().join("admin");
    let address: SocketAddr = "198.51.100.1:3478".parse().unwrap();
    let toml = format!(
        "listening-ip = '198.51.100.1'\nhandshake-rate = 1\nadmin-listen = ['{}']",
        admin.display()
    );
    let turnd = Turnd::start_in(&server, address, &toml);
    let connect = |source: &str| {
        let source = source.parse().unwrap();
        stranger.inside(|| connect_from(source, address))
    };
    let started = Instant::now();
    let streams: Vec<_> = (0..200).map(|_| connect("198.51.100.2")).collect();
    let served = streams
        .into_iter()
        .filter_map(|mut stream| {
            let question = request(METHOD_BINDING, vec![]);
            stream.write_all(&question.raw).ok()?;
            stream.read(&mut [0; 100]).ok().filter(|count| *count > 0)
        })
        .count() as u64;
    // Ten a second, those of five at once.
    let most = 50 + 10 * (started.elapsed().as_secs() + 1);
    assert!((50..=most).contains(&served), "{served}\n{}", turnd.log());
    assert!(
        most < 200,
        "{most} were allowed: the machine is too slow for this test"
    );
    assert_eq!(dropped(&admin, "connection-rate"), 200 - served);
    // Another network has its own.
    StreamClient::over(connect("203.0.113.2")).binding();
}

#[test]
fn the_kernel_drops_the_connections_of_a_network_far_beyond_its_rate() {
    let (stranger, server) = (Namespace::new("stranger"), Namespace::new("server"));
    link([
        (&stranger, "cable", &["198.51.100.2/24", "203.0.113.2/24"]),
        (&server, "cable", &["198.51.100.1/24", "203.0.113.1/24"]),
    ]);
    let address: SocketAddr = "198.51.100.1:3478".parse().unwrap();
    let toml = "listening-ip = '198.51.100.1'\nhandshake-rate = 1\nrelay-threads = 1";
    let turnd = Turnd::start_in(&server, address, toml);
    // No SYN is sent again in this time.
    let brief = Duration::from_millis(500);
    let connect = |limit| {
        stranger.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let source: SocketAddr = "198.51.100.2:0".parse().unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect_timeout(&address.into(), limit)
        })
    };
    // Fifty are served and a hundred refused.
    let dropped = (0..1000).find_map(|_| connect(brief).err()).unwrap();
    assert_eq!(dropped.kind(), ErrorKind::TimedOut, "{}", turnd.log());
    let other = || stranger.inside(|| connect_from("203.0.113.2".parse().unwrap(), address));
    StreamClient::over(other()).binding();
    // It is taken again, without a word from anybody else.
    connect(LIMIT).unwrap();
}
