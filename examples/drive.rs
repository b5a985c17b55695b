//! A TURN server on one socket that drives `turnd-proto`: UDP, for anyone, with relays on loopback.
//!
//! `cargo run --example drive`, then `turnutils_uclient -y 127.0.0.1`.
//! Nothing in it is fast; `src/net` is the driver that is.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{collections::HashMap, net::SocketAddr, net::UdpSocket, rc::Rc};

use turnd_proto::{Authenticator, ClientVerdict, NonceKey, Now, OpenError, Output, Path};
use turnd_proto::{PeerVerdict, RelayId, Server, Settings, Shared, auth};

fn main() {
    let socket = bind(([127, 0, 0, 1], 3478).into()).unwrap();
    let mut seeds = [[0; 32]; 2];
    getrandom::fill(seeds.as_flattened_mut()).unwrap();
    let anyone = auth::Settings {
        no_auth: true,
        ..auth::Settings::default()
    };
    let auth = Authenticator::new(&anyone, NonceKey::new(&seeds[0])).unwrap();
    let mut settings = Settings::default();
    settings.peers.allow_loopback = true;
    // Coturn's client draws its channel numbers from all that RFC 5766 had.
    settings.protocol.rfc5766_channels = true;
    let local = socket.local_addr().unwrap();
    let shared = Shared::new(&settings, auth, &[local.ip()], &[]);
    let mut server = Server::new(shared.into(), seeds[1], now());
    let (mut relays, mut bytes) = (Relays::new(), [0; 65_536]);
    loop {
        if let Ok((len, client)) = socket.recv_from(&mut bytes) {
            let path = Path::udp(0, client, local);
            let verdict = server.handle_client(now(), &path, &bytes[..len]);
            if let ClientVerdict::ToPeer {
                relay,
                peer,
                payload,
                ..
            } = verdict
            {
                let _ = relays[&relay].send_to(payload, peer.0);
            }
            apply_outputs(&mut server, &socket, &mut relays);
        }
        for (relay, from_peers) in relays.clone() {
            let Ok((len, peer)) = from_peers.recv_from(&mut bytes) else {
                continue;
            };
            let verdict = server.handle_peer(now(), relay, peer, len as u16);
            if let PeerVerdict::ToClient { path, header } = verdict {
                let padding = &[0; 3][..header.padding()];
                let packet = [header.as_bytes(), &bytes[..len], padding].concat();
                let _ = socket.send_to(&packet, path.tuple.client);
            }
            apply_outputs(&mut server, &socket, &mut relays);
        }
        // A driver with a poller waits for a socket, or until `poll_timeout`.
        std::thread::sleep(Duration::from_micros(50));
        server.handle_timeout(now());
        apply_outputs(&mut server, &socket, &mut relays);
    }
}

type Relays = HashMap<RelayId, Rc<UdpSocket>>;

fn apply_outputs(server: &mut Server, socket: &UdpSocket, relays: &mut Relays) {
    while let Some(output) = server.poll_output() {
        match output {
            Output::Transmit { path, message } => {
                let _ = socket.send_to(&message, path.tuple.client);
            }
            Output::OpenRelay { relay, addr } => {
                let opened = bind(addr).map(|socket| drop(relays.insert(relay, socket.into())));
                let opened = opened.map_err(|_| OpenError::InUse);
                server.handle_relay_opened(now(), relay, opened);
            }
            Output::CloseRelay { relay } => drop(relays.remove(&relay)),
            Output::Event(event) => println!("{event:?}"),
            _ => {} // TCP, and channels that somebody else relays.
        }
    }
}

fn bind(addr: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    socket.set_nonblocking(true).map(|()| socket)
}

fn now() -> Now {
    let (mono, unix) = (Instant::now(), UNIX_EPOCH.elapsed().unwrap().as_secs());
    Now { mono, unix }
}
