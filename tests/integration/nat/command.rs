//! `turnd nat` on loopback.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::support::Turnd;

fn nat(words: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    let output = command
        .args(["nat", "--json"])
        .args(words)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

#[test]
fn a_server_is_named_in_many_ways() {
    let turnd = Turnd::start("");
    let address = turnd.address().to_string();
    for words in [
        &[address.as_str()][..],
        &["--server", &address],
        &[&format!("stun:{address}")],
        &[&format!("turn:{address}?transport=udp")],
    ] {
        let found = nat(words);
        let behaviour = &found["families"][0]["behaviour"];
        assert_eq!(behaviour["mapping"], "endpoint-independent", "{found:#}");
        assert_eq!(
            behaviour["tcp_mapping"], "endpoint-independent",
            "{found:#}"
        );
    }
}

/// A STUN server over UDP, on whose port TCP is silent.
fn silent_over_tcp() -> SocketAddr {
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            break (tcp, udp);
        }
    };
    let address = udp.local_addr().unwrap();
    thread::spawn(move || {
        let _silent = tcp;
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let mut reply = vec![1, 1, 0, 12];
            reply.extend_from_slice(&buffer[4..20]);
            reply.extend_from_slice(&[0, 0x20, 0, 8, 0, 1, 0x11, 0x11, 1, 2, 3, 4]);
            udp.send_to(&reply, from).unwrap();
        }
    });
    address
}

#[test]
fn silence_over_tcp_is_not_called_udp() {
    let server = silent_over_tcp();
    let found = nat(&[&server.to_string(), "--timeout", "4"]);
    let why = &found["families"][0]["unknown"]["tcp_mapping"];
    let expected =
        format!("no answer from {server} over TCP: a firewall drops it, or the server has no TCP");
    assert_eq!(*why, expected, "{found:#}");
}
