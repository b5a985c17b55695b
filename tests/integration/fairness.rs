//! A peer that floods one client takes nothing from another.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use stun::attributes::ATTR_XOR_RELAYED_ADDRESS;
use stun::message::{METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH};
use turn::proto::PROTO_UDP;
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;

use crate::support::{PASSWORD, Peer, StunClient, Turnd, USER, xor_address};

const ROUNDS: u32 = 300;

/// A client with a channel to `peer`, and its relayed address.
fn client(turnd: &Turnd, peer: SocketAddr) -> (StunClient, SocketAddr) {
    let mut client = StunClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    let transport = RequestedTransport {
        protocol: PROTO_UDP,
    };
    let reply = client.ask_signed(METHOD_ALLOCATE, vec![Box::new(transport)]);
    let relayed = xor_address(&reply, ATTR_XOR_RELAYED_ADDRESS).unwrap();
    let address = PeerAddress {
        ip: peer.ip(),
        port: peer.port(),
    };
    client.ask_signed(
        METHOD_CHANNEL_BIND,
        vec![Box::new(ChannelNumber(0x4000)), Box::new(address)],
    );
    (client, relayed)
}

#[test]
fn a_flood_to_one_client_starves_no_other() {
    let turnd = Turnd::start("relay-threads = 1");
    let flooder = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (_victim, flooded) = client(&turnd, flooder.local_addr().unwrap());
    let (other, _) = client(&turnd, echo.address());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The server's buffer may be full; that is the point.
                let _ = flooder.send_to(&[0; 1200], flooded);
            }
        });
        // Ends the flood also when an assertion fails.
        let _guard = Over(&over);
        for round in 0..ROUNDS {
            let frame = [&[0x40, 0, 0, 4][..], &round.to_be_bytes()].concat();
            other.send(&frame);
            assert_eq!(other.receive(), Some(frame), "round {round}");
            if round % 50 == 0 {
                other.ask_signed(METHOD_REFRESH, vec![]);
            }
        }
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
