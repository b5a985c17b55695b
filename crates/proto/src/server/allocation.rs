//! One allocation and its lifetimes (RFC 8656 §5).

use std::net::SocketAddr;
use std::time::Instant;

use super::five_tuple::{Family, Path};
use super::output::{RelayId, Session, Traffic};
use super::peer_table::PeerTable;
use super::ports::PortLease;
use super::tcp_relay::PeerConnections;
use crate::auth::Identity;
use crate::policy::account::{Directions, Holding};
use crate::policy::quota::QuotaGuard;
use crate::policy::rate::TokenBucket;
use crate::wire::message::Head;
use crate::wire::numbers::TransactionId;

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

/// Which port a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Any port.
    Any,
    /// EVEN-PORT with R = 0.
    Even,
    /// EVEN-PORT with R = 1: an even one, and the next reserved.
    Pair,
    /// RESERVATION-TOKEN: the one reserved.
    Reserved,
}

/// An Allocate request whose relay socket is being opened.
#[derive(Debug)]
pub struct Opening {
    /// What the reply repeats.
    pub head: Head,
    /// Ports that could not be bound, kept until another is, so that none is tried twice.
    pub refused: Vec<PortLease>,
    /// EVEN-PORT: the port to reserve beside it.
    pub partner: Option<(PortLease, QuotaGuard)>,
    /// How the client wants its port.
    pub wish: Wish,
}

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    /// Unique in this process since the start.
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
    /// Whom it may exchange data with.
    pub peers: PeerTable,
    /// Its peer connections, if it relays TCP.
    pub tcp: Option<Box<PeerConnections>>,
    /// What it carried.
    pub traffic: Traffic,
    /// What it may carry (`max-bps`).
    pub bandwidth: Directions<TokenBucket>,
    /// Its share of what its user and all have.
    pub holding: Holding,
}

impl Allocation {
    /// The family of its relayed transport address.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.lease.addr().ip())
    }

    /// Gives back the permissions and channels that it has no longer.
    pub fn settle(&mut self) {
        let peers = &self.peers;
        self.holding
            .settle(peers.permitted().len(), peers.channels().count());
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
        let replay = self.replay.iter().map(|replay| replay.until);
        self.peers
            .deadlines()
            .chain(replay)
            .fold(self.expires, Instant::min)
    }
}
