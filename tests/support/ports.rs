//! Ports that no other test uses, in this process or in another one.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::ops::Range;

/// All below the ports that the system hands out to clients.
const BLOCKS: Range<u16> = 0..170;
const BLOCK_LEN: u16 = 128;
const FIRST_PORT: u16 = 10_240;
/// Whoever holds the socket on block N's lock port owns block N; the system lets go of it with the process.
const FIRST_LOCK: u16 = 10_000;
/// The first ports of a claim are for listeners and peers, the rest for relays.
const LISTENERS: u16 = 16;

/// A run of free ports, owned until it is dropped.
pub(crate) struct Ports {
    first: u16,
    len: u16,
    _locks: Vec<UdpSocket>,
}

impl Ports {
    /// Claims ports enough for `relays` relay sockets beside the listeners.
    pub(crate) fn claim(relays: u16) -> Self {
        let blocks = (LISTENERS + relays).div_ceil(BLOCK_LEN);
        let starts = BLOCKS.end - blocks + 1;
        let seed = std::process::id() as u16 % starts;
        (0..starts)
            .map(|step| (seed + step) % starts)
            .find_map(|start| Self::try_claim(start, blocks))
            .expect("no free ports left for the tests")
    }

    fn try_claim(start: u16, blocks: u16) -> Option<Self> {
        let lock = |block| UdpSocket::bind((Ipv4Addr::LOCALHOST, FIRST_LOCK + block)).ok();
        let locks = (start..start + blocks).map(lock).collect::<Option<_>>()?;
        let (first, len) = (FIRST_PORT + start * BLOCK_LEN, blocks * BLOCK_LEN);
        (first..first + len).all(is_free).then_some(Self {
            first,
            len,
            _locks: locks,
        })
    }

    pub(crate) fn listening(&self) -> u16 {
        self.first
    }

    pub(crate) fn tls_listening(&self) -> u16 {
        self.first + 2
    }

    /// An even port and its neighbour, for peers.
    pub(crate) fn peers(&self) -> u16 {
        self.first + 8
    }

    /// For the admin listener.
    pub(crate) fn admin(&self) -> u16 {
        self.first + 12
    }

    /// `min-port` and `max-port`.
    pub(crate) fn relays(&self) -> (u16, u16) {
        (self.first + LISTENERS, self.first + self.len - 1)
    }
}

/// No socket of this machine has the port, over UDP or TCP, IPv4 or IPv6.
fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok()
}

#[test]
fn claims_do_not_overlap() {
    let claims: Vec<_> = [100, 1, 300, 112].map(Ports::claim).into();
    for (index, claim) in claims.iter().enumerate() {
        assert_eq!(claim.listening() % 2, 0);
        assert!(claim.peers() + 1 < claim.relays().0);
        for other in &claims[index + 1..] {
            assert!(claim.relays().1 < other.first || other.relays().1 < claim.first);
        }
    }
    let (min, max) = claims[2].relays();
    assert!(max - min + 1 >= 300);
}
