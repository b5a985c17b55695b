//! Servers that are silent, odd or no STUN servers at all: a sentence each, in time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use super::probe;

/// A UDP server that does this with each request; it ends with the test's process.
fn udp(answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            answer(&socket, &buffer[..len], from);
        }
    });
    address
}

/// A TCP server that sends this to everyone, then closes after the first request or reads on.
fn tcp(greeting: &'static [u8], close: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(greeting);
            if close {
                let _ = stream.read(&mut [0; 512]);
            } else {
                thread::spawn(move || while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {});
            }
        }
    });
    address
}

/// A response to `request` of this type with this body.
fn response(request: &[u8], typ: [u8; 2], body: &[u8]) -> Vec<u8> {
    let mut bytes = typ.to_vec();
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&request[4..20]);
    bytes.extend_from_slice(body);
    bytes
}

const MAPPED: &[u8] = &[0, 0x20, 0, 8, 0, 1, 0x11, 0x11, 1, 2, 3, 4];

fn expect(uri: &str, begins: &str) {
    let words = [uri, "--timeout", "2", "--user", "a", "--password", "b"];
    let outcome = probe(None, &words);
    outcome.expect_fault(begins, ";");
    assert!(
        outcome.took < Duration::from_secs(5),
        "{uri}: {:?}",
        outcome.took
    );
}

#[test]
fn names_that_do_not_resolve() {
    for uri in [
        "stun:nosuch.invalid",
        "turn:nosuch.invalid:3478",
        "turns:nosuch.invalid",
    ] {
        expect(uri, "nosuch.invalid does not resolve [701]");
    }
}

#[test]
fn silence() {
    let silent = udp(|_, _, _| {});
    for scheme in ["stun", "turn"] {
        expect(
            &format!("{scheme}:{silent}"),
            &format!("{silent} does not answer over UDP [701]"),
        );
    }
    let silent = tcp(b"", false);
    expect(
        &format!("turn:{silent}?transport=tcp"),
        &format!("{silent} is connected over TCP, but answers no STUN message [701]"),
    );
    expect(
        &format!("turns:{silent}"),
        "the TLS handshake does not end [701]",
    );
}

#[test]
fn nobody_there() {
    let unused = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused =
        format!("{unused} refuses UDP [701]: no server listens there, or a firewall rejects");
    expect(&format!("stun:{unused}"), &refused);
    expect(&format!("turn:{unused}"), &refused);
    expect(
        &format!("turn:{unused}?transport=tcp"),
        &format!("{unused} refuses TCP [701]"),
    );
}

/// A server that bans those who give credentials.
#[test]
fn silence_after_the_challenge() {
    let server = udp(|socket, request, client| {
        let challenge = b"\0\x09\0\x04\0\0\x04\x01\0\x14\0\x01r\0\0\0\0\x15\0\x01n\0\0\0";
        if !request.windows(4).any(|window| window == [0, 8, 0, 20]) {
            let bytes = response(request, [1, 0x13], challenge);
            socket.send_to(&bytes, client).unwrap();
        }
    });
    expect(
        &format!("turn:{server}"),
        &format!("{server} asks for credentials, and is silent when they come [701]"),
    );
}

#[test]
fn answers_from_a_wrong_address() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = other.local_addr().unwrap();
    let server = udp(move |_, request, client| {
        other
            .send_to(&response(request, [1, 1], MAPPED), client)
            .unwrap();
    });
    expect(
        &format!("stun:{server}"),
        &format!("answers come from {from} in place of {server} [701]"),
    );
}

