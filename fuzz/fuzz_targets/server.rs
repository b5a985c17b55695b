//! Any datagrams from a client and a peer to a server without credentials: no panic, and nothing
//! is left when every lifetime is over.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use turnd::Now;
use turnd::auth::Authenticator;
use turnd::auth::nonce::NonceKey;
use turnd::config::Config;
use turnd::server::Server;
use turnd::server::five_tuple::{FiveTuple, Path, SocketId, Transport};
use turnd::server::output::{Output, RelayId};
use turnd::server::shared::Shared;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fuzz_target!(|input: &[u8]| {
    let config = Config::from_toml("no-auth = true\nallow-loopback-peers = true\nmin-port = 50000\nmax-port = 50009")
        .expect("a fixed text that is right");
    let nonces = NonceKey::random().expect("the system has random bytes");
    let auth = Authenticator::new(&config.auth, nonces).expect("no user, nothing wrong");
    let shared = Arc::new(Shared::new(&config, auth, &[SERVER], &[SERVER]));
    let mut now = Now { mono: Instant::now(), unix: 1_800_000_000 };
    let mut server = Server::new(Arc::clone(&shared), now);

    // Each packet: a byte of who and when, two of length, the bytes.
    let mut rest = input;
    while let [how, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (packet, after) = tail.split_at(len);
        rest = after;
        now = now.after(Duration::from_secs(u64::from(how >> 2) * 10));
        let addr = |port| SocketAddr::new(SERVER, port);
        if how & 1 == 0 {
            let client = addr(40_000 + u16::from(how & 2));
            let tuple = FiveTuple { transport: Transport::Udp, client, server: addr(3478) };
            let path = Path { tuple, socket: SocketId(0), proxied: false };
            let _ = server.handle_client(now, &path, packet);
        } else {
            let relay = RelayId(u32::from(how & 2));
            let _ = server.handle_peer(now, relay, addr(9), packet.len() as u16);
        }
        settle(&mut server, now);
    }
    now = now.after(Duration::from_secs(4000));
    server.handle_timeout(now);
    settle(&mut server, now);
    assert_eq!(server.allocations(), 0);
    assert_eq!(server.deadlines(), 0);
    assert_eq!(shared.relays.ports().taken(), 0);
    assert!(shared.reservations.is_empty());
});

fn settle(server: &mut Server, now: Now) {
    while let Some(output) = server.poll_output() {
        if let Output::OpenRelay { relay, .. } = output {
            server.handle_relay_opened(now, relay, Ok(()));
        }
    }
}
