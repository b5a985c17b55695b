//! Every way in: streams, TLS, DTLS, PROXY protocol, and what strangers do to them.

#[cfg(feature = "dtls")]
mod associations;
mod bad_input;
mod certificates;
mod data_connections;
#[cfg(feature = "dtls")]
mod dtls;
mod proxy;
mod streams;
mod unallocated;

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{StunClient, Turnd};

/// Waits until `met` is.
fn wait_until(what: &str, turnd: &Turnd, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(Instant::now() < deadline, "{what}\n{}", turnd.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Resident memory in KiB.
fn memory(turnd: &Turnd) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", turnd.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .unwrap()
        .parse()
        .unwrap()
}

/// Whether a server answers plain datagrams, and DTLS.
pub(crate) fn datagrams(server: SocketAddr) -> (bool, bool) {
    let client = StunClient::new(server).with_timeout(Duration::from_millis(500));
    client.send(&client_hello());
    let dtls = client.receive().is_some();
    (client.binding().is_some(), dtls)
}

/// The first datagram of a DTLS 1.2 client.
fn client_hello() -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 0, 2, 0xC0, 0x2F, 1, 0]);
    let len = body.len() as u8;
    let mut hello = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, len + 12];
    hello.extend_from_slice(&[1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len]);
    hello.extend_from_slice(&body);
    hello
}