#[test]
fn forged_and_damaged_answers() {
    let forged = udp(|socket, request, client| {
        let mut other = request.to_vec();
        other[10] ^= 1;
        socket
            .send_to(&response(&other, [1, 1], MAPPED), client)
            .unwrap();
    });
    expect(
        &format!("stun:{forged}"),
        &format!("what {forged} sends answers nothing"),
    );
    let damaged = udp(|socket, request, client| {
        let bytes = response(request, [1, 1], MAPPED);
        socket.send_to(&bytes[..bytes.len() - 3], client).unwrap();
    });
    expect(
        &format!("turn:{damaged}"),
        &format!("the answers of {damaged} are damaged"),
    );
    let unsigned = udp(|socket, request, client| {
        let relayed = [&[0, 0x16][..], &MAPPED[2..]].concat();
        let signed = request.windows(4).any(|window| window == [0, 8, 0, 20]);
        let challenge = b"\0\x09\0\x04\0\0\x04\x01\0\x14\0\x01r\0\0\0\0\x15\0\x01n\0\0\0";
        let bytes = if signed {
            response(request, [1, 3], &relayed)
        } else {
            response(request, [1, 0x13], challenge)
        };
        socket.send_to(&bytes, client).unwrap();
    });
    expect(
        &format!("turn:{unsigned}"),
        "the server's answer is not signed",
    );
}

#[test]
fn servers_of_other_protocols() {
    let web = udp(|socket, _, client| {
        socket
            .send_to(b"HTTP/1.1 400 Bad Request\r\n\r\n", client)
            .unwrap();
    });
    let not_stun = |server| format!("what answers at {server} is not a STUN server [701]");
    expect(&format!("stun:{web}"), &not_stun(web));
    let web = tcp(b"HTTP/1.1 400 Bad Request\r\n\r\n", true);
    expect(&format!("turn:{web}?transport=tcp"), &not_stun(web));
    let web = tcp(b"HTTP/1.1 400 Bad Request\r\n\r\n", false);
    expect(&format!("turn:{web}?transport=tcp"), &not_stun(web));
    let ssh = tcp(b"SSH-2.0-OpenSSH_9.9\r\n", false);
    expect(&format!("turn:{ssh}?transport=tcp"), &not_stun(ssh));
    expect(
        &format!("turns:{ssh}"),
        "what answers there does not speak TLS [701]",
    );
    let closing = tcp(b"", true);
    expect(
        &format!("turn:{closing}?transport=tcp"),
        &format!("{closing} closed the connection [701]"),
    );
}

/// Error responses to Allocate as a browser would show them.
#[test]
fn refusals_of_allocations() {
    for (code, begins) in [
        (Some(508), "the server takes no more allocations [508]"),
        (
            Some(437),
            "the server says that this port has an allocation already [437]",
        ),
        (Some(438), "the server's own nonce is stale at once [438]"),
        (Some(403), "the server forbids allocations [403]"),
        (
            Some(300),
            "the server sends clients on without saying where [300]",
        ),
        (
            Some(500),
            "the server refuses the allocation with error 500 [500]",
        ),
        (None, "the server refuses without saying why [600]"),
        (
            Some(401),
            "the server asks for credentials without REALM or NONCE [401]",
        ),
    ] {
        let server = udp(move |socket, request, client| {
            let body = match code {
                Some(code) => vec![0, 9, 0, 4, 0, 0, (code / 100) as u8, (code % 100) as u8],
                None => Vec::new(),
            };
            let reply = response(request, [1, 0x13], &body);
            socket.send_to(&reply, client).unwrap();
        });
        expect(&format!("turn:{server}"), begins);
    }
}

#[test]
fn servers_that_send_clients_in_a_circle() {
    let server = udp(|socket, request, client| {
        let port = socket.local_addr().unwrap().port().to_be_bytes();
        let mut body = vec![0, 9, 0, 4, 0, 0, 3, 0, 0x80, 0x23, 0, 8, 0, 1];
        body.extend_from_slice(&port);
        body.extend_from_slice(&[127, 0, 0, 1]);
        socket
            .send_to(&response(request, [1, 0x13], &body), client)
            .unwrap();
    });
    expect(
        &format!("turn:{server}"),
        "the servers send clients on to one another [300]",
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    for words in [
        &["probe"][..],
        &["probe", "turn://x.org"],
        &["probe", "turn:x.org"],
        &["probe", "turn:x.org", "--user", "a"],
        &["probe", "turn:x.org", "--secret", ""],
        &["probe", "stun:x.org", "--ca-file", "/dev/null"],
        &["probe", "stun:x.org", "--timeout", "soon"],
        &["probe", "-c", "/nonexistent/turnd.toml"],
        &["nat"],
        &["nat", "--server", "x:y"],
        &["nat", "turns:x"],
        &["nat", "a", "b", "--server", "c"],
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_turnd"));
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}
