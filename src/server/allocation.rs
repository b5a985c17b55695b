//! One allocation: its permissions, channels and lifetimes (RFC 8656 §5, §9, §12).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use stun::agent::TransactionId;

use super::five_tuple::{Family, Path, PeerAddr};
use super::output::{RelayId, Session, Traffic};
use super::ports::PortLease;
use super::tcp_relay::PeerConnections;
use crate::auth::Identity;
use crate::policy::quota::QuotaGuard;
use crate::policy::rate::TokenBucket;
use crate::wire::message::Head;

/// Which ports of a permitted address may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    Any,
    /// The address is this server's: only ports that are relayed transport addresses now.
    RelayedOnly,
}

/// Leave to exchange data with one IP address (RFC 8656 §2.3).
#[derive(Clone, Copy, Debug)]
pub struct Permission {
    /// From then on it is void.
    pub expires: Instant,
    /// Which ports.
    pub reach: Reach,
}

/// A channel number bound to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The peer.
    pub peer: PeerAddr,
    /// From then on it is void.
    pub expires: Instant,
    /// As the permission of the peer's address.
    pub reach: Reach,
}

/// The channels of one allocation, found by number and by peer.
#[derive(Debug, Default)]
pub struct Channels {
    by_number: HashMap<u16, Binding>,
    by_peer: HashMap<PeerAddr, u16>,
}

impl Channels {
    /// The live binding of `number`.
    #[must_use]
    pub fn get(&self, number: u16, now: Instant) -> Option<&Binding> {
        self.by_number
            .get(&number)
            .filter(|binding| now < binding.expires)
    }

    /// The number that is bound to `peer` and its binding, if it lives.
    #[must_use]
    pub fn of_peer(&self, peer: PeerAddr, now: Instant) -> Option<u16> {
        let number = *self.by_peer.get(&peer)?;
        self.get(number, now).map(|_| number)
    }

    /// Binds `number`, or lets its lifetime begin anew. The caller has ruled out conflicts.
    pub fn bind(&mut self, number: u16, binding: Binding) {
        self.by_peer.insert(binding.peer, number);
        self.by_number.insert(number, binding);
    }

    /// Removes the bindings that `keep` does not want and calls `gone` with each.
    pub fn retain(
        &mut self,
        mut keep: impl FnMut(&mut Binding) -> bool,
        mut gone: impl FnMut(u16, PeerAddr),
    ) {
        let by_peer = &mut self.by_peer;
        self.by_number.retain(|number, binding| {
            let lives = keep(binding);
            if !lives {
                by_peer.remove(&binding.peer);
                gone(*number, binding.peer);
            }
            lives
        });
    }

    /// All bindings, expired or not.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Binding)> {
        self.by_number
            .iter()
            .map(|(number, binding)| (*number, binding))
    }

    /// How many numbers are bound.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_number.len()
    }
}

/// An answer that is repeated when its request is (S12).
#[derive(Debug)]
pub struct Replay {
    /// The request's transaction.
    pub id: TransactionId,
    /// The answer.
    pub reply: Box<[u8]>,
    /// From then on the transaction id means a new request.
    pub until: Instant,
}

/// `max-bps`, each direction by itself.
#[derive(Debug)]
pub struct Bandwidth {
    /// Client to peers.
    pub to_peers: TokenBucket,
    /// Peers to client.
    pub to_client: TokenBucket,
}

/// An Allocate request whose relay socket is being opened.
#[derive(Debug)]
pub struct Opening {
    /// What the reply repeats.
    pub head: Head,
    /// Ports still to be tried when one is refused.
    pub tries_left: u8,
    /// EVEN-PORT: the port to reserve beside it.
    pub partner: Option<(PortLease, QuotaGuard)>,
    /// How the client wants its port.
    pub wish: super::methods::allocate::Wish,
}

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    /// Unique on this worker since the start.
    pub serial: u64,
    /// Its relay socket.
    pub relay: RelayId,
    /// The client.
    pub path: Path,
    /// Who made it.
    pub identity: Identity,
    /// The port.
    pub lease: PortLease,
    /// What clients and peers call the relayed transport address.
    pub public: SocketAddr,
    /// Its place in the quotas, held as long as it lives.
    pub quota: QuotaGuard,
    /// When it was made.
    pub created: Instant,
    /// When it ends.
    pub expires: Instant,
    /// What `Deadlines` was told.
    pub armed: Instant,
    /// Set until the relay socket is open.
    pub opening: Option<Box<Opening>>,
    /// The Allocate response, for as long as its request may be repeated.
    pub replay: Option<Replay>,
    /// By address, ports ignored.
    pub permissions: HashMap<IpAddr, Permission>,
    /// Channels.
    pub channels: Channels,
    /// Its peer connections, if it relays TCP.
    pub tcp: Option<Box<PeerConnections>>,
    /// What it carried.
    pub traffic: Traffic,
    /// `max-bps`, if set.
    pub bandwidth: Option<Box<Bandwidth>>,
}

impl Allocation {
    /// The family of its relayed transport address.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.lease.addr().ip())
    }

    /// The live permission for `ip`.
    #[must_use]
    pub fn permission(&self, ip: IpAddr, now: Instant) -> Option<&Permission> {
        self.permissions
            .get(&ip)
            .filter(|permission| now < permission.expires)
    }

    /// What a log line says of it.
    #[must_use]
    pub fn session(&self) -> Session {
        Session {
            serial: self.serial,
            tuple: self.path.tuple,
            user: self.identity.user.clone(),
            relayed: self.public,
        }
    }

    /// The earliest time at which something of it ends.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let permissions = self
            .permissions
            .values()
            .map(|permission| permission.expires);
        let channels = self.channels.iter().map(|(_, binding)| binding.expires);
        let replay = self.replay.iter().map(|replay| replay.until);
        permissions
            .chain(channels)
            .chain(replay)
            .fold(self.expires, Instant::min)
    }
}
