//! `turnd nat` against coturn's server.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Ports, Running, run};

/// coturn on these loopback addresses, which answers over UDP and TCP.
fn start(ports: &Ports, ips: &[&str]) -> Running {
    let mut command = Command::new("turnserver");
    command.args([
        "-n",
        "--no-tls",
        "--no-dtls",
        "--no-auth",
        "--no-cli",
        "--log-file=stdout",
    ]);
    command.args([
        "--allow-loopback-peers",
        "--pidfile=/dev/null",
        "--userdb=/dev/null",
    ]);
    command.args(["-p", &ports.listening().to_string()]);
    command.args(["--alt-listening-port", &(ports.listening() + 1).to_string()]);
    let (min, max) = ports.relays();
    command.args([
        "--min-port",
        &min.to_string(),
        "--max-port",
        &max.to_string(),
    ]);
    for ip in ips {
        command.args(["-L", ip]);
    }
    let mut server = Running::start(&mut command);
    let address = SocketAddr::new(ips[0].parse().unwrap(), ports.listening());
    let socket = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let request = crate::support::request(stun::message::METHOD_BINDING, vec![]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while socket.send_to(&request.raw, address).is_err() || socket.recv(&mut [0; 512]).is_err() {
        assert!(server.ended().is_none(), "turnserver ended");
        assert!(Instant::now() < deadline, "turnserver does not answer");
    }
    server
}

fn nat(arguments: &[String]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["nat", "--json"]).args(arguments);
    let output = run(&mut command, Duration::from_secs(40));
    serde_json::from_str(&output).unwrap()
}

#[test]
fn everything_is_learned_from_coturn_with_two_addresses() {
    for ips in [
        &["127.0.0.1", "127.0.0.2"][..],
        &["::1", "127.0.0.1", "127.0.0.2"],
    ] {
        let ports = Ports::claim(100);
        let _coturn = start(&ports, ips);
        let found = nat(&[
            "--server".into(),
            format!("127.0.0.1:{}", ports.listening()),
        ]);
        let family = &found["families"][0];
        assert_eq!(family["rfc3489"], "open internet", "{found:#}");
        assert_eq!(family["behaviour"]["alg"], false, "{found:#}");
        assert_eq!(
            family["behaviour"]["tcp_mapping"], "endpoint-independent",
            "{found:#}"
        );
    }
}

#[test]
fn with_one_address_it_says_what_is_missing() {
    let ports = Ports::claim(100);
    let _coturn = start(&ports, &["127.0.0.1"]);
    let found = nat(&[
        "--server".into(),
        format!("127.0.0.1:{}", ports.listening()),
    ]);
    let family = &found["families"][0];
    assert_eq!(family["rfc3489"], Value::Null, "{found:#}");
    let why = family["unknown"]["filtering"].as_str().unwrap();
    assert!(why.starts_with("the server has no second address"), "{why}");
}
