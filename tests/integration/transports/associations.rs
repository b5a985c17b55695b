//! DTLS clients without an allocation: what half-open associations may hold, and how often one begins.

use std::thread;
use std::time::Duration;

use super::host;
use super::memory;
use crate::support::half_open::{dtls_hello, dtls_socket, half_open, sparse_fragments};
use crate::support::{Authority, Key, StreamClient, Turnd};

#[test]
fn x3_a_thousand_half_open_associations_hold_no_more_than_the_budget() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&format!("dtls = true\n{}", authority.toml(&["server"])));
    let before = memory(&turnd);
    let fragments = sparse_fragments();
    let mut served = 0;
    let sockets: Vec<_> = (0..1000)
        .map(|_| {
            let socket = dtls_socket(host(1), turnd.address());
            served += usize::from(half_open(&socket, 7).is_some());
            for fragment in &fragments {
                let _ = socket.send(fragment);
            }
            socket
        })
        .collect();
    assert!(served > 990, "{served} of 1000 were answered");
    let grown = memory(&turnd).saturating_sub(before);
    // 64 MiB are the default budget.
    assert!(
        grown < 96 << 10,
        "{grown} KiB for {} associations",
        sockets.len()
    );
    let mut other = StreamClient::secure(turnd.address(), &authority.certificate(), "localhost");
    other.binding();
}

#[test]
fn a_client_that_begins_anew_at_once_waits_for_its_next_association() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&format!("dtls = true\n{}", authority.toml(&["server"])));
    let socket = dtls_socket(host(1), turnd.address());
    let flight = half_open(&socket, 7).expect("no answer to the first");
    assert_eq!(flight[13], 2, "a ServerHello");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // A repeated answer to the first hello must not count as a ServerHello to the second.
    while socket.recv(&mut [0; 2048]).is_ok() {}
    let hello_again = |random| {
        let mut buffer = [0; 2048];
        socket.send(&dtls_hello(random, b"")).unwrap();
        let cookie = loop {
            let len = socket.recv(&mut buffer).expect("no HelloVerifyRequest");
            if buffer[13] == 3 {
                break buffer[len - 32..len].to_vec();
            }
        };
        socket.send(&dtls_hello(random, &cookie)).unwrap();
        let random_of = |datagram: &[u8]| datagram[13] == 2 && datagram[27..59] != flight[27..59];
        let mut answered = false;
        while let Ok(len) = socket.recv(&mut buffer) {
            answered |= random_of(&buffer[..len]);
        }
        answered
    };
    assert!(!hello_again(8), "a second one at once");
    thread::sleep(Duration::from_secs(2));
    assert!(hello_again(9), "later");
}
