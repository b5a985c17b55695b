//! A TURN server on one socket that drives `turnd-proto`: UDP, one user, and relays on loopback.
//!
//! `cargo run --example drive`, then `turnutils_uclient -u alice -w secret -y 127.0.0.1`.
//! Nothing in it is fast; `src/net` is the driver that is.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use turnd_proto::auth::{self, Credential, User};
use turnd_proto::{
    Authenticator, ClientVerdict, NonceKey, Now, OpenError, Output, Path, PeerVerdict, RelayId,
    Secret, Server, Settings, Shared,
};

type Relays = HashMap<RelayId, Arc<UdpSocket>>;

fn main() -> std::io::Result<()> {
    let socket = bind(([127, 0, 0, 1], 3478).into())?;
    let addr = socket.local_addr()?;
    let mut seeds = [[0; 32]; 2];
    getrandom::fill(seeds.as_flattened_mut())?;
    let mut users = auth::Settings::default();
    users.users.push(User {
        name: "alice".into(),
        credential: Credential::Password(Secret::new("secret")),
    });
    let auth = Authenticator::new(&users, NonceKey::new(&seeds[0])).unwrap();
    let mut settings = Settings::default();
    settings.peers.allow_loopback = true;
    // Coturn's client draws its channel numbers from all that RFC 5766 had.
    settings.protocol.rfc5766_channels = true;
    let shared = Arc::new(Shared::new(&settings, auth, &[addr.ip()], &[]));
    let mut server = Server::new(shared, seeds[1], now());
    let mut relays = Relays::new();
    let mut buffer = [0; 65_536];

    loop {
        // Client → peer.
        while let Ok((len, client)) = socket.recv_from(&mut buffer) {
            let path = Path::udp(0, client, addr);
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
            apply_outputs(&mut server, &socket, &mut relays);
        }
        // Peer → client.
        for (relay, from_peers) in relays.clone() {
            while let Ok((len, peer)) = from_peers.recv_from(&mut buffer) {
                let verdict = server.handle_peer(now(), relay, peer, len as u16);
                if let PeerVerdict::ToClient { path, header } = verdict {
                    let padding = &[0; 3][..header.padding()];
                    let packet = [header.as_bytes(), &buffer[..len], padding].concat();
                    let _ = socket.send_to(&packet, path.tuple.client);
                }
                apply_outputs(&mut server, &socket, &mut relays);
            }
        }
        // The clock; a driver with a poller waits for a socket or for `poll_timeout`.
        if server.poll_timeout().is_some_and(|due| due <= now().mono) {
            server.handle_timeout(now());
            apply_outputs(&mut server, &socket, &mut relays);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn apply_outputs(server: &mut Server, socket: &UdpSocket, relays: &mut Relays) {
    while let Some(output) = server.poll_output() {
        match output {
            Output::Transmit { path, message } => {
                let _ = socket.send_to(&message, path.tuple.client);
            }
            Output::OpenRelay { relay, addr } => {
                let opened = bind(addr).map(|socket| relays.insert(relay, socket.into()));
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

fn now() -> Now {
    let (mono, unix) = (Instant::now(), UNIX_EPOCH.elapsed().unwrap().as_secs());
    Now { mono, unix }
}
