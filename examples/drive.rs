//! A TURN server on one socket that drives `turnd-proto`: UDP, one user, and relays on loopback.
//!
//! `cargo run --example drive`, then `turnutils_uclient -u alice -w secret -y 127.0.0.1`.
//! Nothing in it is fast; `src/net` is the driver that is.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use turnd_proto::auth::{self, Authenticator, Credential, User, nonce::NonceKey, secret::Secret};
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::server::output::{ClientVerdict, Output, PeerVerdict, RelayId};
use turnd_proto::server::{OpenError, Server, Settings, shared::Shared};
use turnd_proto::{Now, random::Seed};

fn main() {
    let socket = bind("127.0.0.1:3478".parse().unwrap()).unwrap();
    let server_addr = socket.local_addr().unwrap();
    let mut seeds: [Seed; 2] = Default::default();
    seeds
        .iter_mut()
        .for_each(|seed| getrandom::fill(seed).unwrap());
    let alice = User {
        name: "alice".into(),
        credential: Credential::Password(Secret::new("secret")),
    };
    let users = auth::Settings {
        users: vec![alice],
        ..auth::Settings::default()
    };
    let auth = Authenticator::new(&users, NonceKey::new(&seeds[0])).unwrap();
    let mut settings = Settings::default();
    settings.peers.allow_loopback = true;
    // Coturn's client draws its channel numbers from all that RFC 5766 had.
    settings.protocol.rfc5766_channels = true;
    let shared = Arc::new(Shared::new(&settings, auth, &[server_addr.ip()], &[]));
    let mut server = Server::new(shared, seeds[1], now());
    let mut relays: HashMap<RelayId, UdpSocket> = HashMap::new();
    let mut buffer = [0; 65_536];

    loop {
        // Client → peer.
        while let Ok((len, client)) = socket.recv_from(&mut buffer) {
            let path = path(client, server_addr);
            let verdict = server.handle_client(now(), &path, &buffer[..len]);
            if let ClientVerdict::ToPeer {
                relay,
                peer,
                payload,
                ..
            } = verdict
            {
                let _ = relays[&relay].send_to(payload, peer.0);
            }
            outputs(&mut server, &socket, &mut relays);
        }
        // Peer → client.
        for (relay, from_peers) in &relays {
            while let Ok((len, peer)) = from_peers.recv_from(&mut buffer) {
                let verdict = server.handle_peer(now(), *relay, peer, len as u16);
                if let PeerVerdict::ToClient { path, header } = verdict {
                    let packet = [
                        header.as_bytes(),
                        &buffer[..len],
                        &[0; 3][..header.padding()],
                    ];
                    let _ = socket.send_to(&packet.concat(), path.tuple.client);
                }
            }
        }
        // The clock; a driver with a poller waits for a socket or for `poll_timeout`.
        if server.poll_timeout().is_some_and(|due| due <= now().mono) {
            server.handle_timeout(now());
        }
        outputs(&mut server, &socket, &mut relays);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Does what the server asks for.
fn outputs(server: &mut Server, socket: &UdpSocket, relays: &mut HashMap<RelayId, UdpSocket>) {
    while let Some(output) = server.poll_output() {
        match output {
            Output::Transmit { path, message } => {
                let _ = socket.send_to(&message, path.tuple.client);
            }
            Output::OpenRelay { relay, addr } => {
                let opened = bind(addr).map(|socket| relays.insert(relay, socket));
                let opened = opened.map(|_| ()).map_err(|_| OpenError::InUse);
                server.handle_relay_opened(now(), relay, opened);
            }
            Output::CloseRelay { relay } => drop(relays.remove(&relay)),
            Output::Event(event) => println!("{event:?}"),
            // TCP, and channels that somebody else relays.
            _ => {}
        }
    }
}

fn bind(addr: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn path(client: SocketAddr, server: SocketAddr) -> Path {
    Path {
        tuple: FiveTuple {
            transport: Transport::Udp,
            client,
            server,
        },
        socket: ClientSocket::Listener(0),
        proxied: false,
    }
}

fn now() -> Now {
    Now {
        mono: Instant::now(),
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    }
}
